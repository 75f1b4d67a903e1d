"""Finished tasks heard of by pub/sub.

The script that merges a finished record also publishes its id, so that telling costs no round trip. There is one
channel for a store, and one connection that listens for each watcher: nothing is subscribed per task, and nothing stays
behind. Whatever is lost on the way costs a waiter time, never a result.
"""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from logging import getLogger
from typing import TYPE_CHECKING, Any

from redis import exceptions

from rootcellar.errors import StoreError
from rootcellar.store.watch import Watcher

if TYPE_CHECKING:
    from redis.connection import AbstractConnection

logger = getLogger(__name__)

#: What may come of a connection.
_FAILURES = (exceptions.RedisError, StoreError, OSError, ValueError)
#: Seconds after which a connection that hears nothing is asked whether it lives.
_SILENCE = 15.0


class Listener(Watcher):
    """Waits for the ids that are published on a channel; polls while there is no connection.

    After a connection was lost `wait` says that it does not know what changed.
    """

    #: Seconds until a lost connection is tried again: the first time and at most.
    first_pause = 0.1
    last_pause = 15.0

    def __init__(self, connect: Callable[[], AbstractConnection], channel: bytes) -> None:
        super().__init__()
        self._connect = connect
        self._channel = channel
        self._lock = threading.Lock()
        self._watched: set[str] = set()
        self._bell, self._ear = socket.socketpair()
        for end in (self._bell, self._ear):
            end.setblocking(False)  # noqa: FBT003 - the socket's own signature
        self._connection: AbstractConnection | None = None
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._ear, selectors.EVENT_READ)
        self._descriptor: Any = None
        self._pause = self.first_pause
        self._retry_at = 0.0
        self._heard_at = 0.0
        self._asked = False
        self._closed = False
        self._try_listening()

    @property
    def listening(self) -> bool:
        """Whether what is published reaches this watcher; it polls where it does not."""
        return self._connection is not None

    def watch(self, ids: Iterable[str]) -> None:
        """See `Watcher.watch`."""
        super().watch(ids)
        with self._lock:
            self._watched.update(ids)

    def unwatch(self, ids: Iterable[str]) -> None:
        """See `Watcher.unwatch`."""
        with self._lock:
            self._watched.difference_update(ids)

    def wait(self, timeout: float) -> frozenset[str] | None:
        """See `Watcher.wait`."""
        connection = self._connection
        if connection is None:
            return self._wait_without(timeout)
        try:
            return self._listen(connection, timeout)
        except _FAILURES as error:
            logger.debug("the connection that listens was lost: %s", type(error).__name__)
            self._disconnect()
            return None

    def _wait_without(self, timeout: float) -> frozenset[str] | None:
        if self._closed or time.monotonic() < self._retry_at:
            return super().wait(timeout)
        self._try_listening()
        return None  # what finished before is not published again

    def wake(self) -> None:
        """See `Watcher.wake`."""
        super().wake()
        with suppress(OSError):  # full of calls that nobody answered yet, or closed
            self._bell.send(b"!")

    def close(self) -> None:
        """See `Watcher.close`."""
        self._closed = True
        self._disconnect()
        self._selector.close()
        self._bell.close()
        self._ear.close()

    def _try_listening(self) -> None:
        try:
            connection = self._connect()
        except _FAILURES as error:
            logger.debug("cannot listen, polling for %.1f s: %s", self._pause, type(error).__name__)
            self._retry_at = time.monotonic() + self._pause
            self._pause = min(self._pause * 2, self.last_pause)
            return
        try:
            connection.send_command("SUBSCRIBE", self._channel, check_health=False)
            connection.read_response(disable_decoding=True)
        except _FAILURES as error:
            connection.disconnect()
            logger.debug("cannot listen: %s", type(error).__name__)
            self._retry_at = time.monotonic() + self._pause
            self._pause = min(self._pause * 2, self.last_pause)
            return
        self._connection, self._pause = connection, self.first_pause
        self._heard_at, self._asked = time.monotonic(), False
        self._descriptor = connection._sock  # noqa: SLF001 - what stock Celery waits on, too
        self._selector.register(self._descriptor, selectors.EVENT_READ)

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(KeyError, ValueError):
                self._selector.unregister(self._descriptor)
            connection.disconnect()
        self._retry_at = float("inf") if self._closed else 0.0

    def _listen(self, connection: AbstractConnection, timeout: float) -> frozenset[str] | None:
        deadline = time.monotonic() + timeout
        while not self._woken.is_set():
            heard = self._heard(connection)
            if heard:
                return heard
            now = time.monotonic()
            if now >= deadline:
                return heard
            self._look_after(connection, now)
            self._selector.select(min(deadline - now, _SILENCE))
        self._woken.clear()
        with suppress(OSError):
            self._ear.recv(4096)
        return self._heard(connection)

    def _look_after(self, connection: AbstractConnection, now: float) -> None:
        """A connection that a firewall has forgotten looks like one on which nothing happens."""
        silent = now - self._heard_at
        if silent > 2 * _SILENCE:
            raise exceptions.TimeoutError("the connection that listens does not answer")
        if silent > _SILENCE and not self._asked:
            self._asked = True
            connection.send_command("PING", check_health=False)

    def _heard(self, connection: AbstractConnection) -> frozenset[str]:
        """The watched ones among the ids that have arrived; does not wait."""
        ids: set[str] = set()
        while connection.can_read(0):
            message = connection.read_response(disable_decoding=True)
            self._heard_at, self._asked = time.monotonic(), False
            if message[0] == b"message":
                ids.add(message[2].decode())
        with self._lock:
            return frozenset(ids & self._watched)
