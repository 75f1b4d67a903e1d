"""Threads of ours take no signal from the program they run in."""

from __future__ import annotations

import signal
import threading

import pytest

from rootcellar.background import run_aside, start_thread

pytestmark = pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="this platform has no signal masks")


def test_a_thread_blocks_every_signal_that_can_be_blocked() -> None:
    masks: list[set[int]] = []
    done = threading.Event()

    def note_mask() -> None:
        masks.append(set(signal.pthread_sigmask(signal.SIG_BLOCK, [])))
        done.set()

    start_thread(note_mask, name="mask").join()
    done.clear()
    run_aside(note_mask)
    assert done.wait(60)
    for mask in masks:
        assert {signal.SIGTERM, signal.SIGINT, signal.SIGUSR1} <= mask


def test_the_starting_thread_keeps_its_mask() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    start_thread(lambda: None, name="mask").join()
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


def test_it_is_a_daemon_with_a_name() -> None:
    thread = start_thread(threading.Event().wait, 0, name="named")
    assert thread.daemon
    assert thread.name == "named"
    thread.join()
