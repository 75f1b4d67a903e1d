"""What is asked of all members of a group is one read; so is a look at parents, of which the hub tells after that."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

import celery.result
import pytest
from celery import Celery, chord
from celery.backends.base import DisabledBackend
from celery.exceptions import TimeoutError as CeleryTimeoutError
from celery.result import AsyncResult, EagerResult, GroupResult

from rootcellar.celery import consumer
from rootcellar.celery.backend import RootcellarBackend
from rootcellar.celery.consumer import ResultConsumer
from rootcellar.errors import StoreUnavailable
from rootcellar.record import TaskRecord
from tests.unit.celery.conftest import MakeApp
from tests.unit.writer.stores import eventually

pytestmark = pytest.mark.store("memory")


@pytest.fixture
def reads(backend: RootcellarBackend, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The ids of each read of the store."""
    made: list[list[str]] = []
    fetch = backend.store.fetch

    def counted(ids: Iterable[str]) -> list[TaskRecord]:
        wanted = sorted(ids)
        if wanted:
            made.append(wanted)
        return fetch(wanted)

    monkeypatch.setattr(backend.store, "fetch", counted)
    return made


@pytest.fixture
def group(app: Celery, backend: RootcellarBackend) -> GroupResult:
    """Of four tasks; one has failed, two have succeeded."""
    backend.mark_as_done("a", 1)
    backend.mark_as_failure("c", KeyError("of c"))
    backend.mark_as_done("d", 4)
    made: GroupResult = app.GroupResult("g", [AsyncResult(task_id, app=app) for task_id in "abcd"])
    return made


ASKED: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "failed": (lambda group: group.failed(), True),
    "completed_count": (lambda group: group.completed_count(), 2),
    "maybe_throw": (lambda group: group.maybe_throw(propagate=False), None),
}


@pytest.mark.parametrize("name", ASKED)
def test_is_one_read(name: str, group: GroupResult, reads: list[list[str]]) -> None:
    ask, expected = ASKED[name]
    assert ask(group) == expected
    assert reads == [list("abcd")]


@pytest.mark.parametrize("name", ASKED)
def test_what_has_finished_is_read_once(name: str, group: GroupResult, reads: list[list[str]]) -> None:
    ask, expected = ASKED[name]
    for _ in range(2):
        assert ask(group) == expected
    assert reads == [list("abcd"), ["b"]]


def test_a_failure_is_thrown(group: GroupResult, reads: list[list[str]]) -> None:
    with pytest.raises(KeyError, match="of c"):
        group.maybe_throw()
    with pytest.raises(KeyError, match="of c"):
        group.maybe_reraise()
    assert reads == [list("abcd"), ["b"]]


def test_a_callback_is_told_of_every_member(group: GroupResult) -> None:
    seen: list[Any] = []
    group.maybe_throw(callback=lambda *told: seen.append(told), propagate=False)
    assert [task_id for task_id, _ in seen] == list("abcd")
    assert [value for _, value in seen][:2] == [1, None]


def test_a_task_twice_a_set_and_what_ran_eagerly(
    app: Celery, backend: RootcellarBackend, reads: list[list[str]]
) -> None:
    backend.mark_as_done("a", 1)
    reads.clear()
    inner = app.GroupResult("inner", [AsyncResult("b", app=app)])
    eager = EagerResult("e", 5, "SUCCESS")
    members = [AsyncResult("a", app=app), AsyncResult("a", app=app), inner, eager]
    assert app.GroupResult("outer", members).failed() is False
    assert reads == [["a"], ["b"]]
    assert app.GroupResult("none", []).completed_count() == 0


def test_the_wait_for_a_body_begins_with_one_read_of_the_header(
    app: Celery, backend: RootcellarBackend, reads: list[list[str]]
) -> None:
    @app.task(name="shop.total")
    def total(values: list[int]) -> int:
        return sum(values)

    body = chord([total.s([number]) for number in range(20)], app=app)(total.s())
    backend.mark_as_done(body.id, 190)
    reads.clear()
    assert body.get(timeout=10) == 190
    assert [len(ids) for ids in reads] == [20, 1]


def test_groups_that_are_restored_are_of_this_kind(app: Celery, group: GroupResult) -> None:
    group.save()
    restored = GroupResult.restore("g", app=app)
    assert type(restored) is app.GroupResult
    assert restored == group
    assert isinstance(restored, celery.result.GroupResult)


@pytest.fixture
def end_of_chain(app: Celery) -> Any:
    """A result whose task comes after `parent`."""
    made = app.AsyncResult("end")
    made.parent = app.AsyncResult("parent")
    return made


def test_parents_are_read_as_the_wait_begins_and_then_told_of(
    end_of_chain: Any, backend: RootcellarBackend, reads: list[list[str]]
) -> None:
    def finish_the_end(*_: Any) -> None:
        backend.mark_as_done("end", 1)

    assert end_of_chain.get(timeout=30, on_interval=finish_the_end) == 1
    assert reads[:2] == [["parent"], ["end"]]
    assert reads[-1] == ["parent"], "what has finished before is known, however it is"
    assert all("end" in ids for ids in reads[2:-1])


def test_a_parent_that_fails_ends_the_wait(end_of_chain: Any, backend: RootcellarBackend) -> None:
    error = KeyError("of the parent")
    with pytest.raises(KeyError, match="of the parent"):
        end_of_chain.get(timeout=30, on_interval=lambda *_: backend.mark_as_failure("parent", error))


def test_a_parent_that_has_failed_is_thrown_though_the_result_is_there(
    end_of_chain: Any, backend: RootcellarBackend
) -> None:
    backend.mark_as_failure("parent", KeyError("of the parent"))
    backend.mark_as_failure("end", ValueError("of the end"))
    with pytest.raises(KeyError, match="of the parent"):
        end_of_chain.get(timeout=30)
    with pytest.raises(ValueError, match="of the end"):
        end_of_chain.get(timeout=30, follow_parents=False)


def test_a_wait_outlasts_a_look_at_parents_that_fails(
    end_of_chain: Any, backend: RootcellarBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch, failed = backend.store.fetch, []

    def away_for_parents(ids: Iterable[str]) -> list[TaskRecord]:
        wanted = list(ids)
        if wanted == ["parent"]:
            failed.append(wanted)
            raise StoreUnavailable("the store is away")
        return fetch(wanted)

    monkeypatch.setattr(backend.store, "fetch", away_for_parents)
    assert end_of_chain.get(timeout=30, on_interval=lambda *_: backend.mark_as_done("end", 190)) == 190
    assert len(failed) > 1


def test_more_parents_than_one_read_takes_are_read_by_the_hub(
    app: Celery, backend: RootcellarBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, while it is at work; by who waits, otherwise."""
    monkeypatch.setattr(consumer, "CHUNK", 3)
    asked: set[tuple[str, bool]] = set()
    fetch = backend.store.fetch

    def noted(ids: Iterable[str]) -> list[TaskRecord]:
        wanted = list(ids)
        asked.update((task_id, threading.current_thread().name == "rootcellar-waiting") for task_id in wanted)
        return fetch(wanted)

    monkeypatch.setattr(backend.store, "fetch", noted)
    with pytest.raises(CeleryTimeoutError):
        app.AsyncResult("begins the hub's work").get(timeout=0.05)
    eventually(lambda: backend.result_consumer.hub.watching)
    backend.mark_as_failure("3", KeyError("of the parent"))
    asked.clear()
    body = app.AsyncResult("body")
    body.parent = app.GroupResult("header", [app.AsyncResult(str(number)) for number in range(5)])
    with pytest.raises(KeyError, match="of the parent"):
        body.get(timeout=30)
    assert {by_hub for task_id, by_hub in asked if task_id.isdigit()} == {True}


def test_nobody_looks_at_parents_while_waiting_is_interrupted(
    end_of_chain: Any, reads: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would keep who waits longer than its time-out: a driver is patient."""
    monkeypatch.setattr(ResultConsumer, "interrupted", True)
    with pytest.raises(CeleryTimeoutError):
        end_of_chain.get(timeout=1.2)
    assert ["parent"] not in reads


def test_a_wait_given_up_leaves_the_parents_too(end_of_chain: Any, backend: RootcellarBackend) -> None:
    with pytest.raises(CeleryTimeoutError):
        end_of_chain.get(timeout=0.05)
    assert len(backend.result_consumer.waiters) == 0


def test_a_get_that_need_not_wait_leaves_no_parent_watched(end_of_chain: Any, backend: RootcellarBackend) -> None:
    """Whether a parent had failed, or the result was there."""
    waiters = backend.result_consumer.waiters
    end_of_chain.parent.parent = end_of_chain.app.AsyncResult("first")
    backend.mark_as_failure("first", KeyError("of the first"))
    with pytest.raises(KeyError, match="of the first"):
        end_of_chain.get(timeout=30)
    assert len(waiters) == 0
    backend.mark_as_done("end", 1)
    assert end_of_chain.state == "SUCCESS"
    end_of_chain.parent.parent = None
    assert end_of_chain.get(timeout=30) == 1
    assert len(waiters) == 0


def test_a_parent_of_another_backend_is_asked_as_ever(end_of_chain: Any, make_app: MakeApp) -> None:
    elsewhere = make_app()
    end_of_chain.parent = elsewhere.AsyncResult("parent")
    elsewhere.backend.mark_as_failure("parent", KeyError("of the parent"))
    with pytest.raises(KeyError, match="of the parent"):
        end_of_chain.get(timeout=30)


def test_a_result_of_another_backend_asks_as_ever(app: Celery, backend: RootcellarBackend) -> None:
    backend.mark_as_failure("parent", KeyError("of the parent"))
    result = app.AsyncResult("end", backend=DisabledBackend(app))
    result.parent = app.AsyncResult("parent")
    with pytest.raises(KeyError, match="of the parent"):
        result.get(timeout=30)


def test_an_app_keeps_a_kind_of_its_own() -> None:
    class Own(Celery):
        @property
        def GroupResult(self) -> Any:  # noqa: N802 - Celery's name
            return celery.result.GroupResult

    app = Own("own", broker="memory://", backend="rootcellar+memory://", set_as_current=False)
    assert app.backend
    assert app.GroupResult is celery.result.GroupResult
    app.close()
