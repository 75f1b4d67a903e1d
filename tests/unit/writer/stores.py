"""Stores that fail on purpose, and what to write into them."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from rootcellar.errors import StoreUnavailable, ValueTooLarge
from rootcellar.record import Change, TaskRecord
from rootcellar.store.capabilities import Capabilities
from rootcellar.store.url import parse
from rootcellar.stores.memory import MemoryStore

START = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)


class FailingStore(MemoryStore):
    """A memory store that is away, hangs, or fails at random when it is told to, and counts its batches."""

    def __init__(self) -> None:
        super().__init__(parse("memory://"))
        self.batches: list[list[str]] = []
        self.repair()

    def repair(self) -> None:
        """As good as new; what it holds stays."""
        self.error: Exception | None = None
        self.too_large: set[str] = set()
        self.failing = 0.0
        self.tries = 0
        gate = getattr(self, "gate", None)
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        if gate is not None:
            gate.set()

    def hang(self) -> None:
        """Keep whoever writes waiting until `gate` is set; `entered` tells that somebody does."""
        self.gate.clear()
        self.entered.clear()

    def _apply(self, deltas: list[TaskRecord]) -> None:
        self.tries += 1
        self.entered.set()
        self.gate.wait()
        if self.error is not None:
            raise self.error
        if random.random() < self.failing:
            raise StoreUnavailable("the connection was lost before")
        large = self.too_large & {delta.id for delta in deltas}
        if large:
            raise ValueTooLarge(f"too large: {sorted(large)}")
        super()._apply(deltas)
        self.batches.append([delta.id for delta in deltas])
        if random.random() < self.failing:
            raise StoreUnavailable("the connection was lost behind: the store has it all the same")


class SideBySide(FailingStore):
    """As a server, which takes batches of several connections at a time. Says how many it had at most."""

    capabilities: ClassVar = Capabilities(atomic_merge=True)

    def __init__(self) -> None:
        super().__init__()
        self.most = 0
        self._now: list[None] = []

    def _apply(self, deltas: list[TaskRecord]) -> None:
        self._now.append(None)
        self.most = max(self.most, len(self._now))
        try:
            super()._apply(deltas)
        finally:
            self._now.pop()


def delta(task_id: str, state: str, **values: Any) -> TaskRecord:
    """A partial record of one run; states come at times of their own, in the order of a life."""
    order = ["QUEUED", "STARTED", "PROGRESS", "RETRY", "REVOKED", "FAILURE", "SUCCESS"].index(state)
    started_at = None if state == "QUEUED" else START + timedelta(seconds=1)
    return Change(id=task_id, at=START + timedelta(seconds=order), state=state, started_at=started_at, **values).delta()


def states(record: TaskRecord | None) -> list[str]:
    """The states a record went through."""
    assert record is not None
    return [entry.state for entry in record.history]


def eventually(condition: Callable[[], object]) -> None:
    """Wait for something that another thread is about to do."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.002)
