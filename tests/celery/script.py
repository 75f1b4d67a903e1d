"""What a program sees that waits: the same calls on any backend, and what comes of them as plain values.

Whoever keeps the results, each part of the script must give the same.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from celery._state import _set_task_join_will_block
from celery.result import AsyncResult, GroupResult, ResultSet, allow_join_result

if TYPE_CHECKING:
    from celery import Celery

Outcome = Any


class Script:
    """Who waits by `app`, while tasks finish by `elsewhere`; both have the same backend. `name` is in every id."""

    def __init__(self, app: Celery, elsewhere: Celery, name: str) -> None:
        self.app = app
        self.worker = elsewhere.backend
        self.name = name

    def result(self, task: str = "a", **options: Any) -> AsyncResult:
        """A new result object of a task."""
        return AsyncResult(f"{self.name}-{task}", app=self.app, **options)

    def group(self, tasks: str = "abc") -> GroupResult:
        """A new result object of a group, of tasks with a letter each."""
        made: GroupResult = self.app.GroupResult(f"{self.name}-group", [self.result(task) for task in tasks])
        return made

    def succeed(self, *tasks: str) -> None:
        """These tasks return their names."""
        for task in tasks:
            self.worker.mark_as_done(f"{self.name}-{task}", task)

    def fail(self, task: str = "a") -> None:
        """A task raises."""
        self.worker.mark_as_failure(f"{self.name}-{task}", KeyError(task))

    def progress(self, value: Any, task: str = "a") -> None:
        """A task tells how far it is."""
        self.worker.store_result(f"{self.name}-{task}", value, "PROGRESS")
        if hasattr(self.worker, "flush"):
            self.worker.flush()

    def later(self, action: Callable[..., Any], *args: Any) -> threading.Timer:
        """Do something a little later, in another thread."""
        timer = threading.Timer(0.1, action, args)
        timer.start()
        return timer

    def task(self, task_id: Any) -> str:
        """A task's name, by its id."""
        return str(task_id).removeprefix(self.name + "-")


def outcome(call: Callable[..., Any], **options: Any) -> Outcome:
    """What a call returns, or the exception it raises."""
    try:
        value = call(**options)
    except Exception as error:  # noqa: BLE001 - any that there is
        return "raised", type(error).__name__, str(error)
    return "returned", repr(value)


PARTS: dict[str, Callable[[Script], Outcome]] = {}


def part(function: Callable[[Script], Outcome]) -> Callable[[Script], Outcome]:
    """A part of the script."""
    PARTS[function.__name__] = function
    return function


# -- one task ----------------------------------------------------------------------------------------------------------


@part
def what_has_finished(script: Script) -> Outcome:
    script.succeed("a")
    return [outcome(script.result().get, timeout=timeout) for timeout in (None, 0, 5)]


@part
def what_finishes_meanwhile(script: Script) -> Outcome:
    script.later(script.succeed, "a")
    return outcome(script.result().get, timeout=30, interval=0.01, no_ack=False)


@part
def what_never_finishes(script: Script) -> Outcome:
    return [outcome(script.result().get, timeout=timeout) for timeout in (0, 0.01)]


@part
def a_second_time(script: Script) -> Outcome:
    result = script.result()
    first = outcome(result.get, timeout=0.01)
    script.succeed("a")
    return first, outcome(result.get, timeout=30), outcome(result.get), result.state


@part
def a_failure(script: Script) -> Outcome:
    script.later(script.fail)
    raised = outcome(script.result().get, timeout=30)
    result = script.result()
    return raised, outcome(result.get, propagate=False), result.state, result.failed(), outcome(result.get)


@part
def a_revoked_task(script: Script) -> Outcome:
    script.worker.mark_as_revoked(f"{script.name}-a", "revoked")
    return outcome(script.result().get, timeout=30), script.result().state


@part
def a_retry_is_no_end(script: Script) -> Outcome:
    script.worker.mark_as_retry(f"{script.name}-a", OSError("away"))
    before = outcome(script.result().get, timeout=0.05)
    script.later(script.succeed, "a")
    return before, outcome(script.result().get, timeout=30)


@part
def its_callback(script: Script) -> Outcome:
    seen: list[Any] = []
    script.later(script.succeed, "a")
    value = outcome(
        lambda: script.result().get(timeout=30, callback=lambda *told: seen.append([script.task(x) for x in told]))
    )
    return value, seen


@part
def the_callback_of_a_failure(script: Script) -> Outcome:
    seen: list[Any] = []
    script.fail()

    def call(task_id: str, value: Any) -> None:
        seen.append((script.task(task_id), repr(value)))

    raised = outcome(script.result().get, timeout=30, callback=call)
    return raised, outcome(script.result().get, timeout=30, callback=call, propagate=False), seen


@part
def messages(script: Script) -> Outcome:
    """Progress as it is told, then the end."""
    seen: list[Any] = []
    told = threading.Event()

    def see(meta: dict[str, Any]) -> None:
        if script.task(meta["task_id"]) == "a":  # stock tells those of others, too
            seen.append((meta["status"], meta["result"]))
            told.set()

    def work() -> None:
        script.progress({"done": 1})
        told.wait(30)
        script.succeed("a")

    timer = script.later(work)
    value = outcome(script.result().get, timeout=30, on_message=see)
    timer.join()
    return value, seen


@part
def intervals(script: Script) -> Outcome:
    """At least one, even of a wait that ends within the first."""
    calls: list[int] = []
    script.later(script.succeed, "a")
    value = outcome(lambda: script.result().get(timeout=30, on_interval=lambda: calls.append(1)))
    return value, bool(calls)


@part
def the_interval_of_what_has_finished(script: Script) -> Outcome:
    calls: list[int] = []
    script.succeed("a")
    return outcome(lambda: script.result().get(timeout=30, on_interval=lambda: calls.append(1))), calls


@part
def an_interval_that_fails(script: Script) -> Outcome:
    def give_up() -> None:
        raise LookupError("enough")

    script.later(script.succeed, "a")
    result = script.result()
    return outcome(result.get, timeout=30, on_interval=give_up), outcome(result.get, timeout=30)


@part
def a_parent_that_failed(script: Script) -> Outcome:
    child = script.result("b", parent=script.result("a"))
    script.fail("a")
    followed = outcome(child.get, timeout=0.05)
    return followed, outcome(lambda: script.result("c", parent=script.result("a")).get(timeout=0.05, propagate=False))


@part
def a_parent_that_fails_meanwhile(script: Script) -> Outcome:
    child = script.result("b", parent=script.result("a"))
    script.later(script.fail, "a")
    return outcome(child.get, timeout=30)


@part
def a_parent_that_fails_as_the_wait_begins(script: Script) -> Outcome:
    """After the look at the parents; and so did what follows it, before it was first read."""
    child, backend = script.result("b", parent=script.result("a")), script.app.backend
    begin = backend.add_pending_result

    def fail_first(result: AsyncResult, **options: Any) -> Any:
        script.fail("a")
        script.fail("b")
        return begin(result, **options)

    with patch.object(backend, "add_pending_result", fail_first):
        return outcome(child.get, timeout=30)


@contextmanager
def inside_of_a_task() -> Iterator[None]:
    """As in a worker's task."""
    _set_task_join_will_block(blocks=True)
    try:
        yield
    finally:
        _set_task_join_will_block(blocks=False)


@part
def inside_of_another_task(script: Script) -> Outcome:
    script.succeed("a", "b", "c")
    with inside_of_a_task():
        refused = outcome(script.result().get, timeout=5), outcome(script.group().get, timeout=5)
        forced = [
            outcome(script.result().get, timeout=5, disable_sync_subtasks=False),
            outcome(script.group().join, timeout=5, disable_sync_subtasks=False),
            outcome(script.group().join_native, timeout=5, disable_sync_subtasks=False),
        ]
        with allow_join_result():
            allowed = outcome(script.result().get, timeout=5)
    return refused[0][:2], refused[1][:2], forced, allowed


@part
def an_ignored_result(script: Script) -> Outcome:
    result = script.result()
    result.ignored = True
    return outcome(result.get)


@part
def forgotten(script: Script) -> Outcome:
    script.succeed("a")
    result = script.result()
    value = result.get(timeout=5)
    result.forget()
    return value, script.result().state, outcome(script.result().get, timeout=0.01)


@part
def many_threads(script: Script) -> Outcome:
    """With an object each, or all with the same one."""
    shared = script.result()
    values: list[Any] = []
    waiters = [
        threading.Thread(target=lambda each=result: values.append(each.get(timeout=30)))
        for result in (*(script.result() for _ in range(4)), shared, shared, shared)
    ]
    for waiter in waiters:
        waiter.start()
    script.later(script.succeed, "a")
    for waiter in waiters:
        waiter.join()
    return values


# -- callbacks ---------------------------------------------------------------------------------------------------------


@part
def then_in_order(script: Script) -> Outcome:
    seen: list[Any] = []
    result = script.result()
    for number in range(3):
        result.then(lambda each, number=number: seen.append((number, script.task(each.id), each.result)))
    script.later(script.succeed, "a")
    return outcome(result.get, timeout=30), seen


@part
def then_of_what_has_finished(script: Script) -> Outcome:
    seen: list[Any] = []
    script.succeed("a")
    result = script.result()
    result.get(timeout=5)
    result.then(lambda each: seen.append(script.task(each.id)))
    return seen


@part
def then_of_a_failure(script: Script) -> Outcome:
    """It is told like any other end."""
    seen: list[Any] = []
    result = script.result()
    result.then(lambda each: seen.append((each.state, repr(each.result))))
    script.later(script.fail)
    return outcome(result.get, timeout=30), seen


@part
def then_of_another(script: Script) -> Outcome:
    """Called by whoever waits, whatever for."""
    seen: list[Any] = []
    other = script.result("b")
    other.then(lambda each: seen.append(script.task(each.id)))

    def work() -> None:
        script.succeed("b")
        script.succeed("a")

    script.later(work)
    script.result("a").get(timeout=30)
    other.get(timeout=30)
    return seen


@part
def then_of_a_group(script: Script) -> Outcome:
    seen: list[Any] = []
    group = script.group()
    group.then(lambda each: seen.append(len(each.results)))
    script.later(script.succeed, "c", "b", "a")
    return outcome(group.get, timeout=30), seen


# -- groups ------------------------------------------------------------------------------------------------------------

JOINS = ("get", "join", "join_native")


@part
def a_group_that_has_finished(script: Script) -> Outcome:
    script.succeed("a", "b", "c")
    return [outcome(getattr(script.group(), join), timeout=30) for join in JOINS]


@part
def a_group_that_finishes_in_another_order(script: Script) -> Outcome:
    found = []
    for number, join in enumerate(JOINS):
        tasks = "abcdefghi"[3 * number : 3 * number + 3]
        script.later(script.succeed, *reversed(tasks))
        found.append(outcome(getattr(script.group(tasks), join), timeout=30))
    return found


@part
def a_group_that_does_not_finish(script: Script) -> Outcome:
    script.succeed("a", "c")
    group = script.group()
    raised = [outcome(getattr(group, join), timeout=0.05) for join in JOINS]
    script.succeed("b")
    return raised, outcome(group.get, timeout=30)


@part
def a_group_of_which_one_fails(script: Script) -> Outcome:
    script.succeed("a", "c")
    script.fail("b")
    raised = [outcome(getattr(script.group(), join), timeout=30) for join in JOINS]
    read = [outcome(getattr(script.group(), join), timeout=30, propagate=False) for join in JOINS]
    group = script.group()
    return raised, read, group.failed(), group.successful(), group.completed_count(), outcome(group.maybe_throw)


@part
def a_group_that_is_asked_meanwhile(script: Script) -> Outcome:
    """Each by a group that knows nothing yet."""
    found: list[Any] = []
    for task in ("b", "a", None):
        seen: list[Any] = []
        group = script.group()
        found.append((group.failed(), script.group().completed_count(), outcome(script.group().maybe_throw)))
        group.maybe_throw(
            propagate=False, callback=lambda *told, seen=seen: seen.append((script.task(told[0]), told[1]))
        )
        found.append(sorted(seen, key=repr))
        if task:
            script.succeed(task)
    script.fail("c")
    return found, script.group().failed(), script.group().completed_count(), outcome(script.group().maybe_throw)


@part
def the_callbacks_of_a_group(script: Script) -> Outcome:
    script.succeed("a", "b", "c")
    found = []
    for join in JOINS:
        seen: list[Any] = []

        def call(task_id: str, value: Any, seen: list[Any] = seen) -> None:
            seen.append((script.task(task_id), value))

        found.append((outcome(getattr(script.group(), join), timeout=30, callback=call), sorted(seen)))
    return found


@part
def the_messages_of_a_group(script: Script) -> Outcome:
    found = []
    for number, join in enumerate(JOINS):
        tasks = "abcdefghi"[3 * number : 3 * number + 3]
        seen: list[Any] = []

        def see(meta: dict[str, Any], tasks: str = tasks, seen: list[Any] = seen) -> None:
            if (task := script.task(meta["task_id"])) in tasks:  # stock tells those of others, too
                seen.append((task, meta["status"]))

        script.later(script.succeed, *tasks)
        value = outcome(getattr(script.group(tasks), join), timeout=30, on_message=see)
        found.append((value, sorted(seen)))
    return found


@part
def the_intervals_of_a_group(script: Script) -> Outcome:
    calls: list[int] = []
    script.later(script.succeed, "a", "b", "c")
    return outcome(lambda: script.group().get(timeout=30, on_interval=lambda: calls.append(1))), bool(calls)


@part
def members_as_they_finish(script: Script) -> Outcome:
    group = script.group()
    seen: list[Any] = []
    script.succeed("b")
    for (task_id, meta), following in zip(group.iter_native(timeout=30), ("c", "a", None), strict=True):
        seen.append((script.task(task_id), meta["status"], meta["result"]))
        if following:
            script.succeed(following)
    return seen


@part
def members_that_do_not_finish(script: Script) -> Outcome:
    script.succeed("b")
    arriving = script.group().iter_native(timeout=0.05)
    first, _ = next(arriving)
    return script.task(first), outcome(lambda: next(arriving))


@part
def a_group_in_a_group(script: Script) -> Outcome:
    inner = GroupResult(f"{script.name}-inner", [script.result("b"), script.result("c")], app=script.app)
    outer = GroupResult(f"{script.name}-outer", [script.result("a"), inner], app=script.app)
    script.later(script.succeed, "c", "a", "b")
    return outcome(outer.get, timeout=30), outcome(outer.join, timeout=30)


@part
def a_group_restored(script: Script) -> Outcome:
    group = script.group()
    group.save()
    script.succeed("a", "b", "c")
    restored = GroupResult.restore(group.id, app=script.app)
    assert restored is not None
    return restored.ready(), outcome(restored.get, timeout=30), outcome(restored.join, timeout=30)


@part
def an_empty_set(script: Script) -> Outcome:
    return outcome(lambda: ResultSet([], app=script.app).get(timeout=5))


@part
def a_set_that_grows(script: Script) -> Outcome:
    results = ResultSet([script.result("a")], app=script.app)
    script.succeed("a")
    first = outcome(results.get, timeout=30)
    results.add(script.result("b"))
    script.later(script.succeed, "b")
    return first, outcome(results.get, timeout=30)
