"""Waits that learn from the hub how a result's parents are, and groups that ask for their members at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache, wraps
from typing import Any, Final

import celery.result
from celery import Celery
from celery.result import AsyncResult, ResultSet

#: What `AsyncResult.get` calls as it begins, once a second, when a task has failed, and when the wait is over.
_LOOK: Final = "_maybe_reraise_parent_error"


class GroupResult(celery.result.GroupResult):
    """As Celery's own, which reads its members one by one; here what is asked of all of them is one read."""

    def maybe_throw(self, callback: Callable[[str, Any], None] | None = None, propagate: bool = True) -> None:
        """See Celery's own. A task that has not finished has nothing to throw."""
        settled = self._settled()
        for member in settled if callback is None else self.results:
            member.maybe_throw(callback=callback, propagate=propagate)

    maybe_reraise = maybe_throw

    def failed(self) -> bool:
        """See Celery's own."""
        return any(member.failed() for member in self._settled())

    def completed_count(self) -> int:
        """See Celery's own."""
        return sum(member.successful() for member in self._settled())

    def _settled(self) -> list[Any]:
        """The members that need no read now: what has finished, what ran eagerly, and sets."""
        unknown: dict[str, list[Any]] = {}
        for member in filter(_is_unknown, self.results):
            unknown.setdefault(member.id, []).append(member)
        for task_id, meta in self.backend.get_many(unknown, max_iterations=1) if unknown else ():
            for member in unknown[task_id]:
                member._maybe_set_cache(meta)  # noqa: SLF001 - as its own read does
        return [member for member in self.results if not _is_unknown(member)]


def _is_unknown(result: Any) -> bool:
    """Whether a result has to read how its task is."""
    return getattr(result, "_cache", result) is None


def members(node: Any) -> list[Any] | None:
    """What is in a set or list of results; None of a single result."""
    if isinstance(node, ResultSet):
        return list(node.results)
    return node if isinstance(node, list) else None


def leaves(node: Any) -> Iterator[Any]:
    """The single results of a result, a set or a list, those in nested ones too."""
    found = members(node)
    if found is None:
        yield node
    for member in found or ():
        yield from leaves(member)


def parents(result: Any) -> Iterator[Any]:
    """The single results of what comes before in a chain, the nearest first."""
    while (result := result.parent) is not None:
        yield from leaves(result)


def make_groups_of_ours(app: Celery) -> None:
    """Have an app make groups of this kind, unless it has made a kind of its own."""
    if type(app).GroupResult is Celery.GroupResult:
        app.GroupResult = app.subclass_with_self(GroupResult)


@cache
def follow_parents() -> None:
    """Have `AsyncResult.get` read the parents once, together, and then be told of them by the hub.

    Celery's own reads each unfinished one once a second: that may hold up the time-out, and ends the wait when the
    store is away just then. A result may be older than its app's backend, and Celery has no hook for this, so what is
    replaced is the method of its class; results of other backends are left to it.
    """
    as_ever = vars(AsyncResult).get(_LOOK)
    if as_ever is None:
        return

    @wraps(as_ever)
    def look(self: AsyncResult) -> None:
        consumer = getattr(self.backend, "result_consumer", None)
        if hasattr(consumer, "follow"):
            _raise_failure_of_parents(self, consumer)
        else:
            as_ever(self)

    setattr(AsyncResult, _LOOK, look)


def _raise_failure_of_parents(result: AsyncResult, consumer: Any) -> None:
    before = list(parents(result))
    unread = [each for each in before if _is_unknown(each) and each.backend is result.backend]
    with ExitStack() as no_wait:
        no_wait.callback(consumer.give_up, result)
        consumer.follow(unread, afresh=not _is_unknown(result))
        for each in reversed(before):
            if not _is_unknown(each) or each.backend is not result.backend:
                each.maybe_throw()
        if _is_unknown(result):
            no_wait.pop_all()  # there is one, which gives up what it followed when it ends
