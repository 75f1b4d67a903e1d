"""The text language and the URL parameters: what people type, the tree it makes, the text of a tree, the errors."""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote_plus, urlencode
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootcellar.errors import QueryError
from rootcellar.query import (
    FIELD_KINDS,
    MAX_DEPTH,
    MAX_LIMIT,
    MAX_NODES,
    And,
    Condition,
    Node,
    Not,
    Op,
    Or,
    Order,
    Query,
    matches,
)
from rootcellar.record import TaskRecord
from rootcellar.search import (
    ALIASES,
    MAX_TEXT,
    from_params,
    normalised,
    parse,
    parse_order,
    render,
    render_order,
    to_params,
)
from rootcellar.testing.strategies.queries import orders, trees

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).parents[2] / "docs" / "queries.md"
NOW = datetime(2026, 11, 21, 13, 30, tzinfo=UTC)
DAY = timedelta(days=1)
MIDNIGHT = datetime(2026, 11, 21, tzinfo=UTC)
NOON = MIDNIGHT + timedelta(hours=12)


def parsed(text: str) -> Node:
    return parse(text, now=NOW, tz=UTC)


def eq(field: str, value: Any, *path: str | int) -> Condition:
    return Condition(field, Op.EQ, value, path)


def within(field: str, start: datetime, end: datetime) -> And:
    return And((Condition(field, Op.GE, start), Condition(field, Op.LT, end)))


def word(text: str) -> Or:
    return Or((Condition("name", Op.CONTAINS, text), Condition("id", Op.MATCHES, text + "*")))


FAILED = eq("state", "FAILURE")
RETRIED = eq("state", "RETRY")
MAIL = eq("queue", "mail")

EXAMPLES: list[tuple[str, Node]] = [
    # Nothing asked for finds everything.
    ("", And()),
    ("  ", And()),
    ("*", And()),
    ("NOT *", Or()),
    ("state:FAILURE OR *", And()),
    ("state:FAILURE NOT *", Or()),
    # Terms, and what joins them.
    ("state:FAILURE", FAILED),
    ("state:FAILURE queue:mail", And((FAILED, MAIL))),
    ("state:FAILURE AND queue:mail", And((FAILED, MAIL))),
    ("state:FAILURE and queue:mail", And((FAILED, MAIL))),
    ("state:FAILURE OR queue:mail", Or((FAILED, MAIL))),
    ("state:FAILURE or queue:mail", Or((FAILED, MAIL))),
    ("queue:mail state:FAILURE OR state:RETRY", Or((And((MAIL, FAILED)), RETRIED))),
    ("queue:mail (state:FAILURE OR state:RETRY)", And((MAIL, Or((FAILED, RETRIED))))),
    ("(queue:mail)(state:FAILURE)", And((MAIL, FAILED))),
    ("-state:FAILURE", Not(FAILED)),
    ("NOT state:FAILURE", Not(FAILED)),
    ("--state:FAILURE", FAILED),
    ("-(queue:mail state:FAILURE)", Not(And((MAIL, FAILED)))),
    ("NOT(queue:mail OR state:FAILURE)", Not(Or((MAIL, FAILED)))),
    ("not queue:mail state:FAILURE", And((Not(MAIL), FAILED))),
    # Operators and their spellings.
    ("queue=mail", MAIL),
    ("queue : mail", MAIL),
    ("queue!=mail", Condition("queue", Op.NE, "mail")),
    ("queue!=mail,web", Not(Condition("queue", Op.IN, ("mail", "web")))),
    ("queue:mail,web", Condition("queue", Op.IN, ("mail", "web"))),
    ("queue:mail, web", Condition("queue", Op.IN, ("mail", "web"))),
    ("queue~ail", Condition("queue", Op.CONTAINS, "ail")),
    ("queue~ail,eb", Or((Condition("queue", Op.CONTAINS, "ail"), Condition("queue", Op.CONTAINS, "eb")))),
    ("queue:*", Condition("queue", Op.EXISTS)),
    ("queue:null", eq("queue", None)),
    ("queue!=null", Condition("queue", Op.NE, None)),
    ('queue:"null"', eq("queue", "null")),
    ("name>=m name<n", And((Condition("name", Op.GE, "m"), Condition("name", Op.LT, "n")))),
    ("attempt:>2", Condition("attempt", Op.GT, 2)),
    # Patterns.
    ("name:billing.*", Condition("name", Op.MATCHES, "billing.*")),
    ("name:bill?", Condition("name", Op.MATCHES, "bill?")),
    ('name:"billing.*"', eq("name", "billing.*")),
    ("name==billing.*", eq("name", "billing.*")),
    ('name~~"two *"', Condition("name", Op.MATCHES, "two *")),
    ("name~~billing", Condition("name", Op.MATCHES, "billing")),
    ("name!=billing.*", Not(Condition("name", Op.MATCHES, "billing.*"))),
    ("name:a*,b,c", Or((Condition("name", Op.IN, ("b", "c")), Condition("name", Op.MATCHES, "a*")))),
    # Words alone.
    ("billing", word("billing")),
    ("billing.pay", word("billing.pay")),
    ('"two words"', word("two words")),
    ("billing.*", Or((Condition("name", Op.MATCHES, "billing.*"), Condition("id", Op.MATCHES, "billing.*")))),
    ('"what?"', Or((Condition("name", Op.CONTAINS, "what?"), eq("id", "what?")))),
    ('"or"', word("or")),
    ("billing -queue:mail", And((word("billing"), Not(MAIL)))),
    # Quotes and escapes.
    ('name:"a b"', eq("name", "a b")),
    ("name:'a \"b\"'", eq("name", 'a "b"')),
    (r'name:"a \"b\" \\ \n \t \u00e9 \U0001f600"', eq("name", 'a "b" \\ \n \t é 😀')),
    ("name:O'Brien", eq("name", "O'Brien")),
    ("id:a:b=c>d", eq("id", "a:b=c>d")),
    ('name:""', eq("name", "")),
    # States.
    ("state:failure", FAILED),
    ("state:Failure,retry", Condition("state", Op.IN, ("FAILURE", "RETRY"))),
    ("state:PROGRESS", eq("state", "PROGRESS")),
    ("state:progress", eq("state", "progress")),
    ('state:"failure"', eq("state", "failure")),
    ('state:"FALURE"', eq("state", "FALURE")),
    # Aliases.
    ("task:a", eq("name", "a")),
    ("group:g parent:p root:r", And((eq("group_id", "g"), eq("parent_id", "p"), eq("root_id", "r")))),
    ("retries>0", Condition("attempt", Op.GT, 0)),
    ("meta.user:a", eq("metadata", "a", "user")),
    # Numbers and lengths of time.
    ("attempt:3", eq("attempt", 3)),
    ("priority:-1", eq("priority", -1)),
    ("runtime>2s", Condition("runtime", Op.GT, 2)),
    ("runtime>2", Condition("runtime", Op.GT, 2)),
    ("runtime>=500ms", Condition("runtime", Op.GE, 0.5)),
    ("runtime>1.5s", Condition("runtime", Op.GT, 1.5)),
    ("wait<3m", Condition("wait", Op.LT, 180)),
    ("wait>1h30m", Condition("wait", Op.GT, 5400)),
    ("runtime>2d runtime<1w", And((Condition("runtime", Op.GT, 172_800), Condition("runtime", Op.LT, 604_800)))),
    # Times.
    ("finished>-1h", Condition("finished_at", Op.GT, NOW - timedelta(hours=1))),
    ("finished_at>-1h30m", Condition("finished_at", Op.GT, NOW - timedelta(hours=1.5))),
    ("expires<+1d", Condition("expires_at", Op.LT, NOW + DAY)),
    ("eta<now", Condition("eta", Op.LT, NOW)),
    ("queued>now-5m", Condition("queued_at", Op.GT, NOW - timedelta(minutes=5))),
    ("started>today", Condition("started_at", Op.GT, MIDNIGHT)),
    ("started>yesterday+9h", Condition("started_at", Op.GT, MIDNIGHT - timedelta(hours=15))),
    ("expires<tomorrow", Condition("expires_at", Op.LT, MIDNIGHT + DAY)),
    ("finished>12:00", Condition("finished_at", Op.GT, NOON)),
    ("finished:12:00", within("finished_at", NOON, NOON + timedelta(minutes=1))),
    ("finished:2026-11-21", within("finished_at", MIDNIGHT, MIDNIGHT + DAY)),
    ("finished:today", within("finished_at", MIDNIGHT, MIDNIGHT + DAY)),
    ("finished:yesterday", within("finished_at", MIDNIGHT - DAY, MIDNIGHT)),
    ("finished!=2026-11-21", Not(within("finished_at", MIDNIGHT, MIDNIGHT + DAY))),
    ("finished:today,null", Or((eq("finished_at", None), within("finished_at", MIDNIGHT, MIDNIGHT + DAY)))),
    ("finished>=2026-11-21", Condition("finished_at", Op.GE, MIDNIGHT)),
    ("finished<2026-11-21", Condition("finished_at", Op.LT, MIDNIGHT)),
    ("finished<=2026-11-21", Condition("finished_at", Op.LT, MIDNIGHT + DAY)),
    ("finished<=2026-11-21T12:00", Condition("finished_at", Op.LT, NOON + timedelta(minutes=1))),
    ("finished:2026-11-21T12:00:00", within("finished_at", NOON, NOON + timedelta(seconds=1))),
    ("finished:2026-11-21T12:00:00.000", eq("finished_at", NOON)),
    ("finished>2026-11-21T13:00+01:00", Condition("finished_at", Op.GT, NOON)),
    ("finished>2026-11-21T12:00Z", Condition("finished_at", Op.GT, NOON)),
    ('finished>"2026-11-21 12:00"', Condition("finished_at", Op.GT, NOON)),
    ("finished:null", eq("finished_at", None)),
    ("finished:*", Condition("finished_at", Op.EXISTS)),
    # Documents.
    ("metadata.user:ann", eq("metadata", "ann", "user")),
    ("metadata.user:42", Condition("metadata", Op.IN, (42, "42"), ("user",))),
    ("metadata.user:1.50", Condition("metadata", Op.IN, (1.5, "1.50"), ("user",))),
    ("metadata.user:1,a", Condition("metadata", Op.IN, (1, "1", "a"), ("user",))),
    ("metadata.user!=42", Not(Condition("metadata", Op.IN, (42, "42"), ("user",)))),
    ("metadata.user==42", eq("metadata", 42, "user")),
    ("metadata.user!==42", Condition("metadata", Op.NE, 42, ("user",))),
    ('metadata.user==42,"a"', Condition("metadata", Op.IN, (42, "a"), ("user",))),
    ('metadata.user:"42"', eq("metadata", "42", "user")),
    ("metadata.zip:01234", eq("metadata", "01234", "zip")),
    ("metadata.paid:true", Condition("metadata", Op.IN, (True, "true"), ("paid",))),
    ("metadata.paid:False", Condition("metadata", Op.IN, (False, "False"), ("paid",))),
    ("metadata.paid==true", Condition("metadata", Op.EQ, value=True, path=("paid",))),
    ("metadata.file:*.csv", Condition("metadata", Op.MATCHES, "*.csv", ("file",))),
    ("metadata.user:*", Condition("metadata", Op.EXISTS, None, ("user",))),
    ("metadata.user>5", Condition("metadata", Op.GT, 5, ("user",))),
    ('metadata.user>"5"', Condition("metadata", Op.GT, "5", ("user",))),
    ("metadata.tags~vip", Condition("metadata", Op.CONTAINS, "vip", ("tags",))),
    ("metadata.ids~=5", Condition("metadata", Op.CONTAINS, 5, ("ids",))),
    (
        "metadata.ids~5",
        Or((Condition("metadata", Op.CONTAINS, 5, ("ids",)), Condition("metadata", Op.CONTAINS, "5", ("ids",)))),
    ),
    ("args[0]==7", eq("args", 7, 0)),
    ("args.0==7", eq("args", 7, 0)),
    ("result.rows.0.total>100", Condition("result", Op.GT, 100, ("rows", 0, "total"))),
    ('metadata."a.b":x', eq("metadata", "x", "a.b")),
    ('metadata["a.b"].c:x', eq("metadata", "x", "a.b", "c")),
    ("metadata['a.b']:x", eq("metadata", "x", "a.b")),
    ('metadata."0":x', eq("metadata", "x", "0")),
    ("metadata.007:x", eq("metadata", "x", "007")),
    ("kwargs.user-id:x", eq("kwargs", "x", "user-id")),
    ("result:ok", eq("result", "ok")),
    ("error:*", Condition("error", Op.EXISTS)),
    ("metadata:null", eq("metadata", None)),
]


@pytest.mark.parametrize(("text", "tree"), EXAMPLES, ids=[text or "(empty)" for text, _ in EXAMPLES])
def test_what_people_type_makes_this_tree(text: str, tree: Node) -> None:
    assert repr(parsed(text)) == repr(tree)


@pytest.mark.parametrize(("text", "tree"), EXAMPLES, ids=[text or "(empty)" for text, _ in EXAMPLES])
def test_the_text_of_that_tree_makes_it_again(text: str, tree: Node) -> None:
    assert parsed(render(parsed(text))) == tree


RENDERED = [
    (And(), ""),
    (Or(), "NOT *"),
    (And((FAILED, MAIL)), "state:FAILURE queue:mail"),
    (And((MAIL, Or((FAILED, RETRIED)))), "queue:mail (state:FAILURE OR state:RETRY)"),
    (Not(And((MAIL, FAILED))), "NOT (queue:mail state:FAILURE)"),
    (Not(MAIL), "-queue:mail"),
    (Condition("name", Op.MATCHES, "billing.*"), "name:billing.*"),
    (Condition("name", Op.MATCHES, "a b*"), 'name~~"a b*"'),
    (Condition("metadata", Op.IN, (42, "42"), ("user",)), "metadata.user:42"),
    (Condition("metadata", Op.IN, (42, 43), ("user",)), "metadata.user==42,43"),
    (eq("metadata", "42", "user"), 'metadata.user:"42"'),
    (Condition("metadata", Op.EQ, value=True, path=("a.b", "0", 0)), 'metadata."a.b"."0".0==true'),
    (eq("name", "line\nbreak\x07 \U000e0001"), r'name:"line\nbreak\u0007 \U000e0001"'),
    (Condition("runtime", Op.GT, 2.5), "runtime>2.5"),
    (Condition("eta", Op.LT, NOW.astimezone(timezone(timedelta(hours=1)))), "eta<2026-11-21T13:30:00.000000Z"),
]


@pytest.mark.parametrize(("tree", "text"), RENDERED)
def test_a_tree_is_written_the_way_a_person_would(tree: Node, text: str) -> None:
    assert render(tree) == text


# -- round trips -------------------------------------------------------------------------------------------------------


@given(trees(depth=4))
def test_text_round_trips_to_the_tree_for_any_tree(tree: Node) -> None:
    assert repr(parsed(render(tree))) == repr(normalised(tree))


@given(trees(depth=4))
def test_the_text_of_a_tree_is_one_line_of_printable_characters(tree: Node) -> None:
    assert render(tree).isprintable()


@given(trees(depth=4))
def test_the_normal_form_of_a_normal_form_is_itself(tree: Node) -> None:
    assert normalised(normalised(tree)) == normalised(tree)


@given(st.data())
def test_the_normal_form_finds_the_same_records(data: st.DataObject) -> None:
    record = TaskRecord(id="a", name="b", state="FAILURE", metadata={"a": 1}, error={"type": "E"}, started_at=NOW)
    tree = data.draw(trees([record]))
    assert matches(normalised(tree), record) is matches(tree, record)


#: What queries are made of, and what they go wrong by.
PIECES = (
    "state", "name", "metadata", ".", "[", "]", "(", ")", ":", "=", "!=", "==", "~", "~~", ">", ">=", "<", ",", '"',
    "'", "\\", "\\n", "-", "NOT", "AND", "OR", "*", "?", "-1h", "42", '"a b"', "today", "null", "é", " ", "  ",
    "state:FAILURE", "metadata.user:42",
)  # fmt: skip
FRAGMENTS = st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=12).map("".join)


@given(FRAGMENTS)
def test_any_text_is_a_query_that_round_trips_or_one_clear_error(text: str) -> None:
    try:
        tree = parsed(text)
    except QueryError as error:
        assert len(str(error).splitlines()) == 3  # noqa: PT017 - what is asserted is the error's form
    else:
        assert parsed(render(tree)) == tree


@given(trees(depth=4), orders(), st.integers(1, MAX_LIMIT), st.booleans())
def test_url_parameters_round_trip_to_the_query(tree: Node, order: tuple[Order, ...], limit: int, second: bool) -> None:
    query = Query(where=tree, order=order, limit=limit)
    if second:
        query = Query(where=tree, order=order, limit=limit, cursor=query.cursor_after(TaskRecord(id="a")))
    encoded = urlencode(to_params(query), quote_via=quote_plus)
    read = from_params(parse_qsl(encoded, keep_blank_values=True), tz=UTC)
    assert repr(read) == repr(Query(where=normalised(tree), order=order, limit=limit, cursor=query.cursor))


@given(orders())
def test_orders_round_trip(order: tuple[Order, ...]) -> None:
    assert parse_order(render_order(order)) == order


# -- time and place ----------------------------------------------------------------------------------------------------


def test_a_time_without_zone_is_in_the_given_zone() -> None:
    zone = timezone(timedelta(hours=-5))
    start = datetime(2026, 11, 21, 5, tzinfo=UTC)
    assert parse("finished:2026-11-21", now=NOW, tz=zone) == within("finished_at", start, start + DAY)


def test_today_is_what_it_is_in_the_given_zone() -> None:
    late = datetime(2026, 11, 21, 23, tzinfo=UTC)
    node = parse("finished>today", now=late, tz=timezone(timedelta(hours=2)))
    assert node == Condition("finished_at", Op.GT, datetime(2026, 11, 21, 22, tzinfo=UTC))


@pytest.mark.skipif(not Path("/usr/share/zoneinfo/Europe/Berlin").exists(), reason="no time zone data on this machine")
def test_a_day_on_which_the_clocks_change_has_its_own_length() -> None:
    node = parse("finished:2026-10-25", now=NOW, tz=ZoneInfo("Europe/Berlin"))
    assert node == within("finished_at", datetime(2026, 10, 24, 22, tzinfo=UTC), datetime(2026, 10, 25, 23, tzinfo=UTC))


def test_without_a_zone_the_machine_decides() -> None:
    node = parse("finished>2026-11-21T09:00", now=NOW)
    assert node == Condition("finished_at", Op.GT, datetime(2026, 11, 21, 9).astimezone(UTC))


def test_without_a_now_the_clock_decides() -> None:
    before = datetime.now(UTC)
    node = parse("finished<now")
    assert isinstance(node, Condition)
    assert before <= node.value <= datetime.now(UTC)


# -- orders ------------------------------------------------------------------------------------------------------------


def test_an_order_is_fields_with_commas_between() -> None:
    assert parse_order("-finished, name") == (Order("finished_at", descending=True), Order("name"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("finishd", "cannot order by 'finishd'; did you mean 'finished'?\n  finishd\n  ^^^^^^^"),
        ("name,-metadata", "cannot order by 'metadata'"),
        ("name,", "an order is made of fields with commas between, such as -finished,name\n  name,\n       ^"),
        ("", "an order is made of fields with commas between"),
    ],
)
def test_an_order_that_means_nothing_is_an_error(text: str, message: str) -> None:
    with pytest.raises(QueryError, match=f"^{re.escape(message)}"):
        parse_order(text)


# -- errors ------------------------------------------------------------------------------------------------------------

ERRORS = [
    ("stat:FAILURE", "there is no field 'stat'; did you mean 'state'?", "^^^^"),
    ("name:a stats:b", "there is no field 'stats'; did you mean 'state'?", "       ^^^^^"),
    ("finishd>-1h", "there is no field 'finishd'; did you mean 'finished'?", "^^^^^^^"),
    ("user:42", "there is no field 'user'; fields of your own lie inside metadata, as in metadata.user", "^^^^"),
    ("name.x:a", "'name' is no document, so nothing lies inside it", "^^^^^^"),
    ("metadata..x:a", "'metadata..x' is no field and no path into one", "^^^^^^^^^^^"),
    ("metadata.*:a", "'metadata.*' is no field and no path into one", "^^^^^^^^^^"),
    ("metadata[0:a", "this bracket is never closed", "        ^"),
    ("metadata[-1]:a", "list positions count from 0; such a key goes in quotes", "         ^^"),
    ('"state":a', "the name of a field stands without quotes", "^^^^^^^^"),
    ("metadata.user", "an operator is missing behind this, as in metadata.user:* or metadata.user:42", "^^^^^^^^^^^^^"),
    ("metadata:42", "'metadata' holds values by name; say which, as in metadata.user", "         ^^"),
    ("error~away", "'error' holds values by name; say which, as in error.type or error.message", "      ^^^^"),
    ("runtime=>2", "there is no operator '=>'; did you mean '>='?", "       ^^"),
    ("state<>a", "there is no operator '<>'; did you mean '!='?", "     ^^"),
    ("name=~a", "there is no operator '=~'; did you mean '~'?", "    ^^"),
    ("name>a,b", "> takes one value", "       ^"),
    ("runtime~2", "contains takes text, and 'runtime' is a number field", "        ^"),
    ("metadata.x>true", "'metadata.x' > True means nothing; use = or !=", "           ^^^^"),
    ("state:FALURE", "Celery has no state 'FALURE'; did you mean 'FAILURE'?", "      ^^^^^^"),
    ("state:a,FAILED", "Celery has no state 'FAILED'; did you mean 'FAILURE'?", "        ^^^^^^"),
    ("name:", 'a value is missing here; empty text is written ""', "     ^"),
    ("name: )", 'a value is missing here; empty text is written ""', "      ^"),
    ("name:a,", 'a value is missing here; empty text is written ""', "       ^"),
    ('name:"a', "this quote is never closed", "     ^"),
    ('name:a"b"', "a value with quotes or parentheses in it goes in quotes as a whole", "     ^^"),
    ("name:f(x)", "a value with quotes or parentheses in it goes in quotes as a whole", "     ^^"),
    (r'name:"C:\dir"', "there is no such escape; a backslash itself is written \\\\", "        ^^"),
    ("(name:a", "this parenthesis is never closed", "^"),
    ("name:a)", "this parenthesis closes nothing", "      ^"),
    ("()", "a term is missing here", " ^"),
    ("name:a AND", "a term is missing here", "          ^"),
    ("name:a -", "a term is missing here", "        ^"),
    ("OR name:a", "OR stands between two terms; the word itself goes in quotes", "^^"),
    ("name:a AND or name:b", "OR stands between two terms; the word itself goes in quotes", "           ^^"),
    ("name:a || name:b", "did you mean OR?", "       ^^"),
    ("name:a && name:b", "did you mean AND?", "       ^^"),
    ("!name:a", "to negate a term, write - or NOT before it", "^"),
    (">5", "the name of a field is missing here", "^"),
    ("name:a ,b", "a comma stands between values only", "       ^"),
    ("a,b", "a word with this in it goes in quotes", "^^"),
    ("attempt:many", "'attempt' is a number, and 'many' is none", "        ^^^^"),
    ("attempt:2s", "'attempt' is a number, and '2s' is none", "        ^^"),
    ("runtime>long", "'runtime' is a length of time, and 'long' is none; write 500ms, 2s or 1h30m", "        ^^^^"),
    ("finished>1h", "'1h' is no time; write -1h for that long ago, +1h for that long from now", "         ^^"),
    ("finished>soon", "'finished_at' is a time, and 'soon' is none; write a time as 2026-11-21", "         ^^^^"),
    ("finished>2026-13-01", "there is no such time as '2026-13-01'", "         ^^^^^^^^^^"),
    ("finished>9999-12-31", "there is no such time as '9999-12-31'", "         ^^^^^^^^^^"),
    ("finished>-999999999w", "there is no such time as '-999999999w'", "         ^^^^^^^^^^^"),
    ("finished>25:00", "there is no such time as '25:00'", "         ^^^^^"),
    ('name:"\\u0000"', "'name': no text of a query holds a NUL or a lone surrogate", "     ^^^^^^^^"),
    ('metadata."\\ud800":1', "'metadata.\\ud800': no text of a query holds a NUL", "^^^^^^^^^^^^^^^^^"),
    ("漢字 stat:a", "there is no field 'stat'; did you mean 'state'?", "     ^^^^"),
]


@pytest.mark.parametrize(("text", "message", "carets"), ERRORS, ids=[text for text, _, _ in ERRORS])
def test_an_error_says_what_is_wrong_and_shows_the_place(text: str, message: str, carets: str) -> None:
    with pytest.raises(QueryError) as caught:
        parsed(text)
    sentence, shown, place = str(caught.value).splitlines()
    assert sentence.startswith(message)
    assert shown == f"  {text}"
    assert place == f"  {carets}"


def test_of_a_long_text_the_error_shows_the_part_that_matters() -> None:
    with pytest.raises(QueryError) as caught:
        parsed("name:" + "x" * 500 + " stat:a " + "name:" + "y" * 500)
    _, shown, place = str(caught.value).splitlines()
    assert len(shown) < 80
    assert shown[place.index("^") : place.rindex("^") + 1] == "stat"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("(" * 10_000 + "name:a" + ")" * 10_000, f"the query is nested more than {MAX_DEPTH} deep"),
        ("NOT " * 10_000 + "name:a", f"the query is nested more than {MAX_DEPTH} deep"),
        ("-" * 10_000 + "name:a", f"the query is nested more than {MAX_DEPTH} deep"),
        ("a " * 100_000, f"the query has more than {MAX_NODES} conditions"),
        ("metadata" + ".a" * 10_000 + ":1", f"a path into 'metadata' is more than {MAX_DEPTH} steps long"),
        ("x" * 2**20, f"a query text has at most {MAX_TEXT} characters"),
    ],
    ids=["parentheses", "NOT", "-", "conditions", "path", "length"],
)
def test_a_query_out_of_all_proportion_is_one_clear_error(text: str, message: str) -> None:
    with pytest.raises(QueryError, match=f"^{re.escape(message)}"):
        parsed(text)


def test_a_tree_nested_too_deep_has_no_text() -> None:
    tree: Node = FAILED
    for _ in range(10 * sys.getrecursionlimit()):
        tree = Not(tree)
    with pytest.raises(QueryError, match="nested more than"):
        render(tree)
    # Taken apart here: the interpreter would free a chain of this length by recursion.
    while isinstance(tree, Not):
        tree = tree.node


def test_the_deepest_and_the_broadest_tree_there_may_be_round_trip() -> None:
    deep: Node = FAILED
    for level in range(MAX_DEPTH - 1):
        deep = Or((MAIL, deep)) if level % 2 else And((MAIL, deep))
    broad = And(tuple(eq("attempt", number) for number in range(MAX_NODES - 1)))
    assert parsed(render(deep)) == deep
    assert parsed(render(broad)) == broad


def test_parentheses_that_say_nothing_cost_no_depth_of_the_tree() -> None:
    assert parsed("(" * MAX_DEPTH + "state:FAILURE" + ")" * MAX_DEPTH) == FAILED


# -- URL parameters ----------------------------------------------------------------------------------------------------


def where(*pairs: tuple[str, str]) -> Node:
    return from_params(pairs, now=NOW, tz=UTC).where


def test_no_parameters_are_the_query_for_everything() -> None:
    assert from_params({}) == Query()
    assert to_params(Query()) == []


def test_different_parameters_must_all_hold() -> None:
    assert where(("state", "FAILURE"), ("metadata.user", "42"), ("finished", ">-1h")) == parsed(
        "state:FAILURE metadata.user:42 finished>-1h"
    )


def test_one_parameter_repeated_is_any_of_its_values() -> None:
    assert where(("state", "FAILURE"), ("queue", "mail"), ("state", "retry")) == parsed(
        "state:FAILURE,RETRY queue:mail"
    )
    assert where(("finished", "today"), ("finished", "null")) == parsed("finished:today,null")


def test_an_alias_is_the_same_parameter() -> None:
    assert where(("name", "a"), ("task", "b")) == parsed("name:a,b")


def test_values_with_an_operator_must_all_hold_so_that_two_make_a_range() -> None:
    assert where(("runtime", ">2s"), ("runtime", "<1m"), ("name", "!=a")) == parsed("runtime>2s runtime<1m name!=a")


def test_commas_separate_values_as_in_the_language() -> None:
    assert where(("state", "FAILURE,RETRY"), ("name", '"a,b"')) == parsed('state:FAILURE,RETRY name:"a,b"')


def test_spaces_and_parentheses_need_no_quotes() -> None:
    assert where(("name", " two words (2) ")) == eq("name", "two words (2)")


def test_an_empty_parameter_is_left_out() -> None:
    assert where(("state", ""), ("q", " "), ("name", "a")) == eq("name", "a")


def test_a_mapping_may_hold_one_value_or_several() -> None:
    assert from_params({"state": ["FAILURE", "RETRY"], "limit": "5"}).limit == 5
    assert from_params([("state", ["FAILURE", "RETRY"])]).where == parsed("state:FAILURE,RETRY")


def test_texts_must_all_hold() -> None:
    assert where(("q", "state:FAILURE OR state:RETRY"), ("q", "queue:mail")) == parsed(
        "(state:FAILURE OR state:RETRY) queue:mail"
    )


def test_order_limit_and_cursor_are_parameters_too() -> None:
    cursor = Query(order=(Order("name"),)).cursor_after(TaskRecord(id="a"))
    query = from_params({"order": "name", "limit": "7", "cursor": cursor})
    assert query == Query(order=(Order("name"),), limit=7, cursor=cursor)


def test_a_query_makes_readable_parameters() -> None:
    query = Query(where=parsed("state:FAILURE,RETRY metadata.user:42 runtime>2s (queue:a OR name:b)"), limit=50)
    assert to_params(query) == [
        ("state", "FAILURE"),
        ("state", "RETRY"),
        ("metadata.user", "42"),
        ("runtime", ">2"),
        ("q", "queue:a OR name:b"),
        ("limit", "50"),
    ]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ([("stat", "a")], "there is no field 'stat'; did you mean 'state'?\n  stat=a\n  ^^^^"),
        ([("limt", "5")], "there is no field 'limt'; did you mean 'limit'?"),
        ([("metadata.", "a")], "'metadata.' is no field and no path into one"),
        ([("", "a")], "'' is no field and no path into one"),
        ([("finished", ">1h")], "'1h' is no time; write -1h for that long ago"),
        ([("runtime", "=>2")], "there is no operator '=>'; did you mean '>='?"),
        ([("name", '"a" b')], "a value with quotes or parentheses in it goes in quotes as a whole"),
        ([("q", "(a")], "this parenthesis is never closed\n  (a\n  ^"),
        ([("limit", "many")], "limit is a whole number of records, not 'many'"),
        ([("limit", "0")], "limit must be between 1 and"),
        ([("limit", "1"), ("limit", "2")], "the parameter 'limit' is given more than once"),
        ([("order", "nam")], "cannot order by 'nam'; did you mean 'name'?"),
        ([("cursor", "x")], "this cursor is not one that rootcellar made"),
        ([("name", "x" * 2**20)], "a query text has at most"),
    ],
)
def test_parameters_that_mean_nothing_are_an_error(params: list[tuple[str, str]], message: str) -> None:
    with pytest.raises(QueryError, match=f"^{re.escape(message)}"):
        from_params(params)


# -- the page of the documentation -------------------------------------------------------------------------------------


def table_cells(header: str) -> Iterator[list[str]]:
    """The cells of each row of the page's tables whose first heading is `header`."""
    inside = False
    for line in PAGE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0] == header:
            inside = True
        elif not line.startswith("|"):
            inside = False
        elif inside and not cells[0].startswith("-"):
            yield cells


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("text", [cells[0].removeprefix("`").removesuffix("`") for cells in table_cells("query")])
def test_every_query_of_the_page_is_one(text: str) -> None:
    tree = parsed(text)
    assert parsed(render(tree)) == tree


def test_the_page_lists_every_field_and_alias() -> None:
    cells = list(table_cells("field"))
    fields = [name for row in cells for name in re.findall(r"`(\w+)`", row[0])]
    aliases = [name for row in cells for name in re.findall(r"`(\w+)`", row[1])]
    assert sorted(fields) == sorted(FIELD_KINDS)
    assert sorted(aliases) == sorted(ALIASES)


@pytest.mark.parametrize("block", blocks("error"))
def test_every_error_of_the_page_is_the_one_that_comes(block: str) -> None:
    text, message = block.split("\n--\n")
    with pytest.raises(QueryError) as caught:
        parsed(text)
    assert str(caught.value) == message.rstrip("\n")


@pytest.mark.parametrize("url", [url for block in blocks("url") for url in block.splitlines()])
def test_every_url_of_the_page_is_a_query(url: str) -> None:
    query = from_params(parse_qsl(url.removeprefix("?")), now=NOW, tz=UTC)
    assert from_params(to_params(query)) == query


@pytest.mark.parametrize("code", blocks("python"))
def test_the_python_of_the_page_runs(code: str) -> None:
    exec(compile(code, str(PAGE), "exec"), {})  # noqa: S102 - the page is ours


def test_the_numbers_of_the_page_are_those_in_force() -> None:
    assert f"{MAX_TEXT:,} characters, {MAX_NODES:,} conditions and {MAX_DEPTH} levels" in PAGE.read_text()
