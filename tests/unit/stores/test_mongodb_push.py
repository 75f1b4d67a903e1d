"""Waiting on MongoDB: through change streams that may break, and without any."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rootcellar.store import Store, open_url
from rootcellar.stores.mongodb import MongoDBStore, push
from rootcellar.stores.mongodb.client import Documents
from rootcellar.stores.mongodb.push import Listener, Stream, open_stream
from rootcellar.testing.samples import failed, progressed, queued, started, succeeded
from tests.servers.server import Server
from tests.unit.writer.stores import eventually


@pytest.fixture
def store(mongodb_url: str) -> Iterator[MongoDBStore]:
    with open_url(mongodb_url) as store:
        assert isinstance(store, MongoDBStore)
        store.setup()
        yield store


@pytest.fixture
def listener(store: MongoDBStore) -> Iterator[Listener]:
    watcher = store.watcher()
    assert isinstance(watcher, Listener)
    yield watcher
    watcher.close()


def hinted(listener: Listener, task_id: str) -> bool:
    """Whether a hint names a task, or says that all should be read, before many seconds pass."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        hint = listener.wait(5)
        if hint is None or task_id in hint:
            return True
    return False


def named(listener: Listener, task_id: str) -> bool:
    """Whether a hint names a task."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if task_id in (listener.wait(5) or ()):
            return True
    return False


def test_only_what_finished_and_is_waited_for_is_named(store: MongoDBStore, listener: Listener) -> None:
    """Whether it was inserted or updated, by the plain form or the whole one."""
    listener.watch({"a", "b", "c", "d"})
    store.apply([queued("a"), queued("b"), started("c")])
    store.apply([progressed("a", 1), succeeded("other", 1)])
    store.apply([failed("d")])
    store.apply([succeeded("a", 1), queued("b")])
    found: set[str] = set()
    deadline = time.monotonic() + 20
    while found != {"a", "d"} and time.monotonic() < deadline:
        found |= listener.wait(5) or set()
    assert found == {"a", "d"}
    assert listener.wait(0.3) == frozenset()


class Answers:
    """A stream that counts what the server answers with."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.batches = 0

    def try_next(self) -> Any:
        batch = self._stream.try_next()
        self.batches += batch is not None
        return batch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[Answers]:
    """The streams that are opened."""
    made: list[Answers] = []

    def counted(collection: Documents) -> Any:
        made.append(Answers(open_stream(collection)))
        return made[-1]

    monkeypatch.setattr(push, "open_stream", counted)
    return made


def test_what_finishes_during_a_rest_is_told_together(
    store: MongoDBStore, answers: list[Answers], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Listener, "rest", 0.5)
    watcher, ids = store.watcher(), {f"t{number}" for number in range(50)}
    watcher.watch(ids)
    for task_id in sorted(ids):
        store.apply([succeeded(task_id, 1)])
    found: set[str] = set()
    deadline = time.monotonic() + 20
    while found != ids and time.monotonic() < deadline:
        found |= watcher.wait(5) or set()
    watcher.close()
    assert found == ids
    assert answers[0].batches < len(ids) / 4


def test_while_nobody_waits_the_stream_is_asked_seldom(store: MongoDBStore, answers: list[Answers]) -> None:
    watcher = store.watcher()
    assert isinstance(watcher, Listener)
    for number in range(50):
        store.apply([succeeded(f"t{number}", 1)])
    watcher.watch({"t0", "late"})
    store.apply([succeeded("late", 1)])
    assert named(watcher, "late")
    assert answers[0].batches < 50 / 4
    watcher.unwatch({"t0", "late"})
    assert not watcher._is_needed.is_set()
    watcher.close()


def test_a_stream_whose_cursor_was_killed_is_opened_again(store: MongoDBStore, listener: Listener) -> None:
    listener.watch({"a"})
    database = store.collections.database
    for operation in store.collections.client.admin.aggregate([{"$currentOp": {"idleCursors": True}}]):
        cursor = operation.get("cursor") or {}
        if operation.get("ns") == f"{database.name}.rootcellar_task" and "cursorId" in cursor:
            database.command({"killCursors": "rootcellar_task", "cursors": [cursor["cursorId"]]})
    store.apply([succeeded("a", 1)])
    assert hinted(listener, "a")


def test_a_collection_that_is_dropped_and_made_again(store: MongoDBStore, listener: Listener) -> None:
    """The stream ends with it, and a new one begins."""
    listener.watch({"a", "b"})
    store.collections.task.drop()
    store.setup()
    store.apply([succeeded("a", 1)])
    assert hinted(listener, "a")
    deadline = time.monotonic() + 20
    while not listener.listening and time.monotonic() < deadline:
        time.sleep(0.01)
    listener.wait(0)
    store.apply([succeeded("b", 1)])
    assert hinted(listener, "b")


def test_a_server_that_restarts(private_server: Callable[..., Server]) -> None:
    """While it is away who waits is told to read; afterwards he is told what finished."""
    server = private_server("mongodb", durable=True)
    with server.fresh() as url, open_url(f"{url}&serverSelectionTimeoutMS=500") as store:
        store.setup()
        watcher = store.watcher()
        assert isinstance(watcher, Listener)
        assert watcher.listening
        watcher.watch({"a", "b"})
        server.kill()
        assert hinted(watcher, "")
        server.start()
        store.apply([succeeded("a", 1)])
        assert hinted(watcher, "a")
        await_listening(watcher)
        store.apply([succeeded("b", 1)])
        assert named(watcher, "b")
        watcher.close()


def await_listening(watcher: Listener) -> None:
    deadline = time.monotonic() + 30
    while not watcher.listening and time.monotonic() < deadline:
        watcher.wait(0.1)
    watcher.wait(0)
    assert watcher.listening


def test_a_server_that_cannot_be_reached_at_first(private_server: Callable[..., Server]) -> None:
    server = private_server("mongodb")
    with server.fresh() as fresh, open_url(f"{fresh}&serverSelectionTimeoutMS=300") as store:
        store.setup()
        store.close()
        server.stop()
        watcher = store.watcher()
        assert isinstance(watcher, Listener)
        assert watcher.wait(0.05) is None
        server.start()
        watcher.watch({"a"})
        store.apply([succeeded("a", 1)])
        assert hinted(watcher, "a")
        watcher.close()


def test_a_server_that_stands_alone_is_polled(mongodb_standalone_url: str) -> None:
    """And no thread goes on asking for a stream."""
    others = streaming()
    with open_url(mongodb_standalone_url) as store:
        store.setup()
        watcher = store.watcher()
        assert isinstance(watcher, Listener)
        assert not watcher.listening
        assert watcher.wait(0.01) is None
        watcher.close()
        eventually(lambda: streaming() <= others)


def test_nothing_is_left_of_a_watcher(store: MongoDBStore) -> None:
    """Neither its thread nor its cursor."""
    others = streaming()
    watchers = [store.watcher() for _ in range(5)]
    assert len(streaming() - others) == 5
    assert cursors(store) == 5
    for watcher in watchers:
        watcher.close()
        watcher.close()
    eventually(lambda: streaming() <= others)
    assert cursors(store) == 0


def streaming() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "rootcellar-change-stream"}


def cursors(store: Store) -> int:
    """Open change streams on the store's collection, as the server counts them."""
    assert isinstance(store, MongoDBStore)
    namespace = f"{store.collections.database.name}.rootcellar_task"
    operations = store.collections.client.admin.aggregate([{"$currentOp": {"idleCursors": True}}])
    return sum(1 for operation in operations if operation.get("ns") == namespace and "cursor" in operation)
