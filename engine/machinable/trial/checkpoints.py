"""Checkpoints: `on_save` stores a component's state, and beside it is noted what else was there at that moment.

A trial that goes on from a checkpoint begins with the rows and artifacts that were there when it was saved. One that
is saved within an iteration counts as the state at its end, when its row is saved, too; one that is saved in
`on_before_execute_iteration` as the state at the end of that.

Goes on from the checkpoint of a former attempt: with the rows and artifacts that were there when it was saved.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from machinable.component.base import Component, Part
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

NODE = "node"  # who has saved: the component itself, or else the index of a child


def save(component: Component, path: str | None, timestep: int | None, folder: LocalFolder) -> tuple[Any, str | None]:
    """Let the component save its state.

    Args:
        path: where to; None: the folder of checkpoints. timestep: None: the number of successful saves so far.

    Returns:
        The name of what was saved or False, and the name to be stored: relative to the trial if it lies in it.
    """
    part: Part = component.__dict__["__machinable__"]
    place = folder.open() if path is None else os.fspath(path)
    saved = component.on_save(place, part.saves if timestep is None else timestep)
    if saved is False:
        return False, None
    if saved is None:
        saved = place
    if not isinstance(saved, (str, os.PathLike)):
        raise InvalidType(
            f"on_save returned {saved!r}",
            given=saved,
            todo="It returns the name of what was saved, None for the path that it got, or False for nothing saved.",
        )
    part.saves += 1
    folder.sync()
    name = os.fspath(saved)
    if path is not None:
        return saved, name
    relative = os.path.relpath(os.path.join(place, name), place)
    if relative.split(os.sep)[0] == os.pardir:
        return saved, name
    return saved, join(CHECKPOINTS, "" if relative == os.curdir else relative.replace(os.sep, "/"))


class Checkpoints:
    """What is noted about the checkpoints of one trial.

    Args:
        folder: where they lie.
        around: gives the rows of each scope, the digests of the artifacts and the generators as they are now.
        note: writes down the name of the last checkpoint, and what was there when it was saved or None for no news.
    """

    def __init__(
        self,
        folder: LocalFolder,
        around: Callable[[], Mapping[str, Plain]],
        note: Callable[[str, Mapping[str, Plain] | None], None],
    ) -> None:
        self._folder = folder
        self._around = around
        self._note = note
        self._saved: dict[str, dict[str, Plain]] = {}
        self._last = ""
        self._is_iterating = False
        self._is_unsettled = False  # what was there when the last one was saved is noted a little later
        self._known: dict[str, tuple[tuple[int, int, int], str]] = {}

    def save(self, component: Component, path: str | None, timestep: int | None) -> tuple[Any, str | None]:
        """Let a component save its state; see `save`."""
        saved, name = save(component, path, timestep, self._folder)
        if name is not None:
            self._last = name
            who = _who(component)
            if who is not None:
                part: Part = component.__dict__["__machinable__"]
                self._saved.pop(who, None)  # the last one to save stands last
                self._saved[who] = {"name": name, "saves": part.saves, "digest": self._digest(name)}
            self._is_unsettled = self._is_iterating
            self._note(name, None if self._is_unsettled else self._facts(None, False, False))
        return saved, name

    def before(self) -> None:
        """An iteration is about to begin."""
        self._is_iterating = True

    def within(self, iteration: int) -> None:
        """An iteration has begun."""
        self._settle(iteration, has_begun=True)

    def after(self, iteration: int, is_last: bool) -> None:
        """An iteration is over, its row is saved."""
        self._is_iterating = False
        self._settle(iteration + 1, is_last=is_last)

    def _settle(self, iteration: int, *, has_begun: bool = False, is_last: bool = False) -> None:
        if self._is_unsettled:
            self._is_unsettled = False
            self._note(self._last, self._facts(iteration, has_begun, is_last))

    def _facts(self, iteration: int | None, has_begun: bool, is_last: bool) -> dict[str, Plain]:
        """What a trial needs to go on; without an iteration it goes on with `on_execute`."""
        return {
            "saved": {who: dict(facts) for who, facts in self._saved.items()},
            "iteration": iteration,
            "has_begun": has_begun,
            "is_last": is_last,
            **self._around(),
        }

    def restored(self, facts: Mapping[str, Plain]) -> None:
        """Go on counting where a former attempt was."""
        self._saved = {who: dict(saved) for who, saved in facts["saved"].items()}

    def _digest(self, name: str) -> str | None:
        """The digest of a checkpoint in the trial's folder; None for one elsewhere."""
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
    part: Part = component.__dict__["__machinable__"]
    if not part.is_child:
        return NODE
    children = component.node.children if component.node is not None else None
    return next((str(index) for index, child in enumerate(children or ()) if child is component), None)


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


def resume(files: Files, former: str, path: str, checkpoints: LocalFolder) -> Resumed | str:
    """Bring back what was there when the last checkpoint of a former attempt was saved.

    Args:
        files: the storage. former: the folder of the former attempt. path: that of the new one.
        checkpoints: the new one's checkpoints.

    Returns:
        Where to go on; or a text, why that cannot be and the new attempt begins from scratch, with nothing in it.
    """
    try:
        facts = loads(files.read(layout.join(former, layout.STATUS)))["at_checkpoint"]
        if facts is None:
            return "it has no checkpoint"
        saved: Mapping[str, Mapping[str, Plain]] = facts["saved"]
        rows = {scope: _rows(files, former, scope, count) for scope, count in facts["rows"].items()}
        for name, known in facts["artifacts"].items():
            data = _read(files, layout.join(former, layout.ARTIFACTS, name))
            if digest(data) != known:
                raise _Changed(f"the artifact {name!r} was changed after the checkpoint")
            files.write(layout.join(path, layout.ARTIFACTS, name), data)
        for found in files.walk(layout.join(former, layout.CHECKPOINTS)):
            files.write(layout.join(path, found.path.removeprefix(former).lstrip("/")), files.read(found.path))
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
