"""The conditions that mean the same on every engine, for the engine to leave out most of what does not match.

What they let through is a superset: `rootcellar.query.matches` decides. So a condition that an engine might read more
strictly than we do is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Final

from rootcellar.query import FIELD_KINDS, And, Condition, Kind, Node, Op
from rootcellar.record import isoformat

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Table

_COMPUTED: Final = frozenset({"runtime", "wait"})
_INT64: Final = range(-(2**63), 2**63)


def coarse_filters(table: Table, where: Node) -> Iterator[ColumnElement[bool]]:
    """Conditions that hold for every record that `where` is true of."""
    if isinstance(where, And):
        for node in where.nodes:
            yield from coarse_filters(table, node)
    elif (
        isinstance(where, Condition) and FIELD_KINDS[where.field] is not Kind.DOCUMENT and where.field not in _COMPUTED
    ):
        yield from _filters(table, where)


def _filters(table: Table, condition: Condition) -> Iterator[ColumnElement[bool]]:
    column: ColumnElement[object] = table.c[condition.field]
    value = condition.value
    if isinstance(value, datetime):
        yield from _bounds(table, column, condition.op, value)
    elif condition.op is Op.EQ and _is_exact(value):
        yield column == value
    elif condition.op is Op.IN and all(map(_is_exact, value)):
        yield column.in_(value)


def _is_exact(value: object) -> bool:
    """Whether engines find an equal value. To some an empty text is null, and trailing blanks are none."""
    if isinstance(value, str):
        return bool(value.strip())
    return isinstance(value, int) and value in _INT64


def _bounds(table: Table, column: ColumnElement[object], op: Op, moment: datetime) -> Iterator[ColumnElement[bool]]:
    """Times are text of fixed length; none of these is later than `updated_at`, which has an index."""
    text = isoformat(moment)
    if op in {Op.GT, Op.GE, Op.EQ}:
        yield column >= text
        if column.key in {"queued_at", "started_at", "finished_at"}:
            yield table.c.updated_at >= text
    if op in {Op.LT, Op.LE, Op.EQ}:
        yield column <= text
