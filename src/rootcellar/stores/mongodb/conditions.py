"""A condition tree as a filter of MongoDB's query language.

True exactly where `rootcellar.query.matches` is. A condition on a path of plain keys becomes a dotted name, which an
index can serve; MongoDB looks into arrays on the way, a path of ours does not, so arrays are ruled out beside it. Paths
with list positions, and with keys that no dotted name can lead to, become expressions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from rootcellar.query import FIELD_KINDS, ORDER_OPS, And, Condition, Kind, Node, Not, Op, Or, PathPart, matches
from rootcellar.query import pattern_regex as python_regex
from rootcellar.record import TaskRecord, microseconds
from rootcellar.stores.mongodb.documents import MICROS
from rootcellar.stores.mongodb.merging import is_simple_key

Filter = dict[str, Any]

TRUE: Final[Filter] = {}
FALSE: Final[Filter] = {"_id": {"$in": []}}
_INT64: Final = range(-(2**63), 2**63)
#: Up to here every integer is a double.
_EXACT: Final = 2.0**53
#: `rootcellar.query.meaning.DECIMAL_TEXT`, by a matcher for which ``$`` also stands before a last line feed.
_DECIMAL: Final = r"\A-?[0-9]{1,30}(\.[0-9]{1,30})?\z"
#: Longer expressions than this are more than PCRE takes.
_LONGEST_REGEX: Final = 16_000
#: Steps of a path that become an expression; documents of the codec are never deeper.
_DEEPEST: Final = 24
_BLANK: Final = TaskRecord(id="")
#: No later than `updated_at` of the same record; `finished_at`, when set, equals it.
_NOT_AFTER_UPDATED: Final = frozenset({"queued_at", "started_at", "finished_at"})
_LOWER: Final = frozenset({Op.GT, Op.GE, Op.EQ})
_UPPER: Final = frozenset({Op.LT, Op.LE, Op.EQ})
_OPERATORS: Final = {Op.LT: "$lt", Op.LE: "$lte", Op.GT: "$gt", Op.GE: "$gte"}
#: Fields that every record has a value of, and what a document without it means.
DEFAULTS: Final[dict[str, Any]] = {"state": _BLANK.state, "attempt": _BLANK.attempt}


class Untranslatable(Exception):
    """No filter says exactly what the tree says; it takes a scan."""


def filter_of(where: Node) -> Filter:
    """The filter for a whole tree, with the bounds on `updated_at` that follow from it, for the index's sake.

    Raises `Untranslatable`.
    """
    return conjunction([_filter(where), *_implied(where)])


def conjunction(filters: list[Filter]) -> Filter:
    """True where all of `filters` are."""
    parts = [part for part in filters if part != TRUE]
    return {"$and": parts} if len(parts) > 1 else parts[0] if parts else TRUE


def _filter(node: Node) -> Filter:
    if isinstance(node, And):
        return conjunction([_filter(child) for child in node.nodes])
    if isinstance(node, Or):
        return _any_of([_filter(child) for child in node.nodes])
    if isinstance(node, Not):
        return _not(_filter(node.node))
    return _condition(node)


def _any_of(filters: list[Filter]) -> Filter:
    if not filters:
        return FALSE
    return filters[0] if len(filters) == 1 else {"$or": filters}


def _not(inner: Filter) -> Filter:
    if list(inner) == ["$nor"] and len(inner["$nor"]) == 1:
        only: Filter = inner["$nor"][0]
        return only
    return {"$nor": [inner]}


def _condition(node: Condition) -> Filter:  # noqa: PLR0911 - one case per kind of field
    if node.op is Op.NE:
        return _not(_condition(Condition(node.field, Op.EQ, node.value, node.path)))
    value = node.value
    if isinstance(value, int) and value not in _INT64:
        value = float(value)
        if node.op not in ORDER_OPS and value != node.value:
            return FALSE  # no integer beyond 64 bits is ever stored, and no double is this one
    kind = FIELD_KINDS[node.field]
    if kind is Kind.DOCUMENT:
        return _document(node, value)
    if node.field in _COMPUTED:
        return _computed(node.field, node.op, value)
    if kind is Kind.TIME:
        return _time(node.field, node.op, value)
    found = _column(field_name(node.field), node.op, value)
    if node.field in DEFAULTS and matches(node, _BLANK):
        return {"$or": [found, {node.field: None}]}
    return found


def field_name(field: str) -> str:
    """What a document calls a field of a record."""
    return "_id" if field == "id" else field


# -- columns -----------------------------------------------------------------------------------------------------------


def _column(name: str, op: Op, value: Any) -> Filter:
    if op is Op.EXISTS:
        return {name: {"$ne": None}}
    if op is Op.EQ:
        return {name: value}
    if op is Op.IN:
        return {name: {"$in": [choice for choice in value if not isinstance(choice, int) or choice in _INT64]}}
    if op is Op.CONTAINS:
        return {name: _regex(re.escape(value))}
    if op is Op.MATCHES:
        return {name: _pattern(value)}
    return {name: {_OPERATORS[op]: value}}


def _regex(expression: str) -> Filter:
    if len(expression.encode()) > _LONGEST_REGEX:
        raise Untranslatable
    return {"$regex": expression}


def _pattern(pattern: str) -> Filter:
    return _regex(f"(?s)\\A(?:{python_regex(pattern).pattern})\\z")


def _time(field: str, op: Op, value: Any) -> Filter:
    """By the exact times, beside a bound on the dates, which have the indexes."""
    if op is Op.EXISTS:
        return {field: {"$ne": None}}
    if op is Op.IN:
        return _any_of([_time(field, Op.EQ, choice) for choice in value])
    if value is None:
        return {field: None}
    exact = microseconds(value)
    if op is Op.EQ:
        return {field: value, f"{MICROS}.{field}": exact}
    # A date is its time cut to the millisecond.
    bound = "$lte" if op in {Op.LT, Op.LE} else "$gte"
    return {field: {bound: value}, f"{MICROS}.{field}": {_OPERATORS[op]: exact}}


_COMPUTED: Final = {"runtime": ("started_at", "finished_at"), "wait": ("queued_at", "started_at")}


def seconds_between(start: str, end: str) -> Filter:
    """The expression for the seconds from one time to another; null where either is missing."""
    return {"$divide": [{"$subtract": [f"${MICROS}.{end}", f"${MICROS}.{start}"]}, 1e6]}


def computed(field: str) -> Filter:
    """The expression for a field that is computed from two."""
    return seconds_between(*_COMPUTED[field])


def _computed(field: str, op: Op, value: Any) -> Filter:
    both = {f"{MICROS}.{name}": {"$ne": None} for name in _COMPUTED[field]}
    if op is Op.EXISTS:
        return both
    if op is Op.IN:
        return _any_of([_computed(field, Op.EQ, choice) for choice in value])
    if value is None:
        return _not(both)
    return {**both, "$expr": {_OPERATORS.get(op, "$eq"): [computed(field), value]}}


def is_computed(field: str) -> bool:
    """Whether no document holds the field itself."""
    return field in _COMPUTED


def _implied(node: Node) -> Iterator[Filter]:
    if isinstance(node, And):
        for child in node.nodes:
            yield from _implied(child)
    elif isinstance(node, Condition) and node.field in _NOT_AFTER_UPDATED and isinstance(node.value, datetime):
        if node.op in _LOWER:
            yield {"updated_at": {"$gte": node.value}}
        if node.op in _UPPER and node.field == "finished_at":
            yield {"updated_at": {"$lte": node.value}}


# -- documents ---------------------------------------------------------------------------------------------------------


def _document(node: Condition, value: Any) -> Filter:
    if node.op is Op.EXISTS and node.field == "metadata" and not node.path:
        return TRUE  # left out where it is empty
    if node.op is Op.IN:
        choices = [_condition(Condition(node.field, Op.EQ, choice, node.path)) for choice in value]
        return _any_of(choices)
    if node.op is Op.EQ and value is None:
        return _not(_document(Condition(node.field, Op.EXISTS, None, node.path), None))
    if not is_dotted(node.path) or (node.op in ORDER_OPS and isinstance(value, int | float) and abs(value) >= _EXACT):
        return _expression(node, value)
    name = ".".join([node.field, *map(str, node.path)])
    return conjunction([_plain(name, node.op, value), *_no_arrays_above(node)])


def is_dotted(path: tuple[PathPart, ...]) -> bool:
    """Whether a path is a dotted name."""
    return all(isinstance(part, str) and is_simple_key(part) for part in path)


def _no_arrays_above(node: Condition) -> list[Filter]:
    """Nothing that the path leads through is an array. Metadata never is one itself."""
    names = [".".join([node.field, *map(str, node.path[:length])]) for length in range(len(node.path))]
    return [{name: {"$not": {"$type": "array"}}} for name in names if name != "metadata"]


_NO_ARRAY: Final[Filter] = {"$not": {"$type": "array"}}


def _plain(name: str, op: Op, value: Any) -> Filter:  # noqa: PLR0911 - one case per operator
    """A condition on a dotted name, which nothing but itself may make an array."""
    if op is Op.EXISTS:
        return {"$or": [{name: {"$type": "array"}}, {name: {"$ne": None}}]}
    if op is Op.EQ:
        return {name: {"$eq": value, **_NO_ARRAY}}
    if op in ORDER_OPS:
        compared: Filter = {name: {_OPERATORS[op]: value, **_NO_ARRAY}}
        if isinstance(value, str):
            return compared
        spelled = {name: {"$type": "string", "$regex": _DECIMAL, **_NO_ARRAY}}
        return {"$or": [compared, {**spelled, "$expr": _number_order(f"${name}", op, value)}]}
    if op is Op.MATCHES:
        return {name: {**_pattern(value), **_NO_ARRAY}}
    contained: Filter = {"$and": [{name: {"$type": "array"}}, {name: value}]}
    if not isinstance(value, str):
        return contained
    return {"$or": [contained, {name: {**_regex(re.escape(value)), **_NO_ARRAY}}]}


def _number_order(found: Any, op: Op, value: float) -> Filter:
    """Of a number, or of a text that spells one."""
    number = {"$convert": {"input": found, "to": "double", "onError": None, "onNull": None}}
    return {"$and": [{"$gt": [number, None]}, {_OPERATORS[op]: [number, float(value)]}]}


# -- as expressions ----------------------------------------------------------------------------------------------------


def _expression(node: Condition, value: Any) -> Filter:
    if len(node.path) > _DEEPEST:
        raise Untranslatable
    test = _test(node.op, value)
    exact = {"$expr": {"$let": {"vars": {"found": value_at(node.field, node.path)}, "in": test}}}
    if node.op is Op.EQ and all(isinstance(p, int) or is_simple_key(p) for p in node.path):
        # Finds more, and an index of a declared path can serve it.
        return {".".join([node.field, *map(str, node.path)]): value, **exact}
    return exact


def value_at(field: str, path: tuple[PathPart, ...]) -> Any:
    """The expression for the value at a path: keys of objects alone, positions of arrays alone."""
    found: Any = f"${field}"
    for part in path:
        if isinstance(part, str):
            found = {"$getField": {"field": {"$literal": part}, "input": found}}
        else:
            at = {"$cond": [{"$isArray": "$$list"}, {"$arrayElemAt": ["$$list", part]}, None]}
            found = {"$let": {"vars": {"list": found}, "in": at}}
    return found


_FOUND: Final = "$$found"
_IS_TEXT: Final[Filter] = {"$eq": [{"$type": _FOUND}, "string"]}


def _test(op: Op, value: Any) -> Any:
    """The expression that says whether the variable ``found`` passes."""
    literal = {"$literal": value}
    if op is Op.EXISTS:
        return {"$gt": [_FOUND, None]}
    if op is Op.EQ:
        return {"$eq": [_FOUND, literal]}
    if op in ORDER_OPS:
        if isinstance(value, str):
            return {"$and": [_IS_TEXT, {_OPERATORS[op]: [_FOUND, literal]}]}
        spelled = {"$cond": [_IS_TEXT, {"$regexMatch": {"input": _FOUND, "regex": _DECIMAL}}, False]}
        return {"$and": [{"$or": [{"$isNumber": _FOUND}, spelled]}, _number_order(_FOUND, op, value)]}
    if op is Op.MATCHES:
        return {"$cond": [_IS_TEXT, {"$regexMatch": {"input": _FOUND, "regex": _pattern(value)["$regex"]}}, False]}
    in_text: Any = False
    if isinstance(value, str):
        in_text = {"$cond": [_IS_TEXT, {"$gte": [{"$indexOfCP": [_FOUND, literal]}, 0]}, False]}
    return {"$cond": [{"$isArray": _FOUND}, {"$in": [literal, _FOUND]}, in_text]}
