"""``rootcellar completion``."""

from __future__ import annotations

import click


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what makes a shell complete commands, options, fields and states.

    For bash, put this into ~/.bashrc; for zsh, the same with zsh into ~/.zshrc:

    \b
        eval "$(rootcellar completion bash)"

    For fish:

    \b
        rootcellar completion fish > ~/.config/fish/completions/rootcellar.fish
    """  # noqa: D301 - a backspace is how click is told to leave lines as they are
    from click.shell_completion import get_completion_class

    from rootcellar.cli.application import PROGRAM, celery_command

    complete = get_completion_class(shell)
    assert complete is not None  # noqa: S101 - click has these three
    made = complete(celery_command, {}, PROGRAM, f"_{PROGRAM.upper()}_COMPLETE")
    click.echo(made.source_template % made.source_vars())
