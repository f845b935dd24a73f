"""`machinable path` and `machinable open`: the files of a trial."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING

from machinable.cli.output import message
from machinable.cli.targets import open_storage, parse_target
from machinable.display.terminal import echo
from machinable.errors import InvalidValue, MissingArtifact, Refused
from machinable.storage import layout

if TYPE_CHECKING:
    from machinable.display.summary import Side
    from machinable.results.trial import Trial

__all__ = ["open_command", "path_command"]


def path_command(identifier: str, name: str | None, storage: str | None) -> None:
    """Print the path of an execution, a trial or one of its artifacts, in a storage that is a directory."""
    with open_storage(storage) as opened:
        target = parse_target(opened, identifier)
        path = _path(target, name)
        if path is None:
            place = f"{target.execution.storage}/{target}"
            todo = f"Fetch it: machinable open {target} {name or 'NAME'}"
            raise Refused(f"{place} is not on this host", given=str(target), todo=todo)
    echo(path)


def open_command(identifier: str, name: str, storage: str | None) -> int:
    """Open an artifact with the program that the desktop has for it."""
    with open_storage(storage) as opened:
        target = parse_target(opened, identifier)
        path = _path(target, name)
        if path is None:
            copy = _trial(target, name).path(name)
            # What was fetched is removed with this process, and the program still reads it then.
            path = os.path.join(tempfile.mkdtemp(prefix="machinable-"), os.path.basename(name.rstrip("/")))
            shutil.copytree(copy, path) if os.path.isdir(copy) else shutil.copyfile(copy, path)
    message(f"opening {path}")
    program = "open" if sys.platform == "darwin" else "xdg-open"
    try:
        return subprocess.run([program, path], check=False).returncode
    except OSError as error:
        todo = f"Open it with a program of your choice: {path}"
        raise Refused(f"cannot start {program}: {error.strerror}", given=path, todo=todo) from error


def _trial(target: Side, name: str) -> Trial:
    if target.trial is None:
        uids = [trial.uid for trial in target.trials]
        if len(uids) == 1:
            return target.trials[0]
        todo = f"Name the trial: {target}/{uids[0]}" if uids else "It has no trials."
        raise InvalidValue(f"{name!r} is an artifact of a trial, and {target} is an execution", given=name, todo=todo)
    return target.trial


def _path(target: Side, name: str | None) -> str | None:
    """Return the path on this host; None if the storage is elsewhere."""
    files, folder = target.execution.files, str(target.execution)
    if name is not None:
        trial = _trial(target, name)
        if files.local_path("") is None:
            return None
        is_folder = name not in trial.files and any(file.startswith(f"{name}/") for file in trial.files)
        return trial.path(f"{name}/" if is_folder else name)
    if target.trial is not None:
        folder = target.trial.folder
    path = files.local_path(folder)
    if path is not None and not os.path.isdir(path):
        todo = "A trial has a folder once it has started."
        raise MissingArtifact(f"{target} has no folder", given=layout.join(files.url, folder), todo=todo)
    return path
