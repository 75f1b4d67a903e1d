"""Final states and whole lifecycles per second, through the backend's own methods as the worker calls them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from bench.apps import make_app
from bench.crews import Crew, crew
from bench.engines import Engine
from bench.report import Report, Table
from bench.rounds import take_turns
from bench.scale import Scale
from bench.work import BackendWork, BareUpsert, Final, Life, LongLife, Maker, StockFinal, StockLife

_MODES = {"one process": (1, 1), "four processes": (4, 1), "eight threads": (1, 8)}
_HEAD = (
    "",
    "ours, final",
    "bare driver",
    "to bare",
    "stock final",
    "to stock",
    "ours, lifecycle",
    "in two writes",
    "stock lifecycle",
    "to stock ",
)
_HOW = """\
Per second. *Final*: what happens when a task has returned; *lifecycle*: what happens before it as well, which is
STARTED. Ours writes STARTED behind: a task that ends within the flush interval is one durable write, of all that is
known of it, either way. *In two writes*: the lifecycle of tasks that outlive the flush interval, fifty at a time.
*Stock lifecycle* has `task_track_started` on. A process is a child forked as by the prefork pool, with the backend made
before the fork; threads are those of a process that was not forked."""


def measure(engine: Engine, url: str, scale: Scale, report: Report) -> None:
    """One row for each way to run tasks side by side."""
    table = report.table(Table("Final states and lifecycles per second", _HOW, _HEAD))
    for mode, (processes, threads) in _MODES.items():
        with _crews(engine, url, processes, threads) as crews:
            turns = {name: _turn(each, scale.rate_seconds) for name, each in crews.items()}
            take_turns({name: _turn(each, scale.rate_seconds / 2) for name, each in crews.items()}, 1)
            series = take_turns(turns, scale.rate_rounds)
        to_bare, to_final = (series.ratio("final", name) for name in ("bare", "stock final"))
        to_life = series.ratio("life", "stock life")
        medians = {name: f"{series.median(name):,.0f}" for name in turns}
        report.add(
            table,
            (
                f"{engine.title}, {mode}",
                medians["final"],
                medians["bare"],
                f"{to_bare:.2f}",
                medians["stock final"],
                f"{to_final:.1f}",
                medians["life"],
                medians["long life"],
                medians["stock life"],
                f"{to_life:.1f}",
            ),
        )
        bars = engine.bars
        if mode == "one process":
            report.at_least(
                f"{engine.title}: final states, one process, to the bare driver", to_bare, bars.final_states
            )
            report.at_least(f"{engine.title}: lifecycle, one process, to stock", to_life, bars.lifecycles)
        if mode == "eight threads":
            report.at_least(f"{engine.title}: lifecycle, eight threads, to stock", to_life, bars.lifecycles_threads)


def _turn(measured: Crew, seconds: float) -> Callable[[], float]:
    return lambda: measured.rate(seconds)


@contextmanager
def _crews(engine: Engine, url: str, processes: int, threads: int) -> Iterator[dict[str, Crew]]:
    setups = {
        "final": _backend(Final, engine.backend_url(url), **Final.SETTINGS),
        "bare": _bare(engine, url),
        "stock final": _backend(StockFinal, engine.stock_url(url)),
        "life": _backend(Life, engine.backend_url(url)),
        "stock life": _backend(StockLife, engine.stock_url(url)),
        "long life": _backend(LongLife, engine.backend_url(url)),
    }
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(crew(setup, processes=processes, threads=threads))
            for name, setup in setups.items()
        }


def _backend(work: type[BackendWork], backend: str, **settings: Any) -> Callable[[], Maker]:
    def setup() -> Maker:
        app = make_app("memory://", backend, **settings)
        app.backend.as_uri()
        return lambda: work(app)

    return setup


def _bare(engine: Engine, url: str) -> Callable[[], Maker]:
    """The row to write is what a lifecycle of ours left in the table of ours."""

    def setup() -> Maker:
        life = Life(make_app("memory://", engine.backend_url(url)))
        life.prepare(1)
        life.run(0)
        store = life.backend.store
        reader = engine.bare(store)
        template = reader.stored(next(iter(store.find(limit=1))).id)
        reader.close()
        store.close()
        other = engine.store(url, table="bench_bare")
        other.close()
        return lambda: BareUpsert(engine.bare(other), template)

    return setup
