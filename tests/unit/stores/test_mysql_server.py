"""What only a real MySQL or MariaDB server can show of the store: set-up, indexes, limits, faults."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pymysql
import pytest

from rootcellar.errors import AccessDenied, SchemaError, StoreUnavailable, ValueTooLarge
from rootcellar.query import Aggregate, Expression, F, Query
from rootcellar.record import HISTORY_LIMIT
from rootcellar.store import open_url
from rootcellar.stores._sql.statements import Statement
from rootcellar.stores.mysql import MySQLStore
from rootcellar.stores.mysql.merging import LONG_HISTORY
from rootcellar.testing.samples import annotated, at, progressed, queued, record_of, started, succeeded
from tests.servers.proxy import FaultProxy

ENGINES = [
    pytest.param(engine, marks=[pytest.mark.server, pytest.mark.store(engine)]) for engine in ("mariadb", "mysql")
]


@pytest.fixture(params=ENGINES)
def url(request: pytest.FixtureRequest) -> str:
    """A fresh, empty database."""
    found: str = request.getfixturevalue(f"{request.param}_url")
    return found


@pytest.fixture
def open_store(url: str) -> Iterator[Callable[..., MySQLStore]]:
    """Opens stores on the database."""
    stores: list[MySQLStore] = []

    def opened(address: str = url, **options: Any) -> MySQLStore:
        store = open_url(address, **options)
        assert isinstance(store, MySQLStore)
        stores.append(store)
        return store

    yield opened
    for store in stores:
        store.close()


@pytest.fixture
def store(open_store: Callable[..., MySQLStore]) -> MySQLStore:
    store = open_store()
    store.setup()
    return store


def execute(url: str, *statements: str) -> list[tuple[Any, ...]]:
    """Run statements as the database's owner; the rows of the last."""
    parts = urlsplit(url)
    login = {"host": parts.hostname, "port": parts.port, "user": parts.username, "password": parts.password}
    with (
        closing(pymysql.connect(**login, database=parts.path[1:], autocommit=True)) as connection,
        connection.cursor() as cursor,
    ):
        for statement in statements:
            cursor.execute(statement)
        return list(cursor.fetchall())


def with_user(url: str, user: str, password: str) -> str:
    return re.sub(r"//[^@]*@", f"//{user}:{password}@", url)


# -- set-up ------------------------------------------------------------------------------------------------------------


def test_what_a_dba_would_run_makes_what_setup_makes(url: str, open_store: Callable[..., MySQLStore]) -> None:
    first = open_store(indexes=["metadata.user"])
    assert [finding for finding in first.drift() if "missing" in finding]
    script = first.schema_sql()
    statements = [text for text in script.split(";\n") if text.strip()]
    execute(url, *statements)
    assert first.drift() == []


@pytest.mark.usefixtures("store")
def test_nothing_but_reading_is_needed_where_all_is_there(url: str, open_store: Callable[..., MySQLStore]) -> None:
    """A worker whose account may not make tables can still start."""
    database = urlsplit(url).path[1:]
    user = f"worker_{database[-8:]}"
    execute(url, f"CREATE USER {user}@'%' IDENTIFIED BY 'cellar-key'")
    execute(url, f"GRANT SELECT, INSERT, UPDATE, DELETE ON {database}.* TO {user}@'%'")
    worker = open_store(with_user(url, user, "cellar-key"))
    worker.setup()
    worker.apply([succeeded("a", 1)])
    assert worker.count() == 1
    with pytest.raises(AccessDenied, match="have a DBA run"):
        open_store(with_user(url, user, "cellar-key"), table="other").setup()
    execute(url, f"DROP USER {user}@'%'")


def test_a_table_of_another_shape_is_in_the_way(url: str, open_store: Callable[..., MySQLStore]) -> None:
    execute(url, "CREATE TABLE rootcellar_task (id INT PRIMARY KEY, note TEXT)")
    with pytest.raises(SchemaError, match=r"column rootcellar_task\.id is int.*give another name with \?table="):
        open_store().setup()
    assert execute(url, "SHOW COLUMNS FROM rootcellar_task LIKE 'note'")


def test_drift_is_told(url: str, store: MySQLStore) -> None:
    assert store.drift() == []
    execute(
        url,
        "ALTER TABLE rootcellar_task DROP COLUMN origin, ADD COLUMN note TEXT, MODIFY queue VARCHAR(20), "
        "DROP INDEX rootcellar_task_name",
    )
    findings = " ".join(store.drift())
    for finding in ("origin is missing", "note is unexpected", "queue is varchar(20)", "_task_name is missing"):
        assert finding in findings


def test_declared_paths_come_and_go(open_store: Callable[..., MySQLStore]) -> None:
    """Set-up makes the indexes what was declared, and leaves them alone where nothing was said."""
    first = open_store(indexes="metadata.user,result.total")
    first.setup()
    assert first.drift() == []
    second = open_store(indexes=["result.items.0.price"])
    assert sum("missing" in finding for finding in second.drift()) == 2
    open_store().setup()
    assert first.drift() == []
    second.setup()
    assert second.drift() == []
    assert sum("missing" in finding for finding in first.drift()) == 4


def test_a_newer_schema_is_left_alone(url: str, store: MySQLStore) -> None:
    execute(url, "INSERT INTO rootcellar_task_schema VALUES (99, NOW(6))")
    with pytest.raises(SchemaError, match="newer rootcellar"):
        store.setup()


# -- indexes -----------------------------------------------------------------------------------------------------------


def explained(store: MySQLStore, statement: Statement) -> str:
    """The server's plan for a statement."""
    return str(store._rows(Statement("EXPLAIN FORMAT=JSON " + statement.sql, statement.parameters))[0][0])


@pytest.mark.parametrize(
    ("where", "index"),
    [
        (F.state == "FAILURE", "state"),
        ((F.state == "FAILURE") & (F.finished_at > at(0)), "state"),
        (F.name == "shop.report", "name"),
        (F.name.matches("billing.*"), "name"),
        (F.group_id == "g", "members"),
        (F.parent_id == "p", "children"),
        (F.started_at > at(10**9), "updated"),
        (F.expires_at < at(-(10**6)), "expires"),
        (F.metadata.user == 42, "path"),
        (F.metadata.user == "anna", "path"),
        (F.metadata.user > 4990, "path"),
        (F.id == "7", "PRIMARY"),
    ],
    ids=str,
)
def test_a_common_question_is_served_by_an_index(
    url: str, open_store: Callable[..., MySQLStore], where: Expression, index: str
) -> None:
    store = open_store(indexes=["metadata.user"])
    store.setup()
    store.apply([queued(f"{n}", n, name=f"n{n % 50}", group_id=f"g{n}", parent_id=f"p{n}") for n in range(2000)])
    store.apply([annotated(f"{n}", user=n) for n in range(2000)])
    execute(url, "ANALYZE TABLE rootcellar_task")
    [used] = re.findall(r'"key": "(\w+)"', explained(store, store._statements.count(where.node)))
    assert index in used


@pytest.mark.parametrize("prefix", ["<", "<\ud7ff", "<\U0010ffff", "\U0010ffff"], ids=ascii)
def test_a_pattern_that_an_index_serves_finds_every_character(url: str, store: MySQLStore, prefix: str) -> None:
    """Beyond U+FFFF too, where the servers' own LIKE by an index ends, and as many as a name may hold."""
    found = {prefix + rest for rest in ("", ">", "\uffff", "😀>", "\U0010ffff" * 20)}
    others = {"", "=", "<\ue000", *(f"n{number}" for number in range(2000))}
    store.apply([queued(ascii(name), name=name) for name in found | others])
    execute(url, "ANALYZE TABLE rootcellar_task")
    where = F.name.matches(f"{prefix}*")
    assert '"key": "rootcellar_task_name"' in explained(store, store._statements.count(where.node))
    assert {record.name for record in store.find(where)} == {name for name in found | others if name.startswith(prefix)}


def test_the_latest_of_a_state_are_read_in_the_order_of_the_index(url: str, store: MySQLStore) -> None:
    """No sort, so the length of the table does not matter."""
    store.apply([started(f"s{n}", n) for n in range(500)])
    store.apply([queued(f"q{n}", n) for n in range(1500)])
    execute(url, "ANALYZE TABLE rootcellar_task")
    first, *_ = store._statements.find(Query(where=(F.state == "STARTED").node, limit=10))
    plan = explained(store, first)
    assert "rootcellar_task_state" in plan
    assert '"using_filesort": true' not in plan
    assert '"filesort"' not in plan


def test_statistics_of_a_span_of_time_read_the_index_alone(url: str, store: MySQLStore) -> None:
    store.apply([started(f"s{n}", n) for n in range(2000)])
    execute(url, "ANALYZE TABLE rootcellar_task")
    late = Aggregate(by=("name", "state"), where=(F.started_at > at(1990)).node)
    plan = explained(store, store._statements.aggregate(late))
    assert '"key": "rootcellar_task_updated"' in plan
    assert '"using_index": true' in plan


def test_an_indexed_path_means_what_it_means_without_index(open_store: Callable[..., MySQLStore]) -> None:
    """Texts longer than the index holds, numbers that differ in the last bit, and what only looks alike."""
    long = "x" * 300
    values = [42, 42.0, "42", True, None, [42], 0.30000000000000004, 0.3, "42.5", "", "a ", "a", 2**53, 2**53 + 1]
    values += [long, long + "y"]
    store = open_store(indexes=["metadata.user"])
    store.setup()
    store.apply([annotated(f"{n:02}", user=value) for n, value in enumerate(values)])
    plain = open_url("memory://")
    plain.apply([annotated(f"{n:02}", user=value) for n, value in enumerate(values)])
    operands: list[Any] = [42, 0.3, 0.30000000000000004, long, long + "y", "a", "a ", "", "42", 2**53, 2**53 + 1, True]
    for operand in operands:
        conditions = [F.metadata.user == operand, F.metadata.user != operand, F.metadata.user.is_in([operand, "a"])]
        if not isinstance(operand, bool):
            conditions += [F.metadata.user < operand, F.metadata.user >= operand]
        for condition in conditions:
            assert {r.id for r in store.find(condition)} == {r.id for r in plain.find(condition)}, condition.node


@pytest.mark.parametrize("pattern", ["shop.re*", "*.report", "shop.?eport", "?hop.report", "*ö*"])
def test_a_pattern_tells_case_and_accents_apart(store: MySQLStore, pattern: str) -> None:
    """Also where it begins with any character, so that no range of an index narrows it down first."""
    names = ["shop.report", "shop.Report", "Shop.report", "shop.öport", "shop.oport"]
    changes = [queued(name, name=name) for name in names]
    model = open_url("memory://")
    for each in (store, model):
        each.apply(changes)
    assert {r.id for r in store.find(F.name.matches(pattern))} == {r.id for r in model.find(F.name.matches(pattern))}


# -- limits ------------------------------------------------------------------------------------------------------------


def test_an_id_that_is_too_long_is_refused(store: MySQLStore) -> None:
    store.apply([succeeded("é" * 255, 1)])
    assert store.fetch(["é" * 255])
    with pytest.raises(ValueTooLarge, match="id"):
        store.apply([succeeded("x" * 1021, 1)])


def test_ids_that_other_collations_take_for_one_are_several(store: MySQLStore) -> None:
    ids = ["a", "A", "a ", "á", "a\u0301", "ä", "ß", "ss", "\u200ba"]
    store.apply([succeeded(task_id, number) for number, task_id in enumerate(ids)])
    assert [record.result for record in store.fetch(ids)] == list(range(len(ids)))


def test_a_record_larger_than_a_packet_names_the_setting(store: MySQLStore) -> None:
    assert store.flavour.title
    store._largest_packet = 20_000
    with pytest.raises(ValueTooLarge, match=r"'big'.*max_allowed_packet"):
        store.apply([succeeded("big", "x" * 20_000)])
    assert store.count() == 0


def test_a_batch_larger_than_a_packet_goes_in_pieces(store: MySQLStore) -> None:
    assert store.flavour.title
    store._largest_packet = 20_000
    changes = [succeeded(f"{n}", "x" * 5000) for n in range(20)]
    store.apply(changes)
    assert store.count() == 20


def test_a_history_is_trimmed_where_it_is_stored(url: str, store: MySQLStore) -> None:
    """Later than at each write, but soon, and to the newest."""
    changes = [progressed("a", n, n) for n in range(LONG_HISTORY + 5)]
    for change in changes:
        store.apply([change])
    stored = execute(url, "SELECT JSON_LENGTH(history) FROM rootcellar_task")[0][0]
    assert HISTORY_LIMIT <= stored < LONG_HISTORY
    assert store.fetch(["a"]) == [record_of(*changes)]


def test_metadata_of_a_thousand_keys(store: MySQLStore) -> None:
    """More than one statement's slots, written twice over each other."""
    first = annotated("a", 1, **{f"key {n}": n for n in range(1000)})
    second = annotated("a", 2, **{f"key {n}": -n for n in range(500, 1500)})
    store.apply([second])
    store.apply([first, queued("b")])
    store.apply([annotated("b", 1, **{f"key {n}": n for n in range(40)})])
    assert store.fetch(["a"])[0].metadata == record_of(first, second).metadata


def test_merges_expect_what_they_met_lately(store: MySQLStore) -> None:
    """Whatever a merge expects, new records or known ones, and however wrong it is, the result is the same."""
    for n in range(10):
        life = [started(f"{n}"), succeeded(f"{n}", n, started_at=at(1))]
        for change in life:
            store.apply([change])
        assert store.fetch([f"{n}"]) == [record_of(*life)]
        store.apply([succeeded(f"new {n}", n)])
    assert store.count(state="SUCCESS") == 20


# -- faults ------------------------------------------------------------------------------------------------------------


def test_a_wrong_password_is_one_clear_error(url: str, open_store: Callable[..., MySQLStore]) -> None:
    with pytest.raises(AccessDenied, match="Access denied") as caught:
        open_store(with_user(url, "rootcellar", "wrong-key")).count()
    assert "wrong-key" not in str(caught.value)
    assert "cellar-key" not in str(caught.value)


def test_a_database_that_is_not_there(url: str, open_store: Callable[..., MySQLStore]) -> None:
    with pytest.raises((SchemaError, AccessDenied), match="nowhere"):
        open_store(url.rsplit("/", 1)[0] + "/nowhere").count()


def test_tables_that_are_not_there(open_store: Callable[..., MySQLStore]) -> None:
    with pytest.raises(SchemaError, match="run setup"):
        open_store().apply([queued("a")])


def test_nobody_listens(open_store: Callable[..., MySQLStore]) -> None:
    with pytest.raises(StoreUnavailable, match="cannot be used now"):
        open_store("mysql://user:cellar-key@127.0.0.1:1/db").count()


@pytest.mark.fault
def test_connections_that_were_cut_are_replaced(
    store: MySQLStore, open_store: Callable[..., MySQLStore], url: str, fault_proxy: Callable[[str], FaultProxy]
) -> None:
    """Whatever lay idle is dead; the first call after it works."""
    proxy = fault_proxy(url)
    through = open_store(proxy.url)
    for n in range(5):
        through.apply([queued(f"{n}")])
        proxy.cut()
    assert through.count() == 5
    proxy.refuse()
    proxy.cut()
    with pytest.raises(StoreUnavailable):
        through.apply([queued("late")])
    proxy.accept()
    through.apply([queued("late")])
    assert store.count() == 6


@pytest.mark.fault
@pytest.mark.usefixtures("store")
def test_a_server_that_says_nothing_is_away(
    open_store: Callable[..., MySQLStore], url: str, fault_proxy: Callable[[str], FaultProxy]
) -> None:
    proxy = fault_proxy(url)
    through = open_store(proxy.url + "?read_timeout=0.3&connect_timeout=0.3")
    assert through.count() == 0
    proxy.freeze()
    with pytest.raises(StoreUnavailable, match="cannot be used now"):
        through.count()
    proxy.thaw()
    assert through.count() == 0


def test_a_statement_that_loses_a_deadlock_is_run_again(url: str, store: MySQLStore) -> None:
    """Another transaction locks two records in the other order, and wins because it has changed more."""
    store.apply([queued(task_id) for task_id in "ab"] + [queued(f"x{n}") for n in range(200)])
    parts = urlsplit(url)
    login = {"host": parts.hostname, "port": parts.port, "user": parts.username, "password": parts.password}
    with closing(pymysql.connect(**login, database=parts.path[1:])) as connection, connection.cursor() as cursor:
        cursor.execute("UPDATE rootcellar_task SET pid = 1 WHERE id LIKE 'x%'")
        cursor.execute("UPDATE rootcellar_task SET pid = 1 WHERE id = 'b'")
        thread = threading.Thread(target=store.apply, args=([started("a"), started("b")],))
        thread.start()
        while not execute(url, "SELECT 1 FROM information_schema.INNODB_TRX WHERE trx_state = 'LOCK WAIT'"):
            pass
        cursor.execute("UPDATE rootcellar_task SET pid = 1 WHERE id = 'a'")
        connection.commit()
        thread.join()
    assert {record.state for record in store.fetch(["a", "b"])} == {"STARTED"}


def test_a_transaction_that_ends_in_an_error_changes_nothing(store: MySQLStore) -> None:
    def fail() -> None:
        with store._session() as session, session.transaction():
            session.run(*store._named("group_save", group_id="g", members="[1]", expires_at=None))
            session.run("SELECT nonsense")

    with pytest.raises(pymysql.MySQLError):
        fail()
    assert store.group_fetch("g") is None


def test_a_pool_that_is_too_small_makes_callers_wait(
    open_store: Callable[..., MySQLStore], store: MySQLStore, url: str
) -> None:
    narrow = open_store(url + "?pool_size=2")
    threads = [threading.Thread(target=narrow.apply, args=([queued(f"{n}")],)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.count() == 12


def test_statements_draw_no_warnings(store: MySQLStore) -> None:
    """Neither merging nor reading does."""
    warnings: list[Any] = []

    def noting(run: Callable[..., Any]) -> Callable[..., Any]:
        def noted(session: Any, statement: bytes) -> Any:
            result = run(session, statement)
            warnings.extend([session._connection.show_warnings()] if session._cursor.warning_count else [])
            return result

        return noted

    session_type = type(store._pool._idle[0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session_type, "send", noting(session_type.send))
        for change in (queued("a"), annotated("a", user=1.5), started("a"), succeeded("a", {"total": "12.5"})):
            store.apply([change])
        store.find((F.result.total > 2) & (F.metadata.user == 1.5) & F.name.matches("shop.*"))
        store._aggregate(Aggregate(by=("name",), bucket=60))
        store.cleanup()
    assert warnings == []


def test_the_server_is_described(store: MySQLStore) -> None:
    """The harness's servers may lose in a power failure what they confirmed, and say so."""
    said = store.describe()
    assert said["engine"] == store.flavour.title
    assert said["durable"] is (said["innodb_flush_log_at_trx_commit"] == "1")
    assert {"max_allowed_packet", "sync_binlog", "sql_mode"} <= said.keys()
    assert store.server_time().utcoffset() == timedelta(0)
