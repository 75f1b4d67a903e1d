"""The lease: the right to replay a spool, held by one process of the host at a time, gone when that process is."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from rootcellar.errors import SpoolUnavailable


@contextmanager
def lease(spool: Path) -> Iterator[bool]:
    """Try to take the lease of the spool file for the length of the block; the block is told whether it has it.

    It is SQLite's exclusive lock on an empty database: the system lets go of it when the process dies, a child of a
    fork does not inherit it, and it works between threads and on every platform alike.
    """
    path = spool.with_suffix(".lease")
    try:
        _make(path, spool)
        connection = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
    except (OSError, sqlite3.Error) as error:
        raise SpoolUnavailable(f"the lease {path} cannot be opened: {error}") from error
    with closing(connection):
        yield _taken(connection, path)


def _make(path: Path, spool: Path) -> None:
    """Make the empty file. It belongs to the owner of the spool, also when root replays by hand."""
    with suppress(FileExistsError):
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        try:
            if hasattr(os, "fchown") and os.geteuid() == 0:
                owner = spool.stat()
                os.fchown(descriptor, owner.st_uid, owner.st_gid)
        finally:
            os.close(descriptor)


def _taken(connection: sqlite3.Connection, path: Path) -> bool:
    try:
        connection.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            return False
        raise SpoolUnavailable(f"the lease {path} cannot be taken: {error}") from error
    return True
