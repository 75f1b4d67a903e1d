"""When the records of those who wait are read."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Iterable
from collections.abc import Set as AbstractSet
from typing import Final

#: The most tasks that are read by one query.
CHUNK: Final = 1000
#: The rest after a read, by the time it took: reading takes at most a quarter of a thread's time.
REST: Final = 3.0
#: The most seconds of a rest: a read that took long, because a connection was lost on it, says nothing of the next.
LONGEST_REST: Final = 5.0
#: Seconds until a hint is read that names only tasks nobody sleeps for.
LEISURE: Final = 0.1


class Reader:
    """Reads the tasks that a watcher's hints name, and those that may have changed unheard.

    - What is hinted is read at once when nothing else is waited for, or when the last read is some time past; else
      after a rest, together with what is hinted meanwhile.
    - What is not `urgent` takes its time: it is read with what is, or after `LEISURE`.
    - When it is not known what has changed, all are read, after the same rest.
    - While nothing is hinted, the next `CHUNK` tasks are read every `every` seconds, in turn. So a hint that is lost
      costs as many seconds as there are thousands of tasks waited for, and at rest there is one query in each.

    `waited` are the tasks that are waited for, now and later; `read` reads those of the given ones that still are;
    `urgent` says whether somebody sleeps until one of the given ones has finished.
    """

    def __init__(
        self,
        waited: Collection[str],
        read: Callable[[Iterable[str]], None],
        *,
        every: float,
        urgent: Callable[[AbstractSet[str]], bool] = lambda ids: True,  # noqa: ARG005
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._waited = waited
        self._read = read
        self._every = every
        self._urgent = urgent
        self._clock = clock
        self._hinted: set[str] = set()
        self._hinted_at = 0.0
        self._unsure = False
        self._turn: deque[str] = deque()
        self._next_at = clock() + every
        self._rested_at = 0.0

    @property
    def patience(self) -> float:
        """Seconds until something is to be read even when no hint comes."""
        return max(0.0, (self._rested_at if self._unsure else self._hints_due_at()) - self._clock())

    @property
    def holds_back(self) -> bool:
        """Whether something is hinted that is not read yet."""
        return bool(self._hinted)

    def after(self, hint: frozenset[str] | None) -> None:
        """Read what is due, now that a watcher has given this hint."""
        began_at = self._clock()
        if hint and not self._hinted:
            self._hinted_at = began_at
        self._hinted |= hint or set()
        self._unsure = self._unsure or hint is None
        due = self._due(began_at)
        if due:
            self._read(due)
            ended_at = self._clock()
            self._rested_at = ended_at + min(REST * (ended_at - began_at), LONGEST_REST)

    def _hints_due_at(self) -> float:
        """When a read is due, if nothing more is hinted: that of the hints, or the next in turn."""
        if not self._hinted:
            return self._next_at
        if self._urgent(self._hinted):
            return self._rested_at
        return min(max(self._rested_at, self._hinted_at + LEISURE), self._next_at)

    def _due(self, now: float) -> Collection[str]:
        if self._unsure:
            return self._everything(now) if now >= self._rested_at else ()
        due: set[str] = set()
        if len(self._hinted) >= len(self._waited) or now >= self._hints_due_at():
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
