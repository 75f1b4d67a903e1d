"""Options and arguments that commands share. The global ones may stand before or after the command."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import click

from rootcellar.cli.session import Session, session_of

C = TypeVar("C", bound=Callable[..., Any])


def session_options(function: C) -> C:
    """``--store``, ``-A``, ``--json`` and ``--color``: what `Session` holds."""
    for option in reversed(_SESSION):
        function = option(function)
    return function


def _kept_as(attribute: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    """What puts an option's value into the session, unless it is not given here."""

    def keep(ctx: click.Context, parameter: click.Parameter, value: Any) -> None:
        del parameter
        session = session_of(ctx)
        if value not in {None, False}:
            setattr(session, attribute, value)

    return keep


def _session_option(attribute: str, *names: str, **details: Any) -> Callable[[C], C]:
    return click.option(*names, expose_value=False, callback=_kept_as(attribute), **details)


_SESSION: Final = (
    _session_option(
        "url", "-s", "--store", metavar="URL", help="The store, as in result_backend, with or without rootcellar+."
    ),
    _session_option("app_name", "-A", "--app", metavar="APP", help="The Celery app whose store it is, as with celery."),
    _session_option("as_json", "--json", is_flag=True, help="Print one JSON object a line."),
    _session_option(
        "color",
        "--color",
        type=click.Choice(["auto", "always", "never"]),
        metavar="WHEN",
        help="Whether to use colours and cut lines to fit: auto (on a terminal), always, never.",
    ),
)

pass_session: Final = click.make_pass_decorator(Session)

#: A term of a query that looks like options to click.
_NEGATED: Final = re.compile(r"-(?=[a-z_]{2,}\s*[.:=!<>~\[])")


class QueryCommand(click.Command):
    """A command whose arguments are a query: ``-state:SUCCESS`` is a term of it, not an option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does, once negated terms are spelt with NOT."""
        return super().parse_args(
            ctx, [_NEGATED.sub("NOT ", arg, count=1) if _NEGATED.match(arg) else arg for arg in args]
        )


def query_argument(function: C) -> C:
    """``[QUERY]...``: the text language, in one argument or several."""
    return click.argument("query", nargs=-1, callback=_joined, shell_complete=complete_field)(function)


def _joined(ctx: click.Context, parameter: click.Parameter, value: Sequence[str]) -> str:
    del ctx, parameter
    return " ".join(value)


def complete_field(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Names of fields, and of states behind ``state:``, for the shell."""
    del ctx, parameter
    from rootcellar.query import FIELD_KINDS, Kind
    from rootcellar.record import STATE_RANKS

    candidates = [name + ("." if kind is Kind.DOCUMENT else ":") for name, kind in FIELD_KINDS.items()]
    candidates += [f"state:{state}" for state in STATE_RANKS]
    return [text for text in candidates if text.startswith(incomplete)]
