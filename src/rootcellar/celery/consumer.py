"""Celery's result consumer on the waiting hub.

Celery's own machinery for pushed results (`AsyncBackendMixin`, as with Redis) does the rest: buckets, `on_message`, and
the greenlets of gevent and eventlet. Who waits is kept in `Waiters`, and the loop of a wait is ours, so that every
version of Celery behaves alike.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from typing import Any, Final

from celery import states
from celery.backends.asynchronous import BaseResultConsumer
from kombu.exceptions import KombuError

from rootcellar.celery.meta import meta_of, unreadable_meta
from rootcellar.celery.waiters import Waiters
from rootcellar.errors import CodecError
from rootcellar.record import TaskRecord
from rootcellar.waiting.aio import answer, hand_over
from rootcellar.waiting.hub import Hub

_consumers: Final[weakref.WeakSet[ResultConsumer]] = weakref.WeakSet()

#: Seconds between two calls of `on_interval`, at most.
_INTERVAL: Final = 1.0


class ResultConsumer(BaseResultConsumer):
    """Hands what the hub delivers to the results that wait for it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._hub: Hub | None = None
        self._reset()
        _consumers.add(self)

    def _reset(self) -> None:
        """Start as new: in the child of a fork, nobody waits at first."""
        self._waiters: Waiters | None = None
        self._arrived: deque[TaskRecord] = deque()
        self._changed = threading.Condition()
        self._handing_over = threading.RLock()

    @property
    def waiters(self) -> Waiters:
        """Who waits in this process."""
        if self._waiters is None:
            self._waiters = Waiters(self.hub)
        return self._waiters

    @property
    def hub(self) -> Hub:
        """What reads the records that somebody waits for."""
        if self._hub is None:
            self._hub = Hub(self.backend.store, self._deliver, self._answer)
        return self._hub

    def _deliver(self, records: list[TaskRecord]) -> None:
        """In the hub's thread: hand over to coroutines, and to whoever drains: callbacks run where somebody waits."""
        hand_over((ticket, record) for record in records for ticket in self.waiters.tickets(record.id))
        arrived = [record for record in records if self.waiters.of(record.id)]
        if arrived:
            with self._changed:
                self._arrived.extend(arrived)
                self._changed.notify_all()

    def _answer(self, ids: Iterable[str], error: Exception | None) -> None:
        """In the hub's thread. Result objects were answered by a read of their own: see `on_wait_for_pending`."""
        answer((ticket for task_id in ids for ticket in self.waiters.tickets(task_id)), error)

    def stop(self) -> None:
        """Wait for nothing any more."""
        if self._hub is not None:
            self._hub.close()

    def discard(self, result: Any) -> None:
        """`result` waits no more. Called from finalisers: never blocks."""
        if self._waiters is not None:
            self._waiters.discard(result)

    def cancel_for(self, task_id: str) -> None:
        """Nobody waits for this task any more."""
        for result in self._waiters.of(task_id) if self._waiters is not None else ():
            self.discard(result)

    def drain_events(self, timeout: float | None = None) -> None:
        """Hand what arrived to the results that wait for it; block for it at most `timeout` seconds."""
        self._drain(timeout, until=lambda: False)

    def hand_over(self) -> None:
        """Hand what arrived to the results that wait for it; never blocks. For those who wait but do not drain."""
        if self._arrived:
            self._drain(0, until=lambda: True)

    def _drain(self, timeout: float | None, until: Callable[[], bool]) -> None:
        with self._changed:
            if not self._arrived and not until():
                self._changed.wait(timeout)
        # Celery counts what is ready without a lock, so one thread at a time hands over; the others are woken after.
        if not self._arrived or not self._handing_over.acquire(blocking=False):
            return
        try:
            while self._arrived:
                record = self._arrived.popleft()
                self.on_state_change(self.meta(record), None)
        finally:
            self._handing_over.release()
            with self._changed:
                self._changed.notify_all()

    def meta(self, record: TaskRecord) -> dict[str, Any]:
        """Celery's meta of a record; where that cannot be read, of a task that failed for it."""
        try:
            return meta_of(record.id, record, self.backend.values)
        except (CodecError, KombuError) as error:  # whoever drains may wait for another task
            return unreadable_meta(record.id, error)

    def on_state_change(self, meta: dict[str, Any], message: Any) -> None:
        """Tell `on_message` of a task's new state and, when it is ready, everybody who waits for it."""
        if self.on_message:
            self.on_message(meta)
        if meta["status"] in states.READY_STATES:
            with ExitStack() as everybody:  # also when the callback of one of them fails
                for result in reversed(self.waiters.of(meta["task_id"])):
                    everybody.callback(self._fulfil, result, meta)

    def _fulfil(self, result: Any, meta: dict[str, Any]) -> None:
        try:
            result._maybe_set_cache(meta)  # noqa: SLF001 - as Celery does
        finally:
            self.discard(result)
            bucket = self.buckets.pop(result, None)
            if bucket is not None:
                bucket.append(result)

    def drain_events_until(self, p: Any, timeout: float | None = None, on_interval: Any = None) -> Iterator[None]:
        """Drain until `p` is ready. Raises `socket.timeout` when it is not after `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout

        def wait(timeout: float) -> None:
            self._drain(timeout, until=lambda: p.ready)

        while not p.ready:
            left = _INTERVAL if deadline is None else deadline - time.monotonic()
            if left <= 0:
                raise socket.timeout  # noqa: UP041 - what Celery's caller expects, by this name
            yield self.drainer.wait_for(p, wait, timeout=min(left, _INTERVAL))
            if on_interval:
                on_interval()

    def on_wait_for_pending(self, result: Any, **kwargs: Any) -> None:
        """An authoritative read before waiting."""
        metas = [meta for meta in result._iter_meta(**kwargs) if meta is not None]  # noqa: SLF001 - as with Redis
        with self._handing_over:
            for meta in metas:
                self.on_state_change(meta, None)


def _reset_after_fork() -> None:
    for consumer in list(_consumers):
        consumer._reset()  # noqa: SLF001 - the hook's only caller


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_after_fork)
