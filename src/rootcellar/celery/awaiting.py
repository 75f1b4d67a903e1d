"""Celery's results in asyncio: awaited, iterated as they complete, followed as they change.

The one hub of the process reads for everybody who waits, in whatever loop: a coroutine that waits costs some memory,
and neither a thread nor a query of its own.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from celery import states
from celery.exceptions import TimeoutError as CeleryTimeoutError
from celery.result import AsyncResult, EagerResult, ResultSet, assert_will_not_block

from rootcellar.celery.app import required
from rootcellar.celery.results import leaves, members
from rootcellar.errors import InvalidInput
from rootcellar.record import TaskRecord
from rootcellar.waiting.aio import Subscription

if TYPE_CHECKING:
    from celery import Celery

    from rootcellar.celery.backend import RootcellarBackend

#: A result, a group's or any other set of results, a task's id, or several of these.
Results: TypeAlias = "AsyncResult | ResultSet | str | Iterable[Results]"


class ResultTimeout(CeleryTimeoutError, TimeoutError):
    """A result did not come in time: Celery's `TimeoutError`, and Python's own."""


async def wait(
    results: Results,
    *,
    timeout: float | None = None,  # noqa: ASYNC109 - as Celery's own
    propagate: bool = True,
    app: Celery | None = None,
) -> Any:
    """What a task returned, once it has finished; of a group, or of several, the list of what they returned.

    As `AsyncResult.get` and `GroupResult.get`: raises the exception of a task that failed or was revoked, or of one
    that this one follows in a chain, as soon as that is known; gives exceptions in place of values when `propagate` is
    off. `timeout` is in seconds, for all of them together; then raises what is both Celery's and Python's
    `TimeoutError`. `app` is that of an id; by default the current one.

    Raises `InvalidInput` when the result backend is not rootcellar's, `StoreError` when the store cannot be read as
    the wait begins; a store that goes away later is waited for. Raises `RuntimeError` inside of a task, as Celery does.
    """
    wanted = _Wanted(results, app)
    if propagate:
        _raise_failures(wanted.known())
        wanted.follow_parents()
    if wanted.missing:
        with wanted.subscription(wanted.missing | wanted.parents, timeout) as subscription:
            async for record in subscription:
                fulfilled = wanted.fulfil(record)
                if propagate:
                    _raise_failures(fulfilled)
                if not wanted.missing:
                    break
    return wanted.values(propagate=propagate)


async def as_completed(
    results: Results,
    *,
    timeout: float | None = None,  # noqa: ASYNC109 - as Celery's own
    app: Celery | None = None,
) -> AsyncGenerator[AsyncResult, None]:
    """The results, those in sets too, each as soon as its task has finished, however it did.

    What is asked of a result that was yielded, `get` and `state` among it, is answered at once. `timeout`, `app` and
    what is raised are as with `wait`, but for failures: they are in the results.
    """
    wanted = _Wanted(results, app)
    for result in wanted.known():
        yield result
    if wanted.missing:
        with wanted.subscription(wanted.missing, timeout) as subscription:
            async for record in subscription:
                for result in wanted.fulfil(record):
                    yield result


async def updates(
    results: Results,
    *,
    timeout: float | None = None,  # noqa: ASYNC109 - as Celery's own
    app: Celery | None = None,
) -> AsyncGenerator[TaskRecord, None]:
    """The records of tasks: each as it is now, if anything is known of it, and again whenever it has changed.

    Ends when all tasks have finished. State and progress are what counts as a change; where changes follow each other
    faster than they are read, the last is seen. A task that ran eagerly has no record. `timeout`, `app` and what is
    raised are as with `wait`, but for failures: they are in the records.
    """
    wanted = _Wanted(results, app)
    if wanted.backend is not None:
        with wanted.subscription(wanted.stored_ids(), timeout) as subscription:
            async for record in subscription:
                yield wanted.backend.values.decode_record(record)


class _Subscription(Subscription):
    timed_out: ClassVar = ResultTimeout


class _Wanted:
    """The results that one call is about. `missing`: those that have not finished, by task; `parents`, likewise."""

    def __init__(self, results: Results, app: Celery | None) -> None:
        assert_will_not_block()
        self._results = _resolved(results, app)
        self._leaves = list(leaves(self._results))
        self.backend = _backend_of(self._leaves)
        self.missing = _by_id(leaf for leaf in self._leaves if not _is_known(leaf))
        self.parents: dict[str, list[AsyncResult]] = {}

    def follow_parents(self) -> None:
        """Wait for what comes before in chains, too. Raises the exceptions of those that failed."""
        parents = list(_parents(self._results)) if self.missing else []
        _raise_failures(parent for parent in parents if _is_known(parent))
        self.parents = _by_id(parent for parent in parents if not _is_known(parent))

    def known(self) -> list[AsyncResult]:
        """The results that need not be waited for."""
        return [leaf for leaf in self._leaves if _is_known(leaf)]

    def stored_ids(self) -> list[str]:
        """The tasks that have a record, or will have one."""
        return [leaf.id for leaf in self._leaves if not isinstance(leaf, EagerResult)]

    def subscription(self, ids: Iterable[str], timeout: float | None) -> Subscription:
        """A subscription to tasks."""
        assert self.backend is not None  # noqa: S101 - only eager results have none, and they are not missing
        return _Subscription(self.backend.result_consumer.waiters, ids, timeout)

    def fulfil(self, record: TaskRecord) -> list[AsyncResult]:
        """Make the results of a task that has finished ready; returns them, and nothing of one that has not."""
        if not record.ready or self.backend is None:
            return []
        fulfilled = self.missing.pop(record.id, []) + self.parents.pop(record.id, [])
        consumer = self.backend.result_consumer
        meta = consumer.meta(record)
        for result in fulfilled:
            if result._cache is None:  # noqa: SLF001 - as Celery's own consumers do
                result._maybe_set_cache({**meta})  # noqa: SLF001
        # The callbacks of others run where somebody waits. A `GroupResult` waits, in this sense, from its making.
        consumer.hand_over()
        return fulfilled

    def values(self, *, propagate: bool) -> Any:
        """What all tasks returned, in the shape of the results. All must be ready."""
        return _value(self._results, propagate=propagate)


def _resolved(results: Any, app: Celery | None) -> Any:
    """The results with objects in place of ids, and lists in place of iterables. Raises `InvalidInput` for others."""
    if isinstance(results, str):
        return AsyncResult(results, app=app)
    if isinstance(results, AsyncResult | ResultSet):
        return results
    if isinstance(results, Iterable):
        return [_resolved(result, app) for result in results]
    raise InvalidInput(
        f"to be waited for: a result, a set of results, a task's id or several of these, not {results!r}"
    )


def _parents(node: Any) -> Iterator[AsyncResult]:
    """What comes before `node` in chains, each once."""
    seen: set[int] = set()
    nodes = [node]
    while nodes:
        node = nodes.pop()
        nodes += members(node) or ()
        parent = getattr(node, "parent", None)
        if parent is not None and id(parent) not in seen:
            seen.add(id(parent))
            nodes.append(parent)
            yield from leaves(parent)


def _value(node: Any, *, propagate: bool) -> Any:
    parts = members(node)
    if parts is not None:
        return [_value(part, propagate=propagate) for part in parts]
    if node.ignored:
        return None
    return node.get(propagate=propagate, follow_parents=False, disable_sync_subtasks=False)


def _is_known(result: AsyncResult) -> bool:
    """Whether a result can be had without asking the store."""
    return result.ignored or result._cache is not None  # noqa: SLF001 - Celery has no other way to ask for this


def _raise_failures(results: Iterable[AsyncResult]) -> None:
    for result in results:
        if not result.ignored and result.state in states.PROPAGATE_STATES:
            _value(result, propagate=True)


def _by_id(results: Iterable[AsyncResult]) -> dict[str, list[AsyncResult]]:
    found: dict[str, list[AsyncResult]] = {}
    for result in results:
        found.setdefault(result.id, []).append(result)
    return found


def _backend_of(results: Iterable[AsyncResult]) -> RootcellarBackend | None:
    """The backend of all the results; None when all ran eagerly.

    Raises `InvalidInput` when there are two of them, or one that is not rootcellar's.
    """
    backends = {
        id(result.backend): required(result.backend, result.app)
        for result in results
        if not isinstance(result, EagerResult)
    }
    if len(backends) > 1:
        raise InvalidInput("these results are of two apps, each with a store of its own; wait for them in two calls")
    return next(iter(backends.values()), None)
