"""Goes on from the checkpoint of a former attempt: with the rows and artifacts that were there when it was saved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from machinable.component.checkpoints import tree_digest
from machinable.component.folder import LocalFolder
from machinable.component.record import Restored
from machinable.errors import MachinableError
from machinable.plain import Plain, dumps, loads
from machinable.storage import layout
from machinable.storage.digests import digest
from machinable.storage.files import DirectoryFiles, Files
from machinable.storage.records import RowWriter, read_rows

__all__ = ["Resumed", "pack", "resume"]


class Resumed(NamedTuple):
    """Where a trial goes on.

    Attributes:
        checkpoint: its name. facts: what was noted when it was saved. rows: what each scope has by then.
        paths: local paths of the checkpoints to restore, by who has saved them: the component, or the index of a child.
    """

    checkpoint: str
    facts: Mapping[str, Any]
    rows: Mapping[str, Restored]
    paths: Mapping[str, str]


class _Changed(Exception):
    """Something is not any more what it was when the checkpoint was saved."""


def pack(facts: Mapping[str, Any], files: Files, path: str, directory: str) -> None:
    """Copy what `resume` needs of a trial, so that it can go on elsewhere whatever becomes of this attempt.

    Args:
        facts: what was noted when the checkpoint was saved. files, path: the trial's folder. directory: on this host.
    """
    there = DirectoryFiles(directory)
    for name in [layout.join(layout.ARTIFACTS, name) for name in facts["artifacts"]]:
        there.write(name, files.read(layout.join(path, name)))
    for name in [saved["name"] for saved in facts["saved"].values()]:
        if name.partition("/")[0] == layout.CHECKPOINTS:
            for found in _files_at(files, layout.join(path, name)):
                there.write(found.removeprefix(path + "/"), files.read(found))
    for scope in facts["rows"]:
        writer = RowWriter(there, layout.scope_file(scope))
        for row in read_rows(files, layout.join(path, layout.scope_file(scope))):
            writer.append(row)
        writer.close()
    there.write(layout.STATUS, dumps({"at_checkpoint": facts}).encode())


def _files_at(files: Files, path: str) -> list[str]:
    return [found.path for found in files.walk(path)] if files.is_directory(path) else [path]


def resume(source: Files, former: str, files: Files, path: str, checkpoints: LocalFolder) -> Resumed | str:
    """Bring back what was there when the last checkpoint of a former attempt was saved.

    Args:
        source, former: the folder of the former attempt, and where it is. files, path: that of the new one.
        checkpoints: the new one's checkpoints.

    Returns:
        Where to go on; or a text, why that cannot be and the new attempt begins from scratch, with nothing in it.
    """
    try:
        facts = loads(source.read(layout.join(former, layout.STATUS)))["at_checkpoint"]
        if facts is None:
            return "it has no checkpoint"
        saved: Mapping[str, Mapping[str, Plain]] = facts["saved"]
        rows = {scope: _rows(source, former, scope, count) for scope, count in facts["rows"].items()}
        for name, known in facts["artifacts"].items():
            data = _read(source, layout.join(former, layout.ARTIFACTS, name))
            if digest(data) != known:
                raise _Changed(f"the artifact {name!r} was changed after the checkpoint")
            files.write(layout.join(path, layout.ARTIFACTS, name), data)
        for found in source.walk(layout.join(former, layout.CHECKPOINTS)):
            files.write(layout.join(path, found.path.removeprefix(former).lstrip("/")), source.read(found.path))
        *_, last = saved.values()
        paths = {who: _local_path(one, checkpoints) for who, one in saved.items()}
    except (_Changed, KeyError, TypeError, ValueError, FileNotFoundError, MachinableError) as error:
        checkpoints.close()
        for name in (layout.ARTIFACTS, layout.CHECKPOINTS):
            if files.exists(layout.join(path, name)):
                files.remove(layout.join(path, name))
        return str(error) if isinstance(error, _Changed) else f"{type(error).__name__}: {error}"
    for scope, there in rows.items():
        writer = RowWriter(files, layout.join(path, layout.scope_file(scope)))
        for row in there:
            writer.append(row)
        writer.close()
    return Resumed(last["name"], facts, {scope: Restored.of(there) for scope, there in rows.items()}, paths)


def _read(files: Files, path: str) -> bytes:
    try:
        return files.read(path)
    except FileNotFoundError:
        raise _Changed(f"{path} is not there any more") from None


def _rows(files: Files, former: str, scope: str, count: int) -> list[dict[str, Plain]]:
    rows = read_rows(files, layout.join(former, layout.scope_file(scope)))
    if len(rows) < count:
        raise _Changed(f"the record {scope!r} had {count} rows, and {len(rows)} are left")
    return rows[:count]


def _local_path(saved: Mapping[str, Plain], checkpoints: LocalFolder) -> str:
    """Where a checkpoint lies on this host, if it is what was saved."""
    name: str = saved["name"]
    folder, _, inner = name.partition("/")
    if folder != layout.CHECKPOINTS:
        return name
    place = layout.join(checkpoints.open(), inner)
    if tree_digest(place) != saved["digest"]:
        raise _Changed(f"the checkpoint {name} was changed after it was saved")
    return place
