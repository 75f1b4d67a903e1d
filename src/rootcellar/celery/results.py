"""Groups that ask for their members at once, and results whose wait outlasts a look at their parents."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import celery.result
from celery import Celery

from rootcellar.errors import StoreUnavailable


class AsyncResult(celery.result.AsyncResult):
    """As Celery's own, whose `get()` ends with the store's error when the store is away as it looks at the parents."""

    def _maybe_reraise_parent_error(self) -> None:
        """Called as `get()` begins, and once a second. Of a store that is away the wait itself knows what to make."""
        # A task may have another backend than its app.
        consumer = getattr(self.backend, "result_consumer", None)
        if not getattr(consumer, "interrupted", False):
            with suppress(StoreUnavailable):
                super()._maybe_reraise_parent_error()


class GroupResult(celery.result.GroupResult):
    """As Celery's own, which reads its members one by one; here what is asked of all of them is one read.

    So is the look at the header with which `get()` of a chord's body begins.
    """

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


def _is_unknown(member: Any) -> bool:
    """Whether a member has to read how its task is."""
    return getattr(member, "_cache", member) is None


def make_results_of_ours(app: Celery) -> None:
    """Have an app make results and groups of these kinds, unless it has made kinds of its own."""
    if type(app).AsyncResult is Celery.AsyncResult:
        app.AsyncResult = app.subclass_with_self(AsyncResult)
    if type(app).GroupResult is Celery.GroupResult:
        app.GroupResult = app.subclass_with_self(GroupResult)
