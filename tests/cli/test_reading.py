"""Commands that read: find, show, count, stats, tail."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from rootcellar import Store
from rootcellar.cli.exits import ExitCode
from rootcellar.cli.portrait import FAMILY_LIMIT, family_of
from rootcellar.record import Change, Request
from tests.cli.conftest import BEGIN, FAILED, RETRIED, ROOT, RUNNING, Run

pytestmark = pytest.mark.store("sqlite")


def test_find_prints_a_line_per_record_the_latest_first(run: Run) -> None:
    lines = run("find").stdout.splitlines()
    assert lines[0].split() == ["ID", "NAME", "STATE", "QUEUED", "STARTED", "RUNTIME", "WORKER", "METADATA", "RESULT"]
    assert [line.split()[0] for line in lines[1:]] == [RUNNING, RETRIED, FAILED, ROOT]


def test_find_takes_the_text_language_in_one_argument_or_several(run: Run) -> None:
    one, several = run("find", "state:SUCCESS metadata.user:42"), run("find", "state:SUCCESS", "metadata.user:42")
    assert one.stdout == several.stdout
    assert ROOT in one.stdout
    assert RETRIED not in one.stdout


def test_a_negated_term_is_no_option(run: Run) -> None:
    result = run("find", "-state:SUCCESS", "--json")
    assert [json.loads(line)["id"] for line in result.stdout.splitlines()] == [RUNNING, FAILED]


def test_json_is_one_record_a_line_with_the_names_of_the_record(run: Run) -> None:
    (line,) = run("--json", "find", "user", "OR", f"id:{ROOT}").stdout.splitlines()
    record = json.loads(line)
    assert record["name"] == "shop.report"
    assert record["kwargs"] == {"customer": "c-7"}
    assert record["result"] == {"total": "199.95", "rows": 105}
    assert record["metadata"] == {"user": 42, "file": "a b.csv"}
    assert [entry["state"] for entry in record["history"]] == ["QUEUED", "SUCCESS"]
    assert not [name for name in record if name.endswith("_order")]


def test_global_options_stand_before_or_after_the_command(run: Run, store: Store) -> None:
    before = run("--store", store.url, "--json", "count")
    after = run("count", "--store", f"rootcellar+{store.url}", "--json")
    assert before.stdout == after.stdout == '{"count":4}\n'


def test_find_pages_with_a_cursor(run: Run) -> None:
    first = run("find", "--order", "name", "--limit", "3", "--json")
    names = [json.loads(line)["name"] for line in first.stdout.splitlines()]
    assert names == ["shop.charge", "shop.import", "shop.refund"]
    cursor = first.stderr.split("--cursor ")[1].strip()
    second = run("find", "--order", "name", "--limit", "3", "--cursor", cursor, "--json")
    assert [json.loads(line)["name"] for line in second.stdout.splitlines()] == ["shop.report"]
    assert second.stderr == ""


def test_find_all_prints_every_page(run: Run, store: Store) -> None:
    store.apply([Change(id=f"many-{number}", at=BEGIN, state="QUEUED") for number in range(501)])
    assert len(run("find", "--all", "--json").stdout.splitlines()) == 505
    assert run("find", "--all", "--limit", "3").exit_code == ExitCode.USAGE


def test_finding_nothing_has_an_exit_code_of_its_own(run: Run) -> None:
    result = run("find", "name:nothing")
    assert (result.exit_code, result.stdout, result.stderr) == (ExitCode.FOUND, "", "nothing found\n")
    assert run("count", "name:nothing").exit_code == ExitCode.FOUND
    assert run("find", "name:nothing", "--json").output == ""


def test_what_a_terminal_would_obey_is_shown_as_an_escape(run: Run) -> None:
    for result in (run("find", "state:FAILURE"), run("show", FAILED), run("tail", "--help"), run("find", "--json")):
        assert "\x1b" not in result.stdout
    assert r"no \x1b[31mred\x1b[0m row" in run("find", "state:FAILURE").stdout


def test_show_tells_a_life(run: Run) -> None:
    text = run("show", ROOT).stdout
    assert text.startswith('shop.report(7, customer="c-7")\n')
    assert "after waiting 1 s" in text
    assert "after running 1 s" in text
    assert '{"total": "199.95", "rows": 105}' in text
    assert '{"user": 42, "file": "a b.csv"}' in text


def test_show_tells_both_attempts_of_a_retried_task(run: Run) -> None:
    lines = run("show", RETRIED).stdout.splitlines()
    assert any("RETRY" in line and "attempt 1" in line and "ValueError" in line for line in lines)
    assert any("SUCCESS" in line and "attempt 2" in line for line in lines)


def test_show_tells_an_error_with_what_caused_it(run: Run) -> None:
    text = run("show", FAILED).stdout
    assert "caused by KeyError: 'row'" in text
    assert "    File shop.py" in text


def test_show_draws_the_family(run: Run) -> None:
    text = run("show", FAILED).stdout
    family = text[text.index("family") :].splitlines()
    assert family[1].startswith("  11111111 shop.report SUCCESS")
    assert family[2].startswith("  └─ 22222222 shop.refund FAILURE")
    assert family[2].endswith("< this one")


def test_show_tells_progress(run: Run) -> None:
    assert '{"done": 3, "of": 5}' in run("show", RUNNING).stdout


def test_show_takes_the_beginning_of_an_id_when_it_is_that_of_one_task(run: Run) -> None:
    assert json.loads(run("show", "22", "--json").stdout)["id"] == FAILED
    several = run("show", "2")
    assert several.exit_code == ExitCode.USAGE
    assert several.stderr == f"rootcellar: several ids begin with '2': {FAILED}, {RETRIED}\n"
    assert run("show", "x").exit_code == run("show", "*").exit_code == ExitCode.FOUND


def test_stats_group_and_bucket(run: Run) -> None:
    rows = [json.loads(line) for line in run("stats", "--by", "name,state", "--json").stdout.splitlines()]
    assert {(row["name"], row["state"], row["count"]) for row in rows} == {
        ("shop.report", "SUCCESS", 1),
        ("shop.refund", "FAILURE", 1),
        ("shop.charge", "SUCCESS", 1),
        ("shop.import", "PROGRESS", 1),
    }
    (bucket,) = run("stats", "--by", "", "--bucket", "1d", "--json", "state:SUCCESS").stdout.splitlines()
    assert json.loads(bucket)["succeeded"] == 2
    assert run("stats").stdout.splitlines()[0].split()[:2] == ["NAME", "COUNT"]


@pytest.mark.parametrize("option", [("--by", "nam"), ("--bucket", "soon"), ("--bucket", "0s")])
def test_stats_refuses_what_it_cannot_group_by(run: Run, option: tuple[str, str]) -> None:
    result = run("stats", *option)
    assert result.exit_code == ExitCode.USAGE
    assert "did you mean 'name'?" in result.stderr or "no length of time" in result.stderr


class TestFamily:
    """Who is found to be related, walking from parents to children."""

    @staticmethod
    def enter(store: Store, task_id: str, **known: Any) -> None:
        at = BEGIN + timedelta(seconds=len(task_id))
        request = Request(name="shop.step", **known)
        store.apply([Change(id=task_id, at=at, state="QUEUED", queued_at=at, request=request)])

    @pytest.fixture
    def generations(self, store: Store) -> Store:
        """A root, the two it published, one of a third generation, and one of a group that nobody published."""
        self.enter(store, "r")
        self.enter(store, "c1", parent_id="r", root_id="r")
        self.enter(store, "c22", parent_id="r", root_id="r", group_id="g")
        self.enter(store, "g333", parent_id="c22", root_id="r")
        self.enter(store, "other", group_id="g")
        return store

    @pytest.mark.parametrize("task_id", ["r", "c22"])
    def test_all_of_the_workflow_the_oldest_first(self, generations: Store, task_id: str) -> None:
        record = generations.get(task_id)
        assert record is not None
        family = ["r", "c1", "c22", "g333", *(["other"] if record.group_id else [])]
        assert [member.id for member in family_of(generations, record)] == family

    def test_some_that_have_expired(self, generations: Store) -> None:
        """Children are found by the name of a parent that is gone."""
        generations.delete("r", "c1")
        record = generations.get("g333")
        assert record is not None
        assert [member.id for member in family_of(generations, record)] == ["c22", "g333"]

    def test_no_more_than_can_be_drawn(self, store: Store) -> None:
        self.enter(store, "r")
        for number in range(FAMILY_LIMIT + 5):
            self.enter(store, f"child-{number}", parent_id="r", root_id="r")
        record = store.get("r")
        assert record is not None
        assert len(family_of(store, record)) == FAMILY_LIMIT
