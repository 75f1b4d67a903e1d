"""The record: what two pieces of knowledge of one task amount to."""

from __future__ import annotations

from copy import deepcopy
from datetime import timedelta
from functools import reduce
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootcellar.record import (
    FIELDS,
    HISTORY_LIMIT,
    METADATA_FIELDS,
    OUTCOME_FIELDS,
    PROGRESS_FIELDS,
    REQUEST_FIELDS,
    STAMP_LENGTH,
    Change,
    Request,
    TaskRecord,
    fold,
    generation_of,
    isoformat,
    join,
    merge,
    microseconds,
    stamp_metadata,
    stamped_types,
)
from rootcellar.testing.comparing import assert_same_record, assert_same_records
from rootcellar.testing.profiles import budget
from rootcellar.testing.samples import (
    annotated,
    at,
    failed,
    progressed,
    queued,
    record_of,
    started,
    succeeded,
)
from rootcellar.testing.strategies import deliveries, histories


def folded(changes: list[Change]) -> TaskRecord:
    return reduce(join, [change.delta() for change in changes])


@st.composite
def partial_records(draw: st.DrawFn, number: int) -> list[TaskRecord]:
    """So many partial records of one task, each of which knows some of what happened; they overlap."""
    changes = draw(histories())
    some = st.lists(st.sampled_from(changes), min_size=1, max_size=4)
    return [folded(draw(some)) for _ in range(number)]


class TestTheLaws:
    """Whatever the order, whatever the repetition: the same record."""

    @budget(150)
    @given(records=partial_records(2))
    def test_joining_is_commutative(self, records: list[TaskRecord]) -> None:
        a, b = records
        assert_same_record(join(a, b), join(b, a))

    @budget(150)
    @given(records=partial_records(3))
    def test_joining_is_associative(self, records: list[TaskRecord]) -> None:
        a, b, c = records
        assert_same_record(join(join(a, b), c), join(a, join(b, c)))

    @budget(100)
    @given(records=partial_records(2))
    def test_joining_again_changes_nothing(self, records: list[TaskRecord]) -> None:
        a, b = records
        assert_same_record(join(a, a), a)
        assert_same_record(join(join(a, b), b), join(a, b))

    @budget(200)
    @given(data=st.data())
    def test_neither_order_nor_repetition_nor_batches_count(self, data: st.DataObject) -> None:
        changes = data.draw(histories())
        batches = data.draw(deliveries(changes))
        record: TaskRecord | None = None
        for batch in batches:
            [delta] = fold([change.delta() for change in batch])
            record = join(record, delta) if record else delta
        assert_same_record(record, folded(changes))

    @budget(50)
    @given(records=partial_records(2))
    def test_joining_modifies_neither_side(self, records: list[TaskRecord]) -> None:
        a, b = records
        before = deepcopy((a, b))
        join(a, b)
        assert_same_records([a, b], before)

    @budget(100)
    @given(changes=histories())
    def test_times_stand_in_order(self, changes: list[Change]) -> None:
        """What translators of queries rely on: nothing that is told of a record is later than its last change."""
        record = folded(changes)
        assert record.updated_at is not None
        assert record.finished_at in {None, record.updated_at}
        assert record.ready == (record.finished_at is not None)
        assert all(moment <= record.updated_at for moment in (record.queued_at, record.started_at) if moment)

    def test_every_field_belongs_to_one_register(self) -> None:
        registers = [*REQUEST_FIELDS, *OUTCOME_FIELDS, *PROGRESS_FIELDS, *METADATA_FIELDS]
        assert sorted([*registers, "id", "queued_at", "history"]) == sorted(FIELDS)

    def test_a_change_hands_on_all_that_its_request_says(self) -> None:
        names = [name for name in REQUEST_FIELDS if name != "request_order"]
        said = {name: at(1) if name == "eta" else 7 if name == "priority" else name for name in names}
        record = Change(id="a", at=at(2), request=Request(**said)).delta()  # type: ignore[arg-type]
        assert {name: getattr(record, name) for name in names} == said


class TestTheOutcome:
    """The newest run decides, within it the rank of the state, never the time of arrival."""

    @pytest.mark.parametrize(
        ("older", "newer"),
        list(
            pairwise(
                [
                    annotated("a", 0),
                    queued("a", 1),
                    Change(id="a", at=at(2), state="RECEIVED"),
                    started("a", 3),
                    progressed("a", 1, 3.5, started_at=at(3)),
                    progressed("a", 2, 3.6, started_at=at(3)),
                    Change(id="a", at=at(3.2), state="RETRY", started_at=at(3)),
                    Change(id="a", at=at(3.2), state="REVOKED", started_at=at(3)),
                    failed("a", 3.2, started_at=at(3)),
                    started("a", 4),
                    failed("a", 5, started_at=at(4)),
                    started("a", 3.9, attempt=1),
                    started("a", 3.5, generation=1),
                    succeeded("a", 1, 2),
                ]
            )
        ),
        ids=lambda change: f"{change.state}-{change.attempt}-{change.at:%S.%f}",
    )
    def test_what_takes_a_record_forward(self, older: Change, newer: Change) -> None:
        """Each step of a ladder wins over the one before, whichever arrives first."""
        assert folded([older, newer]).state_order == folded([newer, older]).state_order == newer.delta().state_order

    def test_the_first_stored_of_two_successes_stays(self) -> None:
        first, second = succeeded("a", 1, 2), succeeded("a", 2, 3, attempt=1)
        for one, other in [(first, second), (second, first)]:
            record = folded([one, other, failed("a", 9, attempt=2)])
            assert (record.result, record.finished_at) == (one.result, one.at)
            assert {entry.at for entry in record.history} == {at(2), at(3), at(9)}

    @budget(60)
    @given(data=st.data())
    def test_with_several_successes_only_the_outcome_depends_on_order(self, data: st.DataObject) -> None:
        changes = data.draw(histories(successes=3))
        record = folded([change for batch in data.draw(deliveries(changes)) for change in batch])
        model = folded(changes)
        for field in set(FIELDS) - set(OUTCOME_FIELDS):
            assert getattr(record, field) == getattr(model, field)
        successes = {change.delta().state_order for change in changes if change.state == "SUCCESS"}
        assert record.state_order in (successes or {model.state_order})

    def test_a_newer_run_clears_what_belonged_to_the_older(self) -> None:
        record = folded([failed("a", 2, started_at=at(1), expires_at=at(99)), started("a", 3, attempt=1)])
        assert (record.error, record.finished_at, record.expires_at) == (None, None, None)
        assert (record.state, record.started_at) == ("STARTED", at(3))

    def test_a_replaced_task_counts_its_attempts_anew(self) -> None:
        record = folded([started("a", 5, attempt=3), started("a", 6, generation=1)])
        assert (record.attempt, record.started_at, generation_of(record)) == (0, at(6), 1)

    def test_times_that_follow_from_others(self) -> None:
        record = folded([queued("a", 1), succeeded("a", 1, 4, started_at=at(1.5))])
        assert (record.runtime, record.wait, record.ready) == (2.5, 0.5, True)
        assert (record_of(queued("a")).runtime, record_of(queued("a")).wait) == (None, None)


class TestTheRequest:
    """The newest attempt's, and the worker's view rather than the publisher's; never erased."""

    def test_a_change_without_a_request_erases_nothing(self) -> None:
        record = folded([queued("a", queue="q", stamps={"s": 1}), succeeded("a", 1)])
        assert (record.name, record.args, record.queue, record.stamps) == ("shop.report", [7], "q", {"s": 1})

    def test_the_worker_knows_better_than_the_publisher(self) -> None:
        seen = Request(name="shop.report", queue="urgent")
        for changes in (
            [queued("a", queue="q"), started("a", request=seen)],
            [started("a", request=seen), queued("a")],
        ):
            assert folded(changes).queue == "urgent"

    def test_the_newest_attempt_replaces_the_whole_request(self) -> None:
        retried = Change(id="a", at=at(3), attempt=1, request=Request(name="shop.report", args=[8], from_worker=False))
        record = folded([retried, queued("a", queue="q"), started("a", request=Request(name="x", kwargs={"a": 1}))])
        assert (record.name, record.args, record.kwargs, record.queue) == ("shop.report", [8], None, None)

    def test_the_earliest_time_of_queueing_stays(self) -> None:
        again = Change(id="a", at=at(5), attempt=1, queued_at=at(5))
        assert folded([again, queued("a", 1)]).queued_at == folded([queued("a", 1), again]).queued_at == at(1)


class TestProgress:
    """What a running task last said of itself stays, whatever becomes of the task."""

    def test_the_newest_report_stays_to_the_end(self) -> None:
        reports = [progressed("a", {"done": done}, 1 + done / 10, started_at=at(1)) for done in range(3)]
        record = folded([*reports[::-1], started("a"), succeeded("a", 1, started_at=at(1))])
        assert (record.progress, record.result) == ({"done": 2}, 1)

    def test_a_report_of_an_older_run_is_too_late(self) -> None:
        record = folded([progressed("a", "new", 3, attempt=1), progressed("a", "old", 4)])
        assert record.progress == "new"


class TestMetadata:
    """Key by key, the newest write of a key; never anything else's."""

    @budget(60)
    @given(changes=histories())
    def test_each_key_has_its_newest_write(self, changes: list[Change]) -> None:
        newest: dict[str, tuple[str, Any]] = {}
        for change in changes:
            for key, stamp in (change.metadata_order or {}).items():
                assert change.metadata is not None
                newest[key] = max(
                    newest.get(key, ("", None)), (stamp, change.metadata[key]), key=lambda write: write[0]
                )
        record = folded(changes)
        assert record.metadata == {key: value for key, (_, value) in newest.items()}
        assert record.metadata_order == {key: stamp for key, (stamp, _) in newest.items()}

    def test_a_null_is_written_like_any_value(self) -> None:
        assert folded([annotated("a", 2, user=None), annotated("a", 1, user=1)]).metadata == {"user": None}

    def test_metadata_alone_makes_a_pending_record_without_history(self) -> None:
        record = record_of(annotated("a", 1, user=1))
        assert (record.state, record.history, record.updated_at) == ("PENDING", [], at(1))

    def test_stamps_tell_writes_of_one_instant_apart(self) -> None:
        one, other = stamp_metadata({"user": 1}, at(0)), stamp_metadata({"user": 1}, at(0))
        assert one != other
        assert len(one["user"]) == STAMP_LENGTH

    def test_stamps_of_later_writes_are_greater(self) -> None:
        stamps = [stamp_metadata({"user": 1}, at(seconds))["user"] for seconds in (0, 0.000001, 1, 1e9)]
        assert stamps == sorted(stamps)

    def test_a_stamp_carries_the_types_of_its_value(self) -> None:
        order = stamp_metadata({"total": "1.1", "user": 1}, at(0), {"total": {"": "decimal"}})
        assert stamped_types(order) == {"total": {"": "decimal"}}
        assert len(order["user"]) == STAMP_LENGTH


class TestHistory:
    """Every transition once, in order, the newest of very many."""

    @budget(60)
    @given(changes=histories())
    def test_it_is_the_set_of_what_happened(self, changes: list[Change]) -> None:
        record = folded(changes)
        happened = {(change.attempt, change.at, change.state) for change in changes if change.state}
        assert [(entry.attempt, entry.at, entry.state) for entry in record.history] == sorted(happened)

    @budget(30)
    @given(data=st.data())
    def test_of_very_many_the_newest_are_kept(self, data: st.DataObject) -> None:
        """However they were cut down on the way."""
        changes = [progressed("a", number, number) for number in range(HISTORY_LIMIT + 20)]
        cuts = sorted(data.draw(st.lists(st.integers(1, len(changes) - 1), max_size=4, unique=True)))
        arriving = data.draw(st.permutations(changes))
        parts = [arriving[start:end] for start, end in pairwise([0, *cuts, len(changes)])]
        record = reduce(join, map(folded, parts))
        assert [entry.at for entry in record.history] == [change.at for change in changes[-HISTORY_LIMIT:]]

    def test_an_error_is_kept_in_short(self) -> None:
        error = {"type": "OSError", "message": "x" * 10_000, "traceback": "..."}
        [entry] = record_of(Change(id="a", at=at(0), state="FAILURE", error=error)).history
        assert entry.error == {"type": "OSError", "message": "x" * 500}


class TestFolding:
    """Changes of many tasks become one partial record for each."""

    def test_one_record_per_task_in_order_of_appearance(self) -> None:
        changes = [queued("b"), queued("a"), started("b"), succeeded("a", 1)]
        records = fold([change.delta() for change in changes])
        assert_same_records(records, [record_of(changes[0], changes[2]), record_of(changes[1], changes[3])])
        assert fold([]) == []

    def test_merging_a_change_into_nothing_is_the_change(self) -> None:
        assert_same_record(merge(None, queued("a")), record_of(queued("a")))
        assert_same_record(merge(record_of(queued("a")), started("a")), record_of(queued("a"), started("a")))


class TestTime:
    """Instants as numbers and as text."""

    def test_text_order_is_time_order(self) -> None:
        moments = [at(0), at(0.000001), at(0.1), at(1), at(86_400), at(1e9)]
        assert [isoformat(moment) for moment in moments] == sorted(isoformat(moment) for moment in moments)
        assert isoformat(at(0.12)) == "2026-01-07T09:00:00.120000Z"

    def test_microseconds_are_exact(self) -> None:
        assert microseconds(at(0) + timedelta(microseconds=1)) - microseconds(at(0)) == 1
