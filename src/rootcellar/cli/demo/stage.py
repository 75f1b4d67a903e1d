"""The demo: tasks are published, a worker runs them, and everything printed is read from the store."""

from __future__ import annotations

import os
import shlex
import sqlite3
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rootcellar.cli.demo.worker import Worker, running
from rootcellar.cli.exits import ExitCode, Failure
from rootcellar.cli.following import Follower, print_change
from rootcellar.cli.output import Column, Output, Table
from rootcellar.cli.records import record_table
from rootcellar.cli.session import VARIABLE
from rootcellar.query import And
from rootcellar.record import TaskRecord
from rootcellar.store.base import Store

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table as RichTable

#: Seconds for all tasks to be done.
_PATIENCE: Final = 60.0
_INTERVAL: Final = 0.1

_SQL: Final = """\
SELECT name, state, attempt,
       json_extract(metadata, '$.user')  AS user,
       json_extract(result, '$.total')   AS total,
       json_extract(error, '$.type')     AS error,
       json_array_length(history)        AS changes
FROM rootcellar_task
WHERE json_extract(metadata, '$.user') = 42
ORDER BY queued_at"""


def perform(output: Output) -> None:
    """The whole demo. Raises `Failure` when the worker does not start, or does not finish in time."""
    # Resolved, because a worker's own directory may be another name of it.
    folder = Path(tempfile.mkdtemp(prefix="rootcellar-demo-")).resolve()
    os.environ["ROOTCELLAR_DEMO_FOLDER"] = str(folder)
    from rootcellar.cli.demo import shop

    url = f"sqlite:///{shop.RECORDS.as_posix()}"
    os.environ[VARIABLE] = url
    output.line(("A shop's tasks, a worker process, no server. Everything below is read from the store.", "bold"))
    _prompt(output, f"export {VARIABLE}={shlex.quote(url)}")
    output.line()
    with running(shop.__name__, folder) as worker:
        ids = _published()
        store = shop.app.backend.store
        with closing(store):
            _watch(output, store, ids, worker)
            chapters = list(_chapters(store, ids))
        worker.dismiss()
        for title, command in chapters:
            output.line()
            output.line((f"# {title}", "bold"))
            _run(output, command)
        _print_sql(output, shop.RECORDS)


def _published() -> list[str]:
    """Publish the tasks; the ids of all that will run, in the order that `_chapters` takes them in."""
    from celery import chord, group

    import rootcellar
    from rootcellar.cli.demo import shop

    with rootcellar.metadata(user=42, tenant="acme"):
        imported = shop.import_file.delay("march.csv", 5)
        charged = shop.charge.delay(order=1007, amount="199.95")
    with rootcellar.metadata(user=7):
        refunded = shop.refund.delay(1008)
        pictures = group(shop.resize.s("cat.png", width) for width in (64, 256, 1024)).apply_async()
    with rootcellar.metadata(user=42):
        items = (("tea", 30), ("biscuits", 4), ("a very large cake", 1))
        invoiced = chord((shop.price.s(*item) for item in items), shop.invoice.s()).apply_async()
    members = [*pictures.results, *invoiced.parent.results]
    return [result.id for result in (imported, charged, refunded, invoiced, *members)]


# -- watching ----------------------------------------------------------------------------------------------------------


def _watch(output: Output, store: Store, ids: Sequence[str], worker: Worker) -> None:
    """Show the tasks until all are done."""
    deadline = time.monotonic() + _PATIENCE
    with _screen(output) as live:
        follower = Follower(store, And())
        for record in follower.begin(len(ids)) if live is None else ():
            print_change(output, record)
        while True:
            records = store.fetch(ids)
            if live is not None:
                live.update(_picture(output, records))
            else:
                for record in follower.changes():
                    print_change(output, record)
            if len(records) == len(ids) and all(record.ready for record in records):
                return
            worker.expect_alive()
            if time.monotonic() > deadline:
                raise worker.failure(f"the tasks were not done within {_PATIENCE:.0f} seconds")
            time.sleep(_INTERVAL)


@contextmanager
def _screen(output: Output) -> Iterator[Live | None]:
    """What redraws a part of the terminal; None where there is no terminal."""
    if output.console is None or not output.console.is_terminal:
        yield None
        return
    from rich.live import Live

    with Live(console=output.console, auto_refresh=False) as live:
        yield live


def _picture(output: Output, records: Sequence[TaskRecord]) -> RichTable:
    from rootcellar.cli.output import rich_table

    assert output.console is not None  # noqa: S101 - there is a screen
    return rich_table(record_table(records), output.console.width, unicode=output.unicode)


# -- asking ------------------------------------------------------------------------------------------------------------


def _chapters(store: Store, ids: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """The questions, each with the command that answers it. `ids`: as `_published` gives them."""
    imported, charged, refunded, invoiced, *members = ids
    picture, price = (store.fetch([member])[0].group_id or "" for member in (members[0], members[-1]))
    yield "By state: what failed?", ["find", "state:FAILURE"]
    yield "Why? The error, and what caused it", ["show", refunded[:8]]
    yield "One that was tried again: both attempts are in its history", ["show", charged[:8]]
    yield "One that reported progress, with its metadata beside it", ["show", imported[:8]]
    yield "By metadata: everything of user 42", ["find", "metadata.user:42", "--order", "queued"]
    yield "By a path inside the result; a Decimal compares as the number it is", ["find", "result.total>150"]
    yield "By time: what finished within a minute and took its time", ["find", "finished>-1m runtime>200ms"]
    yield "A group", ["find", f"group:{picture}"]
    yield "A chord: its header", ["find", f"group:{price} name:shop.price"]
    yield "and its body, which was called with what the header returned", ["show", invoiced[:8]]
    yield "Counted", ["stats", "--by", "name,state"]


def _run(output: Output, command: Sequence[str]) -> None:
    """Show a command, then do it."""
    from rootcellar.cli.application import PROGRAM, celery_command

    _prompt(output, shlex.join([PROGRAM, *command]))
    color = ["--color", "always" if output.console is not None else "never"]
    status = celery_command.main(args=[*color, *command], prog_name=PROGRAM, standalone_mode=False)
    if status:
        raise Failure(f"{shlex.join(command)} found nothing, and should have", ExitCode.FOUND)


def _prompt(output: Output, text: str) -> None:
    output.line(("$ ", "dim"), (text, "bold green"))


def _print_sql(output: Output, path: Path) -> None:
    """The same values for anybody who has SQL: the query, and what it gives."""
    output.line()
    output.line(("# No rootcellar needed: the same native values, in plain SQL", "bold"))
    _prompt(output, f'sqlite3 -header -column {shlex.quote(str(path))} "\n{_SQL}"')
    with closing(sqlite3.connect(path)) as connection:
        cursor = connection.execute(_SQL)
        columns = [Column(title=name) for name, *_ in cursor.description]
        rows = [["" if value is None else str(value) for value in row] for row in cursor]
    output.table(Table(columns=columns, rows=rows))
    output.line()
    output.line("Everything is kept in ", (str(path.parent), "bold"))
