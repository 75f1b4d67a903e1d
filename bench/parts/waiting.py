"""One process that waits for many results."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
from celery.result import AsyncResult, GroupResult

from bench.apps import make_app
from bench.engines import Engine
from bench.forks import answered, received, spawned
from bench.report import Report, Table
from bench.scale import Scale
from rootcellar.store.registry import open_url
from rootcellar.testing.samples import queued

_HEAD = (
    "", "waits for", "connections", "threads", "reads a second", "of a core", "memory, MiB", "{rest:g} s later",
)  # fmt: skip
_HOW = """\
One process at rest that waits for one task, and then for {waiters:,}: with `get()` in a thread of its own and the
members of a `GroupResult`; all are QUEUED, and none of them finishes. Counted after {settle:g} seconds, for {rest:g}
seconds. Memory is resident, and holds Celery's own result objects too; connections and threads include the driver's
own. A read is of a thousand tasks at most. Stock Redis subscribes to a channel for each task."""
#: Seconds until a process that has begun to wait is at rest.
_SETTLE = 5.0


class _Seen(msgspec.Struct, frozen=True):
    """What a process takes while it waits; `memory` in bytes, at the beginning and at the end, the rest per second."""

    connections: int
    threads: int
    reads: float | None
    busy: float
    memory: tuple[int, int]


def measure(engine: Engine, url: str, scale: Scale, report: Report) -> None:
    """Two rows for the engine, and on Redis two for stock Celery."""
    rest = scale.wait_rest
    head = [title.format(rest=rest) for title in _HEAD]
    how = _HOW.format(waiters=scale.waiters, settle=_SETTLE, rest=rest)
    table = report.table(Table("Waiting for many results", how, head))
    contenders = {f"ours, {engine.title}": engine.backend_url(url)}
    if engine.name == "redis":
        contenders["stock Redis"] = engine.stock_url(url)
    with spawned(_queue, engine.backend_url(url), scale) as pipe:
        received(pipe, 60.0)
    for title, backend in contenders.items():
        with spawned(_wait, backend, scale) as pipe:
            for waiters in (1, scale.waiters):
                report.add(table, (title, f"{waiters:,}", *_shown(received(pipe, _SETTLE + rest + 60.0))))


def _shown(seen: _Seen) -> list[str]:
    reads = "-" if seen.reads is None else f"{seen.reads:.1f}"
    memory = [f"{size / 2**20:.1f}" for size in seen.memory]
    return [str(seen.connections), str(seen.threads), reads, f"{seen.busy:.1%}", *memory]


def _queue(pipe: Any, url: str, scale: Scale) -> None:
    """In a process of its own: store what is waited for, so that a read finds it."""

    def store() -> None:
        with open_url(url) as found:
            found.setup()
            found.apply([queued(task_id) for task_id in _ids(scale)])

    pipe.send(answered(store))


def _ids(scale: Scale) -> list[str]:
    return [f"task-{number}" for number in range(scale.waiters)]


def _wait(pipe: Any, url: str, scale: Scale) -> None:
    """In a process of its own: wait for one, then for many, and send what was seen of each."""
    before = _connections(), threading.active_count()
    app = make_app("memory://", url)
    first, *others = _ids(scale)
    reads = _counted(app.backend)
    threading.Thread(target=AsyncResult(first, app=app).get, daemon=True).start()
    pipe.send(answered(_look, scale.wait_rest, before, reads))
    group = GroupResult("many", [AsyncResult(task_id, app=app) for task_id in others], app=app)
    pipe.send(answered(_look, scale.wait_rest, before, reads))
    group.results.clear()
    pipe.recv()


def _counted(backend: Any) -> list[int] | None:
    """How many tasks each read asks for, from now on; None for stock Celery."""
    if not hasattr(backend, "store"):
        return None
    fetch, reads = backend.store.fetch, []

    def counted(ids: Any) -> Any:
        reads.append(len(ids))
        return fetch(ids)

    backend.store.fetch = counted
    return reads


def _look(seconds: float, before: tuple[int, int], reads: list[int] | None) -> _Seen:
    time.sleep(_SETTLE)
    memory, read = _resident(), len(reads or ())
    start, busy = time.monotonic(), time.process_time()
    time.sleep(seconds)
    elapsed = time.monotonic() - start
    return _Seen(
        connections=_connections() - before[0],
        threads=threading.active_count() - before[1],
        reads=None if reads is None else (len(reads) - read) / elapsed,
        busy=(time.process_time() - busy) / elapsed,
        memory=(memory, _resident()),
    )


def _connections() -> int:
    """How many TCP connections this process has; what it wakes its own threads with are sockets of another kind."""
    tcp = Path("/proc/self/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    inodes = {f"socket:[{line.split()[9]}]" for line in tcp}
    return sum(_opened(number) in inodes for number in os.listdir("/proc/self/fd"))  # noqa: PTH208 - names are enough


def _opened(number: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{number}")  # noqa: PTH115 - such a link leads to no path
    except FileNotFoundError:  # that of the listing itself
        return ""


def _resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
