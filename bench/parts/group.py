"""A group of a hundred, joined."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from celery import group
from celery.result import AsyncResult, GroupResult

from bench.engines import Engine
from bench.report import Report, Table
from bench.rounds import take_turns
from bench.scale import Scale
from bench.workers import REFERENCE, Worker

_SIZE = 100
_HEAD = ("", "median ms", "to stock Redis")
_HOW = """\
`GroupResult.get()` of {size} tasks that have finished, in a process that knows nothing but their ids: {rounds} times,
taking turns."""


def measure(engines: Mapping[str, Engine], workers: Mapping[str, Worker], scale: Scale, report: Report) -> None:
    """One row for each contender that keeps results."""
    turns = {name: _joining(worker) for name, worker in workers.items()}
    take_turns(turns, 2)
    series = take_turns(turns, scale.fetch_rounds)
    table = report.table(Table("A group of 100 joined", _HOW.format(size=_SIZE, rounds=scale.fetch_rounds), _HEAD))
    for name, worker in workers.items():
        to_redis = series.ratio(name, REFERENCE)
        report.add(table, (worker.contender.title, f"{series.median(name) * 1000:,.1f}", f"{to_redis:.2f}"))
        if name in engines:
            engine = engines[name]
            report.at_most(f"{engine.title}: a group of 100 joined, to stock Redis", to_redis, engine.bars.group)


def _joining(worker: Worker) -> Callable[[], float]:
    finished = group([worker.noop.s(number) for number in range(_SIZE)], app=worker.app).apply_async()
    finished.get(timeout=60)
    ids = [result.id for result in finished.results]

    def join() -> float:
        joined = GroupResult(finished.id, [AsyncResult(task_id, app=worker.app) for task_id in ids], app=worker.app)
        start = time.perf_counter()
        values = joined.get(timeout=60)
        seconds = time.perf_counter() - start
        assert values == list(range(_SIZE))
        return seconds

    return join
