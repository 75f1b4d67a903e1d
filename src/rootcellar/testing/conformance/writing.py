"""Writing: a record is what its changes amount to, in whatever order and however often they arrive."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from rootcellar.query import Query
from rootcellar.record import HISTORY_LIMIT, Change, TaskRecord, join
from rootcellar.store import Store
from rootcellar.testing.comparing import assert_same_record, assert_same_records
from rootcellar.testing.conformance.base import Connections, StoreTests
from rootcellar.testing.profiles import budget
from rootcellar.testing.samples import (
    annotated,
    at,
    failed,
    progressed,
    queued,
    record_of,
    records_of,
    started,
    succeeded,
)
from rootcellar.testing.strategies import deliveries, histories


class Writing(StoreTests):
    """`Store.apply` and `Store.delete`."""

    def test_each_event_adds_what_it_knows(self, store: Store) -> None:
        """After a whole life the record has the publisher's request, the worker's outcome, progress and history."""
        life = [
            queued("a"),
            started("a"),
            progressed("a", {"done": 3}),
            succeeded("a", {"rows": 105}, started_at=at(1)),
        ]
        for change in life:
            store.apply([change])
        [record] = store.fetch(["a"])
        assert (record.state, record.name, record.args) == ("SUCCESS", "shop.report", [7])
        assert (record.result, record.progress) == ({"rows": 105}, {"done": 3})
        assert (record.queued_at, record.started_at, record.finished_at) == (at(0), at(1), at(2))
        assert [entry.state for entry in record.history] == ["QUEUED", "STARTED", "PROGRESS", "SUCCESS"]
        assert_same_record(record, record_of(*life))

    def test_a_late_start_of_a_finished_run_changes_only_the_history(self, store: Store) -> None:
        """The time of arrival decides nothing."""
        store.apply([succeeded("a", 1, started_at=at(1))])
        store.apply([started("a")])
        [record] = store.fetch(["a"])
        assert (record.state, record.result) == ("SUCCESS", 1)
        assert [entry.state for entry in record.history] == ["STARTED", "SUCCESS"]

    def test_a_newer_run_takes_the_record_forward(self, store: Store) -> None:
        """A retry that starts leaves the last attempt's error to the history."""
        store.apply([failed("a", 2, started_at=at(1))])
        store.apply([started("a", 3, attempt=1)])
        [record] = store.fetch(["a"])
        assert (record.state, record.attempt, record.error, record.finished_at) == ("STARTED", 1, None, None)
        assert record.history[0].error == {"type": "OSError", "message": "away"}

    def test_the_success_stored_first_stays(self, store: Store) -> None:
        """A value that somebody has read does not change; the other run is in the history."""
        store.apply([succeeded("a", "first", 2)])
        store.apply([succeeded("a", "second", 3, attempt=1)])
        store.apply([failed("a", 4, attempt=2)])
        [record] = store.fetch(["a"])
        assert (record.result, record.attempt, record.finished_at) == ("first", 0, at(2))
        assert [entry.at for entry in record.history] == [at(2), at(3), at(4)]

    def test_the_success_stored_first_stays_when_a_batch_brings_two(self, store: Store) -> None:
        """Within a batch, first is what comes first in it."""
        store.apply([succeeded("a", "first", 3, attempt=1), succeeded("a", "second", 2)])
        assert store.fetch(["a"])[0].result == "first"

    def test_a_change_without_a_request_keeps_the_request(self, store: Store) -> None:
        """A revoke knows nothing but the id, and erases nothing."""
        store.apply([queued("a", queue="celery", priority=3, stamps={"header": [1]})])
        store.apply([Change(id="a", at=at(1), state="REVOKED")])
        [record] = store.fetch(["a"])
        assert (record.name, record.args, record.queue, record.priority) == ("shop.report", [7], "celery", 3)
        assert record.stamps == {"header": [1]}

    def test_a_partial_record_is_a_change_too(self, store: Store) -> None:
        """What another store holds can be merged into this one."""
        life = [queued("a"), started("a"), succeeded("a", 1)]
        store.apply([record_of(*life[:2]), life[2]])
        store.apply([record_of(*life)])
        assert_same_records(store.fetch(["a"]), [record_of(*life)])

    def test_applying_again_changes_nothing(self, store: Store) -> None:
        """Every write may be repeated."""
        life = [queued("a"), annotated("a", user=42), started("a"), failed("a")]
        for _ in range(3):
            store.apply(life)
        assert_same_records(store.fetch(["a"]), [record_of(*life)])

    def test_nothing_to_apply(self, store: Store) -> None:
        store.apply([])
        assert store.count() == 0

    def test_a_thousand_tasks_in_one_call(self, store: Store) -> None:
        """New and known records in one batch."""
        names = [f"task-{number:04}" for number in range(1000)]
        first = [queued(name, number) for number, name in enumerate(names) if number % 2]
        second = [succeeded(name, number, number + 1) for number, name in enumerate(names)]
        store.apply(first)
        store.apply(second)
        model = records_of(*first, *second)
        assert store.count() == 1000
        assert_same_records(store.fetch(names), [model[name] for name in names])

    def test_many_changes_of_one_task_in_one_call(self, store: Store) -> None:
        """A batch is merged into one change per record first."""
        changes = [progressed("a", number, number) for number in range(50)]
        store.apply([*changes[25:], *changes[:25], queued("b")])
        assert_same_records(store.fetch(["a", "b"]), [record_of(*changes), record_of(queued("b"))])

    def test_the_newest_of_a_long_history_is_kept(self, store: Store) -> None:
        """Of more transitions than a history holds, arriving in any order, the oldest go."""
        changes = [progressed("a", number, number) for number in range(HISTORY_LIMIT + 30)]
        for part in (changes[60:], changes[:20], changes[10:70]):
            store.apply(part)
        [record] = store.fetch(["a"])
        assert_same_record(record, record_of(*changes))
        assert len(record.history) == HISTORY_LIMIT

    def test_what_was_handed_over_may_be_changed_afterwards(self, store: Store) -> None:
        """The store keeps no reference into the caller's values."""
        result: dict[str, Any] = {"rows": [1]}
        store.apply([succeeded("a", result), annotated("a", tags=result)])
        result["rows"].append(2)
        [record] = store.fetch(["a"])
        assert (record.result, record.metadata) == ({"rows": [1]}, {"tags": {"rows": [1]}})

    def test_deleting(self, store: Store) -> None:
        """Says how many there were; what is not there, or named twice, counts once or not at all."""
        store.apply([queued("a"), queued("b"), queued("c")])
        assert store.delete() == 0
        assert store.delete("a", "nobody", "b", "a") == 2
        assert store.delete("a") == 0
        assert [record.id for record in store.find_documents(Query())] == ["c"]

    def test_deleting_many(self, store: Store) -> None:
        names = [f"task-{number}" for number in range(1500)]
        store.apply([queued(name) for name in names])
        assert store.delete(*names) == 1500
        assert store.count() == 0

    def test_a_deleted_task_may_come_back(self, store: Store) -> None:
        """Nothing is remembered of a deleted record."""
        store.apply([succeeded("a", 1)])
        store.delete("a")
        store.apply([queued("a")])
        assert_same_records(store.fetch(["a"]), [record_of(queued("a"))])

    @budget(50)
    @given(data=st.data())
    def test_any_order_and_any_repetition_make_the_same_record(
        self, connections: Connections, data: st.DataObject
    ) -> None:
        """Random histories, delivered in random order, with repeats, in random batches, through two connections."""
        connections.empty()
        changes = [
            change for task_id in "ab" for change in data.draw(histories(task_id, expiring=connections.expiring))
        ]
        for batch in data.draw(deliveries(changes)):
            connections[data.draw(st.integers(0, 1))].apply(batch)
        model = records_of(*changes)
        assert_same_records(connections[0].fetch(model), list(model.values()))

    @budget(20)
    @given(data=st.data())
    def test_of_several_successes_the_first_delivered_stays(
        self, connections: Connections, data: st.DataObject
    ) -> None:
        """The one place where order counts, and it counts as in `rootcellar.record.join`."""
        connections.empty()
        batches = data.draw(deliveries(data.draw(histories("a", successes=4, expiring=connections.expiring))))
        model: TaskRecord | None = None
        for batch in batches:
            connections[0].apply(batch)
            for change in batch:
                model = join(model, change.delta()) if model else change.delta()
        assert_same_records(connections[0].fetch(["a"]), [model] if model else [])
