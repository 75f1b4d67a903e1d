"""``rootcellar delete``."""

from __future__ import annotations

from typing import Final

import click

from rootcellar.cli.exits import ExitCode, Failure
from rootcellar.cli.formats import short_id, state_style, visible
from rootcellar.cli.options import pass_session, session_options
from rootcellar.cli.paging import pages
from rootcellar.cli.questions import confirm, yes_option
from rootcellar.cli.session import Session
from rootcellar.query import Order, Query

_BATCH: Final = 500


@click.command()
@click.argument("task_ids", metavar="[ID]...", nargs=-1)
@click.option("-q", "--query", metavar="QUERY", help="Remove every record that this query finds; '*' is all of them.")
@yes_option
@session_options
@pass_session
@click.pass_context
def delete(ctx: click.Context, session: Session, task_ids: tuple[str, ...], query: str | None, yes: bool) -> None:
    """Remove records, by id or by query.

    An ID may be the beginning of one, if no other task's id begins so. A task that still runs gets its record again
    when it ends.
    """
    if bool(task_ids) is (query is not None):
        raise click.UsageError("give either ids or --query")
    removed = _by_query(session, query, yes=yes) if query is not None else _by_id(session, task_ids, yes=yes)
    if session.as_json:
        session.output.json({"removed": removed})
    else:
        session.output.line(f"{removed} removed")
    if not removed:
        ctx.exit(ExitCode.FOUND)


def _by_id(session: Session, task_ids: tuple[str, ...], *, yes: bool) -> int:
    from rootcellar.cli.records import record_by_id

    records = {record.id: record for record in (record_by_id(session.store, text) for text in task_ids)}
    if not yes and not session.as_json:
        for record in records.values():
            state = (visible(record.state), state_style(record.state))
            session.output.line((short_id(record.id), "cyan"), "  ", visible(record.name or "-"), "  ", state)
    confirm(f"Remove {_records(len(records))}?", yes=yes)
    return session.store.delete(*records)


def _by_query(session: Session, query: str, *, yes: bool) -> int:
    if not query.strip():
        raise Failure("an empty query finds everything; if that is meant, say --query '*'", ExitCode.USAGE)
    store = session.store
    where = store.query(query).where  # relative times count from here, whatever the answer takes
    total = store.count(where)
    if not total:
        return 0
    confirm(f"Remove {_records(total)}?", yes=yes)
    removed = 0
    with session.output.progress("removing", total) as advance:
        for page in pages(store, Query(where=where, order=(Order("id"),), limit=_BATCH)):
            count = store.delete(*(record.id for record in page))
            removed += count
            advance(count)
    return removed


def _records(count: int) -> str:
    return "1 record" if count == 1 else f"{count} records"
