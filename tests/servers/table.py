"""The table that ends a run: every store, how it was tested, and with what outcome."""

from __future__ import annotations

import sqlite3
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.servers.server import State, registry

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

EMBEDDED = {
    "memory": ("memory", "the model itself, in process"),
    "sqlite": ("SQLite", f"real engine {sqlite3.sqlite_version}, in process"),
}
OUTCOMES = ("passed", "failed", "skipped", "xfailed")


@dataclass(eq=False)
class StoreTable:
    """Counts the outcomes of tests by store, and prints them last of all."""

    folder: Path
    outcomes: dict[str, dict[str, str]] = field(default_factory=dict)
    """By store and test."""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Takes one phase of a test into account: the first that says more than "passed" decides."""
        for name in dict(report.user_properties).get("stores", ()):  # type: ignore[attr-defined]
            tests = self.outcomes.setdefault(str(name), {})
            outcome = "xfailed" if hasattr(report, "wasxfail") else report.outcome
            if tests.get(report.nodeid, "passed") == "passed" or outcome == "failed":
                tests[report.nodeid] = outcome

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Iterator[None]:
        """Prints the table after everything else that pytest has to say."""
        yield
        terminal = session.config.pluginmanager.get_plugin("terminalreporter")
        if terminal is not None and not session.config.option.collectonly:
            terminal.section("stores")
            for line in aligned([("store", "tested with", *OUTCOMES), *self.rows()]):
                terminal.write_line(line)

    def rows(self) -> Iterator[tuple[str, ...]]:
        """One row per store: title, how it was tested, and the count of each outcome."""
        for name in dict.fromkeys([*EMBEDDED, *registry, *self.outcomes]):
            counts = Counter(self.outcomes.get(name, {}).values())
            yield (self.title(name), self.how(name), *(str(counts[outcome]) for outcome in OUTCOMES))

    def title(self, name: str) -> str:
        """The store's name for people."""
        return registry[name].title if name in registry else EMBEDDED.get(name, (name, ""))[0]

    def how(self, name: str) -> str:
        """Against what the store was tested."""
        if name not in registry:
            return EMBEDDED.get(name, (name, "in process"))[1] if self.outcomes.get(name) else "not asked for"
        state = State.read(self.folder / name / "state.json")
        if state.reason:
            return f"skipped: {state.reason.removeprefix(self.title(name) + ': ')}"
        if not state.version:
            return "not asked for" if not self.outcomes.get(name) else f"{registry[name].kind}, private to each test"
        return f"{registry[name].kind} {state.version}, {state.origin}"


def aligned(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """The rows as lines whose columns begin at the same places; a last column of any length comes last."""
    # How a store was tested may be a long reason, so that column ends the line.
    moved = [(title, *counts, how) for title, how, *counts in rows]
    widths = [max(map(len, column)) for column in zip(*moved, strict=True)]
    for row in moved:
        title, *counts, how = row
        numbers = (count.rjust(width) for count, width in zip(counts, widths[1:-1], strict=True))
        yield "  ".join((title.ljust(widths[0]), *numbers, how))
