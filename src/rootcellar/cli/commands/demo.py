"""``rootcellar demo``."""

from __future__ import annotations

import click

from rootcellar.cli.options import pass_session, session_options
from rootcellar.cli.session import Session


@click.command()
@session_options
@pass_session
def demo(session: Session) -> None:
    """See it work: a real worker, real tasks, and queries over what was kept.

    Needs no server: messages and records live in a new temporary directory, which stays, so that you can go on asking.
    """
    if session.as_json:
        raise click.UsageError("the demo is for people to read; it has no --json")
    from rootcellar.cli.demo.stage import perform

    perform(session.output)
