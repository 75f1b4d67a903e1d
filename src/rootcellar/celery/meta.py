"""A record as the dict that Celery's `AsyncResult` reads."""

from __future__ import annotations

from typing import Any, Final

from celery.utils.serialization import create_exception_cls

from rootcellar import codec
from rootcellar.celery.values import Values
from rootcellar.record import TaskRecord

#: Celery knows no state before STARTED but PENDING; the record itself says QUEUED.
_PENDING: Final = frozenset({"PENDING", "QUEUED", "RECEIVED"})
_EXCEPTION_STATES: Final = frozenset({"RETRY", "FAILURE", "REVOKED"})


def meta_of(task_id: str, record: TaskRecord | None, values: Values) -> dict[str, Any]:
    """Celery's meta of a record in document form; that of an unknown task when there is none.

    Raises `CodecError`, or kombu's `ContentDisallowed`, when a value of the record cannot be read here.
    """
    if record is None:
        return {"task_id": task_id, "status": "PENDING", "result": None, "traceback": None, "children": None}
    record = values.decode_record(record)
    return {
        "task_id": record.id,
        "status": "PENDING" if record.state in _PENDING else record.state,
        "result": _result(record),
        "traceback": (record.error or {}).get("traceback"),
        "children": record.children,
        "date_done": record.finished_at,
        "name": record.name,
        "args": record.args,
        "kwargs": record.kwargs,
        "worker": record.worker,
        "retries": record.attempt,
        "queue": record.queue,
        "parent_id": record.parent_id,
        "group_id": record.group_id,
    }


def unreadable_meta(task_id: str, error: Exception) -> dict[str, Any]:
    """What somebody who waits for a task gets when its record cannot be read: that error."""
    return {"task_id": task_id, "status": "FAILURE", "result": error, "traceback": None, "children": None}


def _result(record: TaskRecord) -> Any:
    """What `AsyncResult.result` is in each state, as with Celery's own backends."""
    if record.error is not None and record.state in _EXCEPTION_STATES:
        return codec.decode_exception(record.error, make_stand_in=create_exception_cls)
    if record.state == "STARTED":
        return {"pid": record.pid, "hostname": record.worker}
    if record.state in _PENDING:
        return None
    if record.state == "SUCCESS" or record.result is not None:
        return record.result
    return record.progress
