"""Celery's result consumer on the waiting hub.

Celery's own machinery for pushed results (`AsyncBackendMixin`, as with Redis) does the rest: pending results, buckets,
`on_message`, `on_interval`, timeouts, and the greenlets of gevent and eventlet.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

from celery import states
from celery.backends.asynchronous import BaseResultConsumer

from rootcellar.celery.meta import meta_of
from rootcellar.record import TaskRecord
from rootcellar.waiting.hub import Hub


class ResultConsumer(BaseResultConsumer):
    """Hands what the hub delivers to the results that wait for it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._hub: Hub | None = None
        self._arrived: deque[TaskRecord] = deque()
        self._changed = threading.Condition()
        self._handing_over = threading.RLock()

    @property
    def hub(self) -> Hub:
        """The process's hub."""
        if self._hub is None:
            self._hub = Hub(self.backend.store, self._deliver)
        return self._hub

    def _deliver(self, records: list[TaskRecord]) -> None:
        """In the hub's thread: hand over to whoever drains, so that callbacks run where somebody waits."""
        with self._changed:
            self._arrived.extend(records)
            self._changed.notify_all()

    def start(self, initial_task_id: str, **_: Any) -> None:
        """Begin with one task."""
        self.consume_from(initial_task_id)

    def stop(self) -> None:
        """Wait for nothing any more."""
        if self._hub is not None:
            self._hub.close()

    def consume_from(self, task_id: str) -> None:
        """Somebody waits for this task."""
        self.hub.add([task_id])

    def cancel_for(self, task_id: str) -> None:
        """Nobody waits for this task any more. Called from finalisers: never blocks."""
        if self._hub is not None:
            self._hub.discard([task_id])

    def drain_events(self, timeout: float | None = None) -> None:
        """Hand what arrived to the results that wait for it; block for it at most `timeout` seconds."""
        with self._changed:
            if not self._arrived:
                self._changed.wait(timeout)
        # Celery counts what is ready without a lock, so one thread at a time hands over; the others are woken after.
        if not self._arrived or not self._handing_over.acquire(blocking=False):
            return
        try:
            while self._arrived:
                record = self._arrived.popleft()
                self._hand_over(meta_of(record.id, record))
        finally:
            self._handing_over.release()
            with self._changed:
                self._changed.notify_all()

    def _hand_over(self, meta: dict[str, Any]) -> None:
        self.on_state_change(meta, None)
        if meta["status"] in states.READY_STATES:
            self.cancel_for(meta["task_id"])
            self._drop_buffered(meta["task_id"])

    def _drop_buffered(self, task_id: str) -> None:
        """Celery buffers a result that nobody waits for any more; ours can always be read again."""
        buffered = self._pending_messages.pop(task_id, None)
        if buffered is not None:
            self._pending_messages.total -= len(buffered)

    def drain_events_until(self, p: Any, timeout: float | None = None, on_interval: Any = None) -> Iterator[None]:
        """Drain until `p` is ready; a wait never lasts longer than what is left of `timeout`."""
        interval = 1.0 if timeout is None else min(1.0, max(timeout, 0.001))
        deadline = None if timeout is None else time.monotonic() + timeout

        def wait(timeout: float) -> None:
            left = timeout if deadline is None else min(timeout, max(deadline - time.monotonic(), 0.0))
            self.drain_events(left)

        drained: Iterator[None] = self.drainer.drain_events_until(
            p, timeout=timeout, interval=interval, on_interval=on_interval, wait=wait
        )
        return drained

    def on_wait_for_pending(self, result: Any, **kwargs: Any) -> None:
        """An authoritative read before waiting."""
        metas = [meta for meta in result._iter_meta(**kwargs) if meta is not None]  # noqa: SLF001 - as with Redis
        with self._handing_over:
            for meta in metas:
                self._hand_over(meta)
