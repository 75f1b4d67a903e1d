"""Threads of ours take no signal from the program they run in."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue

import pytest

from rootcellar.background import run_aside, start_thread

pytestmark = pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="this platform has no signal masks")


@pytest.mark.parametrize("start", [partial(start_thread, name="mask"), run_aside])
def test_a_thread_blocks_every_signal_that_can_be_blocked(start: Callable[..., object]) -> None:
    masks: SimpleQueue[set[int]] = SimpleQueue()
    start(lambda: masks.put(set(signal.pthread_sigmask(signal.SIG_BLOCK, []))))
    assert {signal.SIGTERM, signal.SIGINT, signal.SIGUSR1} <= masks.get(timeout=60)


def test_the_starting_thread_keeps_its_mask() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    start_thread(lambda: None, name="mask").join()
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


def test_it_is_a_daemon_with_a_name() -> None:
    thread = start_thread(threading.Event().wait, 0, name="named")
    assert thread.daemon
    assert thread.name == "named"
    thread.join()
