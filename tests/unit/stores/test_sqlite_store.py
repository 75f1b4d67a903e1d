"""What is SQLite's own: its URL, its file, its settings, its indexes. The contract is kept in tests/conformance."""

from __future__ import annotations

import resource
import sqlite3
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import rootcellar
from rootcellar import F
from rootcellar.errors import AccessDenied, InvalidInput, RootcellarError, SchemaError, StoreUnavailable, StoreURLError
from rootcellar.query import Aggregate, Expression
from rootcellar.record import Change, Request, TaskRecord
from rootcellar.stores._sql.slices import sliced
from rootcellar.stores._sql.statements import PageClauses
from rootcellar.stores.sqlite import SQLiteStore, connections
from rootcellar.stores.sqlite.joins import join_values

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def opened(path: Path | str, **options: str) -> SQLiteStore:
    store = rootcellar.open(f"sqlite:///{path}", **options)
    assert isinstance(store, SQLiteStore)
    return store


def success(task_id: str, **metadata: object) -> Change:
    return Change(id=task_id, at=NOON, state="SUCCESS", result={"total": 7}, metadata=metadata or None)


def named(number: int, name: str) -> Change:
    at = NOON + timedelta(seconds=number)
    return Change(id=f"{number:04d}", at=at, state="SUCCESS", request=Request(name=name))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "records.sqlite3"


@pytest.fixture
def store(path: Path) -> Iterator[SQLiteStore]:
    with opened(path) as store:
        store.setup()
        yield store


# -- URL and settings --------------------------------------------------------------------------------------------------


def test_a_relative_path_is_taken_from_where_the_store_was_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with opened("here.db") as store:
        monkeypatch.chdir("/")
        store.setup()
    assert (tmp_path / "here.db").exists()


def test_a_path_may_hold_what_urls_and_uris_give_a_meaning_to(tmp_path: Path) -> None:
    with opened(tmp_path / "50%25 of%3Fmode=memory #1.db") as store:
        store.setup()
    assert (tmp_path / "50% of?mode=memory #1.db").exists()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("sqlite://host/file.db", "names no host"),
        ("sqlite:///x.db?synchronous=off", "synchronous='off'"),
        ("sqlite:///x.db?journal_mode=memory", "journal_mode='memory'"),
        ("sqlite:///x.db?busy_timeout=soon", "busy_timeout='soon'"),
        ("sqlite:///x.db?busy_timeot=5", "did you mean 'busy_timeout'"),
        ("sqlite:///x.db?schema=mine", "no schemas"),
        ("sqlite:///x.db?indexes=name", "no path into a document"),
    ],
)
def test_a_url_that_means_nothing_is_refused(url: str, message: str) -> None:
    with pytest.raises((InvalidInput, StoreURLError), match=message):
        rootcellar.open(url)


@pytest.mark.parametrize(("synchronous", "durable"), [("normal", False), ("full", True), ("extra", True)])
def test_durability_is_what_the_url_says(path: Path, synchronous: str, durable: bool) -> None:
    with opened(f"{path}?synchronous={synchronous}") as store:
        store.setup()
        described = store.describe()
    assert (described["journal_mode"], described["synchronous"]) == ("wal", synchronous)
    assert described["durable"] is durable


def test_the_default_is_durable(store: SQLiteStore) -> None:
    assert store.describe()["durable"] is True


def test_the_clock_is_that_of_the_machine(store: SQLiteStore) -> None:
    assert abs(store.server_time() - datetime.now(UTC)) < timedelta(seconds=5)


def test_a_sqlite_that_is_too_old_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 31, 1))
    with pytest.raises(RootcellarError, match=r"needs 3\.37\.0 or later"):
        opened(path).setup()


# -- files that are not as they should be ------------------------------------------------------------------------------


def test_reading_makes_no_file(path: Path) -> None:
    with opened(path) as store, pytest.raises(SchemaError, match=r"setup\(\) makes it"):
        store.get("a")
    assert not path.exists()


def test_a_missing_directory(tmp_path: Path) -> None:
    with opened(tmp_path / "gone" / "x.db") as store, pytest.raises(StoreUnavailable, match=r"directory .*gone"):
        store.setup()


def test_a_directory(tmp_path: Path) -> None:
    with opened(tmp_path) as store, pytest.raises(SchemaError, match="is a directory"):
        store.setup()


def test_another_kind_of_file_stays_as_it_is(path: Path) -> None:
    path.write_bytes(b"no database at all, but a text " * 100)
    before = path.read_bytes()
    with opened(path) as store, pytest.raises(SchemaError, match="no SQLite database"):
        store.setup()
    assert path.read_bytes() == before


def test_a_database_without_the_table(path: Path) -> None:
    sqlite3.connect(path).close()
    with opened(path) as store, pytest.raises(SchemaError, match="no such table"):
        store.apply([success("a")])


def test_somebody_elses_table_stays_as_it_is(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE rootcellar_task (mine)")
    with opened(path) as store, pytest.raises(SchemaError, match="already exists"):
        store.setup()
    assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("rootcellar_task",)]
    connection.close()


def test_a_table_that_lost_a_column_is_refused(store: SQLiteStore, path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("ALTER TABLE rootcellar_task DROP COLUMN origin")
    connection.close()
    with pytest.raises(SchemaError, match=r"rootcellar_task\.origin is missing"):
        store.setup()
    with pytest.raises(SchemaError, match="origin"):
        store.apply([success("a")])


def test_a_newer_schema_is_refused(store: SQLiteStore, path: Path) -> None:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("INSERT INTO rootcellar_task_schema VALUES (99, '')")
    connection.close()
    with pytest.raises(SchemaError, match="newer rootcellar"):
        store.setup()


def test_a_database_that_may_only_be_read(store: SQLiteStore, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As root every file can be written, so the connection is made read-only here; SQLite says the same of both."""

    def connected_to_read(uri: str) -> sqlite3.Connection:
        return connected(uri.replace("mode=rw", "mode=ro"))

    store.apply([success("a")])
    store.close()
    with opened(f"{path}?journal_mode=delete") as other:
        assert other.describe()["journal_mode"] == "delete"
    connected = connections._connected
    monkeypatch.setattr(connections, "_connected", connected_to_read)
    with opened(path) as reader:
        assert reader.get("a") is not None
        with pytest.raises(AccessDenied, match="cannot be written"):
            reader.apply([success("b")])


def test_a_full_disk(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def opened_on_a_full_disk(settings: connections.Settings) -> sqlite3.Connection:
        connection = opened_as_ever(settings)
        connection.execute("PRAGMA max_page_count = 1")
        return connection

    opened_as_ever = connections.opened
    monkeypatch.setattr(connections, "opened", opened_on_a_full_disk)
    store.close()
    with pytest.raises(StoreUnavailable, match="full"):
        store.apply([Change(id="a", at=NOON, state="SUCCESS", result="x" * 100_000)])
    assert store.get("a") is None


def test_a_writer_who_holds_the_lock_for_too_long(store: SQLiteStore, path: Path) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with opened(f"{path}?busy_timeout=20") as waiting:
        with pytest.raises(StoreUnavailable, match="locked by another writer"):
            waiting.apply([success("a")])
        assert waiting.get("a") is None
        other.execute("ROLLBACK")
        waiting.apply([success("a")])
    other.close()
    assert store.get("a") is not None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (Change(id="a", at=NOON, state="STARTED", worker="\ud800"), "lone surrogate"),
        (Change(id="a", at=NOON, state="STARTED", pid=2**63), "64 bits"),
    ],
)
def test_values_that_no_column_holds(store: SQLiteStore, change: Change, message: str) -> None:
    with pytest.raises(RootcellarError, match=message):
        store.apply([success("b"), change])
    assert store.count() == 0


# -- schema ------------------------------------------------------------------------------------------------------------


def test_what_a_dba_ran_is_what_set_up_makes(path: Path) -> None:
    connection = sqlite3.connect(path)
    with opened(path, indexes="metadata.user") as store:
        connection.executescript(store.schema_sql())
        assert store.drift() == []
        store.setup()
        store.apply([success("a")])
    connection.close()


def test_drift_is_told_in_sentences(store: SQLiteStore, path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.executescript(
        "ALTER TABLE rootcellar_task ADD COLUMN mine TEXT;"
        "DROP INDEX rootcellar_task_name;"
        "DROP TABLE rootcellar_task_group"
    )
    connection.close()
    assert store.drift() == [
        "column rootcellar_task.mine is unexpected",
        "table rootcellar_task_group is missing",
        "index rootcellar_task_name is missing",
    ]


def test_set_up_makes_and_drops_the_indexes_of_paths(path: Path) -> None:
    def indexes(option: str | None) -> set[str]:
        with opened(path, **({} if option is None else {"indexes": option})) as store:
            store.setup()
            assert store.drift() == []
            found = store._database.read(store._shape).indexes
            return {name for name in found if "_path_" in name}

    user = indexes("metadata.user")
    assert len(user) == 2
    assert len(indexes("metadata.user,result.total")) == 4
    assert indexes("metadata.user") == user
    assert indexes(None) == user, "a process that says nothing about indexes leaves them as they are"
    assert indexes("") == set()


def test_tables_of_several_stores_live_side_by_side(path: Path) -> None:
    with opened(path, table="one") as one, opened(path, table='the "other"; --') as other:
        one.setup()
        other.setup()
        one.apply([success("a")])
        assert (one.count(), other.count()) == (1, 0)


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (None, "updated"),
        (F.state == "FAILURE", "state"),
        ((F.state == "FAILURE") & (F.finished_at > NOON), "state"),
        (F.name == "shop.report", "name"),
        (F.name.matches("shop.*"), "name"),
        (F.finished_at > NOON, "updated"),
        (F.group_id == "g", "members"),
        (F.parent_id == "p", "children"),
        (F.metadata.user == 42, "path"),
        (F.metadata.user == 42.5, "path"),
        (F.metadata.user == "42", "path"),
        (F.metadata.user.is_in([1, 2]), "path"),
        (F.result.total > 199.5, "path"),
        (F.result.total < 1, "path"),
        (F.result.total > "b", "path"),
        (F.result.total.matches("b*"), "path"),
    ],
    ids=str,
)
def test_an_index_serves_the_common_questions(path: Path, query: Expression | None, index: str) -> None:
    with opened(path, indexes="metadata.user,result.total") as store:
        store.setup()
        statement = store._statements.count(store.query(query).where)
        if query is None:
            statement, *_ = store._statements.find(store.query())
        plan = store._database.rows(f"EXPLAIN QUERY PLAN {statement.sql}", statement.parameters)
    details = " ".join(row[3] for row in plan)
    assert f"INDEX rootcellar_task_{index}" in details
    assert "SCAN" not in details


def test_statistics_of_a_span_of_time_read_no_more_than_that(store: SQLiteStore) -> None:
    request = Aggregate(by=("name", "state"), where=(F.finished_at > NOON).node)
    statement = store._statements.aggregate(request)
    plan = store._database.rows(f"EXPLAIN QUERY PLAN {statement.sql}", statement.parameters)
    assert "SEARCH rootcellar_task USING INDEX rootcellar_task_updated (updated_at>?)" in [row[3] for row in plan]


@pytest.mark.parametrize(("limit", "most"), [("RLIMIT_FSIZE", 4096), ("RLIMIT_NOFILE", 0)])
def test_statistics_need_no_temporary_file(store: SQLiteStore, limit: str, most: int) -> None:
    """What the sorter would put into a file, it sorts in memory where none may grow, or be opened."""
    store.apply([named(number, f"{number:04}{'n' * 20_000}") for number in range(1000)])
    kind = getattr(resource, limit)
    soft, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (most, hard))
    try:
        assert len(store.stats(by="name")) == 1000
    finally:
        resource.setrlimit(kind, (soft, hard))


def test_durations_are_columns_that_everybody_can_read(store: SQLiteStore, path: Path) -> None:
    queued, started = NOON - timedelta(microseconds=1), NOON + timedelta(microseconds=999_999)
    finished = NOON + timedelta(days=1, microseconds=1)
    store.apply([Change(id="a", at=finished, state="SUCCESS", started_at=started, queued_at=queued), success("b")])
    connection = sqlite3.connect(path)
    rows = connection.execute("SELECT id, wait, runtime FROM rootcellar_task ORDER BY id").fetchall()
    connection.close()
    assert rows == [("a", 1.0, 86399.000002), ("b", None, None)]


# -- pages -------------------------------------------------------------------------------------------------------------


def test_much_is_walked_by_time_and_little_is_sorted(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def noted(connection: sqlite3.Connection, chosen: str, page: PageClauses) -> list[Sequence[Any]]:
        walked.append("INDEXED BY" in chosen)
        return read(connection, chosen, page)

    walked: list[bool] = []
    read = store._pages._read
    monkeypatch.setattr(store._pages, "_read", noted)
    store.apply([named(number, "shop.a" if number % 10 else "mail.a") for number in range(1000)])
    assert store.find(F.name.matches("shop.*"), limit=3)[0].id == "0999"
    assert [record.id for record in store.find(F.name.matches("mail.*"), limit=100)][:2] == ["0990", "0980"]
    assert walked[0] is True
    assert walked[1] is False


def test_a_short_time_is_walked_however_much_there_is_besides(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def noted(connection: sqlite3.Connection, where: str, much: int, page: PageClauses) -> bool:
        looked.append(where)
        return holds(connection, where, much, page)

    looked: list[str] = []
    holds = store._pages._holds
    monkeypatch.setattr(store._pages, "_holds", noted)
    store.apply([named(number, "shop.a") for number in range(1000)])
    late = F.name.matches("shop.*") & (F.finished_at > NOON + timedelta(seconds=990))
    assert [record.id for record in store.find(late, limit=10)][:2] == ["0999", "0998"]
    assert [where.split()[:2] for where in looked] == [["INDEXED", "BY"]]


def test_pages_do_without_an_index_that_was_dropped(store: SQLiteStore, path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("DROP INDEX rootcellar_task_updated")
    connection.close()
    store.apply([named(number, "shop.a") for number in range(100)])
    assert [record.id for record in store.find(F.name.matches("shop.*"), limit=2)] == ["0099", "0098"]


# -- merging -----------------------------------------------------------------------------------------------------------


def test_json_values_are_never_rewritten() -> None:
    """SQLite's own functions would print doubles with fifteen digits."""
    stored = '{"a":0.30000000000000004,"b":[1e300,-0.0,9007199254740993],"c":"\\u0001é"}'
    joined = join_values(stored, '{"a":"1","b":"1","c":"1"}', '{"d":1.0,"a":2}', '{"d":"1","a":"0"}')
    assert joined == stored.removesuffix("}") + ',"d":1.0}'


def test_what_changes_nothing_is_not_written(store: SQLiteStore) -> None:
    changes = [
        Change(id="a", at=NOON, state="QUEUED", queued_at=NOON, request=Request(name="x"), metadata={"user": 1}),
        Change(id="a", at=NOON + timedelta(seconds=1), state="STARTED"),
        Change(id="a", at=NOON + timedelta(seconds=2), state="SUCCESS", result=1),
    ]
    for change in changes:
        change.metadata_order = change.metadata and {"user": "0" * 24}
    store.apply(changes)
    connection = store._database._pool().acquire()
    before = connection.total_changes
    for change in changes:
        connection.execute(store._merge, store.rows.encode(change.delta()))
    assert connection.total_changes == before
    store._database._pool().release(connection, broken=False)


# -- clean-up ----------------------------------------------------------------------------------------------------------


def test_clean_up_goes_on_until_it_finds_less_or_the_limit_is_reached() -> None:
    left = 130

    def remove(count: int) -> int:
        nonlocal left
        removed = min(count, left)
        left -= removed
        return removed

    assert sliced(remove, 70) == 70
    assert sliced(remove, 1000) == 60


def test_clean_up_leaves_nothing_in_the_log_for_writers_to_move(store: SQLiteStore, path: Path, tmp_path: Path) -> None:
    """A commit that finds a long log moves it into the database first, and takes as long as that takes."""
    store.apply([Change(id=f"{number}", at=NOON, state="SUCCESS", expires_at=NOON) for number in range(200)])
    assert store.cleanup(now=NOON + timedelta(hours=1)) == 200
    without_log = tmp_path / "copy.sqlite3"
    without_log.write_bytes(path.read_bytes())
    with opened(without_log) as copy:
        assert copy.count() == 0
        assert copy.drift() == []


def test_expired_groups_and_chords_go_as_well(store: SQLiteStore) -> None:
    store.group_save("g", ["a"], expires_at=NOON)
    store.chord_resize("c", size=2, expires_at=NOON)
    store.apply([Change(id="a", at=NOON, state="SUCCESS", expires_at=NOON)])
    assert store.cleanup(now=NOON) == 0
    assert store.group_fetch("g") == ["a"]
    assert store.cleanup(now=NOON + timedelta(seconds=1)) == 1
    assert store.group_fetch("g") is None
    assert store._database.rows("SELECT count(*) FROM rootcellar_task_chord", {}) == [(0,)]


# -- in memory ---------------------------------------------------------------------------------------------------------


def test_a_store_in_memory_needs_no_set_up_and_shares_nothing() -> None:
    with rootcellar.open("sqlite://") as one, rootcellar.open("sqlite:///:memory:") as other:
        one.apply([TaskRecord(id="a")])
        assert (one.count(), other.count()) == (1, 0)
        assert not one.capabilities.shared
        assert not one.capabilities.durable
