"""What was found: tables on the screen, and the same as a page of the documentation."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from bench.machine import Machine


class Check(msgspec.Struct, frozen=True):
    """A bar: what is held to it, what it is, what was found, and whether that will do."""

    what: str
    bar: str
    found: str
    met: bool


class Table(msgspec.Struct):
    """One table of a part. `how`: how it was measured, for whoever doubts it. `turned`: rows are shown as columns."""

    title: str
    how: str
    head: Sequence[str]
    rows: list[Sequence[str]] = []
    turned: bool = False

    def lines(self) -> list[Sequence[str]]:
        """The head and the rows as they are shown."""
        lines = [self.head, *self.rows]
        return list(zip(*lines, strict=True)) if self.turned else lines

    def markdown(self) -> str:
        """The section of the page."""
        head, *rows = self.lines()
        lines = [_line(head), _line(["---", *["---:"] * (len(head) - 1)]), *map(_line, rows)]
        return f"## {self.title}\n\n" + "\n".join(lines) + f"\n\n{self.how}\n"


class Report:
    """Everything that one run found; told as it comes, and kept for the end."""

    def __init__(self, machine: Machine, *, quick: bool) -> None:
        self._machine = machine
        self._quick = quick
        self._servers: list[tuple[str, str]] = []
        self._tables: dict[str, Table] = {}
        self._checks: list[Check] = []

    def say(self, text: str) -> None:
        """A line on the screen."""
        print(text, flush=True)

    def server(self, title: str, settings: str) -> None:
        """An engine, and the durability in force."""
        self._servers.append((title, settings))
        self.say(f"\n{title}: {settings}")

    def table(self, table: Table) -> Table:
        """The table of that title: this one, unless there is one already."""
        return self._tables.setdefault(table.title, table)

    def add(self, table: Table, row: Sequence[str]) -> None:
        """A row of a table."""
        table.rows.append(row)
        self.say(
            "  " + "  ".join(f"{name}: {value}" if name else value for name, value in zip(table.head, row, strict=True))
        )

    def at_least(self, what: str, found: float, bar: float | None) -> None:
        """Hold a ratio to a bar, if there is one."""
        if bar is not None:
            self._check(what, f"at least {bar:g}", f"{found:.2f}", met=found >= bar)

    def at_most(self, what: str, found: float, bar: float | None, unit: str = "") -> None:
        """As `at_least`, the other way round."""
        if bar is not None:
            self._check(what, f"at most {bar:g}{unit}", f"{found:.2f}{unit}", met=found <= bar)

    def _check(self, what: str, bar: str, found: str, *, met: bool) -> None:
        self._checks.append(Check(what, bar, found, met))
        self.say(f"    {'met    ' if met else 'NOT MET'} {what}: {found} ({bar})")

    @property
    def missed(self) -> int:
        """How many bars were not met."""
        return sum(not check.met for check in self._checks)

    def summary(self) -> str:
        """All tables, for the screen."""
        tables = [Table("Bars", "", ("", "bar", "found", "met"), self._check_rows()), *self._tables.values()]
        return "\n\n".join(f"{table.title}\n{_aligned(table.lines())}" for table in tables if table.rows)

    def page(self) -> str:
        """The page of the documentation."""
        durability = "\n".join(_line(row) for row in [("server", "in force"), ("---", "---"), *self._servers])
        bars = Table(
            "Bars", "A bar is what the project holds itself to.", ("", "bar", "found", "met"), self._check_rows()
        )
        sections = "\n".join(table.markdown() for table in [bars, *self._tables.values()] if table.rows)
        quick = "**A quick run: small sizes, no measure of anything.**\n\n" if self._quick else ""
        return f"{_HEAD}\n{quick}{self._machine.describe()}\n\n## Durability in force\n\n{durability}\n\n{sections}"

    def _check_rows(self) -> list[Sequence[str]]:
        return [(check.what, check.bar, check.found, "yes" if check.met else "**no**") for check in self._checks]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  "
        + "  ".join([row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    )


_HEAD = """\
# Benchmarks

Written by `make bench`, in one run on one machine. Contenders take turns, round by round, in an order that reverses
each time; a number is the median of the rounds, a ratio the median of the rounds' ratios. *Stock* is Celery's own
backend on the same server; for SQL that is `db+...`, through SQLAlchemy. *Bare driver* is one durable write of the
whole record, made ready beforehand, by the driver's plainest means: on SQL and MongoDB an upsert into a table or
collection of the same indexes, on Redis `SET` and `PUBLISH` in one pipeline, without any index. Every server has its
own durable defaults; what that comes to is read from the server and printed below.
"""
