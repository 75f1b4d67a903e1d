"""``rootcellar cleanup``."""

from __future__ import annotations

import time

import click

from rootcellar.cli.formats import utc_now
from rootcellar.cli.options import pass_session, session_options
from rootcellar.cli.session import Session
from rootcellar.query import Condition, Op


@click.command()
@click.option(
    "--limit",
    metavar="N",
    type=click.IntRange(1, 100_000),
    default=1000,
    show_default=True,
    help="Most records removed at once.",
)
@click.option(
    "--pause",
    metavar="SECONDS",
    type=click.FloatRange(0, 60),
    default=0.05,
    show_default=True,
    help="Time between two batches, which is the writers' turn.",
)
@click.option("--dry-run", is_flag=True, help="Only say how many records have expired.")
@session_options
@pass_session
def cleanup(session: Session, limit: int, pause: float, dry_run: bool) -> None:
    """Remove records, groups and chords whose time to expire has come, in batches.

    The same as Celery's own celery.backend_cleanup, which celery beat runs at four in the morning.
    """
    now = utc_now()
    store = session.store
    total = store.count(Condition("expires_at", Op.LT, now))
    removed = 0
    if not dry_run:
        with session.output.progress("removing", total) as advance:
            while count := store.cleanup(now=now, limit=limit):
                removed += count
                advance(count)
                time.sleep(pause)
    if session.as_json:
        session.output.json({"expired": total, "removed": removed})
    else:
        session.output.line(f"{total} expired" if dry_run else f"{removed} removed")
