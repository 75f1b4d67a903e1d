"""Being rid of what has expired, beside a writer."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

import msgspec
from billiard import get_context

from bench.apps import make_app
from bench.engines import Engine
from bench.report import Report, Table
from bench.scale import Scale
from bench.work import Life, request

_HEAD = (
    "", "removed", "seconds", "records a second", "longest wait ms", "99.9 % within ms", "writes a second",
    "longest alone ms", "alone, a second",
)  # fmt: skip
_HOW = """\
`backend.cleanup()`, what Celery's daily clean-up task calls, among {count:,} records of which half have expired, while
another process does whole lifecycles as fast as it can. *Longest wait*: the longest that any of its tasks took, and, for
comparison, without the clean-up for {alone:.0f} seconds before it."""


class Waits(msgspec.Struct, frozen=True):
    """What a writer waited for each of its tasks: seconds, and the seconds that it wrote for."""

    waits: list[float]
    seconds: float

    @property
    def longest(self) -> float:
        """Milliseconds."""
        return max(self.waits) * 1000

    @property
    def late(self) -> float:
        """Milliseconds within which all but one in a thousand were done."""
        return sorted(self.waits)[int(len(self.waits) * 0.999)] * 1000

    @property
    def rate(self) -> float:
        """Tasks per second."""
        return len(self.waits) / self.seconds


def measure(engine: Engine, url: str, scale: Scale, report: Report) -> None:
    """One row for the engine; half of its records are gone afterwards."""
    backend = make_app("memory://", engine.backend_url(url)).backend
    with _writer(engine.backend_url(url)) as writer:
        writer.send(("warm up", 0.5))
        writer.recv()
        writer.send(("alone", scale.writer_alone))
        alone: Waits = writer.recv()
        writer.send(("beside", None))
        start = time.monotonic()
        removed = backend.cleanup()
        seconds = time.monotonic() - start
        writer.send("stop")
        beside: Waits = writer.recv()
    backend.store.close()
    table = report.table(Table("Clean-up", _HOW.format(count=scale.records, alone=scale.writer_alone), _HEAD))
    cells = (
        f"{removed:,}",
        f"{seconds:.0f}",
        f"{removed / seconds:,.0f}",
        f"{beside.longest:.1f}",
        f"{beside.late:.1f}",
    )
    report.add(table, (engine.title, *cells, f"{beside.rate:,.0f}", f"{alone.longest:.1f}", f"{alone.rate:,.0f}"))
    report.at_most(f"{engine.title}: a writer beside the clean-up", beside.longest, engine.bars.writer_wait, " ms")


@contextmanager
def _writer(backend: str) -> Iterator[Connection[Any, Any]]:
    """A process that writes until told to stop, or for some seconds, and then says how long each task took."""
    ours, theirs = Pipe()
    process = get_context("fork").Process(target=_write, args=(theirs, backend), daemon=True)
    process.start()
    theirs.close()
    try:
        yield ours
    finally:
        ours.close()
        process.join(10)
        if process.is_alive():
            process.terminate()


def _write(pipe: Connection[Any, Any], backend: str) -> None:
    life = Life(make_app("memory://", backend))
    while True:
        try:
            _, seconds = pipe.recv()
        except EOFError:
            return
        pipe.send(_waits(life, pipe, seconds))


def _waits(life: Life, pipe: Connection[Any, Any], seconds: float | None) -> Waits:
    waits: list[float] = []
    began = time.monotonic()
    while not pipe.poll() if seconds is None else time.monotonic() - began < seconds:
        unit = request(str(uuid.uuid4()))
        start = time.perf_counter()
        life.do(unit)
        waits.append(time.perf_counter() - start)
    if seconds is None:
        pipe.recv()
    return Waits(waits, time.monotonic() - began)
