"""Ten typical questions to a million records."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from bench.engines import Engine
from bench.parts.million import INDEXES
from bench.report import Report, Table
from bench.rounds import take_turns
from bench.sample import records
from bench.scale import Scale
from rootcellar.store.base import Store

_PAGE = 50
_HOW = """\
Median milliseconds of {rounds} calls, after two to warm up, from the text of the query to decoded records; a page is
{page} records, the newest first. {count:,} records spread over 30 days, so the last hour holds one in 720, a day one
in 30. `metadata.user` and `result.total` are declared as indexes."""


def measure(engine: Engine, url: str, scale: Scale, report: Report) -> None:
    """A column for the engine, all queries taking turns."""
    with engine.store(url, indexes=INDEXES) as store:
        contenders = {text: _timed(ask) for text, ask in questions(store).items()}
        take_turns(contenders, 2)
        series = take_turns(contenders, scale.query_rounds)
    how = _HOW.format(rounds=scale.query_rounds, page=_PAGE, count=scale.records)
    table = report.table(Table("Typical queries", how, ("", *(f"`{text}`" for text in contenders)), turned=True))
    medians = {text: series.median(text) * 1000 for text in contenders}
    report.add(table, (engine.title, *(f"{medians[text]:.1f}" for text in contenders)))
    slowest = max(medians, key=lambda text: medians[text])
    report.at_most(
        f"{engine.title}: every query; the slowest is `{slowest}`", medians[slowest], engine.bars.query, " ms"
    )


def questions(store: Store) -> dict[str, Callable[[], Any]]:
    """What is asked, by what stands in the table."""
    first, second = islice(records(2, datetime.now(UTC)), 2)
    cursor = store.find("state:SUCCESS", limit=_PAGE).cursor
    found: dict[str, Callable[[], Any]] = {
        text: _page(store, text)
        for text in (
            "state:FAILURE finished>-1d",
            "name:billing.* finished>-1h",
            "metadata.user:42",
            "result.total>999.5",
            "runtime>5s finished>-1h",
        )
    }
    return found | {
        "group:<id>": _page(store, f"group:{first.group_id}"),
        "parent:<id>": _page(store, f"parent:{second.parent_id}"),
        "count by state, 1 h": lambda: store.stats("updated>-1h", by="state"),
        "stats by name, 1 d": lambda: store.stats("finished>-1d", by="name"),
        "state:SUCCESS, page 2": lambda: store.find("state:SUCCESS", limit=_PAGE, cursor=cursor),
    }


def _page(store: Store, text: str) -> Callable[[], Any]:
    return lambda: store.find(text, limit=_PAGE)


def _timed(ask: Callable[[], Any]) -> Callable[[], float]:
    def timed() -> float:
        start = time.perf_counter()
        ask()
        return time.perf_counter() - start

    return timed
