"""What every JSON engine gives back exactly as it got it: the quick walk that most values never leave.

What the engines do to JSON, as measured on PostgreSQL 15, MariaDB 10.11 and MySQL 8.0:

- jsonb refuses NUL and lone surrogates in texts and keys.
- jsonb keeps numbers as decimals: 1e16 comes back as an integer, -0.0 as 0.0. No engine takes NaN or an infinity.
- Integers beyond 64 bits become doubles here and there.
- MariaDB refuses a document nested deeper than 31 levels, MySQL one deeper than 100.
- MySQL refuses keys above 65,535 bytes, and it reads doubles of more than 15 digits inexactly, by an ulp or two.
- jsonb and MySQL do not keep the order of keys.
"""

from __future__ import annotations

import re
from math import copysign
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Containers within containers that stay native. Leaves room for the columns and records around a value.
NATIVE_DEPTH: Final = 24
INT_MIN: Final = -(2**63)
INT_MAX: Final = 2**63 - 1
#: From here on a float has no fraction that would tell it from an integer.
FLOAT_LIMIT: Final = 1e16
#: Characters; up to four bytes each, so below MySQL's limit for a key.
KEY_LIMIT: Final = 16_000

_UNSAFE: Final = re.compile("[\\\\\0\ud800-\udfff]")
_ESCAPED: Final = re.compile(r"\\u([0-9a-f]{4})")


def is_plain(value: Any) -> bool:
    """Whether `value` is its own document and needs no types."""
    return _are_plain((value,), NATIVE_DEPTH)


def _are_plain(values: Iterable[Any], room: int) -> bool:  # noqa: C901, PLR0911 - the hot path: one flat walk
    for value in values:
        kind = type(value)
        if kind is str:
            if (not value.isascii() or "\0" in value) and not is_clean(value):
                return False
        elif kind is int:
            if not INT_MIN <= value <= INT_MAX:
                return False
        elif kind is float:
            if not is_plain_float(value):
                return False
        elif kind is dict:
            if not room or not are_plain_keys(value) or not _are_plain(value.values(), room - 1):
                return False
        elif kind is list:
            if not room or not _are_plain(value, room - 1):
                return False
        elif value is not None and kind is not bool:
            return False
    return True


def is_plain_float(value: float) -> bool:
    """Whether a float comes back as the same float even from an engine that keeps decimals."""
    return -FLOAT_LIMIT < value < FLOAT_LIMIT and (value != 0.0 or copysign(1.0, value) > 0)


def is_clean(text: str) -> bool:
    """Whether every engine takes this text: it has neither NUL nor lone surrogates."""
    if "\0" in text:
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def are_plain_keys(value: dict[Any, Any]) -> bool:
    """Whether a dict's keys can be a JSON object's as they are."""
    for key in value:
        if type(key) is not str or not key.isascii() or "\0" in key or len(key) > KEY_LIMIT:
            break
    else:
        return True
    return all(type(key) is str and len(key) <= KEY_LIMIT and is_clean(key) for key in value)


def escaped(text: str) -> str:
    r"""A text that every engine takes: backslash, NUL and lone surrogates as ``\uXXXX``. Undone by `unescaped`."""
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def unescaped(text: str) -> str:
    """The inverse of `escaped`."""
    return _ESCAPED.sub(lambda match: chr(int(match[1], 16)), text)


def readable(text: str) -> str:
    """A text for people: as it is where every engine takes it, otherwise escaped."""
    return text if is_clean(text) else escaped(text)
