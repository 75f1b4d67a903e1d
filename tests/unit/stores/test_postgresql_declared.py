"""A declared path means what the same path means without an index: only the expressions differ."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import rootcellar
from rootcellar.query import Condition, Node, Not, Op, Query, matches
from rootcellar.record import Change
from rootcellar.stores.postgresql import PostgreSQLStore
from rootcellar.testing.strategies import documents

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
PATHS: dict[str, tuple[str | int, ...]] = {"metadata": ("a",), "result": ("it's", 0), "kwargs": ("a", "b")}


@pytest.fixture(scope="module")
def store(postgresql_module_url: str) -> Iterator[PostgreSQLStore]:
    with rootcellar.open(postgresql_module_url, indexes=["metadata.a", "result.it's.0", "kwargs.a.b"]) as store:
        assert isinstance(store, PostgreSQLStore)
        store.setup()
        yield store


def holding(task_id: str, value: Any) -> Change:
    """A change with `value` at every declared path."""
    request = rootcellar.record.Request(kwargs={"a": {"b": value}})
    return Change(
        id=task_id, at=NOON, state="SUCCESS", metadata={"a": value}, result={"it's": [value]}, request=request
    )


def conditions(values: list[Any]) -> Iterator[Node]:
    """Every comparison of the declared paths with each of the scalars among `values`, and its negation."""
    for operand in values:
        if isinstance(operand, str | int | float):
            ops = [Op.EQ, Op.NE, Op.IN, Op.CONTAINS]
            ops += [] if isinstance(operand, bool) else [Op.LT, Op.LE, Op.GT, Op.GE]
            for op in ops:
                for field, path in PATHS.items():
                    condition = Condition(field, op, (operand,) if op is Op.IN else operand, path)
                    yield condition
                    yield Not(condition)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(values=st.lists(documents(), min_size=1, max_size=3))
@example(values=["199.95", 199.95, 200, "200", True])
@example(values=["x" * 499, "x" * 498, "x" * 600, "é" * 300])
@example(values=[1, 1.0, "1", True, [1], {"a": 1}, None])
@example(values=[2**53, 2**53 + 1, float(2**53), 1e22, "9007199254740993"])
def test_the_same_records_are_found(store: PostgreSQLStore, values: list[Any]) -> None:
    store.delete(*(record.id for record in store.find(limit=1000)))
    changes = [holding(str(number), value) for number, value in enumerate(values)]
    store.apply(changes)
    records = [change.delta() for change in changes]
    for node in conditions(values):
        found = {record.id for record in store.find_documents(Query(where=node)).records}
        assert found == {record.id for record in records if matches(node, record)}, node
