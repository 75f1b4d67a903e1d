"""``rootcellar count``."""

from __future__ import annotations

import click

from rootcellar.cli.exits import ExitCode
from rootcellar.cli.options import QueryCommand, pass_session, query_argument, session_options
from rootcellar.cli.session import Session


@click.command(cls=QueryCommand)
@query_argument
@session_options
@pass_session
@click.pass_context
def count(ctx: click.Context, session: Session, query: str) -> None:
    """How many records QUERY finds.

    The exit code is 1 when that is none.
    """
    found = session.store.count(query)
    if session.as_json:
        session.output.json({"count": found})
    else:
        session.output.line(str(found))
    if not found:
        ctx.exit(ExitCode.FOUND)
