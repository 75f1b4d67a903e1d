"""Chords under compare-and-set: whoever changes a chord's row has seen all that happened to it before."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Connection, delete, func, insert, select, update

from rootcellar.record import isoformat
from rootcellar.store.chord import ChordPart, ChordState
from rootcellar.stores._sql.rows import json_text
from rootcellar.stores.sqlalchemy.tables import Tables

R = TypeVar("R")


class Lost(Exception):
    """Another writer was quicker."""


class Chord(msgspec.Struct, kw_only=True):
    """A chord's row. `revision` 0 is that of one which is not stored."""

    group_id: str
    size: int | None = None
    extra: int = 0
    token: str | None = None
    leased_until: float = 0.0
    closed: int = 0
    expires_at: str | None = None
    revision: int = 0

    @property
    def expected(self) -> int | None:
        """How many parts there will be."""
        return None if self.size is None else self.size + self.extra

    def keep_until(self, expires_at: datetime | None) -> None:
        """An expiry that is given replaces the one before."""
        self.expires_at = isoformat(expires_at) if expires_at else self.expires_at

    def claim(self, token: str, lease: float) -> bool:
        """Take or keep the claim; False while another holds it."""
        now = datetime.now(UTC).timestamp()
        if self.closed or (self.token not in {None, token} and self.leased_until > now):
            return False
        self.token, self.leased_until = token, now + lease
        return True


class Chords:
    """Reads and changes chords inside a transaction. Raises `Lost` when that must begin anew."""

    def __init__(self, tables: Tables) -> None:
        self._chord = tables.chord
        self._part = tables.chord_part

    def change(self, connection: Connection, group_id: str, change: Callable[[Chord], R]) -> R:
        """Do what `change` does to a chord, which need not be there."""
        row = connection.execute(select(self._chord).where(self._chord.c.group_id == group_id)).mappings().first()
        chord = Chord(**row) if row else Chord(group_id=group_id)
        result = change(chord)
        self._store(connection, chord)
        return result

    def _store(self, connection: Connection, chord: Chord) -> None:
        values = msgspec.structs.asdict(chord) | {"revision": chord.revision + 1}
        if not chord.revision:
            connection.execute(insert(self._chord).values(values))
            return
        unchanged = (self._chord.c.group_id == chord.group_id) & (self._chord.c.revision == chord.revision)
        if not connection.execute(update(self._chord).where(unchanged).values(values)).rowcount:
            raise Lost

    def join(self, connection: Connection, part: ChordPart, *, token: str, lease: float) -> ChordState:
        """See `Store.chord_join`."""

        def joined(chord: Chord) -> ChordState:
            chord.keep_until(part.expires_at)
            if not chord.closed:
                self._add(connection, part)
            count = self.count(connection, part.group_id)
            claimed = count == chord.expected and chord.claim(token, lease)
            return ChordState(joined=count, size=chord.expected, claimed=claimed, closed=bool(chord.closed))

        return self.change(connection, part.group_id, joined)

    def _add(self, connection: Connection, part: ChordPart) -> None:
        key = {"group_id": part.group_id, "position": part.position, "task_id": part.task_id}
        same = [self._part.c[column] == value for column, value in key.items()]
        if connection.execute(select(self._part.c.position).where(*same)).first() is None:
            connection.execute(insert(self._part).values(**key, payload=json_text(part.payload), revision=1))

    def count(self, connection: Connection, group_id: str) -> int:
        """How many parts have joined."""
        return connection.execute(select(func.count()).where(self._part.c.group_id == group_id)).scalar_one()

    def payloads(self, connection: Connection, group_id: str) -> list[Any]:
        """What they brought, as JSON text, by position."""
        rows = connection.execute(
            select(self._part.c.position, self._part.c.task_id, self._part.c.payload).where(
                self._part.c.group_id == group_id
            )
        )
        return [payload for _, _, payload in sorted(map(tuple, rows), key=lambda row: row[:2])]

    def close(self, connection: Connection, group_id: str, *, token: str) -> bool:
        """See `Store.chord_close`."""

        def closed(chord: Chord) -> bool:
            if chord.token != token:
                return False
            chord.closed, chord.extra = 1, 0
            self.forget_parts(connection, group_id)
            return True

        return self.known(connection, group_id) and self.change(connection, group_id, closed)

    def known(self, connection: Connection, group_id: str) -> bool:
        """Whether there is such a chord."""
        return (
            connection.execute(select(self._chord.c.size).where(self._chord.c.group_id == group_id)).first() is not None
        )

    def forget_parts(self, connection: Connection, group_id: str) -> None:
        """Its body was sent, or will never be."""
        connection.execute(delete(self._part).where(self._part.c.group_id == group_id))

    def expire(self, connection: Connection, before: str, limit: int) -> None:
        """Remove chords that expired before a time."""
        expired = select(self._chord.c.group_id).where(self._chord.c.expires_at < before).limit(limit)
        for group_id in connection.execute(expired).scalars().all():
            self.forget_parts(connection, group_id)
            connection.execute(delete(self._chord).where(self._chord.c.group_id == group_id))
