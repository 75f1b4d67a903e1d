"""Waiting on real servers: nothing is missed, nobody hangs, nothing stays behind.

One process waits here, and a worker finishes tasks elsewhere; whatever breaks is on the way of the one who waits.
"""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from celery.exceptions import TimeoutError as CeleryTimeoutError
from celery.result import GroupResult

from rootcellar.errors import StoreUnavailable
from rootcellar.store import Store, Watcher
from rootcellar.waiting import hub as hub_module
from rootcellar.waiting.reader import CHUNK
from tests.celery.places import (
    PUSHING,
    SERVERS,
    STORES,
    Place,
    Url,
    connections,
    direct,
    place,
    settled_connections,
    url_of,  # noqa: F401 - a fixture
)
from tests.servers.proxy import FaultProxy
from tests.servers.server import Server
from tests.unit.writer.stores import eventually

ROOT = Path(__file__).parents[2]
MakeProxy = Callable[[str], FaultProxy]
PrivateServer = Callable[..., Server]

on_each_store = pytest.mark.parametrize("engine", STORES)
on_each_server = pytest.mark.parametrize("engine", SERVERS)


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub reads what no hint named after a twentieth of a second, and ends as early when nobody waits."""
    monkeypatch.setattr(hub_module, "BACKSTOP", 0.05)
    monkeypatch.setattr(hub_module, "LINGER", 0.05)


@pytest.fixture
def here(engine: str, url_of: Url) -> Iterator[Place]:  # noqa: F811 - the fixture
    with place(url_of(engine)) as made:
        yield made


# -- what breaks -------------------------------------------------------------------------------------------------------


@pytest.mark.fault
@on_each_server
def test_a_connection_that_is_cut_while_somebody_waits(engine: str, url_of: Url, fault_proxy: MakeProxy) -> None:  # noqa: F811
    url = direct(url_of(engine))
    proxy = fault_proxy(url)
    with place(url, waits_at=proxy.url) as here:
        for number in range(3):
            here.begin(f"before-{number}", f"after-{number}")
            here.finish(f"before-{number}")
            eventually(lambda: f"before-{number}" in here.got)  # noqa: B023 - called in this round
            proxy.cut()
            here.finish(f"after-{number}")
            here.end()
        assert here.got == {task_id: task_id for task_id in here.got}
        assert len(here.got) == 6


@pytest.mark.fault
@on_each_server
def test_a_network_that_is_gone_for_a_while(engine: str, url_of: Url, fault_proxy: MakeProxy) -> None:  # noqa: F811
    url = direct(url_of(engine))
    proxy = fault_proxy(url)
    with place(url, waits_at=proxy.url) as here:
        here.begin("a", "b")
        proxy.refuse()
        here.finish("a")
        proxy.accept()
        here.finish("b")
        assert here.end() == {"a": "a", "b": "b"}


@pytest.mark.fault
@on_each_server
def test_a_wait_that_begins_while_the_store_is_away(engine: str, url_of: Url, fault_proxy: MakeProxy) -> None:  # noqa: F811
    """It comes back, or the time is up; a store that this process never read from is an error at once."""
    url = direct(url_of(engine))
    proxy = fault_proxy(url)
    with place(url, waits_at=proxy.url + quick(engine)) as here:
        proxy.refuse()
        with pytest.raises(StoreUnavailable):
            here.result("a").get(timeout=60)
        proxy.accept()
        here.begin("b")
        proxy.refuse()
        eventually(lambda: here.consumer.hub.interrupted)
        with pytest.raises(CeleryTimeoutError):
            here.result("never").get(timeout=0.05)
        here.finish("b", "c")
        waiting = threading.Thread(target=lambda: here.got.update(c=here.result("c").get(timeout=60)))
        waiting.start()
        eventually(lambda: "c" in here.consumer.hub)
        proxy.accept()
        waiting.join()
        assert here.end() == {"b": "b", "c": "c"}


@pytest.mark.fault
@on_each_server
def test_the_store_is_away_as_somebody_looks_at_parents(engine: str, url_of: Url, fault_proxy: MakeProxy) -> None:  # noqa: F811
    """`get()` of a chord's body does so at its beginning and once a second: it goes on waiting."""
    url = direct(url_of(engine))
    proxy = fault_proxy(url)
    with place(url, waits_at=proxy.url + quick(engine)) as here:
        here.begin("b")
        proxy.refuse()
        eventually(lambda: here.consumer.hub.interrupted)
        body, looked = here.result("body"), threading.Event()
        body.parent = GroupResult("header", [here.result("part")], app=here.app)
        with ThreadPoolExecutor(1) as thread:
            got = thread.submit(body.get, timeout=60, on_interval=lambda *_: looked.set())
            while not (looked.wait(0.1) or got.done()):
                pass
            proxy.accept()
            here.finish("b", "part", "body")
            assert got.result() == "body"
        here.end()


@pytest.mark.fault
@on_each_server
def test_a_server_that_does_not_answer_any_more_does_not_hold_up_the_time_out(
    engine: str,
    url_of: Url,  # noqa: F811
    fault_proxy: MakeProxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hub_module, "SILENCE", 1.0)
    url = direct(url_of(engine))
    proxy = fault_proxy(url)
    with place(url, waits_at=proxy.url) as here:
        end_of_chain = here.result("end of chain")
        end_of_chain.parent = here.result("parent")
        here.begin("never", end_of_chain, timeout=8)  # a busy machine may take seconds until it waits
        proxy.freeze()
        eventually(lambda: here.consumer.interrupted)
        with pytest.raises(CeleryTimeoutError):
            here.result("begun meanwhile").get(timeout=0.05)
        got = here.end()
        assert isinstance(got["never"], CeleryTimeoutError)
        assert isinstance(got["end of chain"], CeleryTimeoutError)
        proxy.thaw()


@on_each_store
def test_a_task_that_fails_early_in_a_chain(engine: str, here: Place) -> None:
    """What follows it never runs; who waits for the last one is told."""
    end_of_chain = here.result("end of chain")
    end_of_chain.parent = here.result("in between")
    end_of_chain.parent.parent = GroupResult("header", [here.result("fails"), here.result("part")], app=here.app)
    here.begin(end_of_chain)
    here.elsewhere.backend.mark_as_failure("fails", KeyError("of a part"))
    here.elsewhere.backend.flush()
    assert isinstance(here.end()["end of chain"], KeyError), engine


@pytest.mark.fault
@on_each_server
def test_a_server_that_is_restarted_while_somebody_waits(engine: str, private_server: PrivateServer) -> None:
    server = private_server(engine)
    with server.fresh() as url, place(url) as here:
        here.begin("a", "b")
        server.restart()
        here.elsewhere.backend.store.setup()  # a Redis has forgotten everything
        here.finish("a")
        eventually(lambda: "a" in here.got)
        here.finish("b")
        assert here.end() == {"a": "a", "b": "b"}


@pytest.mark.usefixtures("patience")
@pytest.mark.parametrize("engine", PUSHING)
def test_a_hint_that_is_lost(engine: str, here: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of PostgreSQL's notifications, of a change stream, of pub/sub: a read finds what nobody told."""
    store: Store = here.app.backend.store
    make = store.watcher

    def deaf() -> Watcher:
        watcher = make()
        hear = watcher.wait

        def mishear(timeout: float) -> frozenset[str]:
            hear(timeout)
            return frozenset()

        monkeypatch.setattr(watcher, "wait", mishear)
        return watcher

    monkeypatch.setattr(store, "watcher", deaf)
    here.begin("a")
    here.finish("a")
    assert here.end() == {"a": "a"}, engine


@pytest.mark.parametrize("engine", PUSHING)
def test_who_is_told_does_not_ask(engine: str, here: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """One read by whoever begins to wait, and one for each hint: without one, nothing is read for an hour here."""
    monkeypatch.setattr(hub_module, "BACKSTOP", 3600)
    here.begin("first")
    here.finish("first")
    here.end()
    reads = reads_of(here)
    for number in range(20):
        here.begin(f"task-{number}")
        here.finish(f"task-{number}")
        here.end()
    assert len(here.got) == 21
    assert len(reads) <= 45, engine  # another hint may name what was read a moment ago


def quick(engine: str) -> str:
    """What to add to a URL so that a server that is away is noticed soon."""
    return "&serverSelectionTimeoutMS=200" if engine == "mongodb" else ""


# -- many --------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@on_each_store
def test_ten_thousand_who_wait(engine: str, here: Place) -> None:
    """As many connections and threads as for one, and never more than a thousand read at a time."""
    url = here.elsewhere.backend.store.url
    here.begin("one")
    threads, most = here.waiting_threads(), settled_connections(url)
    reads = reads_of(here)
    ids = [f"task-{number:05}" for number in range(10_000)]
    group = GroupResult("all", [here.result(task_id) for task_id in ids], app=here.app)
    eventually(lambda: sum(reads) >= 10_000)  # at once, for somebody drains
    assert here.waiting_threads() == threads
    assert connections(url) <= most  # a pool may have let go of some
    here.finish("one", *ids)
    assert group.join_native(timeout=120) == ids
    here.end()
    assert max(reads) <= CHUNK
    assert here.waited_for() == (0, 0, 0), engine


def reads_of(here: Place) -> list[int]:
    """How many tasks each read of the store asks for, from now on."""
    store = here.app.backend.store
    fetch = store._fetch
    reads: list[int] = []

    def counted(ids: list[str]) -> Any:
        reads.append(len(ids))
        return fetch(ids)

    store._fetch = counted
    return reads


# -- who goes away -----------------------------------------------------------------------------------------------------


@on_each_store
@pytest.mark.usefixtures("patience")
def test_who_goes_away_leaves_nothing_behind(engine: str, here: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given up, forgotten, dropped, called back: no task is watched, and then no thread and no watcher is left."""
    watchers = watchers_of(here, monkeypatch)
    with pytest.raises(CeleryTimeoutError):
        here.result("given up").get(timeout=0.01)
    dropped = here.result("dropped")
    dropped.then(print)
    here.result("weakly").then(print, weak=True)
    forgotten = here.result("forgotten")
    forgotten.then(print)
    group = GroupResult("g", [here.result(f"member-{number}") for number in range(3)], app=here.app)
    with pytest.raises(CeleryTimeoutError):
        group.get(timeout=0.01)
    forgotten.forget()
    here.begin("finished")
    here.finish("finished", "dropped")
    here.end()
    end_of_chain = here.result("end of chain")
    end_of_chain.parent = here.result("parent")
    with pytest.raises(CeleryTimeoutError):
        end_of_chain.get(timeout=0.01)
    del group, dropped
    gc.collect()

    def nobody_waits() -> bool:
        with pytest.raises(CeleryTimeoutError):  # what has arrived for others is handed over meanwhile
            here.result("never").get(timeout=0.05)
        return here.waited_for() == (0, 0, 0)

    eventually(nobody_waits)
    eventually(lambda: not here.waiting_threads())
    eventually(lambda: gc.collect() is not None and not any(watcher() for watcher in watchers))


@on_each_store
@pytest.mark.usefixtures("patience")
def test_connections_do_not_add_up(engine: str, here: Place) -> None:
    """One wait after the other, each given up: one connection more for each of them would be seen."""
    url = here.elsewhere.backend.store.url
    assert here.result("unknown").state == "PENDING"
    at_first = settled_connections(url)
    for number in range(6):
        with pytest.raises(CeleryTimeoutError):
            here.result(f"given up {number}").get(timeout=0.01)
        eventually(lambda: not here.waiting_threads())
    # A pool keeps what was in use at once: who asks, the hub, a stream that begins, one that ends.
    assert settled_connections(url) <= at_first + 3, engine


def watchers_of(here: Place, monkeypatch: pytest.MonkeyPatch) -> list[weakref.ref[Watcher]]:
    """The watchers that the store makes from now on."""
    store: Store = here.app.backend.store
    make = store.watcher
    watchers: list[weakref.ref[Watcher]] = []

    def noted() -> Watcher:
        watcher = make()
        watchers.append(weakref.ref(watcher))
        return watcher

    monkeypatch.setattr(store, "watcher", noted)
    return watchers


@on_each_store
def test_a_group_that_nobody_asks_for_costs_nothing(engine: str, here: Place) -> None:
    """Celery registers each of its members as it is published. Neither a thread nor a connection comes of it."""
    assert here.result("unknown").state == "PENDING"
    url = here.elsewhere.backend.store.url
    before = settled_connections(url)
    reads = reads_of(here)
    group = GroupResult("g", [here.result(f"member-{number}") for number in range(100)], app=here.app)
    assert not here.waiting_threads()
    assert not reads
    assert connections(url) <= before
    del group
    gc.collect()
    assert here.waited_for() == (0, 0, 0), engine


@on_each_store
def test_what_has_finished_starts_no_thread(engine: str, here: Place) -> None:
    here.finish("a", "b")
    assert here.result("a").get(timeout=10) == "a"
    assert GroupResult("g", [here.result("a"), here.result("b")], app=here.app).get(timeout=10) == ["a", "b"]
    assert not here.waiting_threads(), engine


# -- processes ---------------------------------------------------------------------------------------------------------


#: What runs first in a program, by what takes the place of its threads.
PATCHES = {
    "threads": "",
    "fork": "",
    "gevent": "from gevent import monkey; monkey.patch_all()",
    "eventlet": "import warnings; warnings.simplefilter('ignore'); import eventlet; eventlet.monkey_patch()",
}


@pytest.mark.slow
@on_each_store
@pytest.mark.parametrize("kind", PATCHES)
def test_a_program_that_waits(kind: str, engine: str, url_of: Url) -> None:  # noqa: F811
    """Fifty waiters in threads or greenlets, or on both sides of a fork; the program ends by itself."""
    if engine == "mongodb" and kind == "eventlet":
        pytest.skip("pymongo does not support eventlet")
    program = f"{PATCHES[kind]}\nfrom tests.celery.patient import wait\nwait({url_of(engine)!r}, fork={kind == 'fork'})"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)
