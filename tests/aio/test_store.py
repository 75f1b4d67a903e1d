"""``store.aio``: the same methods, awaited."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import os
import threading
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any, ClassVar, assert_type

import pytest

import rootcellar
from rootcellar import F, Page, Store, TaskRecord
from rootcellar.errors import NotSupported, QueryError
from rootcellar.record import Change
from rootcellar.store.aio import AsyncStore
from rootcellar.store.url import parse
from rootcellar.stores.memory import MemoryStore
from tests.unit.writer.stores import START

pytestmark = pytest.mark.store("memory")

#: What has no place in a loop: see `rootcellar.store.aio`.
SYNC_ONLY = {"watcher", "aio"}


@pytest.fixture
def sync() -> Iterator[Store]:
    store = MemoryStore(parse("memory://"))
    store.apply([Change(id=task_id, at=START, state="SUCCESS", result=task_id) for task_id in "abc"])
    yield store
    asyncio.run(store.aio.close())


# -- the two faces -----------------------------------------------------------------------------------------------------


def public(face: type) -> set[str]:
    return {name for name in dir(face) if not name.startswith("_")}


def test_each_face_has_what_the_other_has() -> None:
    """A method that is new in `Store` belongs into the list in `AsyncStore`: there it is checked by its types."""
    assert public(Store) - SYNC_ONLY - {"capabilities"} == public(AsyncStore) - {"run"}


@pytest.mark.parametrize("name", sorted(public(Store) - SYNC_ONLY - {"capabilities", "close"}))
def test_a_method_takes_and_says_the_same(name: str) -> None:
    sync, aio = getattr(Store, name), vars(AsyncStore)[name]
    assert aio.__wrapped__ is sync
    assert inspect.signature(aio) == inspect.signature(sync)
    assert aio.__doc__ == sync.__doc__


@pytest.mark.parametrize("name", sorted(public(Store) - SYNC_ONLY - {"capabilities"}))
def test_what_reaches_an_engine_is_awaited(name: str) -> None:
    found = vars(AsyncStore)[name]
    kind = inspect.iscoroutinefunction(found), inspect.isasyncgenfunction(found)
    expected = {"scan": (False, True), "query": (False, False), "setup_on_use": (False, False)}
    assert kind == expected.get(name, (True, False))


async def test_types_are_those_of_the_sync_face(sync: Store) -> None:
    store = sync.aio
    assert_type(await store.get("a"), TaskRecord | None)
    assert_type(await store.get_many(["a"]), list[TaskRecord])
    assert_type(await store.find(limit=1), Page)
    assert_type(await store.count("state:SUCCESS"), int)
    assert_type(await store.annotate("a", user=42), None)
    assert_type(store.scan(batch=2), AsyncIterator[TaskRecord])


# -- calls -------------------------------------------------------------------------------------------------------------


async def test_a_store_from_its_beginning_to_its_end(sqlite_url: str) -> None:
    async with rootcellar.open(sqlite_url).aio as store:
        await store.setup()
        await store.apply([Change(id=task_id, at=START, state="SUCCESS", result=1) for task_id in "abc"])
        await store.annotate("a", user=42)
        assert [record.id for record in await store.find(F.metadata.user == 42)] == ["a"]
        assert [record.id async for record in store.scan()] == ["a", "b", "c"]
        found = await store.find_documents(store.query("metadata.user:42"))
        assert [record.id for record in found] == ["a"]
        assert (await store.delete("a"), await store.count()) == (1, 2)
        assert (await store.stats(by="state"))[0].count == 2
        assert await store.cleanup(now=datetime.now(UTC)) == 0
        assert await store.get("a") is None
        assert [record.id for record in await store.fetch(["c", "b"])] == ["c", "b"]
        assert (await store.describe())["engine"] == "SQLite"
        assert "CREATE TABLE" in await store.schema_sql()
        assert await store.drift() == []
        await store.group_save("g", [["a", None], None])
        assert await store.group_fetch("g") == [["a", None], None]


async def test_errors_are_the_same(sync: Store) -> None:
    with pytest.raises(QueryError):
        await sync.aio.find("no such field:1")
    with pytest.raises(QueryError):
        await anext(sync.aio.scan("no such field:1"))
    with pytest.raises(NotSupported):
        await sync.aio.schema_sql()


async def test_a_scan_takes_no_more_than_it_needs(sync: Store) -> None:
    reads: list[int] = []
    find = sync.find_documents

    def counted(query: Any) -> Page:
        reads.append(query.limit)
        return find(query)

    sync.find_documents = counted  # type: ignore[method-assign]
    sync.apply([Change(id=f"t{number:03}", at=START, state="SUCCESS") for number in range(500)])
    async for record in sync.aio.scan(batch=100):
        if record.id == "t000":
            break
    assert reads == [100]


async def test_what_one_engine_has_besides(sync: Store) -> None:
    class Cellar(MemoryStore):
        shelf: ClassVar = "left"

        def bottles(self, *, of: str) -> str:
            """Where the wine is."""
            return f"{of} on the {self.shelf}"

    store: Any = Cellar(parse("memory://")).aio
    assert await store.bottles(of="port") == "port on the left"
    assert store.shelf == "left"
    assert store.capabilities is MemoryStore.capabilities
    for name in ("no_such_method", "watcher", "_records"):
        with pytest.raises(AttributeError, match=name):
            getattr(store, name)
    await store.close()


async def test_a_call_sees_the_context_of_the_one_who_awaits_it(sync: Store) -> None:
    request: contextvars.ContextVar[str] = contextvars.ContextVar("request")
    request.set("this one")
    assert await sync.aio.run(request.get) == "this one"


def test_a_name_for_it(sync: Store) -> None:
    assert repr(sync.aio) == "<AsyncStore of <MemoryStore memory://>>"
    assert sync.aio is sync.aio


# -- threads -----------------------------------------------------------------------------------------------------------


async def test_threads_are_bounded(sync: Store) -> None:
    aio = AsyncStore(sync, threads=3)
    inside, most = 0, 0
    lock = threading.Lock()
    gate = threading.Barrier(3)

    def enter() -> None:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        gate.wait(60)
        with lock:
            inside -= 1

    await asyncio.gather(*(aio.run(enter) for _ in range(12)))
    assert most == 3
    await aio.close()


async def test_threads_end_when_the_store_is_closed(sync: Store) -> None:
    await asyncio.gather(*(sync.aio.count() for _ in range(20)))
    mine = [thread for thread in threading.enumerate() if thread.name.startswith("rootcellar-aio")]
    assert mine
    await sync.aio.close()
    for thread in mine:
        thread.join(60)
    assert await sync.aio.count() == 3  # it may be used again


async def test_a_call_that_is_cancelled_leaves_the_store_usable(sync: Store) -> None:
    aio = AsyncStore(sync, threads=1)
    inside, gate = threading.Event(), threading.Event()
    ran: list[str] = []

    def run() -> None:
        inside.set()
        gate.wait(60)
        ran.append("to its end")

    running = asyncio.create_task(aio.run(run))
    waiting = asyncio.create_task(aio.run(ran.append, "never"))
    await asyncio.to_thread(inside.wait)
    for task in (running, waiting):
        task.cancel()
    await asyncio.wait([running, waiting])
    assert running.cancelled()
    assert waiting.cancelled()
    gate.set()
    assert await aio.count() == 3
    assert ran == ["to its end"]
    await aio.close()


def test_loops_in_threads_share_it(sync: Store) -> None:
    counts: list[int] = []

    async def count() -> None:
        counts.extend(await asyncio.gather(*(sync.aio.count() for _ in range(20))))

    threads = [threading.Thread(target=lambda: asyncio.run(count())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [3] * 80


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_the_child_of_a_fork_has_threads_of_its_own(sync: Store) -> None:
    assert asyncio.run(sync.aio.count()) == 3
    child = os.fork()
    if not child:  # pragma: no cover - another process
        os._exit(0 if asyncio.run(sync.aio.count()) == 3 else 1)
    assert os.waitpid(child, 0)[1] == 0
