"""``rootcellar doctor``."""

from __future__ import annotations

import click

from rootcellar.cli.exits import ExitCode
from rootcellar.cli.formats import visible
from rootcellar.cli.options import pass_session, session_options
from rootcellar.cli.session import Session


@click.command()
@session_options
@pass_session
@click.pass_context
def doctor(ctx: click.Context, session: Session) -> None:
    """Look for what is wrong with a store and this host's dealings with it; changes nothing.

    Settings that do not exist (with -A), tables or indexes that are missing or differ, clocks apart, results waiting in
    the spool, expired records that nobody removes. The exit code is 1 when something was found.
    """
    from rootcellar.cli.diagnosis import diagnosis

    ill = False
    for finding in diagnosis(session):
        ill = ill or not finding.well
        if session.as_json:
            session.output.json({"about": finding.about, "well": finding.well, "finding": finding.text})
        else:
            mark = ("ok   ", "green") if finding.well else ("found", "bold yellow")
            session.output.line(mark, f"  {finding.about:8}  ", visible(finding.text))
    if ill:
        ctx.exit(ExitCode.FOUND)
