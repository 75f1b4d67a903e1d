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
from rootcellar.testing.strategies.documents import keys, numbers, texts
from rootcellar.testing.strategies.histories import EPOCH

_FIELDS: Final = sorted(FIELD_KINDS)
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
    field = draw(st.sampled_from(_FIELDS))
    kind = FIELD_KINDS[field]
    op = draw(st.sampled_from(_OPERATORS[kind]))
    path: tuple[PathPart, ...] = ()
    found = getattr(draw(st.sampled_from(records)), field) if records else None
    if kind is Kind.DOCUMENT:
        path, found = _walk(draw, found)
    if op is Op.EXISTS:
        return Condition(field, op, None, path)
    operand = _operands(kind, op, found)
    if op is Op.IN:
        return Condition(field, op, tuple(draw(st.lists(operand, min_size=1, max_size=3))), path)
    return Condition(field, op, draw(operand), path)


def _walk(draw: st.DrawFn, value: Any) -> tuple[tuple[PathPart, ...], Any]:
    """A path into `value`, mostly to something that is there, and what is there."""
    path: list[PathPart] = []
    while isinstance(value, dict | list) and value and draw(st.sampled_from([True, True, True, False])):
        part: Any = draw(st.sampled_from(sorted(value)) if isinstance(value, dict) else st.integers(0, len(value) - 1))
        path.append(part)
        value = value[part]
    if draw(st.integers(0, 5)) == 0:
        return (*path, draw(keys() | st.integers(0, 2))), None
    if path and isinstance(path[-1], int) and draw(st.integers(0, 9)) == 0:
        return (*path[:-1], str(path[-1])), None
    return tuple(path), value


def _operands(kind: Kind, op: Op, found: Any) -> st.SearchStrategy[Any]:
    """Operands that `op` takes on a field of `kind`: from what was found there, near it, or any."""
    if op is Op.MATCHES:
        return _patterns(found)
    if op is Op.CONTAINS:
        return _contained(found) if kind is Kind.DOCUMENT else _pieces(found)
    if kind is Kind.DOCUMENT and op in _ORDERING:
        return _texts_near(found) | _numbers_near(found)
    near = _NEAR[kind](found)
    return near if op in _ORDERING else near | st.none()


def _times(found: Any) -> st.SearchStrategy[datetime]:
    near = found if isinstance(found, datetime) else EPOCH
    steps = st.sampled_from([0, 0, 1, -1, 1_000_000, -3_600_000_000])
    return steps.map(lambda step: near + timedelta(microseconds=step))


def _numbers_near(found: Any) -> st.SearchStrategy[float]:
    if isinstance(found, bool) or not isinstance(found, int | float):
        return numbers()
    return st.just(found) | numbers()


def _texts_near(found: Any) -> st.SearchStrategy[str]:
    return st.just(found) | texts() if isinstance(found, str) else texts()


def _scalars_near(found: Any) -> st.SearchStrategy[Any]:
    anything = texts() | numbers() | st.booleans()
    if isinstance(found, str | int | float):
        return st.just(found) | st.just(found) | anything
    return anything


_NEAR: Final[dict[Kind, Callable[[Any], st.SearchStrategy[Any]]]] = {
    Kind.TIME: _times,
    Kind.NUMBER: lambda found: _numbers_near(found) | st.integers(0, 5),
    Kind.TEXT: _texts_near,
    Kind.DOCUMENT: _scalars_near,
}


def _contained(found: Any) -> st.SearchStrategy[Any]:
    """What a document may contain: an element of an array, a piece of a text."""
    elements = [item for item in found if isinstance(item, str | int | float)] if isinstance(found, list) else []
    return _pieces(found) | (st.sampled_from(elements) if elements else _scalars_near(None))


@st.composite
def _pieces(draw: st.DrawFn, found: Any) -> str:
    if not isinstance(found, str) or not found:
        return draw(texts(max_size=2))
    start = draw(st.integers(0, len(found) - 1))
    return found[start : start + draw(st.integers(0, 4))]


@st.composite
def _patterns(draw: st.DrawFn, found: Any) -> str:
    """A text with some of its characters replaced by what stands for any."""
    text = list(found[:20] if isinstance(found, str) else draw(texts(max_size=4)))
    for _ in range(draw(st.integers(0, 2)) if text else 0):
        text[draw(st.integers(0, len(text) - 1))] = draw(st.sampled_from(["*", "?", "%", "_", "**"]))
    return draw(st.sampled_from(["", "*"])) + "".join(text) + draw(st.sampled_from(["", "*"]))


def trees(records: Sequence[TaskRecord] = (), *, max_leaves: int = 5) -> st.SearchStrategy[Node]:
    """Condition trees of any form, those without conditions included."""

    def grow(inner: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
        nodes = st.lists(inner, max_size=3).map(tuple)
        return nodes.map(And) | nodes.map(Or) | inner.map(Not)

    leaf: st.SearchStrategy[Node] = conditions(records)
    return st.just(And()) | st.recursive(leaf, grow, max_leaves=max_leaves)


def orders() -> st.SearchStrategy[tuple[Order, ...]]:
    """One to three terms on different fields."""
    terms = st.builds(Order, st.sampled_from(sorted(SORTABLE)), st.booleans())
    return st.lists(terms, min_size=1, max_size=3, unique_by=lambda term: term.field).map(tuple)


@st.composite
def queries(draw: st.DrawFn, records: Sequence[TaskRecord] = (), *, max_limit: int = MAX_LIMIT) -> Query:
    """Whole queries, without a cursor."""
    limit = draw(st.integers(1, max_limit))
    return Query(where=draw(trees(records)), order=draw(st.just(Query().order) | orders()), limit=limit)


@st.composite
def aggregates(draw: st.DrawFn, records: Sequence[TaskRecord] = ()) -> Aggregate:
    """Aggregates by up to two fields, with time buckets from a second to a day or none."""
    by = draw(st.lists(st.sampled_from(sorted(AGGREGATE_FIELDS)), max_size=2, unique=True))
    bucket = draw(st.none() | st.sampled_from([1, 60, 3600, 7 * 3600, 86_400]))
    return Aggregate(by=tuple(by), bucket=bucket, where=draw(trees(records, max_leaves=2)))
