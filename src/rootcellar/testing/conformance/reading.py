"""Reading by id."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final

import pytest

from rootcellar.record import FIELDS, Change, Request
from rootcellar.store import Store
from rootcellar.testing.comparing import assert_same_record, assert_same_records
from rootcellar.testing.conformance.base import StoreTests
from rootcellar.testing.samples import FAR_OFF, annotated, at, progressed, queued, record_of, succeeded

#: Ids that differ to us and that some collation, padding or pattern would take for the same.
HARD_IDS: Final = (
    "7a0c8ba4-6f1e-4a4b-9c6e-0f6a7c2d9b10", "7A0C8BA4-6F1E-4A4B-9C6E-0F6A7C2D9B10", "a", "A", "a ", " a", "a%", "a_",
    "%", "o'neill", 'a"b', "a\\b", "a\\", "a/b", "a:b", "a.b", "{a}", "[a]", "a\nb", "$a", "?", ":a", "%s", "%(a)s",
    "é", "e\u0301", "ß", "ss", "ﬁ", "задание", "😀", "\uffff", "x" * 255, "x" * 254 + "y", "é" * 255, "😀" * 255,
)  # fmt: skip


def full_change(task_id: str) -> Change:
    """A change that fills every field that a change can fill."""
    return Change(
        id=task_id, at=at(9.000001), state="SUCCESS", attempt=3, generation=1, started_at=at(8.5),
        worker="celery@söhne", pid=4_194_304, result={"total": "1.10"}, result_types={"/total": "decimal"},
        children=[["child", None]], error={"type": "X", "message": "warned"},
        progress=[1], progress_types={"": "tuple"}, queued_at=at(0.25), expires_at=FAR_OFF,
        metadata={"user": 42}, metadata_order={"user": "1763715600120000" + "0" * 8 + '{"":"enum"}'},
        request=Request(
            name="shop.report", args=[1], args_types={"": "tuple"}, kwargs={"a": None}, kwargs_types={"/a": "uuid"},
            queue="q", routing_key="r", priority=9, parent_id="parent", root_id="root", group_id="group",
            eta=at(1e9 + 0.5), origin="gen1@web", stamps={"stamp": ["s"]},
        ),
    )  # fmt: skip


class Reading(StoreTests):
    """`Store.get`, `Store.get_many` and `Store.fetch`."""

    def test_every_field_survives(self, store: Store) -> None:
        record = record_of(full_change("a"))
        assert all(getattr(record, field) for field in FIELDS)
        store.apply([full_change("a")])
        assert_same_records(store.fetch(["a"]), [record])

    def test_what_is_not_known_stays_unknown(self, store: Store) -> None:
        """Nothing becomes an empty text, a zero or an empty list on its way."""
        change = Change(id="a", at=at(0), state="STARTED")
        store.apply([change])
        assert_same_records(store.fetch(["a"]), [record_of(change)])

    def test_what_is_empty_stays_empty(self, store: Store) -> None:
        """Nothing empty becomes unknown on its way."""
        request = Request(name="", args=[], kwargs={}, queue="", priority=0, stamps={}, origin="")
        change = succeeded("a", {}, children=[], pid=0, request=request)
        store.apply([change, progressed("a", [])])
        assert_same_records(store.fetch(["a"]), [record_of(change, progressed("a", []))])

    def test_a_task_not_heard_of(self, store: Store) -> None:
        assert store.get("nobody") is None
        assert store.get_many(["nobody"]) == []

    def test_many_come_in_the_order_asked_for(self, store: Store) -> None:
        """Unknown ids are left out, and one asked for twice comes once."""
        store.apply([queued("a"), queued("b"), queued("c")])
        assert [record.id for record in store.get_many(["c", "x", "a", "c", "b", "y"])] == ["c", "a", "b"]
        assert [record.id for record in store.get_many(iter(["b", "a"]))] == ["b", "a"]

    def test_asking_for_nothing(self, store: Store) -> None:
        assert store.get_many([]) == []

    def test_thousands_at_once(self, store: Store) -> None:
        names = [f"task-{number}" for number in range(2500)]
        store.apply([queued(name) for name in names])
        assert [record.id for record in store.fetch(["x", *reversed(names)])] == list(reversed(names))

    def test_ids_that_look_alike_are_different(self, store: Store) -> None:
        """Letter case, padding, normal forms, wildcards and escapes tell ids apart, in every operation."""
        changes = [succeeded(task_id, number) for number, task_id in enumerate(HARD_IDS)]
        store.apply(changes)
        assert store.count() == len(HARD_IDS)
        assert_same_records(store.fetch(HARD_IDS), [record_of(change) for change in changes])
        for number, task_id in enumerate(HARD_IDS):
            assert [record.result for record in store.find_documents(store.query(id=task_id))] == [number]
            assert store.delete(task_id) == 1
            assert store.count() == len(HARD_IDS) - number - 1

    @pytest.mark.parametrize("field", ["name", "queue", "routing_key", "parent_id", "root_id", "group_id", "origin"])
    def test_texts_of_a_request_survive(self, store: Store, field: str) -> None:
        """Also those that look alike, and long ones."""
        texts = [*HARD_IDS[:-2], "é" * 255]
        asked: list[dict[str, Any]] = [{field: text} for text in texts]
        changes = [queued(f"task-{number}", **request) for number, request in enumerate(asked)]
        store.apply(changes)
        assert [getattr(record, field) for record in store.fetch(change.id for change in changes)] == texts

    def test_times_are_exact_to_the_microsecond_and_in_utc(self, store: Store) -> None:
        moment = datetime(2026, 3, 29, 1, 59, 59, 999_999, tzinfo=UTC)
        store.apply([Change(id="a", at=moment, state="STARTED", started_at=moment - timedelta(microseconds=1))])
        [record] = store.fetch(["a"])
        assert (record.updated_at, record.started_at) == (moment, moment - timedelta(microseconds=1))
        assert record.updated_at is not None
        assert record.updated_at.utcoffset() == timedelta(0)
        assert record.history[0].at.utcoffset() == timedelta(0)

    def test_times_of_another_zone_are_the_same_instant(self, store: Store) -> None:
        moment = datetime(2126, 10, 25, 2, 30, tzinfo=timezone(timedelta(hours=5, minutes=45)))
        store.apply(
            [Change(id="a", at=moment, state="STARTED", started_at=moment, queued_at=moment, expires_at=moment)]
        )
        [record] = store.fetch(["a"])
        times = [record.updated_at, record.started_at, record.queued_at, record.expires_at, record.history[0].at]
        assert times == [moment] * 5

    @pytest.mark.parametrize("year", [1970, 2038, 2500, 9999])
    def test_a_task_may_be_due_in_any_year(self, store: Store, year: int) -> None:
        eta = datetime(year, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
        store.apply([queued("a", eta=eta)])
        assert store.fetch(["a"])[0].eta == eta
        assert store.count(eta=eta) == 1

    def test_a_record_is_the_readers_own(self, store: Store) -> None:
        """Changing what was read changes nothing in the store."""
        change = succeeded("a", {"rows": [1]})
        store.apply([change])
        record = store.fetch(["a"])[0]
        record.state = "FAILURE"
        record.result["rows"].append(2)
        record.metadata["user"] = 1
        record.history.clear()
        assert_same_record(store.fetch(["a"])[0], record_of(change))

    def test_all_ways_of_reading_agree(self, store: Store) -> None:
        store.apply([full_change("a")])
        expected: list[Any] = store.fetch(["a"])
        assert_same_records(store.find_documents(store.query(id="a")).records, expected)
        decoded = store.get("a")
        assert decoded is not None
        assert store.get_many(["a"]) == list(store.find(id="a")) == list(store.scan(id="a")) == [decoded]

    def test_what_one_connection_wrote_another_reads(self, store: Store, other: Store) -> None:
        """At once: no cached or repeatable view stands between."""
        for seconds in range(5):
            store.apply([progressed("a", seconds, seconds)])
            assert_same_records(other.fetch(["a"]), store.fetch(["a"]))
            assert other.count(state="PROGRESS") == 1
            other.apply([annotated("a", seconds, seen=seconds)])
            assert store.fetch(["a"])[0].metadata == {"seen": seconds}
