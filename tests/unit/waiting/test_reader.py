"""When the records of those who wait are read: at once when it matters, seldom when nothing happens, never too much."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet

import pytest

from rootcellar.waiting.reader import CHUNK, LEISURE, LONGEST_REST, REST, Reader

NOTHING: frozenset[str] = frozenset()
UNKNOWN = None


class Bench:
    """A reader on a clock of its own. `reads`: the tasks of each read, sorted; each takes `cost` seconds."""

    def __init__(self, *waited: str, cost: float = 0.0) -> None:
        self.now = 100.0
        self.cost = cost
        self.waited = dict.fromkeys(waited)
        self.reads: list[list[str]] = []
        #: What somebody sleeps for; None for everything.
        self.slept_for: set[str] | None = None
        self.reader = Reader(self.waited, self._read, every=1.0, urgent=self._urgent, clock=lambda: self.now)

    def _urgent(self, ids: AbstractSet[str]) -> bool:
        return self.slept_for is None or not self.slept_for.isdisjoint(ids)

    def _read(self, ids: Iterable[str]) -> None:
        self.reads.append(sorted(ids))
        self.now += self.cost

    def hint(self, *ids: str) -> None:
        self.reader.after(frozenset(ids))

    def sleep(self) -> float:
        """Sleep as long as the reader allows without a hint; seconds slept."""
        patience = self.reader.patience
        self.now += patience
        self.reader.after(NOTHING)
        return patience


def names(count: int) -> list[str]:
    return [f"task-{number:05}" for number in range(count)]


def test_what_a_hint_names_is_read_and_nothing_else() -> None:
    bench = Bench("a", "b", "c")
    bench.hint("b")
    assert bench.reads == [["b"]]


def test_without_a_hint_nothing_is_read_before_its_time() -> None:
    bench = Bench("a", "b")
    bench.hint()
    assert bench.reads == []
    assert bench.reader.patience == 1.0


def test_while_nothing_happens_there_is_one_read_a_second() -> None:
    bench = Bench("a", "b")
    slept = [bench.sleep() for _ in range(5)]
    assert slept == [1.0] * 5
    assert bench.reads == [["a", "b"]] * 5


def test_while_nothing_happens_there_is_one_read_a_second_however_many_wait() -> None:
    """Each has its turn within as many seconds as there are thousands: the bound of a lost hint."""
    waited = names(10 * CHUNK)
    bench = Bench(*waited)
    slept = [bench.sleep() for _ in range(20)]
    assert slept == [1.0] * 20
    assert [len(read) for read in bench.reads] == [CHUNK] * 20
    assert [task for read in bench.reads for task in read] == waited + waited


def test_who_begins_to_wait_in_the_middle_of_a_round_is_in_the_next() -> None:
    bench = Bench(*names(CHUNK + 1))
    bench.sleep()
    bench.waited["late"] = None
    bench.sleep()
    assert "late" not in bench.reads[1]
    bench.sleep()
    bench.sleep()
    assert "late" in bench.reads[3]


def test_hints_do_not_put_off_the_turns_of_the_others() -> None:
    bench = Bench("a", "b")
    for _ in range(12):
        bench.now += 0.1
        bench.hint("a")
    assert bench.reads.count(["a"]) == 11
    assert bench.reads.count(["a", "b"]) == 1


def test_when_nobody_knows_what_changed_all_is_read() -> None:
    waited = names(3 * CHUNK)
    bench = Bench(*waited)
    bench.reader.after(UNKNOWN)
    assert bench.reads == [waited]


def test_a_poll_that_took_long_is_followed_by_a_longer_rest() -> None:
    """A watcher that polls may ask for everything again at once."""
    bench = Bench("a", "b", cost=0.5)
    bench.reader.after(UNKNOWN)
    bench.reader.after(UNKNOWN)
    assert len(bench.reads) == 1
    assert bench.reader.patience == 0.5 * REST
    bench.sleep()
    assert len(bench.reads) == 2


def test_after_a_read_that_hung_the_rest_is_short() -> None:
    bench = Bench("a", "b", cost=60.0)
    bench.reader.after(UNKNOWN)
    bench.reader.after(UNKNOWN)
    assert bench.reader.patience == LONGEST_REST


@pytest.mark.parametrize("cost", [0.0005, 0.02, 0.5, LONGEST_REST / REST])
def test_polling_takes_at_most_a_quarter_of_the_time(cost: float) -> None:
    bench = Bench(*names(10), cost=cost)
    began = bench.now
    for _ in range(1000):
        bench.now += 0.002  # the shortest interval of a watcher
        bench.reader.after(UNKNOWN)
    assert cost * len(bench.reads) <= (bench.now - began) / (1 + REST) + cost


def test_the_only_waiter_is_read_for_at_once() -> None:
    bench = Bench("a", cost=0.5)
    bench.hint("a")
    bench.hint("a")
    assert bench.reads == [["a"], ["a"]]


def test_in_a_burst_hints_are_read_together() -> None:
    bench = Bench(*"abcd", cost=0.001)
    bench.hint("a")
    bench.hint("b")
    bench.hint("c")
    assert bench.reads == [["a"]]
    assert bench.sleep() == pytest.approx(0.001 * REST)
    assert bench.reads == [["a"], ["b", "c"]]


def test_the_last_of_a_burst_is_not_kept_waiting() -> None:
    bench = Bench("a", "b", cost=0.5)
    bench.hint("a")
    del bench.waited["a"]
    bench.hint("b")
    assert bench.reads == [["a"], ["b"]]


def test_what_is_hinted_during_a_rest_is_not_read_twice() -> None:
    bench = Bench("a", "b", "c", cost=0.5)
    bench.reader.after(UNKNOWN)
    bench.hint("a")
    bench.reader.after(UNKNOWN)
    bench.sleep()
    assert bench.reads == [["a", "b", "c"]] * 2


def test_what_nobody_sleeps_for_is_read_a_little_later_and_together() -> None:
    """The header of a chord, say, while somebody sleeps for its body."""
    bench = Bench(*"abcd")
    bench.slept_for = {"d"}
    bench.hint("a")
    bench.now += LEISURE / 2
    bench.hint("b")
    assert bench.reads == []
    assert bench.sleep() == pytest.approx(LEISURE / 2)
    assert bench.reads == [["a", "b"]]


def test_what_somebody_sleeps_for_is_read_at_once_with_the_rest() -> None:
    bench = Bench(*"abcd")
    bench.slept_for = {"d"}
    bench.hint("a")
    bench.hint("d")
    assert bench.reads == [["a", "d"]]


def test_what_somebody_begins_to_sleep_for_is_due_at_once() -> None:
    bench = Bench(*"abcd")
    bench.slept_for = set()
    bench.hint("a")
    assert bench.reader.holds_back
    bench.slept_for = {"a"}
    assert bench.reader.patience == 0
    bench.hint()
    assert bench.reads == [["a"]]
    assert not bench.reader.holds_back


def test_the_turns_of_the_others_are_not_put_off_by_what_takes_its_time() -> None:
    bench = Bench("a", "b")
    bench.slept_for = {"b"}
    bench.now += 1.0 - LEISURE / 2
    bench.hint("a")
    assert bench.sleep() == pytest.approx(LEISURE / 2)
    assert bench.reads == [["a", "b"]]
