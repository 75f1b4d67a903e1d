"""Queries: one small tree, what it means, and the Python face onto it.

A query is a condition tree, an order, a limit and a cursor. `evaluate` is the meaning: every engine's translation must
return the same records in the same order. The text face is `rootcellar.search`.

Python face::

    F.state == "FAILURE"
    (F.metadata.user == 42) & (F.runtime > 2)
    F.name.matches("billing.*") | F.result["line.items"].contains("x")

Meaning, in short: a condition on a value that is not there, or is of another kind than the operand, is false; `Not` is
true exactly where its condition is false, and ``!=`` where ``==`` is. Text compares by code point, case counts. Numbers
are equal by value and ordered, inside documents, as IEEE doubles; there the order operators (not equality) also take
text that spells a plain decimal number for one, so that a `Decimal`, stored as text, can be compared. Times compare as
times. In an order, missing values come last whichever the direction; ties are broken by id, in the direction of the
first term.
"""

from __future__ import annotations

import base64
import enum
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, Final

import msgspec

from rootcellar.errors import QueryError
from rootcellar.record import TaskRecord, isoformat

__all__ = [
    "AGGREGATE_FIELDS",
    "FIELD_KINDS",
    "MAX_DEPTH",
    "MAX_NODES",
    "SORTABLE",
    "Aggregate",
    "And",
    "Condition",
    "F",
    "Field",
    "Kind",
    "Node",
    "Not",
    "Op",
    "Or",
    "Order",
    "Page",
    "Query",
    "Statistic",
    "aggregate",
    "evaluate",
    "matches",
    "suggest",
]

#: A tree deeper, or with more nodes, than this is refused.
MAX_DEPTH: Final = 50
MAX_NODES: Final = 1000
#: The most records one page holds.
MAX_LIMIT: Final = 10_000
DEFAULT_LIMIT: Final = 100
#: How many positions a list has, to a path.
MAX_POSITION: Final = 2**31


class Kind(enum.Enum):
    """What a field holds, and so which operators and operands it takes."""

    TEXT = "text"
    NUMBER = "number"
    TIME = "time"
    DOCUMENT = "document"


#: Every field a condition may name. `runtime` and `wait` are computed, in seconds.
FIELD_KINDS: Final[dict[str, Kind]] = {
    "id": Kind.TEXT,
    "name": Kind.TEXT,
    "state": Kind.TEXT,
    "queue": Kind.TEXT,
    "routing_key": Kind.TEXT,
    "worker": Kind.TEXT,
    "origin": Kind.TEXT,
    "parent_id": Kind.TEXT,
    "root_id": Kind.TEXT,
    "group_id": Kind.TEXT,
    "attempt": Kind.NUMBER,
    "priority": Kind.NUMBER,
    "pid": Kind.NUMBER,
    "runtime": Kind.NUMBER,
    "wait": Kind.NUMBER,
    "queued_at": Kind.TIME,
    "started_at": Kind.TIME,
    "finished_at": Kind.TIME,
    "updated_at": Kind.TIME,
    "expires_at": Kind.TIME,
    "eta": Kind.TIME,
    "args": Kind.DOCUMENT,
    "kwargs": Kind.DOCUMENT,
    "result": Kind.DOCUMENT,
    "error": Kind.DOCUMENT,
    "progress": Kind.DOCUMENT,
    "metadata": Kind.DOCUMENT,
    "stamps": Kind.DOCUMENT,
}

#: Fields an order may name.
SORTABLE: Final = frozenset(name for name, kind in FIELD_KINDS.items() if kind is not Kind.DOCUMENT)
#: Fields an aggregate may group by.
AGGREGATE_FIELDS: Final = frozenset({
    "name", "state", "queue", "routing_key", "worker", "origin", "parent_id", "root_id", "group_id", "attempt",
    "priority",
})  # fmt: skip


class Op(enum.Enum):
    """Operators of a condition. The operand is one scalar, but for IN (a tuple of scalars) and EXISTS (None)."""

    EQ = "="
    NE = "!="
    LT = "<"
    LE = "<="
    GT = ">"
    GE = ">="
    IN = "in"
    #: Text: contains the text. Document: an array contains the scalar, or a text contains the text.
    CONTAINS = "contains"
    #: Text with ``*`` (any run of characters) and ``?`` (any one character); the whole value must match.
    MATCHES = "matches"
    #: There is a value and it is not null.
    EXISTS = "exists"


ORDER_OPS: Final = frozenset({Op.LT, Op.LE, Op.GT, Op.GE})
_TEXT_OPS: Final = frozenset({Op.CONTAINS, Op.MATCHES})

Scalar = str | int | float | bool | datetime | None
PathPart = str | int


class Condition(msgspec.Struct, frozen=True, tag=True):
    """One comparison. `path` leads into a document field: keys as str, list positions as int."""

    field: str
    op: Op
    value: Any = None
    path: tuple[PathPart, ...] = ()


class And(msgspec.Struct, frozen=True, tag=True):
    """True where all of `nodes` are; without nodes, everywhere."""

    nodes: tuple[Node, ...] = ()


class Or(msgspec.Struct, frozen=True, tag=True):
    """True where any of `nodes` is; without nodes, nowhere."""

    nodes: tuple[Node, ...] = ()


class Not(msgspec.Struct, frozen=True, tag=True):
    """True exactly where `node` is false."""

    node: Node


Node = Condition | And | Or | Not
_STRUCTURE: Final = (Condition, And, Or, Not)


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


# -- checking ----------------------------------------------------------------------------------------------------------


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
    elif isinstance(value, int | float) and not math.isfinite(_double(value)):
        raise QueryError(f"{_place(condition)} cannot be compared with a number that no finite double comes near")


def _check_operator(condition: Condition, kind: Kind, value: Any) -> None:
    if condition.op in _TEXT_OPS and kind in {Kind.NUMBER, Kind.TIME}:
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


# -- meaning -----------------------------------------------------------------------------------------------------------


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
    return _COMPARE[op](_double(value), _double(operand))


def _double(value: float) -> float:
    """`value` as a double; an infinity for an integer too large to be one."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


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


def sort_value(record: TaskRecord, field: str) -> Any:
    """What `record` is sorted by when ordered by `field`."""
    return getattr(record, field)


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


# -- aggregates --------------------------------------------------------------------------------------------------------


class Aggregate(msgspec.Struct, frozen=True, kw_only=True):
    """What to count: groups of equal `by` fields, and of equal time bucket when `bucket` (seconds) is given.

    A bucket is the start of the span of `bucket` seconds since 1970 that `updated_at` falls into.
    """

    by: tuple[str, ...] = ()
    bucket: int | None = None
    where: Node = And()

    def checked(self) -> Aggregate:
        """This aggregate, once everything in it means something; raises `QueryError` otherwise."""
        check_tree(self.where)
        for field in self.by:
            if field not in AGGREGATE_FIELDS:
                raise QueryError(f"cannot group by {field!r}{suggest(field, AGGREGATE_FIELDS)}")
        if self.bucket is not None and self.bucket < 1:
            raise QueryError("a time bucket is at least one second")
        return self


class Statistic(msgspec.Struct, frozen=True, kw_only=True):
    """One group of an aggregate: `key` holds the values of its `by` fields, in order; times in seconds."""

    key: tuple[Any, ...] = ()
    bucket: datetime | None = None
    count: int
    succeeded: int
    failed: int
    runtime_avg: float | None = None
    runtime_max: float | None = None
    wait_avg: float | None = None


def aggregate(request: Aggregate, records: Iterable[TaskRecord]) -> list[Statistic]:
    """The statistics of `records`, greatest count first, then by key and bucket: the meaning of an aggregate."""
    request = request.checked()
    groups: dict[tuple[Any, ...], list[TaskRecord]] = {}
    for record in records:
        if matches(request.where, record):
            groups.setdefault(_group_key(request, record), []).append(record)
    return sort_statistics([_statistic(key, members) for key, members in groups.items()])


def sort_statistics(statistics: list[Statistic]) -> list[Statistic]:
    """In the order `aggregate` promises: greatest count first, then by bucket and key, missing values last."""

    def position(row: Statistic) -> tuple[Any, ...]:
        key = tuple((value is None, value if value is not None else 0) for value in row.key)
        return (-row.count, (row.bucket is None, row.bucket or datetime.min.replace(tzinfo=UTC)), key)

    return sorted(statistics, key=position)


def _group_key(request: Aggregate, record: TaskRecord) -> tuple[Any, ...]:
    key = tuple(getattr(record, field) for field in request.by)
    if request.bucket is None:
        return (*key, None)
    moment = record.updated_at
    return (*key, None if moment is None else _bucket_start(moment, request.bucket))


def _bucket_start(moment: datetime, seconds: int) -> datetime:
    return datetime.fromtimestamp(int(moment.timestamp()) // seconds * seconds, UTC)


def _statistic(key: tuple[Any, ...], members: list[TaskRecord]) -> Statistic:
    runtimes = [record.runtime for record in members if record.runtime is not None]
    waits = [record.wait for record in members if record.wait is not None]
    return Statistic(
        key=key[:-1],
        bucket=key[-1],
        count=len(members),
        succeeded=sum(record.state == "SUCCESS" for record in members),
        failed=sum(record.state == "FAILURE" for record in members),
        runtime_avg=sum(runtimes) / len(runtimes) if runtimes else None,
        runtime_max=max(runtimes, default=None),
        wait_avg=sum(waits) / len(waits) if waits else None,
    )


# -- the Python face ---------------------------------------------------------------------------------------------------


class Field:
    """A field, or a path into one, that comparisons make conditions of. Reached through `F`."""

    __slots__ = ("_field", "_path")

    def __init__(self, field: str, path: tuple[PathPart, ...] = ()) -> None:
        self._field = field
        self._path = path

    def __getattr__(self, key: str) -> Field:
        if key.startswith("__"):
            raise AttributeError(key)
        return self[key]

    def __getitem__(self, key: PathPart) -> Field:
        return Field(self._field, (*self._path, key))

    def _condition(self, op: Op, value: Any = None) -> Expression:
        condition = Condition(self._field, op, value, self._path)
        check_condition(condition)
        return Expression(condition)

    def __eq__(self, value: object) -> Expression:  # type: ignore[override]
        return self._condition(Op.EQ, value)

    def __ne__(self, value: object) -> Expression:  # type: ignore[override]
        return self._condition(Op.NE, value)

    def __lt__(self, value: Scalar) -> Expression:
        return self._condition(Op.LT, value)

    def __le__(self, value: Scalar) -> Expression:
        return self._condition(Op.LE, value)

    def __gt__(self, value: Scalar) -> Expression:
        return self._condition(Op.GT, value)

    def __ge__(self, value: Scalar) -> Expression:
        return self._condition(Op.GE, value)

    def is_in(self, values: Iterable[Scalar]) -> Expression:
        """Equal to any of `values`."""
        return self._condition(Op.IN, tuple(values))

    def contains(self, value: Scalar) -> Expression:
        """Text that contains the text, or an array that contains the value."""
        return self._condition(Op.CONTAINS, value)

    def matches(self, pattern: str) -> Expression:
        """Text that matches the pattern as a whole; ``*`` and ``?`` stand for what they do in file names."""
        return self._condition(Op.MATCHES, pattern)

    def exists(self) -> Expression:
        """There is a value, and it is not null."""
        return self._condition(Op.EXISTS)

    __hash__ = None  # type: ignore[assignment]


class Expression:
    """A tree under construction, joined with ``&``, ``|`` and ``~``. `node` is the tree."""

    __slots__ = ("node",)

    def __init__(self, node: Node) -> None:
        self.node = node

    def __repr__(self) -> str:
        from rootcellar import search

        return f"<Expression {search.render(self.node)}>"

    def __and__(self, other: Expression) -> Expression:
        return Expression(And((*_parts(And, self.node), *_parts(And, other.node))))

    def __or__(self, other: Expression) -> Expression:
        return Expression(Or((*_parts(Or, self.node), *_parts(Or, other.node))))

    def __invert__(self) -> Expression:
        return Expression(Not(self.node))

    def __bool__(self) -> bool:
        raise QueryError("a condition has no truth of its own; join conditions with & | ~, not with and, or, not")


def _parts(kind: type[And | Or], node: Node) -> tuple[Node, ...]:
    """What `node` adds to a `kind`, so that a long chain of operators stays shallow."""
    return node.nodes if isinstance(node, kind) else (node,)


class _Fields:
    """Attribute access gives a `Field`; an unknown name is an error that names the nearest."""

    def __getattr__(self, name: str) -> Field:
        if name.startswith("__"):
            raise AttributeError(name)
        if name not in FIELD_KINDS:
            raise QueryError(f"there is no field {name!r}{suggest(name, FIELD_KINDS)}")
        return Field(name)


F: Final = _Fields()
