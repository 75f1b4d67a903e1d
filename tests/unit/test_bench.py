"""The bench's own arithmetic; what it measures is measured by `make bench`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING

from bench.machine import Machine
from bench.report import Report, Table
from bench.rounds import Series, take_turns
from bench.sample import KEPT, records

if TYPE_CHECKING:
    import pytest

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
MACHINE = Machine(processor="a", cores=2, memory=4, system="b", fsync=1.0, packages={}, measured="2026-11-21")


def test_contenders_take_turns_in_an_order_that_reverses() -> None:
    order: list[str] = []

    def turn(name: str) -> Callable[[], float]:
        def measured() -> float:
            order.append(name)
            return 1.0

        return measured

    take_turns({name: turn(name) for name in ("a", "b", "c")}, 2)
    assert order == ["a", "b", "c", "c", "b", "a"]


def test_a_ratio_is_that_of_rounds_so_that_a_slow_round_cancels_out() -> None:
    series = Series({"ours": [100, 10, 90], "theirs": [50, 5, 45]})
    assert series.ratio("ours", "theirs") == 2
    assert series.median("ours") == 90


def test_the_page_says_which_bars_were_missed(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report(MACHINE, quick=False)
    report.at_least("speed", 0.7, 0.75)
    report.at_most("wait", 3.0, 5.0, " ms")
    report.at_most("no bar", 3.0, None)
    assert report.missed == 1
    assert "| speed | at least 0.75 | 0.70 | **no** |" in report.page()
    assert "| wait | at most 5 ms | 3.00 ms | yes |" in report.page()
    assert "no bar" not in report.page() + capsys.readouterr().out


def test_a_quick_run_says_that_it_measures_nothing() -> None:
    assert "quick run" in Report(MACHINE, quick=True).page()
    assert "quick run" not in Report(MACHINE, quick=False).page()


def test_a_turned_table_shows_rows_as_columns() -> None:
    table = Table("Queries", "How.", ("", "one", "two"), [("SQLite", "1", "2")], turned=True)
    assert table.lines() == [("", "SQLite"), ("one", "1"), ("two", "2")]


def test_sample_records_are_whole_lives_in_the_order_of_their_times_and_half_of_them_have_expired() -> None:
    sample = list(records(1000, NOW))
    assert len({record.id for record in sample}) == 1000
    queued = [record.queued_at for record in sample]
    assert all(one is not None and other is not None and one < other for one, other in pairwise(queued))
    assert 480 <= sum(record.expires_at < NOW for record in sample if record.expires_at) <= 520
    assert all(record.expires_at == record.updated_at + KEPT for record in sample if record.updated_at)
    assert all(record.metadata and record.metadata_order and record.history for record in sample)


def test_sample_records_are_the_same_each_time_but_for_the_stamps_of_their_metadata() -> None:
    one, other = ([record.id for record in records(50, NOW)] for _ in range(2))
    assert one == other
