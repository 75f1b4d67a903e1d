"""When the records of those who wait are read."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Iterable
from typing import Final

#: The most tasks that are read by one query.
CHUNK: Final = 1000
#: The rest after a read, by the time it took: reading takes at most a quarter of a thread's time.
REST: Final = 3.0
#: The most seconds of a rest: a read that took long, because a connection was lost on it, says nothing of the next.
LONGEST_REST: Final = 5.0


class Reader:
    """Reads the tasks that a watcher's hints name, and those that may have changed unheard.

    - What is hinted is read at once when nothing else is waited for, or when the last read is some time past; else
      after a rest, together with what is hinted meanwhile.
    - When it is not known what has changed, all are read, after the same rest.
    - While nothing is hinted, the next `CHUNK` tasks are read every `every` seconds, in turn. So a hint that is lost
      costs as many seconds as there are thousands of tasks waited for, and at rest there is one query in each.

    `waited` are the tasks that are waited for, now and later; `read` reads those of the given ones that still are.
    """

    def __init__(
        self,
        waited: Collection[str],
        read: Callable[[Iterable[str]], None],
        *,
        every: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._waited = waited
        self._read = read
        self._every = every
        self._clock = clock
        self._hinted: set[str] = set()
        self._unsure = False
        self._turn: deque[str] = deque()
        self._next_at = clock() + every
        self._rested_at = 0.0

    @property
    def patience(self) -> float:
        """Seconds until something is to be read even when no hint comes."""
        return max(0.0, (self._rested_at if self._unsure or self._hinted else self._next_at) - self._clock())

    def after(self, hint: frozenset[str] | None) -> None:
        """Read what is due, now that a watcher has given this hint."""
        self._hinted |= hint or set()
        self._unsure = self._unsure or hint is None
        began_at = self._clock()
        due = self._due(began_at)
        if due:
            self._read(due)
            ended_at = self._clock()
            self._rested_at = ended_at + min(REST * (ended_at - began_at), LONGEST_REST)

    def _due(self, now: float) -> Collection[str]:
        rested = now >= self._rested_at
        if self._unsure:
            return self._everything(now) if rested else ()
        due: set[str] = set()
        if rested or len(self._hinted) >= len(self._waited):
            due, self._hinted = self._hinted, due
        if now >= self._next_at:
            due.update(self._next_in_turn(now))
        return due

    def _everything(self, now: float) -> list[str]:
        self._unsure, self._hinted = False, set()
        self._turn.clear()
        self._next_at = now + self._every
        return list(self._waited)

    def _next_in_turn(self, now: float) -> list[str]:
        self._next_at = now + self._every
        if not self._turn:
            self._turn.extend(list(self._waited))
        return [self._turn.popleft() for _ in range(min(CHUNK, len(self._turn)))]
