"""Waiting for results: everybody who waits is told, where they wait, in time, and nothing stays behind."""

from __future__ import annotations

import gc
import os
import threading
import time
import tracemalloc
from typing import Any

import pytest
from celery import Celery
from celery.exceptions import TimeoutError as CeleryTimeoutError
from celery.result import AsyncResult, GroupResult, ResultSet

from rootcellar.celery import consumer
from rootcellar.celery.backend import RootcellarBackend
from tests.unit.celery.conftest import MakeApp
from tests.unit.writer.stores import eventually

pytestmark = pytest.mark.store("memory")


class Waiting:
    """Threads that wait for results, and what they got."""

    def __init__(self) -> None:
        self.got: list[Any] = []
        self.threads: list[threading.Thread] = []

    def get(self, result: Any, **options: Any) -> None:
        thread = threading.Thread(target=lambda: self.got.append(result.get(timeout=30, **options)))
        self.threads.append(thread)
        thread.start()

    def end(self) -> list[Any]:
        for thread in self.threads:
            thread.join()
        return self.got


def test_two_threads_wait_for_two_tasks(app: Celery, backend: RootcellarBackend) -> None:
    waiting = Waiting()
    for task_id in ("a", "b"):
        waiting.get(AsyncResult(task_id, app=app))
    eventually(lambda: len(backend.result_consumer.waiters) == 2)
    backend.mark_as_done("b", "of b")
    backend.mark_as_done("a", "of a")
    assert sorted(waiting.end()) == ["of a", "of b"]


def test_threads_that_are_the_first_to_wait_find_one_register(
    backend: RootcellarBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two registers, one would be told of nothing."""

    def slowly(make: Any) -> Any:
        def made(*args: Any, **options: Any) -> Any:
            time.sleep(0.01)
            return make(*args, **options)

        return made

    for name in ("Waiters", "Hub"):
        monkeypatch.setattr(consumer, name, slowly(getattr(consumer, name)))
    found: set[int] = set()
    threads = [threading.Thread(target=lambda: found.add(id(backend.result_consumer.waiters))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 1
    assert backend.result_consumer.waiters._hub is backend.result_consumer.hub


def test_three_result_objects_of_one_task(app: Celery, backend: RootcellarBackend) -> None:
    waiting = Waiting()
    for _ in range(3):
        waiting.get(AsyncResult("a", app=app))
    eventually(lambda: len(backend.result_consumer.waiters.of("a")) == 3)
    backend.mark_as_done("a", 7)
    assert waiting.end() == [7, 7, 7]


def test_one_result_object_in_two_threads(app: Celery, backend: RootcellarBackend) -> None:
    result = AsyncResult("a", app=app)
    waiting = Waiting()
    waiting.get(result)
    waiting.get(result)
    eventually(lambda: len(backend.result_consumer.waiters) == 1)
    backend.mark_as_done("a", 7)
    assert waiting.end() == [7, 7]


def test_a_thread_that_gives_up_leaves_the_result_to_the_other(app: Celery, backend: RootcellarBackend) -> None:
    waiting, result = Waiting(), AsyncResult("a", app=app)
    waiting.get(result)
    eventually(lambda: backend.result_consumer.waiters.slept_for({"a"}))
    with pytest.raises(CeleryTimeoutError):
        result.get(timeout=0.01)
    backend.mark_as_done("a", "of a")
    assert waiting.end() == ["of a"]


def test_a_thread_that_gives_up_during_the_first_read_of_another(
    app: Celery, backend: RootcellarBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads, given_up, fetch = threading.Event(), threading.Event(), backend.store.fetch

    def slowly(ids: Any) -> Any:
        found = fetch(ids)
        if threading.current_thread() in waiting.threads:
            reads.set()
            assert given_up.wait(30)
        return found

    monkeypatch.setattr(backend.store, "fetch", slowly)
    waiting, result = Waiting(), AsyncResult("a", app=app)
    waiting.get(result)
    assert reads.wait(30)
    with pytest.raises(CeleryTimeoutError):
        result.get(timeout=0.01)
    given_up.set()
    eventually(lambda: backend.result_consumer.waiters.slept_for({"a"}))
    backend.mark_as_done("a", "of a")
    assert waiting.end() == ["of a"]


def test_nothing_stays_behind(app: Celery, backend: RootcellarBackend) -> None:
    waiting = Waiting()
    for number in range(20):
        waiting.get(AsyncResult(f"t{number}", app=app))
    for number in range(20):
        backend.mark_as_done(f"t{number}", number)
    assert sorted(waiting.end()) == list(range(20))
    consumer = backend.result_consumer
    assert (len(consumer.waiters), len(consumer.hub), len(consumer.buckets)) == (0, 0, 0)
    assert not backend._pending_messages


def test_callbacks_run_where_somebody_waits(app: Celery, backend: RootcellarBackend) -> None:
    ran_in: list[str] = []
    other = AsyncResult("b", app=app)
    other.then(lambda _result: ran_in.append(threading.current_thread().name))
    backend.mark_as_done("b", 1)
    waiting = Waiting()
    waiting.get(AsyncResult("a", app=app))
    eventually(lambda: ran_in)
    backend.mark_as_done("a", 1)
    waiting.end()
    assert ran_in == [waiting.threads[0].name]


def test_a_callback_that_fails_costs_the_others_nothing(app: Celery, backend: RootcellarBackend) -> None:
    bad, good = AsyncResult("a", app=app), AsyncResult("a", app=app)
    bad.then(lambda _result: 1 / 0)
    seen: list[str] = []
    good.then(lambda result: seen.append(result.id))
    backend.mark_as_done("a", 1)
    with pytest.raises(ZeroDivisionError):
        backend.result_consumer.on_state_change(backend.get_task_meta("a"), None)
    assert seen == ["a"]
    assert len(backend.result_consumer.waiters) == 0


def test_on_message_sees_each_state(app: Celery, backend: RootcellarBackend) -> None:
    seen: list[Any] = []
    waiting = Waiting()
    waiting.get(AsyncResult("a", app=app), on_message=lambda meta: seen.append((meta["status"], meta["result"])))
    eventually(lambda: backend.result_consumer.on_message is not None)
    backend.store_result("a", {"done": 1}, "PROGRESS")
    eventually(lambda: seen)
    backend.mark_as_done("a", 5)
    waiting.end()
    assert seen == [("PROGRESS", {"done": 1}), ("SUCCESS", 5)]


@pytest.mark.parametrize("timeout", [0, 0.001, 0.05, 0.3])
def test_a_time_out_below_a_second_is_honoured(app: Celery, timeout: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends within the time itself and what a busy machine adds, not after Celery's interval of a second."""
    slept: list[float] = []
    consumer = app.backend.result_consumer
    drain = consumer._drain

    def noted(timeout: float, until: Any) -> None:
        slept.append(timeout)
        drain(timeout, until)

    monkeypatch.setattr(consumer, "_drain", noted)
    with pytest.raises(CeleryTimeoutError):
        AsyncResult("never", app=app).get(timeout=timeout)
    assert all(seconds <= timeout for seconds in slept)


def test_a_ready_result_goes_before_a_time_out_of_zero(app: Celery, backend: RootcellarBackend) -> None:
    backend.mark_as_done("a", 5)
    assert AsyncResult("a", app=app).get(timeout=0) == 5


def test_a_wait_given_up_leaves_nothing_behind(app: Celery, backend: RootcellarBackend) -> None:
    for _ in range(5):
        with pytest.raises(CeleryTimeoutError):
            AsyncResult("never", app=app).get(timeout=0.001)
    gc.collect()
    assert (len(backend.result_consumer.waiters), len(backend.result_consumer.hub)) == (0, 0)


def test_a_wait_given_up_keeps_the_callbacks(app: Celery, backend: RootcellarBackend) -> None:
    seen: list[str] = []
    result = AsyncResult("a", app=app)
    result.then(lambda r: seen.append(r.id))
    with pytest.raises(CeleryTimeoutError):
        result.get(timeout=0.001)
    backend.mark_as_done("a", 5)
    assert result.get(timeout=30) == 5
    assert seen == ["a"]


def test_a_result_that_is_no_longer_held_is_no_longer_waited_for(app: Celery, backend: RootcellarBackend) -> None:
    result = AsyncResult("a", app=app)
    result.then(print, weak=True)
    assert len(backend.result_consumer.waiters) == 1
    del result
    gc.collect()
    assert (len(backend.result_consumer.waiters), len(backend.result_consumer.hub)) == (0, 0)


def test_a_result_that_has_a_callback_is_kept_for_it(app: Celery, backend: RootcellarBackend) -> None:
    """Whether or not anybody else holds it, and then it goes."""
    seen: list[str] = []
    AsyncResult("a", app=app).then(lambda result: seen.append(result.id))
    gc.collect()
    backend.mark_as_done("a", 1)
    assert AsyncResult("a", app=app).get(timeout=30) == 1
    backend.result_consumer.drain_events(timeout=0)
    assert seen == ["a"]
    gc.collect()
    assert (len(backend.result_consumer.waiters), len(backend.result_consumer.hub)) == (0, 0)


@pytest.mark.parametrize("kind", [GroupResult, ResultSet])
def test_a_set_that_is_no_longer_held_is_no_longer_waited_for(
    kind: type[ResultSet], app: Celery, backend: RootcellarBackend
) -> None:
    """A page that restores a group to count what is done leaves nothing behind, each time it is looked at."""
    results = [AsyncResult(f"t{number}", app=app) for number in range(10)]
    group = GroupResult("g", results, app=app) if kind is GroupResult else ResultSet(results, app=app)
    assert len(backend.result_consumer.waiters) == 10
    backend.result_consumer.drain_events(timeout=0)
    assert len(backend.result_consumer.hub) == 10
    del group, results
    gc.collect()
    assert (len(backend.result_consumer.waiters), len(backend.result_consumer.hub)) == (0, 0)


def test_a_member_with_a_callback_of_its_own_outlives_its_set(app: Celery, backend: RootcellarBackend) -> None:
    seen: list[str] = []
    group = GroupResult("g", [AsyncResult("a", app=app), AsyncResult("b", app=app)], app=app)
    group.results[0].then(lambda result: seen.append(result.id))
    del group
    gc.collect()
    assert len(backend.result_consumer.waiters) == 1
    backend.mark_as_done("a", 1)
    backend.result_consumer.drain_events(timeout=30)
    assert seen == ["a"]


def test_forgetting_ends_the_wait(app: Celery, backend: RootcellarBackend) -> None:
    result = AsyncResult("a", app=app)
    result.then(print)
    result.forget()
    result.forget()
    assert len(backend.result_consumer.waiters) == 0


def test_a_group_of_a_thousand(app: Celery, backend: RootcellarBackend) -> None:
    results = [AsyncResult(f"t{number}", app=app) for number in range(1000)]
    group = GroupResult("g", results, app=app)
    waiting = Waiting()
    waiting.get(group)
    for number in reversed(range(1000)):
        backend.mark_as_done(f"t{number}", number)
    assert waiting.end() == [list(range(1000))]


def test_a_group_of_groups(app: Celery, backend: RootcellarBackend) -> None:
    """`_cache` is nothing that a nested set has; Celery before 5.7 asks for it."""
    inner = GroupResult("inner", [AsyncResult("b", app=app), AsyncResult("c", app=app)], app=app)
    outer = GroupResult("outer", [AsyncResult("a", app=app), inner], app=app)
    for task_id in "abc":
        backend.mark_as_done(task_id, task_id)
    for _ in range(2):
        assert outer.join_native(timeout=30) == ["a", ["b", "c"]]


def test_an_empty_set(app: Celery) -> None:
    assert list(ResultSet([], app=app).iter_native()) == []


def test_results_are_yielded_as_they_come(app: Celery, backend: RootcellarBackend) -> None:
    results = ResultSet([AsyncResult(task_id, app=app) for task_id in "abc"], app=app)
    backend.mark_as_done("b", 2)
    arriving = results.iter_native(timeout=30)
    assert next(arriving)[0] == "b"
    backend.mark_as_done("c", 3)
    assert next(arriving)[0] == "c"
    backend.mark_as_done("a", 1)
    assert [(task_id, meta["result"]) for task_id, meta in arriving] == [("a", 1)]


def test_get_many(app: Celery, backend: RootcellarBackend) -> None:
    backend.mark_as_done("a", 1)
    backend.store_result("b", {"x": 1}, "PROGRESS")
    seen: list[str] = []
    metas = dict(backend.get_many(["a", "b"], max_iterations=1, on_message=lambda meta: seen.append(meta["task_id"])))
    assert [*metas] == seen == ["a"]
    with pytest.raises(CeleryTimeoutError):
        list(backend.get_many(["a", "b"], timeout=0))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_the_child_of_a_fork_waits_for_itself(make_app: MakeApp, sqlite_url: str) -> None:
    """Whatever locks the parent's threads held, and with the results that it inherited."""
    app = make_app("rootcellar+" + sqlite_url)
    app.backend.store.setup()
    inherited = AsyncResult("inherited", app=app)
    inherited.then(print)
    waiting = Waiting()
    waiting.get(AsyncResult("parent", app=app))
    with app.backend.result_consumer._changed:
        child = os.fork()
        if not child:  # pragma: no cover - another process
            os._exit(_child(app, inherited))
    assert os.waitpid(child, 0)[1] == 0
    app.backend.mark_as_done("parent", "from the parent")
    assert waiting.end() == ["from the parent"]


def _child(app: Celery, inherited: AsyncResult) -> int:
    try:
        later = threading.Timer(0.05, lambda: app.backend.mark_as_done("inherited", "from the child"))
        later.start()
        assert inherited.get(timeout=30) == "from the child"
        app.backend.flush()
    except BaseException:  # noqa: BLE001 - this process must end here
        return 1
    return 0


def test_ten_thousand_who_wait_take_less_than_ten_megabytes(app: Celery, backend: RootcellarBackend) -> None:
    """Beside their result objects, which are Celery's: a kilobyte at most for each."""
    results = [AsyncResult(f"task-{number}", app=app) for number in range(10_000)]
    gc.collect()
    tracemalloc.start()
    for result in results:
        backend.add_pending_result(result)
    backend.result_consumer.waiters.watch_new()
    eventually(lambda: len(backend.result_consumer.hub) == 10_000)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 10_000_000


def test_a_progress_that_nobody_drains_is_kept_once(app: Celery, backend: RootcellarBackend) -> None:
    """However often it changes, what waits to be handed over is one record."""
    consumer = backend.result_consumer
    AsyncResult("a", app=app).then(print)
    consumer.drain_events(timeout=0)
    for step in range(5):
        backend.store_result("a", {"step": step}, "PROGRESS")
        backend.flush()
        eventually(lambda: (record := consumer._arrived.get("a")) and record.progress == {"step": step})  # noqa: B023
    assert len(consumer._arrived) == 1


def test_who_waits_beside_a_drain_that_sleeps_is_watched_at_once(
    app: Celery, backend: RootcellarBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With gevent and eventlet one greenlet drains for all, and sleeps for up to a second."""
    watched: list[bool] = []

    def sleep_beside(_promise: Any, _wait: Any, timeout: float) -> None:
        assert timeout <= 1
        watched.append("a" in backend.result_consumer.hub)
        backend.mark_as_done("a", 7)
        eventually(lambda: backend.result_consumer._arrived)
        backend.result_consumer.drain_events(timeout=0)

    monkeypatch.setattr(backend.result_consumer.drainer, "wait_for", sleep_beside)
    assert AsyncResult("a", app=app).get(timeout=30) == 7
    assert watched == [True]


def test_what_a_thread_sleeps_for_is_urgent_and_what_is_only_held_is_not(
    app: Celery, backend: RootcellarBackend
) -> None:
    held = GroupResult("held", [AsyncResult("a", app=app), AsyncResult("b", app=app)], app=app)
    nested = GroupResult("nested", [AsyncResult("c", app=app), held], app=app)
    waiters = backend.result_consumer.waiters
    waiting = Waiting()
    waiting.get(AsyncResult("body", app=app))
    eventually(lambda: waiters.urgent({"body"}))
    assert not waiters.urgent({"a", "b", "c"})
    waiting.get(nested)
    eventually(lambda: waiters.urgent({"a"}))
    for task_id in ("a", "b", "c", "body"):
        backend.mark_as_done(task_id, task_id)
    waiting.end()
    assert not waiters.urgent({"a", "b", "c", "body"})


def test_a_hub_thread_is_started_only_by_a_wait(app: Celery, backend: RootcellarBackend) -> None:
    backend.mark_as_done("a", 1)
    assert AsyncResult("a", app=app).state == "SUCCESS"
    assert "hub" not in vars(backend.result_consumer)


def test_results_that_nobody_waited_for_start_nothing(app: Celery, backend: RootcellarBackend) -> None:
    """The finaliser of every result object comes by."""
    for number in range(1000):
        AsyncResult(f"t{number}", app=app)
    assert "waiters" not in vars(backend.result_consumer)
