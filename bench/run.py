"""One run: the servers, the parts, in the order in which they can share what is expensive."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.engines import Engine
from bench.machine import this_machine
from bench.parts import states
from bench.report import Report
from bench.scale import Scale
from tests.servers import Fleet, Unavailable, fleet


def run(engines: Sequence[Engine], parts: set[str], scale: Scale, folder: Path, *, quick: bool) -> Report:
    """Measure `parts` on `engines`; an engine whose server cannot be had is left out, and that is said."""
    report = Report(this_machine(folder), quick=quick)
    with fleet() as servers:
        for engine in engines:
            try:
                _engine(engine, parts, scale, folder, servers, report)
            except Unavailable as reason:
                report.server(engine.title, f"left out: {reason}")
    return report


def _engine(engine: Engine, parts: set[str], scale: Scale, folder: Path, servers: Fleet, report: Report) -> None:
    with engine.server(servers, folder), engine.database() as url:
        store = engine.store(url)
        report.server(engine.title, _settings(store.describe()))
        store.close()
        if "states" in parts:
            states.measure(engine, url, scale, report)


def _settings(described: dict[str, Any]) -> str:
    hidden = {"engine", "path", "database", "encoding", "standby", "pooler", "push"}
    return ", ".join(f"{name}={value}" for name, value in described.items() if name not in hidden)
