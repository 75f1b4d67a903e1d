"""Records as a shop's workers would leave them: for the parts that need many."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from rootcellar.record import Change, Request, TaskRecord, Transition, stamp_metadata

NAMES = tuple(
    f"{app}.{task}"
    for app in ("billing", "mail", "report", "media")
    for task in ("create", "send", "refresh", "collect", "archive")
)
QUEUES = ("celery", "mail", "slow")
#: Days over which the records' ends are spread, up to now; half of them have expired.
SPAN = timedelta(days=30)
KEPT = SPAN / 2
USERS = 10_000
GROUP = 10
_STATES = ("SUCCESS", "FAILURE", "STARTED", "RETRY")
_WEIGHTS = (93, 5, 1, 1)


def records(count: int, now: datetime, *, seed: int = 1) -> Iterator[TaskRecord]:
    """`count` partial records that are whole lives, the same ones for the same arguments.

    A tenth are in groups of ten, a tenth are children of another task. Each has two metadata keys, arguments, a result
    or an error, and its transitions. The ids are in no order; the times are evenly spread over `SPAN`, the oldest
    first, as tasks come.
    """
    chance = random.Random(seed)
    parent: str | None = None
    group: str | None = None
    for number in range(count):
        task_id = str(uuid.UUID(int=chance.getrandbits(128), version=4))
        if number % (10 * GROUP) == 0:
            group = str(uuid.UUID(int=chance.getrandbits(128), version=4))
        if number % GROUP == 0:
            parent = task_id
        lineage = {
            "group_id": group if number % (10 * GROUP) < GROUP else None,
            "parent_id": parent if number % GROUP == 1 else None,
        }
        yield _life(task_id, now - SPAN * (1 - number / count), chance, lineage)


def _life(task_id: str, queued: datetime, chance: random.Random, lineage: dict[str, Any]) -> TaskRecord:
    started = queued + timedelta(seconds=chance.expovariate(2))
    ended = started + timedelta(seconds=chance.expovariate(1))
    state = chance.choices(_STATES, _WEIGHTS)[0]
    customer = chance.randrange(USERS)
    metadata = {"user": customer, "filename": f"upload-{customer % 100}.csv"}
    worker = f"celery@web-{chance.randrange(8)}"
    delta = Change(
        id=task_id,
        at=ended,
        state=state,
        started_at=started,
        worker=worker,
        pid=4000 + chance.randrange(32),
        queued_at=queued,
        expires_at=ended + KEPT,
        metadata=metadata,
        metadata_order=stamp_metadata(metadata, queued),
        request=_request(task_id, customer, chance, lineage),
        **_outcome(state, customer, chance),
    ).delta()
    before = [Transition(state="QUEUED", at=queued), Transition(state="STARTED", at=started, worker=worker)]
    delta.history = [*before, *delta.history] if state != "STARTED" else before
    return delta


def _request(task_id: str, customer: int, chance: random.Random, lineage: dict[str, Any]) -> Request:
    return Request(
        name=chance.choice(NAMES),
        args=[chance.randrange(1000)],
        kwargs={"customer": f"c-{customer}", "full": True},
        queue=chance.choice(QUEUES),
        routing_key="celery",
        priority=0,
        root_id=lineage["parent_id"] or task_id,
        origin="gen4711@web-1",
        **lineage,
    )


def _outcome(state: str, customer: int, chance: random.Random) -> dict[str, Any]:
    if state == "SUCCESS":
        return {
            "result": {"total": chance.randrange(100_000) / 100, "rows": chance.randrange(1000), "customer": customer}
        }
    if state == "STARTED":
        return {}
    return {
        "error": {"type": "OSError", "module": "builtins", "message": "the printer is on fire", "traceback": _TRACEBACK}
    }


_TRACEBACK = "Traceback (most recent call last):\n" + "".join(
    f'  File "/app/shop/tasks.py", line {line}, in step_{line}\n    work(order)\n' for line in range(10, 60, 10)
)
