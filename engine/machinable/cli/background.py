"""`--detach`: run a command in a new session, and return when its execution has begun."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import click

from machinable.cli.output import message, write_json
from machinable.cli.targets import chosen_storage
from machinable.display.progress import is_memory
from machinable.display.terminal import echo
from machinable.errors import InvalidValue
from machinable.events import Event, ExecutionStarted, Listener
from machinable.execution.environment import command_on

__all__ = ["announcements", "main", "run_in_background"]

OPTION = "--detach"
_pipes: list[int] = []  # to the process that waits for the beginning; in the background process only


class _Announcement(Listener):
    """Send the waiting process the name of the execution."""

    def on_event(self, event: Event) -> None:
        if isinstance(event, ExecutionStarted) and _pipes:
            pipe = _pipes.pop()
            with suppress(BrokenPipeError):  # it was interrupted
                os.write(pipe, f"{event.execution}\n{event.storage}".encode())
            os.close(pipe)


def announcements() -> list[Listener]:
    """Return the listener that tells the waiting process what has begun; none in other processes."""
    return [_Announcement()] if _pipes else []


def run_in_background(options: Mapping[str, Any]) -> int:
    """Run the current command without `--detach` in the background, and return when it has begun or failed before."""
    if options["dry"]:
        raise InvalidValue("--dry runs nothing, and so nothing in the background", todo=f"Leave out {OPTION}.")
    if is_memory(chosen_storage(options["storage"])):
        todo = "Name another storage: --storage DIRECTORY."
        raise InvalidValue("results in memory are lost when the background process ends", todo=todo)
    words = list(click.get_current_context().find_root().obj)
    words.remove(OPTION)
    from tempfile import mkstemp  # 2 ms, and most commands do not detach

    log, path = mkstemp(prefix="machinable-", suffix=".log")
    try:
        process, begun = _start(words, log)
    finally:
        os.close(log)
    if begun is None:
        return _report_failure(process, path, options["as_json"])
    facts = {**begun, "pid": process.pid, "output": path}
    if options["as_json"]:
        write_json(facts)
        return 0
    echo(begun["execution"])
    message(f"it runs in the background (process {process.pid}); its output is in {path}")
    commands = (("tail", "-f", begun["execution"]), ("stop", begun["execution"]))
    message("next: " + "\n      ".join(command_on(options["storage"], *one) for one in commands))
    return 0


def _start(words: Sequence[str], log: int) -> tuple[subprocess.Popen[bytes], dict[str, Any] | None]:
    """Start the background process; return it and what it has begun, or None if it has ended before."""
    from machinable.engines.processes.pool import Origin  # 5 ms

    origin = Origin.here()
    reading, writing = os.pipe()
    program = (
        f"import sys; sys.path[:] = {[*origin.path]!a}; sys.argv[:] = {[sys.argv[0], *words]!a}; "
        f"from machinable.cli.background import main; sys.exit(main({writing}))"
    )
    with open(reading, "rb") as announced:
        try:
            process = subprocess.Popen(
                [sys.executable, *origin.flags, "-c", program],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[writing],
                start_new_session=True,  # the end of the terminal does not reach it
            )
        finally:
            os.close(writing)
        try:
            begun = announced.read().decode()
        except KeyboardInterrupt:
            process.terminate()
            process.wait()
            raise
    return process, dict(zip(("execution", "storage"), begun.split("\n"), strict=True)) if begun else None


def _report_failure(process: subprocess.Popen[bytes], path: str, as_json: bool) -> int:
    """Show what the background process has written, as if it had run here, and return its exit code."""
    code = process.wait()
    with open(path, encoding="utf-8", errors="replace") as file:
        lines = file.read().splitlines()
    os.remove(path)
    if as_json and lines:
        *lines, document = lines
        print(document)
    for line in lines:
        message(line)
    return code if code >= 0 else 128 - code


def main(pipe: int) -> int:
    """Run the command of this background process, which tells a pipe when its execution has begun."""
    from machinable.cli.main import main as run

    os.set_inheritable(pipe, False)
    _pipes.append(pipe)
    return run(sys.argv[1:])
