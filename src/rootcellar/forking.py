"""Forks wait for native code of ours.

SQLite guards what connections share by locks of its own, in C. A child that is forked while another thread of its
parent holds one of them can never open a database: the thread that would release it does not exist there. So whoever
calls SQLite does it inside of `native_calls`, and a fork waits, for a moment, until nobody does.
"""

from __future__ import annotations

import os
import threading
from typing import Final

#: Seconds that a fork waits at most; then it goes ahead as it would without us.
_PATIENCE: Final = 2.0


class NativeCalls:
    """A context for calls of a native library that does not survive a fork in the middle."""

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._inside = 0
        self._forks = 0

    def __enter__(self) -> None:
        with self._changed:
            if self._forks:
                self._changed.wait_for(lambda: not self._forks, _PATIENCE)
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._inside -= 1
            if self._forks:
                self._changed.notify_all()

    def before_fork(self) -> None:
        """Let nobody in, and wait for those inside."""
        with self._changed:
            self._forks += 1
            self._changed.wait_for(lambda: not self._inside, _PATIENCE)

    def after_fork_in_parent(self) -> None:
        """Go on."""
        with self._changed:
            self._forks -= 1
            self._changed.notify_all()

    def after_fork_in_child(self) -> None:
        """Nobody is inside: the other threads are not here."""
        self._reset()


native_calls: Final = NativeCalls()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=native_calls.before_fork,
        after_in_parent=native_calls.after_fork_in_parent,
        after_in_child=native_calls.after_fork_in_child,
    )
