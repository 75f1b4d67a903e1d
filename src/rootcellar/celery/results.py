"""Groups of results that ask for their members at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import celery.result
from celery import Celery


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


def make_groups_of_ours(app: Celery) -> None:
    """Have an app make groups of this kind, unless it has made a kind of its own."""
    if type(app).GroupResult is Celery.GroupResult:
        app.GroupResult = app.subclass_with_self(GroupResult)
