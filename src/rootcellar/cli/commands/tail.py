"""``rootcellar tail``."""

from __future__ import annotations

import time

import click

from rootcellar.cli.options import QueryCommand, pass_session, query_argument, session_options
from rootcellar.cli.session import Session


@click.command(cls=QueryCommand)
@query_argument
@click.option(
    "-n",
    "--lines",
    metavar="N",
    type=click.IntRange(0, 10_000),
    default=10,
    show_default=True,
    help="Latest records to begin with.",
)
@click.option(
    "-i",
    "--interval",
    metavar="SECONDS",
    type=click.FloatRange(0.05, 3600),
    default=0.5,
    show_default=True,
    help="Time between two looks at the store.",
)
@session_options
@pass_session
def tail(session: Session, query: str, lines: int, interval: float) -> None:
    """Follow the records that QUERY finds: a line for each that appears or changes, until Ctrl-C.

    Relative times in QUERY count from when the command began. A change that reaches the store later than ten seconds
    after it happened, for example from a worker's spool, is not seen.
    """
    from rootcellar.cli.following import Follower, print_change

    follower = Follower(session.store, session.store.query(query).where)
    changed = follower.begin(lines)
    while True:
        for record in changed:
            print_change(session.output, record)
        time.sleep(interval)
        changed = follower.changes()
