"""Set-up of PostgreSQL's tables: whoever comes, whatever is there."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime

import psycopg
import pytest

import rootcellar
from rootcellar.errors import AccessDenied, SchemaError
from rootcellar.record import Change
from rootcellar.stores.postgresql import PostgreSQLStore
from rootcellar.stores.postgresql import schema as schema_module

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def opened(url: str, **options: str) -> PostgreSQLStore:
    store = rootcellar.open(url, **options)
    assert isinstance(store, PostgreSQLStore)
    return store


@contextmanager
def connection(url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(url, autocommit=True) as found:
        yield found


@contextmanager
def role(url: str, *rights: str) -> Iterator[str]:
    """The URL of a role of the database's own, with no more than `rights`; ``{role}`` stands for its name."""
    name = "role_" + url.rpartition("/")[2]
    with connection(url) as owner:
        owner.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'role-key'".encode())
        for right in rights:
            owner.execute(right.format(role=name).encode())
        try:
            yield url.replace("rootcellar:cellar-key@", f"{name}:role-key@")
        finally:
            owner.execute(f"DROP OWNED BY {name}".encode())
            owner.execute(f"DROP ROLE {name}".encode())


@pytest.fixture
def store(postgresql_url: str) -> Iterator[PostgreSQLStore]:
    with opened(postgresql_url) as store:
        store.setup()
        yield store


def names_of(url: str, kind: str) -> set[str]:
    with connection(url) as found:
        rows = found.execute("SELECT relname FROM pg_class WHERE relkind = %s AND relname LIKE '%%task%%'", [kind])
        return {name for (name,) in rows}


def test_after_set_up_nothing_has_drifted(store: PostgreSQLStore) -> None:
    assert store.drift() == []
    store.setup()
    assert store.drift() == []


def test_the_printed_sql_makes_the_same(postgresql_url: str) -> None:
    """Run by a DBA instead of `setup`, declared paths included."""
    with opened(postgresql_url, indexes="metadata.user,result.items.0") as store:
        with connection(postgresql_url) as dba:
            dba.execute(store.schema_sql().encode())
        assert store.drift() == []
        store.setup()
        store.apply([Change(id="a", at=NOON, state="SUCCESS")])


def test_tables_in_a_schema_and_under_a_name_of_the_users(postgresql_url: str) -> None:
    """However odd the name; with the rows of another store beside it."""
    options = {"schema": "tasks of the shop", "table": 'the "100%" table', "indexes": "metadata.user"}
    with opened(postgresql_url, **options) as store, opened(postgresql_url) as other:
        with connection(postgresql_url) as dba:
            dba.execute(store.schema_sql().encode())
        store.setup()
        other.setup()
        store.apply([Change(id="a", at=NOON, state="SUCCESS", metadata={"user": 1})])
        assert [record.id for record in store.find("metadata.user:1")] == ["a"]
        assert store.drift() == []
        assert other.count() == 0


def test_a_schema_that_is_missing_is_made(postgresql_url: str) -> None:
    with opened(postgresql_url, schema="shop") as store:
        store.setup()
        assert store.count() == 0


def test_a_role_without_the_right_to_make_tables_uses_those_that_are_there(store: PostgreSQLStore) -> None:
    rights = ["GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}"]
    with role(store.url, *rights) as url, opened(url) as worker:
        worker.setup()
        worker.apply([Change(id="a", at=NOON, state="SUCCESS")])
        assert worker.cleanup() == 0
        assert worker.drift() == []
        watcher = worker.watcher()
        watcher.close()


def test_a_role_that_may_not_make_the_tables_is_told(postgresql_url: str) -> None:
    with role(postgresql_url) as url, opened(url) as worker, pytest.raises(AccessDenied, match="permission denied"):
        worker.setup()


def test_a_role_that_may_not_read_is_told(store: PostgreSQLStore) -> None:
    with role(store.url) as url, opened(url) as worker, pytest.raises(AccessDenied, match="permission denied"):
        worker.count()


def test_a_role_that_may_not_make_an_index_goes_without(
    store: PostgreSQLStore, caplog: pytest.LogCaptureFixture
) -> None:
    """It says so, and drift says so; the records are found all the same."""
    rights = ["GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}"]
    with role(store.url, *rights) as url, opened(url, indexes="metadata.user") as worker:
        with caplog.at_level(logging.WARNING, logger="rootcellar"):
            worker.setup()
        assert "may not make the indexes" in caplog.text
        assert [finding.rpartition(" ")[2] for finding in worker.drift()] == ["missing", "missing"]
        worker.apply([Change(id="a", at=NOON, metadata={"user": 1})])
        assert worker.count("metadata.user:1") == 1


def test_a_path_declared_later_gets_its_indexes(store: PostgreSQLStore) -> None:
    store.apply([Change(id="a", at=NOON, state="SUCCESS", result={"total": 7})])
    with opened(store.url, indexes="result.total") as later:
        assert len(later.drift()) == 2
        later.setup()
        assert later.drift() == []
        assert later.count("result.total>6") == 1
    assert store.drift() == []


def test_an_index_whose_making_was_interrupted_is_made_again(store: PostgreSQLStore) -> None:
    with opened(store.url, indexes="result.total") as later:
        later.setup()
        with connection(store.url) as owner:
            owner.execute("UPDATE pg_index SET indisvalid = FALSE WHERE indexrelid::regclass::text LIKE '%path%'")
        assert sum("not valid" in finding for finding in later.drift()) == 2
        later.setup()
        assert later.drift() == []


def test_a_value_too_long_for_an_index_is_stored_and_found(postgresql_url: str) -> None:
    with opened(postgresql_url, indexes="metadata.note") as store:
        store.setup()
        long = "x" * 100_000
        for task_id, note in (("long", long), ("short", "x"), ("list", [long]), ("none", None)):
            store.apply([Change(id=task_id, at=NOON, metadata={"note": note})])
        found = [record.id for record in store.find_documents(store.query(rootcellar.F.metadata.note == long)).records]
        assert found == ["long"]


# -- what is in the way ------------------------------------------------------------------------------------------------


def test_a_table_that_is_not_ours_is_left_alone(postgresql_url: str) -> None:
    with connection(postgresql_url) as owner:
        owner.execute("CREATE TABLE rootcellar_task (id int)")
        with opened(postgresql_url) as store, pytest.raises(SchemaError, match="not made by rootcellar"):
            store.setup()
        assert names_of(postgresql_url, "r") == {"rootcellar_task"}


@pytest.mark.parametrize(
    ("statement", "finding"),
    [
        ("ALTER TABLE rootcellar_task DROP COLUMN priority", "column rootcellar_task.priority is missing"),
        ("ALTER TABLE rootcellar_task ALTER COLUMN pid TYPE text", "column rootcellar_task.pid is text, not bigint"),
        ("DROP TABLE rootcellar_task_chord", "table rootcellar_task_chord is missing"),
    ],
)
def test_tables_of_another_shape(store: PostgreSQLStore, statement: str, finding: str) -> None:
    with connection(store.url) as owner:
        owner.execute(statement.encode())
    assert finding in store.drift()
    with pytest.raises(SchemaError, match=finding):
        store.setup()


def test_what_is_only_odd_is_reported_and_worked_with(store: PostgreSQLStore) -> None:
    with connection(store.url) as owner:
        owner.execute("ALTER TABLE rootcellar_task ADD COLUMN note text")
        owner.execute("DROP INDEX rootcellar_task_name")
    assert store.drift() == [
        "column rootcellar_task.note is unexpected",
        "index rootcellar_task_name is missing",
    ]
    store.setup()
    store.apply([Change(id="a", at=NOON, state="SUCCESS")])
    assert store.count() == 1


def test_tables_of_a_newer_version(store: PostgreSQLStore) -> None:
    with connection(store.url) as owner:
        owner.execute("INSERT INTO rootcellar_task_schema (version) VALUES (999)")
    with pytest.raises(SchemaError, match="newer rootcellar"):
        store.setup()


def test_tables_that_are_missing(postgresql_url: str) -> None:
    with opened(postgresql_url) as store, pytest.raises(SchemaError, match=r"setup\(\)"):
        store.count()


def test_a_server_that_is_too_old(postgresql_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema_module, "OLDEST", 99)
    with opened(postgresql_url) as store, pytest.raises(SchemaError, match="needs 99 or newer"):
        store.setup()


def test_a_database_in_another_encoding(postgresql_url: str) -> None:
    name = postgresql_url.rpartition("/")[2] + "_latin"
    url = postgresql_url.rpartition("/")[0] + "/" + name
    with connection(postgresql_url) as owner:
        owner.execute(f"CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0".encode())
        try:
            with opened(url) as store, pytest.raises(SchemaError, match="LATIN1"):
                store.setup()
        finally:
            owner.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def test_many_set_up_at_once_with_a_declared_path(postgresql_url: str) -> None:
    """On an empty database, and again on one in use when a path is new."""
    for indexes in ("metadata.user", "metadata.user,result.total"):
        stores = [opened(postgresql_url, indexes=indexes) for _ in range(10)]
        with ThreadPoolExecutor(10) as threads:
            list(threads.map(lambda store: store.setup(), stores))
        assert stores[0].drift() == []
        for store in stores:
            store.close()


def test_a_lock_that_is_not_to_be_had_is_tried_for_again(
    postgresql_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A set-up gives up its place in the line, so that no writer waits long behind it."""
    monkeypatch.setattr(schema_module, "LOCK_TIMEOUT", 0.05)
    with opened(postgresql_url) as store, connection(postgresql_url) as other:
        other.autocommit = False
        other.execute("CREATE TABLE rootcellar_task (id int)")
        monkeypatch.setattr("time.sleep", lambda _seconds: other.rollback())
        with caplog.at_level(logging.WARNING, logger="rootcellar"):
            store.setup()
        assert "waiting for a lock" in caplog.text
        assert store.drift() == []


# -- describing --------------------------------------------------------------------------------------------------------


def test_what_is_in_force_is_said(store: PostgreSQLStore) -> None:
    with opened(store.url + "?synchronous_commit=local") as local:
        described = local.describe()
    assert described["synchronous_commit"] == "local"
    assert described["engine"] == "PostgreSQL"
    assert described["push"]
    assert not described["durable"]  # the tests' server runs without fsync


def test_durability_is_left_as_the_server_has_it(store: PostgreSQLStore) -> None:
    with connection(store.url) as owner:
        row = owner.execute("SHOW synchronous_commit").fetchone()
    assert row is not None
    assert store.describe()["synchronous_commit"] == row[0]


def test_the_servers_clock(store: PostgreSQLStore) -> None:
    assert store.server_time().tzinfo is UTC
    assert abs((store.server_time() - datetime.now(UTC)).total_seconds()) < 60
