"""From the condition tree to text."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import msgspec

from rootcellar.query import FIELD_KINDS, And, Condition, Kind, Node, Not, Op, PathPart
from rootcellar.record import isoformat
from rootcellar.search.normal import NOTHING, normalised
from rootcellar.search.scanner import NEGATIVE, POSITION, SEGMENT, VALUE
from rootcellar.search.values import BOOLEANS, KNOWN_STATES, NULLS, number

_SYMBOLS: Final = {
    Op.EQ: ":",
    Op.NE: "!=",
    Op.IN: ":",
    Op.LT: "<",
    Op.LE: "<=",
    Op.GT: ">",
    Op.GE: ">=",
    Op.CONTAINS: "~",
}
#: What takes numbers and truth values as they stand, where the operator beside it would take text for them too.
_EXACT: Final = {":": "==", "!=": "!==", "~": "~="}
_ESCAPES: Final = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}


class Comparison(msgspec.Struct, frozen=True):
    """One condition as text, in its parts."""

    path: str
    operator: str
    values: tuple[str, ...]

    def __str__(self) -> str:
        return self.path + self.operator + ",".join(self.values)


def render(node: Node) -> str:
    """Text that `parse` reads as ``normalised(node)``; of everything, the empty text.

    Raises `QueryError` for a tree that means nothing.
    """
    node = normalised(node)
    if isinstance(node, And):
        return " ".join(_term(child) for child in node.nodes)
    return "NOT *" if node == NOTHING else _open(node)


def _open(node: Node) -> str:
    """The text of `node` where nothing stands beside it."""
    if isinstance(node, Condition):
        return str(comparison_text(node))
    if isinstance(node, Not):
        return ("-" if isinstance(node.node, Condition) else "NOT ") + _term(node.node)
    return (" " if isinstance(node, And) else " OR ").join(_term(child) for child in node.nodes)


def _term(node: Node) -> str:
    """The text of `node` where it must stand as one term."""
    return _open(node) if isinstance(node, Condition | Not) else f"({_open(node)})"


def comparison_text(condition: Condition) -> Comparison:
    """The parts of the text of one condition in normal form."""
    path = _path_text(condition.field, condition.path)
    if condition.op is Op.EXISTS:
        return Comparison(path, ":", ("*",))
    if condition.op is Op.MATCHES:
        return _pattern_text(path, condition.value)
    values = condition.value if condition.op is Op.IN else (condition.value,)
    texts = tuple(_value_text(condition.field, value) for value in values)
    symbol = _SYMBOLS[condition.op]
    if symbol not in _EXACT or not any(_is_guessed_at(condition.field, value) for value in values):
        return Comparison(path, symbol, texts)
    guesses = _guesses(condition.field, values) if condition.op is Op.IN else None
    return Comparison(path, symbol, guesses) if guesses else Comparison(path, _EXACT[symbol], texts)


def _is_guessed_at(field: str, value: Any) -> bool:
    """Whether the plain text of `value` stands for the same text as well."""
    return FIELD_KINDS[field] is Kind.DOCUMENT and isinstance(value, int | float)


def _guesses(field: str, values: tuple[Any, ...]) -> tuple[str, ...] | None:
    """Texts that are read as `values` because each number has its own text behind it; None when one has not."""
    texts: list[str] = []
    rest = list(reversed(values))
    while rest:
        value = rest.pop()
        texts.append(_value_text(field, value))
        if _is_guessed_at(field, value) and (not rest or rest.pop() != texts[-1]):
            return None
    return tuple(texts)


def _path_text(field: str, path: tuple[PathPart, ...]) -> str:
    return ".".join([field, *(str(part) if isinstance(part, int) else _key_text(part) for part in path)])


def _key_text(key: str) -> str:
    plain = SEGMENT.fullmatch(key) and key.isprintable() and not POSITION.fullmatch(key) and not NEGATIVE.fullmatch(key)
    return key if plain else quote(key)


def _pattern_text(path: str, pattern: str) -> Comparison:
    plain = _is_plain(pattern)
    wild = plain and pattern != "*" and ("*" in pattern or "?" in pattern)
    return Comparison(path, ":" if wild else "~~", (pattern if plain else quote(pattern),))


def _value_text(field: str, value: Any) -> str:
    if isinstance(value, str):
        return value if _is_plain(value) and not _means_more(field, value) else quote(value)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return isoformat(value)
    return int.__repr__(value) if isinstance(value, int) else float.__repr__(value)


def _is_plain(text: str) -> bool:
    return VALUE.fullmatch(text) is not None and text.isprintable()


def _means_more(field: str, text: str) -> bool:
    """Whether `text` without quotes could be read as something else than itself."""
    if text in NULLS or "*" in text or "?" in text:
        return True
    if FIELD_KINDS[field] is Kind.DOCUMENT:
        return text in BOOLEANS or number(text) is not None
    return field == "state" and text not in KNOWN_STATES


def quote(text: str) -> str:
    """`text` in quotes, on one line and in printable characters."""
    return '"' + "".join(_ESCAPES.get(char, char if char.isprintable() else _code(char)) for char in text) + '"'


def _code(char: str) -> str:
    return f"\\U{ord(char):08x}" if ord(char) > 0xFFFF else f"\\u{ord(char):04x}"  # noqa: PLR2004 - four digits' worth
