"""SQLite's statements mean what the pure core means."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import rootcellar
from rootcellar.query import Aggregate, And, Condition, Node, Not, Op, Or, Order, Query, aggregate, evaluate, matches
from rootcellar.record import Change, TaskRecord, fold, join
from rootcellar.store.base import Store
from rootcellar.testing.strategies import aggregates, deliveries, histories, queries, trees

IDS = ("a", "B", "é", "😀", "\uffff", "it's")


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    with rootcellar.open("sqlite://?indexes=metadata.user,result.a") as opened:
        opened.setup()
        yield opened


def emptied(store: Store) -> Store:
    store.delete(*IDS)
    return store


def stored_like(records: dict[str, TaskRecord], batch: list[TaskRecord]) -> None:
    for delta in batch:
        known = records.get(delta.id)
        records[delta.id] = delta if known is None else join(known, delta)


lives = st.lists(st.sampled_from(IDS), min_size=1, max_size=4, unique=True).flatmap(
    lambda ids: st.tuples(*[histories(task_id, successes=2) for task_id in ids])
)


@st.composite
def arrivals(draw: st.DrawFn) -> list[list[Change]]:
    """The batches in which the changes of some tasks arrive."""
    changes = [change for life in draw(lives) for change in life]
    return draw(deliveries(changes))


@given(batches=arrivals())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
def test_a_row_is_the_join_of_its_deltas(store: Store, batches: list[list[Change]]) -> None:
    emptied(store)
    records: dict[str, TaskRecord] = {}
    for batch in batches:
        store.apply(batch)
        stored_like(records, fold([change.delta() for change in batch]))
    assert {record.id: record for record in store.fetch(IDS)} == records


@st.composite
def populations(draw: st.DrawFn) -> list[TaskRecord]:
    """Some records."""
    records: dict[str, TaskRecord] = {}
    stored_like(records, [change.delta() for life in draw(lives) for change in life])
    return list(records.values())


@given(data=st.data(), records=populations())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
def test_a_query_finds_what_evaluate_finds_page_by_page(store: Store, data: st.DataObject, records: list[TaskRecord]) -> None:
    emptied(store).apply(records)
    query = data.draw(queries(records, max_limit=3))
    while True:
        page = store.find_documents(query)
        assert page.records == evaluate(query, records)
        if page.cursor is None:
            break
        query = Query(where=query.where, order=query.order, limit=query.limit, cursor=page.cursor)


@given(data=st.data(), records=populations())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
def test_a_count_and_its_complement_are_all(store: Store, data: st.DataObject, records: list[TaskRecord]) -> None:
    emptied(store).apply(records)
    where = data.draw(trees(records))
    assert store.count(where) == sum(matches(where, record) for record in records)
    assert store.count(where) + store.count(Not(where)) == len(records)


@given(data=st.data(), records=populations())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
def test_statistics_are_those_of_aggregate(store: Store, data: st.DataObject, records: list[TaskRecord]) -> None:
    emptied(store).apply(records)
    request = data.draw(aggregates(records))
    found = store.stats(Query(where=request.where), by=request.by, bucket=request.bucket)
    expected = aggregate(request, records)
    assert [(row.key, row.bucket, row.count, row.succeeded, row.failed) for row in found] == [
        (row.key, row.bucket, row.count, row.succeeded, row.failed) for row in expected
    ]
    for row, other in zip(found, expected, strict=True):
        assert (row.runtime_avg, row.runtime_max, row.wait_avg) == pytest.approx(
            (other.runtime_avg, other.runtime_max, other.wait_avg)
        )
