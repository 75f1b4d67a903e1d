"""Connections to SQLite: threads, forks, and that none is left open."""

from __future__ import annotations

import gc
import multiprocessing
import os
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

import rootcellar
from rootcellar.record import Change
from rootcellar.stores.sqlite import SQLiteStore
from rootcellar.stores.sqlite.connections import Pool
from rootcellar.stores.sqlite.watch import SQLiteWatcher

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SQLiteStore]:
    with rootcellar.open(f"sqlite:///{tmp_path}/records.db") as store:
        assert isinstance(store, SQLiteStore)
        store.setup()
        yield store


def success(task_id: str) -> Change:
    return Change(id=task_id, at=NOON, state="SUCCESS")


def idle(store: SQLiteStore) -> list[sqlite3.Connection]:
    pool = store._database._pool()
    assert isinstance(pool, Pool)
    return pool._idle


def is_open(connection: sqlite3.Connection) -> bool:
    try:
        connection.execute("SELECT 1")
    except sqlite3.ProgrammingError:
        return False
    return True


def test_threads_that_come_and_go_leave_no_connections(store: SQLiteStore) -> None:
    for number in range(20):
        thread = threading.Thread(target=store.apply, args=([success(str(number))],))
        thread.start()
        thread.join()
    assert store.count() == 20
    assert len(idle(store)) == 1


def test_many_threads_at_once_keep_few_connections(store: SQLiteStore) -> None:
    def work(number: int) -> None:
        store.apply([success(str(number))])
        assert store.get(str(number)) is not None

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(work, range(200)))
    assert store.count() == 200
    assert len(idle(store)) <= 8


def test_a_closed_store_has_no_open_connection_and_opens_anew(store: SQLiteStore) -> None:
    store.apply([success("a")])
    connections = list(idle(store))
    store.close()
    assert not any(map(is_open, connections))
    assert store.get("a") is not None


def test_a_connection_in_use_is_closed_when_it_comes_back(store: SQLiteStore) -> None:
    pool = store._database._pool()
    connection = pool.acquire()
    store.close()
    assert is_open(connection)
    pool.release(connection, broken=False)
    assert not is_open(connection)


def test_a_store_that_is_forgotten_closes_its_connections(tmp_path: Path) -> None:
    store = rootcellar.open(f"sqlite:///{tmp_path}/forgotten.db")
    assert isinstance(store, SQLiteStore)
    store.setup()
    connections = list(idle(store))
    assert connections
    del store
    gc.collect()
    assert not any(map(is_open, connections))


def test_a_failed_transaction_is_rolled_back(store: SQLiteStore) -> None:
    def fail(connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM rootcellar_task")
        raise RuntimeError("no")

    store.apply([success("a")])
    with pytest.raises(RuntimeError):
        store._database.transaction(fail)
    assert store.get("a") is not None


def test_the_child_of_a_fork_uses_connections_of_its_own(store: SQLiteStore) -> None:
    """And leaves its parent's alone, those of watchers included."""
    store.apply([success("parent")])
    watcher = store.watcher()
    inherited = [id(connection) for connection in idle(store)]

    def work() -> None:
        store.apply([success("child")])
        assert store.get("parent") is not None
        assert not set(map(id, idle(store))) & set(inherited)

    child = multiprocessing.get_context("fork").Process(target=work)
    child.start()
    child.join()
    assert child.exitcode == 0
    assert store.get("child") is not None
    assert [id(connection) for connection in idle(store)] == inherited
    assert watcher.wait(5) is None
    watcher.close()


def test_the_child_of_a_fork_has_a_memory_of_its_own() -> None:
    with rootcellar.open("sqlite://") as store:
        store.apply([success("parent")])
        child = os.fork()
        if not child:
            os._exit(store.count())
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert store.count() == 1


# -- watchers ----------------------------------------------------------------------------------------------------------


def test_a_watcher_sees_what_another_connection_commits(store: SQLiteStore) -> None:
    watcher = store.watcher()
    assert isinstance(watcher, SQLiteWatcher)
    assert watcher.wait(0) == frozenset()
    with rootcellar.open(store.url) as other:
        other.apply([success("a")])
    assert watcher.wait(5) is None
    assert watcher.wait(0) == frozenset()
    watcher.close()


def test_a_watcher_is_told_what_this_process_finished(store: SQLiteStore) -> None:
    watcher = store.watcher()
    store._announce(["a"])
    assert watcher.wait(5) == frozenset({"a"})
    watcher.close()


def test_a_watcher_of_a_memory_is_told() -> None:
    with rootcellar.open("sqlite://") as memory:
        watcher = memory.watcher()
        memory.apply([success("a")])
        assert watcher.wait(5) == frozenset({"a"})
        assert watcher.wait(0) == frozenset()
        watcher.close()


def test_a_closed_watcher_is_told_nothing(store: SQLiteStore) -> None:
    store.watcher().close()
    store.apply([success("a")])
    assert not store._watchers
