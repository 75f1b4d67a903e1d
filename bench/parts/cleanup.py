"""Being rid of what has expired, beside a writer."""

from __future__ import annotations

import time
import uuid
from pathlib import Path
from typing import Any

import msgspec

from bench.apps import make_app
from bench.disk import watched
from bench.engines import Engine
from bench.forks import forked, received
from bench.report import Report, Table
from bench.scale import Scale
from bench.work import Life, request

_HEAD = (
    "", "removed", "seconds", "records a second", "longest wait ms", "99.9 % within ms", "the disk's longest ms",
    "writes a second", "longest alone ms", "the disk's longest then ms", "alone, a second",
)  # fmt: skip
_HOW = """\
`backend.cleanup()`, what Celery's daily clean-up task calls, among {count:,} records of which half have expired,
while another process does whole lifecycles as fast as it can. *Longest wait*: the longest that any of its tasks took,
and, for comparison, without the clean-up for {alone:.0f} seconds before it. *The disk's longest* is what a third
process waited for meanwhile that did nothing but append 4 KiB to a file and `fdatasync` it, a hundred times a second:
what the disk made everybody wait for. Engines that remove expired records by themselves have no clean-up."""

_PATIENCE = 60.0
_WARM_UP = 0.5


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


def measure(engine: Engine, url: str, folder: Path, scale: Scale, report: Report) -> None:
    """One row for the engine; half of its records are gone afterwards. None where the engine does that by itself."""
    backend = make_app("memory://", engine.backend_url(url)).backend
    if backend.store.capabilities.native_expiry:
        return
    with forked(_write, engine.backend_url(url)) as writer, watched(folder) as disk:
        _alone(writer, _WARM_UP)
        disk()
        alone = _alone(writer, scale.writer_alone)
        disk_alone = disk()
        writer.send(None)
        start = time.monotonic()
        removed = backend.cleanup()
        seconds = time.monotonic() - start
        writer.send("stop")
        beside: Waits = received(writer, _PATIENCE)
        disk_beside = disk()
    backend.store.close()
    table = report.table(Table("Clean-up", _HOW.format(count=scale.records, alone=scale.writer_alone), _HEAD))
    cells = (
        engine.title,
        f"{removed:,}",
        f"{seconds:.0f}",
        f"{removed / seconds:,.0f}",
        f"{beside.longest:.1f}",
        f"{beside.late:.1f}",
        f"{disk_beside:.1f}",
        f"{beside.rate:,.0f}",
        f"{alone.longest:.1f}",
        f"{disk_alone:.1f}",
        f"{alone.rate:,.0f}",
    )
    report.add(table, cells)
    report.at_most(f"{engine.title}: a writer beside the clean-up", beside.longest, engine.bars.writer_wait, " ms")


def _alone(writer: Any, seconds: float) -> Waits:
    writer.send(seconds)
    waits: Waits = received(writer, seconds + _PATIENCE)
    return waits


def _write(pipe: Any, backend: str) -> None:
    """Write for as many seconds as asked, or until told to stop, and then say how long each task took."""
    life = Life(make_app("memory://", backend))
    while True:
        seconds = pipe.recv()
        pipe.send(_waits(life, pipe, seconds))


def _waits(life: Life, pipe: Any, seconds: float | None) -> Waits:
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
