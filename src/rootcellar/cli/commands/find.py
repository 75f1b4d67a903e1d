"""``rootcellar find``."""

from __future__ import annotations

from typing import Final

import click

from rootcellar.cli.exits import ExitCode
from rootcellar.cli.options import QueryCommand, pass_session, query_argument, session_options
from rootcellar.cli.session import Session

_LIMIT: Final = 50
#: Records read at once with --all.
_BATCH: Final = 500


@click.command(cls=QueryCommand)
@query_argument
@click.option("-o", "--order", metavar="FIELDS", help="Fields to sort by, as in -finished,name; a - means descending.")
@click.option(
    "-n", "--limit", metavar="N", type=click.IntRange(1, 10_000), help=f"Most records to print; {_LIMIT} unless given."
)
@click.option("--cursor", metavar="TEXT", help="Go on where an earlier page ended.")
@click.option("--all", "everything", is_flag=True, help="Print every page.")
@session_options
@pass_session
@click.pass_context
def find(  # noqa: PLR0913, PLR0917 - one per option
    ctx: click.Context,
    session: Session,
    query: str,
    order: str | None,
    limit: int | None,
    cursor: str | None,
    everything: bool,
) -> None:
    """Find records, the most recently changed first.

    QUERY is in the text language: state:FAILURE name:billing.* metadata.user:42 finished>-1h. Without one, everything
    is found. Put it in single quotes, so that the shell leaves * and > alone.
    """
    if everything and limit is not None:
        raise click.UsageError("--all prints every record; leave --limit out")
    from rootcellar.cli.paging import pages
    from rootcellar.cli.records import print_records

    found, following = 0, None
    request = session.store.query(query, order=order, limit=_BATCH if everything else limit or _LIMIT, cursor=cursor)
    for page in pages(session.store, request):
        print_records(session.output, page.records)
        found, following = found + len(page), page.cursor
        if not everything:
            break
    if following is not None:
        session.output.note(f"there are more: --all, or --cursor {following}")
    if not found:
        _say_nothing_found(session)
        ctx.exit(ExitCode.FOUND)


def _say_nothing_found(session: Session) -> None:
    if not session.as_json:
        session.output.note("nothing found")
