"""Restore the code of a stored execution into a directory."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from machinable.display.summary import commit_text
from machinable.errors import Damaged, MissingFile, NotStored, Refused, listed
from machinable.results.execution import Execution
from machinable.results.reader import code_facts
from machinable.results.trial import Trial
from machinable.storage import layout
from machinable.storage.archive import unpack
from machinable.storage.documents import EVENT, read_rows
from machinable.storage.hashing import digest

__all__ = [
    "REASON",
    "CodeVersion",
    "code_archive",
    "code_versions",
    "refuse_other_code",
    "refuse_unreachable",
    "restore",
    "source_files",
]

REASON = "is a link out of the project, or data of version control"  # for not restoring something


class CodeVersion(NamedTuple):
    """Code of an execution, and the trials that ran with it.

    Attributes:
        file: The backup in the folder of the execution; None if there is none.
        files: The digests of the source files that the trials imported, or may have imported, by path in the project.
        changed: Those that had changed after their import.
        trials: The trials.
    """

    file: str | None
    files: dict[str, str]
    changed: Sequence[str]
    trials: list[Trial]


def code_versions(execution: Execution, trials: Sequence[Trial]) -> list[CodeVersion]:
    """Group trials by the code they ran with.

    An execution that was resumed with different code has several backups; a missing one raises `Refused`.
    """
    current = first = code_facts(execution.data)
    codes = {first.get("backup"): first}
    backups: dict[str | None, Any] = {}
    imported: dict[Any, dict[str, str]] = {}
    for event in read_rows(execution.files, layout.join(str(execution), layout.LEDGER), EVENT):
        kind = event.get("event")
        if kind == "resumed":
            if (code := code_facts(event)).get("backup"):
                current = codes.setdefault(code["backup"], code)
        elif kind == "started":
            backups[event.get("uid")] = current.get("backup")
        elif kind in ("finished", "failed"):
            imported.setdefault(current.get("backup"), {}).update(event.get("imported") or {})
    groups: dict[Any, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(backups.get(trial.uid, first.get("backup")), []).append(trial)
    return [
        CodeVersion(
            _file_of(execution, backup, first.get("backup")),
            {**(codes[backup].get("files") or {}), **imported.get(backup, {})},
            codes[backup].get("changed") or (),
            members,
        )
        for backup, members in groups.items()
    ]


def source_files(execution: Execution) -> dict[str, str]:
    """Return the digests of the source files that the trials of an execution imported, by path in the project."""
    events = read_rows(execution.files, layout.join(str(execution), layout.LEDGER), EVENT)
    found = dict(code_facts(execution.data).get("files") or {})
    for event in events:
        found.update(code_facts(event).get("files") or event.get("imported") or {})
    return found


def code_archive(execution: Execution, file: str = layout.CODE) -> bytes:
    """Return a code backup after comparing it with the digest that was recorded when it was stored.

    Raises:
        NotStored: The execution has no code backup.
        Damaged: The backup is missing or not what was stored.
    """
    code = code_facts(execution.data)
    commit = commit_text(code)
    details = [f"it ran with the commit {commit}"] if commit else []
    path = layout.join(str(execution), file)
    archive = execution.files.read(path) if execution.files.exists(path) else None
    if archive is None and not code.get("backup"):
        raise NotStored(
            f"the execution {execution} has no code backup",
            given=str(execution),
            details=details,
            todo=f"Check out the commit: git checkout {code['commit']}"
            if commit
            else "It ran without a backup, and its project was not in a git repository.",
        )
    if archive is None or digest(archive) not in _recorded(execution):
        raise Damaged(
            f"the code backup of {execution} is {'missing' if archive is None else 'not what was stored'}",
            given=code.get("backup"),
            details=details,
            todo=f"Restore {file} from a copy of the storage.",
        )
    return archive


def _recorded(execution: Execution) -> set[Any]:
    """Return the digests of the code backups of an execution: of its start, and of each time that it was resumed."""
    events = read_rows(execution.files, layout.join(str(execution), layout.LEDGER), EVENT)
    codes = [code_facts(execution.data), *(code_facts(one) for one in events if one.get("event") == "resumed")]
    return {code["backup"] for code in codes if code.get("backup")}


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
        f"{execution} was resumed with different code, whose backup is gone",
        given=wanted,
        todo="Name a directory with that code: --project DIRECTORY, and the trials that ran with it: --trial UID",
    )


def restore(execution: Execution, file: str | None, project: str | None, directory: str) -> tuple[str, list[str]]:
    """Unpack a code backup into a directory, or use a project instead; return its location and what it lacks.

    Raises:
        Refused: There is no code backup.
        Damaged, BadName: The backup is not what was stored, or cannot be unpacked.
        MissingFile: There is no such project.
    """
    if project is not None:
        path = os.path.abspath(os.path.expanduser(project))
        if not os.path.isdir(path):
            raise MissingFile(f"there is no directory {path}", given=project, todo="Name the directory of the code.")
        return path, []
    if file is None:
        commit = code_facts(execution.data).get("commit")
        raise Refused(
            f"{execution} has no code backup, so its code cannot be restored",
            given=str(execution),
            todo=f"Check out the commit {commit} and name that directory: --project DIRECTORY"
            if commit
            else "Name a directory with that code: --project DIRECTORY",
        )
    skipped = unpack(code_archive(execution, file), directory).skipped
    return directory, [f"{name} was not restored: it {REASON}" for name in skipped]


def refuse_other_code(
    execution: Execution, files: Mapping[str, str], directory: str, changed: Collection[str] = ()
) -> None:
    """Refuse restored code whose source files are not those that trials imported; `changed` are not compared."""
    gone, other = [], []
    for path, expected in sorted(files.items()):
        file = os.path.join(directory, path)
        if not os.path.isfile(file):
            gone.append(path)
        elif path not in changed and digest(Path(file).read_bytes()) != expected:
            other.append(path)
    if gone or other:
        raise Refused(
            f"the code backup of {execution} is not the code that ran",
            given=str(execution),
            details=[
                *([f"files that are not in the backup: {listed(gone)}"] if gone else []),
                *([f"files that differ from those that were imported: {listed(other)}"] if other else []),
            ],
            todo="Name a directory with that code: --project DIRECTORY",
        )


def refuse_unreachable(execution: Execution) -> None:
    """Refuse an execution with code that is in no module but in `__main__`, in a notebook, or within a function."""
    names = [execution.data.get("function") or ""]
    for call in execution.data["task"].get("components", ()):
        needed = [one if isinstance(one, list) else [one] for one in call.get("requires", {}).values() if one]
        children = call.get("children") or ()
        of_children = filter(None, children.values() if isinstance(children, dict) else children)
        names += [one["component"] for one in (call, *of_children, *chain(*needed))]
    lost = [name for name in dict.fromkeys(names) if name.startswith("__main__:") or "<" in name]
    if lost:
        raise Refused(
            f"{execution} ran code that is in no module: {', '.join(lost)}",
            given=lost,
            details=["its source is in execution.json, under code.cells"]
            if execution.data["code"].get("cells")
            else [],
            todo="Put it into a module of the project. To repeat what ran, run the script in which it was written "
            f"with seed={execution.seed_text!r}.",
        )
