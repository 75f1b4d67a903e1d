"""Finished tasks heard of by pub/sub.

The script that merges a finished record also publishes its id, so that telling costs no round trip. There is one
channel for a store, and one connection that listens for each watcher: nothing is subscribed per task, and nothing stays
behind. Whatever is lost on the way costs a waiter time, never a result.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from redis import exceptions

from rootcellar.store.listen import Listener

if TYPE_CHECKING:
    from redis.connection import AbstractConnection

#: Seconds after which a connection that hears nothing is asked whether it lives, and after as many more is given up.
_SILENCE = 15.0


class Ear:
    """A connection that is subscribed to a channel."""

    def __init__(self, connection: AbstractConnection, channel: bytes) -> None:
        self._connection = connection
        connection.send_command("SUBSCRIBE", channel, check_health=False)
        connection.read_response(disable_decoding=True)
        self.descriptor: Any = connection._sock  # noqa: SLF001 - what stock Celery waits on, too
        self._asked = False
        self.look_at = time.monotonic() + _SILENCE

    def heard(self) -> set[str]:
        """See `rootcellar.store.listen.Ear`."""
        ids: set[str] = set()
        while self._connection.can_read(0):
            message = self._connection.read_response(disable_decoding=True)
            self._asked = False
            self.look_at = time.monotonic() + _SILENCE
            if message[0] == b"message":
                ids.add(message[2].decode())
        if time.monotonic() >= self.look_at:
            self._ask()
        return ids

    def close(self) -> None:
        """See `rootcellar.store.listen.Ear`."""
        self._connection.disconnect()

    def _ask(self) -> None:
        """A connection that a firewall has forgotten looks like one on which nothing happens."""
        if self._asked:
            raise exceptions.TimeoutError("the connection that listens does not answer")
        self._connection.send_command("PING", check_health=False)
        self._asked = True
        self.look_at = time.monotonic() + _SILENCE


class RedisListener(Listener):
    """Hears what is published on a channel."""

    failures = (exceptions.RedisError,)

    def __init__(self, connect: Callable[[], AbstractConnection], channel: bytes) -> None:
        self._connect = connect
        self._channel = channel
        super().__init__()

    def _open(self) -> Ear:
        connection = self._connect()
        try:
            return Ear(connection, self._channel)
        except BaseException:
            connection.disconnect()
            raise
