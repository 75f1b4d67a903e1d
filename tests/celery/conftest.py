"""Real workers for the tests of Celery's side."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import rootcellar
from rootcellar import Store, TaskRecord
from rootcellar.cli.demo import broker as folder_broker
from tests.celery.shop import make_app
from tests.servers.fleet import Fleet

if TYPE_CHECKING:
    from celery import Celery

ROOT = Path(__file__).parents[2]


class Shop:
    """The app as a client sees it, and the workers that serve it."""

    def __init__(self, servers: Fleet, folder: Path, broker: str, backend: str, config: dict[str, Any]) -> None:
        self.servers = servers
        self.folder = folder
        self.broker, self.backend, self.config = broker, backend, config
        os.environ["SHOP_FOLDER"] = str(folder)
        self.app: Celery = make_app(broker, backend, **config)
        self.workers: list[int] = []
        self._ending: list[int] = []
        #: What keeps the results, and the pool of the workers, for tests that differ by them.
        self.engine = self.pool = ""

    def task(self, name: str) -> Any:
        """A signature maker for a task of the shop, by name: the client has no code of it."""

        def signature(*args: Any, **kwargs: Any) -> Any:
            return self.app.signature(f"tests.celery.shop.{name}", args=args, kwargs=kwargs)

        return signature

    def start_worker(self, pool: str = "prefork", concurrency: int = 2, *options: str) -> int:
        """A worker process, ready when this returns."""
        name = f"w{len(self.workers)}@test"
        log = self.folder / f"{name}.log"
        command = [
            sys.executable, "-m", "celery", "-A", "tests.celery.shop", "worker", "-P", pool, "-c", str(concurrency),
            "-n", name, "-l", "INFO", "--without-gossip", "--without-mingle", "--without-heartbeat", *options,
        ]  # fmt: skip
        environment = {
            **os.environ,
            "SHOP_BROKER": self.broker,
            "SHOP_BACKEND": self.backend,
            "SHOP_CONFIG": json.dumps(self.config),
            "SHOP_FOLDER": str(self.folder),
            "XDG_STATE_HOME": str(self.folder / "state"),
            "PYTHONPATH": str(ROOT),
        }
        pid = self.servers.keeper.spawn(
            command, environment=environment, folder=ROOT, log=log, last_signal=signal.SIGKILL
        )
        self.workers.append(pid)
        wait_until(lambda: " ready." in log.read_text(errors="replace") if log.exists() else False, 30, log)
        return pid

    def log(self) -> str:
        """What all workers have written so far."""
        return "".join(path.read_text(errors="replace") for path in sorted(self.folder.glob("*.log")))

    @property
    def store(self) -> Store:
        """The records."""
        return rootcellar.open(self.app)

    def record(self, result: Any) -> TaskRecord:
        """The record of a result's task."""
        found = self.store.get(result.id)
        assert found is not None, f"no record of {result.id}"
        return found

    def close(self) -> None:
        """End the workers, and every connection of the client: one left open is a warning in some later test."""
        self.stop_workers()
        backend = self.app.backend
        if hasattr(backend, "flush"):
            backend.writer.close()
            backend.result_consumer.stop()
            backend.store.close()
        elif hasattr(backend, "client"):
            backend.result_consumer.stop()
            backend.client.connection_pool.disconnect()
        self.app.pool.force_close_all()
        self.app.close()

    def end_workers(self, number: int = signal.SIGTERM) -> None:
        """Tell all workers to end."""
        for pid in self.workers:
            self.servers.keeper.signal(pid, number, tree=number == signal.SIGKILL)
        self._ending += self.workers
        self.workers = []

    def stop_workers(self, number: int = signal.SIGTERM) -> None:
        """End all workers and wait until they are gone."""
        self.end_workers(number)
        keeper = self.servers.keeper
        deadline = time.monotonic() + 30
        while any(keeper.alive(pid) for pid in self._ending):
            if time.monotonic() > deadline:
                for pid in self._ending:
                    keeper.signal(pid, signal.SIGKILL, tree=True)
            time.sleep(0.02)
        self._ending.clear()


def wait_until(condition: Callable[[], Any], seconds: float = 10.0, log: Path | None = None) -> Any:
    """What `condition` gives once it is true; fails when it is not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            tail = log.read_text(errors="replace")[-3000:] if log and log.exists() else ""
            pytest.fail(f"not within {seconds} s\n{tail}")
        time.sleep(0.02)
    return value


MakeShop = Callable[..., Shop]


@pytest.fixture(scope="module")
def make_shop(servers: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeShop]:
    """A function that opens a shop on a backend: ``make_shop(backend_url, broker=None, **celery_settings)``."""
    shops: list[Shop] = []

    def make(backend: str, broker: str = folder_broker.URL, **config: Any) -> Shop:
        shop = Shop(servers, tmp_path_factory.mktemp("shop"), broker, backend, config)
        shops.append(shop)
        return shop

    yield make
    # A worker takes some seconds to end: all of them at once.
    for shop in shops:
        shop.end_workers()
    for shop in shops:
        shop.close()
