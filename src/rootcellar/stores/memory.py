"""The memory store: the contract's model, made of nothing but the pure core. For tests and for trying things out."""

from __future__ import annotations

import threading
import time
from copy import deepcopy
from datetime import datetime
from typing import Any, ClassVar

import msgspec

from rootcellar.query import Node, Query, evaluate, matches
from rootcellar.record import TaskRecord, join
from rootcellar.store.base import Store
from rootcellar.store.capabilities import Capabilities
from rootcellar.store.chord import ChordPart, ChordState
from rootcellar.store.url import StoreURL


class _Chord(msgspec.Struct, kw_only=True):
    size: int | None = None
    extra: int = 0
    parts: dict[tuple[int, str], Any] = {}
    token: str | None = None
    leased_until: float = 0.0
    closed: bool = False
    expires_at: datetime | None = None


class MemoryStore(Store):
    """Records in a dict of this process. Two stores share nothing, even with the same URL."""

    capabilities: ClassVar = Capabilities(
        atomic_merge=True,
        native_query=True,
        transactions=True,
        parallel_writes=False,
        shared=False,
        durable=False,
    )

    def __init__(self, url: StoreURL) -> None:
        super().__init__(url.text)
        self._lock = threading.RLock()
        self._records: dict[str, TaskRecord] = {}
        self._groups: dict[str, tuple[Any, datetime | None]] = {}
        self._chords: dict[str, _Chord] = {}

    def _setup(self) -> None:
        """Nothing to make."""

    def _apply(self, deltas: list[TaskRecord]) -> None:
        with self._lock:
            for delta in deltas:
                stored = self._records.get(delta.id)
                # What is kept here shares nothing with what callers hold.
                self._records[delta.id] = deepcopy(delta) if stored is None else join(stored, deepcopy(delta))

    def _fetch(self, ids: list[str]) -> list[TaskRecord]:
        with self._lock:
            return [deepcopy(self._records[task_id]) for task_id in ids if task_id in self._records]

    def _find(self, query: Query) -> list[TaskRecord]:
        with self._lock:
            return deepcopy(evaluate(query, self._records.values()))

    def _count(self, where: Node) -> int:
        with self._lock:
            return sum(matches(where, record) for record in self._records.values())

    def _delete(self, ids: list[str]) -> int:
        with self._lock:
            return sum(self._records.pop(task_id, None) is not None for task_id in ids)

    def _expire(self, now: datetime, limit: int) -> int:
        with self._lock:
            expired = [r.id for r in self._records.values() if r.expires_at is not None and r.expires_at < now]
            self._groups = {k: v for k, v in self._groups.items() if v[1] is None or v[1] >= now}
            self._chords = {k: v for k, v in self._chords.items() if v.expires_at is None or v.expires_at >= now}
            return self._delete(expired[:limit])

    def _group_save(self, group_id: str, members: Any, expires_at: datetime | None) -> None:
        with self._lock:
            self._groups[group_id] = (members, expires_at)

    def _group_fetch(self, group_id: str) -> Any:
        with self._lock:
            return self._groups.get(group_id, (None, None))[0]

    def _group_delete(self, group_id: str) -> None:
        with self._lock:
            self._groups.pop(group_id, None)

    def _chord(self, group_id: str, expires_at: datetime | None = None) -> _Chord:
        chord = self._chords.setdefault(group_id, _Chord())
        chord.expires_at = expires_at or chord.expires_at
        return chord

    def _chord_resize(self, group_id: str, size: int, expires_at: datetime | None) -> None:
        with self._lock:
            chord = self._chord(group_id, expires_at)
            chord.size, chord.token, chord.closed = size, None, False

    def _chord_extend(self, group_id: str, count: int, expires_at: datetime | None) -> None:
        with self._lock:
            self._chord(group_id, expires_at).extra += count

    def _chord_join(self, part: ChordPart, token: str, lease: float) -> ChordState:
        with self._lock:
            chord = self._chord(part.group_id, part.expires_at)
            if chord.closed:
                return ChordState(joined=len(chord.parts), size=chord.size, claimed=False, closed=True)
            chord.parts.setdefault((part.position, part.task_id), part.payload)
            size = None if chord.size is None else chord.size + chord.extra
            claimed = size == len(chord.parts) and self._claim(chord, token, lease)
            return ChordState(joined=len(chord.parts), size=size, claimed=claimed)

    def _claim(self, chord: _Chord, token: str, lease: float) -> bool:
        now = time.monotonic()
        if chord.token not in {None, token} and chord.leased_until > now:
            return False
        chord.token, chord.leased_until = token, now + lease
        return True

    def _chord_parts(self, group_id: str) -> list[Any]:
        with self._lock:
            parts = self._chord(group_id).parts
            return [parts[key] for key in sorted(parts)]

    def _chord_renew(self, group_id: str, token: str, lease: float) -> bool:
        with self._lock:
            chord = self._chords.get(group_id)
            return chord is not None and not chord.closed and self._claim(chord, token, lease)

    def _chord_close(self, group_id: str, token: str) -> bool:
        with self._lock:
            chord = self._chords.get(group_id)
            if chord is None or chord.token != token:
                return False
            chord.parts, chord.closed, chord.extra = {}, True, 0
            return True

    def _close(self) -> None:
        """Nothing is open; the records stay."""
