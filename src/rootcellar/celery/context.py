"""The user's own fields: `metadata` around a publish, `annotate` inside a task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final

from celery import current_task

from rootcellar.celery import capture
from rootcellar.celery.app import backend_of
from rootcellar.errors import InvalidInput
from rootcellar.record import Change
from rootcellar.store.base import encode_metadata

#: Never modified: each block sets a new mapping.
_current: Final[ContextVar[Mapping[str, Any]]] = ContextVar("rootcellar_metadata", default=MappingProxyType({}))


@contextmanager
def metadata(values: Mapping[str, Any] | None = None, /, **more: Any) -> Iterator[None]:
    """Give these metadata keys to every task published inside the block, in this thread or asyncio task.

    Blocks nest; the inner value of a key wins. The metadata travel in the message's headers: no worker can lose them.
    Raises `CodecError` at once for a value that cannot be stored.
    """
    encode_metadata({**(values or {}), **more}, datetime.now(UTC))
    token = _current.set({**_current.get(), **(values or {}), **more})
    try:
        yield
    finally:
        _current.reset(token)


def current_metadata() -> Mapping[str, Any]:
    """What the enclosing `metadata` blocks say."""
    return _current.get()


def annotate(values: Mapping[str, Any] | None = None, /, **more: Any) -> None:
    """Write metadata keys of the task that is running now; its other keys stay.

    Written behind, within the flush interval. Raises `InvalidInput` outside of a task, and when the app's backend is
    not a rootcellar one: there, use `Store.annotate` with the task's id.
    """
    task = current_task
    if not task or task.request.id is None:
        raise InvalidInput(
            "rootcellar.annotate() works inside a running task; elsewhere use store.annotate(task_id, ...)"
        )
    backend = backend_of(task.app)
    if backend is None:
        raise InvalidInput("rootcellar.annotate() needs an app whose result_backend is a rootcellar one")
    at = datetime.now(UTC)
    documents, order = encode_metadata({**(values or {}), **more}, at)
    backend.writer.submit(Change(id=task.request.id, at=at, metadata=documents, metadata_order=order).delta())


capture.metadata_sources.append(current_metadata)
