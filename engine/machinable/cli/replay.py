"""`machinable reproduce`, `export` and `restore`: run stored executions again, and extract their code."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any

from machinable.cli.output import message, write_json
from machinable.cli.targets import find_trial, open_storage
from machinable.display.tables import Table, counted, exact, printable, write_table
from machinable.display.terminal import echo
from machinable.execution.environment import command_line
from machinable.replay.export import export
from machinable.replay.reproduce import reproduce
from machinable.replay.restore_code import REASON, code_archive
from machinable.results.reader import code_facts
from machinable.storage.archive import unpack
from machinable.units import format_size

if TYPE_CHECKING:
    from machinable.replay.reproduce import Reproduction
    from machinable.results.diff import Change

__all__ = ["export_command", "reproduce_command", "restore_command"]

MAX_LISTED = 20  # trials, and packages


# --- reproduce


def reproduce_command(
    identifier: str, storage: str | None, uids: tuple[str, ...], quiet: bool, as_json: bool, **options: Any
) -> int:
    """Run an execution again and compare the results, with `options` of `reproduce`; return 1 if they differ."""
    with open_storage(storage) as opened:
        execution = opened.find(identifier)
        chosen = [find_trial(execution, uid).uid for uid in uids] or None
        found = reproduce(opened, str(execution), uids=chosen, notify=None if quiet else message, **options)
    if as_json:
        write_json(found.as_data())
    else:
        _show(found)
    return 1 if found.verdict == "different" else 0


def _show(found: Reproduction) -> None:
    trials = counted(len(found.trials), "trial")
    values = f"{counted(found.rows, 'row')}, {counted(found.artifacts, 'artifact')}"
    if found.verdict == "identical":
        echo(f"{found.execution}: identical\n  {trials}, {values}: the same, byte for byte")
    else:
        differing = [trial for trial in found.trials if trial.differences]
        tolerance = f" {found.tolerance:g}" if found.verdict != "different" else ""
        echo(f"{found.execution}: {found.verdict}{tolerance}")
        echo(f"  {len(differing)} of {trials} differ{'s' if len(differing) == 1 else ''}; {values} compared")
        for trial in differing[:MAX_LISTED]:
            echo(f"\n{trial.component} {trial.uid}: {trial.verdict}")
            for difference in trial.differences:
                echo(f"  {printable(str(difference))}")
        if len(differing) > MAX_LISTED:
            echo(f"\n… and {len(differing) - MAX_LISTED} more trials; --json has all")
        largest = max((one.largest for trial in differing for one in trial.differences), default=0.0)
        if found.verdict == "different" and 1e-300 < largest < math.inf:
            power = 10.0 ** math.floor(math.log10(largest))
            echo(f"\nequal within a tolerance of {math.ceil(largest / power) * power:g}")
    _show_changes("environment", found.environment)
    _show_changes("packages", found.packages)
    if found.kept is not None:
        echo(f"\nkept: {found.kept}")


def _show_changes(heading: str, changes: tuple[Change, ...]) -> None:
    if not changes:
        return
    rows = [
        [change.name, *("nothing" if side is None else exact(side) for side in (change.before, change.after))]
        for change in changes[:MAX_LISTED]
    ]
    echo()
    write_table(Table([heading, "then", "now"], rows))
    if len(changes) > MAX_LISTED:
        echo(f"… and {len(changes) - MAX_LISTED} more; --json has all")


# --- export


def export_command(
    identifier: str,
    storage: str | None,
    uids: tuple[str, ...],
    directory: str | None,
    project: str | None,
    as_json: bool,
) -> None:
    """Write a directory that runs trials without an installed machinable."""
    with open_storage(storage) as opened:
        execution = opened.find(identifier)
        chosen = [find_trial(execution, uid).uid for uid in uids] or None
        target = directory or f"export-{execution}"
        found = export(opened, str(execution), target, uids=chosen, project=project)
    if as_json:
        write_json(found.as_data())
        return
    for note in found.notes:
        message(note)
    echo(f"wrote {target}: {counted(len(found.trials), 'trial')}, {counted(len(found.modules), 'file')} of code")
    echo(f"next: {command_line(['cd', target])} && python -m pip install -r requirements.txt && python run.py")


# --- restore


def restore_command(identifier: str, directory: str, storage: str | None, as_json: bool) -> None:
    """Unpack the code of an execution."""
    target = os.path.abspath(os.path.expanduser(directory))
    with open_storage(storage) as opened:
        execution = opened.find(identifier)
        done = unpack(code_archive(execution), target)
        url = opened.url
        if storage is not None:
            url = storage if "://" in storage else os.path.abspath(os.path.expanduser(storage))
        words = ["machinable", "reproduce", str(execution), "--storage", url]
        commands = [command_line(["cd", target]), command_line(words)]
        if as_json:
            facts = {"execution": str(execution), "directory": target, "files": done.files, "bytes": done.size}
            code = code_facts(execution.data)
            write_json({**facts, "skipped": list(done.skipped), "code": code, "next": commands})
            return
        for name in done.skipped:
            message(f"skipped {name}: it {REASON}")
        echo(f"the code of {execution} is in {target}: {counted(done.files, 'file')}, {format_size(done.size)}")
        echo("next: " + "\n      ".join(commands))
