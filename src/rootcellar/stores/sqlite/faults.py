"""SQLite's exceptions as errors of our tree, each with one sentence that says what to do."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Final

from rootcellar.errors import (
    AccessDenied,
    InvalidInput,
    QueryError,
    RecordUnreadable,
    RootcellarError,
    SchemaError,
    StoreError,
    StoreUnavailable,
    ValueTooLarge,
)

_BUSY: Final = ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_PROTOCOL")
_FILE: Final = ("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_CANTOPEN")
#: SQLite's error codes, and what they mean.
_CODES: Final[tuple[tuple[tuple[str, ...], type[RootcellarError], str], ...]] = (
    (_BUSY, StoreUnavailable, "the database {path} has been locked by another writer for too long; see ?busy_timeout="),
    (
        ("SQLITE_READONLY", "SQLITE_PERM", "SQLITE_AUTH"),
        AccessDenied,
        "the database {path} cannot be written: it, or its directory, is read-only for this process",
    ),
    (("SQLITE_NOTADB",), SchemaError, "the file {path} is no SQLite database"),
    (("SQLITE_CORRUPT",), StoreError, "the database {path} is damaged ({message}); restore it from a copy"),
    (("SQLITE_FULL",), StoreUnavailable, "the disk of the database {path} is full"),
    (("SQLITE_IOERR",), StoreUnavailable, "the disk of the database {path} failed: {message}"),
    (("SQLITE_TOOBIG",), ValueTooLarge, "one value exceeds the billion bytes that SQLite holds"),
)
#: What the messages of SQLite's most general error code begin or end with, and what it means.
_GENERAL: Final[tuple[tuple[str, type[RootcellarError], str], ...]] = (
    ("no such table", SchemaError, "{message} in {path}; `rootcellar schema` shows what it needs, setup() makes it"),
    ("no such column", SchemaError, "{message} in {path}: the table is of another shape; see `rootcellar doctor`"),
    ("has no column named", SchemaError, "{message} in {path}: the table is of another shape; see `rootcellar doctor`"),
    (
        "already exists",
        SchemaError,
        "{message} in {path}, and rootcellar did not make it; give another name, ?table=...",
    ),
    ("malformed JSON", RecordUnreadable, "a document in {path} is no JSON: something else than rootcellar wrote it"),
    ("stack overflow", QueryError, "the query is nested too deep for SQLite"),
    ("too large", QueryError, "the query is too large for SQLite"),
    ("too complex", QueryError, "the query's pattern is too long for SQLite"),
    ("too many SQL variables", QueryError, "the query has more values than SQLite takes"),
)


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another connection is in the way, and trying again soon may help."""
    return _name(error).startswith(_BUSY)


def is_of_a_file(error: sqlite3.Error) -> bool:
    """Whether a file, be it a temporary one, could not be opened, read or written."""
    return _name(error).startswith(_FILE)


def translated(error: Exception, path: str) -> RootcellarError | None:
    """The error of our tree for one that a call on the database at `path` raised; None when it is not the driver's."""
    if isinstance(error, OverflowError):
        return ValueTooLarge("SQLite holds integers of 64 bits; one of these is larger")
    if isinstance(error, UnicodeEncodeError):
        return InvalidInput("SQLite holds text in UTF-8; one of these has a lone surrogate")
    if not isinstance(error, sqlite3.Error):
        return None
    if _name(error).startswith("SQLITE_CANTOPEN"):
        return _not_opened(path)
    return _by_code(error, path) or _by_message(error, path)


def _name(error: sqlite3.Error) -> str:
    return getattr(error, "sqlite_errorname", "")


def _by_code(error: sqlite3.Error, path: str) -> RootcellarError | None:
    for names, kind, sentence in _CODES:
        if _name(error).startswith(names):
            return kind(sentence.format(message=error, path=path))
    return None


def _by_message(error: sqlite3.Error, path: str) -> RootcellarError:
    message = str(error)
    for part, kind, sentence in _GENERAL:
        if part in message:
            return kind(sentence.format(message=message, path=path))
    if isinstance(error, sqlite3.DataError):
        return ValueTooLarge(f"SQLite cannot hold one of the values: {message}")
    if isinstance(error, sqlite3.ProgrammingError):
        return StoreUnavailable(f"the connection to {path} was closed: {message}")
    return StoreError(f"SQLite at {path} says: {message}")


def _not_opened(path: str) -> StoreError:
    file = Path(path)
    if not file.parent.is_dir():
        return StoreUnavailable(f"the directory {file.parent} of the SQLite database does not exist")
    if file.is_dir():
        return SchemaError(f"{path} is a directory, no SQLite database")
    if file.exists():
        return AccessDenied(f"the database {path} cannot be opened: it, or its directory, is closed to this process")
    if os.access(file.parent, os.W_OK):
        return SchemaError(f"there is no database {path}; setup() makes it")
    return AccessDenied(f"there is no database {path}, and this process may not make one there")
