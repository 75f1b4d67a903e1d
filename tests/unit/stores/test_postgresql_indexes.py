"""The common questions are answered by an index, as the server itself explains."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import rootcellar
from rootcellar import F
from rootcellar.query import Aggregate, Query
from rootcellar.stores._sql.statements import Statement
from rootcellar.stores.postgresql import PostgreSQLStore
from rootcellar.stores.postgresql.merge import record_json
from rootcellar.stores.postgresql.session import read_rows

ROWS = 20_000
START = datetime(2026, 11, 1, tzinfo=UTC)
LATE = START + timedelta(seconds=ROWS - 200)

FILL = f"""
INSERT INTO rootcellar_task (id, state, state_order, updated_at, finished_at, started_at, expires_at, name, group_id,
    parent_id, attempt, request_order, progress_order, metadata, metadata_order, result)
SELECT 'task-' || i, CASE WHEN i % 50 = 0 THEN 'FAILURE' ELSE 'SUCCESS' END, '1' || i, at, at, at,
    at + interval '1 day', 'shop.task' || i % 400, CASE WHEN i % 20 = 0 THEN 'group-' || i / 2000 END,
    CASE WHEN i % 10 = 0 THEN 'task-' || i / 10 END, 0, 1, '',
    jsonb_build_object('user', i % 5003, 'list', jsonb_build_array(i)), jsonb_build_object('user', '1', 'list', '1'),
    jsonb_build_object('total', i / 100.0, 'customer', 'c-' || i % 4001)
FROM (SELECT i, timestamptz '2026-11-01' + i * interval '1 second' AS at FROM generate_series(1, {ROWS}) AS i) AS rows
"""


@pytest.fixture(scope="module")
def store(postgresql_module_url: str) -> Iterator[PostgreSQLStore]:
    with rootcellar.open(postgresql_module_url, indexes="result.total,result.customer,metadata.list.0") as store:
        assert isinstance(store, PostgreSQLStore)
        store.setup()
        store._pool.use(lambda session: session.query(FILL))
        store._pool.use(lambda session: session.query("VACUUM ANALYZE rootcellar_task"))
        yield store


def plan(store: PostgreSQLStore, statement: Statement) -> str:
    sql, values = "EXPLAIN " + statement.sql, tuple(statement.parameters.values())
    rows = store._pool.use(lambda session: read_rows(session.query(sql, values)))
    return "\n".join(line for (line,) in rows)


def indexes(text: str) -> set[str]:
    """The indexes a plan uses; that of a declared path is named by what it is on."""
    assert "Seq Scan" not in text, text
    return {name.removeprefix("rootcellar_task_") for name in re.findall(r"(?:using|on) (rootcellar_task_\w+)", text)}


@pytest.mark.parametrize(
    ("where", "used"),
    [
        (F.state == "FAILURE", "state"),
        ((F.state == "FAILURE") & (F.finished_at > LATE), "state"),
        ((F.name == "shop.task7") & (F.updated_at > START), "name"),
        (F.name == "shop.task7", "name"),
        (F.metadata.user == 42, "metadata"),
        (F.metadata.user.is_in([42, 43]), "metadata"),
        ((F.metadata.user == 42) & (F.state == "SUCCESS"), "metadata"),
        (F.group_id == "group-3", "members"),
        (F.parent_id == "task-77", "children"),
        (F.started_at > LATE, "updated"),
        (F.id == "task-77", "pkey"),
        (F.id.is_in(["task-77", "task-78"]), "pkey"),
    ],
)
def test_a_condition_is_served_by_an_index(store: PostgreSQLStore, where: Any, used: str) -> None:
    statement = next(store._statements.find(Query(where=where.node).checked()))
    assert used in indexes(plan(store, statement))


def test_the_newest_are_read_from_the_end_of_an_index(store: PostgreSQLStore) -> None:
    text = plan(store, next(store._statements.find(Query().checked())))
    assert "Index Scan Backward using rootcellar_task_updated" in text


def test_a_cursor_continues_in_the_index(store: PostgreSQLStore) -> None:
    """The second page costs what the first did; nothing is skipped."""
    page = store.find(limit=10)
    text = plan(store, next(store._statements.find(Query(limit=10, cursor=page.cursor).checked())))
    assert re.search(r"Index Scan Backward using rootcellar_task_updated.*\n\s+Index Cond: \(.*updated_at <=", text), (
        text
    )


def test_a_page_is_put_in_order_by_the_server_as_json(store: PostgreSQLStore) -> None:
    """What turns rows into JSON leaves order and index as they are."""
    statement = next(store._statements.find(Query().checked()))
    text = plan(store, Statement(record_json(statement.sql), statement.parameters))
    assert "Index Scan Backward using rootcellar_task_updated" in text


@pytest.mark.parametrize("where", [F.result.customer == "c-77", F.result.total > 199.9, F.metadata["list"][0] == 77])
def test_a_declared_path_is_served_by_its_own_index(store: PostgreSQLStore, where: Any) -> None:
    (used,) = indexes(plan(store, next(store._statements.find(Query(where=where.node).checked()))))
    assert used.startswith("path_")


def test_a_count_and_an_aggregate_of_late_hours_are_served_by_an_index(store: PostgreSQLStore) -> None:
    where = ((F.state == "FAILURE") & (F.finished_at > LATE)).node
    used = indexes(plan(store, store._statements.count(where)))
    assert used in ({"state"}, {"updated"}), "the second once VACUUM has seen all pages, for it covers"
    late = Aggregate(by=("name",), where=(F.finished_at > LATE).node)
    assert indexes(plan(store, store._statements.aggregate(late))) == {"updated"}


def test_statistics_of_a_span_of_time_read_nothing_but_an_index(store: PostgreSQLStore) -> None:
    late = Aggregate(by=("name", "state"), bucket=60, where=(F.finished_at > LATE).node)
    assert "Index Only Scan using rootcellar_task_updated" in plan(store, store._statements.aggregate(late))


def test_clean_up_reads_the_expired_from_an_index(store: PostgreSQLStore) -> None:
    sql = store._queries["expire_tasks"]
    text = plan(store, Statement(sql, {"now": START, "limit": 1000}))
    assert indexes(text) == {"expires"}
    assert "Tid Scan" in text
