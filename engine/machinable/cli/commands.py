"""The commands and the help of the program, without any imports."""

from __future__ import annotations

__all__ = ["COMMANDS", "help_text"]

COMMANDS = {
    "init": "Create a project in a directory.",
    "execute": "Run a component or a task and store its results.",
    "resume": "Continue an execution that has not finished.",
    "stop": "Stop a running execution, on any host.",
    "components": "List the components, tasks and mixins of the project.",
    "config": "Show a component's configuration and where its values come from.",
    "versions": "Show what each version of a component changes.",
    "check": "Report every error in the project.",
    "list": "List the executions in a storage.",
    "trials": "List trials that satisfy conditions, or summarise them.",
    "show": "Show an execution or one of its trials.",
    "tail": "Show the latest rows and log lines of an execution.",
    "compare": "Show executions or trials side by side.",
    "diff": "Show how two executions or trials differ.",
    "plot": "Draw a figure: curves, bars, scatter or a heat map.",
    "report": "Write an HTML report about executions.",
    "ui": "Show executions and trials in the browser.",
    "tag": "Add tags to an execution or a trial.",
    "note": "Add a note to an execution or a trial.",
    "path": "Print the path of a trial or an artifact.",
    "open": "Open an artifact.",
    "reproduce": "Run a stored execution again and compare the results.",
    "export": "Write a directory that runs trials without an installed machinable.",
    "restore": "Unpack the code of an execution.",
    "verify": "Check that everything recorded exists and is readable.",
    "rescue": "Copy rescued results into the storage.",
    "clean": "Delete leftovers and old executions.",
    "migrate": "Rewrite names of earlier versions of machinable in the code of the project.",
    "schema": "Write a JSON Schema of machinable.yaml for editors.",
    "vendor": "Fetch the projects that this one imports.",
    "completion": "Print the completion script for a shell.",
}


def help_text() -> str:
    """Return the help of the whole program."""
    width = max(map(len, COMMANDS))
    return "\n".join(
        [
            "Usage: machinable COMMAND [ARGUMENTS]…",
            "",
            "  Declare components in machinable.yaml, execute them anywhere, and read everything back "
            "from a six-character id.",
            "",
            "Commands:",
            *(f"  {name:<{width}}  {line}" for name, line in COMMANDS.items()),
            "",
            "Options:",
            "  --version   Show the version and exit.",
            "  -h, --help  Show this message and exit; after a command, show its help.",
        ]
    )
