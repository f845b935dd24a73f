"""Which commands there are, and what each is for: all that is needed to help, without the library for commands."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["COMMANDS", "Command", "answer", "help_text"]


class Command(NamedTuple):
    """A command: its module in this package, and its line in the help."""

    module: str
    help: str


COMMANDS = {
    "init": Command("init", "Begin a project in a directory."),
    "execute": Command("execute", "Run a component and keep what comes out."),
    "resume": Command("resume", "Go on with an execution that has not finished."),
    "config": Command("config", "Show a component's configuration, and where its values come from."),
    "versions": Command("versions", "Show what each version of a component changes."),
    "check": Command("check", "Find everything that is wrong with the project."),
    "list": Command("listing", "List the executions in a storage."),
    "show": Command("show", "Show an execution or one of its trials."),
    "tail": Command("tail", "Show the last rows and lines of a running execution, and those to come."),
    "compare": Command("compare", "Show executions or trials side by side."),
    "diff": Command("diff", "Show in what two executions or trials differ."),
    "report": Command("report", "Write a page about executions that can be looked at in a browser."),
    "reproduce": Command("reproduce", "Run an execution again from what is stored, and compare."),
    "export": Command("export", "Write a folder that repeats trials without machinable."),
    "restore": Command("restore", "Unpack the code that an execution ran with."),
    "verify": Command("verify", "See that a storage is whole, and mend it."),
    "rescue": Command("rescue", "Bring home what a storage could not take."),
    "clean": Command("clean", "Remove what nobody needs from a storage."),
    "schema": Command("schema", "Write a JSON Schema of machinable.yaml, for editors."),
    "vendor": Command("vendor", "Fetch the projects that this one imports."),
    "completion": Command("completion", "Print the script that makes a shell complete commands."),
}


def help_text() -> str:
    """The help of the whole program."""
    width = max(map(len, COMMANDS))
    return "\n".join(
        [
            "Usage: machinable COMMAND [ARGUMENTS]…",
            "",
            "  Declare components in machinable.yaml, execute them anywhere, "
            "read everything back from a six-character id.",
            "",
            "Commands:",
            *(f"  {name:<{width}}  {command.help}" for name, command in COMMANDS.items()),
            "",
            "Options:",
            "  --version   Show the version and exit.",
            "  -h, --help  Show this message and exit; behind a command, the help of that command.",
        ]
    )


def answer(words: Sequence[str]) -> str | None:
    """What is to be said to `--help`, `--version` or nothing at all; None where a command is called."""
    if not words or words[0] in ("-h", "--help"):
        return help_text()
    if words[0] == "--version":
        # The front door is loaded with any of its modules, and nothing below imports it.
        return f"machinable {sys.modules['machinable'].__version__}"
    return None
