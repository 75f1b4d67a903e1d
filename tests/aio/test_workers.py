"""asyncio with a real worker, on a store that pushes: as an application uses it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from celery import chain, chord, group
from celery.exceptions import TaskRevokedError

import rootcellar
from tests.aio.conftest import waited_for
from tests.celery.conftest import MakeShop, Shop, make_shop

__all__ = ["make_shop"]

pytestmark = [
    pytest.mark.worker,
    pytest.mark.server,
    pytest.mark.xdist_group("aio-workers"),
    pytest.mark.store("postgresql"),
]
#: Seconds for anything here.
PATIENCE = 60


@pytest.fixture(scope="module")
def shop(make_shop: MakeShop, postgresql_module_url: str) -> Shop:
    opened = make_shop(f"rootcellar+{postgresql_module_url}")
    opened.start_worker("threads", 4)
    return opened


@pytest.fixture(autouse=True)
def nobody_waits(shop: Shop) -> Iterator[None]:
    yield
    assert not shop.app.backend.result_consumer.waiters._tickets


async def test_many_results_at_once(shop: Shop) -> None:
    add = shop.task("add")
    results = [await asyncio.to_thread(add(number, 1).apply_async) for number in range(50)]
    waits = [rootcellar.wait(result, timeout=PATIENCE) for result in results]
    assert await asyncio.gather(*waits) == list(range(1, 51))
    assert waited_for(shop.app.backend) == (0, 0)


async def test_groups_chains_and_chords(shop: Shop) -> None:
    add, total = shop.task("add"), shop.task("total")
    published = [
        group(add(number, number) for number in range(5)).apply_async(),
        chain(add(1, 1), add(1)).apply_async(),
        chord([add(number, number) for number in range(5)], total()).apply_async(),
    ]
    assert await rootcellar.wait(published, timeout=PATIENCE) == [[0, 2, 4, 6, 8], 3, 20]


async def test_a_chain_ends_with_its_first_failure(shop: Shop) -> None:
    published = chain(shop.task("fail")("tea"), shop.task("identity")()).apply_async()
    with pytest.raises(Exception, match="tea"):
        await rootcellar.wait(published, timeout=PATIENCE)


async def test_what_is_quick_comes_first(shop: Shop) -> None:
    nap = shop.task("nap")
    slow, quick = nap(1.0).apply_async(), nap(0.0).apply_async()
    assert [result.id async for result in rootcellar.as_completed([slow, quick], timeout=PATIENCE)] == [
        quick.id,
        slow.id,
    ]


async def test_a_task_that_is_retried(shop: Shop) -> None:
    result = shop.task("flaky")(2).apply_async()
    records = [record async for record in rootcellar.updates(result, timeout=PATIENCE)]
    assert records[-1].state == "SUCCESS"
    assert records[-1].result == 2
    assert await rootcellar.wait(result) == 2


async def test_a_task_that_is_revoked(shop: Shop) -> None:
    result = shop.task("add")(1, 1).apply_async(countdown=3600)
    waiting = asyncio.create_task(rootcellar.wait(result, timeout=PATIENCE))
    await asyncio.to_thread(result.revoke)
    with pytest.raises(TaskRevokedError):
        await waiting


async def test_its_metadata_are_found_by_the_asyncio_face(shop: Shop) -> None:
    with rootcellar.metadata(user=42):
        result = await asyncio.to_thread(shop.task("report")("c-7").apply_async)
    await rootcellar.wait(result, timeout=PATIENCE)
    (record,) = await shop.store.aio.find("metadata.user:42")
    assert (record.id, record.kwargs, record.metadata) == (result.id, {}, {"user": 42})
    await shop.store.aio.close()
