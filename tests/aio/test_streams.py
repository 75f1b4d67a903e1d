"""``async for`` over results as they complete, and over records as they change."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from celery import Celery
from celery.result import AsyncResult, EagerResult, GroupResult

import rootcellar
from rootcellar import codec
from rootcellar.celery.backend import RootcellarBackend
from rootcellar.errors import InvalidInput
from rootcellar.record import Change, Request
from rootcellar.waiting.aio import Subscription, Ticket
from tests.aio.conftest import MakeApp, waited_for
from tests.aio.test_wait import begun, results
from tests.unit.writer.stores import START

pytestmark = [pytest.mark.store("memory"), pytest.mark.usefixtures("nothing_left")]


class Following:
    """A coroutine that notes what an iterator gives."""

    def __init__(self, iterator: Any) -> None:
        self.seen: list[Any] = []
        self.task = asyncio.create_task(self._follow(iterator))

    async def _follow(self, iterator: Any) -> None:
        async for item in iterator:
            self.seen.append(item)

    async def until(self, count: int) -> list[Any]:
        """What was seen, as soon as there is so much of it."""
        while len(self.seen) < count:
            assert not self.task.done()
            await asyncio.sleep(0.001)
        return self.seen


def enter(backend: RootcellarBackend, task_id: str, state: str, step: int = 0, **values: Any) -> None:
    change = Change(id=task_id, at=START + timedelta(seconds=step), state=state, request=Request(name="shop.report"))
    for field, value in values.items():
        setattr(change, field, value)
    backend.store.apply([change])


# -- as completed ------------------------------------------------------------------------------------------------------


async def test_results_come_as_their_tasks_finish(app: Celery, backend: RootcellarBackend) -> None:
    backend.mark_as_done("b", 2)
    following = Following(rootcellar.as_completed(results(app, "abc"), timeout=60))
    assert [result.id for result in await following.until(1)] == ["b"]
    backend.mark_as_failure("c", LookupError("never paid"))
    assert [result.id for result in await following.until(2)] == ["b", "c"]
    backend.mark_as_done("a", 1)
    await following.task
    assert [(result.id, result.state) for result in following.seen] == [
        ("b", "SUCCESS"),
        ("c", "FAILURE"),
        ("a", "SUCCESS"),
    ]


async def test_members_of_groups_come_one_by_one(app: Celery, backend: RootcellarBackend) -> None:
    inner = GroupResult("inner", results(app, "bc"), app=app)
    for task_id in "abc":
        backend.mark_as_done(task_id, task_id)
    group = GroupResult("g", [*results(app, "a"), inner, EagerResult("e", "eager", "SUCCESS")], app=app)
    assert {result.get() async for result in rootcellar.as_completed(group)} == {"a", "b", "c", "eager"}


async def test_one_that_was_asked_before_comes_first(app: Celery, backend: RootcellarBackend) -> None:
    backend.mark_as_done("b", 2)
    first, second = results(app, "ab")
    second.get()
    async with aclosing(rootcellar.as_completed([first, second])) as completed:
        assert await anext(completed) is second
    assert [each async for each in rootcellar.as_completed([second])] == [second]


async def test_what_has_not_finished_in_time(app: Celery, backend: RootcellarBackend) -> None:
    backend.mark_as_done("a", 1)
    following = Following(rootcellar.as_completed(results(app, "ab"), timeout=0.05))
    with pytest.raises(TimeoutError):
        await following.task
    assert [result.id for result in following.seen] == ["a"]


async def test_a_time_out_while_the_body_of_the_loop_is_slow(app: Celery, backend: RootcellarBackend) -> None:
    """What has arrived by then is yielded, and if that is all, it was in time."""
    for task_id in "ab":
        backend.mark_as_done(task_id, task_id)
    seen = []
    async for result in rootcellar.as_completed(results(app, "ab"), timeout=0.05):
        await asyncio.sleep(0.1)
        seen.append(result.id)
    assert sorted(seen) == ["a", "b"]


async def test_leaving_the_loop_ends_the_wait(app: Celery, backend: RootcellarBackend) -> None:
    backend.mark_as_done("a", 1)
    async for _ in rootcellar.as_completed(results(app, "ab")):
        break
    await asyncio.sleep(0.01)  # Python ends a generator that is left in the next turn of the loop
    assert waited_for(backend) == (0, 0)


# -- updates -----------------------------------------------------------------------------------------------------------


async def test_a_task_from_queued_to_its_end(app: Celery, backend: RootcellarBackend) -> None:
    following = Following(rootcellar.updates("a", app=app, timeout=60))
    await begun(backend)
    for step, state in enumerate(["QUEUED", "STARTED", "PROGRESS", "PROGRESS", "SUCCESS"]):
        enter(backend, "a", state, step, progress={"done": step} if state == "PROGRESS" else None)
        await following.until(step + 1)
    await following.task
    assert [(record.state, record.progress) for record in following.seen] == [
        ("QUEUED", None),
        ("STARTED", None),
        ("PROGRESS", {"done": 2}),
        ("PROGRESS", {"done": 3}),
        ("SUCCESS", {"done": 3}),
    ]


async def test_records_hold_python_values(app: Celery, backend: RootcellarBackend) -> None:
    document, types = codec.encode(Decimal("19.99"))
    enter(backend, "a", "SUCCESS", result=document, result_types=types)
    assert [record.result async for record in rootcellar.updates("a", app=app)] == [Decimal("19.99")]


async def test_several_tasks_until_all_have_finished(app: Celery, backend: RootcellarBackend) -> None:
    enter(backend, "a", "SUCCESS")
    enter(backend, "b", "QUEUED")
    eager = EagerResult("e", 1, "SUCCESS")
    following = Following(rootcellar.updates([*results(app, "ab"), eager]))
    await following.until(2)
    enter(backend, "b", "FAILURE", 1)
    await following.task
    assert sorted((record.id, record.state) for record in following.seen) == [
        ("a", "SUCCESS"),
        ("b", "FAILURE"),
        ("b", "QUEUED"),
    ]


async def test_a_task_that_was_asked_before_is_told_of_too(app: Celery, backend: RootcellarBackend) -> None:
    backend.mark_as_done("a", 1)
    result = AsyncResult("a", app=app)
    result.get()
    assert [record.state async for record in rootcellar.updates(result)] == ["SUCCESS"]


class Told:
    """A register of who waits, in which nobody waits but for what the test tells."""

    def __init__(self) -> None:
        self.tickets: list[Ticket] = []

    def take(self, tickets: Sequence[Ticket]) -> None:
        self.tickets.extend(tickets)

    def discard(self, waiter: Any) -> None:
        self.tickets.remove(waiter)


async def test_who_is_slow_sees_the_last() -> None:
    """Nothing piles up."""
    register = Told()
    with Subscription(register, ["a"]) as subscription:
        (ticket,) = register.tickets
        for step, state in enumerate(["STARTED", "PROGRESS", "SUCCESS"]):
            change = Change(id="a", at=START + timedelta(seconds=step), state=state)
            subscription.receive(ticket, change.delta())
        assert [record.state async for record in subscription] == ["SUCCESS"]
    assert register.tickets == []


async def test_only_what_ran_eagerly_has_no_records() -> None:
    assert [record async for record in rootcellar.updates(EagerResult("e", 1, "SUCCESS"))] == []


async def test_another_one_who_waits_makes_no_update(app: Celery, backend: RootcellarBackend) -> None:
    enter(backend, "a", "QUEUED")
    following = Following(rootcellar.updates("a", app=app))
    await following.until(1)
    with pytest.raises(TimeoutError):
        await rootcellar.wait("a", app=app, timeout=0)
    enter(backend, "a", "SUCCESS", 1)
    await following.task
    assert [record.state for record in following.seen] == ["QUEUED", "SUCCESS"]


async def test_a_stock_backend_is_refused(make_app: MakeApp) -> None:
    with pytest.raises(InvalidInput, match="is not rootcellar"):
        await anext(rootcellar.updates("a", app=make_app("cache+memory://")))
