"""Waiting: a watcher hints, a read decides, and nobody waits for what has happened."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from rootcellar.store import Store, Watcher
from rootcellar.testing.conformance.base import Connections, StoreTests
from rootcellar.testing.gaps import needs
from rootcellar.testing.samples import failed, queued, started, succeeded


def await_ready(store: Store, watcher: Watcher, names: set[str]) -> dict[str, str]:
    """Wait as a waiter should: watch first, then read, then wait for a hint. The states of the tasks."""
    watcher.watch(names)
    states: dict[str, str] = {}
    due: set[str] | None = None
    while True:
        for record in store.fetch(names - set(states) if due is None else due):
            if record.ready:
                states[record.id] = record.state
        if set(states) == names:
            watcher.unwatch(names)
            return states
        hint = watcher.wait(10)
        due = None if hint is None else set(hint) & names - set(states)


class Waiting(StoreTests):
    """`Store.watcher`."""

    @pytest.fixture
    def watcher(self, store: Store) -> Iterator[Watcher]:
        watcher = store.watcher()
        yield watcher
        watcher.close()

    def test_what_is_finished_already_is_found_by_reading(self, store: Store, watcher: Watcher) -> None:
        store.apply([succeeded("a", 1)])
        assert await_ready(store, watcher, {"a"}) == {"a": "SUCCESS"}

    def test_a_task_that_finishes_elsewhere_ends_the_wait(self, store: Store, other: Store, watcher: Watcher) -> None:
        """Through another connection, and from another thread."""
        store.apply([queued("a"), queued("b")])
        with ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(await_ready, store, watcher, {"a", "b"})
            other.apply([started("a"), started("b")])
            other.apply([succeeded("a", 1)])
            other.apply([failed("b")])
            assert waiting.result() == {"a": "SUCCESS", "b": "FAILURE"}

    def test_many_tasks_that_finish_in_one_batch(self, store: Store, other: Store, watcher: Watcher) -> None:
        """More than one hint may carry."""
        names = {f"task-{number:04}-with-a-rather-long-name-{'x' * 100}" for number in range(300)}
        with ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(await_ready, store, watcher, names)
            other.apply([succeeded(name, 1) for name in names])
            assert waiting.result() == dict.fromkeys(names, "SUCCESS")

    def test_ids_that_are_hard_to_send(self, store: Store, other: Store, watcher: Watcher) -> None:
        names = {"a,b", "a b", "é😀", "o'neill", 'a"b', "a\\b", "a\nb", "x" * 255, "😀" * 255}
        with ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(await_ready, store, watcher, names)
            for name in names:
                other.apply([succeeded(name, 1)])
            assert set(waiting.result()) == names

    def test_every_waiter_is_told(self, connections: Connections, store: Store) -> None:
        """Several watchers, on the same store and on others, wait for the same task."""
        lanes = [connections[index % 3] for index in range(6)]
        watchers = [lane.watcher() for lane in lanes]
        with ThreadPoolExecutor(len(lanes)) as threads:
            waiting = [
                threads.submit(await_ready, lane, watcher, {"a"}) for lane, watcher in zip(lanes, watchers, strict=True)
            ]
            store.apply([succeeded("a", 1)])
            assert [waiter.result() for waiter in waiting] == [{"a": "SUCCESS"}] * len(lanes)
        for watcher in watchers:
            watcher.close()

    def test_no_race_between_looking_and_finishing_is_lost(self, store: Store, other: Store, watcher: Watcher) -> None:
        """Task after task, finished at any moment of its waiter's preparations."""
        with ThreadPoolExecutor(1) as threads:
            for number in range(50):
                start = threading.Barrier(2)
                waiting = threads.submit(lambda: (start.wait(), await_ready(store, watcher, {f"task-{number}"})))  # noqa: B023 - ends within the turn
                start.wait()
                other.apply([succeeded(f"task-{number}", number)])
                assert waiting.result()[1] == {f"task-{number}": "SUCCESS"}

    def test_waking_a_waiter(self, watcher: Watcher) -> None:
        """From another thread; a wait in vain ends as well, and may be repeated."""
        watcher.watch({"a"})
        with ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(watcher.wait, 60)
            watcher.wake()
            assert waiting.result() in {None, frozenset()}
        watcher.wait(0.01)
        watcher.wait(0.01)

    def test_unwatching_what_was_never_watched(self, watcher: Watcher) -> None:
        watcher.unwatch({"a"})
        watcher.watch(set())
        watcher.watch({"a"})
        watcher.unwatch({"a"})
        watcher.unwatch({"a"})

    def test_closing_a_watcher_twice(self, store: Store) -> None:
        watcher = store.watcher()
        watcher.watch({"a"})
        watcher.close()
        watcher.close()

    @needs("push")
    def test_the_engine_wakes_the_waiter(self, store: Store, other: Store, watcher: Watcher) -> None:
        """With the id of what finished, and before the wait runs out."""
        finished, another = uuid4().hex, uuid4().hex  # another test may use the same server, where hints go to all
        watcher.watch({finished, another})
        watcher.wait(0)
        with ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(_first_hint, watcher)
            other.apply([succeeded(finished, 1)])
            assert waiting.result() == {finished}
        assert store.fetch([finished])[0].ready


def _first_hint(watcher: Watcher) -> frozenset[str]:
    """The first hint that names something; the test's own time limit ends a wait that is in vain."""
    while True:
        hint = watcher.wait(3600)
        if hint:
            return hint
