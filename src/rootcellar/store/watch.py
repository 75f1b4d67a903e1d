"""How a waiter learns that records may have changed."""

from __future__ import annotations

import threading
from collections.abc import Iterable


class Watcher:
    """Wakes one waiting thread. This base polls: fast at first, slower while nothing happens.

    A watcher only ever hints; an authoritative read of the store decides. So a hint that comes too often costs a
    read, and one that is lost costs, at most, the time until whoever waits reads without one.
    """

    #: Seconds between two polls: the first, the last, and the factor between them.
    first_interval = 0.002
    last_interval = 0.5
    growth = 1.3

    def __init__(self) -> None:
        self._woken = threading.Event()
        self._interval = self.first_interval

    def watch(self, ids: Iterable[str]) -> None:
        """Somebody waits for these tasks: what happens to them once this has returned is hinted.

        From any thread, even when the watcher has just been closed. Never blocks long.
        """
        self._interval = self.first_interval
        self.wake()  # from the longer interval

    def unwatch(self, ids: Iterable[str]) -> None:
        """Nobody waits for these tasks any more."""

    def wait(self, timeout: float) -> frozenset[str] | None:
        """Block until records may have changed, at most `timeout` seconds, or until somebody calls `wake`.

        Returns the ids that changed (empty: none did), or None when that is not known and all should be read.
        """
        if self._woken.wait(min(timeout, self._interval)):
            self._woken.clear()
            return frozenset()
        self._interval = min(self._interval * self.growth, self.last_interval)
        return None

    def wake(self) -> None:
        """Make a `wait` in another thread return now."""
        self._woken.set()

    def close(self) -> None:
        """Release what this watcher holds. It is not used afterwards."""
