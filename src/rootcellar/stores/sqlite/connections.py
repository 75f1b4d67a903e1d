"""Connections to one database: how they are opened, kept, and let go of after a fork."""

from __future__ import annotations

import ctypes
import sqlite3
import threading
from typing import Final, Protocol
from urllib.parse import quote

import msgspec

from rootcellar.errors import NotSupported
from rootcellar.stores.sqlite.joins import register_joins

#: STRICT tables.
OLDEST: Final = (3, 37, 0)
#: Seconds that SQLite itself waits for another writer before it says so; beyond it we wait, in smaller steps than its.
BUSY_SECONDS: Final = 0.003
_IDLE: Final = 8
_CACHE_KIB: Final = 8192


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How connections are set up. `path` is absolute."""

    path: str
    journal_mode: str = "wal"
    synchronous: str = "full"


class Connections(Protocol):
    """Where connections come from and go to."""

    def acquire(self) -> sqlite3.Connection:
        """A connection that nobody else uses."""

    def release(self, connection: sqlite3.Connection, *, broken: bool) -> None:
        """Give it back."""

    def close(self) -> None:
        """Close them all; those in use when they come back."""

    def abandon(self) -> None:
        """After a fork, in the child: neither use nor close them, ever."""


def opened(settings: Settings, *, create: bool = False) -> sqlite3.Connection:
    """A new connection to a database file. `create`: make the file when it is not there."""
    require_sqlite()
    uri = f"file:{quote(settings.path)}?mode={'rwc' if create else 'rw'}"
    connection = _connected(uri)
    try:
        connection.execute(f"PRAGMA synchronous = {settings.synchronous}")
        connection.execute("PRAGMA temp_store = memory")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        _set_journal_mode(connection, settings.journal_mode)
    except BaseException:
        connection.close()
        raise
    return connection


def opened_in_memory() -> sqlite3.Connection:
    """A new database in memory."""
    require_sqlite()
    return _connected("file::memory:")


def _connected(uri: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=256
    )
    register_joins(connection)
    return connection


def _set_journal_mode(connection: sqlite3.Connection, mode: str) -> None:
    (current,) = connection.execute("PRAGMA journal_mode").fetchone()
    if current == mode:
        return
    try:
        connection.execute(f"PRAGMA journal_mode = {mode}")
    except sqlite3.OperationalError as error:
        # A database that is read-only can be read all the same.
        if not error.sqlite_errorname.startswith("SQLITE_READONLY"):
            raise


def require_sqlite() -> None:
    """Raise `NotSupported` unless this Python's SQLite can do what the store needs."""
    if sqlite3.sqlite_version_info < OLDEST:
        wanted = ".".join(map(str, OLDEST))
        raise NotSupported(
            f"this Python has SQLite {sqlite3.sqlite_version}, and the store needs {wanted} or later; "
            "use a newer Python, or another store"
        )


class Pool:
    """Connections to a file: as many as there are calls at once, of which a few are kept."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._idle: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        self._closed = False

    def acquire(self) -> sqlite3.Connection:
        """The connection used last, or a new one."""
        try:
            return self._idle.pop()
        except IndexError:
            return opened(self._settings)

    def release(self, connection: sqlite3.Connection, *, broken: bool) -> None:
        """Keep it unless it is broken, one too many, or too late."""
        with self._lock:
            if not broken and not self._closed and len(self._idle) < _IDLE:
                self._idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        """See `Connections`."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def abandon(self) -> None:
        """See `Connections`. Connections in use belong to threads that the child does not have."""
        idle, self._idle = self._idle, []
        for connection in idle:
            leak(connection)


class Single:
    """One connection for all threads, one after the other: it holds a database in memory."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._lock = threading.RLock()

    def acquire(self) -> sqlite3.Connection:
        """See `Connections`."""
        self._lock.acquire()
        return self._connection

    def release(self, connection: sqlite3.Connection, *, broken: bool) -> None:  # noqa: ARG002 - there is but one
        """See `Connections`."""
        self._lock.release()

    def close(self) -> None:
        """The database is gone with it."""
        with self._lock:
            self._connection.close()

    def abandon(self) -> None:
        """See `Connections`."""
        leak(self._connection)


def leak(connection: sqlite3.Connection) -> None:
    """Never let `connection` be closed, not even at exit.

    SQLite forbids a child to use, or so much as close, what its parent opened: https://sqlite.org/howtocorrupt.html#_carrying_an_open_database_connection_across_a_fork_
    """
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))
