"""Records as rows and back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootcellar.errors import RecordUnreadable
from rootcellar.record import Change, TaskRecord, join
from rootcellar.stores._sql.columns import COLUMN_NAMES
from rootcellar.stores._sql.rows import TEXT_TIMES, RowCodec
from rootcellar.testing.strategies import histories

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def cell(record: TaskRecord, column: str) -> object:
    return TEXT_TIMES.encode(record)[COLUMN_NAMES.index(column)]


@given(changes=histories("a"))
def test_a_record_survives_its_row(changes: list[Change]) -> None:
    record = changes[0].delta()
    for change in changes[1:]:
        record = join(record, change.delta())
    for codec in (TEXT_TIMES, RowCodec()):
        assert codec.decode(codec.encode(record)) == record


@given(at=st.datetimes(min_value=datetime(1000, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001 - the zone follows
def test_times_are_text_of_fixed_length(at: datetime) -> None:
    text = cell(TaskRecord(id="a", updated_at=at), "updated_at")
    assert isinstance(text, str)
    assert len(text) == len("2026-11-21T12:00:00.000000Z")


def test_times_of_other_zones_are_stored_in_utc() -> None:
    at = NOON.astimezone(timezone(timedelta(hours=5, seconds=7)))
    assert cell(TaskRecord(id="a", eta=at), "eta") == "2026-11-21T12:00:00.000000Z"


def test_nothing_is_an_sql_null_but_metadata_and_history_are_never() -> None:
    record = TaskRecord(id="a")
    assert cell(record, "result") is None
    assert cell(record, "metadata") == "{}"
    assert cell(record, "history") == "[]"


def test_documents_are_json_text() -> None:
    assert cell(TaskRecord(id="a", result={"é": [1, 0.1, True, None]}), "result") == '{"é":[1,0.1,true,null]}'


@pytest.mark.parametrize(("column", "junk"), [("result", "{"), ("updated_at", "yesterday"), ("history", '[{"at":1}]')])
def test_a_row_of_something_else_is_an_error_that_names_the_task(column: str, junk: str) -> None:
    row = list(TEXT_TIMES.encode(TaskRecord(id="job-7")))
    row[COLUMN_NAMES.index(column)] = junk
    with pytest.raises(RecordUnreadable, match="job-7"):
        TEXT_TIMES.decode(row)
