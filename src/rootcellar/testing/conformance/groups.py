"""Groups: who belongs together."""

from __future__ import annotations

from typing import Any

from rootcellar.store import Store
from rootcellar.testing.comparing import assert_same_document
from rootcellar.testing.conformance.base import StoreTests
from rootcellar.testing.samples import FAR_OFF


class Groups(StoreTests):
    """`Store.group_save`, `Store.group_fetch` and `Store.group_delete`."""

    def test_members_come_back_as_they_were(self, store: Store, other: Store, group_id: str) -> None:
        members: list[Any] = [["a", None], [["b", None], [[["c", ["a", None]], None]]], {"é": 1.0}]
        store.group_save(group_id, members, expires_at=FAR_OFF)
        assert_same_document(other.group_fetch(group_id), members)

    def test_saving_again_replaces(self, store: Store, group_id: str) -> None:
        store.group_save(group_id, [["a", None]])
        store.group_save(group_id, [["b", None]], expires_at=FAR_OFF)
        assert store.group_fetch(group_id) == [["b", None]]

    def test_a_group_not_heard_of(self, store: Store, group_id: str) -> None:
        assert store.group_fetch(group_id) is None

    def test_an_empty_group_is_a_group(self, store: Store, group_id: str) -> None:
        store.group_save(group_id, [])
        assert store.group_fetch(group_id) == []

    def test_deleting_and_deleting_again(self, store: Store, group_id: str) -> None:
        store.group_save(group_id, [1])
        store.group_delete(group_id)
        store.group_delete(group_id)
        assert store.group_fetch(group_id) is None

    def test_groups_that_look_alike_are_different(self, store: Store, group_id: str) -> None:
        names = [f"{group_id}{ending}" for ending in ("", " ", "a", "A", "é", "e\u0301", "%", "'", "\\", "😀")]
        for number, name in enumerate(names):
            store.group_save(name, number)
        assert [store.group_fetch(name) for name in names] == list(range(len(names)))

    def test_a_group_is_no_record(self, store: Store, group_id: str) -> None:
        store.group_save(group_id, [1])
        assert (store.get(group_id), store.count()) == (None, 0)
