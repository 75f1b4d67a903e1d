"""Real workers, one per contender, all up at once and idle until it is their turn."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from bench.apps import MARKS, make_app
from rootcellar.celery.app import backend_of
from tests.servers import Fleet, Server

#: The queue that workers always listen to; nothing but single tasks goes there.
SINGLE = "celery"
#: The queue that is filled while nobody listens.
FILLED = "filled"
#: The contender that others are compared with: stock Redis. No engine is called so.
REFERENCE = "reference"
_PATIENCE = 120.0
_GRACE = 15.0


class Contender(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker is started with. `backend` is a URL, or None for stock Redis in the broker's own server."""

    title: str
    backend: str | None = None
    ignore_result: bool = False


class Worker:
    """One contender's worker, and its app on the client's side."""

    def __init__(self, contender: Contender, broker: str, *, processes: int, fleet: Fleet, folder: Path) -> None:
        self.contender = contender
        self._keeper = fleet.keeper
        self._folder = folder
        self.broker = broker
        self.processes = processes
        backend = contender.backend or broker
        self.host = f"bench-{broker.rpartition('/')[2]}@{socket.gethostname()}"
        self.environment = {
            **os.environ,
            "BENCH_BROKER": broker,
            "BENCH_BACKEND": backend,
            "BENCH_IGNORE_RESULT": "1" if contender.ignore_result else "",
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH", "")]),
        }
        self.app = make_app(broker, backend, ignore_result=contender.ignore_result)
        self.noop: Any = self.app.tasks["bench.noop"]

    def _command(self) -> list[str]:
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

    def start(self) -> None:
        """Start the worker; `wait_until_up` says when it is there."""
        self._pid = self._spawn(self._command(), f"worker-{self.host}.log")

    def _spawn(self, command: list[str], log: str) -> int:
        return self._keeper.spawn(
            command,
            environment=self.environment,
            folder=self._folder,
            log=self._folder / log,
            last_signal=signal.SIGTERM,
        )

    def fill(self, tasks: int, run: str) -> None:
        """Publish `tasks` no-op tasks from a process of its own, with marks before and behind."""
        words = [sys.executable, "-m", "bench.producer", str(tasks), run, str(self.processes)]
        self._await_end(self._spawn(words, "producer.log"), _PATIENCE)

    def _await_end(self, pid: int, patience: float) -> None:
        deadline = time.monotonic() + patience
        while self._keeper.alive(pid):
            if time.monotonic() > deadline:
                raise TimeoutError(f"a process of {self.contender.title} did not end")
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
        """Close the client's side, and ask the worker to end."""
        backend = backend_of(self.app)
        if backend is not None:
            backend.result_consumer.stop()
            backend.writer.close()
            backend.store.close()
        self.app.close()
        self._keeper.signal(self._pid, signal.SIGTERM)

    def await_end(self) -> None:
        """Return when the worker has ended, if need be by force."""
        try:
            self._await_end(self._pid, _GRACE)
        except TimeoutError:
            self._keeper.signal(self._pid, signal.SIGKILL, tree=True)


@contextmanager
def running(
    contenders: Mapping[str, Contender], redis: Server, fleet: Fleet, folder: Path, *, processes: int
) -> Iterator[dict[str, Worker]]:
    """The workers of all contenders, each with a broker database of its own, by the contender's name."""
    with ExitStack() as brokers, ExitStack() as ends:
        workers: dict[str, Worker] = {}
        for name, contender in contenders.items():
            broker = brokers.enter_context(redis.fresh())
            worker = workers[name] = Worker(contender, broker, processes=processes, fleet=fleet, folder=folder)
            worker.start()
            ends.callback(worker.await_end)
        # All are told to end before any is waited for.
        for worker in workers.values():
            ends.callback(worker.close)
        for worker in workers.values():
            worker.wait_until_up()
        yield workers
