"""The fragments of SQL in which engines differ when they filter and sort.

A fragment is text. Values reach it as place-holders from `Bindings`, by name, so that a fragment may be moved, repeated
or dropped without counting parameters. A condition may be null where it is not true: the translator takes care of that
under a negation, and only there, so that plain conditions stay such that an index can serve them. A condition that
is an OR comes in parentheses.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import datetime
from typing import Any, Final

from rootcellar.query import Op, PathPart

Path = tuple[PathPart, ...]

#: The fields that no record stores: the time columns that each lies between.
DURATIONS: Final = {"runtime": ("started_at", "finished_at"), "wait": ("queued_at", "started_at")}


class Bindings:
    """The parameters of one statement; calling it with a value gives the place-holder that stands for it."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self.values: dict[str, Any] = {}

    def __call__(self, value: Any) -> str:
        name = f"p{len(self.values)}"
        self.values[name] = self._dialect.adapt(value)
        return self._dialect.placeholder(name)


class Dialect(ABC):
    """One engine's fragments.

    `column` below is the SQL of a column, `path` leads into the document it holds (empty: the document itself), and
    `bind` makes place-holders. What each condition means is `rootcellar.query.evaluate`.
    """

    @abstractmethod
    def quote(self, name: str) -> str:
        """`name` as an identifier."""

    @abstractmethod
    def placeholder(self, name: str) -> str:
        """What stands in the SQL for the named parameter."""

    @abstractmethod
    def adapt(self, value: Any) -> Any:
        """A str, int, float, bool or aware datetime as the driver takes it."""

    # -- plain columns -------------------------------------------------------------------------------------------------

    def distinct(self, column: str, value: str) -> str:
        """Never null: whether the two differ, a null being just another value."""
        return f"{column} IS DISTINCT FROM {value}"

    @abstractmethod
    def text_contains(self, column: str, text: str, bind: Bindings) -> str:
        """The text in `column` contains `text`."""

    @abstractmethod
    def text_matches(self, column: str, pattern: str, bind: Bindings) -> str:
        """The whole text in `column` matches: ``*`` is any run of characters, ``?`` any one."""

    def order_term(self, column: str, *, descending: bool) -> str:
        """A term of ORDER BY in which null comes last, whichever the direction."""
        return f"{column} {'DESC' if descending else 'ASC'} NULLS LAST"

    # -- documents -----------------------------------------------------------------------------------------------------

    @abstractmethod
    def document_exists(self, column: str, path: Path) -> str:
        """There is a value at `path`, and it is not JSON's null. Never null."""

    @abstractmethod
    def document_equal(self, column: str, path: Path, value: str | float | bool, bind: Bindings) -> str:
        """The value at `path` is of the operand's kind and equals it; 1 equals 1.0, and true is no number."""

    @abstractmethod
    def document_order(self, column: str, path: Path, op: Op, value: str | float, bind: Bindings) -> str:
        """LT, LE, GT or GE with a finite `value`.

        A text compares with texts by code point; a number, as a double, with numbers and with texts that
        `query.DECIMAL_TEXT` matches. An int fits 64 bits.
        """

    @abstractmethod
    def document_contains(self, column: str, path: Path, value: str | float | bool, bind: Bindings) -> str:
        """An array one of whose elements equals `value`, or, for a text, a text that contains it."""

    @abstractmethod
    def document_matches(self, column: str, path: Path, pattern: str, bind: Bindings) -> str:
        """A text that matches as in `text_matches`."""

    # -- computed ------------------------------------------------------------------------------------------------------

    @abstractmethod
    def duration(self, field: str) -> str:
        """One of `DURATIONS` in seconds, as a double; null when either time is."""

    def group_key(self, column: str) -> str:
        """A column, as what rows are grouped by."""
        return column

    @abstractmethod
    def time_bucket(self, column: str, seconds: int) -> str:
        """The start of the span of `seconds` since 1970 that the time falls into, in whole seconds since 1970."""

    def read_time(self, value: Any) -> datetime | None:
        """A time as the driver returns it -> aware, in UTC."""
        raise NotImplementedError


def glob_prefix(pattern: str) -> str:
    """What every text that a MATCHES pattern matches begins with."""
    for position, char in enumerate(pattern):
        if char in "*?":
            return pattern[:position]
    return pattern
