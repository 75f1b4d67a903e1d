"""Condition trees as SQL: how they are written. That they mean what the core means is for the conformance suite."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from rootcellar.query import MAX_DEPTH, MAX_NODES, And, Condition, F, Node, Not, Op, Or, Order, Query
from rootcellar.store import open_url
from rootcellar.stores._sql.conditions import Conditions
from rootcellar.stores._sql.dialect import Bindings, glob_prefix
from rootcellar.stores._sql.statements import Statements
from rootcellar.stores.sqlite.dialect import SQLiteDialect

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
dialect = SQLiteDialect()


def where(node: Node) -> str:
    return Conditions(dialect, Bindings(dialect)).where(node)


def test_a_plain_condition_is_such_that_an_index_serves_it() -> None:
    assert where((F.state == "FAILURE").node) == "state = :p0"


def test_only_below_a_negation_is_null_made_false() -> None:
    assert where(Not((F.state == "FAILURE").node)) == "NOT COALESCE(state = :p0, 1 = 0)"
    assert where(Not(Not((F.state == "FAILURE").node))) == "state = :p0"


def test_a_negation_goes_down_to_the_conditions() -> None:
    either = ((F.attempt > 1) | (F.priority > 2)).node
    assert where(Not(either)) == "(NOT COALESCE(attempt > :p0, 1 = 0) AND NOT COALESCE(priority > :p1, 1 = 0))"


@pytest.mark.parametrize("field", ["queued_at", "started_at", "finished_at"])
def test_what_began_later_was_updated_later(field: str) -> None:
    """So the index on `updated_at` serves bounds on the other times."""
    assert where(Condition(field, Op.GT, NOON)) == f"{field} > :p0 AND updated_at >= :p1"


def test_what_finished_earlier_was_not_updated_since() -> None:
    assert where((F.finished_at < NOON).node) == "finished_at < :p0 AND updated_at <= :p1"
    assert where((F.started_at < NOON).node) == "started_at < :p0"


def test_no_bound_follows_from_one_of_several_conditions() -> None:
    assert "updated_at" not in where(((F.finished_at > NOON) | (F.state == "x")).node)
    assert "updated_at" not in where(Not((F.finished_at > NOON).node))


def test_values_are_parameters() -> None:
    bind = Bindings(dialect)
    sql = Conditions(dialect, bind).where((F.name == "'; DROP TABLE x; --").node)
    assert sql == "name = :p0"
    assert bind.values == {"p0": "'; DROP TABLE x; --"}


def test_keys_of_a_path_are_literals_that_end_where_they_should() -> None:
    assert where(F.metadata["it's"].exists().node) == """json_extract(metadata, '$."it''s"') IS NOT NULL"""


def test_an_order_by_finish_is_served_by_the_index_on_updates() -> None:
    first, second = Statements(dialect, "t").find(Query(order=(Order("finished_at", descending=True),)))
    assert "finished_at IS NOT NULL ORDER BY updated_at DESC, id DESC" in first.sql
    assert "finished_at IS NULL ORDER BY id DESC" in second.sql


def test_records_without_a_sort_value_are_asked_for_last() -> None:
    first, second = Statements(dialect, "t").find(Query(order=(Order("name"),)))
    assert "name IS NOT NULL ORDER BY name ASC, id ASC" in first.sql
    assert "name IS NULL ORDER BY id ASC" in second.sql
    assert len(list(Statements(dialect, "t").find(Query(order=(Order("id"),))))) == 1
    assert len(list(Statements(dialect, "t").find(Query(where=(F.updated_at > NOON).node)))) == 1


def chain(leaf: Node, *, first: bool) -> Node:
    node: Node = leaf
    for level in range(MAX_DEPTH - 1):
        pair = (node, leaf) if first else (leaf, node)
        node = And(pair) if level % 2 else Or(pair)
    return node


@pytest.mark.parametrize("first", [True, False])
def test_the_deepest_tree_is_not_too_deep_for_a_parser(*, first: bool) -> None:
    with open_url("sqlite://") as store:
        assert store.count(chain((F.metadata.user > 1).node, first=first)) == 0


@pytest.mark.slow
def test_the_widest_tree_is_not_too_wide_for_a_parser() -> None:
    nodes = tuple(Condition("result", Op.GT, number, ("total",)) for number in range(MAX_NODES - 1))
    with open_url("sqlite://") as store:
        assert store.count(Or(nodes)) == 0
        assert store.count(Condition("result", Op.IN, tuple(range(5_000)), ("total",))) == 0
        assert store.count(Condition("id", Op.IN, tuple(map(str, range(5_000))))) == 0


@pytest.mark.parametrize(("pattern", "prefix"), [("shop.*", "shop."), ("*", ""), ("a?c", "a"), ("abc", "abc")])
def test_what_a_pattern_begins_with(pattern: str, prefix: str) -> None:
    assert glob_prefix(pattern) == prefix
