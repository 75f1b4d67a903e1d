"""The layout of the tables as data: the one source for row codecs, upserts, drift detection and tests of the SQL files.

The columns of the task table are the fields of `TaskRecord`, under the same names. Short ones that are filtered and
sorted come first, documents last, so that an engine which keeps long values elsewhere reads them only when asked to.
"""

from __future__ import annotations

import enum
from typing import Final

import msgspec

from rootcellar.record import METADATA_FIELDS, OUTCOME_FIELDS, PROGRESS_FIELDS, REQUEST_FIELDS


class Logical(enum.Enum):
    """What a column holds, whatever the engine calls it. Text sorts and compares by code point."""

    ID = "id"
    TEXT = "text"
    INT = "int"
    BIGINT = "bigint"
    BOOL = "bool"
    #: Seconds since 1970 on the clock of the engine.
    DOUBLE = "double"
    #: A time with zone, to the microsecond.
    TIME = "time"
    #: A native JSON document; an SQL null stands for JSON's.
    JSON = "json"


class Register(enum.Enum):
    """The register of a record that a column belongs to, and so what decides between two values of it."""

    NONE = "none"
    OUTCOME = "outcome"
    REQUEST = "request"
    PROGRESS = "progress"
    METADATA = "metadata"
    HISTORY = "history"
    QUEUED_AT = "queued_at"


class Column(msgspec.Struct, frozen=True):
    """One column. `required`: never null."""

    name: str
    logical: Logical
    register: Register = Register.NONE
    required: bool = False


_SHORT: Final[tuple[tuple[str, Logical], ...]] = (
    ("id", Logical.ID),
    ("state", Logical.TEXT),
    ("state_order", Logical.TEXT),
    ("updated_at", Logical.TIME),
    ("name", Logical.TEXT),
    ("queue", Logical.TEXT),
    ("routing_key", Logical.TEXT),
    ("priority", Logical.BIGINT),
    ("worker", Logical.TEXT),
    ("pid", Logical.BIGINT),
    ("attempt", Logical.BIGINT),
    ("parent_id", Logical.ID),
    ("root_id", Logical.ID),
    ("group_id", Logical.ID),
    ("origin", Logical.TEXT),
    ("queued_at", Logical.TIME),
    ("eta", Logical.TIME),
    ("started_at", Logical.TIME),
    ("finished_at", Logical.TIME),
    ("expires_at", Logical.TIME),
    ("request_order", Logical.BIGINT),
    ("progress_order", Logical.TEXT),
)
_DOCUMENTS: Final = (
    "metadata",
    "metadata_order",
    "history",
    "error",
    "progress",
    "progress_types",
    "children",
    "stamps",
    "args",
    "args_types",
    "kwargs",
    "kwargs_types",
    "result",
    "result_types",
)
_REQUIRED: Final = frozenset(
    {"id", "state", "state_order", "attempt", "request_order", "progress_order", *METADATA_FIELDS, "history"}
)


def _register(name: str) -> Register:
    for fields, register in (
        (OUTCOME_FIELDS, Register.OUTCOME),
        (REQUEST_FIELDS, Register.REQUEST),
        (PROGRESS_FIELDS, Register.PROGRESS),
        (METADATA_FIELDS, Register.METADATA),
        (("history",), Register.HISTORY),
        (("queued_at",), Register.QUEUED_AT),
    ):
        if name in fields:
            return register
    return Register.NONE


COLUMNS: Final[tuple[Column, ...]] = tuple(
    Column(name, logical, _register(name), name in _REQUIRED)
    for name, logical in (*_SHORT, *((name, Logical.JSON) for name in _DOCUMENTS))
)
COLUMN_NAMES: Final[tuple[str, ...]] = tuple(column.name for column in COLUMNS)

GROUP_COLUMNS: Final = (
    Column("group_id", Logical.ID, required=True),
    Column("members", Logical.JSON),
    Column("expires_at", Logical.TIME),
)
CHORD_COLUMNS: Final = (
    Column("group_id", Logical.ID, required=True),
    Column("size", Logical.BIGINT),
    Column("extra", Logical.BIGINT, required=True),
    Column("token", Logical.TEXT),
    Column("leased_until", Logical.DOUBLE, required=True),
    Column("closed", Logical.BOOL, required=True),
    Column("expires_at", Logical.TIME),
)
CHORD_PART_COLUMNS: Final = (
    Column("group_id", Logical.ID, required=True),
    Column("position", Logical.BIGINT, required=True),
    Column("task_id", Logical.ID, required=True),
    Column("payload", Logical.JSON),
)
#: Every table, by the attribute of `Names` that says what it is called.
TABLES: Final[dict[str, tuple[Column, ...]]] = {
    "task": COLUMNS,
    "group": GROUP_COLUMNS,
    "chord": CHORD_COLUMNS,
    "chord_part": CHORD_PART_COLUMNS,
}

#: The indexes of the task table: key -> columns. Each costs every write, so there is one per common question:
#: what failed lately, how is this task doing, what happened last, what has expired, who is in this group, whose child.
INDEXES: Final[dict[str, tuple[str, ...]]] = {
    "state": ("state", "updated_at"),
    "name": ("name", "updated_at"),
    "updated": ("updated_at",),
    "expires": ("expires_at",),
    "members": ("group_id",),
    "children": ("parent_id",),
}
