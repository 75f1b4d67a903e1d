"""Expiry: what is past its time goes in bounded batches, and nothing else does."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from rootcellar.query import Query
from rootcellar.store import Store
from rootcellar.testing.conformance.base import StoreTests
from rootcellar.testing.conformance.chords import part
from rootcellar.testing.gaps import needs, needs_no
from rootcellar.testing.samples import annotated, at, queued, started, succeeded


def left(store: Store) -> set[str]:
    """The ids of what is still there."""
    return {record.id for record in store.find_documents(Query(limit=1000))}


class Expiry(StoreTests):
    """`Store.cleanup`, with the time of day handed in."""

    @needs_no("native_expiry")
    def test_only_what_is_past_its_time_goes(self, store: Store) -> None:
        """At its very instant a record is still there; one without an end stays for ever."""
        store.apply([
            succeeded("past", 1, expires_at=at(59.999999)),
            succeeded("now", 1, expires_at=at(60)),
            succeeded("later", 1, expires_at=at(61)),
            succeeded("never", 1),
            annotated("annotated", user=42),
        ])  # fmt: skip
        assert store.cleanup(now=at(60)) == 1
        assert left(store) == {"now", "later", "never", "annotated"}
        assert store.cleanup(now=datetime(9999, 1, 1, tzinfo=UTC)) == 2
        assert left(store) == {"never", "annotated"}

    @needs_no("native_expiry")
    def test_a_clean_up_is_bounded(self, store: Store) -> None:
        """Call after call, until nothing is left to remove."""
        store.apply([succeeded(f"old-{number}", 1, expires_at=at(number)) for number in range(45)])
        store.apply([succeeded("new", 1, expires_at=at(1000))])
        removed: list[int] = []
        while count := store.cleanup(now=at(500), limit=20):
            removed.append(count)
        assert sum(removed) == 45
        assert len(removed) > 1
        assert left(store) == {"new"}

    @needs_no("native_expiry")
    def test_the_time_to_live_is_that_of_the_outcome(self, store: Store) -> None:
        """A task that goes on is not removed by what its earlier state said."""
        store.apply([queued("a"), started("b", 1)])
        store.apply([succeeded("b", 1, 2, expires_at=at(100))])
        store.apply([started("c", 1, expires_at=at(10)), started("c", 3, attempt=1, expires_at=at(900))])
        assert store.cleanup(now=at(500)) == 1
        assert left(store) == {"a", "c"}

    @needs_no("native_expiry")
    def test_groups_and_chords_go_too(self, store: Store, group_id: str) -> None:
        """They are not counted among the records."""
        kept = f"{group_id}-kept"
        for name, expires_at in ((group_id, at(10)), (kept, at(1000))):
            store.group_save(name, [1], expires_at=expires_at)
            store.chord_join(part(name, 0, 1, expires_at=expires_at), token="me", lease=1)
        assert store.cleanup(now=at(500)) == 0
        assert (store.group_fetch(group_id), store.chord_parts(group_id)) == (None, [])
        assert (store.group_fetch(kept), store.chord_parts(kept)) == ([1], [1])

    @needs_no("native_expiry")
    def test_a_clean_up_without_a_time_uses_the_clock(self, store: Store) -> None:
        now = datetime.now(UTC)
        store.apply([
            succeeded("past", 1, expires_at=now - timedelta(minutes=10)),
            succeeded("future", 1, expires_at=now + timedelta(days=1)),
        ])  # fmt: skip
        assert store.cleanup() == 1
        assert left(store) == {"future"}

    def test_cleaning_up_nothing(self, store: Store) -> None:
        store.apply([succeeded("never", 1)])
        assert store.cleanup() == 0
        assert left(store) == {"never"}

    @needs("native_expiry")
    def test_the_engine_removes_what_is_past_its_time(self, store: Store) -> None:
        """By itself, sooner or later."""
        now = datetime.now(UTC)
        store.apply([
            succeeded("soon", 1, expires_at=now + timedelta(seconds=1)),
            succeeded("future", 1, expires_at=now + timedelta(days=1)),
            succeeded("never", 1),
        ])  # fmt: skip
        while "soon" in left(store):
            time.sleep(0.2)
        assert left(store) == {"future", "never"}
