"""What is wrong with a tree, said before any engine sees it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Any, Final

from rootcellar.errors import QueryError
from rootcellar.query.tree import (
    FIELD_KINDS,
    MAX_DEPTH,
    MAX_NODES,
    MAX_POSITION,
    ORDER_OPS,
    TEXT_OPS,
    And,
    Condition,
    Kind,
    Node,
    Not,
    Op,
    Or,
)


def suggest(word: str, known: Iterable[str]) -> str:
    """``"; did you mean 'x'?"`` for the nearest known word, else the whole list."""
    names = sorted(known)
    close = get_close_matches(word, names, n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else f"; known are: {', '.join(names)}"


def check_tree(where: Node) -> None:
    """Raise `QueryError` unless every node of the tree means something and the tree is of a sane size."""
    stack: list[tuple[Node, int]] = [(where, 1)]
    count = 0
    while stack:
        node, depth = stack.pop()
        count += 1
        if depth > MAX_DEPTH:
            raise QueryError(f"the query is nested more than {MAX_DEPTH} deep")
        if count > MAX_NODES:
            raise QueryError(f"the query has more than {MAX_NODES} conditions")
        if isinstance(node, Condition):
            check_condition(node)
        elif isinstance(node, Not):
            stack.append((node.node, depth + 1))
        elif isinstance(node, And | Or):
            stack.extend((child, depth + 1) for child in node.nodes)
        else:
            raise QueryError(f"a query is made of conditions, not of {type(node).__name__}")


def check_condition(condition: Condition) -> None:
    """Raise `QueryError` unless field, operator and operand go together."""
    kind = FIELD_KINDS.get(condition.field)
    if kind is None:
        raise QueryError(f"there is no field {condition.field!r}{suggest(condition.field, FIELD_KINDS)}")
    _check_path(condition, kind)
    if condition.op is Op.EXISTS:
        return
    if condition.op is Op.IN:
        if not isinstance(condition.value, tuple) or not condition.value:
            raise QueryError(f"{condition.field!r} in ... takes one value or more")
        for value in condition.value:
            _check_operand(condition, kind, value)
    else:
        _check_operand(condition, kind, condition.value)


_OPERANDS: Final[dict[Kind, tuple[type, ...]]] = {
    Kind.TEXT: (str,),
    Kind.NUMBER: (int, float),
    Kind.TIME: (datetime,),
    Kind.DOCUMENT: (str, int, float, bool),
}


def _check_path(condition: Condition, kind: Kind) -> None:
    if condition.path and kind is not Kind.DOCUMENT:
        raise QueryError(f"{condition.field!r} is no document, so nothing lies inside it")
    if len(condition.path) > MAX_DEPTH:
        raise QueryError(f"a path into {condition.field!r} is more than {MAX_DEPTH} steps long")
    for part in condition.path:
        _check_part(condition, part)


def _check_part(condition: Condition, part: object) -> None:
    if isinstance(part, str):
        _check_text(condition, part)
    elif not isinstance(part, int) or isinstance(part, bool):
        raise QueryError(f"a step into {condition.field!r} is a key (str) or a list position (int), not {part!r}")
    elif not 0 <= part < MAX_POSITION:
        raise QueryError(f"list positions in {condition.field!r} count from 0, and {part} is none")


def _place(condition: Condition) -> str:
    return repr(".".join([condition.field, *map(str, condition.path)]))


def _check_operand(condition: Condition, kind: Kind, value: Any) -> None:
    if value is None:
        if condition.op not in {Op.EQ, Op.NE, Op.IN}:
            raise QueryError(f"{_place(condition)} {condition.op.value} null means nothing; use = or !=")
        return
    _check_operator(condition, kind, value)
    if not isinstance(value, _OPERANDS[kind]) or (isinstance(value, bool) and kind is not Kind.DOCUMENT):
        raise QueryError(f"{_place(condition)} is a {kind.value} field and cannot be compared with {value!r}")
    if isinstance(value, str):
        _check_text(condition, value)
    elif isinstance(value, datetime):
        _check_time(condition, value)
    elif isinstance(value, int | float) and not math.isfinite(double(value)):
        raise QueryError(f"{_place(condition)} cannot be compared with a number that no finite double comes near")


def _check_operator(condition: Condition, kind: Kind, value: Any) -> None:
    if condition.op in TEXT_OPS and kind in {Kind.NUMBER, Kind.TIME}:
        raise QueryError(f"{condition.op.value} takes text, and {_place(condition)} is a {kind.value} field")
    if condition.op is Op.MATCHES and not isinstance(value, str):
        raise QueryError(f"{_place(condition)} matches ... takes text")
    if condition.op in ORDER_OPS and isinstance(value, bool):
        raise QueryError(f"{_place(condition)} {condition.op.value} {value} means nothing; use = or !=")


def _check_text(condition: Condition, text: str) -> None:
    if "\0" in text or (not text.isascii() and _has_surrogate(text)):
        raise QueryError(f"{_place(condition)}: no text of a query holds a NUL or a lone surrogate")


def _check_time(condition: Condition, value: datetime) -> None:
    if value.tzinfo is None:
        raise QueryError(f"{_place(condition)} is compared with a time without zone; give it one")
    try:
        value.astimezone(UTC)
    except OverflowError:
        raise QueryError(f"{_place(condition)} is compared with a time outside of the years 1 to 9999 in UTC") from None


def _has_surrogate(text: str) -> bool:
    return any("\ud800" <= char <= "\udfff" for char in text)


def double(value: float) -> float:
    """`value` as a double; an infinity for an integer too large to be one."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
