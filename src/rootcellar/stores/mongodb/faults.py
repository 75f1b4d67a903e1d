"""PyMongo's errors as ours, by class and by the server's error code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from bson.errors import BSONError, InvalidBSON
from pymongo import errors

from rootcellar.errors import (
    AccessDenied,
    InvalidInput,
    RecordUnreadable,
    RootcellarError,
    SchemaError,
    StoreError,
    StoreUnavailable,
    StoreURLError,
    ValueTooLarge,
)

DUPLICATE_KEY: Final = 11000
#: Error codes of a document, or of a command with it, that has more than 16 MiB.
TOO_LARGE: Final = frozenset({10334, 17419, 17420})
#: https://github.com/mongodb/mongo/blob/master/src/mongo/base/error_codes.yml
_BY_CODE: Final[dict[int, type[RootcellarError]]] = {
    **dict.fromkeys((13, 18, 8000), AccessDenied),  # no right to do this; not who they say; Atlas's own
    **dict.fromkeys((67, 68, 85, 86, 166), SchemaError),  # an index, or a collection that is a view
    **dict.fromkeys(TOO_LARGE, ValueTooLarge),
    **dict.fromkeys((2, 15, 9, 22), InvalidInput),  # a bad value; nested too deep; what the server cannot parse
    # Gone, going, not the primary any more, out of time, out of space, a write concern that was not kept to.
    **dict.fromkeys((6, 7, 50, 64, 89, 91, 100, 112, 133, 134, 189, 202, 262, 317, 363, 365), StoreUnavailable),
    **dict.fromkeys((9001, 10058, 10107, 11600, 11602, 13435, 13436, 14031, 10003), StoreUnavailable),
}
_UNAVAILABLE: Final = (
    errors.ConnectionFailure,
    errors.ExecutionTimeout,
    errors.WTimeoutError,
    errors.NetworkTimeout,
    errors.WaitQueueTimeoutError,
    errors.InvalidOperation,
)


def translated(error: Exception, secrets: Sequence[str] = ()) -> RootcellarError | None:
    """The error of our tree that `error` is, in one sentence and without any of `secrets`; None for another's."""
    kind = _kind(error)
    if kind is None:
        return None
    text = _sentence(error)
    for secret in secrets:
        text = text.replace(secret, "***")
    return kind(f"MongoDB{_SAYINGS.get(kind, ' reports an error')}{_code(error)}: {text}")


def is_too_large(error: Exception) -> bool:
    """Whether a document, or the command with it, was too large."""
    if isinstance(error, errors.DocumentTooLarge):
        return True
    return isinstance(error, errors.OperationFailure) and error.code in TOO_LARGE


#: By class, the first that fits. The last three raise when something cannot be made BSON of.
_BY_CLASS: Final[tuple[tuple[type[Exception] | tuple[type[Exception], ...], type[RootcellarError]], ...]] = (
    (errors.DocumentTooLarge, ValueTooLarge),
    (_UNAVAILABLE, StoreUnavailable),
    ((errors.ConfigurationError, errors.InvalidURI), StoreURLError),
    (InvalidBSON, RecordUnreadable),
    ((BSONError, UnicodeEncodeError, OverflowError), InvalidInput),
)


def _kind(error: Exception) -> type[RootcellarError] | None:
    for classes, kind in _BY_CLASS:
        if isinstance(error, classes):
            return kind
    if isinstance(error, errors.OperationFailure):
        return _kind_of_failure(error)
    return StoreError if isinstance(error, errors.PyMongoError) else None


def _kind_of_failure(error: errors.OperationFailure) -> type[RootcellarError]:
    code = _first(error).get("code", error.code)
    if code in _BY_CODE:
        return _BY_CODE[code]
    transient = error.has_error_label("RetryableWriteError") or error.has_error_label("TransientTransactionError")
    return StoreUnavailable if transient else StoreError


def _first(error: errors.OperationFailure) -> dict[str, Any]:
    """The first error of a batch."""
    details = error.details if isinstance(error, errors.BulkWriteError) else None
    found = [*(details or {}).get("writeErrors", ()), *(details or {}).get("writeConcernErrors", ())]
    return dict(found[0]) if found else {}


_SAYINGS: Final[dict[type[RootcellarError], str]] = {
    AccessDenied: " refuses access",
    StoreUnavailable: " cannot be reached or cannot answer now",
    SchemaError: " has something in the way",
    ValueTooLarge: " cannot hold a value this large",
    InvalidInput: " cannot store this value",
    RecordUnreadable: " has what cannot be read",
    StoreURLError: " cannot be connected to like this",
}


def _code(error: Exception) -> str:
    code = error.code if isinstance(error, errors.OperationFailure) else None
    return f" ({code})" if code else ""


def _sentence(error: Exception) -> str:
    if isinstance(error, errors.OperationFailure):
        details = _first(error) or error.details or {}
        return str(details.get("errmsg") or error).partition(", full error")[0]
    lines = str(error).partition(" (configured timeouts")[0].partition(", Timeout:")[0].strip().splitlines()
    return lines[0] if lines else type(error).__name__
