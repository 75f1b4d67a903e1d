"""SQLAlchemy's exceptions as errors of our tree. What it says of statements and parameters is left out."""

from __future__ import annotations

from typing import Final

from sqlalchemy import exc

from rootcellar.errors import (
    AccessDenied,
    InvalidInput,
    NotSupported,
    RootcellarError,
    SchemaError,
    StoreError,
    StoreUnavailable,
    ValueTooLarge,
)

_CONFLICTS: Final = (
    "deadlock",
    "serializ",
    "could not serialize",
    "database is locked",
    "concurrent",
    "try restarting",
)
_DENIED: Final = ("password", "access denied", "login failed", "permission", "not authorized", "readonly", "read-only")
_MISSING: Final = (
    "no such table",
    "no such column",
    "has no column",
    "does not exist",
    "doesn't exist",
    "invalid object",
    "invalid column",
    "unknown column",
)


def is_conflict(error: Exception) -> bool:
    """Whether another writer was quicker, so that the same again on fresh rows may succeed."""
    if isinstance(error, exc.IntegrityError):
        return True
    return isinstance(error, exc.DBAPIError) and _says(error, _CONFLICTS)


def translated(error: Exception) -> RootcellarError | None:
    """The error of our tree for one of SQLAlchemy's; None when it is not."""
    if isinstance(error, exc.TimeoutError):
        return StoreUnavailable("no connection to the database became free in time")
    if isinstance(error, OverflowError):
        return ValueTooLarge("the database holds integers of 64 bits; one of these is larger")
    if isinstance(error, UnicodeEncodeError):
        return InvalidInput("the database holds text in UTF-8; one of these has a lone surrogate")
    if isinstance(error, exc.CompileError):
        return NotSupported(f"the database's dialect cannot do this: {error}")
    if not isinstance(error, exc.DBAPIError):
        return StoreError(f"SQLAlchemy says: {error}") if isinstance(error, exc.SQLAlchemyError) else None
    return _kind(error)(f"the database says: {error.orig}")


def _kind(error: exc.DBAPIError) -> type[StoreError]:
    if _says(error, _MISSING):
        return SchemaError
    if _says(error, _DENIED):
        return AccessDenied
    if isinstance(error, exc.DataError):
        return ValueTooLarge
    if error.connection_invalidated or isinstance(error, exc.OperationalError | exc.InterfaceError):
        return StoreUnavailable
    return StoreError


def _says(error: exc.DBAPIError, words: tuple[str, ...]) -> bool:
    message = str(error.orig).lower()
    return any(word in message for word in words)
