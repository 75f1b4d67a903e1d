"""Waiting in asyncio under load and in trouble: nothing hangs, nothing stays behind."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import tracemalloc
from collections.abc import Coroutine
from typing import Any

import pytest
from celery import Celery
from celery.result import AsyncResult
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import rootcellar
from rootcellar.celery.backend import RootcellarBackend
from rootcellar.errors import AccessDenied, StoreUnavailable
from rootcellar.record import Change
from rootcellar.waiting.hub import Hub
from tests.aio.conftest import FragileStore, MakeApp, waited_for
from tests.aio.test_wait import begun
from tests.unit.writer.stores import START, eventually

pytestmark = pytest.mark.store("memory")
MANY = 10_000
#: Bytes that one more coroutine may take while it waits, its task and all.
PER_WAITER = 6_000


def finish(backend: RootcellarBackend, *ids: str) -> None:
    backend.store.apply([Change(id=task_id, at=START, state="SUCCESS", result=task_id) for task_id in ids])


# -- many --------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_ten_thousand_who_wait_take_one_thread_and_few_reads(
    app: Celery, backend: RootcellarBackend, store: FragileStore
) -> None:
    before = set(threading.enumerate())
    ids = [f"t{number}" for number in range(MANY)]
    waiting = [asyncio.create_task(rootcellar.wait(task_id, app=app, timeout=60)) for task_id in ids]
    await begun(backend, MANY)
    assert len(set(threading.enumerate()) - before) == 1
    store.reads.clear()
    finish(backend, *ids)
    assert await asyncio.gather(*waiting) == ids
    assert waited_for(backend) == (0, 0)
    assert max(store.reads) == 1000


async def test_one_more_who_waits_costs_a_few_kilobytes(app: Celery, backend: RootcellarBackend) -> None:
    count = MANY // 10
    ids = [f"t{number}" for number in range(count)]
    await rootcellar.wait(finished(backend), app=app)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        waiting = [asyncio.create_task(rootcellar.wait(task_id, app=app)) for task_id in ids]
        await begun(backend, count)
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    await cancel(*waiting)
    assert taken / count < PER_WAITER


def finished(backend: RootcellarBackend, task_id: str = "finished") -> str:
    finish(backend, task_id)
    return task_id


async def cancel(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["waits", "is cancelled", "times out"])), max_size=12))
def test_whoever_waits_for_whatever(app: Celery, backend: RootcellarBackend, plan: list[tuple[int, str]]) -> None:
    """Those who stay are told, whoever else waits for the same task, and goes away when."""

    async def run() -> None:
        waiting = [
            (f"t{number}", fate, asyncio.create_task(rootcellar.wait(f"t{number}", app=app, timeout=fate_of(fate))))
            for number, fate in plan
        ]
        await asyncio.sleep(0)
        await cancel(*(task for _, fate, task in waiting if fate == "is cancelled"))
        await asyncio.gather(*(task for _, fate, task in waiting if fate == "times out"), return_exceptions=True)
        finish(backend, "t0", "t1", "t2", "t3")
        for task_id, fate, task in waiting:
            if fate == "waits":
                assert await task == task_id

    asyncio.run(run())
    assert waited_for(backend) == (0, 0)
    backend.store.delete("t0", "t1", "t2", "t3")


def fate_of(fate: str) -> float:
    return 0 if fate == "times out" else 60


# -- those who go away -------------------------------------------------------------------------------------------------


async def test_a_wait_that_is_cancelled_leaves_nothing(app: Celery, backend: RootcellarBackend) -> None:
    waiting = [asyncio.create_task(rootcellar.wait(task_id, app=app)) for task_id in "aab"]
    await begun(backend, 2)
    await cancel(waiting[0])
    assert waited_for(backend) == (2, 2)
    await cancel(*waiting)
    assert waited_for(backend) == (0, 0)


async def test_asyncios_own_time_out(app: Celery, backend: RootcellarBackend) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await rootcellar.wait("a", app=app)
    assert waited_for(backend) == (0, 0)


async def test_a_thread_that_waits_for_the_same_is_not_disturbed(app: Celery, backend: RootcellarBackend) -> None:
    result = AsyncResult("a", app=app)
    thread = asyncio.create_task(asyncio.to_thread(result.get, timeout=60))
    await begun(backend)
    waiting = asyncio.create_task(rootcellar.wait("a", app=app))
    await asyncio.sleep(0.01)
    await cancel(waiting)
    assert waited_for(backend) == (1, 1)
    finish(backend, "a")
    assert await thread == "a"
    assert waited_for(backend) == (0, 0)


async def test_a_coroutine_is_not_disturbed_by_a_thread_that_gives_up(app: Celery, backend: RootcellarBackend) -> None:
    waiting = asyncio.create_task(rootcellar.wait("a", app=app))
    await begun(backend)
    with pytest.raises(TimeoutError):
        await rootcellar.wait("a", app=app, timeout=0)
    with pytest.raises(app.AsyncResult("a").TimeoutError):
        await asyncio.to_thread(app.AsyncResult("a").get, timeout=0.01)
    finish(backend, "a")
    assert await waiting == "a"


def test_a_loop_that_is_closed_lets_go(app: Celery, backend: RootcellarBackend) -> None:
    """Whatever the tasks it leaves behind say to that."""
    left_behind(app, backend)
    # The hub's thread may still hold what it has just handed over.
    eventually(lambda: gc.collect() is not None and not waited_for(backend)[1])
    assert waited_for(backend) == (0, 0)


def left_behind(app: Celery, backend: RootcellarBackend) -> None:
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda _loop, _context: None)
    for coroutine in (rootcellar.wait("a", app=app), rootcellar.wait("b", app=app, timeout=60), first_of("c", app)):
        loop.create_task(coroutine)  # noqa: RUF006 - nobody holds it
    loop.run_until_complete(begun(backend, 3))
    gc.collect()
    assert waited_for(backend) == (3, 3)  # the loop holds them
    loop.close()
    finish(backend, "a")
    eventually(lambda: backend.result_consumer.hub._seen["a"].version)  # it was delivered to the closed loop


async def first_of(task_id: str, app: Celery) -> None:
    async for _ in rootcellar.updates(task_id, app=app):
        return


# -- many loops --------------------------------------------------------------------------------------------------------


def test_loops_in_threads(app: Celery, backend: RootcellarBackend) -> None:
    """Two loops, for tasks of their own and one in common."""
    got: dict[str, Any] = {}

    async def both(name: str) -> None:
        got[name] = await rootcellar.wait([name, "shared"], app=app, timeout=60)

    threads = [threading.Thread(target=asyncio.run, args=(both(name),)) for name in "ab"]
    for thread in threads:
        thread.start()
    eventually(lambda: waited_for(backend) == (3, 3))
    finish(backend, "shared", "b")
    threads[1].join()
    assert got == {"b": ["b", "shared"]}
    finish(backend, "a")
    threads[0].join()
    assert got == {"a": ["a", "shared"], "b": ["b", "shared"]}
    assert waited_for(backend) == (0, 0)


def test_one_loop_after_another(app: Celery, backend: RootcellarBackend) -> None:
    result = AsyncResult("a", app=app)
    with pytest.raises(TimeoutError):
        asyncio.run(rootcellar.wait(result, timeout=0))
    finish(backend, "a")
    assert asyncio.run(rootcellar.wait(result)) == "a"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.store("sqlite")
def test_the_child_of_a_fork_waits_in_a_loop_of_its_own(make_app: MakeApp, sqlite_url: str) -> None:
    app = make_app("rootcellar+" + sqlite_url)
    app.backend.store.setup()

    async def parent() -> Any:
        waiting = asyncio.create_task(rootcellar.wait(["parent", "both"], app=app, timeout=60))
        await begun(app.backend, 2)
        child = os.fork()
        if not child:  # pragma: no cover - another process
            os._exit(in_thread(as_child(app)))
        assert (await asyncio.to_thread(os.waitpid, child, 0))[1] == 0
        finish(app.backend, "parent")
        return await waiting

    assert asyncio.run(parent()) == ["parent", "both"]
    assert waited_for(app.backend) == (0, 0)


async def as_child(app: Celery) -> None:
    later = threading.Timer(0.05, lambda: finish(app.backend, "both"))
    later.start()
    assert await rootcellar.wait("both", app=app, timeout=60) == "both"
    assert waited_for(app.backend) == (0, 0)
    assert await app.backend.store.aio.count() == 1
    app.backend.flush()


def in_thread(coroutine: Coroutine[Any, Any, None]) -> int:
    """0 if it went well. In a thread of its own, for the forked one is inside of its parent's loop."""
    outcome = [1]

    async def run() -> None:
        await coroutine
        outcome[0] = 0

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    thread.join(60)
    return outcome[0]


# -- a store in trouble ------------------------------------------------------------------------------------------------


async def test_a_store_that_goes_away_meanwhile_is_waited_for(
    app: Celery, backend: RootcellarBackend, store: FragileStore, caplog: pytest.LogCaptureFixture
) -> None:
    waiting = asyncio.create_task(rootcellar.wait("a", app=app, timeout=60))
    await begun(backend)
    (ticket,) = backend.result_consumer.waiters.tickets("a")
    while not ticket.answered:
        await asyncio.sleep(0.001)
    store.away = StoreUnavailable("away")
    while "interrupted" not in caplog.text:
        await asyncio.sleep(0.001)
    finish(backend, "a")
    assert not waiting.done()
    store.away = None
    assert await waiting == "a"


@pytest.mark.parametrize("error", [StoreUnavailable("away"), AccessDenied("not you"), RuntimeError("a bug")])
async def test_a_wait_that_begins_while_the_store_cannot_be_read_says_so(
    app: Celery, backend: RootcellarBackend, store: FragileStore, error: Exception
) -> None:
    store.away = error
    waiting = [rootcellar.wait(task_id, app=app, timeout=60) for task_id in "ab"]
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert [repr(each) for each in found] == [repr(error)] * 2
    assert waited_for(backend) == (0, 0)


async def test_a_store_that_hangs_does_not_hold_up_the_time_out(
    app: Celery, backend: RootcellarBackend, store: FragileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rootcellar.waiting.aio._GRACE", 0.05)
    hang = threading.Event()
    monkeypatch.setattr(Hub, "_read", lambda _hub, _ids: hang.wait(60))
    with pytest.raises(TimeoutError):
        await rootcellar.wait("a", app=app, timeout=0)
    hang.set()


async def test_a_callback_that_fails_is_the_error_of_the_one_who_waits(app: Celery, backend: RootcellarBackend) -> None:
    bad = AsyncResult("a", app=app)
    bad.then(lambda _result: 1 / 0)
    waiting = asyncio.create_task(rootcellar.wait(bad))
    await begun(backend)
    finish(backend, "a")
    with pytest.raises(ZeroDivisionError):
        await waiting
    assert await rootcellar.wait("a", app=app) == "a"
