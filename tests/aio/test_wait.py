"""``await rootcellar.wait(...)``: what `get` does, without a thread that waits."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from celery import Celery, chain, group
from celery.exceptions import TaskRevokedError
from celery.exceptions import TimeoutError as CeleryTimeoutError
from celery.result import AsyncResult, EagerResult, GroupResult, allow_join_result

import rootcellar
from rootcellar.celery.backend import RootcellarBackend
from rootcellar.errors import InvalidInput, StoreUnavailable
from tests.aio.conftest import FragileStore, MakeApp, waited_for

pytestmark = [pytest.mark.store("memory"), pytest.mark.usefixtures("nothing_left")]


def results(app: Celery, ids: str) -> list[AsyncResult]:
    return [AsyncResult(task_id, app=app) for task_id in ids]


async def begun(backend: RootcellarBackend, tasks: int = 1) -> None:
    """Until so many tasks are waited for."""
    while waited_for(backend) != (tasks, tasks):
        await asyncio.sleep(0.001)


# -- one task ----------------------------------------------------------------------------------------------------------


async def test_the_value_of_a_task_that_finishes(app: Celery, backend: RootcellarBackend) -> None:
    waiting = asyncio.create_task(rootcellar.wait(AsyncResult("a", app=app)))
    await begun(backend)
    backend.mark_as_done("a", {"rows": 3})
    assert await waiting == {"rows": 3}


@pytest.mark.parametrize("timeout", [None, 0, 30])
async def test_what_had_finished_before_is_found_whatever_the_time_out(
    app: Celery, backend: RootcellarBackend, timeout: float | None
) -> None:
    backend.mark_as_done("a", 7)
    assert await rootcellar.wait(AsyncResult("a", app=app), timeout=timeout) == 7


async def test_by_its_id(app: Celery, backend: RootcellarBackend) -> None:
    backend.mark_as_done("a", 7)
    assert await rootcellar.wait("a", app=app) == 7


async def test_an_id_without_an_app_is_of_the_current_one(app: Celery, backend: RootcellarBackend) -> None:
    backend.mark_as_done("a", 7)
    app.set_current()
    try:
        assert await rootcellar.wait("a") == 7
    finally:
        from celery import _state

        _state._tls.current_app = None  # as it was


@pytest.mark.parametrize("timeout", [0, 0.001, 0.05])
async def test_a_task_nobody_knows_times_out(app: Celery, timeout: float) -> None:
    """The error is Celery's, and Python's."""
    with pytest.raises(CeleryTimeoutError) as caught:
        await rootcellar.wait(AsyncResult("never", app=app), timeout=timeout)
    assert isinstance(caught.value, TimeoutError)
    assert str(caught.value) == f"not finished within {timeout} seconds: never"


async def test_a_failure_is_raised(app: Celery, backend: RootcellarBackend) -> None:
    waiting = asyncio.create_task(rootcellar.wait("a", app=app))
    await begun(backend)
    backend.mark_as_failure("a", LookupError("never paid"))
    with pytest.raises(LookupError, match="never paid"):
        await waiting


async def test_a_failure_is_given_when_it_is_not_to_be_raised(app: Celery, backend: RootcellarBackend) -> None:
    backend.mark_as_failure("a", LookupError("never paid"))
    found = await rootcellar.wait("a", app=app, propagate=False)
    assert (type(found), str(found)) == (LookupError, "never paid")


async def test_a_time_out_of_the_task_itself_is_no_time_out_of_the_wait(
    app: Celery, backend: RootcellarBackend
) -> None:
    backend.mark_as_failure("a", TimeoutError("the bank did not answer"))
    with pytest.raises(TimeoutError, match="the bank did not answer") as caught:
        await rootcellar.wait("a", app=app, timeout=30)
    assert not isinstance(caught.value, CeleryTimeoutError)


async def test_a_task_that_was_revoked(app: Celery, backend: RootcellarBackend) -> None:
    backend.mark_as_revoked("a", "terminated")
    with pytest.raises(TaskRevokedError, match="terminated"):
        await rootcellar.wait("a", app=app)


async def test_a_task_that_is_retried_is_waited_for(app: Celery, backend: RootcellarBackend) -> None:
    waiting = asyncio.create_task(rootcellar.wait("a", app=app))
    await begun(backend)
    backend.mark_as_retry("a", OSError("away"))
    backend.store_result("a", {"done": 1}, "PROGRESS")
    await asyncio.sleep(0.01)
    backend.mark_as_done("a", 1)
    assert await waiting == 1


async def test_the_result_object_knows_afterwards(app: Celery, backend: RootcellarBackend, store: FragileStore) -> None:
    """So that asking it blocks nothing, and nobody, even while the store is away."""
    backend.mark_as_done("a", 7)
    result = AsyncResult("a", app=app)
    seen: list[Any] = []
    result.then(seen.append)
    await rootcellar.wait(result)
    store.away = StoreUnavailable("away")
    assert (result.state, result.result, result.get(), await rootcellar.wait(result)) == ("SUCCESS", 7, 7, 7)
    assert seen == [result]


async def test_a_result_that_cannot_be_read_is_that_error(app: Celery, backend: RootcellarBackend) -> None:
    from kombu.exceptions import ContentDisallowed

    backend.mark_as_done("a", 1)
    backend.store._records["a"].result = {  # type: ignore[attr-defined]
        "rootcellar:serialized": {"content_type": "application/x-python-serialize", "body": ""}
    }
    backend.store._records["a"].result_types = {"": "serialized"}  # type: ignore[attr-defined]
    with pytest.raises(ContentDisallowed):
        await rootcellar.wait("a", app=app)


async def test_an_ignored_result_is_not_waited_for(app: Celery) -> None:
    result = AsyncResult("a", app=app)
    result.ignored = True
    assert await rootcellar.wait(result) is None


async def test_a_task_that_ran_eagerly(app: Celery) -> None:
    assert await rootcellar.wait(EagerResult("a", 7, "SUCCESS")) == 7
    with pytest.raises(LookupError):
        await rootcellar.wait(EagerResult("a", LookupError("no"), "FAILURE"))


async def test_inside_of_a_task_it_is_refused_as_get_is(app: Celery, monkeypatch: pytest.MonkeyPatch) -> None:
    from celery import _state

    monkeypatch.setattr(_state, "_task_join_will_block", True)
    with pytest.raises(RuntimeError, match="within a task"):
        await rootcellar.wait("a", app=app)
    with allow_join_result(), pytest.raises(TimeoutError):
        await rootcellar.wait("a", app=app, timeout=0)


# -- several -----------------------------------------------------------------------------------------------------------


async def test_a_group_gives_its_values_in_order(app: Celery, backend: RootcellarBackend) -> None:
    waiting = asyncio.create_task(rootcellar.wait(GroupResult("g", results(app, "abc"), app=app)))
    await begun(backend, 3)
    for task_id in "cab":
        backend.mark_as_done(task_id, task_id.upper())
    assert await waiting == ["A", "B", "C"]
    assert waited_for(backend) == (0, 0)


async def test_a_group_of_groups(app: Celery, backend: RootcellarBackend) -> None:
    inner = GroupResult("inner", results(app, "bc"), app=app)
    for task_id in "abc":
        backend.mark_as_done(task_id, task_id)
    assert await rootcellar.wait(GroupResult("g", [*results(app, "a"), inner], app=app)) == ["a", ["b", "c"]]


async def test_a_failing_member_is_raised_before_the_others_have_finished(
    app: Celery, backend: RootcellarBackend
) -> None:
    waiting = asyncio.create_task(rootcellar.wait(GroupResult("g", results(app, "abc"), app=app)))
    await begun(backend, 3)
    backend.mark_as_failure("b", LookupError("never paid"))
    with pytest.raises(LookupError):
        await waiting


async def test_a_group_with_a_failing_member_that_is_not_to_be_raised(app: Celery, backend: RootcellarBackend) -> None:
    backend.mark_as_done("a", 1)
    backend.mark_as_failure("b", LookupError("never paid"))
    first, second = await rootcellar.wait(GroupResult("g", results(app, "ab"), app=app), propagate=False)
    assert (first, type(second)) == (1, LookupError)


async def test_several_at_once_and_one_of_them_twice(app: Celery, backend: RootcellarBackend) -> None:
    for task_id in "ab":
        backend.mark_as_done(task_id, task_id)
    assert await rootcellar.wait(["a", "b", AsyncResult("a", app=app)], app=app) == ["a", "b", "a"]
    assert await rootcellar.wait([]) == []


async def test_the_time_out_is_for_all_together(app: Celery, backend: RootcellarBackend) -> None:
    backend.mark_as_done("a", 1)
    with pytest.raises(TimeoutError, match="seconds: b, c, d and 2 more"):
        await rootcellar.wait(results(app, "abcdef"), timeout=0.05)


async def test_what_comes_before_in_a_chain_and_fails_is_raised(app: Celery, backend: RootcellarBackend) -> None:
    first, second = results(app, "ab")
    second.parent = first
    waiting = asyncio.create_task(rootcellar.wait(second))
    await begun(backend, 2)
    backend.mark_as_failure("a", LookupError("never paid"))
    with pytest.raises(LookupError):
        await waiting
    with pytest.raises(LookupError):
        await rootcellar.wait(second)  # known by now


async def test_what_comes_before_in_a_chain_need_not_have_a_result(app: Celery, backend: RootcellarBackend) -> None:
    first, second = results(app, "ab")
    second.parent = GroupResult("g", [first], app=app)
    backend.mark_as_done("b", 2)
    assert await rootcellar.wait(second) == 2


async def test_chains_and_groups_as_they_are_published(app: Celery, backend: RootcellarBackend) -> None:
    signature = app.signature("shop.add")
    published = chain(signature, group(signature, signature), app=app).apply_async()
    ids = [published.parent.id, *(member.id for member in published.results)]
    for number, task_id in enumerate(ids):
        backend.mark_as_done(task_id, number)
    assert await rootcellar.wait(published) == [1, 2]


# -- what cannot be waited for -----------------------------------------------------------------------------------------


async def test_a_stock_backend_is_refused(make_app: MakeApp) -> None:
    stock = make_app("cache+memory://")
    with pytest.raises(InvalidInput, match="'shop' is not rootcellar; set result_backend"):
        await rootcellar.wait("a", app=stock)


async def test_results_of_two_apps_are_refused(app: Celery, make_app: MakeApp) -> None:
    with pytest.raises(InvalidInput, match="two apps"):
        await rootcellar.wait([AsyncResult("a", app=app), AsyncResult("b", app=make_app())])


async def test_what_is_no_result_is_refused() -> None:
    with pytest.raises(InvalidInput, match="not 7"):
        await rootcellar.wait(7)
