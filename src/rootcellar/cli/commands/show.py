"""``rootcellar show``."""

from __future__ import annotations

import click

from rootcellar.cli.options import pass_session, session_options
from rootcellar.cli.session import Session


@click.command()
@click.argument("task_id", metavar="ID")
@session_options
@pass_session
def show(session: Session, task_id: str) -> None:
    """All that is known about one task: its life, arguments, result or error, and relatives.

    ID may be the beginning of an id, if no other task's id begins so.
    """
    from rootcellar.cli.portrait import family_of, portrait
    from rootcellar.cli.records import record_by_id
    from rootcellar.store.documents import plain_record

    record = record_by_id(session.store, task_id)
    output = session.output
    if output.as_json:
        output.json(plain_record(record))
        return
    for spans in portrait(record, family_of(session.store, record), unicode=output.unicode):
        output.line(*spans)
