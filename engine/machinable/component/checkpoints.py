"""Checkpoints: `on_save` stores a component's state, and beside it is noted what else was there at that moment.

A trial that goes on from a checkpoint begins with the rows and artifacts that were there when it was saved. One that
is saved within an iteration counts as the state at its end, when its row is saved, too; one that is saved in
`on_before_execute_iteration` as the state at the end of that.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from machinable.component.base import Component, Part
from machinable.component.folder import LocalFolder
from machinable.errors import InvalidType
from machinable.plain import Plain
from machinable.storage.digests import digest, file_digest
from machinable.storage.layout import CHECKPOINTS, join

__all__ = ["NODE", "Checkpoints", "checkpoint_digests", "save"]

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
            f"on_save returned {saved!r}", given=saved,
            todo="It returns the name of what was saved, None for the path that it got, or False for nothing saved.",
        )  # fmt: skip
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
            "iteration": iteration, "has_begun": has_begun, "is_last": is_last,
            **self._around(),
        }  # fmt: skip

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
            known = self._known[place] = state, digest_of_file(place)
        return known[1]


def _who(component: Component) -> str | None:
    part: Part = component.__dict__["__machinable__"]
    if not part.is_child:
        return NODE
    children = component.node.children if component.node is not None else None
    return next((str(index) for index, child in enumerate(children or ()) if child is component), None)


def checkpoint_digests(status: Mapping[str, Any]) -> dict[str, str]:
    """The digests of the checkpoints that a status.json tells of, by name; the names are relative to the artifacts."""
    saved = (status.get("at_checkpoint") or {}).get("saved") or {}
    return {f"../{one['name']}": one["digest"] for one in saved.values() if one.get("digest")}


def digest_of_file(place: str) -> str:
    """The digest of a file of this host."""
    with open(place, "rb") as file:
        return file_digest(file)


def tree_digest(place: str, of_file: Callable[[str], str] = digest_of_file) -> str:
    """The digest of a file, or of a directory with the names and contents of all that is in it."""
    if os.path.isfile(place):
        return of_file(place)
    lines = sorted(f"{name}\0{of_file(os.path.join(place, *name.split('/')))}\n" for name in _files_in(place))
    return digest("".join(lines).encode())


def _files_in(place: str) -> Iterator[str]:
    for directory, _, names in os.walk(place):
        for name in names:
            path = os.path.join(directory, name)
            if os.path.isfile(path):
                yield os.path.relpath(path, place).replace(os.sep, "/")
