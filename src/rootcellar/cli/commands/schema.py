"""``rootcellar schema``."""

from __future__ import annotations

import click

from rootcellar.cli.exits import ExitCode
from rootcellar.cli.formats import visible
from rootcellar.cli.options import pass_session, session_options
from rootcellar.cli.session import Session


@click.command()
@click.option("--apply", "applied", is_flag=True, help="Make or upgrade the tables and indexes.")
@session_options
@pass_session
@click.pass_context
def schema(ctx: click.Context, session: Session, applied: bool) -> None:
    """Print the SQL of the tables and indexes, for a DBA to read or to run, or --apply it.

    Printing connects to nothing. Applying again changes nothing, and workers may run meanwhile.
    """
    if not applied:
        session.output.line(session.store.schema_sql().rstrip())
        return
    session.store.setup()
    findings = session.store.drift()
    for finding in findings:
        session.output.line((visible(finding), "yellow"))
    if findings:
        ctx.exit(ExitCode.FOUND)
    session.output.line(("tables and indexes are as they should be", "green"))
