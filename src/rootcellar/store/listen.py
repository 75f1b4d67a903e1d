"""Waiting on a connection of its own that hears what is announced: the half that engines with a push share."""

from __future__ import annotations

import selectors
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable
from contextlib import suppress
from logging import getLogger
from typing import ClassVar, Protocol

from rootcellar.errors import StoreError
from rootcellar.store.watch import Watcher

logger = getLogger(__name__)


class Ear(Protocol):
    """A connection on which announcements arrive."""

    @property
    def descriptor(self) -> socket.socket | int:
        """What becomes readable when something has arrived."""

    @property
    def look_at(self) -> float:
        """The time (of `time.monotonic`) at which `heard` is to be called even though nothing arrived."""

    def heard(self) -> Iterable[str] | None:
        """The ids that arrived; does not wait. None when some could not be named."""

    def close(self) -> None:
        """Close the connection. Never raises."""


class Listener(Watcher, ABC):
    """Waits for what an `Ear` hears; polls while there is none to be had.

    After a connection was lost, and where none is of use, `wait` says that it does not know what changed.
    """

    #: What a connection may fail with, besides `StoreError` and `OSError`.
    failures: ClassVar[tuple[type[Exception], ...]] = ()
    #: Seconds until a lost connection is tried again: the first time and at most.
    first_pause = 0.1
    last_pause = 15.0

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._watched: set[str] = set()
        self._failures: tuple[type[Exception], ...] = (*self.failures, StoreError, OSError, ValueError)
        self._bell, self._bell_end = socket.socketpair()
        for end in (self._bell, self._bell_end):
            end.setblocking(False)  # noqa: FBT003 - the socket's own signature
        self._ear: Ear | None = None
        #: Kept, for a connection that broke may not tell it any more.
        self._descriptor: socket.socket | int = -1
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._bell_end, selectors.EVENT_READ)
        self._pause = self.first_pause
        self._retry_at = 0.0
        self._closed = False
        try:
            self._try_listening()
        except BaseException:
            self.close()
            raise

    @abstractmethod
    def _open(self) -> Ear | None:
        """A connection that hears all that is announced from now on; None where none ever will."""

    @property
    def listening(self) -> bool:
        """Whether announcements reach this watcher; it polls where they do not."""
        return self._ear is not None

    def watch(self, ids: Iterable[str]) -> None:
        """See `Watcher.watch`."""
        with self._lock:
            self._watched.update(ids)
        if self._ear is None:
            super().watch(ids)

    def unwatch(self, ids: Iterable[str]) -> None:
        """See `Watcher.unwatch`."""
        with self._lock:
            self._watched.difference_update(ids)

    def wait(self, timeout: float) -> frozenset[str] | None:
        """See `Watcher.wait`."""
        ear = self._ear
        if ear is None:
            return self._wait_without(timeout)
        try:
            return self._listen(ear, timeout)
        except self._failures as error:
            logger.debug("the connection that listens was lost: %s", type(error).__name__)
            self._hang_up()
            return None

    def wake(self) -> None:
        """See `Watcher.wake`."""
        super().wake()
        with suppress(OSError):  # full of calls that nobody answered yet, or closed
            self._bell.send(b"!")

    def close(self) -> None:
        """See `Watcher.close`."""
        self._closed = True
        self._hang_up()
        self._selector.close()
        self._bell.close()
        self._bell_end.close()

    def _wait_without(self, timeout: float) -> frozenset[str] | None:
        if time.monotonic() < self._retry_at:
            return super().wait(timeout)
        self._try_listening()
        return None  # what finished before is not announced again

    def _try_listening(self) -> None:
        try:
            ear = self._open()
        except self._failures as error:
            logger.debug("cannot listen, polling for %.1f s: %s", self._pause, type(error).__name__)
            self._retry_at = time.monotonic() + self._pause
            self._pause = min(self._pause * 2, self.last_pause)
            return
        if ear is None:
            self._retry_at = float("inf")
            return
        self._ear, self._pause = ear, self.first_pause
        self._descriptor = ear.descriptor
        self._selector.register(self._descriptor, selectors.EVENT_READ)

    def _hang_up(self) -> None:
        ear, self._ear = self._ear, None
        if ear is not None:
            self._selector.unregister(self._descriptor)
            ear.close()
        self._retry_at = float("inf") if self._closed else 0.0

    def _listen(self, ear: Ear, timeout: float) -> frozenset[str] | None:
        deadline = time.monotonic() + timeout
        while not self._woken.is_set():
            changed = self._concerned(ear.heard())
            now = time.monotonic()
            if changed is None or changed or now >= deadline:
                return changed
            self._selector.select(max(0.0, min(deadline, ear.look_at) - now))
        self._woken.clear()
        with suppress(OSError):
            self._bell_end.recv(4096)
        return self._concerned(ear.heard())

    def _concerned(self, ids: Iterable[str] | None) -> frozenset[str] | None:
        """The watched ones among `ids`."""
        if ids is None:
            return None
        with self._lock:
            return frozenset(task_id for task_id in ids if task_id in self._watched)
