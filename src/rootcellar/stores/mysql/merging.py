"""`record.join` as one statement for a batch: INSERT ... ON DUPLICATE KEY UPDATE.

The engine assigns from left to right, and later expressions see what the earlier ones assigned; so what decides a
register is assigned last in it. A subquery in this place sees no column of the row (MySQL), hence the slots: the
assignment of metadata names as many keys as the row of the batch with the most of them, and for a row with fewer the
slots left over repeat its first.

What no record of a batch has is left out of its statement: registers that say nothing, and columns that are null.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Final

import msgspec

from rootcellar.record import HISTORY_LIMIT, TaskRecord
from rootcellar.stores._sql.columns import COLUMNS, Register
from rootcellar.stores._sql.merging import plain_assignments
from rootcellar.stores.mysql.flavour import Flavour
from rootcellar.stores.mysql.rows import NULL

#: Metadata keys of one row; a record with more is sent as several rows, which merge one after the other.
MOST_KEYS: Final = 16
#: Entries that make a history worth trimming, which takes a second statement.
LONG_HISTORY: Final = HISTORY_LIMIT + HISTORY_LIMIT // 2
#: No entry of a history is shorter; in bytes.
_SHORTEST_ENTRY: Final = 80

_REGISTERS: Final = {column.name: column.register for column in COLUMNS}
_REQUIRED: Final = frozenset(column.name for column in COLUMNS if column.required)
_NAMES: Final = tuple(column.name for column in COLUMNS)
_POSITIONS: Final = {name: position for position, name in enumerate(_NAMES)}


class BatchShape(msgspec.Struct, frozen=True):
    """What a batch's statement depends on: the registers that say something, the columns that do, metadata keys."""

    registers: frozenset[Register]
    columns: tuple[str, ...]
    keys: int


def split(record: TaskRecord) -> Iterator[TaskRecord]:
    """`record` as records of at most `MOST_KEYS` metadata keys, whose join it is."""
    if len(record.metadata_order) <= MOST_KEYS:
        yield record
        return
    keys = list(record.metadata_order)
    for start in range(0, len(keys), MOST_KEYS):
        part = keys[start : start + MOST_KEYS]
        metadata = {key: record.metadata[key] for key in part if key in record.metadata}
        order = {key: record.metadata_order[key] for key in part}
        if start:
            yield TaskRecord(id=record.id, metadata=metadata, metadata_order=order)
        else:
            yield msgspec.structs.replace(record, metadata=metadata, metadata_order=order)


def shape_of(records: Sequence[TaskRecord], rows: Sequence[Sequence[str]]) -> BatchShape:
    """The shape of a batch of records and of their rows."""
    registers = frozenset().union(*map(_registers, records))
    used = [name for name, values in zip(_NAMES, zip(*rows, strict=True), strict=True) if _says_something(name, values)]
    columns = tuple(name for name in used if name in _REQUIRED or _REGISTERS[name] in registers)
    return BatchShape(registers, columns, max(len(record.metadata_order) for record in records))


def _says_something(name: str, values: Sequence[str]) -> bool:
    return name in _REQUIRED or any(value != NULL for value in values)


def _registers(record: TaskRecord) -> set[Register]:
    says = {
        Register.OUTCOME: record.state_order,
        Register.REQUEST: record.request_order >= 0,
        Register.PROGRESS: record.progress_order,
        Register.METADATA: record.metadata_order,
        Register.HISTORY: record.history,
        Register.QUEUED_AT: record.queued_at,
    }
    return {register for register, something in says.items() if something}


def merge_statement(task: str, flavour: Flavour, records: Sequence[TaskRecord], rows: Sequence[Sequence[str]]) -> str:
    """The statement that merges `records`, whose `rows` are of literals, into the table `task` (its quoted name)."""
    shape = shape_of(records, rows)
    head, tail = merge_sql(task, flavour, shape)
    pick = itemgetter(*(_POSITIONS[column] for column in shape.columns))
    values = ", ".join(f"({', '.join(pick(row))})" for row in rows)
    return f"{head}{values}{tail}"


@lru_cache(maxsize=256)
def merge_sql(task: str, flavour: Flavour, shape: BatchShape) -> tuple[str, str]:
    """What stands before and behind the rows."""
    head = f"INSERT INTO {task} ({', '.join(shape.columns)}) VALUES "  # noqa: S608 - names of ours, quoted
    update = ", ".join(f"{column} = {expression}" for column, expression in _Merge(task, flavour, shape).assignments())
    return head, f"{' AS new' if flavour.row_alias else ''} ON DUPLICATE KEY UPDATE {update}"


class _Merge:
    """The assignments of one statement."""

    def __init__(self, task: str, flavour: Flavour, shape: BatchShape) -> None:
        self._task = task
        self._flavour = flavour
        self._shape = shape

    def stored(self, column: str) -> str:
        """The column as the row has it so far."""
        return f"{self._task}.{column}"

    def incoming(self, column: str) -> str:
        """The column as the batch brings it; left out of the batch, it is null."""
        if column not in self._shape.columns:
            return NULL
        return f"new.{column}" if self._flavour.row_alias else f"VALUES({column})"

    def assignments(self) -> Iterator[tuple[str, str]]:
        """Every column that may change, and what it becomes, in the order of assignment."""
        if Register.METADATA in self._shape.registers:
            yield "metadata", self._keyed("metadata")
            yield "metadata_order", self._keyed("metadata_order")
        if Register.HISTORY in self._shape.registers:
            yield "history", self._history()
        plain = [
            (column, expression)
            for column, expression in plain_assignments(self.stored, self.incoming)
            if _REGISTERS[column] in self._shape.registers
        ]
        yield from plain
        if not plain and not self._shape.registers:
            yield "id", self.stored("id")

    def _keyed(self, column: str) -> str:
        """`record.join_metadata` of one of its two columns: key by key, the greater stamp wins."""
        order, stored_order = self.incoming("metadata_order"), self.stored("metadata_order")
        incoming, stored = self.incoming(column), self.stored(column)
        slots = ", ".join(self._slot(incoming, stored, number) for number in range(self._shape.keys))
        return (
            f"CASE WHEN {order} = {stored_order} OR JSON_LENGTH({order}) = 0 THEN {stored} "
            f"WHEN JSON_LENGTH({stored_order}) = 0 THEN {incoming} ELSE JSON_SET({stored}, {slots}) END"
        )

    def _slot(self, incoming: str, stored: str, number: int) -> str:
        """A path and its new value.

        JSON_EXTRACT goes around the choice, because MariaDB takes what comes out of a CASE for text.
        """
        order, stored_order = self.incoming("metadata_order"), self.stored("metadata_order")
        keys = f"JSON_KEYS({order})"
        key = f"JSON_EXTRACT({keys}, '$[{number}]')"
        path = f"CONCAT('$.', {key})" if not number else f"CONCAT('$.', COALESCE({key}, JSON_EXTRACT({keys}, '$[0]')))"
        newer = f"{self._stamp(order, path)} > {self._stamp(stored_order, path)}"
        return f"{path}, JSON_EXTRACT(CASE WHEN {newer} THEN {incoming} ELSE {stored} END, {path})"

    def _stamp(self, order: str, path: str) -> str:
        return f"COALESCE(JSON_UNQUOTE(JSON_EXTRACT({order}, {path})), '')"

    def _history(self) -> str:
        """The union of two objects; of entries with one key the stored one stays.

        Tells of a long one by the session's LAST_INSERT_ID, which is free: the table has no column that counts.
        """
        stored = self.stored("history")
        long = f"JSON_LENGTH({stored}) >= {LONG_HISTORY}"
        if self._flavour.mariadb:
            # Counting means parsing here, and the length of the text is known.
            long = f"LENGTH({stored}) >= {LONG_HISTORY * _SHORTEST_ENTRY} AND {long}"
        return (
            f"CASE WHEN {long} AND LAST_INSERT_ID(1) = 0 THEN {stored} "
            f"ELSE JSON_MERGE_PATCH({self.incoming('history')}, {stored}) END"
        )


def trim_sql(task: str) -> str:
    """Cuts the histories of some ``ids`` down to the newest `HISTORY_LIMIT` entries.

    The entries are joined by a control character that JSON text never holds unescaped.
    """
    entry = f"CONCAT(JSON_QUOTE(entry.name), ':', JSON_EXTRACT({task}.history, CONCAT('$.', JSON_QUOTE(entry.name))))"
    joined = f"GROUP_CONCAT({entry} ORDER BY entry.name SEPARATOR '\x1e')"
    newest = f"REPLACE(SUBSTRING_INDEX({joined}, '\x1e', -{HISTORY_LIMIT}), '\x1e', ',')"
    names = f"JSON_TABLE(JSON_KEYS({task}.history), '$[*]' COLUMNS (name LONGTEXT CHARACTER SET utf8mb4 PATH '$'))"
    trimmed = f"(SELECT CONCAT('{{', {newest}, '}}') FROM {names} AS entry)"  # noqa: S608 - names of ours, quoted
    return f"UPDATE {task} SET history = {trimmed} WHERE id IN %(ids)s AND JSON_LENGTH(history) > {HISTORY_LIMIT}"  # noqa: S608
