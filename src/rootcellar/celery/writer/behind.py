"""Write-behind: partial records wait in memory for a moment, so that several of one task become one write."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from logging import getLogger
from typing import Final, Protocol

from rootcellar.background import start_thread
from rootcellar.record import TaskRecord, join

logger = getLogger("rootcellar.writer")

#: Batches that may wait in memory before newer ones are refused room.
_ROOM: Final = 20

Write = Callable[[list[TaskRecord]], None]


class Draft(Protocol):
    """A partial record that is made when it is needed, which may be never: most tasks end before it is written."""

    id: str

    def record(self) -> TaskRecord:
        """The record, the same one at any time."""


def record_of(waiting: TaskRecord | Draft) -> TaskRecord:
    """What waits, as a record."""
    return waiting if isinstance(waiting, TaskRecord) else waiting.record()


class WriteBehind:
    """Partial records on their way to the store, the oldest first, and the thread that takes them there.

    A record is handed to `write` no later than `interval` seconds after it was added, and no earlier than half of that
    unless a batch of `size` is full. When more than `_ROOM` batches wait, because `write` hangs, `overflow` gets them
    all.

    The thread sleeps while nothing is added. Whatever is added within an interval of the record before finds it
    napping, so that a task that begins and ends costs no switch to it and back.
    """

    def __init__(self, write: Write, overflow: Write, *, interval: float, size: int) -> None:
        self._write = write
        self._overflow = overflow
        self._interval = interval
        self._size = size
        self.reset()

    def reset(self) -> None:
        """Start as new, with nothing waiting: in the child of a fork, whose parent writes its records itself."""
        self._lock = threading.Lock()
        self._landed = threading.Condition(self._lock)
        self._wake = threading.Event()
        #: Task id -> the record and since when it waits; in the order of that.
        self._waiting: dict[str, tuple[TaskRecord | Draft, float]] = {}
        #: What the thread is writing now.
        self._flying: dict[str, TaskRecord] = {}
        #: Whether the thread sleeps until it is woken, and whether anything was added since it last looked.
        self._idle = True
        self._busy = False
        self._stopping = False
        self._thread: threading.Thread | None = None

    def add(self, delta: TaskRecord | Draft) -> None:
        """Have a record written soon."""
        with self._lock:
            known = self._waiting.get(delta.id)
            if known is not None:
                self._waiting[delta.id] = (join(record_of(known[0]), record_of(delta)), known[1])
                return
            self._waiting[delta.id] = (delta, time.monotonic())
            count = len(self._waiting)
            wake, self._idle = self._idle or count == self._size, False
            self._busy = True
        if wake:
            self._wake.set()
        if self._thread is None:
            self.start()
        if count > self._size * _ROOM:
            self._make_room()

    def take(self, task_id: str) -> TaskRecord | Draft | None:
        """Remove and return what waits of one task."""
        with self._lock:
            known = self._waiting.pop(task_id, None)
        return None if known is None else known[0]

    def peek(self, ids: Iterable[str]) -> dict[str, TaskRecord]:
        """What waits or is being written of these tasks."""
        if not self._waiting and not self._flying:
            return {}
        with self._lock:
            found = ((task_id, self._known(task_id)) for task_id in ids)
            return {task_id: record for task_id, record in found if record is not None}

    def _known(self, task_id: str) -> TaskRecord | None:
        flying = self._flying.get(task_id)
        waiting = self._waiting.get(task_id)
        if flying is None or waiting is None:
            return record_of(waiting[0]) if waiting is not None else flying
        return join(flying, record_of(waiting[0]))

    def take_all(self, timeout: float) -> tuple[list[TaskRecord], bool]:
        """Remove and return all that waits, with what the thread could not write within `timeout` seconds.

        The second value is whether it could.
        """
        with self._lock:
            landed = self._landed.wait_for(lambda: not self._flying, timeout)
            rest = [*self._flying.values(), *(record_of(record) for record, _ in self._waiting.values())]
            self._waiting = {}
        return rest, landed

    def _make_room(self) -> None:
        with self._lock:
            crowd, self._waiting = self._waiting, {}
        self._overflow([record_of(record) for record, _ in crowd.values()])

    # -- the thread ----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the thread, if it does not run."""
        with self._lock:
            if self._thread is not None:
                return
            self._stopping = False
            # At the interpreter's end no thread starts: what waits is flushed at exit.
            with suppress(RuntimeError):
                self._thread = start_thread(self._run, name="rootcellar-flush")

    def stop(self) -> None:
        """End the thread; it starts again with the next record."""
        thread = self._thread
        if thread is None or thread is threading.current_thread():
            return
        self._stopping = True
        self._wake.set()
        thread.join(timeout=5)
        self._thread = None

    def _run(self) -> None:
        while not self._stopping:
            self._wake.wait(self._nap())
            self._wake.clear()
            while batch := self._depart():
                self._fly(batch)

    def _nap(self) -> float | None:
        """Seconds until the oldest record is due, or until one added from now on can be; None when to wait for one."""
        with self._lock:
            oldest = next(iter(self._waiting.values()), None)
            if oldest is not None:
                return max(0.0, oldest[1] + self._interval - time.monotonic())
            busy, self._busy = self._busy, False
            self._idle = not busy
            return self._interval if busy else None

    def _depart(self) -> list[TaskRecord]:
        """Take the next batch from those that wait: what is due, and what would be soon."""
        now = time.monotonic()
        with self._lock:
            if not self._due(now):
                return []
            soon = now - self._interval / 2
            full = len(self._waiting) >= self._size
            ids = [task_id for task_id, (_, since) in self._waiting.items() if full or since <= soon][: self._size]
            self._flying = {task_id: record_of(self._waiting.pop(task_id)[0]) for task_id in ids}
            return list(self._flying.values())

    def _due(self, now: float) -> bool:
        oldest = next(iter(self._waiting.values()), None)
        return oldest is not None and (oldest[1] + self._interval <= now or len(self._waiting) >= self._size)

    def _fly(self, batch: list[TaskRecord]) -> None:
        try:
            self._write(batch)
        except Exception:
            logger.exception("writing %d records behind failed", len(batch))
        finally:
            with self._lock:
                self._flying = {}
                self._landed.notify_all()
