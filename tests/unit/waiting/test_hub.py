"""One hub for all who wait: nothing is missed, nobody waits for ever, nothing is left behind."""

from __future__ import annotations

import gc
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import pytest

from rootcellar.errors import StoreUnavailable
from rootcellar.record import Change, TaskRecord
from rootcellar.store.watch import Watcher
from rootcellar.waiting import hub as module
from rootcellar.waiting import reader as reader_module
from rootcellar.waiting.hub import Hub
from tests.unit.writer.stores import START, FailingStore, eventually

pytestmark = pytest.mark.store("memory")


class Mute(Watcher):
    """A watcher whose notifications are all lost, and that tells what it was told to watch."""

    def __init__(self) -> None:
        super().__init__()
        self.watched: set[str] = set()
        self.closed = False

    def watch(self, ids: Iterable[str]) -> None:
        self.watched.update(ids)

    def unwatch(self, ids: Iterable[str]) -> None:
        self.watched.difference_update(ids)

    def wait(self, timeout: float) -> frozenset[str] | None:
        self._woken.wait(timeout)
        self._woken.clear()
        return frozenset()

    def close(self) -> None:
        self.closed = True


class WatchedStore(FailingStore):
    """A store that can fail to read, or to make watchers, and whose watchers are to be seen."""

    def __init__(self) -> None:
        super().__init__()
        self.watchers: list[Watcher] = []
        self.make_watcher: Callable[[], Watcher] = Watcher
        self.unreadable: Exception | None = None
        self.unwatchable: Exception | None = None
        self.reads: list[int] = []

    def _watcher(self) -> Watcher:
        if self.unwatchable is not None:
            raise self.unwatchable
        self.watchers.append(self.make_watcher())
        return self.watchers[-1]

    def _fetch(self, ids: list[str]) -> list[TaskRecord]:
        if self.unreadable is not None:
            raise self.unreadable
        self.reads.append(len(ids))
        return super()._fetch(ids)


class Delivered:
    """What a hub delivered: the states of each task, in order."""

    def __init__(self) -> None:
        self.states: dict[str, list[str]] = {}

    def __call__(self, records: list[TaskRecord]) -> None:
        for record in records:
            self.states.setdefault(record.id, []).append(record.state)


@pytest.fixture
def store() -> WatchedStore:
    return WatchedStore()


@pytest.fixture
def delivered() -> Delivered:
    return Delivered()


@pytest.fixture
def hub(store: WatchedStore, delivered: Delivered, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr(module, "BACKSTOP", 0.05)
    monkeypatch.setattr(module, "_FIRST_PAUSE", 0.005)
    made = Hub(store, delivered)
    yield made
    made.close()
    eventually(lambda: thread_of(made) is None)


def thread_of(hub: Hub) -> threading.Thread | None:
    return hub._thread


def finish(store: WatchedStore, *ids: str) -> None:
    store.apply([Change(id=task_id, at=START, state="SUCCESS", result=1) for task_id in ids])


def test_a_task_that_finishes_is_delivered_and_read_once(hub: Hub, store: WatchedStore, delivered: Delivered) -> None:
    """Even if whoever waits for it does not leave: all there is to be told has been told."""
    hub.add(["a", "b"])
    finish(store, "a")
    eventually(lambda: delivered.states)
    reads = len(store.reads)
    eventually(lambda: len(store.reads) > reads + 2)
    assert delivered.states == {"a": ["SUCCESS"]}
    assert set(store.reads[reads + 1 :]) == {1}


def test_each_change_of_a_running_task_is_delivered(hub: Hub, store: WatchedStore, delivered: Delivered) -> None:
    hub.add(["a"])

    def is_last(state: str) -> bool:
        return delivered.states.get("a", [""])[-1] == state

    for state in ("QUEUED", "STARTED", "PROGRESS"):
        store.apply([Change(id="a", at=START, state=state, progress=state)])
        eventually(partial(is_last, state))
    assert delivered.states["a"] == ["QUEUED", "STARTED", "PROGRESS"]


def test_what_had_finished_before_is_delivered_too(hub: Hub, store: WatchedStore, delivered: Delivered) -> None:
    finish(store, "a")
    hub.add(["a"])
    eventually(lambda: delivered.states == {"a": ["SUCCESS"]})


def test_who_comes_later_is_told_again(hub: Hub, store: WatchedStore, delivered: Delivered) -> None:
    hub.add(["a"])
    finish(store, "a")
    eventually(lambda: delivered.states.get("a") == ["SUCCESS"])
    hub.add(["a"])
    eventually(lambda: delivered.states["a"] == ["SUCCESS", "SUCCESS"])


def test_who_comes_after_a_read_is_not_told_what_it_read(
    hub: Hub, store: WatchedStore, delivered: Delivered, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task may have been forgotten in between."""
    fetch, forgotten = store.fetch, threading.Event()

    def forgotten_meanwhile(ids: Iterable[str]) -> list[TaskRecord]:
        found = fetch(ids)
        if not forgotten.is_set():
            store.delete("a")
            hub.discard(["a"])
            hub.add(["a"], read=False)
            forgotten.set()
        return found

    finish(store, "a")
    monkeypatch.setattr(store, "fetch", forgotten_meanwhile)
    hub.add(["a"])
    eventually(forgotten.is_set)
    finish(store, "b")
    hub.add(["b"])
    eventually(lambda: delivered.states.get("b") == ["SUCCESS"])
    assert "a" not in delivered.states


def test_a_lost_notification_costs_no_more_than_the_backstop(
    hub: Hub, store: WatchedStore, delivered: Delivered
) -> None:
    store.make_watcher = Mute
    hub.add(["a"])
    eventually(lambda: store.reads)
    finish(store, "a")
    eventually(lambda: delivered.states == {"a": ["SUCCESS"]})


def test_a_hint_reads_only_what_it_names(hub: Hub, store: WatchedStore, delivered: Delivered) -> None:
    class Pushing(Mute):
        def wait(self, timeout: float) -> frozenset[str] | None:
            self._woken.wait(timeout)
            return frozenset({"a", "nobody waits for this"}) if self._woken.is_set() else frozenset()

    store.make_watcher = Pushing
    hub.add(["a", "b"])
    eventually(lambda: store.reads)
    finish(store, "a", "nobody waits for this")
    store.watchers[0].wake()
    eventually(lambda: delivered.states == {"a": ["SUCCESS"]})
    assert 1 in store.reads


def test_what_is_hinted_is_read_at_once_when_somebody_begins_to_sleep_for_it(
    store: WatchedStore, delivered: Delivered, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Pushing(Mute):
        hints: frozenset[str] = frozenset()

        def wait(self, timeout: float) -> frozenset[str] | None:
            super().wait(timeout)
            told, self.hints = self.hints, frozenset()
            return told

    watcher = Pushing()
    store.make_watcher = lambda: watcher
    monkeypatch.setattr(reader_module, "LEISURE", 60.0)
    monkeypatch.setattr(module, "BACKSTOP", 60.0)
    asleep: set[str] = set()
    hub = Hub(store, delivered, urgent=lambda ids: not asleep.isdisjoint(ids))
    hub.add(["a", "b"])
    eventually(lambda: store.reads)
    finish(store, "a")
    watcher.hints = frozenset({"a"})
    watcher.wake()
    eventually(lambda: hub._reader is not None and hub._reader.holds_back)
    assert not delivered.states
    asleep.add("a")
    hub.hurry()
    eventually(lambda: delivered.states == {"a": ["SUCCESS"]})
    hub.close()


def test_a_store_that_cannot_be_read_for_a_while(
    hub: Hub, store: WatchedStore, delivered: Delivered, caplog: pytest.LogCaptureFixture
) -> None:
    store.unreadable = StoreUnavailable("away")
    hub.add(["a"])
    eventually(lambda: "interrupted" in caplog.text)
    finish(store, "a")
    store.unreadable = None
    eventually(lambda: delivered.states == {"a": ["SUCCESS"]})


def test_a_read_that_does_not_come_back_tells_of_silence(
    hub: Hub, store: WatchedStore, delivered: Delivered, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is only slow does not."""
    reads, answers, fetch = threading.Event(), threading.Event(), store.fetch

    def slowly(ids: Iterable[str]) -> list[TaskRecord]:
        reads.set()
        assert answers.wait(30)
        return fetch(ids)

    monkeypatch.setattr(store, "fetch", slowly)
    hub.add(["a"])
    assert reads.wait(30)
    assert not hub.interrupted
    monkeypatch.setattr(module, "SILENCE", 0.01)
    eventually(lambda: hub.interrupted)
    finish(store, "a")
    answers.set()
    eventually(lambda: delivered.states == {"a": ["SUCCESS"]})
    eventually(lambda: not hub.interrupted)


def test_a_watcher_that_fails_is_replaced(hub: Hub, store: WatchedStore, delivered: Delivered) -> None:
    class Broken(Mute):
        def wait(self, timeout: float) -> frozenset[str] | None:
            raise StoreUnavailable(f"the listening connection was lost within {timeout} seconds")

    store.make_watcher = Broken
    hub.add(["a"])
    eventually(lambda: len(store.watchers) > 1)
    store.make_watcher = Watcher
    finish(store, "a")
    eventually(lambda: delivered.states == {"a": ["SUCCESS"]})
    assert all(watcher.closed for watcher in store.watchers if isinstance(watcher, Mute))


def test_an_error_nobody_thought_of_does_not_end_the_thread(
    hub: Hub, store: WatchedStore, delivered: Delivered, caplog: pytest.LogCaptureFixture
) -> None:
    store.unreadable = RuntimeError("a bug")
    hub.add(["a"])
    eventually(lambda: "waiting for results failed" in caplog.text)
    store.unreadable = None
    finish(store, "a")
    eventually(lambda: delivered.states == {"a": ["SUCCESS"]})


def test_ten_thousand_who_wait(hub: Hub, store: WatchedStore, delivered: Delivered) -> None:
    """They are read together, at most a thousand at a time."""
    ids = [f"task-{number}" for number in range(10_000)]
    hub.add(ids)
    finish(store, *ids)
    eventually(lambda: len(delivered.states) == 10_000)
    assert max(store.reads) <= 1000
    hub.discard(ids)
    assert len(hub) == 0


def test_a_waiter_that_goes_away_leaves_nothing_behind(hub: Hub, store: WatchedStore, delivered: Delivered) -> None:
    store.make_watcher = Mute
    hub.add(["a", "b"])
    eventually(lambda: store.watchers)
    hub.discard(["a", "never added"])
    assert len(hub) == 1
    assert ("a" in hub, "b" in hub) == (False, True)
    (watcher,) = store.watchers
    assert isinstance(watcher, Mute)
    eventually(lambda: watcher.watched == {"b"})
    finish(store, "a", "b")
    eventually(lambda: delivered.states == {"b": ["SUCCESS"]})


def test_going_and_coming_back_in_between_is_still_watched(hub: Hub, store: WatchedStore) -> None:
    store.make_watcher = Mute
    hub.add(["a"])
    eventually(lambda: store.watchers)
    for _ in range(100):
        hub.discard(["a"])
        hub.add(["a"])
    eventually(lambda: not hub._gone and not hub._new)
    (watcher,) = store.watchers
    assert isinstance(watcher, Mute)
    assert watcher.watched == {"a"}


def test_a_finaliser_inside_of_the_watcher_blocks_nothing(hub: Hub, store: WatchedStore, delivered: Delivered) -> None:
    """`discard` may run in the hub's own thread while the watcher holds its lock."""

    class Locking(Mute):
        def __init__(self) -> None:
            super().__init__()
            self.lock = threading.Lock()

        def unwatch(self, ids: Iterable[str]) -> None:
            with self.lock:
                super().unwatch(ids)

        def wait(self, timeout: float) -> frozenset[str] | None:
            with self.lock:
                hub.discard(["a"])
            return super().wait(timeout)

    store.make_watcher = Locking
    hub.add(["a", "b"])
    finish(store, "b")
    eventually(lambda: delivered.states.get("b") == ["SUCCESS"])
    assert len(hub) == 1


def test_who_leaves_while_a_record_is_handed_over_does_not_stay_behind(hub: Hub, delivered: Delivered) -> None:
    """A finaliser may run between any two steps of whoever hands over; here that is this thread."""

    class LeftAtOnce(dict[str, Any]):
        def get(self, key: str, default: Any = None) -> Any:
            found = super().get(key, default)
            if threading.current_thread() is threading.main_thread():
                hub.discard([key])
            return found

    hub._seen = LeftAtOnce()
    hub.add(["a"])
    hub._hand_over([Change(id="a", at=START, state="SUCCESS").delta()], dict(hub._seen))
    assert delivered.states == {"a": ["SUCCESS"]}
    assert len(hub) == 0


def test_the_thread_ends_when_nobody_has_waited_for_a_while(
    hub: Hub, store: WatchedStore, delivered: Delivered, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LINGER", 0.01)
    store.make_watcher = Mute
    hub.add(["a"])
    thread = thread_of(hub)
    assert thread is not None
    hub.discard(["a"])
    thread.join(10)
    assert not thread.is_alive()
    (watcher,) = store.watchers
    assert isinstance(watcher, Mute)
    assert watcher.closed
    hub.add(["b"])
    finish(store, "b")
    eventually(lambda: delivered.states == {"b": ["SUCCESS"]})


def test_the_thread_ends_even_while_the_store_is_away(
    hub: Hub, store: WatchedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LINGER", 0.01)
    store.unwatchable = StoreUnavailable("away")
    hub.add(["a"])
    thread = thread_of(hub)
    assert thread is not None
    hub.discard(["a"])
    thread.join(10)
    assert not thread.is_alive()


def test_a_closed_hub_can_be_used_again(hub: Hub, store: WatchedStore, delivered: Delivered) -> None:
    hub.add(["a"])
    thread = thread_of(hub)
    hub.close()
    assert thread is not None
    thread.join(10)
    assert not thread.is_alive()
    assert len(hub) == 0
    hub.add(["b"])
    finish(store, "a", "b")
    eventually(lambda: delivered.states == {"b": ["SUCCESS"]})


def test_closing_what_was_never_used_starts_nothing() -> None:
    hub = Hub(WatchedStore(), Delivered())
    hub.close()
    assert thread_of(hub) is None


def used_hub() -> Hub:
    """A hub for which somebody waited, whose thread has ended."""
    hub = Hub(WatchedStore(), Delivered())
    hub.add(["a"])
    hub.discard(["a"])
    hub.close()
    eventually(lambda: thread_of(hub) is None)
    return hub


def test_nothing_keeps_an_idle_hub_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LINGER", 0.0)
    gone = weakref.ref(used_hub())
    deadline = time.monotonic() + 10
    while gone() is not None and time.monotonic() < deadline:
        gc.collect()
    assert gone() is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_the_child_of_a_fork_waits_for_itself(hub: Hub, store: WatchedStore, delivered: Delivered) -> None:
    hub.add(["parent"])
    eventually(lambda: store.reads)
    child = os.fork()
    if not child:  # pragma: no cover - another process
        os._exit(_child(hub, store, delivered))
    assert os.waitpid(child, 0)[1] == 0
    assert "parent" in hub


def _child(hub: Hub, store: WatchedStore, delivered: Delivered) -> int:
    try:
        assert "parent" not in hub
        hub.discard(["parent"])
        hub.add(["child"])
        assert len(hub) == 1
        finish(store, "child", "parent")
        eventually(lambda: delivered.states == {"child": ["SUCCESS"]})
    except BaseException:  # noqa: BLE001 - this process must end here
        return 1
    return 0


def test_adding_and_leaving_from_many_threads(hub: Hub, store: WatchedStore, delivered: Delivered) -> None:
    def come_and_go(number: int) -> None:
        for step in range(200):
            hub.add([f"{number}-{step}", "shared"])
            hub.discard([f"{number}-{step}"])

    threads: list[Any] = [threading.Thread(target=come_and_go, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(hub) == 1
    finish(store, "shared")
    eventually(lambda: delivered.states.get("shared", [""])[-1] == "SUCCESS")
    eventually(lambda: not hub._gone and not hub._new)
