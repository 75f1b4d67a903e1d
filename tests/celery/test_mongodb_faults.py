"""Faults of MongoDB with real workers: what a worker finished is in the store afterwards, and every wait ends."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from celery import chord
from pymongo import MongoClient
from pymongo.errors import AutoReconnect

import rootcellar
from tests.celery.conftest import MakeShop, wait_until
from tests.celery.test_faults import all_succeeded
from tests.servers.server import Server

pytestmark = [
    pytest.mark.fault,
    pytest.mark.worker,
    pytest.mark.xdist_group("faults"),
    pytest.mark.timeout(180),
    pytest.mark.store("mongodb"),
]

PrivateServer = Callable[..., Server]


def test_the_primary_killed_during_2000_tasks(make_shop: MakeShop, private_server: PrivateServer) -> None:
    """By SIGKILL, and started again some seconds later; fifty wait meanwhile, and chords are on their way."""
    server = private_server("mongodb", durable=True)
    with server.fresh() as url:
        shop = make_shop(f"rootcellar+{url}", rootcellar_retry_for=0.5)
        shop.start_worker("prefork", 4)
        store = shop.store
        add, total = shop.task("add"), shop.task("total")
        results = [add(number, 1).delay() for number in range(2000)]
        chords = [chord([add(n, n) for n in range(5)], total()).delay() for _ in range(10)]
        with ThreadPoolExecutor(50) as threads:
            waiting = [threads.submit(result.get, timeout=120) for result in results[1500:1550]]
            wait_until(lambda: store.count("state:SUCCESS") > 200, 60)
            server.kill()
            threading.Event().wait(5)
            server.start()
            all_succeeded(store, [result.id for result in (*results, *chords)], 90)
            assert [waiter.result() for waiter in waiting] == list(range(1501, 1551))
        assert [joined.get(timeout=5) for joined in chords] == [20] * 10
        shop.stop_workers()
        store.close()


def test_a_primary_that_steps_down_again_and_again(make_shop: MakeShop, private_server: PrivateServer) -> None:
    """An election takes seconds: writes are tried again by themselves, streams are opened again."""
    server = private_server("mongodb")
    with server.fresh() as url:
        shop = make_shop(f"rootcellar+{url}", rootcellar_retry_for=0.5)
        shop.start_worker("threads", 4)
        results = []
        client: MongoClient[dict[str, Any]] = MongoClient(url)
        with client:
            for _ in range(2):
                some = [shop.task("add")(number, 1).delay() for number in range(100)]
                some[20].get(timeout=30)
                step_down(client)
                results += some
        assert [result.get(timeout=60) for result in results] == [*range(1, 101)] * 2
        shop.stop_workers()
        shop.store.close()


def step_down(client: MongoClient[dict[str, Any]]) -> None:
    """Have the primary step down, to be elected again a second later."""
    try:
        client.admin.command("replSetStepDown", 1, force=True)
    except AutoReconnect:
        return  # older servers hang up


def test_the_network_cut_for_ten_seconds(
    make_shop: MakeShop, mongodb_standalone_url: str, fault_proxy: Callable[[str], Any]
) -> None:
    """Between the worker and the store, in the middle of its tasks."""
    proxy = fault_proxy(mongodb_standalone_url)
    shop = make_shop(f"rootcellar+{proxy.url}&serverSelectionTimeoutMS=500", rootcellar_retry_for=0.5)
    shop.start_worker("prefork", 2)
    results = [shop.task("add")(number, 1).delay() for number in range(600)]
    with rootcellar.open(mongodb_standalone_url) as store:
        wait_until(lambda: store.count("state:SUCCESS") > 100, 60)
        proxy.refuse()
        threading.Event().wait(10)
        proxy.accept()
        all_succeeded(store, [result.id for result in results], 60)
    shop.stop_workers()
