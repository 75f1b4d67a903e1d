"""The spool file: an SQLite database, so that many processes share it and a power cut tears nothing."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Final

import msgspec

from rootcellar.errors import AccessDenied, SchemaError, SpoolUnavailable, StoreUnavailable
from rootcellar.spool.location import make_directory

#: Replays operations of one kind, in order. Raises `StoreUnavailable` to be called again later.
Handler = Callable[[Sequence[bytes]], None]

DEFAULT_LIMIT: Final = 1 << 30
#: Seconds to wait for another process that writes to the same file.
_BUSY_TIMEOUT: Final = 30.0
#: These concern the store, not the entry: the entry is kept and tried again.
_TRY_LATER: Final = (StoreUnavailable, SpoolUnavailable, AccessDenied, SchemaError)

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS entry (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, payload BLOB NOT NULL, created_at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS dead_letter (
    seq INTEGER PRIMARY KEY, kind TEXT NOT NULL, payload BLOB NOT NULL, created_at REAL NOT NULL,
    failed_at REAL NOT NULL, error TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS store (identity TEXT NOT NULL);
"""


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
    """What one replay did. `drained`: nothing was left that could be replayed; False also when another process replays."""

    replayed: int = 0
    buried: int = 0
    drained: bool = False


class Spool:
    """Operations waiting on the local disk, in the order they were appended.

    `path`: the file; it and its directory are made at the first append. `limit`: most bytes the file may take.
    `identity`: which store it is for, without secrets, for the operator. Safe to use from many threads and processes,
    and in both after a fork.

    Every method raises `SpoolUnavailable` when the file cannot be read or written.
    """

    def __init__(self, path: str | os.PathLike[str], *, limit: int = DEFAULT_LIMIT, identity: str = "") -> None:
        self.path = Path(path)
        self.limit = limit
        self.identity = identity
        self._connection: sqlite3.Connection | None = None
        self._lock = threading.RLock()
        self._applied: list[int] = []
        _spools.add(self)

    def __repr__(self) -> str:
        return f"<Spool {self.path}>"

    def close(self) -> None:
        """Close the file; it opens again when it is needed."""

    # -- writing -------------------------------------------------------------------------------------------------------

    def append(self, operations: Sequence[tuple[str, bytes]]) -> None:
        """Add operations, as pairs of kind and payload: all or none. They are on the disk when this returns."""
        raise NotImplementedError

    # -- looking -------------------------------------------------------------------------------------------------------

    def depth(self) -> int:
        """How many entries wait."""
        raise NotImplementedError

    def size_bytes(self) -> int:
        """Bytes that the file and its log take on the disk."""
        raise NotImplementedError

    def oldest(self) -> datetime | None:
        """When the oldest waiting entry was appended, or None."""
        raise NotImplementedError

    def peek(self, limit: int = 20) -> list[Entry]:
        """The next entries in order, which stay where they are."""
        raise NotImplementedError

    def dead_letters(self, limit: int = 20) -> list[DeadLetter]:
        """Entries that could not be replayed, the oldest first."""
        raise NotImplementedError

    # -- emptying ------------------------------------------------------------------------------------------------------

    def replay(self, handlers: Mapping[str, Handler], *, batch: int = 500) -> ReplayReport:
        """Hand the entries to the handlers of their kinds, in order, at most `batch` at a time, until none is left.

        An entry is removed after its handler returned, so a crash in between replays it again: handlers are idempotent.
        Entries of a kind without handler stay. One process per host replays at a time; another's call returns at once
        with nothing replayed. An entry whose handler raises is set aside as a dead letter, except for errors of the
        store as a whole (`StoreUnavailable`, `AccessDenied`, `SchemaError`), which end the replay and are raised.
        """
        raise NotImplementedError

    def revive(self) -> int:
        """Put the dead letters back into the line; returns how many."""
        raise NotImplementedError

    def drop(self, *seqs: int, dead: bool = False) -> int:
        """Remove entries (dead letters if `dead`) for good, all of them when none is named; returns how many."""
        raise NotImplementedError


_spools: weakref.WeakSet[Spool] = weakref.WeakSet()
