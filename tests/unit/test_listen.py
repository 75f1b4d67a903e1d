"""The half of listening that engines share, with connections made of sockets."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from rootcellar.errors import StoreUnavailable
from rootcellar.store.listen import Listener

pytestmark = pytest.mark.store("memory")


class Ear:
    """Hears words that are sent to the other end; a ``?`` is one that it could not make out."""

    def __init__(self) -> None:
        self.mouth, self.descriptor = socket.socketpair()
        self.descriptor.setblocking(False)  # noqa: FBT003 - the socket's own signature
        self.look_at = float("inf")
        self.asked = 0

    def say(self, words: str) -> None:
        self.mouth.send(words.encode() + b" ")

    def heard(self) -> list[str] | None:
        self.asked += 1
        words: list[str] = []
        with suppress(BlockingIOError):
            read = self.descriptor.recv(4096)
            if not read:
                raise ConnectionResetError
            words = read.decode().split()
        return None if "?" in words else words

    def close(self) -> None:
        self.descriptor.close()
        self.mouth.close()


class Ears(Listener):
    """Listens with the ears it is given, one after the other. None: one of no use; an error: one that fails."""

    first_pause = 0.0

    def __init__(self, *ears: Ear | Exception | None) -> None:
        self.ears = list(ears)
        super().__init__()

    def _open(self) -> Ear | None:
        ear = self.ears.pop(0)
        if isinstance(ear, Exception):
            raise ear
        return ear


@pytest.fixture
def ear() -> Iterator[Ear]:
    ear = Ear()
    yield ear
    ear.close()


@pytest.fixture
def listener(ear: Ear) -> Iterator[Listener]:
    spare = Ear()
    listener = Ears(ear, StoreUnavailable("still away"), spare)
    yield listener
    listener.close()
    spare.close()


def test_what_is_watched_is_heard(listener: Listener, ear: Ear) -> None:
    listener.watch(["a", "b"])
    ear.say("a other")
    assert listener.wait(60) == frozenset("a")


def test_what_is_watched_no_more_is_not(listener: Listener, ear: Ear) -> None:
    listener.watch(["a"])
    listener.unwatch(["a"])
    ear.say("a")
    assert listener.wait(0) == frozenset()


def test_a_word_that_cannot_be_made_out_may_be_any(listener: Listener, ear: Ear) -> None:
    listener.watch(["a"])
    ear.say("?")
    assert listener.wait(60) is None


def test_it_is_woken_without_a_word(listener: Listener) -> None:
    threading.Timer(0.01, listener.wake).start()
    assert listener.wait(60) == frozenset()


def test_an_ear_is_asked_at_its_time(listener: Listener, ear: Ear) -> None:
    ear.look_at = time.monotonic()
    assert listener.wait(0.005) == frozenset()
    assert ear.asked > 2


def test_a_lost_connection_is_made_again(listener: Listener, ear: Ear) -> None:
    """What was said meanwhile is not known: each time, all is to be read."""
    ear.mouth.close()
    lost, failed, made = ((listener.wait(60), listener.listening) for _ in range(3))
    assert (lost, failed, made) == ((None, False), (None, False), (None, True))


def test_where_nothing_can_be_heard_it_polls() -> None:
    listener = Ears(None)
    assert not listener.listening
    assert listener.wait(60) is None
    assert listener.ears == []
    listener.close()


def test_a_failure_that_is_not_the_connections_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        Ears(ZeroDivisionError())
