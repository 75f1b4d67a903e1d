"""What the MySQL store sends is text that means what it should: literals, patterns, the statement of a merge."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootcellar.errors import InvalidInput
from rootcellar.record import Change, Request, TaskRecord
from rootcellar.stores.mysql.flavour import Flavour
from rootcellar.stores.mysql.literals import encoded, filled, literal
from rootcellar.stores.mysql.merging import MOST_KEYS, merge_statement, split
from rootcellar.stores.mysql.patterns import like_pattern, text_after
from rootcellar.stores.mysql.rows import Rows

MARIADB = Flavour(mariadb=True, version=(10, 11, 6))
OLD_MYSQL = Flavour(mariadb=False, version=(8, 0, 15))
MYSQL = Flavour(mariadb=False, version=(8, 4, 0))
NOON = datetime(2026, 1, 7, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "NULL"),
        (True, "1"),
        (7, "7"),
        (0.1, "0.1e0"),
        (1e300, "1e+300"),
        (float("-inf"), "-1.7976931348623157e308"),
        ("it's", "'it''s'"),
        ("back\\slash", "'back\\\\slash'"),
        ("\\' OR 1=1 --", "'\\\\'' OR 1=1 --'"),
        (NOON, "'2026-01-07 12:00:00.000000'"),
        (NOON.astimezone(timezone(timedelta(hours=2))), "'2026-01-07 12:00:00.000000'"),
        (["a", 1], "('a', 1)"),
    ],
)
def test_a_literal(value: Any, text: str) -> None:
    assert literal(value) == text


def test_what_is_no_value_of_a_column_is_refused() -> None:
    with pytest.raises(InvalidInput, match="a dict is no value for a column"):
        literal({})


@given(st.text())
def test_no_text_ends_its_literal(text: str) -> None:
    """Neither where a backslash escapes nor, after a change of sql_mode, where it does not."""
    inside = literal(text)[1:-1]
    assert "'" not in inside.replace("''", "")
    assert inside.replace("''", "'").replace("\\\\", "\\") == text


def test_a_percent_sign_in_a_value_is_no_place_holder() -> None:
    assert filled("SELECT %(a)s, %(b)s, '%%'", {"a": "%(b)s", "b": "100%"}) == "SELECT '%(b)s', '100%', '%'"


def test_a_lone_surrogate_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(InvalidInput, match="lone surrogate"):
        encoded("\ud800")


@pytest.mark.parametrize(
    ("pattern", "like"), [("a*", "a%"), ("?b", "_b"), ("50%_|", "50|%|_||"), ("***", "%"), ("a\\b", "a\\b")]
)
def test_a_pattern(pattern: str, like: str) -> None:
    assert like_pattern(pattern) == like


@pytest.mark.parametrize(
    ("prefix", "after"),
    [
        ("a", "b"),
        ("shop.", "shop/"),
        ("a\ud7ff", "a\ue000"),
        ("a\uffff", "a\U00010000"),
        ("a\U0010ffff\U0010ffff", "b"),
        ("\U0010ffff", None),
    ],
    ids=ascii,
)
def test_what_lies_behind_all_that_begin_with_a_prefix(prefix: str, after: str | None) -> None:
    assert text_after(prefix) == after


def merged(flavour: Flavour, *changes: Change) -> tuple[str, str]:
    records = [change.delta() for change in changes]
    return merge_statement("`t`", flavour, records, list(map(Rows(flavour).encode, records)))


def success(**values: Any) -> Change:
    return Change(id="a", at=NOON, state="SUCCESS", **values)


def test_the_incoming_row_has_a_name_where_the_old_way_draws_a_warning() -> None:
    """From MySQL 8.0.20 on VALUES(column) is deprecated; before 8.0.19, and on MariaDB, there is nothing else."""
    _, update = merged(MYSQL, success())
    assert update.startswith(" AS new ON DUPLICATE KEY UPDATE ")
    assert "VALUES(" not in update
    for flavour in (OLD_MYSQL, MARIADB):
        _, update = merged(flavour, success())
        assert "VALUES(state_order)" in update
        assert "new." not in update


def test_registers_that_say_nothing_are_left_out() -> None:
    insert, update = merged(MARIADB, success())
    assert "kwargs" not in insert + update
    assert "metadata = " not in update
    assert "progress = " not in update
    insert, update = merged(MARIADB, success(request=Request(name="shop.report", kwargs={})))
    assert "kwargs" in insert
    assert " name = " in update


def test_a_column_that_is_null_everywhere_is_not_sent_but_replaced() -> None:
    """A success without a result replaces the result of an earlier run by none."""
    insert, update = merged(MARIADB, success())
    assert "result" not in insert
    assert "result = CASE" in update


@pytest.mark.parametrize("register", ["state_order", "request_order", "progress_order", "metadata_order"])
def test_what_decides_a_register_is_assigned_last_in_it(register: str) -> None:
    """Later assignments see earlier ones."""
    change = success(request=Request(name="n"), progress=1, metadata={"user": 42}, metadata_order={"user": "1" * 24})
    for flavour in (MARIADB, OLD_MYSQL, MYSQL):
        _, update = merged(flavour, change)
        *_, last = [part for part in update.split(", ") if f"{register} = " in part or f" {register} = " in part]
        behind = update[update.index(last) + len(last) :]
        assert f"WHEN new.{register} >" not in behind
        assert f"WHEN VALUES({register}) >" not in behind


def test_rows_with_the_same_keys_name_them_and_others_count_them() -> None:
    def annotated(**metadata: Any) -> Change:
        return success(metadata=metadata, metadata_order=dict.fromkeys(metadata, "1" * 24))

    _, update = merged(MARIADB, annotated(user=1, file="a"), annotated(file="b", user=2), success())
    assert """'$."user"'""" in update
    assert "JSON_KEYS" not in update
    _, update = merged(MARIADB, annotated(user=1, file="a"), annotated(user=2))
    assert "JSON_KEYS" in update


def test_a_record_with_many_metadata_keys_goes_in_several_rows() -> None:
    keys = [f"key {number}" for number in range(2 * MOST_KEYS + 1)]
    record = TaskRecord(id="a", state="STARTED", state_order="0", metadata=dict.fromkeys(keys, 1))
    record.metadata_order = dict.fromkeys(keys, "1" * 24)
    first, *others = split(record)
    assert (first.state, len(first.metadata_order)) == ("STARTED", MOST_KEYS)
    assert [part.state_order for part in others] == ["", ""]
    assert {key for part in (first, *others) for key in part.metadata_order} == set(keys)
