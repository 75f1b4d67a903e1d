"""Exit codes, and how an error of ours becomes one line and one of them."""

from __future__ import annotations

import enum
import re
import sys
from typing import IO, Any, Final, Self

import click

from rootcellar.errors import (
    AccessDenied,
    MissingDriver,
    QueryError,
    RootcellarError,
    SpoolUnavailable,
    StoreError,
    StoreUnavailable,
)


class ExitCode(enum.IntEnum):
    """How a command ended; each member's text says when."""

    meaning: str

    def __new__(cls, code: int, meaning: str) -> Self:
        """A member is its code, and knows its meaning."""
        member = int.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member

    OK = 0, "all went well"
    FOUND = 1, "nothing was found, `check`, `doctor` or `demo` found a problem, or the answer to a question was no"
    USAGE = 2, "the command, a query, a setting or a URL is wrong, or the store cannot do what was asked"
    UNAVAILABLE = 3, "the store, or the spool, cannot be reached now: try again later"
    DENIED = 4, "the store refused the credentials, or the right to do this"
    STORE = 5, "the store answered and something is wrong in it: tables missing or of another shape, a damaged file"
    MISSING = 6, "a Python package is not installed; the message names the extra"
    BUG = 70, "an error that nobody foresaw; with ROOTCELLAR_TRACEBACK=1 it comes with its traceback"
    INTERRUPTED = 130, "Ctrl-C, which is also how `tail` ends"


_CODES: Final[tuple[tuple[type[RootcellarError], ExitCode], ...]] = (
    (StoreUnavailable, ExitCode.UNAVAILABLE),
    (SpoolUnavailable, ExitCode.UNAVAILABLE),
    (AccessDenied, ExitCode.DENIED),
    (StoreError, ExitCode.STORE),
    (MissingDriver, ExitCode.MISSING),
    (RootcellarError, ExitCode.USAGE),
)

#: The user part of a URL, wherever a foreign message has one in it.
_CREDENTIALS: Final = re.compile(r"(?<=://)[^\s/'\"]*@")


def exit_code_of(error: RootcellarError) -> ExitCode:
    """The exit code that tells of `error`."""
    return next(code for kind, code in _CODES if isinstance(error, kind))


def without_secrets(message: str) -> str:
    """`message` of somebody else's error, with the user part of every URL in it hidden."""
    return _CREDENTIALS.sub("***@", message)


def message_of(error: RootcellarError) -> str:
    """The text of `error`: one line, but for a query, which is shown below it with the place marked."""
    text = str(error) or type(error).__name__
    return text if isinstance(error, QueryError) else " ".join(text.split())


class Failure(click.ClickException):
    """The end of a command: one line on stderr and an exit code."""

    def __init__(self, message: str, code: ExitCode) -> None:
        super().__init__(message)
        self.exit_code = code  # type: ignore[misc] # click reads it from the instance

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the line."""
        click.echo(f"rootcellar: {self.message}", file=file or sys.stderr)
