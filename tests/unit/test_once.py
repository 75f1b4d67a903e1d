"""What is made at first use is made once."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event

import pytest

from rootcellar.once import once


class Owner:
    def __init__(self) -> None:
        self.makings = 0

    @once
    def made(self) -> object:
        """Its documentation."""
        self.makings += 1
        time.sleep(0.01)
        return object()

    @once
    def failing(self) -> object:
        self.makings += 1
        raise LookupError


def test_of_threads_that_ask_first_one_makes_it() -> None:
    owner, together = Owner(), Barrier(8)

    def ask(_: int) -> object:
        together.wait()
        return owner.made

    with ThreadPoolExecutor(8) as pool:
        answers = set(pool.map(ask, range(8)))
    assert answers == {owner.made}
    assert owner.makings == 1


def test_each_object_has_its_own() -> None:
    assert Owner().made is not Owner().made


def test_it_can_be_set_and_made_anew() -> None:
    owner = Owner()
    owner.made = "set"
    assert owner.made == "set"
    del owner.made
    assert owner.made != "set"


def test_what_failed_is_tried_again() -> None:
    owner = Owner()
    for _ in range(2):
        with pytest.raises(LookupError):
            _ = owner.failing
    assert owner.makings == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_the_child_of_a_fork_does_not_wait_for_a_thread_that_is_not_there() -> None:
    class Slow:
        @once
        def made(self) -> int:
            begun.set()
            done.wait(10)
            return 1

    begun, done = Event(), Event()
    slow, other = Slow(), Slow()
    with ThreadPoolExecutor(1) as pool:
        making = pool.submit(lambda: slow.made)
        begun.wait()
        child = os.fork()
        if not child:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(5)
            done.set()
            os._exit(other.made)
        _, status = os.waitpid(child, 0)
        done.set()
        assert making.result() == 1
    assert os.waitstatus_to_exitcode(status) == 1


def test_it_keeps_its_documentation() -> None:
    assert Owner.made.__doc__ == "Its documentation."
