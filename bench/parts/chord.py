"""A chord of a hundred."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from celery import chord

from bench.engines import Engine
from bench.report import Report, Table
from bench.rounds import Series, take_turns
from bench.scale import Scale
from bench.workers import REFERENCE, Worker

_SIZE = 100
_HEAD = ("", "median ms", "to stock Redis")
_HOW = """\
From the call that publishes a chord of {size} no-op tasks to the return of its body's `get()`, {chords} times, taking
turns; {few} times for stock Celery's database backends, which ask once a second whether the header is done."""


def measure(engines: Mapping[str, Engine], workers: Mapping[str, Worker], scale: Scale, report: Report) -> None:
    """One row for each contender that keeps results."""
    quick = {name: worker for name, worker in workers.items() if not name.startswith("stock ")}
    slow = {name: worker for name, worker in workers.items() if name.startswith("stock ")}
    for worker in workers.values():
        _one(worker)
    series = take_turns({name: _turn(worker) for name, worker in quick.items()}, scale.chords)
    rest = take_turns({name: _turn(worker) for name, worker in slow.items()}, scale.stock_chords)
    together = Series({**series.values, **rest.values})
    how = _HOW.format(size=_SIZE, chords=scale.chords, few=scale.stock_chords)
    table = report.table(Table("A chord of 100", how, _HEAD))
    for name, worker in workers.items():
        found = together.median(name)
        to_redis = found / together.median(REFERENCE)
        report.add(table, (worker.contender.title, f"{found * 1000:,.0f}", f"{to_redis:.2f}"))
        if name in engines:
            engine = engines[name]
            report.at_most(f"{engine.title}: a chord of 100, to stock Redis", to_redis, engine.bars.chord)


def _turn(worker: Worker) -> Callable[[], float]:
    return lambda: _one(worker)


def _one(worker: Worker) -> float:
    start = time.perf_counter()
    header = [worker.noop.s(number) for number in range(_SIZE)]
    found = chord(header, app=worker.app)(worker.app.tasks["bench.total"].s()).get(timeout=120)
    assert found == sum(range(_SIZE))
    return time.perf_counter() - start
