"""The spool: an ordered, durable line of operations that many processes append to and one at a time replays."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import msgspec

from rootcellar.errors import AccessDenied, SchemaError, SpoolUnavailable, StoreUnavailable
from rootcellar.spool.file import SpoolFile
from rootcellar.spool.lease import lease

#: Replays operations of one kind, in order. Raises `StoreUnavailable` to be called again later.
Handler = Callable[[Sequence[bytes]], None]

DEFAULT_LIMIT: Final = 1 << 30
#: Most payload bytes that are handed over at once (one entry may be larger).
BATCH_BYTES: Final = 8 << 20
#: These concern the store, not the entry: the entry is kept and tried again.
_TRY_LATER: Final = (StoreUnavailable, AccessDenied, SchemaError)


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One operation in the spool. `kind` says who can replay it; `seq` grows with each append."""

    seq: int
    kind: str
    payload: bytes
    created_at: datetime


class DeadLetter(Entry, frozen=True, kw_only=True):
    """An entry that its handler refused, with the error's text."""

    failed_at: datetime
    error: str


class ReplayReport(msgspec.Struct, kw_only=True):
    """What one replay did: entries `replayed`, and `buried` as dead letters.

    `drained`: nothing was left to do. False while another process replays, too.
    """

    replayed: int = 0
    buried: int = 0
    drained: bool = False


class Spool:
    """Operations waiting on the local disk, in the order they were appended.

    `path`: the file; it and its directory are made at the first append. `limit`: most bytes the file may take, its log
    of at most some 4 MiB beside it. `identity`: which store it is for, without secrets, for the operator. Safe in many
    threads and processes, and in both after a fork.

    Every method raises `SpoolUnavailable` when the file cannot be read or written.
    """

    def __init__(self, path: str | os.PathLike[str], *, limit: int = DEFAULT_LIMIT, identity: str = "") -> None:
        self.path = Path(path)
        self.limit = limit
        self._file = SpoolFile(self.path, limit=limit, identity=identity)
        #: Entries replayed by this process that a full disk keeps from being removed.
        self._applied: set[int] = set()

    def __repr__(self) -> str:
        return f"<Spool {self.path}>"

    def close(self) -> None:
        """Close the file; it opens again when it is needed."""
        self._file.close()

    # -- writing -------------------------------------------------------------------------------------------------------

    def append(self, operations: Iterable[tuple[str, bytes]]) -> None:
        """Add operations, as pairs of kind and payload: all or none. They are on the disk when this returns."""
        now = time.time()
        rows = [(kind, payload, now) for kind, payload in operations]
        with self._file.transaction() as connection:
            connection.executemany("INSERT INTO entry (kind, payload, created_at) VALUES (?, ?, ?)", rows)

    # -- looking -------------------------------------------------------------------------------------------------------

    def depth(self) -> int:
        """How many entries wait."""
        return int(self._value("SELECT count(*) FROM entry") or 0)

    def oldest(self) -> datetime | None:
        """When the oldest waiting entry was appended, or None when none waits."""
        created_at = self._value("SELECT created_at FROM entry ORDER BY seq LIMIT 1")
        return None if created_at is None else _moment(created_at)

    def size_bytes(self) -> int:
        """Bytes that the file and its log take on the disk."""
        return sum(_size(self.path.with_name(self.path.name + suffix)) for suffix in ("", "-wal"))

    def store(self) -> str:
        """Which store the entries are for; "" when the file does not say."""
        return str(self._value("SELECT identity FROM store") or "")

    def peek(self, limit: int = 20) -> list[Entry]:
        """The next entries in order, which stay where they are."""
        rows = self._rows("SELECT seq, kind, payload, created_at FROM entry ORDER BY seq LIMIT ?", limit)
        return [_entry(row) for row in rows]

    def dead_letters(self, limit: int = 20) -> list[DeadLetter]:
        """Entries that could not be replayed, the oldest first."""
        rows = self._rows(
            "SELECT seq, kind, payload, created_at, failed_at, error FROM dead_letter ORDER BY seq LIMIT ?", limit
        )
        return [
            DeadLetter(
                seq=seq, kind=kind, payload=payload, created_at=_moment(created), failed_at=_moment(failed), error=error
            )
            for seq, kind, payload, created, failed, error in rows
        ]

    def _value(self, sql: str) -> Any:
        rows = self._rows(sql)
        return rows[0][0] if rows else None

    def _rows(self, sql: str, *parameters: Any) -> list[Any]:
        if not self.path.exists():
            return []
        with self._file.reading() as connection:
            return connection.execute(sql, parameters).fetchall()

    # -- emptying ------------------------------------------------------------------------------------------------------

    def replay(self, handlers: Mapping[str, Handler], *, batch: int = 500) -> ReplayReport:
        """Hand the entries to the handlers of their kinds, in order, at most `batch` at a time, until none is left.

        An entry is removed after its handler returned, so a crash in between replays it again: handlers are idempotent.
        Entries of a kind without handler stay. One process per host replays at a time; another's call returns at once
        with nothing replayed. An entry that its handler refuses is set aside as a dead letter, except that errors of
        the store as a whole (`StoreUnavailable`, `AccessDenied`, `SchemaError`) end the replay and are raised.
        """
        report = ReplayReport()
        if not self.path.exists():
            report.drained = True
            return report
        with lease(self.path) as held:
            if held:
                self._replay_all(handlers, batch, report)
        return report

    def _replay_all(self, handlers: Mapping[str, Handler], batch: int, report: ReplayReport) -> None:
        self._remove([])
        left = after = 0
        while entries := self._next(after, handlers, batch):
            after = entries[-1].seq
            waiting = [entry for entry in entries if entry.seq not in self._applied]
            for kind, run in groupby(waiting, key=lambda entry: entry.kind):
                left += self._replay_run(handlers[kind], list(run), report)
        report.drained = not left and not self._applied
        if after:
            self._shrink()

    def _next(self, after: int, kinds: Iterable[str], batch: int) -> list[Entry]:
        names = list(kinds)
        sql = (
            "SELECT seq, kind, payload, created_at FROM entry"  # noqa: S608 - nothing but question marks is put in
            f" WHERE seq > ? AND kind IN ({', '.join('?' * len(names))}) ORDER BY seq LIMIT ?"
        )
        entries: list[Entry] = []
        size = 0
        with self._file.reading() as connection:
            for row in connection.execute(sql, (after, *names, batch)):
                entries.append(_entry(row))
                size += len(entries[-1].payload)
                if size > BATCH_BYTES:
                    break
        return entries

    def _replay_run(self, handler: Handler, run: list[Entry], report: ReplayReport) -> int:
        """Replay entries of one kind; returns how many had to be left where they are."""
        try:
            handler([entry.payload for entry in run])
        except _TRY_LATER:
            raise
        except Exception as error:  # noqa: BLE001 - the entry is kept with its error, whatever that is
            if len(run) == 1:
                return self._bury(run[0], error, report)
            middle = len(run) // 2
            return self._replay_run(handler, run[:middle], report) + self._replay_run(handler, run[middle:], report)
        report.replayed += len(run)
        self._remove([entry.seq for entry in run])
        return 0

    def _remove(self, seqs: list[int]) -> None:
        """Remove replayed entries, with those that an earlier attempt could not remove; a full disk is no error."""
        self._applied.update(seqs)
        with suppress(SpoolUnavailable):
            self._delete("entry", self._applied)
            self._applied.clear()

    def _bury(self, entry: Entry, error: Exception, report: ReplayReport) -> int:
        letter = (time.time(), f"{type(error).__name__}: {error}", entry.seq)
        try:
            with self._file.transaction() as connection:
                connection.execute(
                    "INSERT INTO dead_letter SELECT seq, kind, payload, created_at, ?, ? FROM entry WHERE seq = ?",
                    letter,
                )
                connection.execute("DELETE FROM entry WHERE seq = ?", (entry.seq,))
        except SpoolUnavailable:
            return 1
        report.buried += 1
        return 0

    def _shrink(self) -> None:
        """Give the room of removed entries back to the disk."""
        with suppress(SpoolUnavailable), self._file.reading() as connection:
            # A script, because `execute` stops at the first step of the pragma, which is one page.
            connection.executescript("PRAGMA incremental_vacuum; PRAGMA wal_checkpoint(TRUNCATE);")

    # -- the operator's hand -------------------------------------------------------------------------------------------

    def revive(self) -> int:
        """Put the dead letters back at the end of the line; returns how many."""
        if not self.path.exists():
            return 0
        with self._file.transaction() as connection:
            connection.execute(
                "INSERT INTO entry (kind, payload, created_at)"
                " SELECT kind, payload, created_at FROM dead_letter ORDER BY seq"
            )
            return connection.execute("DELETE FROM dead_letter").rowcount

    def drop(self, *seqs: int, dead: bool = False) -> int:
        """Remove entries (dead letters if `dead`) for good, all of them when none is named; returns how many."""
        if not self.path.exists():
            return 0
        table = "dead_letter" if dead else "entry"
        if seqs:
            return self._delete(table, seqs)
        with self._file.transaction() as connection:
            return connection.execute(f"DELETE FROM {table}").rowcount  # noqa: S608 - one of two names

    def _delete(self, table: str, seqs: Iterable[int]) -> int:
        rows = [(seq,) for seq in seqs]
        if not rows:
            return 0
        with self._file.transaction() as connection:
            return connection.executemany(f"DELETE FROM {table} WHERE seq = ?", rows).rowcount  # noqa: S608 - as above


def _entry(row: tuple[Any, ...]) -> Entry:
    seq, kind, payload, created_at = row
    return Entry(seq=seq, kind=kind, payload=payload, created_at=_moment(created_at))


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
