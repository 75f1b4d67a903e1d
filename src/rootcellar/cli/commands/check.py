"""``rootcellar check``."""

from __future__ import annotations

import click

from rootcellar.cli.exits import ExitCode
from rootcellar.cli.options import pass_session, session_options
from rootcellar.cli.session import Session


@click.command()
@click.argument("url", required=False)
@click.option("--no-setup", is_flag=True, help="Make no tables; they have to be there.")
@session_options
@pass_session
@click.pass_context
def check(ctx: click.Context, session: Session, url: str | None, no_setup: bool) -> None:
    """Try out a store: connect, set up, write, read, merge, query, join a chord, expire, and measure.

    URL is the store's, unless --store, -A or ROOTCELLAR_STORE names it. Tables are made where there are none. What the
    check writes it removes again, also when something fails.
    """
    from rootcellar.cli.trial import Trial

    if url is not None:
        session.url = url
    trial = Trial(session.store, setup=not no_setup)
    passed = trial.run(session.output)
    if not passed:
        ctx.exit(ExitCode.FOUND)
