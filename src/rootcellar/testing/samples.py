"""Changes for examples: a morning in January, told in seconds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from rootcellar.record import Change, Request, TaskRecord, join

NINE: Final = datetime(2026, 1, 7, 9, tzinfo=UTC)


def at(seconds: float) -> datetime:
    """So many seconds past nine."""
    return NINE + timedelta(seconds=seconds)


#: An end that no engine, which may remove by itself what is past its end, has yet come to.
FAR_OFF: Final = at(5e9)


def queued(task_id: str, seconds: float = 0, **request: Any) -> Change:
    """A publisher's report of a task; keywords are fields of the request."""
    moment = at(seconds)
    asked = Request(**{"name": "shop.report", "args": [7], "kwargs": {}, "from_worker": False, **request})
    return Change(id=task_id, at=moment, state="QUEUED", queued_at=moment, request=asked)


def started(task_id: str, seconds: float = 1, **values: Any) -> Change:
    """A worker's report of a run that begins."""
    moment = at(seconds)
    return Change(id=task_id, at=moment, state="STARTED", started_at=moment, worker="celery@web-1", pid=4711, **values)


def succeeded(task_id: str, result: Any = None, seconds: float = 2, **values: Any) -> Change:
    """A worker's report of a result."""
    return Change(id=task_id, at=at(seconds), state="SUCCESS", result=result, worker="celery@web-1", **values)


def failed(task_id: str, seconds: float = 2, **values: Any) -> Change:
    """A worker's report of an error."""
    error = {"type": "OSError", "module": "builtins", "message": "away"}
    return Change(id=task_id, at=at(seconds), state="FAILURE", error=error, worker="celery@web-1", **values)


def progressed(task_id: str, progress: Any, seconds: float = 1.5, **values: Any) -> Change:
    """A running task's report of how far it is."""
    return Change(id=task_id, at=at(seconds), state="PROGRESS", progress=progress, **values)


def annotated(task_id: str, seconds: float = 0.5, **metadata: Any) -> Change:
    """A metadata write at a time of its own; the same call makes the same change."""
    moment = at(seconds)
    stamp = f"{round(moment.timestamp() * 1_000_000):016d}00000000"
    return Change(id=task_id, at=moment, metadata=metadata, metadata_order=dict.fromkeys(metadata, stamp))


def record_of(*changes: Change) -> TaskRecord:
    """What changes of one task amount to."""
    record, *rest = (change.delta() for change in changes)
    for delta in rest:
        record = join(record, delta)
    return record


def records_of(*changes: Change) -> dict[str, TaskRecord]:
    """What changes amount to, by task."""
    records: dict[str, TaskRecord] = {}
    for change in changes:
        known = records.get(change.id)
        records[change.id] = join(known, change.delta()) if known else change.delta()
    return records
