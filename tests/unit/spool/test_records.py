"""Partial records as bytes in the spool."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from rootcellar.record import Change, Request, TaskRecord, Transition
from rootcellar.spool import apply_handler, pack_record, pack_records, unpack_record
from rootcellar.store.url import parse
from rootcellar.stores.memory import MemoryStore

AT = datetime(2026, 11, 21, 9, 0, 0, 120_000, tzinfo=UTC)


def change(task_id: str = "a", state: str = "SUCCESS", **more: object) -> TaskRecord:
    return Change(id=task_id, at=AT, state=state, **more).delta()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "record",
    [
        TaskRecord(id="a"),
        change(),
        change(state="FAILURE", error={"type": "OSError", "message": "away"}, worker="celery@web-1", pid=7),
        change(request=Request(name="shop.report", args=[1, None], kwargs={"a": 0.5}, eta=AT, stamps={"x": [1]})),
        change(metadata={"user": 42}, metadata_order={"user": "1"}, queued_at=AT, expires_at=AT),
        change(result={"n": 2**80, "inf": float("inf"), "half": "\ud800", "": None}, result_types={"n": "int"}),
        TaskRecord(id="a", history=[Transition(state="QUEUED", at=AT), Transition(state="STARTED", at=AT, worker="w")]),
    ],
)
def test_a_record_comes_back_the_same(record: TaskRecord) -> None:
    assert unpack_record(pack_record(record)) == record


def test_nan_comes_back() -> None:
    result = unpack_record(pack_record(change(result=[float("nan")]))).result
    assert result[0] != result[0]


def test_unknown_fields_of_a_newer_version_are_passed_over() -> None:
    assert unpack_record(b'{"id": "a", "colour": "red"}') == TaskRecord(id="a")


def test_applying_the_entries_is_applying_the_records() -> None:
    store = MemoryStore(parse("memory://"))
    started, done = change("a", "STARTED"), change("a", result=1)
    apply_handler(store)([payload for _, payload in pack_records([done, started])])
    record = store.get("a")
    assert record is not None
    assert (record.state, record.result, len(record.history)) == ("SUCCESS", 1, 2)
