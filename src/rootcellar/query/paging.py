"""A whole query: tree, order, limit and cursor; and the page it gives."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from rootcellar.errors import QueryError
from rootcellar.query.checks import check_condition, check_tree, suggest
from rootcellar.query.tree import (
    DEFAULT_LIMIT,
    FIELD_KINDS,
    MAX_LIMIT,
    SORTABLE,
    And,
    Condition,
    Kind,
    Node,
    Op,
    Scalar,
)
from rootcellar.record import TaskRecord, isoformat


class Order(msgspec.Struct, frozen=True):
    """One term of an order."""

    field: str
    descending: bool = False


NEWEST_FIRST: Final = (Order("updated_at", descending=True),)


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """What to find. `limit`: 1 to `MAX_LIMIT`. `cursor`: from the `Page` before, with the same order."""

    where: Node = And()
    order: tuple[Order, ...] = NEWEST_FIRST
    limit: int = DEFAULT_LIMIT
    cursor: str | None = None

    def checked(self) -> Query:
        """This query, once everything in it is known to mean something.

        Raises `QueryError` naming the first thing that does not.
        """
        check_tree(self.where)
        if not 1 <= self.limit <= MAX_LIMIT:
            raise QueryError(f"limit must be between 1 and {MAX_LIMIT}, not {self.limit}")
        if not self.order:
            raise QueryError("an order needs at least one field")
        for term in self.order:
            if term.field not in SORTABLE:
                raise QueryError(f"cannot order by {term.field!r}{suggest(term.field, SORTABLE)}")
        if self.cursor is not None:
            self.after()
        return self

    def total_order(self) -> tuple[Order, ...]:
        """The order with its tie-break by id."""
        if any(term.field == "id" for term in self.order):
            return self.order
        return (*self.order, Order("id", descending=self.order[0].descending))

    def after(self) -> tuple[Scalar, ...] | None:
        """The sort values of the last record of the page before, or None at the first page."""
        if self.cursor is None:
            return None
        order = self.total_order()
        try:
            stored = msgspec.json.decode(base64.urlsafe_b64decode(self.cursor.encode()), type=_Cursor)
            values = tuple(_cursor_value(term.field, value) for term, value in zip(order, stored.values, strict=True))
        except (msgspec.MsgspecError, ValueError, TypeError) as error:
            raise QueryError("this cursor is not one that rootcellar made; start again without a cursor") from error
        if stored.order != _order_text(order):
            raise QueryError("this cursor belongs to a query with another order; start again without a cursor")
        return values

    def cursor_after(self, record: TaskRecord) -> str:
        """The cursor that continues behind `record`."""
        order = self.total_order()
        values = [sort_value(record, term.field) for term in order]
        plain = [isoformat(value) if isinstance(value, datetime) else value for value in values]
        return base64.urlsafe_b64encode(msgspec.json.encode(_Cursor(_order_text(order), plain))).decode()


class _Cursor(msgspec.Struct, array_like=True):
    order: str
    values: list[Any]


def _order_text(order: Sequence[Order]) -> str:
    return ",".join(("-" if term.descending else "") + term.field for term in order)


def _cursor_value(field: str, value: Any) -> Scalar:
    if value is None:
        return None
    kind = FIELD_KINDS[field]
    expected: Any = datetime if kind is Kind.TIME else float | int if kind is Kind.NUMBER else str
    operand: Scalar = msgspec.convert(value, expected)
    check_condition(Condition(field, Op.EQ, operand))
    return operand


class Page(msgspec.Struct, frozen=True):
    """One page of what was found, iterable. `cursor` leads to the next page; None when this is the last."""

    records: list[TaskRecord]
    cursor: str | None = None

    def __iter__(self) -> Iterator[TaskRecord]:
        return iter(self.records)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> TaskRecord:
        return self.records[index]


def sort_value(record: TaskRecord, field: str) -> Any:
    """What `record` is sorted by when ordered by `field`."""
    return getattr(record, field)
