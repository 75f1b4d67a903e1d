"""A record as the text that Redis holds: one JSON object, a register on each line.

The names in it are the record's own, what is null or empty is left out, and every JSON reader reads it:
``redis-cli get rootcellar_task:<id> | jq .result``. `scripts/record.lua` says what the lines are for; it relies on the
order of fields here.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from rootcellar.errors import InvalidInput, RecordUnreadable, ValueTooLarge
from rootcellar.record import TaskRecord, Transition, isoformat, microseconds
from rootcellar.stores.redis.terms import RecordTerms

#: A text in Redis has at most this (``proto-max-bulk-len``).
MAX_VALUE_BYTES: Final = 512 << 20

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(TaskRecord).decode


# The fields that decide, and those by which records are found, come first: see `scripts/record.lua`.


class _Outcome(msgspec.Struct, omit_defaults=True):
    state_order: str
    state: str
    worker: str | None = None
    outcome_index: list[str] | None = None
    updated_at: datetime | None = None
    attempt: int = 0
    pid: int | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    expires_at: datetime | None = None
    result: Any = None
    result_types: dict[str, str] | None = None
    error: dict[str, Any] | None = None
    children: list[Any] | None = None


class _Request(msgspec.Struct, omit_defaults=True):
    request_order: int
    name: str | None = None
    queue: str | None = None
    parent_id: str | None = None
    root_id: str | None = None
    group_id: str | None = None
    request_index: list[str] | None = None
    args: Any = None
    args_types: dict[str, str] | None = None
    kwargs: Any = None
    kwargs_types: dict[str, str] | None = None
    routing_key: str | None = None
    priority: int | None = None
    eta: datetime | None = None
    origin: str | None = None
    stamps: dict[str, Any] | None = None


class _Progress(msgspec.Struct, omit_defaults=True):
    progress_order: str
    progress_index: list[str] | None = None
    progress: Any = None
    progress_types: dict[str, str] | None = None


def encode_record(record: TaskRecord, terms: RecordTerms) -> bytes:
    """The text of a record, or of a partial one, with its terms.

    Raises `ValueTooLarge` when Redis could not hold it, `InvalidInput` for a text in it that is none.
    """
    try:
        text = b"\n".join((
            b'{"id":' + _encode(record.id),
            _outcome(record, terms),
            _request(record, terms) if record.request_order >= 0 else b"",
            b',"queued_at":"%b"' % isoformat(record.queued_at).encode() if record.queued_at else b"",
            _progress(record, terms) if record.progress_order else b"",
            _metadata(record, terms) if record.metadata_order else b"",
            _history(record.history) if record.history else b"",
            b"}",
        ))  # fmt: skip
    except UnicodeEncodeError as error:
        raise InvalidInput(f"Redis takes no text that holds a lone surrogate: {error}") from error
    if len(text) > MAX_VALUE_BYTES:
        raise ValueTooLarge(f"task {record.id!r} has {len(text):,} bytes; Redis takes at most 512 MB")
    return text


def decode_record(text: bytes, task_id: bytes) -> TaskRecord:
    """The record of a text. Raises `RecordUnreadable` when it is none."""
    try:
        return _decode(text)
    except (msgspec.MsgspecError, ValueError) as error:
        raise RecordUnreadable(f"the record of task {task_id.decode()!r} cannot be read: {error}") from error


def milliseconds(moment: datetime) -> int:
    """The first millisecond since 1970 at which `moment` has come: Redis ends keys at whole ones."""
    return -(-microseconds(moment) // 1000)


def _outcome(r: TaskRecord, terms: RecordTerms) -> bytes:
    return b"," + _encode(
        _Outcome(
            r.state_order, r.state, r.worker, terms.outcome, r.updated_at, r.attempt, r.pid, r.started_at,
            r.finished_at, r.expires_at, r.result, r.result_types, r.error, r.children,
        )
    )[1:-1]  # fmt: skip


def _request(r: TaskRecord, terms: RecordTerms) -> bytes:
    return b"," + _encode(
        _Request(
            r.request_order, r.name, r.queue, r.parent_id, r.root_id, r.group_id, terms.request, r.args, r.args_types,
            r.kwargs, r.kwargs_types, r.routing_key, r.priority, r.eta, r.origin, r.stamps,
        )
    )[1:-1]  # fmt: skip


def _progress(r: TaskRecord, terms: RecordTerms) -> bytes:
    return b"," + _encode(_Progress(r.progress_order, terms.progress, r.progress, r.progress_types))[1:-1]


def _metadata(record: TaskRecord, terms: RecordTerms) -> bytes:
    """Values, stamps and terms by key, all in one order."""
    order = record.metadata_order
    values = {key: record.metadata.get(key) for key in order}
    text = b',"metadata":{%b}\r,"metadata_order":{%b}' % (_items(values), _items(order))
    if terms.metadata is not None:
        text += b'\r,"metadata_index":{%b}' % _items({key: terms.metadata.get(key, []) for key in order})
    return text


def _items(values: dict[str, Any]) -> bytes:
    if len(values) == 1:
        return _encode(values)[1:-1]
    return b"\t,".join([_encode({key: value})[1:-1] for key, value in values.items()])


def _history(history: list[Transition]) -> bytes:
    return b',"history":[%b]' % b"\t,".join([_encode(_in_utc(entry)) for entry in history])


def _in_utc(entry: Transition) -> Transition:
    """So that equal transitions are equal text."""
    worker = entry.worker or None
    if entry.at.tzinfo is UTC and worker == entry.worker:
        return entry
    return msgspec.structs.replace(entry, at=entry.at.astimezone(UTC), worker=worker)
