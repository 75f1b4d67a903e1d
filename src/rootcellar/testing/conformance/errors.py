"""Errors: what means nothing is refused in one sentence, before the engine sees it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from rootcellar.errors import QueryError
from rootcellar.query import MAX_DEPTH, MAX_NODES, And, Condition, Not, Op, Or, Order, Query
from rootcellar.store import Store
from rootcellar.testing.conformance.base import StoreTests
from rootcellar.testing.samples import queued


def _deep(depth: int) -> Any:
    node: Any = Condition("state", Op.EQ, "SUCCESS")
    for _ in range(depth):
        node = Not(node)
    return node


class Errors(StoreTests):
    """What `Store.find` and its kin refuse."""

    @pytest.mark.parametrize(
        ("where", "message"),
        [
            (Condition("stat", Op.EQ, "SUCCESS"), "did you mean 'state'"),
            (Condition("state", Op.EQ, 1), "cannot be compared"),
            (Condition("state", Op.GT, None), "null"),
            (Condition("state", Op.EQ, "a\0b"), "NUL"),
            (Condition("state", Op.EQ, "\ud800"), "surrogate"),
            (Condition("attempt", Op.EQ, True), "cannot be compared"),
            (Condition("attempt", Op.CONTAINS, 1), "takes text"),
            (Condition("runtime", Op.LT, float("nan")), "number"),
            (Condition("runtime", Op.LT, 10**400), "number"),
            (Condition("updated_at", Op.LT, "yesterday"), "cannot be compared"),
            (Condition("updated_at", Op.LT, datetime(2026, 1, 1)), "zone"),  # noqa: DTZ001 - what is refused
            (Condition("state", Op.EQ, "x", ("a",)), "no document"),
            (Condition("result", Op.EQ, 1, (-1,)), "count from 0"),
            (Condition("result", Op.EQ, 1, (1.5,)), "key"),  # type: ignore[arg-type]
            (Condition("result", Op.EQ, 1, ("a\0b",)), "NUL"),
            (Condition("result", Op.EQ, 1, ("a",) * (MAX_DEPTH + 1)), "steps"),
            (Condition("result", Op.EQ, {"a": 1}), "cannot be compared"),
            (Condition("result", Op.IN, ()), "one value or more"),
            (Condition("result", Op.GT, True), "means nothing"),
            (_deep(MAX_DEPTH), "nested"),
            (_deep(10_000), "nested"),
            (Or(tuple(Condition("attempt", Op.EQ, number) for number in range(MAX_NODES))), "conditions"),
            (And(("state = 'SUCCESS'",)), "not of str"),  # type: ignore[arg-type]
        ],
        ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else "",
    )
    def test_a_query_that_means_nothing(self, store: Store, where: Any, message: str) -> None:
        """In every place where a query may stand."""
        for ask in (store.find, store.count, store.stats):
            with pytest.raises(QueryError, match=message):
                ask(where)
        with pytest.raises(QueryError, match=message):
            list(store.scan(where))

    def test_an_order_that_means_nothing(self, store: Store) -> None:
        for field in ("result", "nothing", "state_order"):
            with pytest.raises(QueryError, match="cannot order"):
                store.find(order=[Order(field)])
        with pytest.raises(QueryError, match="at least one"):
            store.find(Query(order=()))

    def test_something_that_is_no_query(self, store: Store) -> None:
        with pytest.raises(QueryError, match="not int"):
            store.find(42)  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        "text", ["'; DROP TABLE rootcellar_task; --", '" OR ""="', "\\'; --", "{'$ne': 1}", "%s %d {}"]
    )
    def test_no_text_is_ever_a_command(self, store: Store, text: str) -> None:
        """Values, keys and ids are data wherever they come from."""
        store.apply([queued("a"), queued(text, name=text)])
        assert [record.id for record in store.find(name=text)] == [text]
        assert store.count(Condition("metadata", Op.EQ, text, (text, 0, text))) == 0
        assert store.delete(text) == 1
        assert store.count() == 1
