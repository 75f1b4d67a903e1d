"""What contenders do again and again: one final state, one lifecycle, one upsert."""

from __future__ import annotations

import gc
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, ClassVar

from celery import Celery, states
from celery.app.task import Context

from bench.engines import Bare, Row
from rootcellar.record import isoformat, stamp_metadata

RESULT = {"total": "199.95", "rows": 105, "ok": True}


class Work(ABC):
    """Units of work, prepared ahead as far as the contender does not do it itself."""

    def __init__(self) -> None:
        self._units: list[Any] = []

    def prepare(self, count: int) -> None:
        """Make ready `count` units, which no garbage collection has to look through."""
        gc.unfreeze()
        self._units = [self._unit(str(uuid.uuid4())) for _ in range(count)]
        gc.collect()
        gc.freeze()

    def run(self, until: float) -> int:
        """Do units until the monotonic clock says `until`, or none is left; how many were done."""
        done, do, clock = 0, self.do, time.monotonic
        for unit in self._units:
            do(unit)
            done += 1
            if clock() >= until:
                break
        return done

    @abstractmethod
    def _unit(self, task_id: str) -> Any:
        """What one call of `do` needs."""

    @abstractmethod
    def do(self, unit: Any) -> None:
        """One unit."""


class BareUpsert(Work):
    """The bare driver: one durable upsert of a whole final record."""

    def __init__(self, bare: Bare, template: Row) -> None:
        super().__init__()
        self._upsert = bare.upsert
        self._rest = template[1:]

    def _unit(self, task_id: str) -> Row:
        return (task_id, *self._rest)

    def do(self, unit: Row) -> None:
        self._upsert(unit)


class BackendWork(Work):
    """A backend's own methods, called as `celery.app.trace` calls them."""

    def __init__(self, app: Celery) -> None:
        super().__init__()
        self.task = app.tasks["bench.noop"]
        self.backend = app.backend

    def _unit(self, task_id: str) -> Context:
        return request(task_id)


class StockFinal(BackendWork):
    """Stock Celery as it is unless told otherwise: the final state alone."""

    def do(self, unit: Context) -> None:
        self.backend.mark_as_done(unit.id, RESULT, unit)


class StockLife(BackendWork):
    """Stock Celery with ``task_track_started``: STARTED, then SUCCESS."""

    def do(self, unit: Context) -> None:
        started = {"pid": 4711, "hostname": unit.hostname}
        self.backend.store_result(unit.id, started, states.STARTED, request=unit)
        self.backend.mark_as_done(unit.id, RESULT, unit)


class Life(BackendWork):
    """Ours: what the signals before and after the task do, and SUCCESS between them."""

    def do(self, unit: Context) -> None:
        self.task.request_stack.push(unit)
        try:
            self.backend.run_started(self.task, unit.id)
            self.end(unit)
        finally:
            self.task.request_stack.pop()

    def begin(self, unit: Context) -> None:
        """What happens before the task, which goes on elsewhere."""
        self.task.request_stack.push(unit)
        self.backend.run_started(self.task, unit.id)
        self.task.request_stack.pop()

    def end(self, unit: Context) -> None:
        """The task returned."""
        self.backend.mark_as_done(unit.id, RESULT, unit)
        self.backend.run_ended(self.task, unit.id, states.SUCCESS, RESULT)


class Final(Life):
    """Ours: SUCCESS of a task whose STARTED waits to be written, as it does while the flush interval lasts."""

    #: Keeps STARTED from being written before SUCCESS is, however many tasks are made ready.
    SETTINGS: ClassVar = {"rootcellar_flush_interval": 60.0, "rootcellar_flush_size": 10_000}

    def prepare(self, count: int) -> None:
        # What began the last time. No flush: that would write what other threads have just made ready.
        for unit in self._units:
            self.do(unit)
        super().prepare(count)
        for unit in self._units:
            self.begin(unit)

    def run(self, until: float) -> int:
        done = super().run(until)
        del self._units[:done]
        return done

    def do(self, unit: Context) -> None:
        self.task.request_stack.push(unit)
        try:
            self.end(unit)
        finally:
            self.task.request_stack.pop()


class LongLife(Life):
    """Ours, for tasks that outlive the flush interval: STARTED is in the store before SUCCESS comes, so two writes."""

    TOGETHER = 50

    def prepare(self, count: int) -> None:
        super().prepare(count)
        self._units = [self._units[start : start + self.TOGETHER] for start in range(0, count, self.TOGETHER)]

    def run(self, until: float) -> int:
        return super().run(until) * self.TOGETHER

    def do(self, unit: list[Context]) -> None:
        for context in unit:
            self.begin(context)
        self.backend.flush()
        for context in unit:
            self.backend.mark_as_done(context.id, RESULT, context)


def request(task_id: str) -> Context:
    """The request of a typical task, as a worker has it: published by an app of ours, with metadata."""
    now = datetime.now(UTC)
    metadata = {"user": 42, "filename": "report.csv"}
    envelope = {"queued_at": isoformat(now), "queue": "celery", "metadata": metadata}
    return Context(
        id=task_id,
        task="bench.noop",
        args=[7],
        kwargs={"customer": "c-7"},
        retries=0,
        hostname="celery@web-1",
        delivery_info={"exchange": "", "routing_key": "celery", "priority": 0, "redelivered": False},
        root_id=task_id,
        origin="gen4711@web-1",
        headers={"rootcellar": {**envelope, "order": stamp_metadata(metadata, now)}},
    )


#: Makes a `Work`, once in each thread that does it.
Maker = Callable[[], Work]
