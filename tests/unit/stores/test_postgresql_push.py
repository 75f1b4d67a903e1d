"""Announcements: what they say, and who hears them."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import psycopg
import pytest

import rootcellar
from rootcellar.record import Change
from rootcellar.stores.postgresql import PostgreSQLStore, push
from rootcellar.stores.postgresql.push import PostgreSQLListener, channel_name, payloads
from tests.servers.proxy import FaultProxy

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def success(task_id: str) -> Change:
    return Change(id=task_id, at=NOON, state="SUCCESS")


def opened(url: str) -> PostgreSQLStore:
    store = rootcellar.open(url)
    assert isinstance(store, PostgreSQLStore)
    return store


def is_listening(watcher: PostgreSQLListener) -> bool:
    return watcher.listening


def listener(store: PostgreSQLStore) -> PostgreSQLListener:
    watcher = store.watcher()
    assert isinstance(watcher, PostgreSQLListener)
    if watcher.listening:
        assert watcher.wait(3600) is None  # the second look
    return watcher


@pytest.fixture
def store(postgresql_url: str) -> Iterator[PostgreSQLStore]:
    with opened(postgresql_url) as store:
        store.setup()
        yield store


def heard(watcher: PostgreSQLListener, count: int) -> set[str]:
    """The next `count` ids that are announced."""
    ids: set[str] = set()
    while len(ids) < count:
        ids |= watcher.wait(3600) or set()
    return ids


# -- payloads ----------------------------------------------------------------------------------------------------------


def test_ids_are_packed_into_as_few_payloads_as_postgresql_allows() -> None:
    ids = [f"{number:036}" for number in range(500)]
    packed = payloads(ids)
    assert all(len(payload) < 8000 for payload in packed)
    assert len(packed) == 3
    assert [task_id for payload in packed for task_id in push._decode(payload)] == ids


def test_what_cannot_be_named_is_everything() -> None:
    """An id too long for a payload, or more ids than are worth naming: who waits reads all."""
    assert payloads(["a", "x" * 8000]) == [b"*"]
    assert payloads([f"{number:036}" for number in range(5000)]) == [b"*"]


def test_tables_of_one_database_have_channels_of_their_own() -> None:
    stores = [
        opened(f"postgresql://nowhere/db?{query}")
        for query in ("", "table=other", "schema=a", "schema=b", "table=" + "x" * 40)
    ]
    channels = {channel_name(store.names) for store in stores}
    assert len(channels) == len(stores)
    assert all(len(channel) <= 63 for channel in channels)


# -- hearing -----------------------------------------------------------------------------------------------------------


def test_a_finished_task_is_heard_by_name(store: PostgreSQLStore) -> None:
    watcher = listener(store)
    watcher.watch(["a", "b"])
    store.apply([success("a"), success("not-watched")])
    assert heard(watcher, 1) == {"a"}
    watcher.close()


def test_what_nobody_watches_wakes_nobody(store: PostgreSQLStore) -> None:
    watcher = listener(store)
    watcher.watch(["b"])
    store.apply([success("a")])
    assert watcher.wait(0.05) == frozenset()
    watcher.close()


def test_a_task_that_did_not_finish_is_not_announced(store: PostgreSQLStore) -> None:
    watcher = listener(store)
    watcher.watch(["a"])
    store.apply([Change(id="a", at=NOON, state="STARTED")])
    store.apply([success("a")])
    assert heard(watcher, 1) == {"a"}
    assert watcher.wait(0.05) == frozenset()
    watcher.close()


def test_every_one_of_many_quick_announcements_is_heard(store: PostgreSQLStore) -> None:
    """Also those that were held back to be sent together, the last one included."""
    watcher = listener(store)
    names = {str(number) for number in range(300)}
    watcher.watch(names)
    for name in names:
        store.apply([success(name)])
    assert heard(watcher, 300) == names
    watcher.close()


def test_announcements_of_many_threads(store: PostgreSQLStore) -> None:
    watcher = listener(store)
    names = {str(number) for number in range(400)}
    watcher.watch(names)
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(lambda name: store.apply([success(name)]), names))
    assert heard(watcher, 400) == names
    watcher.close()


def test_the_child_of_a_fork_announces(store: PostgreSQLStore) -> None:
    watcher = listener(store)
    watcher.watch(["of-the-child"])
    store.apply([success("of-the-parent")])
    child = os.fork()
    if child == 0:
        store.apply([success("of-the-child")])
        store.close()
        os._exit(0)
    assert heard(watcher, 1) == {"of-the-child"}
    os.waitpid(child, 0)
    watcher.close()


def test_what_is_announced_to_nobody_is_not_announced(store: PostgreSQLStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer learns from its own write whether somebody listens, as soon as somebody does and when nobody does."""
    announced: list[str] = []
    monkeypatch.setattr(store._announcer, "announce", announced.extend)
    store.apply([success("a")])
    first, second = listener(store), listener(store)
    store.apply([success("b"), Change(id="not-finished", at=NOON, state="STARTED"), success("c")])
    first.close()
    store.apply([success("d")])
    second.close()
    _until_nobody_listens(store)
    store.apply([success("e")])
    assert announced == ["b", "c", "d"]


def _until_nobody_listens(store: PostgreSQLStore) -> None:
    """The server notices that a connection was closed a moment later."""
    with psycopg.connect(store.url, autocommit=True) as other:
        while other.execute("SELECT FROM pg_locks WHERE locktype = 'advisory'").fetchall():
            pass


def test_a_listener_looks_a_second_time_soon_after_it_began(store: PostgreSQLStore) -> None:
    """For a writer that saw nobody listen and has not committed yet."""
    watcher = store.watcher()
    watcher.watch(["a"])
    assert watcher.wait(3600) is None
    assert watcher.wait(0.01) == frozenset()
    watcher.close()


# -- losing and finding the server -------------------------------------------------------------------------------------


def test_a_lost_connection_is_made_anew(store: PostgreSQLStore) -> None:
    """The waiter is told to read all, since what finished in between was announced to nobody."""
    watcher = listener(store)
    watcher.watch(["a"])
    ended = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE query LIKE 'LISTEN %' AND datname = current_database()"  # others test on the same server
    )
    with psycopg.connect(store.url, autocommit=True) as other:
        other.execute(ended)
    assert watcher.wait(3600) is None
    while not is_listening(watcher):
        assert watcher.wait(3600) is None
    assert watcher.wait(3600) is None
    store.apply([success("a")])
    assert heard(watcher, 1) == {"a"}
    watcher.close()


def test_without_a_server_a_watcher_polls_until_there_is_one(
    postgresql_url: str, fault_proxy: Callable[[str], FaultProxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PostgreSQLListener, "first_pause", 0.01)
    proxy = fault_proxy(postgresql_url)
    with opened(proxy.url) as store:
        store.setup()
        proxy.refuse()
        proxy.cut()
        watcher = listener(store)
        assert not is_listening(watcher)
        assert watcher.wait(0.01) is None
        proxy.accept()
        while not is_listening(watcher):
            assert watcher.wait(1) is None
        watcher.watch(["a"])
        store.apply([success("a")])
        assert heard(watcher, 1) == {"a"}
        watcher.close()


def test_a_closed_watcher_stays_closed(store: PostgreSQLStore) -> None:
    watcher = listener(store)
    watcher.close()
    watcher.close()
    watcher.wake()
    assert watcher.wait(0.01) == frozenset()
    assert watcher.wait(0.01) is None
    assert not is_listening(watcher)


def test_a_lost_announcement_is_no_error(
    postgresql_url: str, fault_proxy: Callable[[str], FaultProxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that sends what was held back goes on."""
    monkeypatch.setattr(push, "FIRST_GAP", 0.05)
    monkeypatch.setattr(push, "LAST_GAP", 0.05)
    proxy = fault_proxy(postgresql_url)
    with opened(proxy.url) as store:
        store.setup()
        store.apply([success("a")])
        store.apply([success("b")])
        proxy.refuse()
        proxy.cut()
        time.sleep(0.1)
        proxy.accept()
        watcher = listener(store)
        watcher.watch(["c"])
        store.apply([success("c")])
        assert heard(watcher, 1) == {"c"}
        watcher.close()


# -- behind a pooler ---------------------------------------------------------------------------------------------------


def test_behind_a_pooler_who_waits_polls(pgbouncer_url: str) -> None:
    with opened(pgbouncer_url) as store:
        store.setup()
        assert not store.capabilities.push
        assert not store.describe()["push"]
        watcher = listener(store)
        assert not is_listening(watcher)
        assert watcher.wait(0.01) is None
        watcher.close()


def test_a_writer_behind_a_pooler_is_heard_without_one(pgbouncer_url: str, postgresql_server: object) -> None:
    """NOTIFY passes through a pooler; only LISTEN does not."""
    with opened(pgbouncer_url) as writer:
        writer.setup()
        with opened(_direct(pgbouncer_url, postgresql_server)) as reader:
            watcher = listener(reader)
            watcher.watch(["a"])
            writer.apply([success("a")])
            assert heard(watcher, 1) == {"a"}
            watcher.close()


def _direct(url: str, server: object) -> str:
    address = server.url()  # type: ignore[attr-defined]
    return str(address).rpartition("/")[0] + "/" + url.rpartition("/")[2]


def test_the_announcing_thread_ends_when_there_is_nothing_to_do(
    store: PostgreSQLStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(push, "_LINGER", 0.01)
    for number in range(20):
        store.apply([success(str(number))])
    for thread in threading.enumerate():
        if thread.name == "rootcellar-announcing":
            thread.join(10)
            assert not thread.is_alive()
    watcher = listener(store)
    watcher.watch(["a", "b"])
    store.apply([success("a")])
    store.apply([success("b")])
    assert heard(watcher, 2) == {"a", "b"}
    watcher.close()
