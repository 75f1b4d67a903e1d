"""The spool's SQLite file: opening, transactions, forks, and one error for all that can go wrong."""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from rootcellar.errors import SpoolUnavailable
from rootcellar.forking import native_calls
from rootcellar.spool.location import make_directory

#: Seconds to wait for another process that writes to the same file.
BUSY_TIMEOUT: Final = 30.0

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS entry (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, payload BLOB NOT NULL, created_at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS dead_letter (
    seq INTEGER PRIMARY KEY, kind TEXT NOT NULL, payload BLOB NOT NULL, created_at REAL NOT NULL,
    failed_at REAL NOT NULL, error TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS store (identity TEXT PRIMARY KEY);
"""

_REASONS: Final = {
    "SQLITE_FULL": "is full: its limit is reached or the disk has no room",
    "SQLITE_BUSY": f"was in use by another process for more than {BUSY_TIMEOUT:.0f} seconds",
    "SQLITE_READONLY": "is read-only",
    "SQLITE_CANTOPEN": "cannot be opened",
    "SQLITE_PERM": "cannot be opened: permission denied",
    "SQLITE_NOTADB": "is no spool file, or damaged: move it away, and a new one is made",
    "SQLITE_CORRUPT": "is damaged: move it away, and a new one is made",
}
#: After these the connection is as good as before.
_PASSING: Final = ("SQLITE_FULL", "SQLITE_BUSY")


class SpoolFile:
    """One connection per process to the file at `path`, which holds at most `limit` bytes.

    Every method raises `SpoolUnavailable` for whatever the disk or SQLite has to say.
    """

    def __init__(self, path: Path, *, limit: int, identity: str) -> None:
        self.path = path
        self._limit = limit
        self._identity = identity
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._inode = 0
        _files.add(self)

    def close(self) -> None:
        """Close the connection, if there is one."""
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                with suppress(sqlite3.Error):
                    connection.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A write transaction: on the disk when the block ends, undone when it raises."""
        with self._opened() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The connection, for statements that only read."""
        with self._opened() as connection:
            yield connection

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        with self._lock, native_calls:
            try:
                yield self._current() or self._open()
            except sqlite3.Error as error:
                raise self._translated(error) from error
            except OSError as error:
                raise SpoolUnavailable(f"the spool {self.path} cannot be used: {error.strerror or error}") from error

    def _current(self) -> sqlite3.Connection | None:
        """The open connection, unless the file was moved away from under it."""
        if self._connection is not None and _inode(self.path) != self._inode:
            self.close()
        return self._connection

    def _open(self) -> sqlite3.Connection:
        make_directory(self.path.parent)
        with suppress(FileExistsError):
            # Only for a new file: closing a descriptor of a file that SQLite has open would drop SQLite's locks.
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        connection = sqlite3.connect(self.path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        self._connection, self._inode = connection, _inode(self.path)
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        (page_size,) = connection.execute("PRAGMA page_size").fetchone()
        connection.execute(f"PRAGMA max_page_count = {self._limit // page_size}")
        if connection.execute("PRAGMA user_version").fetchone() != (1,):
            connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = 1; COMMIT;")
            connection.execute("INSERT OR IGNORE INTO store VALUES (?)", (self._identity,))

    def _translated(self, error: sqlite3.Error) -> SpoolUnavailable:
        name = getattr(error, "sqlite_errorname", "")
        if not name.startswith(_PASSING):
            self.close()
        reason = next((text for key, text in _REASONS.items() if name.startswith(key)), f"failed: {error}")
        return SpoolUnavailable(f"the spool {self.path} {reason}")

    def after_fork(self) -> None:
        """In the child: leave the parent's connection alone, and open another when it is needed."""
        if self._connection is not None:
            _inherited.append(self._connection)
        self._connection, self._lock = None, threading.RLock()


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return -1


_files: weakref.WeakSet[SpoolFile] = weakref.WeakSet()
#: Connections of the parent process; closing one could disturb the parent (https://sqlite.org/howtocorrupt.html, 2.6).
_inherited: Final[list[sqlite3.Connection]] = []


def _reset_after_fork() -> None:
    for file in list(_files):
        file.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_after_fork)
