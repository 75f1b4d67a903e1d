"""Queries and aggregates as pipelines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from rootcellar.query import (
    FIELD_KINDS,
    Aggregate,
    Condition,
    Kind,
    Node,
    Not,
    Op,
    Order,
    Query,
    Scalar,
    Statistic,
    requires,
)
from rootcellar.record import microseconds
from rootcellar.stores.mongodb.conditions import (
    DEFAULTS,
    FALSE,
    Filter,
    computed,
    conjunction,
    field_name,
    filter_of,
    is_computed,
    seconds_between,
)
from rootcellar.stores.mongodb.documents import MICROS, OFFLOADED, from_micros

Pipeline = list[dict[str, Any]]

#: Of records that have the one, the other is the same, and it has an index.
_SAME: Final = {"finished_at": "updated_at"}
#: Where a pipeline keeps what it computes to sort by.
_SORTED: Final = "rootcellar_sort"


class _Term(NamedTuple):
    """One term of an order. `keys`: the names of the fields to sort by. `expression`: of what is computed first."""

    field: str
    descending: bool
    nullable: bool
    keys: tuple[str, ...]
    expression: Any = None


def find(query: Query) -> Iterator[Pipeline]:
    """The pipelines whose documents, one after the other, are the page; run them until it is full.

    Records that have a value of the first sort field come from the first, the others from the second: apart, an index
    serves either direction, and the cursor is a plain bound. Each is limited to the whole page. Raises
    `Untranslatable`.
    """
    order = query.total_order()
    after = query.after()
    first = order[0].field
    if after is None or after[0] is not None:
        yield _page(query, order, after, missing=False)
    if first not in _ALWAYS_SET and not requires(query.where, first):
        rest = None if after is None or after[0] is not None else after[1:]
        yield _page(query, order[1:], rest, missing=True)


_ALWAYS_SET: Final = frozenset({"id", *DEFAULTS})


def _page(query: Query, order: Sequence[Order], after: Sequence[Scalar] | None, *, missing: bool) -> Pipeline:
    first = query.order[0].field
    terms = [_term(number, term) for number, term in enumerate(order)]
    filters = [filter_of(query.where)]
    if missing:
        filters.append(filter_of(Not(Condition(first, Op.EXISTS))))
    elif terms[0].nullable:
        filters.append(filter_of(Condition(first, Op.EXISTS)))
        terms[0] = terms[0]._replace(nullable=False, keys=_keys(_SAME.get(first, first), terms[0].keys))
    computing: dict[str, Any] = {}
    sorting: dict[str, int] = {}
    for number, term in enumerate(terms):
        direction = -1 if term.descending else 1
        if term.expression is not None:
            computing[term.keys[0]] = term.expression
        if term.nullable and not term.descending:
            # Null sorts before all values, and belongs behind them.
            absent = f"{_SORTED}.absent{number}"
            computing[absent] = {"$lte": [term.expression or f"${term.keys[0]}", None]}
            sorting[absent] = 1
        sorting |= dict.fromkeys(term.keys, direction)
    # What is computed is no part of the index's bounds, and is compared once it is there.
    stages: Pipeline = [{"$set": computing}] if computing else []
    if after is not None:
        filters.append(_bound(terms[0], after[0]))
        behind = _behind(terms, after)
        if computing:
            stages.append({"$match": behind})
        else:
            filters.append(behind)
    return [{"$match": conjunction(filters)}, *stages, {"$sort": sorting}, {"$limit": query.limit}]


def _keys(field: str, otherwise: tuple[str, ...]) -> tuple[str, ...]:
    return (field, f"{MICROS}.{field}") if FIELD_KINDS[field] is Kind.TIME else otherwise


def _term(number: int, term: Order) -> _Term:
    nullable = term.field not in _ALWAYS_SET
    own = (f"{_SORTED}.value{number}",)
    if is_computed(term.field):
        return _Term(term.field, term.descending, nullable, own, computed(term.field))
    if term.field in DEFAULTS:
        default = {"$ifNull": [f"${term.field}", DEFAULTS[term.field]]}
        return _Term(term.field, term.descending, nullable, own, default)
    name = field_name(term.field)
    return _Term(term.field, term.descending, nullable, _keys(term.field, (name,)))


def _bound(term: _Term, value: Scalar) -> Filter:
    """What is behind `value` in the order is not before it: a bound that an index of the dates can serve."""
    if value is None or term.nullable or len(term.keys) == 1:
        return {}
    return {term.keys[0]: {"$lte" if term.descending else "$gte": value}}


def _behind(terms: Sequence[_Term], after: Sequence[Scalar]) -> Filter:
    """True of the documents that come behind the sort values `after`."""
    clause: Filter = FALSE
    for term, value in reversed(list(zip(terms, after, strict=True))):
        key = term.keys[-1]
        if value is None:
            clause = {"$and": [{key: None}, clause]}
            continue
        place = microseconds(value) if FIELD_KINDS[term.field] is Kind.TIME else value
        choices = [{key: {"$lt" if term.descending else "$gt": place}}, {"$and": [{key: place}, clause]}]
        if term.nullable:
            choices.append({key: None})
        clause = {"$or": choices}
    return clause


def offloaded_among(where: Node) -> Filter | None:
    """The filter for records whose values that `where` looks into may lie in files; None where it looks into none."""
    fields = sorted(_documents(where))
    return {OFFLOADED: {"$in": fields}} if fields else None


def _documents(where: Node) -> set[str]:
    if isinstance(where, Condition):
        return {where.field} if FIELD_KINDS[where.field] is Kind.DOCUMENT else set()
    nodes = (where.node,) if isinstance(where, Not) else where.nodes
    return {field for node in nodes for field in _documents(node)}


# -- aggregates --------------------------------------------------------------------------------------------------------


def aggregate(request: Aggregate) -> Pipeline:
    """One document per group, as `statistic` reads it. Raises `Untranslatable`."""
    key: dict[str, Any] = {f"k{number}": _key(field) for number, field in enumerate(request.by)}
    if request.bucket is not None:
        exact = f"${MICROS}.updated_at"
        key["bucket"] = {"$subtract": [exact, {"$mod": [exact, request.bucket * 1_000_000]}]}
    runtime, wait = seconds_between("started_at", "finished_at"), seconds_between("queued_at", "started_at")
    group: dict[str, Any] = {
        "_id": key,
        "count": {"$sum": 1},
        "succeeded": {"$sum": {"$cond": [{"$eq": ["$state", "SUCCESS"]}, 1, 0]}},
        "failed": {"$sum": {"$cond": [{"$eq": ["$state", "FAILURE"]}, 1, 0]}},
        "runtime_avg": {"$avg": runtime},
        "runtime_max": {"$max": runtime},
        "wait_avg": {"$avg": wait},
    }
    return [{"$match": filter_of(request.where)}, {"$group": group}]


def _key(field: str) -> Any:
    return {"$ifNull": [f"${field_name(field)}", DEFAULTS.get(field)]}


def statistic(request: Aggregate, found: Mapping[str, Any]) -> Statistic:
    """One group of `aggregate`."""
    key = found["_id"]
    start = key.get("bucket")
    return Statistic(
        key=tuple(key.get(f"k{number}") for number in range(len(request.by))),
        bucket=None if start is None else from_micros(start),
        count=found["count"],
        succeeded=found["succeeded"],
        failed=found["failed"],
        runtime_avg=found["runtime_avg"],
        runtime_max=found["runtime_max"],
        wait_avg=found["wait_avg"],
    )
