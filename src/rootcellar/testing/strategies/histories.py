"""Histories: all the changes that the life of one task brings about, as publishers and workers report them.

The life may be short or eventful: received or not, lost and delivered again, run twice at once, retried, revoked, with
progress under states of the user's own, replaced, annotated by several writers. What holds in every history is what
record.py asks of changes: one attempt has one request however often it is reported, no two events of one rank share
an instant, and nothing happens before the task was queued.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

import msgspec
from hypothesis import strategies as st

from rootcellar.record import Change, Request, microseconds
from rootcellar.testing.strategies.documents import HARD_TEXTS, draw_document, draw_object
from rootcellar.testing.strategies.drawing import below, coin, pick, pick_some

T = TypeVar("T")

#: Long past, so that what a test writes at the present wins over it.
EPOCH: Final = datetime(2020, 1, 1, tzinfo=UTC)
#: For engines that remove expired records by themselves.
FAR_FUTURE: Final = datetime(2200, 1, 1, tzinfo=UTC)

_NAMES: Final = ("shop.report", "shop.Report", "billing.charge", "отчёт", "a_b", "a%b", "😀.send", "\uffff.last")
_WORDS: Final = (None, "", "celery", "Celery", "high priority", "web-1", "née", "x'y\"z\\")
_WORKERS: Final = ("celery@web-1", "celery@web-2", "söhne@☃")
_OWN_STATES: Final = ("PROGRESS", "ABORTED", "Отправка")
_ENDINGS: Final = ("SUCCESS", "FAILURE", "RETRY", "REVOKED", "LOST")
_METADATA_KEYS: Final = ("user", "filename", "line.items", "$set", 'quote"d', "back\\slash", "ключ", "a b", "A", "a")
_TYPES: Final = (None, {"": "tuple"}, {"/total": "decimal"}, {"/a/0": "datetime", "/é": "uuid"})
_CHILDREN: Final[tuple[Any, ...]] = (None, [], [["child-1", None], ["child-2", []]])
#: Microseconds from one event to the next, and seconds to live.
_PAUSES: Final = (1, 2, 999, 10**6, 61 * 10**6, 3 * 10**9 + 7)
_LIVES: Final = (0, 1, 60, 3600, 86_400)


class _Run(msgspec.Struct, kw_only=True):
    """One worker's run of one attempt: where, since when, and the states it has yet to report."""

    attempt: int
    worker: str
    pid: int
    states: list[str]
    started_at: datetime | None = None


class _Life:
    """Draws the events of one task's life, in the order in which they happen."""

    def __init__(self, draw: st.DrawFn, task_id: str, *, successes: int, expiring: bool) -> None:
        self.draw = draw
        self.task_id = task_id
        self.successes = successes
        self.expiring = expiring
        self.moment = EPOCH + timedelta(microseconds=below(draw, 10**9))
        self.values = [draw_document(draw, 8) for _ in range(3)]
        self.changes: list[Change] = []
        self.generation = 0
        self.requests: dict[tuple[int, int], Request] = {}
        self.queued_at: datetime | None = None
        self.published: dict[str, Any] = {}
        self.published_order: dict[str, str] = {}
        self.stamps = 0

    def happens(self) -> datetime:
        """The next instant."""
        self.moment += timedelta(microseconds=self.pick(_PAUSES))
        return self.moment

    def pick(self, options: Sequence[T]) -> T:
        return pick(self.draw, options)

    def chance(self) -> bool:
        return coin(self.draw)

    def report(self, at: datetime, state: str | None, **values: Any) -> None:
        expires_at = self.expiry(at)
        self.changes.append(
            Change(id=self.task_id, at=at, state=state, generation=self.generation, expires_at=expires_at, **values)
        )

    def expiry(self, at: datetime) -> datetime | None:
        if not self.chance():
            return None
        return (at if self.expiring else FAR_FUTURE) + timedelta(seconds=self.pick(_LIVES))

    # -- publishers

    def publish(self, attempt: int) -> None:
        """A message goes to the broker, with the publisher's view of the request; metadata travels with the first."""
        at = self.happens()
        first = not attempt and not self.generation
        if first:
            self.queued_at = at
            self.published, self.published_order = self.stamped(at)
        request = msgspec.structs.replace(self.request(attempt), from_worker=False, origin="gen1@web", routing_key=None)
        self.report(at, "QUEUED" if first else None, attempt=attempt, request=request, **self.envelope())

    def envelope(self) -> dict[str, Any]:
        """What every message of the task carries, and every report of a worker who got one."""
        return {"queued_at": self.queued_at, "metadata": self.published, "metadata_order": self.published_order}

    def request(self, attempt: int) -> Request:
        """The one request of this attempt."""
        key = (self.generation, attempt)
        if key not in self.requests:
            self.requests[key] = self.draw_request()
        return self.requests[key]

    def draw_request(self) -> Request:
        one = self.pick
        return Request(
            name=one(_NAMES),
            args=pick_some(self.draw, self.values, 2) if self.chance() else None,
            args_types=one(_TYPES),
            kwargs=draw_object(self.draw, 3) if self.chance() else None,
            queue=one(_WORDS),
            routing_key=one(_WORDS),
            priority=one((None, -1, 0, 9)),
            parent_id=one(_WORDS),
            root_id=one(_WORDS),
            group_id=one(_WORDS),
            eta=one((None, self.moment, self.moment + timedelta(days=400))),
            stamps=draw_object(self.draw, 2) if self.chance() else None,
        )

    # -- workers

    def attempts(self, number: int) -> None:
        """Attempt after attempt, as long as each ends in a retry."""
        for attempt in range(number):
            if attempt or self.chance():
                self.publish(attempt)
            if self.chance():
                self.report(self.happens(), "RECEIVED", attempt=attempt, worker=_WORKERS[0])
            if "RETRY" not in self.runs(attempt):
                return

    def runs(self, attempt: int) -> set[str]:
        """One run, or two at the same time where a message was delivered again; the states they ended in."""
        runs = [self.draw_run(attempt, worker) for worker in _WORKERS[: 1 + self.chance()]]
        endings = {run.states[-1] for run in runs}
        while runs:
            run = self.pick(runs)
            self.step(run, run.states.pop(0))
            runs = [run for run in runs if run.states]
        return endings

    def draw_run(self, attempt: int, worker: str) -> _Run:
        endings = [state for state in _ENDINGS if self.successes or state != "SUCCESS"]
        ending = self.pick(endings)
        self.successes -= ending == "SUCCESS"
        own = pick_some(self.draw, _OWN_STATES, 2)
        pid = 1 + below(self.draw, 4_194_304)
        return _Run(attempt=attempt, worker=worker, pid=pid, states=["STARTED", *own, ending])

    def step(self, run: _Run, state: str) -> None:
        """One report of a run; a lost worker reports nothing, and some reports know little."""
        at = self.happens()
        run.started_at = run.started_at or at
        if state == "LOST":
            return
        values: dict[str, Any] = {"attempt": run.attempt, "worker": run.worker, "pid": run.pid}
        if self.chance():
            values["request"] = self.request(run.attempt)
        if self.chance():
            values.update(self.envelope())
        if state == "STARTED" or below(self.draw, 3):
            values["started_at"] = run.started_at
        self.report(at, state, **values, **self.outcome(state))

    def outcome(self, state: str) -> dict[str, Any]:
        if state == "SUCCESS":
            result, types = self.pick(self.values), self.pick(_TYPES)
            return {"result": result, "result_types": types, "children": self.pick(_CHILDREN)}
        if state in {"FAILURE", "RETRY", "REVOKED"}:
            return {"error": self.draw_error()}
        if state in _OWN_STATES:
            return {"progress": self.pick(self.values), "progress_types": self.pick(_TYPES)}
        return {}

    def draw_error(self) -> dict[str, Any]:
        message = self.pick(HARD_TEXTS)
        return {"type": "OSError", "module": "builtins", "message": message, "args": [message, 2], "cause": None}

    # -- others

    def replace(self) -> None:
        """The task is replaced by another of the same id, and attempts count anew."""
        self.generation += 1
        self.attempts(1)

    def revoke(self) -> None:
        """An operator's revoke, which knows nothing of the task but its id."""
        self.report(self.happens(), "REVOKED", error={"type": "TaskRevokedError", "message": "revoked"})

    def annotate(self) -> None:
        at = self.happens()
        metadata, order = self.stamped(at)
        if metadata:
            self.changes.append(Change(id=self.task_id, at=at, metadata=metadata, metadata_order=order))

    def stamped(self, at: datetime) -> tuple[dict[str, Any], dict[str, str]]:
        """A metadata write and its stamps, made as `rootcellar.record.stamp_metadata` makes them, but repeatable."""
        metadata = {key: self.pick(self.values) for key in pick_some(self.draw, _METADATA_KEYS, 3)}
        self.stamps += 1
        stamp = f"{microseconds(at):016d}{self.stamps:08x}"
        types = self.pick(("", '{"":"decimal"}'))
        return metadata, dict.fromkeys(metadata, stamp + types)


@st.composite
def histories(
    draw: st.DrawFn, task_id: str = "task", *, successes: int = 1, attempts: int = 3, expiring: bool = False
) -> list[Change]:
    """The changes of one task's life, oldest first; never none.

    `successes`: how many of its runs may succeed; above one, the record depends on which was stored first. `attempts`:
    how many it has at most. `expiring`: whether records may expire at a time that has passed already, at which
    some engines remove them.
    """
    life = _Life(draw, task_id, successes=successes, expiring=expiring)
    if life.chance():
        life.annotate()
    life.attempts(1 + below(draw, attempts))
    if below(draw, 5) == 4:
        life.replace()
    for _ in range(below(draw, 3)):
        life.annotate()
    if not life.changes or below(draw, 4) == 3:
        life.revoke()
    return life.changes


@st.composite
def deliveries(draw: st.DrawFn, changes: Sequence[Change], *, repeats: int = 5) -> list[list[Change]]:
    """`changes` as they might arrive: in any order, some of them again, in batches of any size."""
    arriving = [*changes, *pick_some(draw, changes, repeats)]
    batches: list[list[Change]] = [[]]
    while arriving:
        change = arriving.pop(below(draw, len(arriving)))
        if batches[-1] and coin(draw):
            batches.append([])
        batches[-1].append(change)
    return batches
