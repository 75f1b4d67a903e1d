"""Apps without a worker: the backend's methods are called as Celery's tracer calls them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery
from celery.app.task import Context

from rootcellar.celery.backend import RootcellarBackend
from rootcellar.errors import InvalidInput
from rootcellar.record import TaskRecord

MakeApp = Callable[..., Celery]


@pytest.fixture
def make_app() -> Iterator[MakeApp]:
    """Apps on the memory store, or on the store given, that write behind only when they are told to."""
    made: list[Celery] = []

    def make(backend: str = "rootcellar+memory://", **config: Any) -> Celery:
        app = Celery("shop", broker="memory://", backend=backend, set_as_current=False)
        app.conf.update({"rootcellar_flush_interval": 60.0, "rootcellar_retry_for": 0.0, "rootcellar_spool": False})
        app.conf.update({"task_default_queue": uuid4().hex, **config})  # the broker is one for the whole process
        made.append(app)
        return app

    yield make
    for app in made:
        with suppress(InvalidInput):  # where the configuration is what is wrong
            _close(app.backend)
        app.close()


def _close(backend: Any) -> None:
    if isinstance(backend, RootcellarBackend) and "store" in backend.__dict__:
        backend.result_consumer.stop()
        backend.writer.close()
        backend.store.close()


@pytest.fixture
def app(make_app: MakeApp) -> Celery:
    return make_app()


@pytest.fixture
def backend(app: Celery) -> RootcellarBackend:
    found = app.backend
    assert isinstance(found, RootcellarBackend)
    return found


def a_request(task_id: str = "t1", **values: Any) -> Context:
    """The request of a task that a worker runs."""
    defaults = {"id": task_id, "task": "shop.add", "args": [1, 2], "kwargs": {}, "hostname": "w0@test", "retries": 0}
    return Context({**defaults, "delivery_info": {"routing_key": "shop"}, **values})


def record_of(backend: RootcellarBackend, task_id: str = "t1") -> TaskRecord:
    """A task's record, with all that was written behind."""
    backend.flush()
    found = backend.store.get(task_id)
    assert found is not None, f"no record of {task_id}"
    return found


def states(record: TaskRecord) -> list[str]:
    return [entry.state for entry in record.history]
