"""Values as SQL literals.

PyMySQL sends no parameters apart from a statement, so one way or another values become text. Its own escaping looks at
each character of each text; this needs two passes in C. It is safe under both readings of a backslash: a quote is
always doubled, and never written with one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from rootcellar.errors import InvalidInput

#: No DOUBLE is greater; a literal that would be is refused by the server.
_LARGEST: Final = "1.7976931348623157e308"


def text_literal(value: str) -> str:
    """A text in quotes."""
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def time_literal(moment: datetime) -> str:
    """An aware time as DATETIME(6) in UTC, the zone of every session."""
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    return f"'{moment.replace(tzinfo=None).isoformat(' ', 'microseconds')}'"


def _float_literal(value: float) -> str:
    if value in {float("inf"), float("-inf")}:
        return _LARGEST if value > 0 else "-" + _LARGEST
    text = repr(value)
    return text if "e" in text else text + "e0"


def _bool_literal(value: bool) -> str:
    return "1" if value else "0"


_WRITERS: Final[dict[type, Callable[[Any], str]]] = {
    str: text_literal,
    int: str,
    float: _float_literal,
    bool: _bool_literal,
    datetime: time_literal,
}


def literal(value: Any) -> str:
    """Null, a text, a number, a truth value or an aware time as it stands in SQL; a list or tuple as a list of such.

    Raises `InvalidInput` for anything else.
    """
    if value is None:
        return "NULL"
    writer = _WRITERS.get(type(value))
    if writer is not None:
        return writer(value)
    if isinstance(value, list | tuple):
        return f"({', '.join(map(literal, value))})"
    for kind, write in _WRITERS.items():
        if isinstance(value, kind):
            return write(value)
    raise InvalidInput(f"a {type(value).__name__} is no value for a column")


def filled(sql: str, parameters: Mapping[str, Any]) -> str:
    """`sql` with its place-holders, written ``%(name)s``, replaced by literals."""
    return sql % {name: literal(value) for name, value in parameters.items()}


def encoded(sql: str) -> bytes:
    """A statement as it goes over the wire. Raises `InvalidInput` for text that is none in UTF-8."""
    try:
        return sql.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput("a text with a lone surrogate cannot be stored here, nor be looked for") from error
