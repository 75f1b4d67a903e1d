"""Queries: what a condition is true of, the order of what is found, pages, aggregates, checks, the Python face."""

from __future__ import annotations

import base64
import functools
import operator
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootcellar.errors import QueryError
from rootcellar.query import (
    DEFAULT_LIMIT,
    FIELD_KINDS,
    MAX_DEPTH,
    MAX_LIMIT,
    MAX_NODES,
    MAX_POSITION,
    SORTABLE,
    Aggregate,
    And,
    Condition,
    Expression,
    F,
    Kind,
    Node,
    Not,
    Op,
    Or,
    Order,
    Page,
    Query,
    Statistic,
    aggregate,
    evaluate,
    matches,
    pattern_regex,
    suggest,
)
from rootcellar.record import TaskRecord, isoformat
from rootcellar.testing.strategies.queries import queries, trees

if TYPE_CHECKING:
    from collections.abc import Iterable

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)


def record(**values: Any) -> TaskRecord:
    return TaskRecord(**{"id": "a", **values})


def holds(condition: Expression | Node, **values: Any) -> bool:
    node = condition.node if isinstance(condition, Expression) else condition
    Query(where=node).checked()
    return matches(node, record(**values))


def found(query: Query, records: Iterable[TaskRecord]) -> list[str]:
    return [one.id for one in evaluate(query.checked(), records)]


# -- what a condition is true of ---------------------------------------------------------------------------------------


def test_text_is_equal_character_by_character() -> None:
    assert holds(F.name == "a", name="a")
    assert not holds(F.name == "a", name="A")
    assert not holds(F.name == "a", name="a ")
    assert not holds(F.name == "é", name="e\u0301")


def test_text_is_ordered_by_code_point() -> None:
    assert holds(F.name > "Z", name="a")
    assert holds(F.name < "\U00010000", name="\uffff")
    assert holds((F.name >= "a") & (F.name <= "a"), name="a")


def test_a_value_that_is_not_there_is_true_of_nothing_but_its_absence() -> None:
    for condition in (
        F.name == "a",
        F.name < "a",
        F.name > "a",
        F.name.contains(""),
        F.name.matches("*"),
        F.name.exists(),
    ):
        assert not holds(condition)
        assert holds(~condition)
    assert holds(F.name == None)  # noqa: E711 - it makes a condition
    assert not holds(F.name != None)  # noqa: E711 - as above


def test_unequal_is_exactly_not_equal() -> None:
    assert holds(F.name != "a", name="b")
    assert holds(F.name != "a")
    assert holds(F.metadata.user != 1, metadata={"user": "1"})


def test_in_is_equal_to_any() -> None:
    assert holds(F.state.is_in(["FAILURE", "RETRY"]), state="RETRY")
    assert not holds(F.state.is_in(["FAILURE", "RETRY"]), state="SUCCESS")
    assert holds(F.name.is_in(["a", None]))


def test_numbers_are_equal_and_ordered_by_value() -> None:
    assert holds(F.attempt == 2.0, attempt=2)
    assert holds(F.attempt < 2.5, attempt=2)
    assert not holds(F.priority >= 1, priority=0)


def test_runtime_and_wait_are_seconds() -> None:
    times = {"queued_at": NOON, "started_at": NOON + SECOND, "finished_at": NOON + 4 * SECOND}
    assert holds((F.runtime == 3) & (F.wait == 1), **times)
    assert not holds(F.runtime.exists(), started_at=NOON)


def test_times_compare_as_times_whatever_their_zone() -> None:
    there = NOON.astimezone(timezone(timedelta(hours=5)))
    assert holds(F.finished_at == there, finished_at=NOON)
    assert holds(F.finished_at > there - SECOND, finished_at=NOON)
    assert not holds(F.finished_at < there, finished_at=NOON)


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("billing.*", "billing.pay", True),
        ("billing.*", "billingXpay", False),
        ("billing", "billing.pay", False),
        ("*", "", True),
        ("?", "", False),
        ("b?", "bé", True),
        ("a*b*c", "a-b-b-c", True),
        ("a*b*c", "a-c-b", False),
        ("*aa", "aaa", True),
        ("a*a", "a", False),
        ("*ab*ab", "abab", True),
        ("*ab*ab", "ab", False),
        ("**", "x", True),
        ("a*", "a\nb", True),
        ("[a]", "[a]", True),
        ("[a]", "a", False),
        ("a%_", "a%_", True),
        ("", "", True),
    ],
)
def test_a_pattern_matches_the_whole_text(pattern: str, text: str, expected: bool) -> None:
    assert holds(F.name.matches(pattern), name=text) is expected


def matches_plainly(pattern: str, text: str) -> bool:
    """The definition of a pattern, one character at a time."""
    if not pattern:
        return not text
    if pattern[0] == "*":
        return any(matches_plainly(pattern[1:], text[start:]) for start in range(len(text) + 1))
    return bool(text) and pattern[0] in {"?", text[0]} and matches_plainly(pattern[1:], text[1:])


@given(st.text("ab*?", max_size=6), st.text("ab", max_size=6))
def test_patterns_mean_what_their_definition_says(pattern: str, text: str) -> None:
    assert (pattern_regex(pattern).fullmatch(text) is not None) is matches_plainly(pattern, text)


def test_a_pattern_of_many_stars_is_no_trap() -> None:
    """Trying every way to share the text among the stars would not end in this test's time limit."""
    assert not holds(F.name.matches("*a" * 40 + "*b"), name="a" * 5000)


# -- inside documents --------------------------------------------------------------------------------------------------


def test_a_path_leads_through_objects_and_lists() -> None:
    rows = {"rows": [{"total": 1}, {"total": 2}]}
    assert holds(F.result.rows[1].total == 2, result=rows)
    assert not holds(F.result.rows[2].total.exists(), result=rows)
    assert not holds(F.result.rows.total.exists(), result=rows)


def test_a_key_is_text_and_a_position_a_number() -> None:
    assert holds(F.result["0"] == "key", result={"0": "key"})
    assert not holds(F.result[0].exists(), result={"0": "key"})
    assert not holds(F.result["0"].exists(), result=["element"])
    assert holds(F.result["a.b"] == 1, result={"a.b": 1, "a": {"b": 2}})


def test_a_null_is_a_value_that_is_not_there() -> None:
    assert not holds(F.metadata.user.exists(), metadata={"user": None})
    assert holds(F.metadata.user == None, metadata={"user": None})  # noqa: E711 - it makes a condition
    assert holds(F.metadata.user == None)  # noqa: E711 - as above


def test_empty_is_there() -> None:
    assert holds(F.metadata.exists())
    assert holds(F.result.exists(), result="")
    assert holds(F.result.exists(), result=[])
    assert holds(F.result.exists(), result=False)


def test_kinds_of_values_are_kept_apart() -> None:
    assert not holds(F.metadata.x == 1, metadata={"x": True})
    assert not holds(F.metadata.x == True, metadata={"x": 1})  # noqa: E712 - it makes a condition
    assert not holds(F.metadata.x == "1", metadata={"x": 1})
    assert holds(F.metadata.x == 1, metadata={"x": 1.0})
    assert not holds(F.metadata.x.is_in([1, "a"]), metadata={"x": True})


def test_order_takes_text_that_spells_a_decimal_for_a_number() -> None:
    assert holds(F.result.total > 100, result={"total": "199.95"})
    assert not holds(F.result.total > 100, result={"total": "99.95"})
    assert not holds(F.result.total == 199.95, result={"total": "199.95"})
    for text in ("1e5", "", "+1", ".5", "5.", " 1", "inf", "٣"):
        assert not holds((F.result.total > -1) | (F.result.total <= -1), result={"total": text})


def test_order_with_text_is_order_of_texts() -> None:
    assert holds(F.result.total > "1", result={"total": "199.95"})
    assert not holds(F.result.total > "1", result={"total": 2})


def test_order_is_true_of_no_truth_value_list_or_object() -> None:
    for value in (True, [2], {"a": 2}, None):
        assert not holds((F.result.x > 1) | (F.result.x <= 1), result={"x": value})


def test_order_of_numbers_is_that_of_doubles() -> None:
    assert not holds(F.result.x > 2**53, result={"x": 2**53 + 1})
    assert holds(F.result.x > 1e308, result={"x": 10**400})
    assert holds(F.result.x < -1e308, result={"x": -(10**400)})


def test_a_list_contains_its_elements_and_a_text_its_pieces() -> None:
    assert holds(F.metadata.tags.contains("vip"), metadata={"tags": ["new", "vip"]})
    assert not holds(F.metadata.tags.contains("vi"), metadata={"tags": ["new", "vip"]})
    assert holds(F.metadata.tags.contains("vi"), metadata={"tags": "vip"})
    assert holds(F.metadata.ids.contains(5), metadata={"ids": [5]})
    assert not holds(F.metadata.ids.contains(1), metadata={"ids": [True, "1"]})
    assert not holds(F.metadata.ids.contains(5), metadata={"ids": "5"})
    assert not holds(F.metadata.ids.contains("a"), metadata={"ids": {"a": 1}})


def test_patterns_match_text_in_documents() -> None:
    assert holds(F.metadata.file.matches("*.csv"), metadata={"file": "a.csv"})
    assert not holds(F.metadata.file.matches("*"), metadata={"file": 1})


# -- and, or, not ------------------------------------------------------------------------------------------------------


def test_and_of_nothing_is_everything_and_or_of_nothing_is_nothing() -> None:
    assert holds(And())
    assert not holds(Or())


@given(trees(), trees())
def test_and_or_not_mean_what_they_say(one: Node, other: Node) -> None:
    subject = record(name="a", metadata={"a": 1}, started_at=NOON)
    first, second = matches(one, subject), matches(other, subject)
    assert matches(And((one, other)), subject) is (first and second)
    assert matches(Or((one, other)), subject) is (first or second)
    assert matches(Not(one), subject) is not first


# -- order and pages ---------------------------------------------------------------------------------------------------


def test_the_most_recently_changed_come_first() -> None:
    records = [record(id="old", updated_at=NOON), record(id="new", updated_at=NOON + SECOND), record(id="never")]
    assert found(Query(), records) == ["new", "old", "never"]


@pytest.mark.parametrize("descending", [False, True])
def test_missing_values_come_last_whichever_the_direction(descending: bool) -> None:
    records = [record(id="none"), record(id="one", priority=1), record(id="two", priority=2)]
    expected = ["two", "one", "none"] if descending else ["one", "two", "none"]
    assert found(Query(order=(Order("priority", descending),)), records) == expected


def test_ties_are_broken_by_id_in_the_direction_of_the_first_term() -> None:
    records = [record(id=name, priority=1, attempt=int(name == "b")) for name in "cab"]
    assert found(Query(order=(Order("priority"),)), records) == ["a", "b", "c"]
    assert found(Query(order=(Order("priority", descending=True),)), records) == ["c", "b", "a"]
    assert found(Query(order=(Order("attempt"), Order("id", descending=True))), records) == ["c", "a", "b"]


def test_a_limit_is_the_most_a_page_holds() -> None:
    records = [record(id=f"{number:04d}") for number in range(DEFAULT_LIMIT + 1)]
    assert len(found(Query(), records)) == DEFAULT_LIMIT
    assert found(Query(limit=1, order=(Order("id"),)), records) == ["0000"]


SAMPLES = [
    record(
        id=f"{number:02d}",
        state="SUCCESS" if number % 2 else "FAILURE",
        name=None if number % 5 == 0 else f"task{number % 3}",
        priority=None if number % 4 == 0 else number % 2,
        updated_at=NOON + number // 3 * SECOND,
        started_at=None if number % 7 == 0 else NOON + number % 4 * timedelta(microseconds=1),
        finished_at=NOON + MINUTE if number % 2 else None,
    )
    for number in range(40)
]


@given(queries(SAMPLES, max_limit=7))
def test_pages_by_cursor_are_the_whole_cut_up(query: Query) -> None:
    whole = found(Query(where=query.where, order=query.order), SAMPLES)
    pieces: list[str] = []
    page = query
    while records := evaluate(page.checked(), SAMPLES):
        pieces += [one.id for one in records]
        page = msgspec.structs.replace(query, cursor=query.cursor_after(records[-1]))
    assert pieces == whole


def test_a_cursor_of_another_order_is_refused() -> None:
    cursor = Query(order=(Order("name"),)).cursor_after(record())
    with pytest.raises(QueryError, match="belongs to a query with another order"):
        Query(cursor=cursor).checked()


def forged(*values: Any, order: str = "-updated_at,-id") -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode([order, list(values)])).decode()


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "é",
        "\udc80",
        forged(),
        forged(1, "a"),
        forged("2026-11-21", "a"),
        forged(isoformat(NOON), 5),
        forged([], {}),
    ],
)
def test_a_cursor_that_nobody_made_is_refused(cursor: str) -> None:
    with pytest.raises(QueryError, match="this cursor is not one that rootcellar made"):
        Query(cursor=cursor).checked()


@pytest.mark.parametrize("values", [("2026-11-21T12:00:00", "a"), (isoformat(NOON), "\0")])
def test_a_forged_cursor_carries_nothing_that_a_condition_could_not(values: tuple[Any, ...]) -> None:
    with pytest.raises(QueryError):
        Query(cursor=forged(*values)).checked()


def test_a_page_is_a_sequence_of_records() -> None:
    page = Page([record(id="a"), record(id="b")], cursor="c")
    assert [one.id for one in page] == ["a", "b"]
    assert len(page) == 2
    assert page[1].id == "b"


# -- aggregates --------------------------------------------------------------------------------------------------------


def test_an_aggregate_counts_groups_of_equal_values() -> None:
    records = [
        record(
            id="1", name="a", state="SUCCESS", queued_at=NOON, started_at=NOON + SECOND, finished_at=NOON + 3 * SECOND
        ),
        record(id="2", name="a", state="FAILURE", started_at=NOON, finished_at=NOON + 4 * SECOND),
        record(id="3", name="a", state="STARTED", started_at=NOON),
        record(id="4"),
    ]
    assert aggregate(Aggregate(by=("name",)), records) == [
        Statistic(key=("a",), count=3, succeeded=1, failed=1, runtime_avg=3.0, runtime_max=4.0, wait_avg=1.0),
        Statistic(key=(None,), count=1, succeeded=0, failed=0),
    ]


def test_without_groups_there_is_one_unless_nothing_is_found() -> None:
    assert [row.count for row in aggregate(Aggregate(), [record(), record()])] == [2]
    assert aggregate(Aggregate(), []) == []


def test_a_bucket_is_a_span_of_seconds_since_1970() -> None:
    records = [record(id=str(number), updated_at=NOON + number * 25 * SECOND) for number in range(4)] + [record()]
    rows = aggregate(Aggregate(bucket=60), records)
    assert [(row.bucket, row.count) for row in rows] == [(NOON, 3), (NOON + MINUTE, 1), (None, 1)]


def test_an_aggregate_counts_only_what_its_condition_is_true_of() -> None:
    records = [record(state="FAILURE"), record(state="SUCCESS")]
    assert [row.key for row in aggregate(Aggregate(by=("state",), where=(F.state == "FAILURE").node), records)] == [
        ("FAILURE",)
    ]


def test_statistics_come_greatest_first_then_by_key_missing_last() -> None:
    records = [
        record(name=name, queue=queue) for name, queue in [("b", "q"), ("b", "q"), ("a", None), ("a", "z"), (None, "a")]
    ]
    assert [row.key for row in aggregate(Aggregate(by=("name", "queue")), records)] == [
        ("b", "q"),
        ("a", "z"),
        ("a", None),
        (None, "a"),
    ]


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Aggregate(by=("nam",)), "cannot group by 'nam'; did you mean 'name'?"),
        (Aggregate(by=("result",)), "cannot group by 'result'; known are: "),
        (Aggregate(bucket=0), "a time bucket is at least one second"),
        (Aggregate(where=Condition("nam", Op.EXISTS)), "there is no field 'nam'"),
    ],
)
def test_an_aggregate_that_means_nothing_is_refused(request_: Aggregate, message: str) -> None:
    with pytest.raises(QueryError) as caught:
        request_.checked()
    assert str(caught.value).startswith(message)


# -- checks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        (Condition("stat", Op.EQ, "a"), "there is no field 'stat'; did you mean 'state'?"),
        (Condition("history", Op.EXISTS), "there is no field 'history'"),
        (Condition("name", Op.EXISTS, None, ("a",)), "'name' is no document, so nothing lies inside it"),
        (Condition("name", Op.EQ, 1), "'name' is a text field and cannot be compared with 1"),
        (Condition("name", Op.IN, ()), "'name' in ... takes one value or more"),
        (Condition("name", Op.IN, "ab"), "'name' in ... takes one value or more"),
        (Condition("name", Op.IN, ("a", 1)), "'name' is a text field and cannot be compared with 1"),
        (Condition("name", Op.LT, None), "'name' < null means nothing; use = or !="),
        (Condition("name", Op.CONTAINS, None), "'name' contains null means nothing"),
        (Condition("attempt", Op.EQ, "1"), "'attempt' is a number field and cannot be compared with '1'"),
        (Condition("attempt", Op.EQ, value=True), "'attempt' is a number field and cannot be compared with True"),
        (Condition("attempt", Op.CONTAINS, 1), "contains takes text, and 'attempt' is a number field"),
        (Condition("eta", Op.MATCHES, "2026*"), "matches takes text, and 'eta' is a time field"),
        (Condition("eta", Op.LT, "2026-11-21"), "'eta' is a time field and cannot be compared with '2026-11-21'"),
        (Condition("eta", Op.LT, NOON.replace(tzinfo=None)), "'eta' is compared with a time without zone; give it one"),
        (
            Condition("eta", Op.LT, datetime.min.replace(tzinfo=timezone(timedelta(hours=1)))),
            "'eta' is compared with a time outside of the years 1 to 9999 in UTC",
        ),
        (Condition("result", Op.EQ, [1]), "'result' is a document field and cannot be compared with [1]"),
        (Condition("result", Op.EQ, NOON), "'result' is a document field and cannot be compared with datetime"),
        (Condition("result", Op.MATCHES, 1), "'result' matches ... takes text"),
        (Condition("result", Op.LT, value=True), "'result' < True means nothing; use = or !="),
        (Condition("result", Op.LT, float("nan")), "'result' cannot be compared with a number that no finite double"),
        (Condition("runtime", Op.LT, float("inf")), "'runtime' cannot be compared with a number that no finite double"),
        (Condition("result", Op.LT, 10**400), "'result' cannot be compared with a number that no finite double"),
        (Condition("name", Op.EQ, "a\0b"), "'name': no text of a query holds a NUL or a lone surrogate"),
        (Condition("name", Op.EQ, "\ud800"), "'name': no text of a query holds a NUL or a lone surrogate"),
        (Condition("result", Op.EXISTS, None, ("a\0",)), "'result.a\\x00': no text of a query holds a NUL"),
        (Condition("result", Op.EXISTS, None, (-1,)), "list positions in 'result' count from 0, and -1 is none"),
        (Condition("result", Op.EXISTS, None, (MAX_POSITION,)), "list positions in 'result' count from 0"),
        (
            Condition("result", Op.EXISTS, None, (True,)),
            "a step into 'result' is a key (str) or a list position (int), not True",
        ),
        (
            Condition("result", Op.EXISTS, None, ("a",) * (MAX_DEPTH + 1)),
            f"a path into 'result' is more than {MAX_DEPTH} steps",
        ),
    ],
)
def test_a_condition_that_means_nothing_is_refused(condition: Condition, message: str) -> None:
    with pytest.raises(QueryError) as caught:
        Query(where=Not(Or((condition,)))).checked()
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (Query(limit=0), f"limit must be between 1 and {MAX_LIMIT}, not 0"),
        (Query(limit=MAX_LIMIT + 1), f"limit must be between 1 and {MAX_LIMIT}"),
        (Query(order=()), "an order needs at least one field"),
        (Query(order=(Order("finished"),)), "cannot order by 'finished'; did you mean 'finished_at'?"),
        (Query(order=(Order("result"),)), "cannot order by 'result'"),
        (Query(where="name"), "a query is made of conditions, not of str"),  # type: ignore[arg-type]
        (Query(where=And((Or(),) * MAX_NODES)), f"the query has more than {MAX_NODES} conditions"),
    ],
)
def test_a_query_that_means_nothing_is_refused(query: Query, message: str) -> None:
    with pytest.raises(QueryError) as caught:
        query.checked()
    assert str(caught.value).startswith(message)


def test_a_query_nested_ten_thousand_deep_is_one_clear_error() -> None:
    tree: Node = Condition("name", Op.EXISTS)
    for _ in range(10_000):
        tree = And((tree,))
    with pytest.raises(QueryError, match=f"^the query is nested more than {MAX_DEPTH} deep$"):
        Query(where=tree).checked()
    while isinstance(tree, And):  # taken apart here: the interpreter would free a chain of this length by recursion
        (tree,) = tree.nodes


@given(queries())
def test_every_query_of_the_strategies_means_something(query: Query) -> None:
    assert query.checked() is query


def test_every_field_is_one_of_a_record() -> None:
    for field, kind in FIELD_KINDS.items():
        assert hasattr(TaskRecord(id="a"), field)
        assert (field in SORTABLE) is (kind is not Kind.DOCUMENT)


def test_a_suggestion_is_the_nearest_name_or_all_of_them() -> None:
    assert suggest("stat", ["state", "name"]) == "; did you mean 'state'?"
    assert suggest("xyz", ["state", "name"]) == "; known are: name, state"


# -- the Python face ---------------------------------------------------------------------------------------------------


def test_comparisons_make_conditions() -> None:
    made = {
        Op.EQ: F.name == "a",
        Op.NE: F.name != "a",
        Op.LT: F.name < "a",
        Op.LE: F.name <= "a",
        Op.GT: F.name > "a",
        Op.GE: F.name >= "a",
        Op.CONTAINS: F.name.contains("a"),
        Op.MATCHES: F.name.matches("a"),
    }
    for op, expression in made.items():
        assert expression.node == Condition("name", op, "a")
    assert F.name.is_in(iter(["a", "b"])).node == Condition("name", Op.IN, ("a", "b"))
    assert F.name.exists().node == Condition("name", Op.EXISTS)


def test_paths_are_attributes_or_items() -> None:
    assert F.result.rows[0]["a.b"].exists().node == Condition("result", Op.EXISTS, None, ("rows", 0, "a.b"))
    assert F.metadata["contains"].exists().node == Condition("metadata", Op.EXISTS, None, ("contains",))


def test_expressions_are_joined_with_operators() -> None:
    a, b = F.name == "a", F.name == "b"
    assert (a & b).node == And((a.node, b.node))
    assert (a | b).node == Or((a.node, b.node))
    assert (~a).node == Not(a.node)


def test_a_long_chain_of_one_operator_stays_shallow() -> None:
    parts = [F.attempt == number for number in range(200)]
    for joined in (functools.reduce(operator.or_, parts), functools.reduce(operator.and_, parts)):
        Query(where=joined.node).checked()


def test_an_expression_has_no_truth_of_its_own() -> None:
    with pytest.raises(QueryError, match=r"join conditions with & \| ~, not with and, or, not"):
        assert F.name == "a"


def test_an_unknown_field_names_the_nearest() -> None:
    with pytest.raises(QueryError, match=r"there is no field 'stat'; did you mean 'state'\?"):
        _ = F.stat


def test_a_comparison_that_means_nothing_fails_where_it_is_written() -> None:
    with pytest.raises(QueryError, match="'attempt' is a number field and cannot be compared with '1'"):
        _ = F.attempt == "1"
    with pytest.raises(QueryError, match="'name' is no document"):
        _ = F.name.first == "a"


def test_fields_are_no_private_attributes() -> None:
    with pytest.raises(AttributeError):
        _ = F.__wrapped__
    with pytest.raises(AttributeError):
        _ = F.metadata.__wrapped__
