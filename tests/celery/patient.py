"""A process that waits for results, in threads or in what took their place; `wait` returns when all came."""

from __future__ import annotations

import os
import threading
import time

from celery.result import GroupResult

from tests.celery.places import Place

WAITERS = 50


def wait(url: str, *, fork: bool = False) -> None:
    """For many at once, while another thread goes on; on both sides of a fork; and for a set."""
    here = Place(url)
    wait_in_threads(here, "first")
    if fork:
        wait_after_fork(here)
    wait_for_set(here)
    here.close()


def wait_in_threads(here: Place, name: str) -> None:
    """Each thread, or greenlet, gets its own; meanwhile another one gets its turns."""
    ids = [f"{name}-{number}" for number in range(WAITERS)]
    turns: list[float] = []
    done = threading.Event()

    def take_turns() -> None:
        while not done.is_set():
            turns.append(time.monotonic())
            time.sleep(0.001)

    other = threading.Thread(target=take_turns)
    other.start()
    here.begin(*ids)
    before = len(turns)
    while len(turns) < before + 5:
        time.sleep(0.001)
    for task_id in ids:
        here.finish(task_id)
    here.end()
    done.set()
    other.join()
    assert [here.got[task_id] for task_id in ids] == ids


def wait_after_fork(here: Place) -> None:
    """With a waiter on either side, and a watcher in force when it forks."""
    here.begin("parent")
    child = os.fork()
    if not child:
        os._exit(in_child(here))
    assert os.waitpid(child, 0)[1] == 0
    here.finish("parent")
    assert here.end()["parent"] == "parent"


def in_child(here: Place) -> int:
    """The exit code of the child."""
    try:
        here.threads.clear()  # they are the parent's
        wait_in_threads(here, "child")
    except BaseException as error:  # noqa: BLE001 - this process must end here
        os.write(2, repr(error).encode())
        return 1
    return 0


def wait_for_set(here: Place) -> None:
    """A set that is joined natively."""
    ids = [f"member-{number}" for number in range(WAITERS)]
    members = GroupResult("g", [here.result(task_id) for task_id in ids], app=here.app)
    later = threading.Timer(0.05, here.finish, ids)
    later.start()
    assert members.join_native(timeout=30) == ids
    later.join()
