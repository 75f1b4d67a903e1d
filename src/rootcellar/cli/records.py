"""Records on the screen: as a table, as JSON, and by the beginning of an id."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from rootcellar.cli.exits import ExitCode, Failure
from rootcellar.cli.formats import (
    duration,
    error_line,
    inline,
    pairs,
    relative,
    short_id,
    state_style,
    utc_now,
    visible,
)
from rootcellar.cli.output import Cell, Column, Output, Table
from rootcellar.query import And, Condition, Op, Order, Query
from rootcellar.record import TaskRecord
from rootcellar.store.base import Store
from rootcellar.store.documents import plain_record

_COLUMNS: Final = (
    Column(title="ID"),
    Column(title="NAME", flexible=True),
    Column(title="STATE"),
    Column(title="QUEUED", rank=3),
    Column(title="STARTED", rank=2),
    Column(title="RUNTIME", rank=1, right=True),
    Column(title="WORKER", rank=6),
    Column(title="METADATA", rank=4, flexible=True),
    Column(title="RESULT", rank=5, flexible=True),
)


def print_records(output: Output, records: Sequence[TaskRecord]) -> None:
    """Records in document form: one JSON object a line, or a table."""
    if output.as_json:
        for record in records:
            output.json(plain_record(record))
    elif records:
        output.table(record_table(records, whole_ids=output.console is None))


def record_table(records: Sequence[TaskRecord], *, whole_ids: bool = False, now: datetime | None = None) -> Table:
    """Records in document form as a table. `whole_ids`: for other programs; people read the beginning."""
    now = now or utc_now()
    return Table(columns=_COLUMNS, rows=[_row(record, now, whole_ids=whole_ids) for record in records])


def _row(record: TaskRecord, now: datetime, *, whole_ids: bool) -> list[Cell]:
    return [
        (visible(record.id) if whole_ids else short_id(record.id), "cyan"),
        visible(record.name or "-"),
        (visible(record.state), state_style(record.state)),
        relative(record.queued_at, now),
        relative(record.started_at, now),
        _runtime(record, now),
        visible(record.worker or ""),
        (pairs(record.metadata), "blue"),
        outcome_cell(record),
    ]


def _runtime(record: TaskRecord, now: datetime) -> str:
    """What a run took, or has taken until now."""
    if record.runtime is None and record.state == "STARTED" and record.started_at is not None:
        return duration((now - record.started_at).total_seconds()) + "+"
    return duration(record.runtime)


def outcome_cell(record: TaskRecord) -> Cell:
    """The result, the error, or the progress: what matters now."""
    if record.error is not None:
        return error_line(record.error), "red"
    if record.result is not None:
        return inline(record.result)
    return (inline(record.progress), "dim") if record.progress is not None and not record.ready else ""


#: Ids named when a beginning is that of several.
_NAMED: Final = 5
#: The last character there is.
_LAST: Final = "\U0010ffff"


def record_by_id(store: Store, text: str) -> TaskRecord:
    """The record, in document form, of the task whose id is `text`, or alone begins with it.

    Ends the command when there is none, or more than one.
    """
    found = store.fetch([text])
    if not found:
        found = _beginning_with(store, text)
    if not found:
        raise Failure(f"no task has the id {visible(text)!r}, or one that begins so", ExitCode.FOUND)
    if len(found) > 1:
        ids = ", ".join(visible(record.id) for record in found[:_NAMED])
        more = ", ..." if len(found) > _NAMED else ""
        raise Failure(f"several ids begin with {visible(text)!r}: {ids}{more}", ExitCode.USAGE)
    return found[0]


def _beginning_with(store: Store, text: str) -> list[TaskRecord]:
    if not text or "\0" in text:
        return []
    # A range of the ids: every store has them in order.
    where = And((Condition("id", Op.GE, text), Condition("id", Op.LT, text + _LAST)))
    return store.find_documents(Query(where=where, order=(Order("id"),), limit=_NAMED + 1)).records
