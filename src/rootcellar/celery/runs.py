"""What Celery's request objects say, as changes of a record.

A *run* is one attempt of one task as one worker sees it. A request may be a `Context` of a running task, of the
worker's main process, one made up by Celery for a chord's body (no worker), a `Bunch` without most attributes (an
unknown task), or None (a revoke by remote control, an error of a chord): then the run is the one that the stored record
is in.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any, Final

import msgspec

from rootcellar import codec
from rootcellar.record import Change, Request, TaskRecord, Transition, generation_of, isoformat

_sort_key: Final = attrgetter("sort_key")

#: The message header that carries what the publisher knows.
HEADER: Final = "rootcellar"


class Envelope(msgspec.Struct, omit_defaults=True):
    """What the publisher puts into the header: plain JSON, so any serializer and any language carries it on."""

    queued_at: datetime | None = None
    queue: str | None = None
    metadata: dict[str, Any] = {}
    order: dict[str, str] = {}

    def header(self) -> dict[str, Any]:
        """The header's value."""
        plain: dict[str, Any] = {"queued_at": isoformat(self.queued_at)} if self.queued_at else {}
        if self.queue:
            plain["queue"] = self.queue
        if self.metadata:
            plain["metadata"], plain["order"] = self.metadata, self.order
        return plain


def envelope_of(headers: Mapping[str, Any] | None) -> Envelope | None:
    """The envelope in a message's headers; None when there is none, or somebody else's by the same name."""
    value = headers.get(HEADER) if headers else None
    if not isinstance(value, dict):
        return None
    try:
        envelope = msgspec.convert(value, Envelope)
    except msgspec.ValidationError:
        return None
    return envelope if envelope.queued_at or envelope.queue else None


class Run(msgspec.Struct, kw_only=True):
    """One attempt of a task. `started_at` is None where the process does not know it."""

    id: str
    attempt: int = 0
    generation: int = 0
    started_at: datetime | None = None
    worker: str | None = None
    pid: int | None = None
    request: Request | None = None
    envelope: Envelope | None = None
    #: The last state this run entered, as far as this process saw it.
    state: str | None = None
    #: When the record may be removed if the run is never heard of again.
    expires_at: datetime | None = None

    def not_before(self, at: datetime | None) -> datetime:
        """`at`, or the time of what came before it in this run if that is later, or if `at` is None.

        Clocks of publisher and worker differ; a record's times never run backwards, and queries rely on that.
        """
        queued_at = None if self.envelope is None else self.envelope.queued_at
        latest = at
        for moment in (self.started_at, queued_at):
            if moment is not None and (latest is None or moment > latest):
                latest = moment
        if latest is None:
            raise ValueError("a change needs a time, its own or that of what came before it")
        return latest

    def change(self, state: str | None, at: datetime | None, **values: Any) -> Change:
        """A change of this run; `values` are further fields of `Change`."""
        return Change(
            id=self.id,
            at=self.not_before(at),
            state=state,
            attempt=self.attempt,
            generation=self.generation,
            started_at=self.started_at,
            worker=self.worker,
            pid=self.pid,
            request=self.request,
            **values,
        )

    def delta(self, change: Change) -> TaskRecord:
        """The partial record of `change` and of all that this run knows of what came before it."""
        delta = change.delta()
        if change.state == self.state:
            delta.history = []  # progress within a state, no transition
        self.state = change.state or self.state
        if self.started_at is not None and change.state != "STARTED":
            started = Transition(state="STARTED", at=self.started_at, attempt=self.attempt, worker=self.worker)
            delta.history = [started, *delta.history]
        return self._with_envelope(delta)

    def record(self) -> TaskRecord:
        """The partial record of this run's start. Whatever `delta` makes of a later change of the run says it too."""
        return self._with_envelope(self.change("STARTED", self.started_at, expires_at=self.expires_at).delta())

    def _with_envelope(self, delta: TaskRecord) -> TaskRecord:
        envelope = self.envelope
        if envelope is None:
            return delta
        if envelope.queued_at is not None:
            delta.queued_at = envelope.queued_at
            queued = Transition(state="QUEUED", at=envelope.queued_at)
            # By time but for the clocks of two hosts, which may have made all times of a run one.
            delta.history = sorted([queued, *delta.history], key=_sort_key)
        if envelope.metadata and not delta.metadata:
            delta.metadata, delta.metadata_order = envelope.metadata, envelope.order
        return delta


def run_of_request(
    request: Any,
    task_id: str,
    *,
    started_at: datetime | None = None,
    stored: TaskRecord | None = None,
    with_args: bool = True,
) -> Run:
    """The run a request belongs to.

    `started_at`: when this process began it. Where another process runs it, `stored` may know that and its pid.
    `with_args`: whether arguments are kept.
    """
    envelope = envelope_of(getattr(request, "headers", None))
    worker = getattr(request, "hostname", None)
    run = Run(
        id=task_id,
        attempt=getattr(request, "retries", None) or 0,
        generation=getattr(request, "replaced_task_nesting", None) or 0,
        started_at=started_at,
        worker=worker,
        pid=os.getpid() if started_at else None,
        request=_request(request, task_id, envelope, from_worker=bool(worker), with_args=with_args),
        envelope=envelope,
    )
    if started_at is not None:
        run.started_at = run.not_before(started_at)
    if stored is not None and (stored.attempt, generation_of(stored)) == (run.attempt, run.generation):
        run.started_at, run.pid = stored.started_at, stored.pid
        run.worker = worker or stored.worker
    return run


def run_following(task_id: str, record: TaskRecord | None) -> Run:
    """The run that the stored record is in, for a change that comes with no request."""
    if record is None:
        return Run(id=task_id)
    return Run(id=task_id, attempt=record.attempt, generation=generation_of(record), started_at=record.started_at)


def _request(
    request: Any, task_id: str, envelope: Envelope | None, *, from_worker: bool, with_args: bool
) -> Request | None:
    name = getattr(request, "task", None)
    if not isinstance(name, str):
        return None
    delivery = getattr(request, "delivery_info", None) or {}
    routing_key = delivery.get("routing_key")
    made = Request(
        name=name,
        queue=(envelope and envelope.queue) or routing_key,
        routing_key=routing_key,
        priority=delivery.get("priority"),
        parent_id=parent_of(task_id, getattr(request, "parent_id", None)),
        root_id=getattr(request, "root_id", None) or task_id,
        group_id=getattr(request, "group", None),
        eta=parse_time(getattr(request, "eta", None)),
        origin=getattr(request, "origin", None),
        stamps=stamps_of(getattr(request, "stamps", None)),
        from_worker=from_worker,
    )
    if with_args:
        add_arguments(made, getattr(request, "args", None), getattr(request, "kwargs", None))
    return made


def parent_of(task_id: str, parent_id: str | None) -> str | None:
    """The parent; Celery calls a task its own parent once it has published itself again for a retry."""
    return None if parent_id == task_id else parent_id


def snapshot(encoded: codec.Encoded) -> tuple[Any, dict[str, str] | None]:
    """Document, copied, and types, for what is written behind: the task may change its value before that is written."""
    return msgspec.to_builtins(encoded.document), encoded.types


def add_arguments(request: Request, args: Any, kwargs: Any) -> None:
    """Put a task's arguments into `request`; what the codec cannot store is kept as its repr, marked."""
    if isinstance(args, Sequence) and not isinstance(args, str | bytes):
        request.args, request.args_types = snapshot(codec.encode(list(args), lenient=True))
    if isinstance(kwargs, Mapping):
        request.kwargs, request.kwargs_types = snapshot(codec.encode(dict(kwargs), lenient=True))


def stamps_of(stamps: Any) -> dict[str, Any] | None:
    """A request's stamps as a document; None when there are none. What the codec cannot store is kept as its repr."""
    if not isinstance(stamps, dict) or not stamps:
        return None
    encoded = codec.encode({str(key): value for key, value in stamps.items()}, lenient=True)
    document: dict[str, Any]
    document, _ = snapshot(encoded)
    return document


def parse_time(value: Any) -> datetime | None:
    """An ETA as aware UTC time, from what a message may hold."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return None
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
