"""``rootcellar spool``."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rootcellar.cli.exits import ExitCode, Failure
from rootcellar.cli.formats import relative, utc_now, visible
from rootcellar.cli.options import pass_session, session_options
from rootcellar.cli.output import Column, Table
from rootcellar.cli.questions import confirm, yes_option
from rootcellar.cli.session import VARIABLE, Session
from rootcellar.errors import SpoolUnavailable
from rootcellar.record import isoformat

if TYPE_CHECKING:
    from rootcellar.spool import Handler, Spool


@click.group()
def spool() -> None:
    """What waits on this host's disk for a store that was away.

    Workers replay their spool by themselves as soon as the store is back; this is for looking, and for when no worker
    runs on this host any more.
    """


@spool.command("list")
@click.option(
    "--directory",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Where spools are, when rootcellar_spool says so.",
)
@session_options
@pass_session
@click.pass_context
def list_(ctx: click.Context, session: Session, directory: Path | None) -> None:
    """List the spools of this host and user: which store, how many entries, how old.

    With a store, only its own. The exit code is 1 when nothing waits.
    """
    rows = [row for path in _paths(session, directory) if (row := _summary(path))]
    if session.as_json:
        for row in rows:
            session.output.json(row)
    elif rows:
        session.output.table(_table(rows))
    if not any(row["waiting"] or row["dead"] for row in rows):
        if not session.as_json:
            session.output.note("nothing waits")
        ctx.exit(ExitCode.FOUND)


def _paths(session: Session, directory: Path | None) -> Iterable[Path]:
    from rootcellar.spool import spool_files

    if _named(session) and directory is None:
        with _spool_of(session) as found:
            return [found.path] if found.path.exists() else []
    return spool_files(directory)


def _named(session: Session) -> bool:
    return bool(session.url or session.app_name or session.loaded_app or os.environ.get(VARIABLE))


def _summary(path: Path) -> dict[str, Any]:
    from rootcellar.spool import Spool

    found = Spool(path)
    try:
        oldest = found.oldest()
        return {
            "store": found.store(),
            "waiting": found.depth(),
            "oldest": oldest and isoformat(oldest),
            "dead": len(found.dead_letters(1000)),
            "error": next((letter.error for letter in found.dead_letters(1)), None),
            "bytes": found.size_bytes(),
            "path": str(path),
        }
    except SpoolUnavailable as error:
        return {
            "store": "",
            "waiting": 0,
            "oldest": None,
            "dead": 0,
            "error": str(error),
            "bytes": 0,
            "path": str(path),
        }
    finally:
        found.close()


def _table(rows: list[dict[str, Any]]) -> Table:
    from datetime import datetime

    now = utc_now()
    columns = [
        Column(title="STORE", flexible=True),
        Column(title="WAITING", right=True),
        Column(title="OLDEST", rank=1),
        Column(title="DEAD", right=True),
        Column(title="BYTES", right=True, rank=3),
        Column(title="FILE", rank=4),
        Column(title="ERROR", rank=2, flexible=True),
    ]
    return Table(
        columns=columns,
        rows=[
            [
                visible(row["store"] or "?"),
                str(row["waiting"]),
                relative(row["oldest"] and datetime.fromisoformat(row["oldest"]), now),
                str(row["dead"]),
                str(row["bytes"]),
                visible(row["path"]),
                (visible(row["error"] or ""), "red"),
            ]
            for row in rows
        ],
    )


@contextmanager
def _spool_of(session: Session) -> Iterator[Spool]:
    from rootcellar.spool import open_spool

    found = open_spool(session.store.url, session.settings)
    if found is None:
        raise Failure("the app has switched its spool off: rootcellar_spool is False", ExitCode.USAGE)
    try:
        yield found
    finally:
        found.close()


@spool.command()
@click.option("--dead", is_flag=True, help="Put the entries that could not be replayed back into the line first.")
@session_options
@pass_session
@click.pass_context
def replay(ctx: click.Context, session: Session, dead: bool) -> None:
    """Write what waits to the store, in order. Replaying twice does no harm.

    Parts of chords need the app, -A APP, because the last one publishes the chord's body; without it they stay. The
    exit code is 1 when something is left.
    """
    with _spool_of(session) as found:
        revived = found.revive() if dead else 0
        report = found.replay(_handlers(session))
        left = found.depth()
    if session.as_json:
        session.output.json({"revived": revived, "replayed": report.replayed, "dead": report.buried, "left": left})
    else:
        session.output.line(f"{report.replayed} replayed, {report.buried} could not be, {left} left")
        if left:
            session.output.note(_why_left(session))
    if left or report.buried:
        ctx.exit(ExitCode.FOUND)


def _handlers(session: Session) -> dict[str, Handler]:
    from rootcellar.spool import APPLY, apply_handler

    handlers = {APPLY: apply_handler(session.store)}
    if session.backend is not None:
        handlers["chord"] = session.backend.replay_chord_parts
        handlers["chord_close"] = session.backend.replay_chord_closes
    return handlers


def _why_left(session: Session) -> str:
    if session.backend is None:
        return "what is left are parts of chords, which need -A APP, or another process replays right now"
    return "another process replays right now"


@spool.command()
@click.argument("numbers", metavar="[NUMBER]...", nargs=-1, type=int)
@click.option("--dead", is_flag=True, help="The entries that could not be replayed, not those that wait.")
@yes_option
@session_options
@pass_session
@click.pass_context
def drop(ctx: click.Context, session: Session, numbers: tuple[int, ...], dead: bool, yes: bool) -> None:
    """Remove entries for good, all of them unless NUMBERs name some: the results in them are lost."""
    with _spool_of(session) as found:
        kind = "dead entries" if dead else "waiting entries"
        confirm(f"Remove {len(numbers) or 'all'} {kind} of {found.path}?", yes=yes)
        removed = found.drop(*numbers, dead=dead)
    if session.as_json:
        session.output.json({"removed": removed})
    else:
        session.output.line(f"{removed} removed")
    if not removed:
        ctx.exit(ExitCode.FOUND)
