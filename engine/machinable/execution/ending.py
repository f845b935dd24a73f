"""Show how an execution goes and how it ended: its results, where they are stored, and the next commands."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from typing import TextIO

from machinable.display.progress import PlainProgress, Progress, is_memory
from machinable.display.summary import Row, group_table, groups
from machinable.display.tables import counted, is_terminal, write_table
from machinable.display.terminal import echo
from machinable.execution.environment import command_on
from machinable.results.execution import Execution
from machinable.settings import is_development
from machinable.units import format_duration

__all__ = ["SAVE_IN_PYTHON", "SAVE_ON_COMMAND_LINE", "open_progress", "show_ending", "show_interrupt"]

LISTED = 30  # results at the end; commands list all of them
SAVE_ON_COMMAND_LINE = "--storage DIRECTORY"
SAVE_IN_PYTHON = "execute(…, storage='DIRECTORY')"


def open_progress(saving: str) -> AbstractContextManager[Progress]:
    """Return what shows progress on stderr: a live display on a terminal, lines elsewhere.

    Args:
        saving: What to do to save results that stay in memory.
    """
    descriptor = None
    if is_terminal(sys.stderr):
        with suppress(OSError):  # the console of an editor, which is no file
            # Another descriptor, because 2 is redirected while a trial runs in this process.
            descriptor = os.dup(sys.stderr.fileno())
    if descriptor is None:
        return nullcontext(PlainProgress(partial(echo, file=sys.stderr), saving=saving))
    from machinable.display.live import LiveProgress  # imports rich, which takes as long as all the rest

    return LiveProgress(open(descriptor, "w", encoding=sys.stderr.encoding, errors=sys.stderr.errors), saving)


def show_ending(
    execution: Execution,
    rows: Sequence[Row],
    progress: Progress,
    storage: str | None,
    saving: str,
    file: TextIO | None = None,
) -> None:
    """Show the results of an execution, where they are stored and what to do next.

    Args:
        execution: The execution.
        rows: Those of all its trials.
        progress: Its progress.
        storage: The storage that the next commands have to name; None if they find it.
        saving: What to do to save results.
        file: Where to write; by default stdout.
    """
    if execution.data["task"].get("search"):
        from machinable.display.search import samples_table  # few executions are searches

        table, count = samples_table(execution.search, LISTED), len(execution.search.samples)
    else:
        table = group_table(groups(rows))
        count = len(table.rows)
    write_table(table._replace(rows=table.rows[:LISTED]), wide=False, file=file)
    if count > LISTED:
        echo(f"… and {count - LISTED} more", file=file)
    name = f" {execution.name}" if execution.name else ""
    took = f" in {format_duration(progress.seconds)}" if progress.execution else ""
    echo(f"\n{execution}{name}  {execution.status}, {counted(len(rows), 'trial')}{took}", file=file)
    if is_memory(execution.storage):
        place = "memory" if execution.storage.startswith("mem:") else execution.storage
        todo = "MACHINABLE_MODE is DEV" if is_development(os.environ) else f"to save results: {saving}"
        echo(f"storage: {place}, nothing was saved; {todo}", file=file)
        return
    echo(f"storage: {execution.storage}", file=file)
    resume = [] if execution.status == "finished" else [("resume", str(execution))]
    commands = [command_on(storage, *words) for words in (("show", str(execution)), *resume, ("list",))]
    echo("next: " + "\n      ".join(commands), file=file)


def show_interrupt(progress: Progress, storage: str | None) -> None:
    """Write to stderr what has become of an interrupted execution, and how to continue it."""
    if progress.execution is None:
        lines = ["interrupted before anything was started"]
    elif is_memory(progress.storage):
        lines = [f"interrupted: {progress.execution} was in memory and is lost; {progress.summary()}"]
    else:
        lines = [
            f"interrupted: {progress.execution} is stored in {progress.storage}; {progress.summary()}",
            f"next: {command_on(storage, 'resume', progress.execution)}",
        ]
    for line in lines:
        echo(line, file=sys.stderr)
