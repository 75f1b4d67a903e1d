"""Documents: what the codec makes of Python values, with a liking for those that engines get wrong."""

from __future__ import annotations

from typing import Any, Final

from hypothesis import strategies as st

from rootcellar.testing.strategies.drawing import below, coin, pick

#: Texts that a collation, an escape or a parser somewhere takes for something else.
HARD_TEXTS: Final = (
    "", " ", "a", "A", "a ", "ab", "b", "%", "_", "a%", "a_b", "*", "?", "[a]", "'", '"', "\\", "\\n", "\n", "\t\r",
    "--", ";", "é", "e\u0301", "ß", "ss", "İ", "ı", "😀", "𝔘", "\uffff", "\u2028", "\ufeff", "\x7f", "\x01",
    "0", "1", "01", "-7", "199.95", "123456789012345678901234567890", "1e5", ".5", "5.", "+1", " 1", "0x10", "inf",
    "nan", "true", "null", "{}", "[]", "$.a", "2026-11-21T09:00:00.120000Z",
)  # fmt: skip

#: Keys that a path language somewhere gives a meaning to.
HARD_KEYS: Final = (
    "a", "b", "A", "total", "line.items", "$set", "$", ".", "..", 'quote"d', "it's", "back\\slash", "two words", "",
    " ", "ключ", "😀", "0", "1", "-1", "[0]", "*", "%", "a_b", "null", "__proto__", "@", "#-1", "\n", "a::text", "?",
)  # fmt: skip

HARD_NUMBERS: Final = (
    0, 1, -1, 2, 7, 42, 255, 2**31 - 1, 2**31, -(2**31), 2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63),
    0.0, 1.0, -1.0, 0.1, 0.5, 1.5, 0.30000000000000004, 199.95, 100.0, 1e16, 1e22, 1e23, 1e-7, 1e300,
    1.7976931348623157e308, -1.7976931348623157e308, 5e-324, 2.2250738585072014e-308, 1763715600.1200001,
    123456789.12345679,
)  # fmt: skip

#: Characters by the bytes that UTF-8 takes for them: no NUL and no lone surrogate, which the codec escapes.
_CHARACTERS: Final = ((0x01, 0x7F), (0x80, 0x7FF), (0x800, 0xD7FF), (0xE000, 0xFFFF), (0x10000, 0x10FFFF))
_LENGTHS: Final = (0, 1, 1, 2, 2, 3, 5, 8)
_INTEGER: Final = st.integers(-(2**63), 2**63 - 1)
_DOUBLE: Final = st.floats(allow_nan=False, allow_infinity=False)
_MOST: Final = 4


@st.composite
def texts(draw: st.DrawFn) -> str:
    """Texts without NUL and lone surrogates."""
    return draw_text(draw)


@st.composite
def keys(draw: st.DrawFn) -> str:
    """Keys of documents: mostly from a small set, so that paths meet."""
    return draw_key(draw)


@st.composite
def scalars(draw: st.DrawFn) -> Any:
    """Null, booleans, numbers and texts."""
    return draw_scalar(draw)


@st.composite
def documents(draw: st.DrawFn, *, size: int = 8) -> Any:
    """Documents of any form, empty containers included, with at most about `size` values in them."""
    return draw_document(draw, size)


def draw_text(draw: st.DrawFn) -> str:
    """One of `texts`."""
    return pick(draw, HARD_TEXTS) if below(draw, 4) else _any_text(draw)


def draw_key(draw: st.DrawFn) -> str:
    """One of `keys`."""
    return pick(draw, HARD_KEYS) if below(draw, 8) else _any_text(draw)


def _any_text(draw: st.DrawFn) -> str:
    return "".join(_any_character(draw) for _ in range(pick(draw, _LENGTHS)))


def _any_character(draw: st.DrawFn) -> str:
    first, last = pick(draw, _CHARACTERS)
    return chr(first + below(draw, last - first + 1))


def draw_number(draw: st.DrawFn) -> float:
    """An integer of 64 bits or a finite double; never minus zero, which not every engine tells from zero."""
    kind = below(draw, 6)
    if kind < 4:
        return pick(draw, HARD_NUMBERS)
    number: float = draw(_INTEGER if kind == 4 else _DOUBLE)
    return number or type(number)()


def draw_scalar(draw: st.DrawFn) -> Any:
    """One of `scalars`."""
    kind = below(draw, 8)
    if kind < 2:
        return None if kind == 0 else coin(draw)
    return draw_text(draw) if kind < 5 else draw_number(draw)


def draw_document(draw: st.DrawFn, size: int) -> Any:
    """One of `documents`."""
    kind = below(draw, 4) if size > 0 else 0
    if kind < 2:
        return draw_scalar(draw)
    length = below(draw, _MOST + 1)
    inner = (size - 1) // max(length, 1)
    if kind == 2:
        return [draw_document(draw, inner) for _ in range(length)]
    return {draw_key(draw): draw_document(draw, inner) for _ in range(length)}


def draw_object(draw: st.DrawFn, size: int) -> dict[str, Any]:
    """A document that is an object."""
    return {draw_key(draw): draw_document(draw, size // 2) for _ in range(below(draw, 3))}


def nested(depth: int, leaf: Any = "bottom") -> Any:
    """A document `depth` containers deep, lists and objects by turns, with `leaf` at the bottom."""
    value = leaf
    for level in range(depth):
        value = [value] if level % 2 else {"in": value}
    return value
