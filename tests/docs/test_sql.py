"""The SQL of ``docs/records.md`` runs on the engines it is for, and finds something."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pymysql
import pytest

import rootcellar
from rootcellar import codec
from rootcellar.record import Change, Request
from rootcellar.store.url import parse
from tests.docs.blocks import ROOT, blocks

STATEMENTS = [block for block in blocks((ROOT / "docs" / "records.md").read_text()) if block.language == "sql"]


def fill(url: str) -> None:
    """The records that the statements ask for."""
    now = datetime.now(UTC) - timedelta(minutes=5)
    at = [now + timedelta(seconds=second) for second in range(3)]
    request = Request(name="shop.report", queue="celery")
    error = codec.encode_exception(LookupError("order 1008 was never paid"))
    with rootcellar.open(url) as store:
        store.setup()
        store.apply(
            [
                Change(id="a", at=at[0], state="QUEUED", request=request, queued_at=now, metadata={"user": 42}),
                Change(id="a", at=at[1], state="STARTED", started_at=at[1], request=request),
                Change(
                    id="a", at=at[2], state="SUCCESS", started_at=at[1], request=request, result={"total": "199.95"}
                ),
                Change(id="b", at=at[2], state="FAILURE", started_at=at[1], request=request, error=error),
            ]
        )


def assert_each_finds(engine: str, rows: Any) -> None:
    statements = [block for block in STATEMENTS if block.title == engine]
    assert len(statements) == len([block for block in STATEMENTS if block.title == "SQLite"])
    for block in statements:
        found: Sequence[Any] = rows(block.text)
        assert found, f"line {block.line}"
        assert found[0][0] is not None, f"line {block.line}"


def test_on_sqlite(sqlite_url: str) -> None:
    fill(sqlite_url)
    with closing(sqlite3.connect("/" + parse(sqlite_url).path.lstrip("/"))) as connection:
        assert_each_finds("SQLite", lambda sql: connection.execute(sql).fetchall())


def test_on_postgresql(postgresql_url: str) -> None:
    fill(postgresql_url)
    with psycopg.connect(postgresql_url) as connection:
        assert_each_finds("PostgreSQL", lambda sql: connection.execute(sql).fetchall())


@pytest.mark.parametrize(
    "engine",
    [
        pytest.param("mariadb", marks=[pytest.mark.server, pytest.mark.store("mariadb")]),
        pytest.param("mysql", marks=[pytest.mark.server, pytest.mark.store("mysql")]),
    ],
)
def test_on_mysql_and_mariadb(request: pytest.FixtureRequest, engine: str) -> None:
    url = request.getfixturevalue(f"{engine}_url")
    fill(url)
    place = parse(url)
    connection = pymysql.connect(
        host=place.host, port=place.port or 0, user=place.username, password=place.password, database=place.path
    )
    with closing(connection), connection.cursor() as cursor:

        def rows(sql: str) -> Any:
            cursor.execute(sql)
            return cursor.fetchall()

        assert_each_finds("MySQL, MariaDB", rows)
