"""What a trial keeps by name: `self.store.write("weights.npz", …)`, in the format that the name's extension says."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

from machinable.component.folder import LocalFolder
from machinable.errors import ArtifactExists, BadName, MissingArtifact, near_names
from machinable.storage.files import Files
from machinable.storage.formats import check_name, dump, load
from machinable.storage.layout import join

__all__ = ["Store"]

_NOTHING: Any = object()


class Store:
    """The artifacts of one trial.

    Args:
        files: the storage. path: the folder of the artifacts. local: the same as a local directory.
        is_new: nothing can be there that this object has not written, which spares a storage from being asked.
    """

    def __init__(self, files: Files, path: str, local: LocalFolder, is_new: bool) -> None:
        self._files = files
        self._path = path
        self._local = local
        self._asks = files.appends or not is_new
        self._written: set[str] = set()

    def write(self, name: str, data: Any, overwrite: bool = False) -> None:
        """Keep data under a name; the last extension decides how.

        Raises:
            BadName: the name has no known extension or leaves the folder. WrongKind: the format takes no such data.
            ArtifactExists: the name is taken, and `overwrite` is False. Nothing has been written in all these cases.
        """
        content = dump(name, data)
        self._local.sync()
        self._refuse_taken(name, overwrite)
        self._files.write(join(self._path, name), content)
        self._written.add(name)
        self._local.wrote(name, content)

    def _refuse_taken(self, name: str, overwrite: bool) -> None:
        is_there = self._is_file(name)
        if is_there and not overwrite:
            raise ArtifactExists(
                f"the artifact {name!r} exists already", given=name,
                todo="Take another name, or allow it: store.write(…, overwrite=True).",
            )  # fmt: skip
        if not is_there and self._asks and self._files.is_directory(join(self._path, name)):
            raise ArtifactExists(f"{name!r} is a folder of artifacts", given=name, todo="Take another name.")
        above = name.rpartition("/")[0]
        while above:
            if self._is_file(above):
                raise ArtifactExists(f"{above!r} is an artifact and can hold no others", given=name,
                                     todo="Take another name.")  # fmt: skip
            above = above.rpartition("/")[0]

    def _is_file(self, name: str) -> bool:
        if name in self._written or self._local.has(name):
            return True
        path = join(self._path, name)
        return self._asks and self._files.exists(path) and not self._files.is_directory(path)

    def read(self, name: str, default: Any = _NOTHING) -> Any:
        """What was written, as the same kind, or the default if one is given and there is no such artifact.

        Raises:
            MissingArtifact: there is no such artifact. BadName: there can be none of that name.
        """
        check_name(name)
        self._local.sync()
        try:
            content = self._files.read(join(self._path, name))
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            if default is not _NOTHING:
                return default
            known = sorted(self._names(""))
            near = near_names(name, known)
            raise MissingArtifact(
                f"no artifact {name!r}", given=name, known=known,
                todo=f"Did you mean {' or '.join(map(repr, near))}?" if near
                else f"This trial has written: {', '.join(known) or 'nothing'}",
            ) from None  # fmt: skip
        return load(name, content, trust=True)  # a trial trusts what it has written itself

    def path(self, name: str) -> str:
        """A local path for an artifact, there already or not; what is written to it is kept.

        Args:
            name: with any extension; a name that ends in `/` is a directory, which is made.
        """
        text = name.removesuffix("/")
        if (
            not text
            or re.match(r"/|[A-Za-z]:", text)
            or "\\" in text
            or not {"", ".", ".."}.isdisjoint(text.split("/"))
        ):
            raise BadName(
                f"{name!r} cannot be the name of an artifact", given=name,
                todo="Use a relative name with / between folders, such as 'plots/loss.pt'.",
            )  # fmt: skip
        place = os.path.join(self._local.open(), *text.split("/"))
        os.makedirs(place if name.endswith("/") else os.path.dirname(place), exist_ok=True)
        return place

    def has(self, name: str) -> bool:
        """Whether there is an artifact of that name, or a folder of them for a name that ends in `/`."""
        self._local.sync()
        if name.endswith("/"):
            return any(one.startswith(name) for one in self._names(""))
        return self._is_file(name)

    def _names(self, below: str) -> Iterator[str]:
        for entry in self._files.entries(join(self._path, below)):
            name = join(below, entry.name)
            if entry.is_directory:
                yield from self._names(name)
            else:
                yield name
