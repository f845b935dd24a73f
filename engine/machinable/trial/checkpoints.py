"""Save checkpoints, and continue from the last one of a previous attempt.

`on_save` stores the state of a component; rows, artifacts and random number generators of that moment are recorded
with it. An attempt that continues starts with the same. A checkpoint that is saved within an iteration counts as the
state after it, including its row; one that is saved in `on_before_execute_iteration`, as the state after that event.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from msgspec import Struct

from machinable.component.base import Component, saver_of, state_of
from machinable.component.local_dir import LocalFolder
from machinable.errors import InvalidType, MachinableError
from machinable.serialization import Plain
from machinable.storage import layout
from machinable.storage.documents import STATUS, read_document, read_rows
from machinable.storage.files import Files
from machinable.storage.hashing import digest_of, file_digest, tree_digest
from machinable.storage.layout import ARTIFACTS, CHECKPOINTS, join
from machinable.storage.streams import RowWriter

__all__ = ["Checkpoints", "Resumed", "resume"]


class Checkpoints:
    """The checkpoints of one attempt.

    Args:
        folder: Their folder.
        keep: The number of checkpoints of each component that are kept; None for all.
        snapshot: Returns the rows of each scope, the digests of the artifacts and the states of the generators.
        write: Stores the name of the last checkpoint, and the facts to continue from it; None leaves these unchanged.

    Attributes:
        saved: The last checkpoint of each component that has saved one.
        is_iterating: Whether an iteration is running, so that the facts are known when it ends.
    """

    def __init__(
        self,
        folder: LocalFolder,
        keep: int | None,
        snapshot: Callable[[], Mapping[str, Plain]],
        write: Callable[[str, Mapping[str, Plain] | None], None],
    ) -> None:
        self.is_iterating = False
        self._folder = folder
        self._keep = keep
        self._snapshot = snapshot
        self._write = write
        self.saved: dict[str, dict[str, Plain]] = {}
        self._unsettled: str | None = None  # the last checkpoint, if its facts are not stored yet

    def save(self, component: Component, path: str | None, timestep: int | None) -> tuple[Any, str | None]:
        """Let a component save its state, by default to the folder of checkpoints and numbered by its saves.

        Returns:
            The name that `on_save` returned, or False; and the name to store, which is relative to
            the trial if the checkpoint is inside.
        """
        state = state_of(component)
        place = self._folder.open() if path is None else os.fspath(path)
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
        self._folder.sync()
        name = os.fspath(saved)
        if path is None:
            relative = os.path.relpath(os.path.join(place, name), place)
            if relative.split(os.sep)[0] != os.pardir:
                name = join(CHECKPOINTS, "" if relative == os.curdir else relative.replace(os.sep, "/"))
        before = self.saved.pop(saver_of(component), {})  # in the order of the last saves
        earlier = [*before["earlier"], before["name"]] if before else []
        self.saved[saver_of(component)] = {
            "name": name,
            "saves": state.saves,
            "digest": self._digest(name),
            "earlier": [one for one in earlier if one != name and one.startswith(f"{CHECKPOINTS}/")],
        }
        if self.is_iterating:
            self._unsettled = name
            self._write(name, None)
        else:
            self._store(name, None, False, False)
        return saved, name

    def settle(self, iteration: int, *, has_begun: bool = False, is_last: bool = False) -> None:
        """Store the iteration to continue with after a checkpoint that was saved in an iteration.

        `has_begun` means that its first event is over, `is_last` that the iteration before it was the last.
        """
        if self._unsettled is not None:
            self._store(self._unsettled, iteration, has_begun, is_last)

    def _store(self, name: str, iteration: int | None, has_begun: bool, is_last: bool) -> None:
        """Store the facts to continue from, and then remove checkpoints that are no longer needed."""
        obsolete: list[str] = []
        for facts in self.saved.values():
            excess = 0 if self._keep is None else max(0, len(facts["earlier"]) + 1 - self._keep)
            obsolete += facts["earlier"][:excess]
            facts["earlier"] = facts["earlier"][excess:]
        self._write(name, self._facts(iteration, has_begun, is_last))
        self._unsettled = None
        kept = [one for facts in self.saved.values() for one in (facts["name"], *facts["earlier"])]
        for one in obsolete:
            if not any(_is_inside(one, other) or _is_inside(other, one) for other in kept):
                self._folder.remove(one.partition("/")[2])

    def _facts(self, iteration: int | None, has_begun: bool, is_last: bool) -> dict[str, Plain]:
        """Return the facts to continue from; without an iteration the attempt continues with `on_execute`."""
        return {
            "saved": {saver: dict(facts) for saver, facts in self.saved.items()},
            "iteration": iteration,
            "has_begun": has_begun,
            "is_last": is_last,
            **self._snapshot(),
        }

    def _digest(self, name: str) -> str | None:
        """Return the digest of a checkpoint in the trial's folder; None if it is elsewhere."""
        if name.partition("/")[0] != CHECKPOINTS:
            return None
        return tree_digest(os.path.join(self._folder.open(), *name.split("/")[1:]), _file_digest)


def _is_inside(name: str, other: str) -> bool:
    return f"{name}/".startswith(f"{other}/")


def _file_digest(place: str) -> str:
    status = os.stat(place)
    return _known_digest(place, (status.st_mtime_ns, status.st_size, status.st_ino))


@lru_cache(maxsize=4096)
def _known_digest(place: str, state: tuple[int, int, int]) -> str:
    return file_digest(place)


class Resumed(Struct, frozen=True):
    """The point from which an attempt continues.

    Attributes:
        checkpoint: The name of the checkpoint.
        facts: The facts that were stored with it.
        rows: The number of rows and the last row of each scope.
        paths: Local paths of the checkpoints to restore, by the name that `saver_of` returns.
    """

    checkpoint: str
    facts: Mapping[str, Any]
    rows: Mapping[str, tuple[int, dict[str, Plain]]]
    paths: Mapping[str, str]


class _Changed(Exception):
    """Something has changed since the checkpoint was saved."""


def resume(files: Files, previous: str, path: str, checkpoints: LocalFolder) -> Resumed | str:
    """Restore the state of the last checkpoint of a previous attempt in the folder `path`.

    Returns:
        The point to continue from; or the reason why the new attempt starts from the beginning, and its folder is
        empty.
    """
    try:
        status = read_document(files, join(previous, layout.STATUS), STATUS)
        facts = None if status is None else status.get("at_checkpoint")
        if facts is None:
            return "it has no checkpoint"
        saved: Mapping[str, Mapping[str, Plain]] = facts["saved"]
        rows = {scope: _rows(files, previous, scope, count) for scope, count in facts["rows"].items()}
        for name, known in facts["artifacts"].items():
            stored = join(previous, ARTIFACTS, name)
            if digest_of(files.pieces(stored))[0] != known:
                raise _Changed(f"the artifact {name!r} was changed after the checkpoint")
            files.copy(stored, join(path, ARTIFACTS, name))
        for found in files.walk(join(previous, CHECKPOINTS)):
            files.copy(found.path, join(path, found.path.removeprefix(previous).lstrip("/")))
        *_, last = saved.values()
        paths = {saver: _local_path(one, checkpoints) for saver, one in saved.items()}
    except (_Changed, KeyError, TypeError, ValueError, FileNotFoundError, MachinableError) as error:
        checkpoints.release()
        for name in (ARTIFACTS, CHECKPOINTS):
            if files.exists(join(path, name)):
                files.remove(join(path, name))
        if isinstance(error, MachinableError):
            return error.message
        return str(error) if isinstance(error, _Changed) else f"{type(error).__name__}: {error}"
    for scope, found_rows in rows.items():
        writer = RowWriter(files, join(path, layout.scope_file(scope)))
        for row in found_rows:
            writer.append(row)
        writer.close()
    last_rows = {scope: (len(those), those[-1]) for scope, those in rows.items() if those}
    return Resumed(last["name"], facts, last_rows, paths)


def _rows(files: Files, previous: str, scope: str, count: int) -> list[dict[str, Plain]]:
    rows = read_rows(files, join(previous, layout.scope_file(scope)))
    if len(rows) < count:
        raise _Changed(f"the record {scope!r} had {count} rows, and {len(rows)} are left")
    return rows[:count]


def _local_path(saved: Mapping[str, Plain], checkpoints: LocalFolder) -> str:
    """Return the local path of a checkpoint, unless it has changed since it was saved."""
    name: str = saved["name"]
    folder, _, inner = name.partition("/")
    if folder != CHECKPOINTS:
        return name
    place = join(checkpoints.open(), inner)
    if tree_digest(place) != saved["digest"]:
        raise _Changed(f"the checkpoint {name} was changed after it was saved")
    return place
