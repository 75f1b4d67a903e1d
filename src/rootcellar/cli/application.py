"""The group of commands: found when they are called, and the one place where their errors end."""

from __future__ import annotations

import os
import sys
import traceback
from importlib import import_module
from typing import Any, Final

import click

from rootcellar.cli.exits import ExitCode, Failure, exit_code_of, message_of, without_secrets
from rootcellar.cli.options import session_options
from rootcellar.cli.output import discard_stdout
from rootcellar.errors import RootcellarError

PROGRAM: Final = "rootcellar"
#: Every command, with the first paragraph of its help, so that the list imports none of them.
COMMANDS: Final = {
    "demo": "See it work: a real worker, real tasks, and queries over what was kept.",
    "find": "Find records, the most recently changed first.",
    "show": "All that is known about one task: its life, arguments, result or error, and relatives.",
    "count": "How many records QUERY finds.",
    "stats": "Counts and times of groups of the records that QUERY finds, the largest group first.",
    "tail": "Follow the records that QUERY finds: a line for each that appears or changes, until Ctrl-C.",
    "check": "Try out a store: connect, set up, write, read, merge, query, join a chord, expire, and measure.",
    "doctor": "Look for what is wrong with a store and this host's dealings with it; changes nothing.",
    "schema": "Print the SQL of the tables and indexes, for a DBA to read or to run, or --apply it.",
    "cleanup": "Remove records, groups and chords whose time to expire has come, in batches.",
    "annotate": "Write metadata of one task; other keys stay as they are.",
    "delete": "Remove records, by id or by query.",
    "spool": "What waits on this host's disk for a store that was away.",
    "completion": "Print what makes a shell complete commands, options, fields and states.",
}


class Commands(click.Group):
    """Commands by name, each in its own module, imported when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order of `COMMANDS`."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"rootcellar.cli.commands.{cmd_name}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, naming the nearest command when there is none of that name."""
        from rootcellar.query import suggest

        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            raise click.UsageError(f"there is no command {args[0]!r}{suggest(args[0], COMMANDS)}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, without importing them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The exit codes."""
        del ctx
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(int(code)), code.meaning) for code in ExitCode])

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; whatever goes wrong ends in one line and an exit code."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except BrokenPipeError:
            discard_stdout()
            raise click.exceptions.Exit(ExitCode.OK) from None
        except KeyboardInterrupt:
            raise click.exceptions.Exit(ExitCode.INTERRUPTED) from None
        except RootcellarError as error:
            raise Failure(message_of(error), exit_code_of(error)) from error
        except Exception as error:
            raise _unforeseen(error) from error
        return result


def _unforeseen(error: Exception) -> Failure:
    if os.environ.get("ROOTCELLAR_TRACEBACK"):
        traceback.print_exception(error)
    message = without_secrets(" ".join(f"{type(error).__name__}: {error}".split()))
    return Failure(f"{message} (nobody foresaw this: ROOTCELLAR_TRACEBACK=1 shows where)", ExitCode.BUG)


def _version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from rootcellar import __version__

        click.echo(f"{PROGRAM} {__version__}")
        ctx.exit()


@click.group(
    cls=Commands,
    name=PROGRAM,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help="Every Celery task's whole life as one queryable record.",
)
@session_options
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_version, help="Show the version and exit."
)
def celery_command() -> None:
    """The group; also what Celery loads as its sub-command."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    try:
        result = celery_command.main(args=arguments, prog_name=PROGRAM, standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        return ExitCode.USAGE if isinstance(error, click.FileError) else error.exit_code
    except BrokenPipeError:
        discard_stdout()
        return ExitCode.OK
    except (click.Abort, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    return result if isinstance(result, int) else ExitCode.OK
