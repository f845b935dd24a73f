"""The program: which commands there are, loaded when they are called, and how errors are told."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click

from machinable.cli.commands import COMMANDS, help_text
from machinable.errors import MachinableError, UsageError, did_you_mean, near_names

__all__ = ["program", "run"]


class _Commands(click.Group):
    """A group whose commands are imported when they are called: help needs none of them."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = import_module(f"machinable.cli.{COMMANDS[name].module}").command
        return command

    def resolve_command(
        self, context: click.Context, words: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if words and words[0][:1] != "-" and words[0] not in COMMANDS:
            near = near_names(words[0], COMMANDS)
            hint = did_you_mean(near) if near else f"Known: {', '.join(COMMANDS)}"
            raise click.UsageError(f"no command named {words[0]!r}\n  {hint}", context)
        return super().resolve_command(context, words)

    def get_help(self, context: click.Context) -> str:
        return help_text()


program = _Commands(
    name="machinable", context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)


def run(words: Sequence[str]) -> int:
    """Run a command; errors of ours are told without a traceback. Gives the exit code."""
    try:
        code: Any = program.main(list(words), prog_name="machinable", standalone_mode=False)
        sys.stdout.flush()
    except click.Abort:
        return 130
    except click.ClickException as error:
        if _wants_json(words):
            _tell_as_data(UsageError(error.format_message()))
        else:
            error.show()
        return error.exit_code
    except MachinableError as error:
        if _wants_json(words):
            _tell_as_data(error)
        else:
            print(error, file=sys.stderr)
        return error.exit_code
    except OSError as error:
        if error.errno != errno.EPIPE:
            raise
        # Whoever read our output has seen enough; Python would complain when it flushes the rest.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code if isinstance(code, int) else 0


def _wants_json(words: Sequence[str]) -> bool:
    return "--json" in words


def _tell_as_data(error: MachinableError) -> None:
    from machinable.cli.output import write_json

    write_json({"error": error.as_data()})
