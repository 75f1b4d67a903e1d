"""How a waiter learns of changes: by polling, and at once of what this process finished itself."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from rootcellar.store.watch import Watcher


class MySQLWatcher(Watcher):
    """A poll fast at first and slower later, cut short by what the store in this process announces."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._announced: set[str] = set()

    def announce(self, ids: Iterable[str]) -> None:
        """These tasks have finished, in this process."""
        with self._lock:
            self._announced.update(ids)
        self._woken.set()

    def wait(self, timeout: float) -> frozenset[str] | None:
        """See `Watcher.wait`. What was announced is known by its id; what a poll may find is not."""
        hint = super().wait(timeout)
        with self._lock:
            announced, self._announced = self._announced, set()
        return frozenset(announced) or hint
