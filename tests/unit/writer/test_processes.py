"""The writer in the kinds of process that Celery has: forked, exiting, green."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from rootcellar.spool import Spool, unpack_record

ROOT = Path(__file__).parents[3]

PREAMBLE = """
import os, sys, threading, time
from rootcellar.celery.writer import Writer
from rootcellar.errors import StoreUnavailable
from rootcellar.settings import Settings
from rootcellar.spool import Spool
from tests.unit.writer.stores import FailingStore, delta, eventually, states
spool = Spool(sys.argv[1])
store = FailingStore()
"""

FORK = """
writer = Writer(store, Settings(flush_interval=60), spool)
writer.submit(delta("parent", "STARTED"))
writer.write(delta("before", "SUCCESS"))
child = os.fork()
if not child:
    assert writer.pending(["parent"]) == {}, "the parent writes its records itself"
    assert writer._behind._thread is None
    writer.submit(delta("child", "STARTED"))
    writer.write(delta("child", "SUCCESS"))
    assert states(store.get("child")) == ["STARTED", "SUCCESS"]
    writer.submit(delta("other", "STARTED"))
    assert writer.flush() and store.get("other") and not store.get("parent")
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert list(writer.pending(["parent", "child"])) == ["parent"]
writer.close()
assert store.get("parent")
"""

FORK_IN_AN_OUTAGE = """
writer = Writer(store, Settings(flush_interval=60, retry_for=0), spool)
store.error = StoreUnavailable("away")
writer.write(delta("parent", "SUCCESS"))
child = os.fork()
if not child:
    writer.write(delta("child", "SUCCESS"))
    assert spool.depth() == 2
    store.error = None
    eventually(lambda: spool.depth() == 0)
    assert store.get("parent") and store.get("child")
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
writer.write(delta("again", "SUCCESS"))
assert spool.depth() == 1
"""

FORK_WHILE_OTHER_THREADS_WRITE = """
writer = Writer(store, Settings(flush_interval=0.001, flush_size=5), spool)
stop = threading.Event()

def work(name):
    number = 0
    while not stop.is_set():
        number += 1
        writer.submit(delta(f"{name}-{number}", "STARTED"))
        writer.write(delta(f"{name}-{number}", "SUCCESS"))

threads = [threading.Thread(target=work, args=(name,)) for name in range(3)]
for thread in threads:
    thread.start()
for _ in range(20):
    child = os.fork()
    if not child:
        store._lock = threading.RLock()
        store.gate = threading.Event(); store.gate.set()
        store.entered = threading.Event()
        writer.submit(delta("child", "STARTED"))
        eventually(lambda: store.get("child"))
        writer.write(delta("child", "SUCCESS"))
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
stop.set()
for thread in threads:
    thread.join()
"""

EXIT = """
writer = Writer(store, Settings(flush_interval=60, retry_for=0), spool)
store.error = StoreUnavailable("away")
for number in range(10):
    writer.submit(delta(str(number), "QUEUED"))
"""

EXIT_WITH_A_STORE = """
import atexit
writer = Writer(store, Settings(flush_interval=60), None)
atexit.unregister(__import__("rootcellar.celery.writer.writer", fromlist=["x"])._flush_writers)
@atexit.register
def check():
    print("stored", store.count())
atexit.register(__import__("rootcellar.celery.writer.writer", fromlist=["x"])._flush_writers)
writer.submit(delta("a", "QUEUED"))
"""

GREEN = """
writer = Writer(store, Settings(flush_interval=0.02, retry_for=0), spool)

def life(number):
    task_id = str(number)
    writer.submit(delta(task_id, "QUEUED"))
    pause(0.001)
    writer.submit(delta(task_id, "STARTED"))
    pause(0.03 if number % 2 else 0)
    if number == 50:
        store.error = StoreUnavailable("away")
    writer.write(delta(task_id, "SUCCESS", result=number))

def ended():
    return store.count() == 200 and spool.depth() == 0 and all(record.ready for record in store.scan())

waits = [spawn(life, number) for number in range(200)]
for wait in waits:
    join(wait)
assert spool.depth() > 0
store.error = None
for _ in range(6000):
    if ended():
        break
    pause(0.01)
assert ended()
assert {tuple(states(record)) for record in store.scan()} == {("QUEUED", "STARTED", "SUCCESS")}
writer.close()
print("done")
"""

GEVENT = """
import gevent.monkey
gevent.monkey.patch_all()
import gevent
spawn, join, pause = gevent.spawn, lambda green: green.get(), gevent.sleep
"""

EVENTLET = """
import warnings
warnings.simplefilter("ignore")
import eventlet
eventlet.monkey_patch()
spawn, join, pause = eventlet.spawn, lambda green: green.wait(), eventlet.sleep
"""


def run(script: str, path: Path) -> str:
    # Python 3.12 and newer warn of any fork in a process with threads; Celery's pools do it all the same.
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script, str(path)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": "."},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@posix
@pytest.mark.parametrize("script", [FORK, FORK_IN_AN_OUTAGE, FORK_WHILE_OTHER_THREADS_WRITE])
def test_a_forked_child_starts_empty_and_on_its_own(script: str, tmp_path: Path) -> None:
    run(PREAMBLE + script, tmp_path / "a.spool")


def test_a_process_that_exits_during_an_outage_spools_what_was_pending(tmp_path: Path) -> None:
    run(PREAMBLE + EXIT, tmp_path / "a.spool")
    with closing(Spool(tmp_path / "a.spool")) as spool:
        assert {unpack_record(entry.payload).id for entry in spool.peek()} == {str(number) for number in range(10)}


def test_a_process_that_exits_writes_what_was_pending(tmp_path: Path) -> None:
    assert "stored 1" in run(PREAMBLE + EXIT_WITH_A_STORE, tmp_path / "a.spool")


@pytest.mark.parametrize("library", [GEVENT, EVENTLET], ids=["gevent", "eventlet"])
def test_green_threads_write_as_threads_do(library: str, tmp_path: Path) -> None:
    assert "done" in run(library + PREAMBLE + GREEN, tmp_path / "a.spool")
