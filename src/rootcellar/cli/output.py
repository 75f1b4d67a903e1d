"""Where a command's words go: rich on a terminal, plain aligned text in a pipe, one JSON object a line with --json."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal

import click
import msgspec

from rootcellar.cli.formats import Span, json_text

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table as RichTable

Color = Literal["auto", "always", "never"]
Cell = str | Span

_GAP: Final = "  "
#: Characters that JSON may hold as they are and that a terminal may obey.
_CONTROLS: Final = {code: f"\\u{code:04x}" for code in range(0x7F, 0xA0)}


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """A column of a table.

    `rank`: on a terminal too narrow, the columns of the highest rank go first; 0 stays. `flexible`: its cells may be
    cut to fit. `right`: numbers.
    """

    title: str
    rank: int = 0
    flexible: bool = False
    right: bool = False


class Table(msgspec.Struct, kw_only=True):
    """Rows of cells, each a text or a text with a style."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]


class Output:
    """Writes to stdout in the form that stdout asks for."""

    def __init__(self, *, as_json: bool = False, color: Color = "auto") -> None:
        self.as_json = as_json
        self._color = color
        _never_refuse(sys.stdout)
        _never_refuse(sys.stderr)

    @cached_property
    def console(self) -> Console | None:
        """Rich's console on a terminal; None in a pipe, or where rich is not installed."""
        wanted = self._color == "always" or (self._color == "auto" and sys.stdout.isatty())
        if not wanted or self.as_json:
            return None
        try:
            from rich.console import Console
        except ImportError:
            return None
        return Console(highlight=False, force_terminal=True if self._color == "always" else None, soft_wrap=False)

    @property
    def unicode(self) -> bool:
        """Whether lines and ellipses beyond ASCII can be shown."""
        return (getattr(sys.stdout, "encoding", None) or "ascii").lower().replace("-", "").startswith("utf")

    def line(self, *spans: Cell) -> None:
        """One line of styled parts."""
        if self.console is None:
            _write("".join(_text(span) for span in spans))
        else:
            from rich.text import Text

            self.console.print(Text.assemble(*spans), soft_wrap=True)

    def json(self, value: Any) -> None:
        """One JSON object on a line of its own."""
        _write(json_line(value))

    def note(self, message: str) -> None:
        """A remark that is no part of what was asked for: on stderr."""
        click.echo(message, file=sys.stderr)

    def table(self, table: Table) -> None:
        """A table: cut to the terminal's width there, whole in a pipe."""
        if self.console is None:
            for text in plain_lines(table):
                _write(text)
        else:
            self.console.print(rich_table(table, self.console.width, unicode=self.unicode))

    @contextmanager
    def progress(self, label: str, total: int) -> Iterator[Callable[[int], None]]:
        """A progress bar on stderr, when that is a terminal; gives what advances it."""
        bar = _progress_bar() if total and not self.as_json else None
        if bar is None:
            yield lambda _: None
            return
        with bar:
            task = bar.add_task(label, total=total)
            yield lambda count: bar.advance(task, count)


def _write(text: str) -> None:
    """A line on stdout as it is: click by itself takes ASCII for a mistake, and writes UTF-8."""
    click.echo(text, file=sys.stdout)


def _progress_bar() -> Any:
    if not sys.stderr.isatty():
        return None
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    except ImportError:
        return None
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True))


def json_line(value: Any) -> str:
    """A JSON-able value as one line of JSON."""
    try:
        text = msgspec.json.encode(value).decode()
    except (OverflowError, UnicodeEncodeError, ValueError, TypeError):
        text = json_text(value)
    return text if text.isascii() else text.translate(_CONTROLS)


def plain_lines(table: Table) -> Iterator[str]:
    """The table as aligned text, nothing cut."""
    rows = [[column.title for column in table.columns], *([_text(cell) for cell in row] for row in table.rows)]
    widths = [max(map(cell_width, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = zip(row, widths, table.columns, strict=True)
        yield _GAP.join(_padded(text, width, right=column.right) for text, width, column in cells).rstrip()


def rich_table(table: Table, width: int, *, unicode: bool = True) -> RichTable:
    """The table for rich, with the columns that `width` has room for."""
    from rich.table import Table as RichTable
    from rich.text import Text

    widths = fitting_widths(table, width)
    overflow: Literal["ellipsis", "crop"] = "ellipsis" if unicode else "crop"
    made = RichTable(box=None, padding=(0, len(_GAP), 0, 0), pad_edge=False, header_style="bold dim")
    for index, room in widths.items():
        column = table.columns[index]
        justify: Literal["left", "right"] = "right" if column.right else "left"
        made.add_column(column.title, justify=justify, no_wrap=True, overflow=overflow, width=room)
    for row in table.rows:
        made.add_row(*(Text.assemble(row[index]) for index in widths))
    return made


#: What is left of a cell that may be cut.
_LEAST: Final = 16


def fitting_widths(table: Table, width: int) -> dict[int, int]:
    """The indexes of the columns to show in `width` characters, those of rank 0 always, with the width of each."""
    needs = [_need(table, index) for index in range(len(table.columns))]
    least = [min(need, _LEAST) if column.flexible else need for need, column in zip(needs, table.columns, strict=True)]
    kept = [index for index, column in enumerate(table.columns) if column.rank == 0 or _is_filled(table, index)]
    while _total(least[index] for index in kept) > width:
        worst = max(kept, key=lambda index: table.columns[index].rank)
        if table.columns[worst].rank == 0:
            break
        kept.remove(worst)
    spare = max(width - _total(least[index] for index in kept), 0)
    widths = {index: least[index] for index in kept}
    for position, index in enumerate(sorted(kept, key=lambda index: needs[index] - least[index])):
        more = min(needs[index] - least[index], spare // (len(kept) - position))
        widths[index] += more
        spare -= more
    return widths


def _total(widths: Iterable[int]) -> int:
    """The width of a line of cells."""
    return sum(width + len(_GAP) for width in widths) - len(_GAP)


def _need(table: Table, index: int) -> int:
    return max([len(table.columns[index].title), *(cell_width(_text(row[index])) for row in table.rows)])


def _is_filled(table: Table, index: int) -> bool:
    return any(_text(row[index]) for row in table.rows)


def cell_width(text: str) -> int:
    """How many columns of a terminal `text` takes."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(char) else 2 if east_asian_width(char) in "WF" else 1 for char in text)


def _padded(text: str, width: int, *, right: bool) -> str:
    space = " " * (width - cell_width(text))
    return space + text if right else text + space


def _text(cell: Cell) -> str:
    return cell if isinstance(cell, str) else cell[0]


def _never_refuse(stream: Any) -> None:
    """Have a stream show what its encoding lacks in place of raising."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")


def discard_stdout() -> None:
    """Nobody reads stdout any more: let what is still to be flushed go nowhere, without a word."""
    try:
        descriptor = sys.stdout.fileno()
    except (OSError, ValueError):
        return
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, descriptor)
    os.close(null)
