"""A fork waits until no other thread is inside of SQLite, or the child could never open a database."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from rootcellar import forking
from rootcellar.forking import NativeCalls

ROOT = Path(__file__).parents[2]

FORKS = """
import os, sys, threading
import rootcellar
store = rootcellar.open("sqlite:///" + sys.argv[1])
store.setup()
stop = threading.Event()

def work(number):
    while not stop.is_set():
        store.annotate(f"t{number}", number=number)
        store.get(f"t{number}")

threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
for thread in threads:
    thread.start()
for number in range(30):
    child = os.fork()
    if not child:
        store.annotate(f"child-{number}", number=number)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
stop.set()
for thread in threads:
    thread.join()
assert store.count("id:child-*") == 30
print("all well")
"""


def test_a_fork_waits_for_those_inside() -> None:
    calls = NativeCalls()
    order: list[str] = []

    def fork() -> None:
        calls.before_fork()
        order.append("fork")

    with calls:
        forking_thread = threading.Thread(target=fork)
        forking_thread.start()
        while not calls._forks:
            pass
        order.append("call")
    forking_thread.join()
    assert order == ["call", "fork"]


def test_nobody_gets_in_while_a_fork_is_on() -> None:
    calls = NativeCalls()
    order: list[str] = []

    def call() -> None:
        with calls:
            order.append("call")

    calls.before_fork()
    calling_thread = threading.Thread(target=call)
    calling_thread.start()
    order.append("fork")
    calls.after_fork_in_parent()
    calling_thread.join()
    assert order == ["fork", "call"]


def test_a_call_that_takes_long_delays_a_fork_for_a_moment_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forking, "_PATIENCE", 0.01)
    calls = NativeCalls()
    with calls:
        calls.before_fork()
        calls.after_fork_in_parent()


def test_the_child_begins_anew() -> None:
    calls = NativeCalls()
    with calls:
        calls.after_fork_in_child()
        assert calls._inside == 0
        with calls:
            assert calls._inside == 1
        calls._inside += 1


@pytest.mark.store("sqlite")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_children_of_a_busy_process_can_use_the_store(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-c", FORKS, str(tmp_path / "records.sqlite3")]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert ran.stdout == "all well\n", ran.stderr
