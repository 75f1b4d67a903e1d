"""Queries and aggregates as SQL statements.

Nothing of the user's is ever part of the text: names are quoted, values are parameters.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from rootcellar.query import Aggregate, Node, Order, Query, Scalar, Statistic, requires
from rootcellar.stores._sql.columns import COLUMN_NAMES
from rootcellar.stores._sql.conditions import FALSE, Conditions
from rootcellar.stores._sql.dialect import Bindings, Dialect

SELECTED: Final = ", ".join(COLUMN_NAMES)
#: Sort fields that every record has.
_ALWAYS_SET: Final = frozenset({"id", "state", "attempt"})
#: Of records that have the one, the other is the same, and it has an index.
_SAME: Final = {"finished_at": "updated_at"}


class Statement(NamedTuple):
    """A statement and its parameters, by name."""

    sql: str
    parameters: dict[str, Any]


class PageClauses(NamedTuple):
    """A page: its WHERE, the part of it that is the query's own condition, its ORDER BY, their parameters.

    `span`: what that condition says, or implies, of `updated_at`; empty when that is nothing.
    """

    where: str
    condition: str
    span: str
    order: str
    parameters: dict[str, Any]


class _Term(NamedTuple):
    """One term of an order, as SQL."""

    column: str
    descending: bool
    nullable: bool


class Statements:
    """Makes the statements that read the task table called `task` (its SQL, quoted)."""

    def __init__(self, dialect: Dialect, task: str) -> None:
        self._dialect = dialect
        self._task = task

    def find(self, query: Query) -> Iterator[Statement]:
        """The statements whose rows, one after the other, are the page; run them until it is full."""
        for page in self.pages(query):
            sql = f"SELECT {SELECTED} FROM {self._task} WHERE {page.where} ORDER BY {page.order}"  # noqa: S608
            yield Statement(f"{sql} LIMIT {query.limit}", page.parameters)

    def pages(self, query: Query) -> Iterator[PageClauses]:
        """What the statements of `find` are made of.

        Records that have a value of the first sort field come from the first statement, the others from the second:
        apart, an index serves either direction on every engine, and the cursor is a plain bound. Each is limited to the
        whole page.
        """
        order = query.total_order()
        after = query.after()
        first = order[0].field
        if after is None or after[0] is not None:
            yield self._page(query, order, after, missing=False)
        if first not in _ALWAYS_SET and not requires(query.where, first):
            rest = None if after is None or after[0] is not None else after[1:]
            yield self._page(query, order[1:], rest, missing=True)

    def _page(
        self, query: Query, order: Sequence[Order], after: Sequence[Scalar] | None, *, missing: bool
    ) -> PageClauses:
        bind = Bindings(self._dialect)
        conditions = Conditions(self._dialect, bind)
        first = query.order[0].field
        terms = [
            _Term(conditions.expression(term.field), term.descending, term.field not in _ALWAYS_SET) for term in order
        ]
        clauses = [conditions.where(query.where)]
        if missing:
            clauses.append(f"{conditions.expression(first)} IS NULL")
        elif terms[0].nullable:
            clauses.append(f"{terms[0].column} IS NOT NULL")
            terms[0] = _Term(_SAME.get(first, terms[0].column), terms[0].descending, nullable=False)
        if after is not None:
            clauses.append(_behind(bind, terms, after))
        order_by = ", ".join(map(self._sorting, terms))
        return PageClauses(" AND ".join(clauses), clauses[0], conditions.span(query.where), order_by, bind.values)

    def _sorting(self, term: _Term) -> str:
        if term.nullable:
            return self._dialect.order_term(term.column, descending=term.descending)
        return f"{term.column} {'DESC' if term.descending else 'ASC'}"

    def count(self, where: Node) -> Statement:
        """One row, one column: how many."""
        bind = Bindings(self._dialect)
        clause = Conditions(self._dialect, bind).where(where)
        return Statement(f"SELECT COUNT(*) FROM {self._task} WHERE {clause}", bind.values)  # noqa: S608

    def aggregate(self, request: Aggregate) -> Statement:
        """One row per group, as `statistics` reads it; without keys always one, be it of no records."""
        bind = Bindings(self._dialect)
        conditions = Conditions(self._dialect, bind)
        clause = conditions.where(request.where)
        runtime, wait = conditions.expression("runtime"), conditions.expression("wait")
        keys = [*map(self._dialect.group_key, request.by)]
        if request.bucket is not None:
            keys.append(self._dialect.time_bucket("updated_at", request.bucket))
        counted = ", ".join(
            [
                *keys,
                "COUNT(*)",
                "SUM(CASE WHEN state = 'SUCCESS' THEN 1 ELSE 0 END)",
                "SUM(CASE WHEN state = 'FAILURE' THEN 1 ELSE 0 END)",
                f"AVG({runtime})",
                f"MAX({runtime})",
                f"AVG({wait})",
            ]
        )
        sql = f"SELECT {counted} FROM {self._task} WHERE {clause}"  # noqa: S608
        if keys:
            sql += f" GROUP BY {', '.join(str(number + 1) for number in range(len(keys)))}"
        return Statement(sql, bind.values)


def statistics(request: Aggregate, rows: Sequence[Sequence[Any]]) -> list[Statistic]:
    """The rows of `Statements.aggregate` as statistics, in their order."""
    found = [_statistic(request, row) for row in rows]
    return [row for row in found if row.count]


def _statistic(request: Aggregate, row: Sequence[Any]) -> Statistic:
    *key, count, succeeded, failed, runtime_avg, runtime_max, wait_avg = row
    start = key.pop() if request.bucket is not None else None
    return Statistic(
        key=tuple(key),
        bucket=None if start is None else datetime.fromtimestamp(int(start), UTC),
        count=count,
        succeeded=int(succeeded or 0),
        failed=int(failed or 0),
        runtime_avg=_seconds(runtime_avg),
        runtime_max=_seconds(runtime_max),
        wait_avg=_seconds(wait_avg),
    )


def _seconds(value: Any) -> float | None:
    return None if value is None else float(value)


def _behind(bind: Bindings, terms: Sequence[_Term], after: Sequence[Scalar]) -> str:
    """True of the rows that come behind the sort values `after`."""
    clause = FALSE
    for term, value in reversed(list(zip(terms, after, strict=True))):
        if value is None:
            clause = f"({term.column} IS NULL AND {clause})"
            continue
        place, sign = bind(value), "<" if term.descending else ">"
        behind = f"{term.column} {sign} {place}"
        if term.nullable:
            clause = f"({behind} OR {term.column} IS NULL OR ({term.column} = {place} AND {clause}))"
        else:
            clause = f"({term.column} {sign}= {place} AND ({behind} OR {clause}))"
    return clause
