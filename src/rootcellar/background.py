"""Threads of ours beside the threads of whoever uses us."""

from __future__ import annotations

import _thread
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


def start_thread(target: Callable[..., Any], *args: Any, name: str) -> threading.Thread:
    """Start a daemon thread to which the kernel delivers no signal."""
    thread = threading.Thread(target=target, args=args, name=name, daemon=True)
    with signals_blocked():
        thread.start()
    return thread


def run_aside(function: Callable[[], object]) -> None:
    """Have a thread of its own call `function`, and wait for nothing, not even for the thread to begin.

    For finalisers of what takes locks or talks to a server: the garbage collector runs them in any thread at any point,
    one that holds such a lock included, and collects nothing else in the whole process until they return.
    """
    with signals_blocked():
        _thread.start_new_thread(function, ())


@contextmanager
def signals_blocked() -> Iterator[None]:
    """Threads that are started inside of this get no signals from the kernel, those of a driver for example.

    A signal for the process goes to any thread that does not block it. Programs that block signals around a critical
    section do so in their main thread; billiard's pool processes, for one, would be killed by SIGTERM in a thread of
    ours while they hold the lock of the queue that all of the pool shares, and the worker would hang for ever.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    # The mask is inherited. It is not set in the thread itself: under gevent that is a greenlet of the main thread.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
