"""Who waits, and a worker elsewhere, on one store: what the tests of waiting need of real servers, without workers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from celery import Celery

from rootcellar.celery.consumer import ResultConsumer
from rootcellar.record import Change
from tests.unit.writer.stores import eventually

#: Every store that `get()` is tested on: a line for each.
SQLITE = pytest.param("sqlite")
POSTGRESQL = pytest.param("postgresql", marks=[pytest.mark.server, pytest.mark.store("postgresql")])
MARIADB = pytest.param("mariadb", marks=[pytest.mark.server, pytest.mark.store("mariadb")])
REDIS = pytest.param("redis", marks=[pytest.mark.server, pytest.mark.store("redis")])
MONGODB = pytest.param("mongodb", marks=[pytest.mark.server, pytest.mark.store("mongodb")])

STORES = [SQLITE, POSTGRESQL, MARIADB, REDIS, MONGODB]
SERVERS = STORES[1:]
#: Those that tell who waits; the others are asked.
PUSHING = [POSTGRESQL, REDIS, MONGODB]

_CONFIG = {"rootcellar_flush_interval": 0.01, "rootcellar_retry_for": 0.0, "rootcellar_spool": False}


def app_on(url: str, **config: Any) -> Celery:
    """An app whose results are at `url`, a stock one's or ours; it has a broker that nobody listens to."""
    app = Celery("shop", broker="memory://", backend=url, set_as_current=False)
    # Stock has a backend for each thread unless told otherwise, and nobody who closes those.
    app.conf.update({"result_backend_thread_safe": True, **_CONFIG, **config})
    return app


def close(app: Celery) -> None:
    """End what an app holds: threads, connections."""
    backend = app.backend
    backend.result_consumer.stop()
    if hasattr(backend, "writer"):
        backend.writer.close()
        backend.store.close()
    else:
        backend.client.connection_pool.disconnect()
    app.close()


class Place:
    """One process that waits, and another that finishes tasks; the latter's way to the store has no faults."""

    def __init__(self, url: str, waits_at: str | None = None) -> None:
        self.app = app_on("rootcellar+" + (waits_at or url))
        self.elsewhere = app_on("rootcellar+" + url)
        self.elsewhere.backend.store.setup()
        self.got: dict[str, Any] = {}
        self.threads: list[threading.Thread] = []
        self._there = set(threading.enumerate())

    @property
    def consumer(self) -> ResultConsumer:
        """What waits in this process."""
        found: ResultConsumer = self.app.backend.result_consumer
        return found

    def result(self, task_id: str) -> Any:
        """A new result object."""
        return self.app.AsyncResult(task_id)

    def begin(self, *results: Any, timeout: float = 60) -> None:
        """Wait for each of these results or tasks in a thread of its own; returns when all of them sleep."""
        awaited = [self.result(each) if isinstance(each, str) else each for each in results]
        for result in awaited:
            thread = threading.Thread(target=self._get, args=(result, timeout))
            self.threads.append(thread)
            thread.start()
        eventually(lambda: self.consumer.hub.watching and all(self._sleeps(result.id) for result in awaited))

    def _sleeps(self, task_id: str) -> bool:
        return self.consumer.waiters.slept_for({task_id}) and task_id in self.consumer.hub

    def _get(self, result: Any, timeout: float) -> None:
        try:
            self.got[result.id] = result.get(timeout=timeout)
        except Exception as error:  # noqa: BLE001 - it is what the test is about
            self.got[result.id] = error

    def end(self) -> dict[str, Any]:
        """What each of those who waited got, by task."""
        for thread in self.threads:
            thread.join()
        self.threads.clear()
        return self.got

    def finish(self, *task_ids: str) -> None:
        """The tasks succeed, elsewhere, each with its id as value."""
        at = datetime.now(UTC)
        self.elsewhere.backend.store.apply(
            [Change(id=task_id, at=at, state="SUCCESS", result=task_id) for task_id in task_ids]
        )

    def waited_for(self) -> tuple[int, int, int]:
        """How much is waited for: what each of the parts of this process believes. All 0 when nothing stays behind."""
        return len(self.consumer.waiters), len(self.consumer.hub), len(self.consumer._arrived)

    def waiting_threads(self) -> set[threading.Thread]:
        """The threads of this process that wait for results, but for those that other tests have left."""
        begun = set(threading.enumerate()) - self._there
        return {thread for thread in begun if thread.name == "rootcellar-waiting"}

    def close(self) -> None:
        """End everything."""
        self.end()
        close(self.app)
        close(self.elsewhere)


@contextmanager
def place(url: str, waits_at: str | None = None) -> Iterator[Place]:
    """A place that ends with the block."""
    made = Place(url, waits_at)
    try:
        yield made
    finally:
        made.close()


def direct(url: str) -> str:
    """The URL of one server as such: a member of a replica set would send its clients past a proxy."""
    return url.replace("replicaSet=rs0", "directConnection=true")


def settled_connections(url: str) -> int:
    """As `connections`, once that has not changed for half a second: drivers open some behind."""
    last, since = connections(url), time.monotonic()
    while time.monotonic() - since < 0.5:
        time.sleep(0.01)
        if (now := connections(url)) != last:
            last, since = now, time.monotonic()
    return last


def connections(url: str) -> int:
    """How many connections this process has with the server of a URL; files have none."""
    port = urlsplit(url).port
    if port is None:
        return 0
    remote = f"{port:04X}"
    ours = set(_sockets())
    lines = Path("/proc/self/net/tcp").read_text().splitlines()[1:]
    fields = (line.split() for line in lines)
    return sum(words[2].endswith(":" + remote) and words[3] == "01" and words[9] in ours for words in fields)


def _sockets() -> Iterable[str]:
    """The numbers of this process's sockets."""
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = str(entry.readlink())
        except OSError:  # it was that of the directory itself
            continue
        if target.startswith("socket:["):
            yield target[8:-1]


Url = Callable[[str], str]


@pytest.fixture
def url_of(request: pytest.FixtureRequest) -> Url:
    """The URL of an empty store, by the engine's name."""
    return lambda engine: request.getfixturevalue(f"{engine}_url")
