"""One database: work done on its connections, with patience for other writers."""

from __future__ import annotations

import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from rootcellar import jitter
from rootcellar.errors import StoreUnavailable
from rootcellar.forking import native_calls
from rootcellar.stores.sqlite.connections import Connections, Pool, Settings, Single, opened, opened_in_memory
from rootcellar.stores.sqlite.faults import is_busy

R = TypeVar("R")
Work = Callable[[sqlite3.Connection], R]


class Database:
    """Does work on connections, from any thread.

    `patience`: seconds to wait for another writer. `furnish`: makes the tables of a new database in memory; None says
    that the database is a file.
    """

    def __init__(self, settings: Settings, *, patience: float, furnish: Work[None] | None = None) -> None:
        self._settings = settings
        self._patience = patience
        self._furnish = furnish
        self._reset()

    def _reset(self) -> None:
        self._connections: Connections | None = None
        self._opening = threading.Lock()
        # One writer at a time in this process: threads queue here, in turn, instead of polling the file's lock.
        self._writing = threading.Lock()

    # -- work ----------------------------------------------------------------------------------------------------------

    def rows(self, sql: str, parameters: dict[str, Any]) -> list[Sequence[Any]]:
        """All rows of a statement that reads."""
        return self.read(lambda connection: connection.execute(sql, parameters).fetchall())

    def read(self, work: Work[R]) -> R:
        """Do work that reads."""
        return self._patiently(lambda: self._once(work))

    def write(self, work: Work[R]) -> R:
        """Do work that is one statement which writes."""
        if not self._writing.acquire(timeout=self._patience):
            raise StoreUnavailable(f"another thread has been writing to {self._settings.path} for too long")
        try:
            return self._patiently(lambda: self._once(work))
        finally:
            self._writing.release()

    def transaction(self, work: Work[R]) -> R:
        """Do work that is several statements, all of them or none."""

        def transaction(connection: sqlite3.Connection) -> R:
            connection.execute("BEGIN IMMEDIATE")
            result = work(connection)
            connection.execute("COMMIT")
            return result

        return self.write(transaction)

    def checkpoint(self) -> None:
        """Move what was committed from the log into the database now, so that no writer has to after its commit."""
        self.read(lambda connection: connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall())

    def _patiently(self, attempt: Callable[[], R]) -> R:
        deadline = time.monotonic() + self._patience
        while True:
            try:
                with native_calls:
                    return attempt()
            except sqlite3.OperationalError as error:
                if not is_busy(error) or time.monotonic() >= deadline:
                    raise
            # Not for a fixed time, or two who wait would wake together, for ever.
            time.sleep(jitter.between(0, 0.001))

    def _once(self, work: Work[R]) -> R:
        connections = self._pool()
        connection = connections.acquire()
        broken = True
        try:
            result = work(connection)
            broken = False
        except sqlite3.OperationalError as error:
            broken = not is_busy(error)
            raise
        finally:
            if connection.in_transaction:
                connection.rollback()
            connections.release(connection, broken=broken)
        return result

    # -- connections ---------------------------------------------------------------------------------------------------

    @property
    def in_memory(self) -> bool:
        """Whether the database has no file."""
        return self._furnish is not None

    def connect(self) -> sqlite3.Connection:
        """A connection to the file for the caller alone."""
        return self._patiently(lambda: opened(self._settings))

    def create(self) -> None:
        """Make the file unless it is there."""
        self._patiently(lambda: opened(self._settings, create=True)).close()

    def close(self) -> None:
        """Close the connections to a file; a database in memory has no other place, so it stays."""
        connections = self._connections
        if connections is not None and not self.in_memory:
            self._connections = None
            connections.close()

    def abandon(self) -> None:
        """After a fork, in the child: begin anew, with the parent's connections neither used nor closed."""
        connections = self._connections
        if connections is not None:
            connections.abandon()
        self._reset()

    def _pool(self) -> Connections:
        connections = self._connections
        if connections is not None:
            return connections
        with self._opening:
            if self._connections is None:
                self._connections = self._opened()
            return self._connections

    def _opened(self) -> Connections:
        if self._furnish is None:
            pool = Pool(self._settings)
            weakref.finalize(self, pool.close)
            return pool
        connection = opened_in_memory()
        weakref.finalize(self, connection.close)
        connection.execute("BEGIN")
        self._furnish(connection)
        connection.execute("COMMIT")
        return Single(connection)
