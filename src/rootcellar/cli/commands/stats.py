"""``rootcellar stats``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import click

from rootcellar.cli.exits import ExitCode
from rootcellar.cli.formats import duration, local_time, state_style, visible
from rootcellar.cli.options import QueryCommand, pass_session, query_argument, session_options
from rootcellar.cli.output import Cell, Column, Table
from rootcellar.cli.session import Session
from rootcellar.query import AGGREGATE_FIELDS, Statistic, suggest
from rootcellar.record import isoformat

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_SPAN: Final = re.compile(r"(\d{1,9})([smhdw]?)", re.ASCII)


def _fields(ctx: click.Context, parameter: click.Parameter, value: str) -> tuple[str, ...]:
    del ctx, parameter
    names = tuple(name.strip() for name in value.split(",") if name.strip())
    for name in names:
        if name not in AGGREGATE_FIELDS:
            raise click.BadParameter(f"cannot group by {name!r}{suggest(name, AGGREGATE_FIELDS)}")
    return names


def _seconds(ctx: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    del ctx, parameter
    if value is None:
        return None
    match = _SPAN.fullmatch(value)
    seconds = int(match[1]) * _UNITS[match[2] or "s"] if match else 0
    if not seconds:
        raise click.BadParameter(f"{value!r} is no length of time such as 30s, 15m, 1h, 1d")
    return seconds


def _complete_by(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    del ctx, parameter
    head, comma, last = incomplete.rpartition(",")
    return [head + comma + name for name in sorted(AGGREGATE_FIELDS) if name.startswith(last)]


@click.command(cls=QueryCommand)
@query_argument
@click.option(
    "--by",
    default="name",
    show_default=True,
    metavar="FIELDS",
    callback=_fields,
    shell_complete=_complete_by,
    help="Fields to group by, as in name,state.",
)
@click.option("--bucket", metavar="SPAN", callback=_seconds, help="Group by time too: 15m, 1h, 1d of the last change.")
@session_options
@pass_session
@click.pass_context
def stats(ctx: click.Context, session: Session, query: str, by: tuple[str, ...], bucket: int | None) -> None:
    """Counts and times of groups of the records that QUERY finds, the largest group first.

    Runtime is from start to finish, wait from queued to started.
    """
    groups = session.store.stats(query, by=by, bucket=bucket)
    if bucket is not None:
        groups.sort(key=lambda group: (group.bucket is None, group.bucket))
    if session.as_json:
        for group in groups:
            session.output.json(_plain(group, by))
    elif groups:
        session.output.table(_table(groups, by, bucketed=bucket is not None))
    if not groups:
        ctx.exit(ExitCode.FOUND)


def _plain(group: Statistic, by: Sequence[str]) -> dict[str, Any]:
    shown: dict[str, Any] = dict(zip(by, group.key, strict=True))
    if group.bucket is not None:
        shown["bucket"] = isoformat(group.bucket)
    for name in ("count", "succeeded", "failed", "runtime_avg", "runtime_max", "wait_avg"):
        shown[name] = getattr(group, name)
    return shown


_NUMBERS: Final = ("COUNT", "SUCCEEDED", "FAILED", "RUNTIME AVG", "RUNTIME MAX", "WAIT AVG")


def _table(groups: Sequence[Statistic], by: Sequence[str], *, bucketed: bool) -> Table:
    columns = [Column(title="TIME")] if bucketed else []
    columns += [Column(title=name.upper()) for name in by]
    columns += [Column(title=name, right=True, rank=rank) for rank, name in enumerate(_NUMBERS)]
    return Table(columns=columns, rows=[_row(group, by, bucketed=bucketed) for group in groups])


def _row(group: Statistic, by: Sequence[str], *, bucketed: bool) -> list[Cell]:
    time: list[Cell] = [local_time(group.bucket).partition(".")[0] if group.bucket else "-"] if bucketed else []
    keys = [_key(field, value) for field, value in zip(by, group.key, strict=True)]
    failed: Cell = (str(group.failed), "bold red") if group.failed else "0"
    times = [duration(seconds) for seconds in (group.runtime_avg, group.runtime_max, group.wait_avg)]
    return [*time, *keys, str(group.count), str(group.succeeded), failed, *times]


def _key(field: str, value: Any) -> Cell:
    text = "-" if value is None else visible(str(value))
    return (text, state_style(text)) if field == "state" else text
