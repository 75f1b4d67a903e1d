"""How a waiter learns of changes: SQLite counts them, and reading the count is next to free."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterable

from rootcellar.store.watch import Watcher
from rootcellar.stores.sqlite.connections import leak


class MemoryWatcher(Watcher):
    """Told by the store itself: nobody else can change a database in memory. `forget` is called when it closes."""

    def __init__(self, forget: Callable[[MemoryWatcher], None]) -> None:
        super().__init__()
        self._forget = forget
        self._lock = threading.Lock()
        self._announced: set[str] = set()

    def announce(self, ids: Iterable[str]) -> None:
        """These tasks have finished, in this process."""
        with self._lock:
            self._announced.update(ids)
        self._woken.set()

    def wait(self, timeout: float) -> frozenset[str] | None:
        """See `Watcher.wait`."""
        self._woken.wait(timeout)
        return self._taken()

    def close(self) -> None:
        """See `Watcher.close`."""
        self._forget(self)

    def abandon(self) -> None:
        """After a fork, in the child: hold nothing of the parent's."""

    def _taken(self) -> frozenset[str]:
        with self._lock:
            self._woken.clear()
            announced, self._announced = self._announced, set()
        return frozenset(announced)


class SQLiteWatcher(MemoryWatcher):
    """Reads ``PRAGMA data_version`` on a connection of its own: every millisecond at first, later less often.

    The number changes when any other connection, of this process or another, has committed. What this process finished
    itself is announced by its id, which saves the others a read.
    """

    first_interval = 0.001
    last_interval = 0.008
    growth = 1.01

    def __init__(self, forget: Callable[[MemoryWatcher], None], connect: Callable[[], sqlite3.Connection]) -> None:
        super().__init__(forget)
        self._connection = connect()
        self._version = self._data_version()

    def wait(self, timeout: float) -> frozenset[str] | None:
        """See `Watcher.wait`."""
        deadline = time.monotonic() + timeout
        while True:
            version = self._data_version()
            if version != self._version:
                self._version = version
                self._interval = self.first_interval
                return None
            remaining = deadline - time.monotonic()
            if self._woken.wait(max(0.0, min(remaining, self._interval))):
                return self._taken()
            if remaining <= 0:
                return frozenset()
            self._interval = min(self._interval * self.growth, self.last_interval)

    def close(self) -> None:
        """Close the connection."""
        super().close()
        self._connection.close()

    def abandon(self) -> None:
        """The connection stays the parent's."""
        leak(self._connection)

    def _data_version(self) -> int:
        return int(self._connection.execute("PRAGMA data_version").fetchone()[0])
