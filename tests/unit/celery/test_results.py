"""What is asked of all members of a group is one read, and a wait outlasts a look at parents."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

import celery.result
import pytest
from celery import Celery, chord
from celery.exceptions import TimeoutError as CeleryTimeoutError
from celery.result import AsyncResult, EagerResult, GroupResult

from rootcellar.celery.backend import RootcellarBackend
from rootcellar.celery.consumer import ResultConsumer
from rootcellar.errors import StoreUnavailable
from rootcellar.record import TaskRecord

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


class Away:
    """A parent that asks a store which is away; `looks` counts how often."""

    parent = None
    looks = 0

    def maybe_throw(self) -> None:
        self.looks += 1
        raise StoreUnavailable("the store is away")


def test_a_wait_outlasts_a_look_at_parents_that_fails(app: Celery, backend: RootcellarBackend) -> None:
    body = app.AsyncResult("body")
    body.parent = Away()
    looked_at_end = threading.Event()
    threading.Thread(target=lambda: (looked_at_end.wait(10), backend.mark_as_done("body", 190))).start()
    assert body.get(timeout=10, on_interval=lambda *_: looked_at_end.set()) == 190
    assert body.parent.looks > 1


@pytest.mark.usefixtures("backend")
def test_nobody_looks_at_parents_while_waiting_is_interrupted(app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would keep who waits longer than its time-out: a driver is patient."""
    body = app.AsyncResult("body")
    body.parent = Away()
    monkeypatch.setattr(ResultConsumer, "interrupted", True)
    with pytest.raises(CeleryTimeoutError):
        body.get(timeout=1.2)
    assert body.parent.looks == 0


def test_an_app_keeps_a_kind_of_its_own() -> None:
    class Own(Celery):
        @property
        def AsyncResult(self) -> Any:  # noqa: N802 - Celery's name
            return celery.result.AsyncResult

        @property
        def GroupResult(self) -> Any:  # noqa: N802 - Celery's name
            return celery.result.GroupResult

    app = Own("own", broker="memory://", backend="rootcellar+memory://", set_as_current=False)
    assert app.backend
    assert app.AsyncResult is celery.result.AsyncResult
    assert app.GroupResult is celery.result.GroupResult
    app.close()
