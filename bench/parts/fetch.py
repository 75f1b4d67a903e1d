"""A thousand results at once."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from bench.apps import make_app
from bench.engines import Engine
from bench.report import Report, Table
from bench.rounds import take_turns
from bench.sample import records
from bench.scale import Scale
from bench.work import RESULT

_COUNT = 1000
#: Stock Celery is asked for so many, and the time multiplied.
_FEW = 50
_HEAD = ("", "ours, get_many ms", "ours, AsyncResult's ms", "bare driver ms", "to bare", "stock ms", "to stock")
_HOW = """\
Milliseconds for {count:,} whole records, SUCCESS and FAILURE, by id. *get_many* gives records with Python values;
*AsyncResult's* is the same as the metas that `GroupResult` reads, exceptions made again. *Bare driver* is one
`SELECT`, `find` or `MGET` of the same, its JSON decoded by `json.loads` (psycopg and PyMongo decode by themselves).
Stock Celery on Redis is asked by its `get_many` for its own, value and state alone. On the others it has no way to ask
for several: it is asked for {few}, one after the other, as in a process that is no worker, and the time multiplied."""


def measure(engine: Engine, url: str, scale: Scale, report: Report) -> None:
    """One row for the engine."""
    app, stock = make_app("memory://", engine.backend_url(url)), make_app("memory://", engine.stock_url(url))
    backend = app.backend
    now = datetime.now(UTC)
    kept = (delta for delta in records(3 * _COUNT, now) if delta.expires_at and delta.expires_at > now)
    wanted = [delta for delta in kept if delta.ready][:_COUNT]
    ids = [delta.id for delta in wanted]
    backend.store.setup()
    backend.store.apply(wanted)
    asked = ids if hasattr(stock.backend, "mget") else ids[:_FEW]
    for task_id in asked:
        stock.backend.mark_as_done(task_id, RESULT)
    bare = engine.bare(backend.store)
    contenders = {
        "ours": _timed(lambda: backend.store.get_many(ids)),
        "metas": _timed(lambda: list(backend.get_many(ids))),
        "bare": _timed(lambda: bare.fetch(ids)),
    }
    take_turns(contenders, 2)
    series = take_turns(contenders, scale.fetch_rounds)
    slow = take_turns({"stock": _timed(lambda: _read_by_stock(stock.backend, asked))}, 2)
    bare.close()
    backend.store.close()
    _tell(
        engine,
        report,
        series.ratio("ours", "bare"),
        {name: series.median(name) for name in contenders},
        slow.median("stock") * _COUNT / len(asked),
    )


def _read_by_stock(backend: Any, ids: list[str]) -> list[Any]:
    backend._cache.clear()
    if hasattr(backend, "mget"):
        return list(backend.get_many(ids, max_iterations=1))
    return [backend.get_task_meta(task_id, cache=False) for task_id in ids]


def _tell(engine: Engine, report: Report, to_bare: float, medians: dict[str, float], stock: float) -> None:
    table = report.table(Table("1,000 results fetched", _HOW.format(count=_COUNT, few=_FEW), _HEAD))
    ours, metas, bare = (f"{medians[name] * 1000:.1f}" for name in ("ours", "metas", "bare"))
    cells = (ours, metas, bare, f"{to_bare:.2f}", f"{stock * 1000:,.0f}", f"{medians['metas'] / stock:.3f}")
    report.add(table, (engine.title, *cells))
    report.at_most(f"{engine.title}: 1,000 results, to the bare driver", to_bare, engine.bars.fetch)


def _timed(call: Callable[[], list[Any]]) -> Callable[[], float]:
    def timed() -> float:
        start = time.perf_counter()
        found = call()
        seconds = time.perf_counter() - start
        assert len(found) in {_COUNT, _FEW}
        return seconds

    return timed
