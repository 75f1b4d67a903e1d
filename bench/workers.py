"""Real workers, one per contender, all up at once and idle until it is their turn."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from celery import Celery

from bench.apps import MARKS, make_app
from rootcellar.celery.app import backend_of
from tests.servers import Fleet, Server

#: The queue that workers always listen to; nothing but single tasks goes there.
SINGLE = "celery"
#: The queue that is filled while nobody listens.
FILLED = "filled"
_PATIENCE = 120.0


class Contender(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker is started with. `backend` is a URL, or None for stock Redis in the broker's own server."""

    title: str
    backend: str | None = None
    ignore_result: bool = False


class Worker:
    """One contender's worker, and its app on the client's side."""

    def __init__(self, contender: Contender, broker: str, *, processes: int) -> None:
        self.contender = contender
        self.broker = broker
        self.processes = processes
        backend = contender.backend or broker
        self.host = f"bench-{broker.rpartition('/')[2]}@{socket.gethostname()}"
        self.environment = {
            **os.environ,
            "BENCH_BROKER": broker,
            "BENCH_BACKEND": backend,
            "BENCH_IGNORE_RESULT": "1" if contender.ignore_result else "",
            "PYTHONPATH": str(Path(__file__).parent.parent),
        }
        self.app: Celery = make_app(broker, backend, ignore_result=contender.ignore_result)
        self.noop: Any = self.app.tasks["bench.noop"]

    def command(self) -> list[str]:
        """The worker's command line."""
        quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "WARNING"]
        pool = ["--pool", "prefork", "--concurrency", str(self.processes)]
        program = [sys.executable, "-m", "celery", "-A", "bench.worker_app", "worker"]
        return [*program, *pool, "--hostname", self.host, "--queues", SINGLE, *quiet]

    def wait_until_up(self) -> None:
        """Return when the worker answers."""
        deadline = time.monotonic() + _PATIENCE
        while not self.app.control.ping(destination=[self.host], timeout=0.5):
            if time.monotonic() > deadline:
                raise TimeoutError(f"the worker of {self.contender.title} did not come up")

    def fill(self, fleet: Fleet, folder: Path, tasks: int, run: str) -> None:
        """Publish `tasks` no-op tasks from a process of its own, with marks before and behind."""
        words = [sys.executable, "-m", "bench.producer", str(tasks), run, str(self.processes)]
        pid = fleet.keeper.spawn(words, environment=self.environment, folder=folder, log=folder / "producer.log")
        deadline = time.monotonic() + _PATIENCE
        while fleet.keeper.alive(pid):
            if time.monotonic() > deadline:
                raise TimeoutError(f"the producer for {self.contender.title} did not finish")
            time.sleep(0.05)

    def drain(self, run: str) -> float:
        """Have the worker listen to the filled queue; seconds from the first task to the end of the last one."""
        self.app.control.add_consumer(FILLED, destination=[self.host], reply=True, timeout=5)
        expected = 1 + self.processes
        deadline = time.monotonic() + _PATIENCE
        with self.app.connection_for_read() as connection:
            client = connection.default_channel.client
            while client.llen(MARKS + run) < expected:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"the worker of {self.contender.title} did not finish its tasks")
                time.sleep(0.02)
            marks = sorted(float(mark) for mark in client.lrange(MARKS + run, 0, -1))
        self.app.control.cancel_consumer(FILLED, destination=[self.host], reply=True, timeout=5)
        return marks[-1] - marks[0]

    def close(self) -> None:
        """Close the client's side."""
        backend = backend_of(self.app)
        if backend is not None:
            backend.result_consumer.stop()
            backend.writer.close()
            backend.store.close()
        self.app.close()


@contextmanager
def running(
    contenders: Mapping[str, Contender], redis: Server, fleet: Fleet, folder: Path, processes: int
) -> Iterator[dict[str, Worker]]:
    """The workers of all contenders, each with a broker database of its own, by the contender's name."""
    workers: dict[str, Worker] = {}
    pids: list[int] = []
    try:
        for name, contender in contenders.items():
            worker = workers[name] = Worker(contender, redis.fresh_url(), processes=processes)
            log = folder / f"worker-{name.replace(' ', '-')}.log"
            place = {"environment": worker.environment, "folder": folder, "log": log}
            pids.append(fleet.keeper.spawn(worker.command(), **place, last_signal=signal.SIGTERM))  # type: ignore[arg-type]
        for worker in workers.values():
            worker.wait_until_up()
        yield workers
    finally:
        for worker in workers.values():
            worker.close()
        for pid in pids:
            fleet.keeper.signal(pid, signal.SIGTERM)
        _await_end(fleet, pids)
        for worker in workers.values():
            redis.discard(worker.broker)


def _await_end(fleet: Fleet, pids: list[int]) -> None:
    deadline = time.monotonic() + 15
    while any(fleet.keeper.alive(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.1)
    for pid in pids:
        if fleet.keeper.alive(pid):
            fleet.keeper.signal(pid, signal.SIGKILL, tree=True)
