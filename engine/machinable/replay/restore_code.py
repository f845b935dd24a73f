"""The code of a stored execution, in a directory again; and what of it nobody can bring back."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from machinable.errors import MissingFile, Refused
from machinable.results.execution import Execution
from machinable.results.trial import Trial
from machinable.storage import layout
from machinable.storage.archive import unpack
from machinable.storage.hashing import digest
from machinable.storage.streams import read_rows

__all__ = ["Code", "codes_of", "project_of", "refuse_unreachable"]

SHOWN = 5


class Code(NamedTuple):
    """The file of a code backup, None where there is none, and the trials that ran with it."""

    file: str | None
    trials: list[Trial]


def codes_of(execution: Execution, trials: Sequence[Trial]) -> list[Code]:
    """Which code trials ran with: an execution that was resumed with other code has several backups.

    Raises:
        Refused: one of them is not there any more.
    """
    first = (execution.data.get("code") or {}).get("backup")
    now: Any = first
    ran: dict[str, Any] = {}
    for event in read_rows(execution.files, layout.join(str(execution), layout.LEDGER)):
        if event.get("event") == "resumed":
            now = (event.get("code") or {}).get("backup") or now
        elif event.get("event") == "started":
            ran[event["uid"]] = now
    groups: dict[str | None, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(ran.get(trial.uid, first), []).append(trial)
    return [Code(_file_of(execution, backup, first), members) for backup, members in groups.items()]


def _file_of(execution: Execution, wanted: str | None, first: str | None) -> str | None:
    names = {entry.name for entry in execution.files.entries(str(execution))}
    if wanted == first:
        return layout.CODE if layout.CODE in names else None
    number = 1
    while (name := layout.former(layout.CODE, number)) in names:
        if digest(execution.files.read(layout.join(str(execution), name))) == wanted:
            return name
        number += 1
    raise Refused(
        f"{execution} was resumed with other code, whose backup is not there any more",
        given=wanted,
        todo="Name a directory with that code: --project DIRECTORY, and the trials that ran with it: --trial UID",
    )


def project_of(execution: Execution, code: Code, project: str | None, directory: str) -> tuple[str, list[str]]:
    """A directory with the code, and what is not in it.

    Args:
        project: a directory that has the code. None: the code backup is unpacked. directory: where to.

    Raises:
        Refused: there is no code backup. Damaged, BadName: it cannot be unpacked. MissingFile: no such project.
    """
    if project is not None:
        place = os.path.abspath(os.path.expanduser(project))
        if not os.path.isdir(place):
            raise MissingFile(f"there is no directory {place}", given=project, todo="Name the directory of the code.")
        return place, []
    if code.file is None:
        commit = (execution.data.get("code") or {}).get("commit")
        raise Refused(
            f"{execution} has no code backup, so its code cannot be restored",
            given=str(execution),
            todo=f"Check out the commit {commit} and name that directory: --project DIRECTORY"
            if commit
            else "Name a directory with that code: --project DIRECTORY",
        )
    archive = execution.files.read(layout.join(str(execution), code.file))
    skipped = unpack(archive, directory).skipped
    return directory, [f"the link {name} led out of the project and was not restored" for name in skipped]


def refuse_unreachable(execution: Execution) -> None:
    """See that nothing of the task was made where nobody can find it again.

    Raises:
        Refused: it was.
    """
    data = execution.data
    names = [name for call in data["task"].get("components", ()) for name in _names(call)]
    names += [data["function"]] if data.get("function") else []
    lost = [name for name in dict.fromkeys(names) if name.startswith("__main__:") or "<" in name]
    if lost:
        raise Refused(
            f"{execution} ran code that is in no module: {', '.join(lost)}",
            given=lost,
            todo="Put it into a module of the project. What ran can be repeated where it was written: run that script "
            f"with seed={str(execution)!r}.",
        )


def _names(call: Mapping[str, Any]) -> Iterator[str]:
    yield call["component"]
    for child in call.get("children") or ():
        yield child["component"]
    for need in (call.get("requires") or {}).values():
        if need is not None:
            yield need["component"]
