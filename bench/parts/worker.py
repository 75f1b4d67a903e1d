"""No-op tasks per second of a real worker."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping

from bench.engines import Engine
from bench.report import Report, Table
from bench.rounds import take_turns
from bench.scale import Scale
from bench.workers import REFERENCE, Worker
from rootcellar.celery.app import backend_of

_HEAD = ("", "tasks per second", "to stock Redis", "to ignore_result")
_HOW = """\
A worker of the prefork pool ({processes} processes) on a Redis broker. Another process publishes {tasks:,} no-op
tasks to a queue that nobody listens to, QUEUED and all; then the worker is told to listen. From the beginning of the
first task to the end of the last one. Ours keeps the whole record of each task, durably; stock Redis keeps name,
state and value in memory; *ignore_result* keeps nothing. Afterwards the store is asked whether it has every one of
the tasks, in SUCCESS."""


def measure(engines: Mapping[str, Engine], workers: Mapping[str, Worker], scale: Scale, report: Report) -> None:
    """One row for each contender."""

    def turn(worker: Worker) -> Callable[[], float]:
        def rate() -> float:
            run = uuid.uuid4().hex
            worker.fill(scale.worker_tasks, run)
            return scale.worker_tasks / worker.drain(run)

        return rate

    for worker in workers.values():
        worker.fill(100, "warm-up")
        worker.drain("warm-up")
    series = take_turns({name: turn(worker) for name, worker in workers.items()}, scale.worker_rounds)
    how = _HOW.format(processes=scale.worker_processes, tasks=scale.worker_tasks)
    table = report.table(Table("No-op tasks per second of a real worker", how, _HEAD))
    for name, worker in workers.items():
        to_redis, to_none = series.ratio(name, REFERENCE), series.ratio(name, "ignored")
        report.add(table, (worker.contender.title, f"{series.median(name):,.0f}", f"{to_redis:.2f}", f"{to_none:.2f}"))
        if name in engines:
            _expect_all(worker, 100 + scale.worker_tasks * scale.worker_rounds)
            bar = engines[name].bars.worker
            report.at_least(f"{engines[name].title}: worker's tasks, to stock Redis", to_redis, bar)


def _expect_all(worker: Worker, tasks: int) -> None:
    backend = backend_of(worker.app)
    assert backend is not None
    found = backend.store.count("name:bench.noop state:SUCCESS queue:filled")
    if found != tasks:
        raise RuntimeError(f"{worker.contender.title} has {found} of {tasks} tasks")
