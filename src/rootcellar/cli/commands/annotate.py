"""``rootcellar annotate``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click

from rootcellar.cli.exits import ExitCode, Failure
from rootcellar.cli.formats import pairs, short_id, visible
from rootcellar.cli.options import pass_session, session_options
from rootcellar.cli.session import Session
from rootcellar.store.documents import plain_record


def _metadata(ctx: click.Context, parameter: click.Parameter, values: Sequence[str]) -> dict[str, Any]:
    del ctx, parameter
    metadata: dict[str, Any] = {}
    for text in values:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise click.BadParameter(f"{text!r} is not of the form key=value")
        metadata[key] = _value(value)
    return metadata


def _value(text: str) -> Any:
    """The value that `text` is as JSON, or the text itself."""
    try:
        return json.loads(text, parse_constant=str)
    except (ValueError, RecursionError):
        return text


@click.command()
@click.argument("task_id", metavar="ID")
@click.argument("metadata", metavar="KEY=VALUE...", nargs=-1, required=True, callback=_metadata)
@click.option("--create", is_flag=True, help="Begin a record when nothing is known of the task; ID is then a whole id.")
@session_options
@pass_session
def annotate(session: Session, task_id: str, metadata: dict[str, Any], create: bool) -> None:
    """Write metadata of one task; other keys stay as they are.

    A VALUE that is JSON is taken for what it is: 42, true, null, [1, 2]. Anything else is text, and so is what stands
    in double quotes: 'zip="01234"'.
    """
    from rootcellar.cli.records import record_by_id

    known = task_id if create else record_by_id(session.store, task_id).id
    session.store.annotate(known, metadata)
    (record,) = session.store.fetch([known]) or (None,)
    if record is None:
        raise Failure(f"the record of {visible(known)} was removed meanwhile", ExitCode.FOUND)
    if session.as_json:
        session.output.json(plain_record(record))
    else:
        session.output.line((short_id(known), "cyan"), "  ", (pairs(record.metadata), "blue"))
