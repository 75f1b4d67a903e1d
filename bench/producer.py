"""Fills a queue: ``python -m bench.producer TASKS RUN MARKS``."""

from __future__ import annotations

import sys

from bench.worker_app import app
from bench.workers import FILLED


def main(tasks: int, run: str, marks: int) -> None:
    """One mark, the tasks, and at the end as many marks as the worker has processes."""
    noop, mark = app.tasks["bench.noop"], app.tasks["bench.mark"]
    with app.producer_pool.acquire(block=True) as producer:
        mark.apply_async((run,), queue=FILLED, producer=producer)
        for number in range(tasks):
            noop.apply_async((number,), queue=FILLED, producer=producer)
        for _ in range(marks):
            mark.apply_async((run,), queue=FILLED, producer=producer)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
