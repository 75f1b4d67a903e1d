"""The page about the command line says what the commands say."""

from __future__ import annotations

from pathlib import Path

import click

from rootcellar.cli.application import COMMANDS, celery_command
from rootcellar.cli.exits import ExitCode
from rootcellar.cli.reference import reference
from tests.cli.conftest import Run

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"


def test_the_page_is_not_stale() -> None:
    """Made anew with: python -m rootcellar.cli.reference > docs/cli.md."""
    assert PAGE.read_text(encoding="utf-8") == reference()


def test_the_list_of_commands_says_what_each_says_of_itself() -> None:
    for name, summary in COMMANDS.items():
        command = celery_command.get_command(click.Context(celery_command), name)
        assert command is not None
        assert " ".join((command.help or "").split("\n\n")[0].split()) == summary


def test_help_tells_the_exit_codes(run: Run) -> None:
    text = " ".join(run("--help").stdout.split())
    assert all(f"{int(code)} {code.meaning}" in text for code in ExitCode)
