"""Documents: what the codec makes of Python values, with a liking for those that engines get wrong."""

from __future__ import annotations

from typing import Any, Final

from hypothesis import strategies as st

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

#: No NUL and no lone surrogate: the codec writes those in another way.
PLAIN_CHARACTERS: Final = st.characters(codec="utf-8", exclude_characters="\0")


def texts(*, max_size: int = 12) -> st.SearchStrategy[str]:
    """Texts without NUL and lone surrogates."""
    return st.sampled_from(HARD_TEXTS) | st.text(PLAIN_CHARACTERS, max_size=max_size)


def keys() -> st.SearchStrategy[str]:
    """Keys of documents: mostly from a small set, so that paths meet."""
    return st.sampled_from(HARD_KEYS) | st.text(PLAIN_CHARACTERS, max_size=6)


def numbers() -> st.SearchStrategy[float]:
    """Integers of 64 bits and finite doubles, minus zero left out: not every engine tells it from zero."""
    return (
        st.sampled_from(HARD_NUMBERS)
        | st.integers(-3, 3)
        | st.integers(-(2**63), 2**63 - 1)
        | st.floats(allow_nan=False, allow_infinity=False).map(lambda number: number or 0.0)
    )


def scalars() -> st.SearchStrategy[Any]:
    """Null, booleans, numbers and texts."""
    return st.none() | st.booleans() | numbers() | texts()


def documents(*, max_leaves: int = 8) -> st.SearchStrategy[Any]:
    """Documents of any form, empty containers included, with up to about `max_leaves` scalars."""
    return st.recursive(
        scalars(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys(), inner, max_size=4),
        max_leaves=max_leaves,
    )


def mappings(*, max_leaves: int = 5) -> st.SearchStrategy[dict[str, Any]]:
    """Documents that are objects."""
    return st.dictionaries(keys(), documents(max_leaves=max_leaves), max_size=3)


def nested(depth: int, leaf: Any = "bottom") -> Any:
    """A document `depth` containers deep, lists and objects by turns, with `leaf` at the bottom."""
    value = leaf
    for level in range(depth):
        value = [value] if level % 2 else {"in": value}
    return value
