"""Queries that mean something, with a liking for those that some of the given records answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from hypothesis import strategies as st

from rootcellar.query import (
    AGGREGATE_FIELDS,
    FIELD_KINDS,
    MAX_LIMIT,
    SORTABLE,
    Aggregate,
    And,
    Condition,
    Kind,
    Node,
    Not,
    Op,
    Or,
    Order,
    PathPart,
    Query,
)
from rootcellar.record import TaskRecord
from rootcellar.testing.strategies.documents import draw_key, draw_number, draw_text
from rootcellar.testing.strategies.drawing import below, coin, pick, pick_some
from rootcellar.testing.strategies.histories import EPOCH

_FIELDS: Final = sorted(FIELD_KINDS)
_SORTED: Final = sorted(SORTABLE)
_GROUPED: Final = sorted(AGGREGATE_FIELDS)
_BUCKETS: Final = (None, 1, 60, 3600, 7 * 3600, 86_400)
_EQUALITY: Final = (Op.EQ, Op.NE, Op.IN, Op.EXISTS)
_ORDERING: Final = (Op.LT, Op.LE, Op.GT, Op.GE)
_TEXTUAL: Final = (Op.CONTAINS, Op.MATCHES)
_OPERATORS: Final = {
    Kind.TEXT: (*_EQUALITY, *_ORDERING, *_TEXTUAL),
    Kind.NUMBER: (*_EQUALITY, *_ORDERING),
    Kind.TIME: (*_EQUALITY, *_ORDERING),
    Kind.DOCUMENT: (*_EQUALITY, *_ORDERING, *_TEXTUAL),
}


@st.composite
def conditions(draw: st.DrawFn, records: Sequence[TaskRecord] = ()) -> Condition:
    """One condition on any field, any path, with any operator that goes with it."""
    return draw_condition(draw, records)


@st.composite
def trees(draw: st.DrawFn, records: Sequence[TaskRecord] = (), *, depth: int = 3) -> Node:
    """Condition trees of any form, those without conditions included."""
    return draw_tree(draw, records, depth)


@st.composite
def orders(draw: st.DrawFn) -> tuple[Order, ...]:
    """One to three terms on different fields."""
    return draw_order(draw)


@st.composite
def queries(draw: st.DrawFn, records: Sequence[TaskRecord] = (), *, max_limit: int = MAX_LIMIT) -> Query:
    """Whole queries, without a cursor."""
    order = draw_order(draw) if coin(draw) else Query().order
    return Query(where=draw_tree(draw, records, 3), order=order, limit=1 + below(draw, max_limit))


@st.composite
def aggregates(draw: st.DrawFn, records: Sequence[TaskRecord] = ()) -> Aggregate:
    """Aggregates by up to two fields, with time buckets from a second to a day or none."""
    by = tuple(dict.fromkeys(pick_some(draw, _GROUPED, 2)))
    return Aggregate(by=by, bucket=pick(draw, _BUCKETS), where=draw_tree(draw, records, 2))


def draw_tree(draw: st.DrawFn, records: Sequence[TaskRecord], depth: int) -> Node:
    """One of `trees`."""
    kind = below(draw, 6) if depth else 0
    if kind < 3:
        return draw_condition(draw, records)
    if kind == 3:
        return Not(draw_tree(draw, records, depth - 1))
    nodes = tuple(draw_tree(draw, records, depth - 1) for _ in range(below(draw, 4)))
    return And(nodes) if kind == 4 else Or(nodes)


def draw_order(draw: st.DrawFn) -> tuple[Order, ...]:
    """One of `orders`."""
    fields = dict.fromkeys([pick(draw, _SORTED), *pick_some(draw, _SORTED, 2)])
    return tuple(Order(field, coin(draw)) for field in fields)


def draw_condition(draw: st.DrawFn, records: Sequence[TaskRecord]) -> Condition:
    """One of `conditions`."""
    field = pick(draw, _FIELDS)
    kind = FIELD_KINDS[field]
    op = pick(draw, _OPERATORS[kind])
    path: tuple[PathPart, ...] = ()
    found = getattr(pick(draw, records), field) if records else None
    if kind is Kind.DOCUMENT:
        path, found = _walk(draw, found)
    if op is Op.EXISTS:
        return Condition(field, op, None, path)
    if op is Op.IN:
        operands = tuple(_operand(draw, kind, op, found) for _ in range(1 + below(draw, 3)))
        return Condition(field, op, operands, path)
    return Condition(field, op, _operand(draw, kind, op, found), path)


def _walk(draw: st.DrawFn, value: Any) -> tuple[tuple[PathPart, ...], Any]:
    """A path into `value`, mostly to something that is there, and what is there."""
    path: list[PathPart] = []
    while isinstance(value, dict | list) and value and below(draw, 4):
        part: Any = pick(draw, sorted(value)) if isinstance(value, dict) else below(draw, len(value))
        path.append(part)
        value = value[part]
    astray = below(draw, 8)
    if astray == 7:
        return (*path, draw_key(draw) if coin(draw) else below(draw, 3)), None
    if astray == 6 and path and isinstance(path[-1], int):
        return (*path[:-1], str(path[-1])), None
    return tuple(path), value


def _operand(draw: st.DrawFn, kind: Kind, op: Op, found: Any) -> Any:
    """An operand that `op` takes on a field of `kind`: what was found there, something near it, or anything."""
    if op is Op.MATCHES:
        return _pattern(draw, found)
    if op is Op.CONTAINS:
        return _content(draw, found) if kind is Kind.DOCUMENT else _piece(draw, found)
    if kind is Kind.DOCUMENT and op in _ORDERING:
        kind = Kind.NUMBER if coin(draw) else Kind.TEXT
    if op not in _ORDERING and below(draw, 6) == 5:
        return None
    return _NEAR[kind](draw, found)


def _time_near(draw: st.DrawFn, found: Any) -> datetime:
    near = found if isinstance(found, datetime) else EPOCH
    return near + timedelta(microseconds=pick(draw, (0, 0, 1, -1, 1_000_000, -3_600_000_000)))


def _number_near(draw: st.DrawFn, found: Any) -> float:
    if isinstance(found, int | float) and not isinstance(found, bool) and coin(draw):
        return found
    return draw_number(draw)


def _text_near(draw: st.DrawFn, found: Any) -> str:
    return found if isinstance(found, str) and coin(draw) else draw_text(draw)


def _scalar_near(draw: st.DrawFn, found: Any) -> Any:
    if isinstance(found, str | int | float) and below(draw, 4):
        return found
    kind = below(draw, 3)
    return draw_text(draw) if kind == 0 else draw_number(draw) if kind == 1 else coin(draw)


_NEAR: Final[dict[Kind, Callable[[st.DrawFn, Any], Any]]] = {
    Kind.TIME: _time_near,
    Kind.NUMBER: _number_near,
    Kind.TEXT: _text_near,
    Kind.DOCUMENT: _scalar_near,
}


def _content(draw: st.DrawFn, found: Any) -> Any:
    """What a document may contain: an element of an array, a piece of a text."""
    elements = [item for item in found if isinstance(item, str | int | float)] if isinstance(found, list) else []
    if elements and coin(draw):
        return pick(draw, elements)
    return _piece(draw, found) if coin(draw) else _scalar_near(draw, None)


def _piece(draw: st.DrawFn, found: Any) -> str:
    if not isinstance(found, str) or not found:
        return draw_text(draw)
    start = below(draw, len(found))
    return found[start : start + below(draw, 5)]


def _pattern(draw: st.DrawFn, found: Any) -> str:
    """A text with some of its characters replaced by what stands for any."""
    text = list(found[:20] if isinstance(found, str) else draw_text(draw))
    for _ in range(below(draw, 3) if text else 0):
        text[below(draw, len(text))] = pick(draw, ("*", "?", "%", "_", "**"))
    return pick(draw, ("", "*")) + "".join(text) + pick(draw, ("", "*"))
