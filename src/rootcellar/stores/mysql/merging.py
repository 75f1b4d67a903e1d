"""`record.join` as one statement for a batch: INSERT ... ON DUPLICATE KEY UPDATE.

The engine assigns from left to right, and later expressions see what the earlier ones assigned; so what decides a
register is assigned last in it. A subquery in this place sees no column of the row (MySQL), hence the slots: the
assignment of metadata names each key. Where the rows of a batch have different keys, it names the first, the second and
so on of the row, as many as the row with the most of them has, and for a row with fewer the slots left over repeat its
first.

Many statements only insert, and then all that follows the rows is parsed for nothing; so it is kept short. What no
record of a batch has is left out: registers that say nothing, and columns that are null.
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
from rootcellar.stores.mysql.documents import member, metadata_key
from rootcellar.stores.mysql.flavour import Flavour
from rootcellar.stores.mysql.literals import text_literal
from rootcellar.stores.mysql.rows import NULL

#: Metadata keys of one row; a record with more is sent as several rows, which merge one after the other.
MOST_KEYS: Final = 16
#: Entries that make a history worth trimming, which takes a second statement.
LONG_HISTORY: Final = HISTORY_LIMIT + HISTORY_LIMIT // 2
#: No entry of a history is shorter; in bytes.
_SHORTEST_ENTRY: Final = 80

_REGISTERS: Final = {column.name: column.register for column in COLUMNS}
_NAMES: Final = tuple(column.name for column in COLUMNS)
_POSITIONS: Final = {name: position for position, name in enumerate(_NAMES)}


class BatchShape(msgspec.Struct, frozen=True):
    """What a batch's statement depends on.

    `registers`: those that say something. `columns`: those that are not null everywhere. `keys`: the metadata keys of
    every row that has metadata, or how many a row has at most.
    """

    registers: frozenset[Register]
    columns: tuple[str, ...]
    keys: tuple[str, ...] | int


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
    registers = frozenset(register for record in records for register in _registers(record))
    filled = rows[0] if len(rows) == 1 else map(_first_value, zip(*rows, strict=True))
    columns = tuple(name for name, value in zip(_NAMES, filled, strict=True) if value != NULL)
    return BatchShape(registers, columns, _keys_of(records))


def _first_value(values: Sequence[str]) -> str:
    return next((value for value in values if value != NULL), NULL)


def _keys_of(records: Sequence[TaskRecord]) -> tuple[str, ...] | int:
    sets = {tuple(sorted(record.metadata_order)) for record in records if record.metadata_order}
    return sets.pop() if len(sets) == 1 else max(map(len, sets), default=0)


def _registers(record: TaskRecord) -> Iterator[Register]:
    if record.state_order:
        yield Register.OUTCOME
    if record.request_order >= 0:
        yield Register.REQUEST
    if record.progress_order:
        yield Register.PROGRESS
    if record.metadata_order:
        yield Register.METADATA
    if record.history:
        yield Register.HISTORY
    if record.queued_at:
        yield Register.QUEUED_AT


def merge_statement(
    task: str, flavour: Flavour, records: Sequence[TaskRecord], rows: Sequence[Sequence[str]]
) -> tuple[str, str]:
    """The statement that merges `records`, whose `rows` are of literals, into the table `task` (its quoted name).

    In two parts: the first alone inserts, and is enough where no record is known yet.
    """
    shape = shape_of(records, rows)
    head, update = merge_sql(task, flavour, shape)
    pick = itemgetter(*(_POSITIONS[column] for column in shape.columns))
    return head + ", ".join(f"({', '.join(pick(row))})" for row in rows), update


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
        return f"{self._task}.{column}" if self._flavour.row_alias else column

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
        slots = ", ".join(self._slot(path, incoming, stored) for path in self._paths())
        return (
            f"CASE WHEN {order} = {stored_order} OR JSON_LENGTH({order}) = 0 THEN {stored} "
            f"WHEN JSON_LENGTH({stored_order}) = 0 THEN {incoming} ELSE JSON_SET({stored}, {slots}) END"
        )

    def _paths(self) -> list[str]:
        """The path to each key of the row."""
        keys = self._shape.keys
        if isinstance(keys, tuple):
            return [text_literal("$" + member(self._spelled(key))) for key in keys]
        names = f"JSON_KEYS({self.incoming('metadata_order')})"
        first, *others = (f"JSON_EXTRACT({names}, '$[{number}]')" for number in range(keys))
        return [f"CONCAT('$.', {first})", *(f"CONCAT('$.', COALESCE({other}, {first}))" for other in others)]

    def _spelled(self, key: str) -> str:
        return metadata_key(key) if self._flavour.mariadb else key

    def _slot(self, path: str, incoming: str, stored: str) -> str:
        """A path and its new value.

        JSON_EXTRACT goes around the choice, because MariaDB takes what comes out of a CASE for text.
        """
        order, stored_order = self.incoming("metadata_order"), self.stored("metadata_order")
        newer = f"{_stamp(order, path)} > COALESCE({_stamp(stored_order, path)}, '')"
        return f"{path}, JSON_EXTRACT(CASE WHEN {newer} THEN {incoming} ELSE {stored} END, {path})"

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


def _stamp(order: str, path: str) -> str:
    return f"JSON_UNQUOTE(JSON_EXTRACT({order}, {path}))"


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
