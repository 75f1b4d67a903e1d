"""How values become short text, and how a table fits."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from rootcellar.cli.formats import call, duration, relative, short_id, visible
from rootcellar.cli.output import Column, Table, cell_width, fitting_widths, json_line, plain_lines
from rootcellar.cli.portrait import family_tree
from rootcellar.record import TaskRecord


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""),
        (0, "0 ms"),
        (0.00034, "0.34 ms"),
        (0.084, "84 ms"),
        (1.25, "1.25 s"),
        (59.9, "59.9 s"),
        (125, "2 min 5 s"),
        (3600, "1 h"),
        (90_061, "1 d 1 h"),
        (-2, "-2 s"),
    ],
)
def test_a_duration_has_the_units_that_matter(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("ago", "text"),
    [(0.2, "now"), (5, "5 s ago"), (200, "3 min ago"), (7300, "2 h ago"), (200_000, "2 d ago"), (-200, "in 3 min")],
)
def test_a_time_is_a_distance(ago: float, text: str) -> None:
    now = datetime.now(UTC)
    assert relative(now - timedelta(seconds=ago), now) == text


def test_only_uuids_are_shortened() -> None:
    assert short_id("7a0c1d2e-0000-4000-8000-000000000000") == "7a0c1d2e"
    assert short_id("nightly-report-2026-11-21") == "nightly-report-2026-11-21"


def test_nothing_a_terminal_obeys_gets_through() -> None:
    assert visible("a\x1b[2J\r\n\x9b\u202eb\ud800") == r"a\x1b[2J\r\n\x9b\u202eb\ud800"
    assert visible("naïve 漢字 \U0001f600") == "naïve 漢字 \U0001f600"


def test_a_call_reads_like_one() -> None:
    assert call("shop.report", [7, "a"], {"b": None}) == 'shop.report(7, "a", b=null)'
    assert call(None, None, None) == "?()"


def test_json_keeps_every_number_and_stays_on_a_line() -> None:
    for value in ({"a": 10**30}, {"a": "\ud800"}, {"a": "line\nline\x9b\x7f"}, {"a": 0.1}):
        text = json_line(value)
        assert "\n" not in text
        assert "\x9b" not in text
        assert json.loads(text) == value


TABLE = Table(
    columns=[Column(title="ID"), Column(title="NAME", flexible=True), Column(title="COUNT", rank=1, right=True)],
    rows=[["1", "漢字" * 20, "7"], [("22", "cyan"), "b", ""]],
)


def test_a_plain_table_is_aligned_and_whole() -> None:
    assert list(plain_lines(TABLE)) == [
        "ID  NAME" + " " * 76 + "  COUNT",
        "1   " + "漢字" * 20 + "      7",
        "22  b",
    ]


def test_a_table_gives_up_columns_and_then_width() -> None:
    assert fitting_widths(TABLE, 200) == {0: 2, 1: 80, 2: 5}
    assert fitting_widths(TABLE, 40) == {0: 2, 1: 29, 2: 5}
    assert fitting_widths(TABLE, 25) == {0: 2, 1: 21}
    assert fitting_widths(TABLE, 5) == {0: 2, 1: 16}


def test_wide_and_combining_characters_are_counted() -> None:
    assert cell_width("漢字") == 4
    assert cell_width("e\u0301") == 1


def test_a_family_with_a_cycle_or_a_stranger_is_drawn_all_the_same() -> None:
    """Records come from anywhere: a parent may be missing, or be the task itself."""
    family = [
        TaskRecord(id="a", name="a", parent_id="a"),
        TaskRecord(id="b", name="b", parent_id="a"),
        TaskRecord(id="c", name="c", parent_id="gone"),
    ]
    lines = ["".join(text for text, _ in spans) for spans in family_tree(family, "b", unicode=False)]
    assert lines == ["a a PENDING", "`- b b PENDING < this one", "c c PENDING"]
