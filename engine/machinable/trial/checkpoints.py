"""Save checkpoints, and continue from the last one of a previous attempt.

`on_save` stores the state of a component; rows, artifacts and random number generators of that moment are noted
beside it. An attempt that continues begins with the same. A checkpoint that is saved within an iteration counts as the
state after it, when its row is saved, too; one that is saved in `on_before_execute_iteration` as the state after that.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from machinable.component.base import Component, state_of
from machinable.component.local_dir import LocalFolder
from machinable.component.record import Restored
from machinable.errors import InvalidType, MachinableError
from machinable.serialization import Plain, loads
from machinable.storage import layout
from machinable.storage.files import Files
from machinable.storage.hashing import digest, file_digest, tree_digest
from machinable.storage.layout import CHECKPOINTS, join
from machinable.storage.streams import RowWriter, read_rows

__all__ = ["NODE", "Checkpoints", "Resumed", "resume", "save"]

NODE = "node"  # the component itself as what has saved a checkpoint; a child has its index


def save(component: Component, path: str | None, timestep: int | None, folder: LocalFolder) -> tuple[Any, str | None]:
    """Let a component save its state.

    Args:
        component: the component.
        path: where to; None: the folder of checkpoints.
        timestep: None: the number of checkpoints that the component has saved.
        folder: the folder of checkpoints.

    Returns:
        The name of the checkpoint or False, and the name to store: relative to the trial if it is inside.
    """
    state = state_of(component)
    place = folder.open() if path is None else os.fspath(path)
    saved = component.on_save(place, state.saves if timestep is None else timestep)
    if saved is False:
        return False, None
    if saved is None:
        saved = place
    if not isinstance(saved, (str, os.PathLike)):
        raise InvalidType(
            f"on_save returned {saved!r}",
            given=saved,
            todo="Return the name of the checkpoint, None for the given path, or False if nothing was saved.",
        )
    state.saves += 1
    folder.sync()
    name = os.fspath(saved)
    if path is not None:
        return saved, name
    relative = os.path.relpath(os.path.join(place, name), place)
    if relative.split(os.sep)[0] == os.pardir:
        return saved, name
    return saved, join(CHECKPOINTS, "" if relative == os.curdir else relative.replace(os.sep, "/"))


class Checkpoints:
    """The checkpoints of one attempt.

    Args:
        folder: their folder.
        snapshot: returns the rows of each scope, the digests of the artifacts and the states of the generators.
        write: stores the name of the last checkpoint, and the facts to continue from it; None leaves these unchanged.
    """

    def __init__(
        self,
        folder: LocalFolder,
        snapshot: Callable[[], Mapping[str, Plain]],
        write: Callable[[str, Mapping[str, Plain] | None], None],
    ) -> None:
        self._folder = folder
        self._snapshot = snapshot
        self._write = write
        self._saved: dict[str, dict[str, Plain]] = {}
        self._last = ""
        self._is_iterating = False
        self._is_unsettled = False  # the facts about the last one are stored at the end of the iteration
        self._known: dict[str, tuple[tuple[int, int, int], str]] = {}

    def save(self, component: Component, path: str | None, timestep: int | None) -> tuple[Any, str | None]:
        """Let a component save its state; see `save`."""
        saved, name = save(component, path, timestep, self._folder)
        if name is not None:
            self._last = name
            who = _who(component)
            if who is not None:
                self._saved.pop(who, None)  # in the order of the last saves
                self._saved[who] = {"name": name, "saves": state_of(component).saves, "digest": self._digest(name)}
            self._is_unsettled = self._is_iterating
            self._write(name, None if self._is_unsettled else self._facts(None, False, False))
        return saved, name

    def before(self) -> None:
        """Note that an iteration is about to begin."""
        self._is_iterating = True

    def within(self, iteration: int) -> None:
        """Note that an iteration has begun."""
        self._settle(iteration, has_begun=True)

    def after(self, iteration: int, is_last: bool) -> None:
        """Note that an iteration is over and its row saved."""
        self._is_iterating = False
        self._settle(iteration + 1, is_last=is_last)

    def _settle(self, iteration: int, *, has_begun: bool = False, is_last: bool = False) -> None:
        if self._is_unsettled:
            self._is_unsettled = False
            self._write(self._last, self._facts(iteration, has_begun, is_last))

    def _facts(self, iteration: int | None, has_begun: bool, is_last: bool) -> dict[str, Plain]:
        """Return the facts to continue from; without an iteration the attempt continues with `on_execute`."""
        return {
            "saved": {who: dict(facts) for who, facts in self._saved.items()},
            "iteration": iteration,
            "has_begun": has_begun,
            "is_last": is_last,
            **self._snapshot(),
        }

    def restored(self, facts: Mapping[str, Plain]) -> None:
        """Take over the checkpoints of a previous attempt."""
        self._saved = {who: dict(saved) for who, saved in facts["saved"].items()}

    def _digest(self, name: str) -> str | None:
        """Return the digest of a checkpoint in the trial's folder; None for one elsewhere."""
        if name.partition("/")[0] != CHECKPOINTS:
            return None
        root = self._folder.open()
        return tree_digest(os.path.join(root, *name.split("/")[1:]), self._file_digest)

    def _file_digest(self, place: str) -> str:
        status = os.stat(place)
        state = status.st_mtime_ns, status.st_size, status.st_ino
        known = self._known.get(place)
        if known is None or known[0] != state:
            known = self._known[place] = state, file_digest(place)
        return known[1]


def _who(component: Component) -> str | None:
    if not state_of(component).is_child:
        return NODE
    children = component.node.children if component.node is not None else None
    return next((str(index) for index, child in enumerate(children or ()) if child is component), None)


class Resumed(Struct, frozen=True):
    """The point from which an attempt continues.

    Attributes:
        checkpoint: the name of the checkpoint.
        facts: what was stored with it.
        rows: the rows of each scope.
        paths: local paths of the checkpoints to restore, by component: `NODE` or the index of a child.
    """

    checkpoint: str
    facts: Mapping[str, Any]
    rows: Mapping[str, Restored]
    paths: Mapping[str, str]


class _Changed(Exception):
    """Something has changed since the checkpoint was saved."""


def resume(files: Files, previous: str, path: str, checkpoints: LocalFolder) -> Resumed | str:
    """Restore what existed when the last checkpoint of a previous attempt was saved.

    Args:
        files: the storage.
        previous: the folder of the previous attempt.
        path: the folder of the new attempt.
        checkpoints: the checkpoints of the new attempt.

    Returns:
        The point to continue from; or the reason why the new attempt starts from the beginning, and its folder is
        empty.
    """
    try:
        facts = loads(files.read(layout.join(previous, layout.STATUS)))["at_checkpoint"]
        if facts is None:
            return "it has no checkpoint"
        saved: Mapping[str, Mapping[str, Plain]] = facts["saved"]
        rows = {scope: _rows(files, previous, scope, count) for scope, count in facts["rows"].items()}
        for name, known in facts["artifacts"].items():
            data = _read(files, layout.join(previous, layout.ARTIFACTS, name))
            if digest(data) != known:
                raise _Changed(f"the artifact {name!r} was changed after the checkpoint")
            files.write(layout.join(path, layout.ARTIFACTS, name), data)
        for found in files.walk(layout.join(previous, layout.CHECKPOINTS)):
            files.write(layout.join(path, found.path.removeprefix(previous).lstrip("/")), files.read(found.path))
        *_, last = saved.values()
        paths = {who: _local_path(one, checkpoints) for who, one in saved.items()}
    except (_Changed, KeyError, TypeError, ValueError, FileNotFoundError, MachinableError) as error:
        checkpoints.close()
        for name in (layout.ARTIFACTS, layout.CHECKPOINTS):
            if files.exists(layout.join(path, name)):
                files.remove(layout.join(path, name))
        return str(error) if isinstance(error, _Changed) else f"{type(error).__name__}: {error}"
    for scope, found_rows in rows.items():
        writer = RowWriter(files, layout.join(path, layout.scope_file(scope)))
        for row in found_rows:
            writer.append(row)
        writer.close()
    return Resumed(last["name"], facts, {scope: Restored.of(those) for scope, those in rows.items()}, paths)


def _read(files: Files, path: str) -> bytes:
    try:
        return files.read(path)
    except FileNotFoundError:
        raise _Changed(f"{path} no longer exists") from None


def _rows(files: Files, previous: str, scope: str, count: int) -> list[dict[str, Plain]]:
    rows = read_rows(files, layout.join(previous, layout.scope_file(scope)))
    if len(rows) < count:
        raise _Changed(f"the record {scope!r} had {count} rows, and {len(rows)} are left")
    return rows[:count]


def _local_path(saved: Mapping[str, Plain], checkpoints: LocalFolder) -> str:
    """Return the local path of a checkpoint, unless it has changed since it was saved."""
    name: str = saved["name"]
    folder, _, inner = name.partition("/")
    if folder != layout.CHECKPOINTS:
        return name
    place = layout.join(checkpoints.open(), inner)
    if tree_digest(place) != saved["digest"]:
        raise _Changed(f"the checkpoint {name} was changed after it was saved")
    return place
