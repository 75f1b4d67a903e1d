"""The machine: random lives of tasks, told to a store in random order by several at once, and random questions.

Beside the store it keeps a dict of records made with `rootcellar.record.join` alone. After every step the two agree,
and what the store finds, counts and adds up is what `rootcellar.query` says of the dict.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Final

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rootcellar.query import MAX_LIMIT, Query, aggregate, evaluate, matches
from rootcellar.record import STAMP_LENGTH, Change, TaskRecord, merge
from rootcellar.testing.comparing import assert_same_record, assert_same_records, assert_same_statistics
from rootcellar.testing.conformance.base import Connections
from rootcellar.testing.conformance.queries import walk
from rootcellar.testing.strategies import aggregates, histories, queries, texts, trees
from rootcellar.testing.strategies.histories import EPOCH

#: Ids of the tasks; some of them look alike.
_IDS: Final = ("7a0c", "7A0C", "a", "a ", "é", "e\u0301", "o'neill", "%", "😀")
_CONNECTIONS: Final = 3
_MICROSECOND: Final = timedelta(microseconds=1)
#: More calls than any clean-up of a machine's few records takes.
_CALLS: Final = 100

_connection = st.integers(0, _CONNECTIONS - 1)


class StoreMachine(RuleBasedStateMachine):
    """Drives one store through several connections."""

    def __init__(self, connections: Connections) -> None:
        super().__init__()
        self.connections = connections
        self.model: dict[str, TaskRecord] = {}
        self.changes: list[Change] = []
        self.steps = 0
        connections.empty()

    @property
    def records(self) -> list[TaskRecord]:
        return list(self.model.values())

    def remember(self, changes: Sequence[Change]) -> None:
        """Merge `changes` into the model."""
        for change in changes:
            self.model[change.id] = merge(self.model.get(change.id), change)

    # -- what happens

    @initialize(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        for task_id in data.draw(st.lists(st.sampled_from(_IDS), min_size=1, max_size=3, unique=True)):
            self.live(data, task_id)

    @rule(data=st.data(), task_id=st.sampled_from(_IDS))
    def live(self, data: st.DataObject, task_id: str) -> None:
        """One more task lives its life; nobody has told the store yet."""
        if not any(change.id == task_id for change in self.changes):
            expiring = not self.connections[0].capabilities.native_expiry
            self.changes += data.draw(histories(task_id, expiring=expiring))

    @rule(data=st.data(), index=_connection)
    def deliver(self, data: st.DataObject, index: int) -> None:
        """Some changes arrive in one batch, in any order, whether or not they arrived before."""
        batch = data.draw(st.lists(st.sampled_from(self.changes), min_size=1, max_size=12))
        self.connections[index].apply(batch)
        self.remember(batch)

    @rule(data=st.data())
    def deliver_at_once(self, data: st.DataObject) -> None:
        """Several batches arrive at the same time; no record depends on which comes first."""
        some = st.lists(st.sampled_from(self.changes), min_size=1, max_size=6)
        batches = data.draw(st.lists(some, min_size=2, max_size=4))
        together = threading.Barrier(len(batches))

        def write(lane: int) -> None:
            store = self.connections[lane % _CONNECTIONS]
            together.wait()
            store.apply(batches[lane])

        self.connections[_CONNECTIONS - 1].get("nobody")
        with ThreadPoolExecutor(len(batches)) as threads:
            list(threads.map(write, range(len(batches))))
        for batch in batches:
            self.remember(batch)

    @rule(index=_connection, task_id=st.sampled_from(_IDS), key=st.sampled_from(["user", "a.b", "$x"]), value=texts())
    def annotate(self, index: int, task_id: str, key: str, value: str) -> None:
        """The write's stamp is read back, for the clock is the store's."""
        store = self.connections[index]
        store.annotate(task_id, {key: value})
        stamp = store.fetch([task_id])[0].metadata_order[key]
        at = datetime.fromtimestamp(0, UTC) + int(stamp[: STAMP_LENGTH - 8]) * _MICROSECOND
        self.remember([Change(id=task_id, at=at, metadata={key: value}, metadata_order={key: stamp})])

    @rule(index=_connection, task_ids=st.lists(st.sampled_from(_IDS), max_size=2))
    def delete(self, index: int, task_ids: list[str]) -> None:
        known = set(task_ids) & set(self.model)
        assert self.connections[index].delete(*task_ids) == len(known)
        for task_id in known:
            del self.model[task_id]

    @precondition(lambda self: not self.connections[0].capabilities.native_expiry)
    @rule(index=_connection, data=st.data(), limit=st.integers(1, 3))
    def clean_up(self, index: int, data: st.DataObject, limit: int) -> None:
        """At an instant at which, just before which or just after which something expires."""
        ends = [record.expires_at for record in self.records if record.expires_at] or [EPOCH]
        now = data.draw(st.sampled_from(ends)) + data.draw(st.integers(-1, 1)) * _MICROSECOND
        expired = {record.id for record in self.records if record.expires_at and record.expires_at < now}
        store = self.connections[index]
        counts = [store.cleanup(now=now, limit=limit) for _ in range(_CALLS if expired else 1)]
        assert sum(counts) == len(expired)
        for task_id in expired:
            del self.model[task_id]

    # -- what is asked

    @rule(index=_connection, data=st.data())
    def find(self, index: int, data: st.DataObject) -> None:
        query = data.draw(queries(self.records, max_limit=5))
        expected = evaluate(Query(where=query.where, order=query.order, limit=MAX_LIMIT), self.records)
        assert_same_records(walk(self.connections[index], query), expected)

    @rule(index=_connection, data=st.data())
    def count(self, index: int, data: st.DataObject) -> None:
        where = data.draw(trees(self.records))
        assert self.connections[index].count(where) == sum(matches(where, record) for record in self.records)

    @rule(index=_connection, data=st.data())
    def add_up(self, index: int, data: st.DataObject) -> None:
        request = data.draw(aggregates(self.records))
        rows = self.connections[index].stats(request.where, by=request.by, bucket=request.bucket)
        assert_same_statistics(rows, aggregate(request, self.records))

    @invariant()
    def holds_what_it_was_told(self) -> None:
        """The next connection, step by step, has the model's records, and no others."""
        self.steps += 1
        found = {record.id: record for record in self.connections[self.steps % _CONNECTIONS].fetch(_IDS)}
        assert set(found) == set(self.model)
        for task_id, record in found.items():
            assert_same_record(record, self.model[task_id])
