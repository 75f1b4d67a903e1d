"""A small pool of sessions: cheap to take from, bounded, and it never trusts a session that saw an error."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final, TypeVar

from rootcellar.errors import StoreUnavailable
from rootcellar.stores.postgresql.session import Session

R = TypeVar("R")
Work = Callable[[Session], R]

#: Seconds that a caller waits for a session while all are in use.
PATIENCE: Final = 30.0
#: Seconds after which a session is replaced, so that load spreads again after a failover.
LIFETIME: Final = 3600.0

#: What forks left behind; kept for ever, so that nobody closes the parent's connections.
_inherited: Final[list[object]] = []


class Pool:
    """At most `size` sessions, made by `connect` when needed. Safe to use from many threads.

    The session given back last is taken first, so that a process that works on one task at a time has one.
    """

    def __init__(self, connect: Callable[[], Session], size: int) -> None:
        self._connect = connect
        self._size = size
        # Appending and popping are atomic; only who finds nothing takes the lock.
        self._idle: deque[Session] = deque()
        self._changed = threading.Condition()
        self._open = 0
        self._waiting = 0

    def use(self, work: Work[R]) -> R:
        """Do `work` with a session. Raises `StoreUnavailable` when none becomes free in time."""
        return self._lend(self._pop() or self._made(), work)

    def use_idle(self, work: Work[object]) -> bool:
        """Do `work` if there is an open session that nobody uses now; whether there was."""
        session = self._pop()
        if session is None:
            return False
        self._lend(session, work)
        return True

    def clear(self) -> None:
        """Close the sessions that nobody uses."""
        while session := self._pop():
            self._discard(session)

    def abandon(self) -> None:
        """After a fork, in the child: never use nor close the parent's sessions. The pool is not used afterwards."""
        _inherited.append(self._idle)

    def _lend(self, session: Session, work: Work[R]) -> R:
        try:
            result = work(session)
        except BaseException:
            # Its state is unknown. And where one connection broke, the others are likely to have.
            broken = session.broken
            self._discard(session)
            if broken:
                self.clear()
            raise
        if time.monotonic() - session.born > LIFETIME:
            self._discard(session)
        else:
            self._give(session)
        return result

    def _pop(self) -> Session | None:
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def _give(self, session: Session) -> None:
        self._idle.append(session)
        # Who waits counts itself first and looks for a session then, so one of the two sees the other.
        if self._waiting:
            with self._changed:
                self._changed.notify()

    def _made(self) -> Session:
        """A new session, or, where there are as many as may be, the next that is given back."""
        with self._changed:
            self._waiting += 1
            try:
                self._changed.wait_for(lambda: self._idle or self._open < self._size, PATIENCE)
                session = self._pop()
                if session is not None:
                    return session
                if self._open >= self._size:
                    raise StoreUnavailable(f"all {self._size} connections to PostgreSQL are in use")
                self._open += 1
            finally:
                self._waiting -= 1
        try:
            return self._connect()
        except BaseException:
            self._closed()
            raise

    def _discard(self, session: Session) -> None:
        session.close()
        self._closed()

    def _closed(self) -> None:
        with self._changed:
            self._open -= 1
            self._changed.notify()
