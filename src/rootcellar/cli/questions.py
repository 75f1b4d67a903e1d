"""Questions before something is removed for good."""

from __future__ import annotations

import sys

import click

from rootcellar.cli.exits import ExitCode, Failure


def confirm(question: str, *, yes: bool) -> None:
    """Go on only if the user says so, on the terminal or beforehand with ``--yes``."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise Failure("nobody is there to be asked: say --yes", ExitCode.USAGE)
    if not click.confirm(question, err=True):
        raise Failure("nothing was removed", ExitCode.FOUND)


def yes_option(function: click.decorators.FC) -> click.decorators.FC:
    """``--yes``: the answer beforehand."""
    return click.option("-y", "--yes", is_flag=True, help="Do not ask.")(function)
