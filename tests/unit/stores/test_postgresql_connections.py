"""Connections to PostgreSQL: threads, forks, greenlets, servers that go away and come back."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import psycopg
import pytest

import rootcellar
from rootcellar.errors import AccessDenied, InvalidInput, SchemaError, StoreUnavailable, StoreURLError
from rootcellar.record import Change
from rootcellar.stores.postgresql import PostgreSQLStore, pool
from tests.servers.proxy import FaultProxy
from tests.servers.server import Server

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def success(task_id: str) -> Change:
    return Change(id=task_id, at=NOON, state="SUCCESS")


def opened(url: str, **options: str) -> PostgreSQLStore:
    store = rootcellar.open(url, **options)
    assert isinstance(store, PostgreSQLStore)
    return store


def sessions(url: str) -> int:
    """How many sessions of ours the server has in this database."""
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE application_name = 'rootcellar' AND datname = current_database()"
        ).fetchone()
    assert row is not None
    return int(row[0])


@pytest.fixture
def store(postgresql_url: str) -> Iterator[PostgreSQLStore]:
    with opened(postgresql_url) as store:
        store.setup()
        yield store


def test_a_process_that_does_one_thing_at_a_time_has_one_connection(store: PostgreSQLStore) -> None:
    for number in range(20):
        store.apply([success(str(number))])
        store.find()
    assert sessions(store.url) == 1


def test_threads_share_at_most_the_pools_size(postgresql_url: str) -> None:
    with opened(postgresql_url + "?pool_size=3") as store:
        store.setup()
        with ThreadPoolExecutor(12) as threads:
            list(threads.map(lambda number: store.apply([success(str(number))]), range(200)))
        assert store.count() == 200
        assert 1 <= sessions(postgresql_url) <= 3


def test_a_caller_that_waits_in_vain_for_a_connection_is_told(
    postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "PATIENCE", 0.05)
    with opened(postgresql_url + "?pool_size=1") as store:
        store.setup()
        busy, done = threading.Event(), threading.Event()

        def occupy(_session: object) -> None:
            busy.set()
            done.wait()

        with ThreadPoolExecutor(1) as threads:
            occupying = threads.submit(store._pool.use, occupy)
            busy.wait()
            with pytest.raises(StoreUnavailable, match="in use"):
                store.count()
            done.set()
            occupying.result()
        assert store.count() == 0


def test_a_connection_is_replaced_when_it_is_old(store: PostgreSQLStore, monkeypatch: pytest.MonkeyPatch) -> None:
    before = store._pool.use(lambda session: session)
    monkeypatch.setattr(pool, "LIFETIME", 0.0)
    assert store._pool.use(lambda session: session) is before
    assert store._pool.use(lambda session: session) is not before


def test_closing_leaves_no_connection_and_the_store_usable(store: PostgreSQLStore) -> None:
    store.apply([success("a")])
    store.close()
    assert store.get("a") is not None


def test_a_fork_leaves_the_parents_connection_alone(store: PostgreSQLStore) -> None:
    store.apply([success("parent")])
    child = os.fork()
    if child == 0:
        store.apply([success("child")])
        store.close()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    store.apply([success("parent-again")])
    assert {record.id for record in store.find()} == {"parent", "child", "parent-again"}
    assert sessions(store.url) == 1


GREENLETS = """
import rootcellar
from datetime import UTC, datetime
from rootcellar.record import Change
store = rootcellar.open({url!r})
store.setup()
holding, waiting = [], []
def hold(session):
    session.query("SELECT pg_advisory_lock(1)")
    holding.append(True)
    while not session.query("SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted").ntuples:
        pass
    session.query("SELECT pg_advisory_unlock(1)")
def wait_for_the_holder(session):
    while not holding:
        session.query("SELECT 1")
    session.query("SELECT pg_advisory_lock(1)")
    session.query("SELECT pg_advisory_unlock(1)")
def work(number):
    store.apply([Change(id=str(number), at=datetime.now(UTC), state="SUCCESS")])
    assert store.get(str(number)).ready
watcher = store.watcher()
watcher.watch(["7"])
heard = []
def listen():
    while not heard:
        heard.extend(watcher.wait(3600) or ())
works = [lambda number=number: work(number) for number in range(50)]
run([listen, lambda: store._pool.use(wait_for_the_holder), lambda: store._pool.use(hold), *works])
assert heard == ["7"], heard
assert store.count() == 50
watcher.close()
store.close()
print("fine")
"""
GEVENT = """
from gevent import monkey; monkey.patch_all()
import gevent
def run(jobs):
    gevent.joinall([gevent.spawn(job) for job in jobs], raise_error=True)
"""
EVENTLET = """
import warnings; warnings.simplefilter("ignore")
import eventlet; eventlet.monkey_patch()
def run(jobs):
    pool = eventlet.GreenPool()
    for thread in [pool.spawn(job) for job in jobs]:
        thread.wait()
"""


@pytest.mark.parametrize("patched", [GEVENT, EVENTLET], ids=["gevent", "eventlet"])
def test_greenlets_wait_for_each_other_not_for_the_server(postgresql_url: str, patched: str) -> None:
    """Pool, announcements and waiting, in a process whose threads are greenlets."""
    program = patched + GREENLETS.format(url=postgresql_url)
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert ended.stdout.endswith("fine\n"), ended.stderr


# -- servers that go away ----------------------------------------------------------------------------------------------


def test_a_connection_that_died_is_replaced_without_a_word(store: PostgreSQLStore) -> None:
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda number: store.apply([success(str(number))]), range(40)))
    with psycopg.connect(store.url) as other:
        other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'rootcellar' AND datname = current_database()"  # others test on the same server
        )
    assert store.count() == 40
    store.apply([success("more")])
    assert store.count() == 41


def test_connections_cut_at_random_lose_nothing(postgresql_url: str, fault_proxy: Callable[[str], FaultProxy]) -> None:
    """Whatever was applied without an error is there; what was not, is applied again and there once."""
    proxy = fault_proxy(postgresql_url)
    with opened(proxy.url) as store:
        store.setup()
        proxy.cut_probability = 0.05
        for number in range(100):
            while True:
                try:
                    store.apply([success(str(number))])
                    break
                except StoreUnavailable:
                    continue
        proxy.cut_probability = 0.0
        assert store.count() == 100
        assert all(len(record.history) == 1 for record in store.find(limit=100))
    assert proxy.cuts


def test_a_server_that_is_away_is_unavailable(postgresql_url: str, fault_proxy: Callable[[str], FaultProxy]) -> None:
    proxy = fault_proxy(postgresql_url)
    with opened(proxy.url) as store:
        store.setup()
        proxy.refuse()
        proxy.cut()
        with pytest.raises(StoreUnavailable) as raised:
            store.count()
        assert "cellar-key" not in str(raised.value)
        proxy.accept()
        assert store.count() == 0


@pytest.mark.fault
def test_a_server_that_restarts(private_server: Callable[..., Server]) -> None:
    server = private_server("postgresql")
    with opened(server.url()) as store:
        store.setup()
        store.apply([success("a")])
        server.stop()
        with pytest.raises(StoreUnavailable):
            store.apply([success("b")])
        server.start()
        store.apply([success("b")])
        assert store.count() == 2


@pytest.mark.fault
def test_a_server_without_free_connections_is_unavailable(private_server: Callable[..., Server]) -> None:
    server = private_server("postgresql", options=("-c", "max_connections=4", "-c", "superuser_reserved_connections=0"))
    with opened(server.url()) as store:
        others = [psycopg.connect(server.url()) for _ in range(4)]
        with pytest.raises(StoreUnavailable):
            store.setup()
        for other in others:
            other.close()
        store.setup()


# -- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (("cellar-key", "not-the-key"), AccessDenied, "password authentication failed"),
        (("rootcellar:cellar-key@", "rootcellar@"), AccessDenied, "password"),
        (("rootcellar:", "nobody-here:"), AccessDenied, "nobody-here"),
        (("/t", "/no_such_t"), SchemaError, "create the database first"),
    ],
)
def test_a_connection_that_is_refused(
    postgresql_url: str, change: tuple[str, str], error: type[Exception], message: str
) -> None:
    with opened(postgresql_url.replace(*change)) as store, pytest.raises(error, match=message) as raised:
        store.setup()
    assert "cellar-key" not in str(raised.value)
    assert "not-the-key" not in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.fault
def test_a_standby_may_be_the_primary_soon(private_server: Callable[..., Server]) -> None:
    """Unavailable, not refused: a worker keeps its results until the failover is over."""
    server = private_server("postgresql")
    with opened(server.url()) as store:
        store.setup()
        store.apply([success("a")])
        server.stop()
        signal = server.data / "standby.signal"
        signal.touch()
        server.start()
        assert store.count() == 1
        with pytest.raises(StoreUnavailable, match="standby"):
            store.apply([success("b")])
        assert store.describe()["standby"]
        server.stop()
        signal.unlink()
        server.start()
        store.apply([success("b")])


@pytest.mark.parametrize("text", ["a\0b", "\ud800"], ids=["NUL", "surrogate"])
def test_text_that_postgresql_does_not_know_is_refused(store: PostgreSQLStore, text: str) -> None:
    """And never cut: libpq would end a text at its NUL."""
    store.apply([success("a")])
    store.group_save("a", [1])
    for ask in (store.get, store.delete, store.group_fetch, store.chord_parts):
        with pytest.raises(InvalidInput, match="takes no text"):
            ask(text)


@pytest.mark.parametrize("parameter", ["sslmode=perhaps", "connect_timeout=soon", "port=none"])
def test_a_value_that_libpq_does_not_know(postgresql_url: str, parameter: str) -> None:
    with opened(f"{postgresql_url}?{parameter}") as store, pytest.raises(StoreURLError) as raised:
        store.setup()
    assert "cellar-key" not in str(raised.value)


def test_a_database_that_can_only_be_read(store: PostgreSQLStore) -> None:
    with opened(store.url + "?options=-c%20default_transaction_read_only%3Don") as reader:
        assert reader.count() == 0
        with pytest.raises(AccessDenied, match="read-only"):
            reader.apply([success("a")])
