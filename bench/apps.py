"""The Celery apps of the bench: the same tasks on any backend."""

from __future__ import annotations

import time
from typing import Any

from celery import Celery

#: Where runs of a real worker say when they began and ended: Redis lists, by run.
MARKS = "bench:marks:"


def make_app(broker: str, backend: str | None, *, ignore_result: bool = False, **settings: Any) -> Celery:
    """An app with the tasks of the bench, all its settings but these as Celery and the backend have them."""
    app = Celery("bench", broker=broker, backend=backend, set_as_current=False)
    app.conf.update(
        task_ignore_result=ignore_result,
        broker_connection_retry_on_startup=True,
        worker_hijack_root_logger=False,
        **settings,
    )

    @app.task(name="bench.noop", shared=False)
    def noop(value: Any = None) -> Any:
        return value

    @app.task(name="bench.total", shared=False)
    def total(values: list[int]) -> int:
        return sum(values)

    @app.task(name="bench.mark", shared=False, ignore_result=True)
    def mark(run: str) -> None:
        with app.connection_for_write() as connection:
            connection.default_channel.client.rpush(MARKS + run, time.monotonic())

    return app
