"""Capture: what Celery's signals say becomes part of the record.

Connecting happens once per process, when this module is imported: by the backend, and by `rootcellar.metadata`. Every
handler finds out by itself whether the app at hand uses rootcellar. A handler never lets an error of ours reach the
publisher or the task: it logs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import wraps
from logging import getLogger
from typing import TYPE_CHECKING, Any, Final, ParamSpec

import msgspec
from celery import current_app, current_task, signals

from rootcellar.celery.runs import HEADER, Envelope, add_arguments, envelope_of, parent_of, parse_time, stamps_of
from rootcellar.record import Change, Request
from rootcellar.store.base import encode_metadata

if TYPE_CHECKING:
    from rootcellar.celery.backend import RootcellarBackend

logger = getLogger(__name__)

P = ParamSpec("P")

#: Callables that give metadata for a task being published; a later one's keys win.
metadata_sources: Final[list[Callable[[], Mapping[str, Any]]]] = []

_publishing = threading.local()


def announce_publish(backend: RootcellarBackend, task_id: str) -> None:
    """Remember, for the signal that follows in this thread, whose task this is: the signal does not say."""
    _publishing.backend, _publishing.task_id = backend, task_id


def _never_raises(handler: Callable[P, None]) -> Callable[P, None]:
    @wraps(handler)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            handler(*args, **kwargs)
        except Exception:
            logger.exception("rootcellar could not capture an event of a task; the task itself is not affected")

    return guarded


def _publishing_backend(headers: Mapping[str, Any]) -> RootcellarBackend | None:
    """The backend of the app that publishes, if it is ours: a task whose result is ignored is not announced."""
    from rootcellar.celery.app import backend_of

    if getattr(_publishing, "task_id", None) == headers["id"]:
        backend: RootcellarBackend = _publishing.backend
        return backend
    return backend_of(current_app) if headers.get("ignore_result") else None


class _Publish(msgspec.Struct, frozen=True):
    """One message about to be sent, as the signal gives it. `again`: for a retry of a task already known."""

    name: str
    headers: dict[str, Any]
    args: Any
    kwargs: Mapping[str, Any]
    details: dict[str, Any]
    at: datetime

    @property
    def again(self) -> bool:
        return bool(self.headers.get("retries"))

    @property
    def queue(self) -> str | None:
        declared = self.details.get("declare")
        name = getattr(declared[0], "name", None) if declared else None
        return name or self.details.get("routing_key")


@signals.before_task_publish.connect(weak=False)
@_never_raises
def on_before_publish(
    sender: str | None = None, headers: dict[str, Any] | None = None, body: Any = None, **details: Any
) -> None:
    """QUEUED: put the envelope into the headers, and write the record behind.

    A message published again for a retry keeps its envelope and enters no state: the record stays in RETRY.
    """
    if headers is None or not isinstance(body, tuple) or not headers.get("id"):
        return  # protocol 1 has no headers that reach the worker's request
    backend = _publishing_backend(headers)
    if backend is None:
        return
    publish = _Publish(sender or "", headers, body[0], body[1], details, datetime.now(UTC))
    envelope = envelope_of(headers) if publish.again else None
    if envelope is None:
        envelope = _envelope(backend, publish)
        headers[HEADER] = envelope.header()
    kept = backend.settings.capture_ignored or not headers.get("ignore_result")
    if kept and backend.settings.capture_queued:
        backend.writer.submit(_queued(backend, publish, envelope).delta())


def _envelope(backend: RootcellarBackend, publish: _Publish) -> Envelope:
    values = _metadata(backend, publish)
    documents, order = encode_metadata(values, publish.at) if values else ({}, {})
    # A message that comes again without an envelope was queued by somebody else, at a time we do not know.
    queued_at = None if publish.again else publish.at
    return Envelope(queued_at=queued_at, queue=publish.queue, metadata=documents, order=order)


def _metadata(backend: RootcellarBackend, publish: _Publish) -> dict[str, Any]:
    """All metadata a publish comes with: by rule, inherited, from `metadata` blocks, from headers; the later wins."""
    values: dict[str, Any] = {}
    for pattern, keys in backend.settings.metadata_rules():
        if fnmatchcase(publish.name, pattern):
            values.update({key: publish.kwargs[key] for key in keys if key in publish.kwargs})
    values.update(_inherited(backend))
    for source in metadata_sources:
        values.update(source())
    explicit = publish.headers.get("metadata")
    if isinstance(explicit, Mapping):
        values.update(explicit)
    return values


def _inherited(backend: RootcellarBackend) -> Mapping[str, Any]:
    inherit = backend.settings.inherit_metadata
    if not inherit or not current_task:
        return {}
    envelope = envelope_of(current_task.request.headers)
    if envelope is None:
        return {}
    known = envelope.metadata
    return known if inherit is True else {key: known[key] for key in inherit if key in known}


def _queued(backend: RootcellarBackend, publish: _Publish, envelope: Envelope) -> Change:
    headers = publish.headers
    request = Request(
        name=headers.get("task"),
        queue=envelope.queue,
        routing_key=publish.details.get("routing_key"),
        priority=(publish.details.get("properties") or {}).get("priority"),
        parent_id=parent_of(headers["id"], headers.get("parent_id")),
        root_id=headers.get("root_id"),
        group_id=headers.get("group"),
        eta=parse_time(headers.get("eta")),
        origin=headers.get("origin"),
        stamps=stamps_of(headers.get("stamps")),
        from_worker=False,
    )
    if backend.settings.capture_args:
        add_arguments(request, publish.args, publish.kwargs)
    return Change(
        id=headers["id"],
        at=publish.at,
        state=None if publish.again else "QUEUED",
        attempt=headers.get("retries") or 0,
        generation=headers.get("replaced_task_nesting") or 0,
        request=request,
        queued_at=envelope.queued_at,
        expires_at=backend.expires_at("QUEUED", request.name, max(publish.at, request.eta or publish.at)),
        metadata=envelope.metadata,
        metadata_order=envelope.order,
    )


def _backend_of_task(task: Any) -> RootcellarBackend | None:
    from rootcellar.celery.backend import RootcellarBackend

    backend = task.backend
    return backend if isinstance(backend, RootcellarBackend) else None


@signals.task_prerun.connect(weak=False)
@_never_raises
def on_prerun(sender: Any = None, task_id: str | None = None, **_: Any) -> None:
    """STARTED, written behind."""
    backend = _backend_of_task(sender)
    if backend is not None and task_id is not None:
        backend.run_started(sender, task_id)


@signals.task_postrun.connect(weak=False)
@_never_raises
def on_postrun(
    sender: Any = None, task_id: str | None = None, retval: Any = None, state: str | None = None, **_: Any
) -> None:
    """The end of a run whose state Celery did not ask to store."""
    backend = _backend_of_task(sender)
    if backend is not None and task_id is not None:
        backend.run_ended(sender, task_id, state, retval)


class _Process:
    """What kind of process this is; the children of a worker's pool inherit it."""

    worker = False


def in_worker() -> bool:
    """Whether this process is a worker, or one of a worker's pool."""
    return _Process.worker


@signals.worker_init.connect(weak=False)
def on_worker_init(**_: Any) -> None:
    """This process becomes a worker, before its pool starts."""
    _Process.worker = True


@signals.worker_ready.connect(weak=False)
@_never_raises
def on_worker_ready(sender: Any = None, **_: Any) -> None:
    """Begin to replay what an earlier worker of this host left in the spool."""
    from rootcellar.celery.app import backend_of

    backend = backend_of(sender.app)
    if backend is not None:
        backend.writer.start()


@signals.worker_process_shutdown.connect(weak=False)
@signals.worker_shutdown.connect(weak=False)
@_never_raises
def on_shutdown(**_: Any) -> None:
    """Write everything out before the process goes."""
    from rootcellar.celery.backend import flush_all

    flush_all()
