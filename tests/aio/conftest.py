"""Apps without a worker, whose store can be made to fail."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
from celery import Celery

from rootcellar.celery.backend import RootcellarBackend
from rootcellar.record import TaskRecord
from rootcellar.store.url import parse
from rootcellar.stores.memory import MemoryStore
from rootcellar.waiting import hub
from tests.unit.celery.conftest import MakeApp, app, backend, make_app

__all__ = ["MakeApp", "app", "backend", "make_app"]


class FragileStore(MemoryStore):
    """A memory store that cannot be read while `away` holds an error, and counts its reads."""

    def __init__(self) -> None:
        super().__init__(parse("memory://"))
        self.away: Exception | None = None
        self.reads: list[int] = []

    def _fetch(self, ids: list[str]) -> list[TaskRecord]:
        self.reads.append(len(ids))
        if self.away is not None:
            raise self.away
        return super()._fetch(ids)


@pytest.fixture
def store(app: Celery, monkeypatch: pytest.MonkeyPatch) -> FragileStore:
    """The store of `app`; after an error, it is tried again soon."""
    monkeypatch.setattr(hub, "_FIRST_PAUSE", 0.005)
    made = app.backend.__dict__["store"] = FragileStore()
    return made


@pytest.fixture
def nothing_left(backend: RootcellarBackend) -> Iterator[None]:
    """No coroutine waits for anything when the test is over; to Celery, a `GroupResult` waits from its making."""
    yield
    gc.collect()
    assert not backend.result_consumer.waiters._tickets
    assert not backend.result_consumer._arrived


def waited_for(backend: RootcellarBackend) -> tuple[int, int]:
    """How many tasks the register, and the hub, are waiting for."""
    return len(backend.result_consumer.waiters), len(backend.result_consumer.hub)
