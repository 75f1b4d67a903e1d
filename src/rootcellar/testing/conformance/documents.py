"""Documents: every value comes back as it went in, with its types."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootcellar import codec
from rootcellar.errors import ValueTooLarge
from rootcellar.record import Change, Request
from rootcellar.store import Store
from rootcellar.testing.comparing import assert_same_document
from rootcellar.testing.conformance.base import Connections, StoreTests
from rootcellar.testing.profiles import budget
from rootcellar.testing.samples import at, succeeded
from rootcellar.testing.strategies.documents import HARD_KEYS, HARD_NUMBERS, HARD_TEXTS, documents, nested

_MEGABYTE: Final = 1024 * 1024


def change_holding(task_id: str, document: Any) -> Change:
    """A change with `document` in every place where a document may be."""
    wrapped = {"value": document}
    return Change(
        id=task_id,
        at=at(0),
        state="SUCCESS",
        result=document,
        error=wrapped,
        children=[document],
        progress=document,
        metadata={"value": document},
        metadata_order={"value": "1" * 24},
        request=Request(args=[document], kwargs=wrapped, stamps=wrapped),
    )


def assert_holds(store: Store, task_id: str, document: Any) -> None:
    """The record of `task_id` has `document` wherever `change_holding` put it."""
    [record] = store.fetch([task_id])
    wrapped = {"value": document}
    assert_same_document([record.result, record.progress, *(record.children or [])], [document] * 3)
    assert_same_document([record.args, record.kwargs], [[document], wrapped])
    assert_same_document([record.error, record.stamps, record.metadata], [wrapped] * 3)


def _parameters(values: tuple[Any, ...]) -> list[Any]:
    return [pytest.param(value, id=ascii(value)) for value in values]


class Documents(StoreTests):
    """Results, arguments, errors, progress, stamps and metadata."""

    @pytest.mark.parametrize(
        "document", _parameters((None, True, False, [], {}, [[]], [{}], {"a": {}}, {"a": []}, [None]))
    )
    def test_a_small_document(self, store: Store, document: Any) -> None:
        store.apply([change_holding("a", document)])
        assert_holds(store, "a", document)

    @pytest.mark.parametrize("number", _parameters(HARD_NUMBERS))
    def test_a_number(self, store: Store, number: float) -> None:
        """Integers of 64 bits and doubles, to the last bit; 1 stays an integer and 1.0 a float."""
        store.apply([change_holding("a", number)])
        assert_holds(store, "a", number)

    def test_every_text(self, store: Store) -> None:
        changes = [change_holding(f"task-{number}", text) for number, text in enumerate(HARD_TEXTS)]
        store.apply(changes)
        for number, text in enumerate(HARD_TEXTS):
            assert_holds(store, f"task-{number}", text)

    def test_every_key(self, store: Store) -> None:
        """Also beside each other, and those that are the same but for case or normal form."""
        document = {key: {key: number} for number, key in enumerate([*HARD_KEYS, "é", "e\u0301", "É"])}
        store.apply([change_holding("a", document)])
        assert_holds(store, "a", document)

    def test_a_list_of_every_kind(self, store: Store) -> None:
        document = [None, True, False, 0, 0.0, 1, 1.0, "", "1", [], {}, [None], {"": None}]
        store.apply([change_holding("a", document)])
        assert_holds(store, "a", document)

    @pytest.mark.parametrize("depth", [50, 90])
    def test_deep_nesting(self, store: Store, depth: int) -> None:
        document = nested(depth)
        store.apply([change_holding("a", document)])
        assert_holds(store, "a", document)

    def test_a_document_of_ten_thousand_values(self, store: Store) -> None:
        document = {f"key {number}": [number, number / 7, str(number), None] for number in range(2500)}
        store.apply([change_holding("a", document)])
        assert_holds(store, "a", document)

    def test_a_result_of_ten_megabytes(self, store: Store) -> None:
        """Or half of what the engine holds, where that is less."""
        limit = store.capabilities.max_value_bytes
        size = min(10 * _MEGABYTE, limit // 2 if limit else 10 * _MEGABYTE)
        text = "0123456789abcdé " * (size // 17)
        store.apply([succeeded("a", {"text": text})])
        assert store.fetch(["a"])[0].result == {"text": text}

    def test_a_result_that_is_too_large_is_refused(self, store: Store) -> None:
        """And nothing is left of it."""
        limit = store.capabilities.max_value_bytes
        if limit is None or limit > 64 * _MEGABYTE:
            pytest.skip("the engine's limit is larger than a test should be")
        with pytest.raises(ValueTooLarge):
            store.apply([succeeded("a", "x" * (limit + 1))])
        assert store.fetch(["a"]) == []

    def test_python_values_come_back_as_they_were(self, store: Store) -> None:
        """The map of types travels with the document."""
        value = {
            "total": Decimal("199.95"),
            "days": (date(2026, 1, 7), datetime(2026, 1, 7, tzinfo=UTC), timedelta(hours=1)),
            3: {b"\x00\xff", UUID(int=1)},
            "huge": 10**30,
            "text": "a\0b\ud800",
            "none": float("inf"),
        }
        document, types = codec.encode(value)
        store.apply([succeeded("a", document, result_types=types)])
        record = store.get("a")
        assert record is not None
        assert record.result == value

    @budget(40)
    @given(values=st.lists(documents(size=20), min_size=1, max_size=5))
    def test_any_document(self, connections: Connections, values: list[Any]) -> None:
        store = connections[0]
        connections.empty()
        store.apply([change_holding(f"task-{number}", value) for number, value in enumerate(values)])
        for number, value in enumerate(values):
            assert_holds(store, f"task-{number}", value)
