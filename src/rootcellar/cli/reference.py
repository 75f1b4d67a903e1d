"""The page ``docs/cli.md``, made from the commands themselves: ``python -m rootcellar.cli.reference > docs/cli.md``."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Final

import click

from rootcellar.cli.application import COMMANDS, PROGRAM, celery_command
from rootcellar.cli.exits import ExitCode

_INTRODUCTION: Final = """\
# The command line

Made from the commands themselves by `python -m rootcellar.cli.reference`; a test fails when it is stale.

```console
$ pip install 'rootcellar[cli]'
$ rootcellar demo
```

`celery -A app rootcellar ...` is the same as `rootcellar -A app ...`. Without the extra everything works too, without
colours and progress bars.

## Which store

`--store URL` comes first, then `-A APP` (or the app that `celery -A` has loaded), then the variable
`ROOTCELLAR_STORE`. With an app, its `rootcellar_*` settings apply, such as the name of the table; with a URL,
parameters say the same: `?table=...`. A URL on the command line is seen by everybody who can list processes, so keep
one with a password in the variable or in the app. Only `schema --apply`, `check` and `demo` make tables; every other
command leaves a store without them as it is.

## What is printed

On a terminal: colours, times as distances, the beginning of each id (which `show`, `annotate` and `delete` take for
the id), and as many columns as fit. In a pipe: plain aligned columns, nothing cut, ids whole. With `--json`: one object
a line, with the names that [records](queries.md#fields) have everywhere; null and empty fields are left out. Remarks
and errors go to stderr, an error being one line that begins with `rootcellar:`. `NO_COLOR` is heeded. Characters that a
terminal would obey, or cannot show, are written as escapes such as `\\x1b`.

A pipe that is closed early, as by `| head -1`, is no error. `COLUMNS` sets the width where there is no terminal to ask.

## Exit codes
"""


def reference() -> str:
    """The page, in Markdown."""
    lines = [_INTRODUCTION, "| code | when |", "| --- | --- |"]
    lines += [f"| {int(code)} | {code.meaning} |" for code in ExitCode]
    context = click.Context(celery_command, info_name=PROGRAM)
    lines += ["", "## Options of every command", "", *_options(celery_command, but=set())]
    shared = _names(celery_command)
    for name in COMMANDS:
        command = celery_command.get_command(context, name)
        assert command is not None  # noqa: S101 - it is in the list
        lines += _command(command, click.Context(command, info_name=name, parent=context), shared, level=2)
    return "\n".join(lines).rstrip() + "\n"


def _command(command: click.Command, context: click.Context, shared: set[str], *, level: int) -> Iterator[str]:
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    yield from ("", f"{'#' * level} {context.command_path.removeprefix(PROGRAM + ' ')}", "")
    yield from ("```console", f"$ {usage}", "```", "", _prose(command.help or ""))
    options = _options(command, but=shared)
    if options:
        yield from ("", *options)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if below is not None:
                yield from _command(
                    below, click.Context(below, info_name=name, parent=context), shared, level=level + 1
                )


def _prose(text: str) -> str:
    r"""Help as Markdown: paragraphs one line each, what follows a ``\b`` as it stands."""
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(
        "```shell\n" + inspect.cleandoc(paragraph.removeprefix("\b\n")) + "\n```"
        if paragraph.startswith("\b")
        else _escaped(" ".join(paragraph.split()))
        for paragraph in paragraphs
    )


def _escaped(text: str) -> str:
    return re.sub(r"(?<![`\w])([*<|])", r"\\\1", text)


def _names(command: click.Command) -> set[str]:
    return {parameter.name for parameter in command.params if parameter.name}


def _options(command: click.Command, *, but: set[str]) -> Sequence[str]:
    """A table of the options, without those named in `but`."""
    options = [option for option in command.params if isinstance(option, click.Option) and option.name not in but]
    rows = [f"| {_option(option)} | {_escaped(_help(option))} |" for option in options]
    return ["| option | |", "| --- | --- |", *rows] if rows else []


def _option(option: click.Option) -> str:
    value = "" if option.is_flag else f" {option.metavar}"
    return f"`{', '.join(option.opts)}{value}`"


def _help(option: click.Option) -> str:
    default = f" Default: {option.default}." if option.show_default else ""
    return f"{option.help or ''}{default}"


if __name__ == "__main__":
    sys.stdout.write(reference())
