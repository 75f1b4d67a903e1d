"""The tree: conditions joined by and, or, not, and what fields and operators there are."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Any, Final

import msgspec

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
TEXT_OPS: Final = frozenset({Op.CONTAINS, Op.MATCHES})

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
