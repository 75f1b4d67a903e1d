"""A small pool of sessions: cheap to take from, bounded, and it never trusts a session that saw an error."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from rootcellar.errors import StoreUnavailable
from rootcellar.stores.postgresql.session import Session

#: Seconds that a caller waits for a session while all are in use.
PATIENCE: Final = 30.0
#: Seconds after which a session is replaced, so that load spreads again after a failover.
LIFETIME: Final = 3600.0

_inherited: Final[list[object]] = []


class Pool:
    """At most `size` sessions, made by `connect` when needed. Safe to use from many threads.

    The session given back last is taken first, so that a process that works on one task at a time has one.
    """

    def __init__(self, connect: Callable[[], Session], size: int) -> None:
        self._connect = connect
        self._size = size
        self._free = threading.Semaphore(size)
        self._idle: deque[tuple[Session, float]] = deque()

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A session for the length of the block. Raises `StoreUnavailable` when none becomes free in time."""
        if not self._free.acquire(timeout=PATIENCE):
            raise StoreUnavailable(f"all {self._size} connections to PostgreSQL were in use for {PATIENCE:.0f} s")
        try:
            session, born = self._pop() or (self._connect(), time.monotonic())
            with self._lent(session, born):
                yield session
        finally:
            self._free.release()

    @contextmanager
    def idle_session(self) -> Iterator[Session | None]:
        """An open session that nobody uses now, for the length of the block; None when there is none."""
        if not self._free.acquire(blocking=False):
            yield None
            return
        try:
            found = self._pop()
            if found is None:
                yield None
                return
            with self._lent(*found):
                yield found[0]
        finally:
            self._free.release()

    def clear(self) -> None:
        """Close the sessions that nobody uses."""
        while found := self._pop():
            found[0].close()

    def abandon(self) -> None:
        """After a fork, in the child: keep the parent's connections from being used, and from being closed."""
        _inherited.append(self._idle)
        self._idle = deque()

    def _pop(self) -> tuple[Session, float] | None:
        try:
            return self._idle.pop()
        except IndexError:
            return None

    @contextmanager
    def _lent(self, session: Session, born: float) -> Iterator[None]:
        try:
            yield
        except BaseException:
            # Its state is unknown. And where one connection broke, the others are likely to have.
            broken = session.broken
            session.close()
            if broken:
                self.clear()
            raise
        if time.monotonic() - born < LIFETIME:
            self._idle.append((session, born))
        else:
            session.close()
