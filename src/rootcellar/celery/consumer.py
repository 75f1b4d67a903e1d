"""Celery's result consumer on the waiting hub.

Celery's own machinery for pushed results (`AsyncBackendMixin`, as with Redis) does the rest: pending results, buckets,
`on_message`, `on_interval`, timeouts, and the greenlets of gevent and eventlet.
"""

from __future__ import annotations

import threading
from typing import Any

from celery.backends.asynchronous import BaseResultConsumer

from rootcellar.celery.meta import meta_of
from rootcellar.record import TaskRecord
from rootcellar.waiting.hub import Hub


class ResultConsumer(BaseResultConsumer):
    """Hands what the hub delivers to the results that wait for it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._hub: Hub | None = None
        self._delivered = threading.Condition()

    @property
    def hub(self) -> Hub:
        """The process's hub."""
        if self._hub is None:
            self._hub = Hub(self.backend.store, self._deliver)
        return self._hub

    def _deliver(self, records: list[TaskRecord]) -> None:
        for record in records:
            self.on_state_change(meta_of(record.id, record), None)
            if record.ready:
                self.cancel_for(record.id)
        with self._delivered:
            self._delivered.notify_all()

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
        """Block until something was delivered, at most `timeout` seconds."""
        with self._delivered:
            self._delivered.wait(timeout)

    def on_wait_for_pending(self, result: Any, **kwargs: Any) -> None:
        """An authoritative read before waiting."""
        for meta in result._iter_meta(**kwargs):  # noqa: SLF001 - as Celery's Redis consumer does
            if meta is not None:
                self.on_state_change(meta, None)
