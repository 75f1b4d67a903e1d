"""Chords: parts are counted once, and one caller at most may send the body."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, Final

from rootcellar.store import ChordPart, ChordState, Store
from rootcellar.testing.comparing import assert_same_document
from rootcellar.testing.conformance.base import Connections, StoreTests

#: A lease that no test outlives.
LONG: Final = 3600.0


def part(group_id: str, position: int, payload: Any = None, *, expires_at: datetime | None = None) -> ChordPart:
    """The part at a place in the header."""
    task_id = f"task-{position}"
    return ChordPart(group_id=group_id, task_id=task_id, position=position, payload=payload, expires_at=expires_at)


def join(store: Store, joining: ChordPart, token: str = "me", lease: float = LONG) -> ChordState:
    """Join with a claim that outlives the test."""
    return store.chord_join(joining, token=token, lease=lease)


class Chords(StoreTests):
    """The methods of `Store` whose names begin with ``chord``."""

    def test_the_last_part_claims_the_body(self, store: Store, group_id: str) -> None:
        store.chord_resize(group_id, size=3)
        states = [join(store, part(group_id, position)) for position in range(3)]
        assert states == [
            ChordState(joined=1, size=3, claimed=False),
            ChordState(joined=2, size=3, claimed=False),
            ChordState(joined=3, size=3, claimed=True),
        ]

    def test_parts_come_in_the_order_of_the_header(self, store: Store, other: Store, group_id: str) -> None:
        """With their payloads as they were."""
        payloads: list[Any] = [{"é": [1.0, None]}, "text", None, [], {}, 0]
        store.chord_resize(group_id, size=len(payloads))
        for position in (3, 0, 5, 1, 4, 2):
            join(store, part(group_id, position, payloads[position]))
        assert_same_document(other.chord_parts(group_id), payloads)

    def test_more_parts_than_digits(self, store: Store, group_id: str) -> None:
        """Places are numbers, not texts."""
        store.chord_resize(group_id, size=12)
        for position in (11, 10, 2, 1, 9, 0, 3, 4, 5, 6, 7, 8):
            join(store, part(group_id, position, position))
        assert store.chord_parts(group_id) == list(range(12))

    def test_parts_without_a_place_are_told_apart_by_task(self, store: Store, group_id: str) -> None:
        store.chord_resize(group_id, size=2)
        joinings = [ChordPart(group_id=group_id, task_id=name, position=-1, payload=name) for name in ("b", "a", "b")]
        states = [join(store, joining) for joining in joinings]
        assert [(state.joined, state.claimed) for state in states] == [(1, False), (2, True), (2, True)]
        assert store.chord_parts(group_id) == ["a", "b"]

    def test_a_redelivered_part_counts_once(self, store: Store, group_id: str) -> None:
        """And keeps its first payload."""
        store.chord_resize(group_id, size=2)
        join(store, part(group_id, 0, "first"))
        assert join(store, part(group_id, 0, "again")) == ChordState(joined=1, size=2, claimed=False)
        join(store, part(group_id, 1, "other"))
        assert store.chord_parts(group_id) == ["first", "other"]

    def test_a_claim_keeps_others_out(self, store: Store, other: Store, group_id: str) -> None:
        """The holder may claim again: its worker may have been restarted."""
        store.chord_resize(group_id, size=1)
        assert join(store, part(group_id, 0), "one").claimed
        assert not join(other, part(group_id, 0), "two").claimed
        assert join(other, part(group_id, 0), "one").claimed

    def test_a_claim_that_ran_out_may_be_taken_over(self, store: Store, group_id: str) -> None:
        """The old holder cannot close any more."""
        store.chord_resize(group_id, size=1)
        assert join(store, part(group_id, 0), "one", lease=0).claimed
        assert join(store, part(group_id, 0), "two").claimed
        assert not join(store, part(group_id, 0), "one").claimed
        assert not store.chord_close(group_id, token="one")
        assert store.chord_close(group_id, token="two")

    def test_renewing_a_claim(self, store: Store, group_id: str) -> None:
        """Only the holder renews."""
        store.chord_resize(group_id, size=1)
        assert join(store, part(group_id, 0), "one", lease=0).claimed
        assert store.chord_renew(group_id, token="one", lease=LONG)
        assert not store.chord_renew(group_id, token="two", lease=LONG)
        assert not join(store, part(group_id, 0), "two").claimed
        assert not store.chord_renew(group_id + "x", token="one", lease=LONG)

    def test_parts_may_come_before_the_size_is_known(self, store: Store, group_id: str) -> None:
        """A generator's header is sent before it is counted."""
        assert join(store, part(group_id, 0)) == ChordState(joined=1, size=None, claimed=False)
        store.chord_resize(group_id, size=2)
        assert join(store, part(group_id, 1)) == ChordState(joined=2, size=2, claimed=True)

    def test_a_chord_that_was_complete_when_it_got_its_size(self, store: Store, group_id: str) -> None:
        """Joining again finds out."""
        join(store, part(group_id, 0))
        store.chord_resize(group_id, size=1)
        assert join(store, part(group_id, 0)).claimed

    def test_a_chord_may_grow(self, store: Store, group_id: str) -> None:
        """Parts added by the header's own tasks are waited for, whenever they are announced."""
        store.chord_extend(group_id)
        store.chord_resize(group_id, size=1)
        store.chord_extend(group_id, 2)
        states = [join(store, part(group_id, position)) for position in range(4)]
        assert [(state.size, state.claimed) for state in states] == [(4, False)] * 3 + [(4, True)]

    def test_a_new_size_starts_a_new_run(self, store: Store, group_id: str) -> None:
        """An earlier claim is void."""
        store.chord_resize(group_id, size=1)
        assert join(store, part(group_id, 0), "one").claimed
        store.chord_resize(group_id, size=2)
        assert not store.chord_close(group_id, token="one")
        assert join(store, part(group_id, 1), "two").claimed

    def test_a_closed_chord_ignores_late_parts(self, store: Store, group_id: str) -> None:
        """They are told so, and the parts are forgotten."""
        store.chord_resize(group_id, size=1)
        join(store, part(group_id, 0))
        assert store.chord_close(group_id, token="me")
        late = [join(store, part(group_id, 0)), join(store, part(group_id, 1), "other")]
        assert [(state.claimed, state.closed) for state in late] == [(False, True)] * 2
        assert store.chord_parts(group_id) == []
        assert not store.chord_renew(group_id, token="me", lease=LONG)

    def test_a_closed_chord_may_run_again(self, store: Store, group_id: str) -> None:
        """A chord that is published once more gets a new size first."""
        for _ in range(2):
            store.chord_resize(group_id, size=2)
            assert [join(store, part(group_id, position)).claimed for position in range(2)] == [False, True]
            assert store.chord_close(group_id, token="me")

    def test_closing_needs_the_claim(self, store: Store, group_id: str) -> None:
        assert not store.chord_close(group_id, token="me")
        store.chord_resize(group_id, size=2)
        join(store, part(group_id, 0))
        assert not store.chord_close(group_id, token="me")
        assert store.chord_parts(group_id) == [None]

    def test_a_chord_not_heard_of_has_no_parts(self, store: Store, group_id: str) -> None:
        assert store.chord_parts(group_id) == []

    def test_racing_parts_claim_once(self, connections: Connections, group_id: str) -> None:
        """Parts from many threads and connections, each delivered three times with a token of its own: one claim."""
        size = 24
        joinings = [(part(group_id, number % size, number % size), f"token-{number}") for number in range(3 * size)]
        ready = threading.Barrier(8)
        connections[0].chord_resize(group_id, size=size)

        def deliver(lane: int) -> list[ChordState]:
            store = connections[lane % 3]
            ready.wait()
            return [join(store, joining, token) for joining, token in joinings[lane::8]]

        connections[2].chord_parts(group_id)
        with ThreadPoolExecutor(8) as threads:
            states = [state for lane in threads.map(deliver, range(8)) for state in lane]
        assert sum(state.claimed for state in states) == 1
        assert connections[1].chord_parts(group_id) == list(range(size))

    def test_racing_to_grow(self, connections: Connections, group_id: str) -> None:
        """Every announced part is counted."""
        connections[0].chord_resize(group_id, size=1)
        connections[1].chord_parts(group_id)
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda lane: connections[lane % 2].chord_extend(group_id, 2), range(16)))
        assert join(connections[0], part(group_id, 0)).size == 33
