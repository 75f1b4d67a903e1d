"""A small pool of sessions: cheap to take from, bounded, and it never trusts one that saw a connection error."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from rootcellar.errors import StoreUnavailable
from rootcellar.stores.mysql.session import Session

#: Seconds that a caller waits for a session while all are in use.
PATIENCE: Final = 30.0


class Pool:
    """At most `size` sessions, made by `connect` when needed. Safe to use from many threads.

    A session that leaves a block by an exception is closed, unless it is `Session.sound`: the server refused a
    statement and awaits the next. A lost connection also closes those that lie idle, because what cut one has most
    likely cut them all; so the next try begins with a fresh one.
    """

    def __init__(self, connect: Callable[[], Session], size: int) -> None:
        self._connect = connect
        self._size = size
        self.forget()

    def forget(self) -> None:
        """Leave the sessions to whom they belong: after a fork they are the parent's, and no farewell may be sent."""
        self._free = threading.BoundedSemaphore(self._size)
        self._idle: deque[Session] = deque()

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A session for the length of the block."""
        free, idle = self._free, self._idle
        if not free.acquire(timeout=PATIENCE):
            raise StoreUnavailable(f"all {self._size} connections to the server were in use for {PATIENCE:.0f} s")
        try:
            session = _taken(idle) or self._connect()
            try:
                yield session
            except BaseException as error:
                self._dismiss(session, error, idle)
                raise
            # After `clear`, the deque is another one, and this session ends here.
            if idle is self._idle:
                idle.append(session)
            else:
                session.drop()
        finally:
            free.release()

    def _dismiss(self, session: Session, error: BaseException, idle: deque[Session]) -> None:
        if session.sound(error):
            idle.append(session)
            return
        session.drop()
        while (other := _taken(idle)) is not None:
            other.drop()

    def clear(self) -> None:
        """Close every session that lies idle; those in use end when they come back."""
        idle, self._idle = self._idle, deque()
        while (session := _taken(idle)) is not None:
            session.close()


def _taken(idle: deque[Session]) -> Session | None:
    try:
        return idle.pop()
    except IndexError:
        return None
