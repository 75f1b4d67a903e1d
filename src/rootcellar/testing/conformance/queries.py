"""Queries: every engine finds what `rootcellar.query.evaluate` finds, in the same order."""

from __future__ import annotations

import random
from datetime import timedelta, timezone
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootcellar.codec.plain import NATIVE_DEPTH
from rootcellar.query import (
    MAX_DEPTH,
    MAX_LIMIT,
    MAX_NODES,
    And,
    Condition,
    Expression,
    F,
    Node,
    Not,
    Op,
    Or,
    Order,
    Query,
    evaluate,
    matches,
)
from rootcellar.record import Change, TaskRecord
from rootcellar.store import Store
from rootcellar.testing.comparing import assert_same_records
from rootcellar.testing.conformance.base import Connections, StoreTests
from rootcellar.testing.profiles import budget
from rootcellar.testing.samples import annotated, at, failed, queued, records_of, started, succeeded
from rootcellar.testing.strategies import histories, queries
from rootcellar.testing.strategies.documents import HARD_KEYS, HARD_TEXTS, nested

_RESULTS: Final[dict[str, Any]] = {
    "int": 1, "float": 1.0, "half": 1.5, "true": True, "false": False, "text": "1", "word": "one", "decimal": "199.95",
    "negative": "-7", "padded": "007", "exponent": "1e3", "null": None, "empty": "",
    "list": [1, "one", None, True, 2.5], "lists": [[1], ["one"]], "zero": 0,
    "object": {"total": 42, "items": [{"id": 7}, {"id": 8}], "none": None, "0": "zero"},
    "huge": 2**53 + 1, "max": 2**63 - 1, "double": 1.7976931348623157e308, "tiny": 5e-324, "Word": "One",
}  # fmt: skip


def ids(page: Any) -> set[str]:
    """The ids of what was found."""
    return {record.id for record in page}


def _nested_not(depth: int) -> Node:
    """A tree `depth` nodes deep that says whether the state is SUCCESS, or is not."""
    node: Node = Condition("state", Op.EQ, "SUCCESS")
    for _ in range(depth - 1):
        node = Not(node)
    return node


def _shown(node: Node) -> str:
    """A short name for a condition."""
    if isinstance(node, Not):
        return "not " + _shown(node.node)
    if not isinstance(node, Condition):
        return type(node).__name__
    return ascii(f"{'.'.join([node.field, *map(str, node.path)])} {node.op.value} {node.value}")[1:-1]


def named(cases: list[tuple[Expression, Any]]) -> list[Any]:
    """Parameters of a test, each named after its condition."""
    return [pytest.param(condition, expected, id=_shown(condition.node)) for condition, expected in cases]


class Queries(StoreTests):
    """`Store.find` and `Store.count`."""

    @pytest.fixture
    def results(self, store: Store) -> Store:
        """A store with one task for each of `_RESULTS`, named after it."""
        store.apply([succeeded(task_id, result) for task_id, result in _RESULTS.items()])
        return store

    @pytest.mark.parametrize(
        ("condition", "expected"),
        named(
            [
                (F.result == 1, {"int", "float"}),
                (F.result == 1.0, {"int", "float"}),
                (F.result == True, {"true"}),  # noqa: E712 - a condition, not a truth
                (F.result == False, {"false"}),  # noqa: E712 - as above
                (F.result == 0, {"zero"}),
                (F.result == "1", {"text"}),
                (F.result == "", {"empty"}),
                (F.result == "one", {"word"}),
                (F.result == 2**53 + 1, {"huge"}),
                (F.result == 2**53, set()),
                (F.result == 2**63 - 1, {"max"}),
                (F.result == 10**30, set()),
                (F.result == 1.7976931348623157e308, {"double"}),
                (F.result == 5e-324, {"tiny"}),
                (F.result == None, {"null"}),  # noqa: E711 - as above
                (F.result != None, set(_RESULTS) - {"null"}),  # noqa: E711 - as above
                (F.result != 1, set(_RESULTS) - {"int", "float"}),
                (F.result.exists(), set(_RESULTS) - {"null"}),
                (F.result.is_in([1, "one", None]), {"int", "float", "word", "null"}),
                (F.result.is_in([True, "x"]), {"true"}),
                (F.result > 1, {"half", "decimal", "padded", "huge", "max", "double"}),
                (F.result >= 1, {"int", "float", "half", "text", "decimal", "padded", "huge", "max", "double"}),
                (F.result < 0, {"negative"}),
                (F.result < 1, {"zero", "tiny", "negative"}),
                (F.result > 2**53 - 1, {"huge", "max", "double"}),
                (F.result > 2**53, {"max", "double"}),
                (F.result > 10**30, {"double"}),
                (F.result <= 199.95, {"int", "float", "half", "text", "decimal", "negative", "padded", "zero", "tiny"}),
                (F.result >= "o", {"word"}),
                (F.result < "1", {"empty", "negative", "padded"}),
                (F.result.contains("n"), {"word", "Word"}),
                (F.result.contains("one"), {"word", "list"}),
                (F.result.contains(1), {"list"}),
                (F.result.contains(2.5), {"list"}),
                (F.result.contains(True), {"list"}),
                (F.result.contains(False), set()),
                (F.result.matches("?ne"), {"word", "Word"}),
                (F.result.matches("o*"), {"word"}),
                (F.result.matches("*"), {k for k, v in _RESULTS.items() if isinstance(v, str)}),
                (F.result[0] == 1, {"list"}),
                (F.result[1] == "one", {"list"}),
                (F.result[2].exists(), set()),
                (F.result[0][0] == 1, {"lists"}),
                (F.result["0"] == "zero", {"object"}),
                (F.result["0"] == 1, set()),
                (F.result.total == 42, {"object"}),
                (F.result.total > 41.5, {"object"}),
                (F.result["items"][1].id == 8, {"object"}),
                (F.result["items"].exists(), {"object"}),
                (F.result["items"] == "x", set()),
                (F.result.none.exists(), set()),
                (F.result.none == None, set(_RESULTS)),  # noqa: E711 - as above
                (F.result.total != 42, set(_RESULTS) - {"object"}),
                (~(F.result.total > 0), set(_RESULTS) - {"object"}),
                (F.result.total.deeper == 1, set()),
            ]
        ),
    )
    def test_a_condition_on_a_result(self, results: Store, condition: Expression, expected: set[str]) -> None:
        """Values of different kinds never meet; null and missing are one; text may spell a number."""
        assert ids(results.find_documents(results.query(condition))) == expected
        assert results.count(condition) == len(expected)

    @pytest.mark.parametrize(
        ("condition", "expected"),
        named(
            [
                (F.queue == "celery", "a"),
                (F.queue == "Celery", "b"),
                (F.queue != "celery", "bcd"),
                (F.queue == None, "d"),  # noqa: E711 - as above
                (F.queue == "", "c"),
                (F.queue.exists(), "abc"),
                (F.queue.is_in(["celery", None]), "ad"),
                (F.queue < "a", "bc"),
                (F.queue.contains("ELE"), ""),
                (F.queue.contains(""), "abc"),
                (F.queue.matches("?elery"), "ab"),
                (F.queue.matches("c*"), "a"),
                (F.queue.matches("*LERY"), ""),
                (F.queue.matches("*"), "abc"),
                (~(F.queue > ""), "cd"),
                (F.name == "a_b", "a"),
                (F.name.contains("_"), "a"),
                (F.name.contains("%"), "b"),
                (F.name.contains("\\"), "d"),
                (F.name.matches("a_?"), "a"),
                (F.name.matches("a%*"), "b"),
                (F.name.matches("a\\*"), "d"),
                (F.name.matches("*é"), "c"),
                (F.name.matches("a?*"), "abd"),
                (F.name.matches("[a]*"), ""),
                (F.name < "é", "abd"),
                (F.priority > 3, "b"),
                (F.priority <= 3.5, "a"),
                (F.priority == 9.0, "b"),
                (F.priority > 10**25, ""),
                (F.priority < 1e308, "ab"),
                (F.priority != 9, "acd"),
                (F.attempt == 0, "abcd"),
                (F.runtime > 1.4, "b"),
                (F.runtime == 1.5, "b"),
                (F.runtime == None, "acd"),  # noqa: E711 - as above
                (F.wait <= 1, "a"),
                (F.updated_at >= at(3), "bd"),
                (F.updated_at < at(3), "ac"),
                (F.updated_at == at(2).astimezone(timezone(timedelta(hours=-3))), "c"),
                (F.queued_at > at(1), "cd"),
                (F.finished_at.exists(), "b"),
                (F.started_at.is_in([at(1), at(2.5)]), "ab"),
                (F.state == "SUCCESS", "b"),
                (F.metadata.user == 42, "a"),
                (F.metadata.exists(), "abcd"),
                (F.metadata.user.exists(), "ab"),
                (F.kwargs["line.items"] == 1, "b"),
                (F.kwargs.exists(), "abcd"),
                (F.args[0] == 7, "abcd"),
                (F.error.type.exists(), ""),
                (F.id > "b", "cd"),
                (F.id.matches("[a-b]"), ""),
            ]
        ),
    )
    def test_a_condition_on_a_field(self, store: Store, condition: Expression, expected: str) -> None:
        """Text by code point and case, numbers by value, times as instants."""
        store.apply([
            *(queued("a", 0, queue="celery", name="a_b", priority=3), started("a", 1), annotated("a", 0.5, user=42)),
            *(queued("b", 1, queue="Celery", name="a%b", priority=9, kwargs={"line.items": 1}), started("b", 2.5)),
            *(succeeded("b", 1, 4, started_at=at(2.5)), annotated("b", 0.5, user=[42])),
            queued("c", 2, queue="", name="éné"),
            queued("d", 3, name="a\\b"),
        ])  # fmt: skip
        assert ids(store.find_documents(store.query(condition))) == set(expected)
        assert store.count(condition) == len(expected)

    def test_and_or_not(self, store: Store) -> None:
        """`Not` is true exactly where its condition is false, on missing values too."""
        store.apply([queued("a", queue="x"), succeeded("b", 1), failed("c"), queued("d")])
        assert ids(store.find((F.state == "QUEUED") & (F.queue == "x"))) == {"a"}
        assert ids(store.find((F.state == "SUCCESS") | (F.queue == "x"))) == {"a", "b"}
        assert ids(store.find(~(F.queue == "x"))) == {"b", "c", "d"}
        assert ids(store.find(~((F.queue == "x") | ~(F.state == "QUEUED")))) == {"d"}
        assert ids(store.find(~~(F.queue == "x"))) == {"a"}

    def test_trees_without_conditions(self, store: Store) -> None:
        """All of nothing is true, any of nothing is false."""
        store.apply([queued("a")])
        assert [store.count(tree) for tree in (And(), Or(), Not(And()), Not(Or()), And((Or(),)), Or((And(),)))] == [
            1, 0, 0, 1, 0, 1,
        ]  # fmt: skip

    def test_equality_by_keyword(self, store: Store) -> None:
        store.apply([queued("a"), queued("b", name="other"), succeeded("c", 1)])
        assert ids(store.find(state="QUEUED", name="shop.report")) == {"a"}
        assert store.count(F.id != "a", state="QUEUED") == 1

    def test_questions_in_words(self, store: Store) -> None:
        """The text language asks the same."""
        store.apply(
            [queued("a", priority=1), annotated("a", user=42), failed("b"), annotated("b", user=42), failed("c")]
        )
        assert ids(store.find("state:FAILURE metadata.user:42")) == {"b"}
        assert [record.id for record in store.find("-state:QUEUED", order="-id")] == ["c", "b"]
        assert store.count("error.type:OS*") == 2

    def test_every_key_is_a_path(self, store: Store) -> None:
        """Whatever the key looks like, it means itself."""
        keys = list(HARD_KEYS)
        store.apply([succeeded(f"task-{number}", {key: {key: number}}) for number, key in enumerate(keys)])
        for number, key in enumerate(keys):
            where = Condition("result", Op.EQ, number, (key, key))
            assert [record.id for record in store.find_documents(Query(where=where))] == [f"task-{number}"], key
            assert store.count(Condition("result", Op.EXISTS, None, (key,))) == 1, key

    def test_every_text_is_equal_to_itself_alone(self, store: Store) -> None:
        """In a column, in a document and in metadata."""
        texts = list(HARD_TEXTS)
        for number, text in enumerate(texts):
            store.apply([queued(f"task-{number}", name=text), annotated(f"task-{number}", text=text)])
        for number, text in enumerate(texts):
            assert ids(store.find_documents(store.query(name=text))) == {f"task-{number}"}, text
            assert ids(store.find_documents(store.query(F.metadata.text == text))) == {f"task-{number}"}, text

    def test_every_text_is_a_piece_and_a_pattern(self, store: Store) -> None:
        """Nothing but ``*`` and ``?`` stands for anything else."""
        names = [f"<{text}>" for text in HARD_TEXTS]
        changes = [queued(f"task-{number}", name=name) for number, name in enumerate(names)]
        store.apply([*changes, *(annotated(change.id, text=name) for change, name in zip(changes, names, strict=True))])
        model = store.fetch(change.id for change in changes)
        for text in HARD_TEXTS:
            for condition in (F.name.contains(text), F.name.matches(f"<{text}>"), F.metadata.text.matches(f"*{text}?")):
                expected = {record.id for record in model if matches(condition.node, record)}
                assert ids(store.find_documents(store.query(condition))) == expected, (condition.node, text)

    def test_a_deep_path(self, store: Store) -> None:
        """As deep as the codec nests documents, and as long as a path may be."""
        store.apply([succeeded("a", nested(NATIVE_DEPTH, 1)), succeeded("b", nested(NATIVE_DEPTH, 2))])
        path = tuple(0 if level % 2 else "in" for level in reversed(range(NATIVE_DEPTH)))
        assert ids(store.find_documents(Query(where=Condition("result", Op.EQ, 2, path)))) == {"b"}
        assert store.count(Condition("result", Op.EXISTS, None, path * (MAX_DEPTH // NATIVE_DEPTH))) == 0

    def test_the_largest_queries_that_are_allowed(self, store: Store) -> None:
        """As deep, as wide, and with as many values as the check lets through."""
        store.apply([succeeded("a", 1), queued("b")])
        deep = _nested_not(MAX_DEPTH)
        wide = Or(tuple(Condition("result", Op.EQ, number, ("x",)) for number in range(MAX_NODES - 2)))
        assert store.count(deep) == 1
        assert store.count(wide) == 0
        assert store.count(Not(wide)) == 2
        assert store.count(F.id.is_in([*map(str, range(2000)), "a"])) == 1
        assert len(store.find_documents(Query(limit=MAX_LIMIT))) == 2

    @budget(40)
    @given(data=st.data())
    def test_any_query(self, connections: Connections, data: st.DataObject) -> None:
        """Random queries over random records: the same records, the same order, the same pages, the same count."""
        connections.empty()
        store = connections[0]
        records = list(records_of(*self._random_changes(data, expiring=connections.expiring)).values())
        store.apply(records)
        for _ in range(8):
            query = data.draw(queries(records, max_limit=4))
            expected = evaluate(Query(where=query.where, order=query.order, limit=MAX_LIMIT), records)
            assert_same_records(walk(store, query), expected)
            assert store.count(query.where) == len(expected)

    def _random_changes(self, data: st.DataObject, *, expiring: bool) -> list[Change]:
        task_ids = data.draw(st.lists(st.sampled_from("abAéß😀"), min_size=1, max_size=5, unique=True))
        return [
            change for task_id in task_ids for change in data.draw(histories(task_id, attempts=2, expiring=expiring))
        ]

    def test_any_order_of_many_records(self, store: Store) -> None:
        """Ordered by each field in turn, with many ties and missing values, over several pages."""
        chance = random.Random(7)  # noqa: S311 - the same records on every run
        changes: list[Change] = []
        for number in range(60):
            moment = chance.randrange(5)
            request = {
                "name": chance.choice("abB"),
                "queue": chance.choice(["é", "e", None]),
                "priority": chance.choice([1, 2, None]),
            }
            changes += [queued(f"task-{number:02}", moment, **request)]
            changes += chance.choice([[], [started(f"task-{number:02}", moment + 1)]])
            changes += chance.choice([[], [succeeded(f"task-{number:02}", 1, moment + 2.25, started_at=at(moment))]])
        store.apply(changes)
        records = list(records_of(*changes).values())
        for field in (
            "name",
            "queue",
            "priority",
            "runtime",
            "wait",
            "started_at",
            "updated_at",
            "state",
            "id",
            "attempt",
        ):
            for descending in (False, True):
                query = Query(order=(Order(field, descending), Order("queue", not descending)), limit=13)
                query = Query(order=query.order[:1], limit=13) if field == "queue" else query
                expected = evaluate(Query(order=query.order, limit=MAX_LIMIT), records)
                assert_same_records(walk(store, query), expected)


def walk(store: Store, query: Query) -> list[TaskRecord]:
    """All pages of a query: full ones, and a last one that is not empty unless nothing was found."""
    page = store.find_documents(query)
    found = list(page)
    while page.cursor is not None:
        assert len(page) == query.limit
        page = store.find_documents(Query(where=query.where, order=query.order, limit=query.limit, cursor=page.cursor))
        assert len(page) > 0
        found += page
    return found
