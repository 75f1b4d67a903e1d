"""Reading what no hint names."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

#: The most tasks that are read by one query.
CHUNK: Final = 1000
#: The rest after everything was read, by the time that took: polling takes at most a quarter of a thread's time.
REST: Final = 3.0


class Sweeps:
    """Reads tasks that may have changed unheard, as often as their number allows.

    While hints come, the next `CHUNK` tasks are read every `every` seconds, in turn: so one hint that is lost costs as
    many seconds as there are thousands of tasks waited for, and at rest there is one query in each. When it is not
    known what has changed, all are read, unless that was done just before and took long.

    `waited` gives the tasks that are waited for, `read` reads those of them that still are.
    """

    def __init__(
        self,
        waited: Callable[[], list[str]],
        read: Callable[[Iterable[str]], None],
        *,
        every: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._waited = waited
        self._read = read
        self._every = every
        self._clock = clock
        self._turn: deque[str] = deque()
        self._next_at = clock() + every
        self._rested_at = 0.0
        self._unsure = False

    @property
    def patience(self) -> float:
        """Seconds until something is due even when no hint comes."""
        return max(0.0, (self._rested_at if self._unsure else self._next_at) - self._clock())

    def after(self, hint: frozenset[str] | None) -> None:
        """Read what is due now that a watcher has given this hint; what it names has been read."""
        self._unsure = self._unsure or hint is None
        now = self._clock()
        if self._unsure and now >= self._rested_at:
            self._read_all(now)
        elif not self._unsure and now >= self._next_at:
            self._read_some(now)

    def _read_all(self, now: float) -> None:
        self._read(self._waited())
        self._unsure = False
        self._turn.clear()
        done_at = self._clock()
        self._next_at = done_at + self._every
        self._rested_at = done_at + REST * (done_at - now)

    def _read_some(self, now: float) -> None:
        if not self._turn:
            self._turn.extend(self._waited())
        self._read([self._turn.popleft() for _ in range(min(CHUNK, len(self._turn)))])
        self._next_at = now + self._every
