"""Metadata: the user's own fields, merged key by key and erased by nobody."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from rootcellar.errors import CodecError, InvalidInput
from rootcellar.store import Store
from rootcellar.testing.comparing import assert_same_document, assert_same_record
from rootcellar.testing.conformance.base import StoreTests
from rootcellar.testing.samples import annotated, at, queued, record_of, succeeded
from rootcellar.testing.strategies.documents import HARD_KEYS


class Metadata(StoreTests):
    """Metadata of changes, and `Store.annotate`."""

    def test_keys_of_several_writers_live_side_by_side(self, store: Store) -> None:
        store.apply([annotated("a", 1, user=42)])
        store.apply([annotated("a", 2, filename="a.csv")])
        assert store.fetch(["a"])[0].metadata == {"user": 42, "filename": "a.csv"}

    def test_the_newest_write_of_a_key_wins_whenever_it_arrives(self, store: Store) -> None:
        store.apply([annotated("a", 2, user="new", other=1)])
        store.apply([annotated("a", 1, user="old", third=2)])
        [record] = store.fetch(["a"])
        assert record.metadata == {"user": "new", "other": 1, "third": 2}
        assert_same_record(
            record, record_of(annotated("a", 2, user="new", other=1), annotated("a", 1, user="old", third=2))
        )

    def test_values_are_replaced_whole(self, store: Store) -> None:
        """No merging inside a value: what was written is what is read."""
        store.apply([annotated("a", 1, user={"id": 1, "tags": [1, 2]})])
        store.apply([annotated("a", 2, user={"name": "x", "tags": None})])
        assert store.fetch(["a"])[0].metadata == {"user": {"name": "x", "tags": None}}

    def test_null_is_a_value(self, store: Store) -> None:
        """A key written as null is there, and wins over an older value."""
        store.apply([annotated("a", 1, user=1), annotated("a", 2, user=None, more={"x": None})])
        store.apply([annotated("a", 1.5, user=2)])
        assert store.fetch(["a"])[0].metadata == {"user": None, "more": {"x": None}}

    def test_a_result_leaves_the_metadata_alone(self, store: Store) -> None:
        store.apply([queued("a"), annotated("a", user=42)])
        store.apply([succeeded("a", {"user": "nobody"})])
        [record] = store.fetch(["a"])
        assert (record.metadata, record.result) == ({"user": 42}, {"user": "nobody"})

    def test_metadata_of_a_task_not_heard_of_makes_a_pending_record(self, store: Store) -> None:
        store.apply([annotated("a", 1, user=42)])
        [record] = store.fetch(["a"])
        assert (record.state, record.updated_at, record.history) == ("PENDING", at(1), [])

    def test_many_keys_in_one_write(self, store: Store) -> None:
        metadata = {f"key {number}": [number] for number in range(100)}
        store.apply([annotated("a", 1, **metadata), annotated("b", 1, user=1)])
        store.apply([annotated("a", 2, **{"key 7": "new"})])
        assert store.fetch(["a"])[0].metadata == {**metadata, "key 7": "new"}

    @pytest.mark.parametrize("key", [pytest.param(key, id=ascii(key)) for key in HARD_KEYS if key])
    def test_any_text_is_a_key(self, store: Store, key: str) -> None:
        """It is stored, updated and found as it is."""
        store.apply([annotated("a", 1, **{key: 1}), annotated("b", 1, **{key + "b": 1})])
        store.apply([annotated("a", 2, **{key: {key: "new"}})])
        assert_same_document(store.fetch(["a"])[0].metadata, {key: {key: "new"}})

    def test_annotating_writes_its_keys_and_keeps_the_others(self, store: Store) -> None:
        store.apply([queued("a"), annotated("a", user=42, upload="x")])
        store.annotate("a", {"user": 43}, more=[1])
        assert store.fetch(["a"])[0].metadata == {"user": 43, "upload": "x", "more": [1]}
        assert store.fetch(["a"])[0].state == "QUEUED"

    def test_annotating_a_task_not_heard_of(self, store: Store) -> None:
        """Its life then fills the record."""
        store.annotate("a", user=42)
        store.apply([succeeded("a", 1)])
        [record] = store.fetch(["a"])
        assert (record.state, record.metadata) == ("SUCCESS", {"user": 42})

    def test_annotations_keep_their_python_types(self, store: Store) -> None:
        values: dict[str, Any] = {"total": Decimal("1.10"), "owner": UUID(int=7), "pair": (1, 2), "plain": [1.0]}
        store.annotate("a", values)
        store.annotate("a", total=Decimal("2.20"))
        record = store.get("a")
        assert record is not None
        assert record.metadata == {**values, "total": Decimal("2.20")}
        assert isinstance(record.metadata["pair"], tuple)

    def test_a_value_that_cannot_be_stored_is_refused(self, store: Store) -> None:
        with pytest.raises(CodecError, match="thing"):
            store.annotate("a", user=42, thing=object())
        assert store.get("a") is None

    @pytest.mark.parametrize("key", ["", "a\0b"], ids=["empty", "nul"])
    def test_a_key_is_text(self, store: Store, key: str) -> None:
        with pytest.raises(InvalidInput, match="key"):
            store.annotate("a", {key: 1})
