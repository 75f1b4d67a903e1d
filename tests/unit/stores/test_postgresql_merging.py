"""Which changes the plain form of the merge joins by itself; the rest pays for the whole form too."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rootcellar.record import Change, TaskRecord, Transition, join
from rootcellar.store.registry import open_url
from rootcellar.stores.postgresql import PostgreSQLStore

pytestmark = [pytest.mark.server, pytest.mark.store("postgresql")]

QUEUED, STARTED, ENDED = (datetime(2026, 11, 21, 9, 0, second, tzinfo=UTC) for second in (1, 2, 3))


@pytest.fixture
def store(postgresql_url: str) -> Iterator[PostgreSQLStore]:
    store = open_url(postgresql_url)
    assert isinstance(store, PostgreSQLStore)
    store.setup()
    with store:
        yield store


@pytest.fixture
def statements(store: PostgreSQLStore, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the statements that the store runs."""
    names: list[str] = []
    execute = store._execute

    def recorded(name: str, *values: Any) -> Any:
        names.append(name)
        return execute(name, *values)

    monkeypatch.setattr(store, "_execute", recorded)
    return names


def queued() -> TaskRecord:
    return Change(id="a", at=QUEUED, state="QUEUED", queued_at=QUEUED).delta()


def run(state: str, at: datetime, attempt: int = 0) -> TaskRecord:
    """What a worker says of its run, the history from the message's envelope on."""
    delta = Change(id="a", at=at, state=state, attempt=attempt, started_at=STARTED, worker="w").delta()
    known = [Transition(state="QUEUED", at=QUEUED)]
    if state != "STARTED":
        known.append(Transition(state="STARTED", at=STARTED, attempt=attempt, worker="w"))
    delta.history = [*known, *delta.history]
    return delta


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param([queued(), run("SUCCESS", ENDED)], id="a task that ended at once"),
        pytest.param([queued(), run("STARTED", STARTED), run("SUCCESS", ENDED)], id="one that took longer"),
        pytest.param([run("STARTED", STARTED), run("FAILURE", ENDED)], id="one that nobody queued"),
    ],
)
def test_a_worker_that_repeats_what_is_stored_costs_one_statement(
    store: PostgreSQLStore, statements: list[str], changes: list[TaskRecord]
) -> None:
    known: TaskRecord | None = None
    for change in changes:
        store.apply([change])
        known = change if known is None else join(known, change)
    assert statements == ["plain"] * len(changes)
    assert store.fetch(["a"]) == [known]


def test_a_history_that_has_something_else_in_between_is_joined_by_the_whole_form(
    store: PostgreSQLStore, statements: list[str]
) -> None:
    retried = [run("RETRY", ENDED), run("SUCCESS", ENDED + timedelta(seconds=2), attempt=1)]
    for change in (queued(), *retried):
        store.apply([change])
    assert statements == ["plain", "plain", "plain", "whole"]
    assert store.fetch(["a"]) == [join(join(queued(), retried[0]), retried[1])]


def ended(task_id: str) -> TaskRecord:
    return Change(id=task_id, at=ENDED, state="SUCCESS", started_at=STARTED, worker="w").delta()


def test_what_is_new_again_and_again_is_inserted(store: PostgreSQLStore, statements: list[str]) -> None:
    for task_id in "bcdef":
        store.apply([ended(task_id)])
    assert statements == ["plain", "plain", "plain", "insert", "insert"]


def test_a_record_that_is_known_after_all_loses_nothing(store: PostgreSQLStore, statements: list[str]) -> None:
    store.apply([queued()])
    for task_id in "bcd":
        store.apply([ended(task_id)])
    statements.clear()
    store.apply([ended("a")])
    store.apply([ended("e")])
    assert statements == ["insert", "plain", "plain"]
    assert store.fetch(["a"]) == [join(queued(), ended("a"))]


def test_a_batch_of_which_some_are_known_is_joined_once(store: PostgreSQLStore, statements: list[str]) -> None:
    store.apply([queued()])
    for first in "bdf":
        store.apply([ended(first), ended(first + "2")])
    statements.clear()
    retried = run("RETRY", ENDED)
    store.apply([ended("g"), retried, ended("h")])
    assert statements == ["insert", "plain"]
    assert store.fetch(["a", "g", "h"]) == [join(queued(), retried), ended("g"), ended("h")]


def test_what_is_known_already_changes_nothing(store: PostgreSQLStore, statements: list[str]) -> None:
    for _ in range(5):
        store.apply([ended("a")])
    assert statements == ["plain", *["plain", "whole"] * 4]
    assert store.fetch(["a"]) == [ended("a")]
