"""`machinable restore`: the code of an execution, as it was."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from machinable.cli.output import json_option, storage_option, tell, write_json
from machinable.errors import Damaged, NotStored

if TYPE_CHECKING:
    from machinable.results.execution import Execution

__all__ = ["command"]


@click.command("restore")
@click.argument("identifier", metavar="ID")
@click.argument("directory", metavar="DIR")
@storage_option
@json_option
def command(identifier: str, directory: str, storage: str | None, as_json: bool) -> None:
    """Unpack the code that the execution ID ran with into DIR, which must be empty or not there yet."""
    from machinable.cli.reading import open_storage
    from machinable.execution.environment import command_line
    from machinable.storage.archive import unpack
    from machinable.units import format_size

    target = os.path.abspath(os.path.expanduser(directory))
    with open_storage(storage) as opened:
        execution = opened[identifier]
        done = unpack(_code(execution), target)
        given = storage if storage is None or "://" in storage else os.path.abspath(os.path.expanduser(storage))
        url = given if given is not None else opened.url
        words = ["machinable", "reproduce", str(execution), "--storage", url]
        commands = [f"cd {command_line(['', target])[3:]}", command_line(words)]
        if as_json:
            write_json(
                {
                    "execution": str(execution),
                    "directory": target,
                    "files": done.files,
                    "bytes": done.size,
                    "skipped": list(done.skipped),
                    "code": execution.data.get("code") or {},
                    "next": commands,
                }
            )
            return
        for name in done.skipped:
            tell(f"left out {name}: it was a link to something outside of the project, which was not backed up")
        files = f"{done.files} file{'' if done.files == 1 else 's'}"
        print(f"the code of {execution} is in {target}: {files}, {format_size(done.size)}")
        print(f"next: {commands[0]}")
        for line in commands[1:]:
            print(f"      {line}")


def _code(execution: Execution) -> bytes:
    """The archive of an execution's code.

    Raises:
        NotStored: there is none; says which commit to take instead. Damaged: it is not the one that was stored.
    """
    from machinable.storage.hashing import digest

    code: dict[str, Any] = execution.data.get("code") or {}
    archive = execution.code
    if archive is None and code.get("backup"):
        raise Damaged(
            f"the code backup of {execution} is gone",
            given=code["backup"],
            details=_commit(code),
            todo="Restore code.zip from a copy of the storage.",
        )
    if archive is None:
        raise NotStored(
            f"the execution {execution} has no code backup",
            given=str(execution),
            details=_commit(code),
            todo=f"Take the commit: git checkout {code['commit']}"
            if code.get("commit")
            else "It ran without a backup, and its project was in no git repository.",
        )
    if code.get("backup") not in (None, digest(archive)):
        raise Damaged(
            f"the code backup of {execution} is not what was stored",
            given=code["backup"],
            details=_commit(code),
            todo="Restore code.zip from a copy of the storage.",
        )
    return archive


def _commit(code: dict[str, Any]) -> list[str]:
    """What is known about the code without its backup."""
    if not code.get("commit"):
        return []
    branch = f" on {code['branch']}" if code.get("branch") else ""
    return [
        f"it ran with the commit {code['commit']}{branch}"
        + (", and changes that were not committed" if code.get("dirty") else "")
    ]
