"""What a query means, in plain Python: `evaluate`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, Final

from rootcellar.query.checks import double
from rootcellar.query.paging import Query, sort_value
from rootcellar.query.tree import (
    FIELD_KINDS,
    ORDER_OPS,
    And,
    Condition,
    Kind,
    Node,
    Not,
    Op,
    Or,
    PathPart,
)
from rootcellar.record import TaskRecord


def evaluate(query: Query, records: Iterable[TaskRecord]) -> list[TaskRecord]:
    """The records (in document form) that `query`, a checked one, finds, in order: the meaning of a query."""
    found = [record for record in records if matches(query.where, record)]
    found.sort(key=lambda record: _sort_key(query, [sort_value(record, term.field) for term in query.total_order()]))
    after = query.after()
    if after is not None:
        position = _sort_key(query, after)
        found = [
            record
            for record in found
            if _sort_key(query, [sort_value(record, term.field) for term in query.total_order()]) > position
        ]
    return found[: query.limit]


def matches(where: Node, record: TaskRecord) -> bool:
    """Whether `where` is true of `record` (in document form)."""
    if isinstance(where, And):
        return all(matches(node, record) for node in where.nodes)
    if isinstance(where, Or):
        return any(matches(node, record) for node in where.nodes)
    if isinstance(where, Not):
        return not matches(where.node, record)
    value = _lookup(getattr(record, where.field), where.path)
    if FIELD_KINDS[where.field] is Kind.DOCUMENT:
        return _document_matches(where.op, value, where.value)
    return _column_matches(where.op, value, where.value)


def requires(where: Node, field: str) -> bool:
    """Whether only records that have `field` can match `where`; False where that is not seen at once."""
    if isinstance(where, And):
        return any(requires(node, field) for node in where.nodes)
    if not isinstance(where, Condition) or where.value is None or where.op not in _BOUNDS:
        return False
    implied = field == "updated_at" and where.field in {"queued_at", "started_at", "finished_at"}
    return where.field == field or implied


_BOUNDS: Final = frozenset({*ORDER_OPS, Op.EQ})


def _lookup(value: Any, path: tuple[PathPart, ...]) -> Any:
    """The value at `path`, or None: a missing value and a null are the same to a query."""
    for part in path:
        if isinstance(part, str) and isinstance(value, dict):
            value = value.get(part)
        elif isinstance(part, int) and isinstance(value, list) and 0 <= part < len(value):
            value = value[part]
        else:
            return None
    return value


def _column_matches(op: Op, value: Any, operand: Any) -> bool:
    if op in _EQUALITY:
        return _EQUALITY[op](value, operand)
    if value is None:
        return False
    return _COMPARE[op](value, operand) if op in ORDER_OPS else _text_matches(op, value, operand)


def _equal(value: Any, operand: Any) -> bool:
    """Equality that keeps bool apart from numbers."""
    if isinstance(value, bool) is not isinstance(operand, bool):
        return False
    return bool(value == operand)


#: Operators that mean the same in a document and in a column, and that a missing value has an answer to.
_EQUALITY: Final[dict[Op, Callable[[Any, Any], bool]]] = {
    Op.EXISTS: lambda value, _: value is not None,
    Op.IN: lambda value, choices: any(_equal(value, choice) for choice in choices),
    Op.EQ: _equal,
    Op.NE: lambda value, operand: not _equal(value, operand),
}


def _document_matches(op: Op, value: Any, operand: Any) -> bool:
    if op in _EQUALITY:
        return _EQUALITY[op](value, operand)
    if op in ORDER_OPS:
        return _document_order(op, value, operand)
    if isinstance(value, list) and op is Op.CONTAINS:
        return any(_equal(item, operand) for item in value)
    return isinstance(value, str) and isinstance(operand, str) and _text_matches(op, value, operand)


#: Text that the order operators take for a number.
DECIMAL_TEXT: Final = re.compile(r"-?[0-9]{1,30}(\.[0-9]{1,30})?", re.ASCII)


def _document_order(op: Op, value: Any, operand: Any) -> bool:
    if isinstance(operand, str):
        return isinstance(value, str) and _COMPARE[op](value, operand)
    if isinstance(value, str) and DECIMAL_TEXT.fullmatch(value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return _COMPARE[op](double(value), double(operand))


_COMPARE: Final[dict[Op, Callable[[Any, Any], bool]]] = {
    Op.LT: lambda a, b: a < b,
    Op.LE: lambda a, b: a <= b,
    Op.GT: lambda a, b: a > b,
    Op.GE: lambda a, b: a >= b,
}


def _text_matches(op: Op, value: str, operand: str) -> bool:
    if op is Op.CONTAINS:
        return operand in value
    return pattern_regex(operand).fullmatch(value) is not None


@lru_cache(maxsize=256)
def pattern_regex(pattern: str) -> re.Pattern[str]:
    """The regular expression of a MATCHES pattern."""
    first, *others = ("".join("." if char == "?" else re.escape(char) for char in run) for run in pattern.split("*"))
    if not others:
        return re.compile(first, re.DOTALL)
    # Each run is found where it first occurs and never tried again (`fnmatch` does the same): the time stays linear in
    # the number of runs whatever the text.
    *middle, last = others
    return re.compile(first + "".join(f"(?>.*?{run})" for run in middle) + ".*" + last, re.DOTALL)


class _Descending:
    """Reverses the order of what it holds."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Descending) and self.value == other.value

    def __lt__(self, other: _Descending) -> bool:
        return bool(other.value < self.value)

    __hash__ = None  # type: ignore[assignment]


def _sort_key(query: Query, values: Sequence[Any]) -> list[tuple[bool, Any]]:
    key: list[tuple[bool, Any]] = []
    for term, value in zip(query.total_order(), values, strict=True):
        if value is None:
            key.append((True, 0))
        else:
            key.append((False, _Descending(value) if term.descending else value))
    return key
