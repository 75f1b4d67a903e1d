"""What is the plain path's own. The contract is kept in tests/conformance."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rootcellar
from rootcellar.errors import InvalidInput, MissingDriver, NotSupported, SchemaError, StoreUnavailable, StoreURLError
from rootcellar.query import F, matches
from rootcellar.record import Change, TaskRecord
from rootcellar.stores.sqlalchemy import SQLAlchemyStore
from rootcellar.stores.sqlalchemy.filters import coarse_filters
from rootcellar.stores.sqlalchemy.tables import Tables
from rootcellar.testing.strategies import histories, trees

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def opened(url: str, **options: str) -> SQLAlchemyStore:
    store = rootcellar.open(url, **options)
    assert isinstance(store, SQLAlchemyStore)
    return store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "records.db"


@pytest.fixture
def store(path: Path) -> Iterator[SQLAlchemyStore]:
    with opened(f"rootcellar+sqlalchemy+sqlite:///{path}") as store:
        store.setup()
        yield store


def test_the_prefix_is_taken_off(store: SQLAlchemyStore, path: Path) -> None:
    store.apply([Change(id="a", at=NOON, state="SUCCESS", result={"total": 7})])
    connection = sqlite3.connect(path)
    row = connection.execute("SELECT id, state, finished_at, result FROM rootcellar_task").fetchone()
    connection.close()
    assert row == ("a", "SUCCESS", "2026-11-21T12:00:00.000000Z", '{"total":7}')


def test_options_may_stand_in_the_url(path: Path) -> None:
    with opened(f"sqlalchemy+sqlite:///{path}?table=jobs") as store:
        store.setup()
        assert "CREATE TABLE jobs (" in store.schema_sql()
        assert store.drift() == []


def test_a_driver_that_is_missing_is_named() -> None:
    with pytest.raises(MissingDriver, match="oracledb"):
        rootcellar.open("oracle+oracledb://user@localhost/db")


@pytest.mark.parametrize("url", ["sqlalchemy+nothing://x", "sqlalchemy+sqlite:///x?y=%zz&table=a\tb"])
def test_a_url_that_sqlalchemy_cannot_use(url: str) -> None:
    with pytest.raises((StoreURLError, InvalidInput)):
        rootcellar.open(url)


def test_sqlalchemy_itself_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("rootcellar.stores.sqlalchemy")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    with pytest.raises(MissingDriver, match=r"rootcellar\[sqlalchemy\]"):
        rootcellar.open("mssql+pyodbc://user@localhost/db")


def test_what_it_cannot_do_is_said_at_once(path: Path) -> None:
    with pytest.raises(NotSupported, match="no index here"):
        opened(f"sqlalchemy+sqlite:///{path}", indexes="metadata.user")
    with pytest.raises(InvalidInput, match="sqlite://"):
        opened("sqlalchemy+sqlite://")


def test_nothing_is_made_beside_somebody_elses_table(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE rootcellar_task (mine)")
    with opened(f"sqlalchemy+sqlite:///{path}") as store, pytest.raises(SchemaError, match="another shape"):
        store.setup()
    assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("rootcellar_task",)]
    connection.close()


def test_a_newer_layout_is_refused(store: SQLAlchemyStore, path: Path) -> None:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("INSERT INTO rootcellar_task_schema VALUES (99)")
    connection.close()
    with pytest.raises(SchemaError, match="newer rootcellar"):
        store.setup()


def test_a_table_that_is_missing(path: Path) -> None:
    with opened(f"sqlalchemy+sqlite:///{path}") as store:
        with pytest.raises(SchemaError, match="no such table"):
            store.count()
        assert "table rootcellar_task is missing" in store.drift()


def test_an_engine_that_is_away_is_unavailable_and_keeps_its_secrets() -> None:
    with opened("sqlalchemy+postgresql+psycopg://user:s3cret@127.0.0.1:1/db?connect_timeout=2") as store:
        with pytest.raises(StoreUnavailable) as raised:
            store.count()
        assert "s3cret" not in str(raised.value) + repr(store)


def test_the_clock_and_the_version_are_the_engines(store: SQLAlchemyStore) -> None:
    assert abs(store.server_time() - datetime.now(UTC)) < timedelta(seconds=5)
    assert store.describe() == {"engine": "sqlite", "driver": "pysqlite", "version": sqlite3.sqlite_version}


def test_only_plain_conditions_are_left_to_the_engine() -> None:
    query = (F.name == "a") & (F.metadata.user == 1) & (F.started_at > NOON) & ~(F.state == "x") & F.queue.is_in(["q"])
    filters = [str(one.compile().statement) for one in coarse_filters(Tables("t", None).task, query.node)]
    assert filters == [
        "t.name = :name_1",
        "t.started_at >= :started_at_1",
        "t.updated_at >= :updated_at_1",
        "t.queue IN (__[POSTCOMPILE_queue_1])",
    ]


@pytest.fixture(scope="module")
def lasting_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SQLAlchemyStore]:
    with opened(f"sqlalchemy+sqlite:///{tmp_path_factory.mktemp('plain')}/records.db") as store:
        store.setup()
        yield store


@given(data=st.data(), changes=histories("a"))
@settings(max_examples=50)
def test_the_engine_leaves_out_nothing_that_matches(
    lasting_store: SQLAlchemyStore, data: st.DataObject, changes: list[Change]
) -> None:
    record: TaskRecord = changes[-1].delta()
    where = data.draw(trees([record]))
    lasting_store.delete("a")
    lasting_store.apply([record])
    assert lasting_store.count(where) == matches(where, record)
