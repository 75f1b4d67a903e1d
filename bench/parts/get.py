"""How long `get()` takes after `delay()`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from statistics import median
from typing import Any

from bench.engines import Engine
from bench.report import Report, Table
from bench.rounds import Series
from bench.scale import Scale
from bench.workers import REFERENCE, Worker
from rootcellar.celery.app import backend_of

_HEAD = ("", "median ms", "95 % within ms", "to stock Redis", "after the worker's end, ms")
_HOW = """\
One no-op task at a time: from the call of `delay()` to the return of `get()`, {gets} times, the contenders taking
turns call by call. *After the worker's end* is the part of it that comes after `finished_at`, the moment at which the
worker had run the task and set about storing its result: the durable write, and being told of it."""
_WARM_UP = 5


def measure(engines: Mapping[str, Engine], workers: Mapping[str, Worker], scale: Scale, report: Report) -> None:
    """One row for each contender."""
    waited: dict[str, list[float]] = {name: [] for name in workers}
    overhead: dict[str, list[float]] = {name: [] for name in workers}
    for number in range(scale.gets + _WARM_UP):
        for name, worker in workers.items():
            seconds, after = _one(worker)
            if number >= _WARM_UP:
                waited[name].append(seconds * 1000)
                overhead[name].append(after * 1000)
    series = Series(waited)
    table = report.table(Table("get() from delay()", _HOW.format(gets=scale.gets), _HEAD))
    for name, worker in workers.items():
        to_redis = series.median(name) / series.median(REFERENCE)
        late = sorted(waited[name])[int(len(waited[name]) * 0.95)]
        after = median(overhead[name])
        shown = f"{after:.2f}" if name in engines else "-"
        report.add(
            table, (worker.contender.title, f"{series.median(name):.2f}", f"{late:.2f}", f"{to_redis:.2f}", shown)
        )
        if name in engines:
            engine = engines[name]
            report.at_most(f"{engine.title}: get(), to stock Redis", to_redis, engine.bars.get_ratio)
            report.at_most(f"{engine.title}: get() over the worker's own time", after, engine.bars.get_overhead, " ms")


def _one(worker: Worker) -> tuple[float, float]:
    """Seconds of one call, and those of them after the record's `finished_at`."""
    start = time.perf_counter()
    result: Any = worker.noop.delay(1)
    result.get(timeout=30)
    end, at = time.perf_counter(), time.time()
    backend = backend_of(worker.app)
    if backend is None:
        return end - start, 0.0
    record = backend.store.get(result.id)
    assert record is not None
    assert record.finished_at is not None
    return end - start, at - record.finished_at.timestamp()
