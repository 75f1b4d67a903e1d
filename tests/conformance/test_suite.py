"""The suite itself: it runs for others as its page says, and it sees what is wrong with a store."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent, indent

import pytest

from rootcellar.testing import Gap, StoreConformance, needs
from tests.docs.blocks import ROOT, Block, blocks

PAGE = blocks((ROOT / "docs" / "adding-a-store.md").read_text(encoding="utf-8"))
EXAMPLES: list[Block] = [block for block in PAGE if block.language == "python"]


#: What is slow on a busy machine is not wrong.
PATIENCE = """
from hypothesis import HealthCheck, settings

settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The files of the page in a directory of their own, as in somebody else's project."""
    for block in EXAMPLES:
        if block.title:
            (tmp_path / block.title).write_text(block.text, encoding="utf-8")
    (tmp_path / "conftest.py").write_text(PATIENCE, encoding="utf-8")
    return tmp_path


def run(project: Path, *arguments: str) -> tuple[int, str]:
    """Run pytest there as strictly as it gets; its status and what it printed."""
    strict = ["-W", "error", "--strict-markers", "--strict-config", "-p", "no:cacheprovider", "-q"]
    environment = {
        **os.environ,
        "PYTHONPATH": str(project),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "ROOTCELLAR_HYPOTHESIS_PROFILE": "quick",
    }
    command = [sys.executable, "-m", "pytest", *strict, *arguments]
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_the_page_s_example_passes(project: Path) -> None:
    """The store and the test file, in a project that has nothing else."""
    status, printed = run(project)
    assert status == 0, printed
    assert "passed" in printed


def test_the_page_s_test_file_is_short() -> None:
    [block] = [block for block in EXAMPLES if block.title == "test_acme.py"]
    assert len(block.text.splitlines()) <= 20


@pytest.mark.slow
def test_the_page_s_other_examples_mean_something(project: Path) -> None:
    """Its gaps name tests that there are, and its use of the strategies works."""
    for number, block in enumerate(block for block in EXAMPLES if not block.title):
        (project / f"test_{number}.py").write_text(block.text, encoding="utf-8")
    status, printed = run(project, "-k", "test_a_life_makes_one_record")
    assert status == 0, printed


#: What somebody might get wrong, and a test that sees it.
MISTAKES = {
    "the first write wins": (
        """
        def _apply(self, deltas):
            for delta in deltas:
                self._records.setdefault(delta.id, delta)
        """,
        "test_the_machine",
    ),
    "the last write wins": (
        """
        def _apply(self, deltas):
            self._records.update({delta.id: delta for delta in deltas})
        """,
        "test_a_late_start_of_a_finished_run_changes_only_the_history",
    ),
    "read, merge, write": (
        """
        def _apply(self, deltas):
            for delta in deltas:
                stored = self._records.get(delta.id)
                time.sleep(0.0001)
                self._records[delta.id] = join(stored, delta) if stored else delta
        """,
        "test_racing_changes_of_one_task_are_all_merged",
    ),
    "any success replaces another": (
        """
        def _apply(self, deltas):
            for delta in deltas:
                stored = self._records.get(delta.id)
                self._records[delta.id] = join(delta, stored) if stored else delta
        """,
        "test_the_success_stored_first_stays",
    ),
    "numbers become floats": (
        """
        def _fetch(self, ids):
            found = super()._fetch(ids)
            return [replace(r, result=float(r.result)) if type(r.result) is int else r for r in found]
        """,
        "test_a_number",
    ),
    "order without a tie-break": (
        """
        def _find(self, query):
            found = [r for r in self._records.values() if matches(query.where, r)]
            return sorted(found, key=lambda r: r.updated_at, reverse=True)[:query.limit]
        """,
        "test_ties_are_broken_by_id_in_the_direction_of_the_order",
    ),
    "case does not count": (
        """
        def _count(self, where):
            return sum(matches(where, replace(r, queue=r.queue and r.queue.lower())) for r in self._records.values())
        """,
        "test_a_condition_on_a_field",
    ),
    "clean-up takes what has no end": (
        """
        def _expire(self, now, limit):
            expired = [r.id for r in self._records.values() if r.expires_at is None or r.expires_at < now]
            return self._delete(expired[:limit])
        """,
        "test_only_what_is_past_its_time_goes",
    ),
    "every complete part claims": (
        """
        def _claim(self, chord, token, lease):
            chord.token = token
            return True
        """,
        "test_racing_parts_claim_once",
    ),
    "a redelivered part counts again": (
        """
        def _chord_join(self, part, token, lease):
            return super()._chord_join(replace(part, task_id=str(time.monotonic_ns())), token, lease)
        """,
        "test_a_redelivered_part_counts_once",
    ),
}


MISTAKEN = """
import time
from msgspec.structs import replace
from rootcellar.query import matches
from rootcellar.record import join
from rootcellar.stores.memory import MemoryStore
"""
HEAD = """
import pytest
from rootcellar.store import register_scheme
from rootcellar.testing import StoreConformance
"""
CLASS = """
register_scheme("mistake{number}", "mistaken:Store{number}")

class TestMistake{number}(StoreConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def store_url(cls):
        return "mistake{number}://"
"""


@pytest.mark.slow
def test_every_mistake_is_seen(project: Path) -> None:
    """A store of its own for each, and the one test that should see it."""
    stores, classes, chosen = [MISTAKEN], [HEAD], []
    for number, (body, test) in enumerate(MISTAKES.values()):
        stores.append(f"class Store{number}(MemoryStore):\n{indent(dedent(body), '    ')}\n")
        classes.append(CLASS.format(number=number))
        chosen.append(f"test_mistakes.py::TestMistake{number}::{test}")
    (project / "mistaken.py").write_text("\n".join(stores), encoding="utf-8")
    (project / "test_mistakes.py").write_text("\n".join(classes), encoding="utf-8")
    status, printed = run(project, *chosen, "-rf", "--tb=short")
    failed = set(re.findall(r"^FAILED ([^\s\[]+)", printed, re.MULTILINE))
    assert (status, failed) == (1, set(chosen)), printed


class TestGaps:
    """What a store is known to fail."""

    @staticmethod
    def declare(project: Path, gap: str) -> None:
        path = project / "test_acme.py"
        declared = f"\n    gaps = ({gap},)\n"
        text = "from rootcellar.testing import Gap\n" + path.read_text(encoding="utf-8") + declared
        path.write_text(text, encoding="utf-8")

    def test_a_failure_that_is_known_is_expected(self, project: Path) -> None:
        """Here: a bucket that is not the one the test asks for."""
        with (project / "acme_store.py").open("a", encoding="utf-8") as file:
            file.write("\n    def _group_delete(self, group_id):\n        raise ConnectionError(group_id)\n")
        name = "test_deleting_and_deleting_again"
        self.declare(project, f'Gap.upstream("{name}", raises=ConnectionError, reason="acme#1")')
        status, printed = run(project, "-k", name, "-rx")
        assert (status, "1 xfailed" in printed, "theirs to do: acme#1" in printed) == (0, True, True), printed

    def test_another_failure_than_the_known_one_is_an_error(self, project: Path) -> None:
        with (project / "acme_store.py").open("a", encoding="utf-8") as file:
            file.write("\n    def _group_delete(self, group_id):\n        raise TimeoutError(group_id)\n")
        name = "test_deleting_and_deleting_again"
        self.declare(project, f'Gap.upstream("{name}", raises=ConnectionRefusedError, reason="acme#1")')
        status, printed = run(project, "-k", name)
        assert (status, "1 failed" in printed) == (1, True), printed

    def test_a_gap_that_has_closed_is_an_error(self, project: Path) -> None:
        self.declare(project, 'Gap.todo("test_nothing_to_apply", raises=AssertionError, reason="later")')
        status, printed = run(project, "-k", "test_nothing_to_apply")
        assert (status, "XPASS(strict)" in printed) == (1, True), printed

    def test_a_gap_for_no_test_is_an_error(self) -> None:
        gap = Gap.never("test_that_is_not_there", raises=AssertionError, reason="none")
        with pytest.raises(TypeError, match="no such test"):
            type("TestNothing", (StoreConformance,), {"gaps": (gap,)})

    def test_a_need_is_a_capability(self) -> None:
        with pytest.raises(TypeError, match="no capability speed"):
            needs("speed")


def test_a_store_that_holds_records_is_left_alone(project: Path) -> None:
    """The suite deletes what it finds, so it refuses to start."""
    with (project / "acme_store.py").open("a", encoding="utf-8") as file:
        file.write("\n    def _count(self, where):\n        return 1\n")
    status, printed = run(project, "-k", "test_nothing_to_apply")
    assert (status, "give it a store of its own" in printed) == (1, True), printed
