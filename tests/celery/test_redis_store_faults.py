"""Faults of Redis with real workers: what a worker finished is in the store afterwards, and every wait ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from celery.exceptions import TimeoutError as CeleryTimeoutError

import rootcellar
from rootcellar import Store
from tests.celery.conftest import MakeShop, Shop, wait_until
from tests.celery.test_faults import all_succeeded
from tests.servers.engines.redis_several import RedisSentinel
from tests.servers.server import Server

pytestmark = [
    pytest.mark.fault,
    pytest.mark.worker,
    pytest.mark.xdist_group("faults"),
    pytest.mark.timeout(180),
    pytest.mark.store("redis"),
]

PrivateServer = Callable[..., Server]
#: Seconds before a fault within which an acknowledged write may not have reached the replica.
_REPLICATION_LAG = 1.0


class Work:
    """Tasks that leave a file each, so that what has been finished, and when, is known without the store."""

    def __init__(self, shop: Shop, folder: Path, count: int) -> None:
        folder.mkdir()
        self._shop = shop
        self._folder = folder
        self.results: list[Any] = []
        self.publish(count)

    def publish(self, count: int) -> None:
        """More tasks."""
        once, known = self._shop.task("once"), len(self.results)
        self.results += [once(str(self._folder), number).delay() for number in range(known, known + count)]

    def done(self) -> int:
        """How many tasks have done their work."""
        return sum(1 for _ in self._folder.iterdir())

    def ids(self, finished: Callable[[float], bool]) -> list[str]:
        """The tasks whose work was done at a time of which `finished` is true."""
        times = {int(path.name): path.stat().st_mtime for path in self._folder.iterdir()}
        return [result.id for number, result in enumerate(self.results) if finished(times[number])]


def waited(result: Any, timeout: float) -> str:
    """How a wait ended. One that begins while the store is away is refused, and begins again."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            result.get(timeout=max(0.0, deadline - time.monotonic()))
        except CeleryTimeoutError:
            return "timed out"
        except rootcellar.StoreUnavailable:
            time.sleep(0.1)
        else:
            return "returned"


def test_redis_restarted_with_an_empty_memory(
    make_shop: MakeShop, private_server: PrivateServer, tmp_path: Path
) -> None:
    """In the middle of 2,000 tasks, while somebody waits for fifty of them.

    What finished after that is there; every wait returns, or times out because Redis forgot what it waited for.
    """
    server = private_server("redis", options=("--appendonly", "no"))
    shop = make_shop(f"rootcellar+{server.url()}", rootcellar_retry_for=0.5)
    shop.start_worker("prefork", 4)
    work = Work(shop, tmp_path / "work", 1000)
    watched = work.results[500::10]
    with ThreadPoolExecutor(len(watched)) as threads:
        waits: list[Future[str]] = [threads.submit(waited, result, 20) for result in watched]
        wait_until(lambda: work.done() > 200, 60)
        server.kill()
        work.publish(500)
        server.start()
        restarted = time.time()
        work.publish(500)
        wait_until(lambda: work.done() == 2000, 60)
        late = work.ids(lambda at: at > restarted)
        assert len(late) > 100
        with rootcellar.open(server.url()) as store:
            all_succeeded(store, late, 30)
        ended = [wait.result(timeout=60) for wait in waits]
    outcomes = {result.id: how for result, how in zip(watched, ended, strict=True)}
    assert all(outcomes.get(task_id, "returned") == "returned" for task_id in late)
    shop.stop_workers()


def test_the_network_cut_for_ten_seconds(
    make_shop: MakeShop, redis_url: str, fault_proxy: Callable[[str], Any], tmp_path: Path
) -> None:
    """Between the workers and the store: whatever was finished meanwhile is in the store afterwards."""
    proxy = fault_proxy(redis_url)
    shop = make_shop(f"rootcellar+{proxy.url}", rootcellar_retry_for=0.5)
    shop.start_worker("prefork", 4)
    work = Work(shop, tmp_path / "work", 2000)
    wait_until(lambda: work.done() > 200, 60)
    proxy.refuse()
    cut = time.time()
    threading.Event().wait(10)
    proxy.accept()
    joined = time.time()
    wait_until(lambda: work.done() == 2000, 60)
    assert work.ids(lambda at: cut < at < joined)
    with rootcellar.open(redis_url) as store:
        all_succeeded(store, [result.id for result in work.results], 60)
    shop.stop_workers()


def test_a_network_that_swallows_everything(
    make_shop: MakeShop, redis_url: str, fault_proxy: Callable[[str], Any]
) -> None:
    """No connection is refused, and no answer comes: a time-out ends the wait, and nothing is lost."""
    proxy = fault_proxy(redis_url)
    shop = make_shop(f"rootcellar+{proxy.url}?socket_timeout=1&socket_connect_timeout=1", rootcellar_retry_for=0.5)
    shop.start_worker("threads", 2)
    assert shop.task("add")(1, 2).delay().get(timeout=30) == 3
    proxy.freeze()
    results = [shop.task("add")(number, 1).delay() for number in range(20)]
    wait_until(lambda: "spool" in shop.log(), 60)
    proxy.thaw()
    with rootcellar.open(redis_url) as store:
        all_succeeded(store, [result.id for result in results], 60)
    shop.stop_workers()


def test_a_failover_by_sentinel(make_shop: MakeShop, private_server: PrivateServer, tmp_path: Path) -> None:
    """The master is killed during 600 tasks; the workers go on with the replica that takes its place."""
    server = private_server("redis_sentinel")
    assert isinstance(server, RedisSentinel)
    shop = make_shop(f"rootcellar+{server.url()}", rootcellar_retry_for=0.5)
    shop.start_worker("prefork", 4)
    work = Work(shop, tmp_path / "work", 600)
    wait_until(lambda: work.done() > 100, 60)
    (master,) = server.masters()
    killed = time.time()
    server.kill_process(master)
    wait_until(lambda: work.done() == 600, 60)
    with rootcellar.open(server.url()) as store:
        wait_until(lambda: answers(store), 30)
        kept = work.ids(lambda at: not killed - _REPLICATION_LAG < at < killed + 0.1)
        assert len(kept) > 100
        all_succeeded(store, kept, 60)
    shop.stop_workers()


def answers(store: Store) -> bool:
    """Whether the store can be reached."""
    try:
        store.count()
    except rootcellar.RootcellarError:
        return False
    return True
