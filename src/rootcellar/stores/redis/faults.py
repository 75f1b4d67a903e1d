"""redis-py's errors, and the server's error replies, as ours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from redis import exceptions

from rootcellar.errors import (
    AccessDenied,
    RecordUnreadable,
    RootcellarError,
    SchemaError,
    StoreError,
    StoreUnavailable,
    ValueTooLarge,
)

#: The first that fits; the special kinds come first.
_KINDS: Final[tuple[tuple[type[Exception], type[RootcellarError], str], ...]] = (
    (exceptions.AuthenticationError, AccessDenied, "refuses access"),
    (exceptions.AuthorizationError, AccessDenied, "refuses access"),
    (exceptions.NoPermissionError, AccessDenied, "refuses access"),
    (exceptions.ReadOnlyError, StoreUnavailable, "is a replica here, which can only be read"),
    (exceptions.OutOfMemoryError, StoreUnavailable, "has no memory left (maxmemory)"),
    (exceptions.ConnectionError, StoreUnavailable, "cannot be reached or cannot answer now"),
    (exceptions.TimeoutError, StoreUnavailable, "does not answer in time"),
    (exceptions.ClusterError, StoreUnavailable, "has a cluster that is not whole"),
    (exceptions.TryAgainError, StoreUnavailable, "moves the keys just now"),
    (exceptions.AskError, StoreUnavailable, "keeps moving the keys"),
)
#: How a server's reply begins that redis-py has no class for.
_REPLIES: Final[tuple[tuple[str, type[RootcellarError], str], ...]] = (
    ("UNREADABLE", RecordUnreadable, "holds a record that cannot be read"),
    ("WRONGTYPE", SchemaError, "has a key of another kind in the way"),
    ("NOREPLICAS", StoreUnavailable, "has too few replicas"),
    ("BUSY", StoreUnavailable, "is busy with a script"),
    ("MISCONF", StoreUnavailable, "cannot save to its disk"),
    ("UNBLOCKED", StoreUnavailable, "changes its role"),
    ("NOAUTH", AccessDenied, "wants a password"),
    ("NOPERM", AccessDenied, "refuses access"),
    ("invalid username-password", AccessDenied, "refuses access"),
    ("Protocol error: invalid bulk length", ValueTooLarge, "cannot hold a value this large"),
    ("string exceeds maximum allowed size", ValueTooLarge, "cannot hold a value this large"),
    ("DB index is out of range", SchemaError, "has no database of this number"),
    ("invalid DB index", SchemaError, "has no database of this number"),
    (
        "This instance has cluster support disabled",
        SchemaError,
        "is no cluster; use redis:// in place of redis+cluster://",
    ),
)
#: What an error inside of a script begins with, up to the error itself.
_SCRIPT_WORDS: Final = ("ERR ", "user_script:")


def translated(error: Exception, secrets: Sequence[str] = ()) -> RootcellarError:
    """The error of our tree that `error` is, in one sentence and without any of `secrets`."""
    text = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
    kind, saying = _kind(error, text)
    for secret in secrets:
        text = text.replace(secret, "***")
    return kind(f"Redis {saying}: {text.rstrip('.')}")


def _kind(error: Exception, text: str) -> tuple[type[RootcellarError], str]:
    for begins, kind, saying in _REPLIES:
        if text.removeprefix("ERR ").startswith(begins):
            return kind, saying
    if "-OOM " in text or text.startswith("OOM ") or "OOM command not allowed" in text:
        return StoreUnavailable, "has no memory left (maxmemory)"
    if "READONLY" in text:
        return StoreUnavailable, "is a replica here, which can only be read"
    for known, kind, saying in _KINDS:
        if isinstance(error, known):
            return kind, saying
    if isinstance(error, OSError):
        return StoreUnavailable, "cannot be reached or cannot answer now"
    return StoreError, "reports an error"
