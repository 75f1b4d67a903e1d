"""psycopg's errors as ours, by SQLSTATE (PostgreSQL's documentation, appendix A).

A refusal while connecting reaches the client without an SQLSTATE, as text in the server's language; what cannot be told
apart then counts as unavailable.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import psycopg

from rootcellar.errors import (
    AccessDenied,
    InvalidInput,
    RootcellarError,
    SchemaError,
    StoreError,
    StoreUnavailable,
    StoreURLError,
    ValueTooLarge,
)

_SETUP: Final = "run store.setup() (or: rootcellar schema), with a role that may create tables"
_BY_STATE: Final[dict[str, type[RootcellarError]]] = {
    "28": AccessDenied,  # invalid authorization
    "42501": AccessDenied,  # insufficient privilege
    "25006": AccessDenied,  # read-only transaction
    "3D": SchemaError,  # no such database
    "3F": SchemaError,  # no such schema
    **dict.fromkeys(("42P01", "42703", "42704", "42883"), SchemaError),  # no such table, column, type or function
    **dict.fromkeys(("42P10", "42804", "42809", "42846"), SchemaError),  # they are there, and of another shape
    "08": StoreUnavailable,  # connection
    "0A000": StoreUnavailable,  # a prepared statement whose table was altered: fine again on a fresh connection
    "26": StoreUnavailable,  # a prepared statement that somebody discarded: likewise
    "42P05": StoreUnavailable,  # a prepared statement of another client, through a pooler: likewise
    "40": StoreUnavailable,  # deadlock or serialization failure, more often than it was tried
    "53": StoreUnavailable,  # too many connections, disk full, out of memory
    "55": StoreUnavailable,  # a lock not to be had in time
    "57": StoreUnavailable,  # shutdown, crash, recovery, statement time-out
    "58": StoreUnavailable,  # errors of the server's system
    "54": ValueTooLarge,  # a limit of PostgreSQL
    "22": InvalidInput,  # a number out of range, a character that the database's encoding lacks
}
_CONNECTING: Final[tuple[tuple[re.Pattern[str], type[RootcellarError]], ...]] = (
    (re.compile(r"invalid \S+ value|invalid (integer value|port number|connection option)"), StoreURLError),
    (re.compile(r'database ".*" does not exist'), SchemaError),
    (
        re.compile(
            r"authentication failed|no password supplied|role \".*\" does not exist|no pg_hba\.conf entry|"
            r"permission denied|not permitted to log in|no such user|certificate|SASL|password"
        ),
        AccessDenied,
    ),
)
_BEYOND_MEMORY: Final = re.compile(r"invalid memory alloc request size|out of memory|string buffer")


def translated(error: psycopg.Error, secrets: Sequence[str] = ()) -> RootcellarError:
    """The error of our tree that `error` is, in one sentence and without any of `secrets`."""
    kind = _kind(error)
    text = _first_line(error)
    for secret in secrets:
        text = text.replace(secret, "***")
    return kind(f"PostgreSQL{_saying(kind, error)}: {text}{_hint(kind, error)}")


def _kind(error: psycopg.Error) -> type[RootcellarError]:
    state = error.sqlstate
    if state is None:
        return _kind_without_state(error)
    if state.startswith("XX") and _BEYOND_MEMORY.search(str(error)):
        return ValueTooLarge
    return _BY_STATE.get(state) or _BY_STATE.get(state[:2]) or StoreError


def _kind_without_state(error: psycopg.Error) -> type[RootcellarError]:
    if isinstance(error, psycopg.ProgrammingError):
        return StoreURLError  # psycopg could make nothing of a parameter
    if not isinstance(error, psycopg.OperationalError):
        return InvalidInput if isinstance(error, psycopg.DataError) else StoreError
    if error.pgconn is not None and error.pgconn.needs_password:
        return AccessDenied
    for pattern, kind in _CONNECTING:
        if error.pgconn is not None and pattern.search(str(error)):
            return kind
    return StoreUnavailable


_SAYINGS: Final[dict[type[RootcellarError], str]] = {
    AccessDenied: " refuses access",
    StoreUnavailable: " cannot be reached or cannot answer now",
    SchemaError: " has not the tables this needs",
    ValueTooLarge: " cannot hold a value this large",
    InvalidInput: " cannot store this value",
    StoreURLError: " cannot be connected to like this",
}


def _saying(kind: type[RootcellarError], error: psycopg.Error) -> str:
    state = f" ({error.sqlstate})" if error.sqlstate else ""
    return _SAYINGS.get(kind, " reports an error") + state


def _hint(kind: type[RootcellarError], error: psycopg.Error) -> str:
    if kind is SchemaError:
        return "; create the database first" if _names_database(error) else f"; {_SETUP}"
    if error.sqlstate == "25006":
        return "; the role, the database or the server is read-only"
    return ""


def _names_database(error: psycopg.Error) -> bool:
    return error.sqlstate is None or error.sqlstate.startswith("3D")


def _first_line(error: psycopg.Error) -> str:
    primary = error.diag.message_primary
    text = primary or next(iter(str(error).strip().splitlines()), type(error).__name__)
    return text.removeprefix("connection failed: ").removeprefix("connection is bad: ")
