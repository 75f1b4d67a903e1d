"""How often a store is asked that cannot tell: fast at first, slower while nothing happens."""

from __future__ import annotations

import pytest

from rootcellar.store.watch import Watcher
from rootcellar.stores.mysql.watch import MySQLWatcher


class Instant:
    """In place of the event that wakes: notes how long it would have slept. `due`: it is woken at that sleep."""

    def __init__(self) -> None:
        self.slept: list[float] = []
        self.is_woken = False

    def wait(self, timeout: float) -> bool:
        self.slept.append(timeout)
        return self.is_woken

    def set(self) -> None:
        self.is_woken = True

    def clear(self) -> None:
        self.is_woken = False


@pytest.fixture(params=[Watcher, MySQLWatcher])
def watcher(request: pytest.FixtureRequest) -> Watcher:
    """A watcher that polls, in no time."""
    made: Watcher = request.param()
    made._woken = Instant()  # type: ignore[assignment]
    return made


def slept(watcher: Watcher) -> list[float]:
    """How long each poll was waited for, in seconds."""
    assert isinstance(watcher._woken, Instant)
    return watcher._woken.slept


def test_the_first_polls_are_some_milliseconds_apart(watcher: Watcher) -> None:
    for _ in range(5):
        assert watcher.wait(60) is None
    assert slept(watcher) == pytest.approx([0.002, 0.0026, 0.00338, 0.004394, 0.0057122])


def test_polls_become_slower_up_to_half_a_second(watcher: Watcher) -> None:
    for _ in range(100):
        watcher.wait(60)
    assert slept(watcher) == sorted(slept(watcher))
    assert slept(watcher)[-1] == watcher.last_interval == 0.5
    assert sum(seconds < 0.5 for seconds in slept(watcher)) < 25


def test_within_a_minute_of_silence_there_are_few_polls(watcher: Watcher) -> None:
    while sum(slept(watcher)) < 60:
        watcher.wait(60)
    assert len(slept(watcher)) < 140


def test_a_poll_is_not_waited_for_longer_than_asked(watcher: Watcher) -> None:
    for _ in range(100):
        watcher.wait(60)
    watcher.wait(0.25)
    assert slept(watcher)[-1] == 0.25


def test_who_begins_to_wait_makes_it_fast_again(watcher: Watcher) -> None:
    for _ in range(100):
        watcher.wait(60)
    watcher.watch(["a"])
    assert watcher.wait(60) == frozenset()  # woken from the long sleep, and nothing is known to have changed
    assert watcher.wait(60) is None
    assert slept(watcher)[-2:] == [0.002, 0.002]


def test_being_woken_is_no_poll(watcher: Watcher) -> None:
    watcher.wait(60)
    watcher.wake()
    assert watcher.wait(60) == frozenset()
    assert slept(watcher) == pytest.approx([0.002, 0.0026])
    watcher.wait(60)
    assert slept(watcher)[-1] == pytest.approx(0.0026)


def test_what_this_process_finished_itself_is_known_by_name() -> None:
    watcher = MySQLWatcher()
    watcher._woken = Instant()  # type: ignore[assignment]
    watcher.announce(["a", "b"])
    assert watcher.wait(60) == frozenset({"a", "b"})
    assert watcher.wait(60) is None
