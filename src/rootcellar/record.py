"""The record: all that is known about one task, and how two pieces of knowledge become one.

A record is a join-semilattice value. What each event adds is a `Change`; `Change.delta` turns it into a partial record,
and `join` of two records is commutative, associative and idempotent, so a history's changes give the same record in
whatever order, and however often, each of them arrives. A store only ever does ``row = join(row, delta)``, atomically.

A record consists of registers, each joined on its own:

===========  ====================================================================  ==============================
register     fields                                                                what decides
===========  ====================================================================  ==============================
request      `REQUEST_FIELDS`                                                      the greater `request_order`
outcome      `OUTCOME_FIELDS`                                                      the greater `state_order`
progress     `PROGRESS_FIELDS`                                                     the greater `progress_order`
metadata     each key of `metadata` by itself                                      the greater stamp of the key
history      the union of all transitions, sorted, the newest `HISTORY_LIMIT`      -
queued_at    the earliest                                                          -
===========  ====================================================================  ==============================

The one exception, on purpose: of two runs that both succeeded, the one *stored* first stays, because a value that
somebody has read must not change. The other run is seen in `history`.

Values (`args`, `kwargs`, `result`, `error`, `progress`, `metadata`) are documents here: what `rootcellar.codec` makes
of Python values. Stores see nothing else.
"""

from __future__ import annotations

import itertools
import os
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

__all__ = [
    "FIELDS",
    "HISTORY_LIMIT",
    "METADATA_FIELDS",
    "OUTCOME_FIELDS",
    "PROGRESS_FIELDS",
    "READY_STATES",
    "REQUEST_FIELDS",
    "Change",
    "Document",
    "Request",
    "TaskRecord",
    "Transition",
    "fold",
    "join",
    "merge",
]

#: What the codec makes of a Python value: None, bool, int, float, str, list or dict with str keys.
Document = Any
Types = dict[str, str] | None

#: Transitions kept per record; the oldest are dropped first.
HISTORY_LIMIT: Final = 100

READY_STATES: Final = frozenset({"SUCCESS", "FAILURE", "REVOKED"})

#: Rank of a state within one run; every state Celery does not know (PROGRESS, ABORTED, ...) ranks as CUSTOM_RANK.
STATE_RANKS: Final = {
    "PENDING": 0,
    "QUEUED": 1,
    "RECEIVED": 2,
    "STARTED": 3,
    "RETRY": 5,
    "REVOKED": 6,
    "FAILURE": 7,
    "SUCCESS": 8,
}
CUSTOM_RANK: Final = 4
#: States that come before a worker runs the task: they belong to no run.
_BEFORE_RUN: Final = frozenset({"PENDING", "QUEUED", "RECEIVED"})

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class Transition(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One entry of a record's history.

    `error` is ``{"type": ..., "message": ...}``: the short form; the last error in full is the record's own.
    """

    state: str
    at: datetime
    attempt: int = 0
    worker: str | None = None
    error: dict[str, str] | None = None

    @property
    def sort_key(self) -> tuple[int, datetime, str, str]:
        """What orders and identifies a transition: attempt, time, state, worker."""
        return (self.attempt, self.at, self.state, self.worker or "")


class TaskRecord(msgspec.Struct, kw_only=True):
    """Everything known about one task.

    Times are aware and in UTC. From `Store.get` and its kin the values are Python values; inside a store they are
    documents, each with the codec's map of types beside it. The fields ending in ``_order`` say how recent a register
    is and are no part of what users see.
    """

    id: str
    # -- outcome
    state: str = "PENDING"
    state_order: str = ""
    updated_at: datetime | None = None
    attempt: int = 0
    worker: str | None = None
    pid: int | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    expires_at: datetime | None = None
    result: Document = None
    result_types: Types = None
    error: dict[str, Any] | None = None
    children: list[Any] | None = None
    # -- request
    name: str | None = None
    args: Document = None
    args_types: Types = None
    kwargs: Document = None
    kwargs_types: Types = None
    queue: str | None = None
    routing_key: str | None = None
    priority: int | None = None
    parent_id: str | None = None
    root_id: str | None = None
    group_id: str | None = None
    eta: datetime | None = None
    origin: str | None = None
    stamps: dict[str, Any] | None = None
    request_order: int = -1
    # -- the rest
    queued_at: datetime | None = None
    progress: Document = None
    progress_types: Types = None
    progress_order: str = ""
    metadata: dict[str, Any] = msgspec.field(default_factory=dict)
    metadata_order: dict[str, str] = msgspec.field(default_factory=dict)
    history: list[Transition] = msgspec.field(default_factory=list)

    @property
    def ready(self) -> bool:
        """Whether the task has finished, one way or another."""
        return self.state in READY_STATES

    @property
    def runtime(self) -> float | None:
        """Seconds from start to finish, or None while either is unknown."""
        return _seconds_between(self.started_at, self.finished_at)

    @property
    def wait(self) -> float | None:
        """Seconds from queued to started, or None while either is unknown."""
        return _seconds_between(self.queued_at, self.started_at)


REQUEST_FIELDS: Final = (
    "name", "args", "args_types", "kwargs", "kwargs_types", "queue", "routing_key", "priority", "parent_id", "root_id",
    "group_id", "eta", "origin", "stamps", "request_order",
)  # fmt: skip
OUTCOME_FIELDS: Final = (
    "state", "updated_at", "attempt", "worker", "pid", "started_at", "finished_at", "expires_at", "result",
    "result_types", "error", "children", "state_order",
)  # fmt: skip
PROGRESS_FIELDS: Final = ("progress", "progress_types", "progress_order")
METADATA_FIELDS: Final = ("metadata", "metadata_order")
#: Every stored field, in the order of the struct.
FIELDS: Final = TaskRecord.__struct_fields__


class Request(msgspec.Struct, kw_only=True):
    """What a message says about its task. A change carries all of it or none of it.

    `from_worker` tells who reported it: the worker's view of one attempt replaces the publisher's.
    """

    name: str | None = None
    args: Document = None
    args_types: Types = None
    kwargs: Document = None
    kwargs_types: Types = None
    queue: str | None = None
    routing_key: str | None = None
    priority: int | None = None
    parent_id: str | None = None
    root_id: str | None = None
    group_id: str | None = None
    eta: datetime | None = None
    origin: str | None = None
    stamps: dict[str, Any] | None = None
    from_worker: bool = True


class Change(msgspec.Struct, kw_only=True):
    """What one event adds to a record.

    `id`: the task. `at`: when it happened (aware, UTC). `state`: the state entered, or None when the event enters none
    (metadata, a message published again for a retry). `attempt`: the run's number of earlier retries. `generation`: how
    often the task had been replaced by another of the same id, which starts attempts anew. `started_at`: the start of
    the run the event belongs to; None when unknown, and then `at` stands for it. `metadata` carries `metadata_order`
    beside it, from `stamp_metadata`.
    """

    id: str
    at: datetime
    state: str | None = None
    attempt: int = 0
    generation: int = 0
    started_at: datetime | None = None
    worker: str | None = None
    pid: int | None = None
    result: Document = None
    result_types: Types = None
    error: dict[str, Any] | None = None
    children: list[Any] | None = None
    progress: Document = None
    progress_types: Types = None
    request: Request | None = None
    queued_at: datetime | None = None
    expires_at: datetime | None = None
    metadata: dict[str, Any] | None = None
    metadata_order: dict[str, str] | None = None

    def delta(self) -> TaskRecord:
        """The partial record that says just what this change says."""
        state = self.state or "PENDING"
        ready = state in READY_STATES
        record = TaskRecord(
            id=self.id,
            state=state,
            state_order=self._order(state),
            updated_at=self.at,
            expires_at=self.expires_at,
            queued_at=self.queued_at,
        )
        if self.state is not None:
            record.attempt = self.attempt
            record.worker, record.pid = self.worker, self.pid
            record.started_at = self.started_at
            record.finished_at = self.at if ready else None
            record.result, record.result_types = self.result, self.result_types
            record.error, record.children = self.error, self.children
            record.history = [self._transition(self.state)]
        if self.request is not None:
            self._add_request(record, self.request)
        if self.progress is not None:
            record.progress, record.progress_types = self.progress, self.progress_types
            record.progress_order = record.state_order
        if self.metadata:
            record.metadata = self.metadata
            record.metadata_order = self.metadata_order or stamp_metadata(self.metadata, self.at)
        return record

    def _order(self, state: str) -> str:
        before_run = self.state is None or state in _BEFORE_RUN
        run = 0 if before_run else microseconds(self.started_at or self.at)
        attempt = 0 if self.state is None else self._run_number()
        rank = STATE_RANKS.get(state, CUSTOM_RANK)
        # In half the time of an f-string.
        return "%d%08d%016d%d%016d" % (state == "SUCCESS", attempt, run, rank, microseconds(self.at))  # noqa: UP031

    def _run_number(self) -> int:
        return min(self.generation, 99) * 1_000_000 + min(self.attempt, 999_999)

    def _transition(self, state: str) -> Transition:
        error = self.error and {
            "type": str(self.error.get("type", "")),
            "message": str(self.error.get("message", ""))[:500],
        }
        return Transition(state=state, at=self.at, attempt=self.attempt, worker=self.worker, error=error or None)

    def _add_request(self, record: TaskRecord, request: Request) -> None:
        record.name, record.queue, record.routing_key = request.name, request.queue, request.routing_key
        record.args, record.args_types = request.args, request.args_types
        record.kwargs, record.kwargs_types = request.kwargs, request.kwargs_types
        record.parent_id, record.root_id, record.group_id = request.parent_id, request.root_id, request.group_id
        record.priority, record.eta = request.priority, request.eta
        record.origin, record.stamps = request.origin, request.stamps
        record.request_order = self._run_number() * 2 + request.from_worker


def generation_of(record: TaskRecord) -> int:
    """How often the task of `record` had been replaced when it entered its state."""
    return int(record.state_order[1:3] or 0)


def merge(record: TaskRecord | None, change: Change) -> TaskRecord:
    """The record after `change`. Neither argument is modified."""
    delta = change.delta()
    return delta if record is None else join(record, delta)


def fold(deltas: list[TaskRecord]) -> list[TaskRecord]:
    """One partial record per task id, in the order of first appearance."""
    if len(deltas) == 1:
        return deltas
    folded: dict[str, TaskRecord] = {}
    for delta in deltas:
        known = folded.get(delta.id)
        folded[delta.id] = delta if known is None else join(known, delta)
    return list(folded.values())


def join(stored: TaskRecord, incoming: TaskRecord) -> TaskRecord:
    """The least record that knows what both know. Neither argument is modified.

    The result does not depend on which is which, but for two successful outcomes, where `stored` stays.
    """
    joined = msgspec.structs.replace(stored)
    if _outcome_wins(stored, incoming):
        _copy(OUTCOME_FIELDS, incoming, joined)
    if incoming.request_order > stored.request_order:
        _copy(REQUEST_FIELDS, incoming, joined)
    if incoming.progress_order > stored.progress_order:
        _copy(PROGRESS_FIELDS, incoming, joined)
    if incoming.queued_at and (stored.queued_at is None or incoming.queued_at < stored.queued_at):
        joined.queued_at = incoming.queued_at
    joined.metadata, joined.metadata_order = join_metadata(stored, incoming)
    joined.history = join_history(stored.history, incoming.history)
    return joined


def _outcome_wins(stored: TaskRecord, incoming: TaskRecord) -> bool:
    return stored.state != "SUCCESS" and incoming.state_order > stored.state_order


def _copy(fields: tuple[str, ...], source: TaskRecord, target: TaskRecord) -> None:
    for field in fields:
        setattr(target, field, getattr(source, field))


def join_metadata(stored: TaskRecord, incoming: TaskRecord) -> tuple[dict[str, Any], dict[str, str]]:
    """Metadata key by key: the write with the greater stamp wins."""
    if not incoming.metadata_order or stored.metadata_order == incoming.metadata_order:
        return stored.metadata, stored.metadata_order
    if not stored.metadata_order:
        return incoming.metadata, incoming.metadata_order
    values, order = dict(stored.metadata), dict(stored.metadata_order)
    for key, stamp in incoming.metadata_order.items():
        if stamp > order.get(key, ""):
            values[key], order[key] = incoming.metadata.get(key), stamp
    return values, order


def join_history(stored: list[Transition], incoming: list[Transition]) -> list[Transition]:
    """The union of two histories, sorted, the newest `HISTORY_LIMIT` of it."""
    if not incoming or stored == incoming:
        return stored
    union = {entry.sort_key: entry for entry in itertools.chain(incoming, stored)}
    return [union[key] for key in sorted(union)][-HISTORY_LIMIT:]


_stamp_counter = itertools.count()


def stamp_metadata(
    metadata: dict[str, Any], at: datetime, types: dict[str, dict[str, str]] | None = None
) -> dict[str, str]:
    """The order entry of each key of one metadata write.

    A stamp is the time of the write in microseconds and a discriminator, so that equal stamps mean the same write; the
    types of the key's value, where the codec gave any, follow it as JSON. Stamps compare as text.
    """
    stamp = f"{microseconds(at):016d}{os.getpid() & 0xFFFF:04x}{next(_stamp_counter) & 0xFFFF:04x}"
    if not types:
        return dict.fromkeys(metadata, stamp)
    return {key: stamp + msgspec.json.encode(types[key]).decode() if key in types else stamp for key in metadata}


STAMP_LENGTH: Final = 24


def stamped_types(order: dict[str, str]) -> dict[str, dict[str, str]]:
    """The types that `stamp_metadata` put behind the stamps, by metadata key."""
    return {
        key: msgspec.json.decode(stamp[STAMP_LENGTH:], type=dict[str, str])
        for key, stamp in order.items()
        if len(stamp) > STAMP_LENGTH
    }


def microseconds(moment: datetime) -> int:
    """Microseconds since 1970 of an aware datetime."""
    return (moment - _EPOCH) // _MICROSECOND


_encode: Final = msgspec.json.Encoder().encode
#: With the quotes around it.
_ISO_LENGTH: Final = len('"2026-11-21T09:00:00.120000Z"')


def isoformat(moment: datetime) -> str:
    """ISO text in UTC of fixed length, so that text order is time order: ``2026-11-21T09:00:00.120000Z``."""
    if moment.tzinfo is UTC:
        # Ten times as fast as `datetime.isoformat`, and of this length unless there are no microseconds.
        text = _encode(moment)
        if len(text) == _ISO_LENGTH:
            return text[1:-1].decode()
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def _seconds_between(start: datetime | None, end: datetime | None) -> float | None:
    return None if start is None or end is None else (end - start).total_seconds()
