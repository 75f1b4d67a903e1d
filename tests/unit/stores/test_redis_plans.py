"""From a query to the sets that answer it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from rootcellar.query import And, Expression, F, Or
from rootcellar.record import microseconds
from rootcellar.store.paths import declared_paths
from rootcellar.stores.redis.plans import BEGINNING, Choice, Plan, Planner, Span

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
AT = microseconds(NOON)


def plan(condition: Expression, indexes: str = "") -> Plan:
    return Planner(declared_paths(indexes)).plan(condition.node)


@pytest.mark.parametrize(
    ("condition", "terms"),
    [
        (F.state == "SUCCESS", (b"state:SUCCESS",)),
        (F.queue.is_in(["a", 'b"']), (b"queue:a", b'queue:b\\"')),
        (F.group_id == "g", (b"group_id:g",)),
        (F.worker == "söhne", ("worker:söhne".encode(),)),
    ],
)
def test_what_is_equal_is_a_term(condition: Expression, terms: tuple[bytes, ...]) -> None:
    """Nothing else has it, so that members are counted and not read."""
    assert plan(condition) == Plan(choices=(Choice(terms, exact=True),), exact=True)


@pytest.mark.parametrize(
    ("condition", "term"),
    [
        (F.metadata.user == 42, b"metadata.user:42"),
        (F.metadata.user == 42.0, b"metadata.user:42"),
        (F.metadata.user == "42", b'metadata.user:\\"42\\"'),
        (F.metadata.user == True, b"metadata.user:true"),  # noqa: E712 - a condition, not a truth
        (F.metadata.user == 0.5, b"metadata.user:0.5"),
    ],
)
def test_a_declared_path_has_terms(condition: Expression, term: bytes) -> None:
    """Numbers that are equal have one; text that looks like a number has another."""
    assert plan(condition, "metadata.user").choices == (Choice((term,), exact=True),)
    assert plan(condition).choices == ()


def test_a_long_text_has_a_short_term() -> None:
    (choice,) = plan(F.metadata.user == "x" * 5000, "metadata.user").choices
    assert all(len(term) < 100 for term in choice.terms)


@pytest.mark.parametrize(
    "condition",
    [F.queue != "a", F.queue > "a", F.queue.matches("a*"), F.queue == None, ~(F.queue == "a"), F.result == 1],  # noqa: E711 - a condition
)
def test_what_no_term_answers_is_looked_for_among_all(condition: Expression) -> None:
    assert plan(condition) == Plan()


def test_of_several_conditions_each_is_a_choice() -> None:
    """They are looked at after that: the plan is not exact."""
    found = plan((F.state == "FAILURE") & (F.queue == "a") & (F.runtime > 2))
    assert [choice.terms for choice in found.choices] == [(b"state:FAILURE",), (b"queue:a",)]
    assert not found.exact


def test_ids_go_before_everything() -> None:
    assert plan((F.id == "a") & (F.state == "SUCCESS")).ids == ("a",)
    assert plan(F.id.is_in(["a", "b"]) & (F.id == "b")).ids == ("b",)


def test_alternatives_are_one_choice_when_each_has_terms() -> None:
    both = plan((F.state == "RETRY") | ((F.queue == "a") & (F.runtime > 2)) | (F.id == "x"))
    assert both.choices == (Choice((b"state:RETRY", b"queue:a"), ("x",)),)
    assert plan((F.state == "RETRY") | (F.runtime > 2)).choices == ()
    assert Planner(()).plan(Or()).choices == (Choice((), ()),)


def test_a_root_may_be_the_task_itself() -> None:
    """It has no term for that: it is looked at by its id."""
    assert plan(F.root_id == "r") == Plan(choices=(Choice((b"root_id:r",), ("r",)),))


@pytest.mark.parametrize(
    ("condition", "span", "exact"),
    [
        (F.updated_at >= NOON, Span(AT), True),
        (F.updated_at > NOON, Span(AT + 1), True),
        (F.updated_at < NOON, Span(BEGINNING, AT - 1), True),
        (F.updated_at == NOON, Span(AT, AT), True),
        ((F.updated_at >= NOON) & (F.updated_at <= NOON), Span(AT, AT), True),
        (F.finished_at > NOON, Span(AT + 1), False),
        (F.queued_at == NOON, Span(AT), False),
        (F.finished_at < NOON, Span(), False),
    ],
)
def test_times_are_spans(condition: Expression, span: Span, exact: bool) -> None:
    """Nothing that happens to a task is later than its last change."""
    found = plan(condition)
    assert (found.span, found.exact) == (span, exact)


@pytest.mark.parametrize("nothing", [And(), And((And(),))])
def test_without_conditions_all_are_found_exactly(nothing: Any) -> None:
    assert Planner(()).plan(nothing) == Plan(exact=True)
