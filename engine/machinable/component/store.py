"""Artifacts by name: `self.store.write("weights.npz", …)`, in the format of the name's extension."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from machinable.component.local_dir import LocalFolder
from machinable.errors import ArtifactExists
from machinable.former_names import STORE, find_former_name
from machinable.serialization import Plain
from machinable.storage.artifacts import NOTHING, Artifacts, names_below
from machinable.storage.files import Files
from machinable.storage.formats.registry import check_directory, check_place, dump
from machinable.storage.hashing import digest_of, files_below, stream_digest
from machinable.storage.layout import join
from machinable.storage.temporary import Scratch, temporary_beside

if TYPE_CHECKING:
    from machinable.component.shared import SharedData, SharedDirectory

__all__ = ["Store"]


class Store:
    """The artifacts of one trial.

    `local` is their folder as a local directory. `is_new` says that only this object has written there, which saves
    requests to the storage.
    """

    def __init__(
        self, files: Files, path: str, local: LocalFolder, is_new: bool, shared_data: Callable[[], SharedData]
    ) -> None:
        self._files = files
        self._path = path
        self._local = local
        self._asks = files.appends or not is_new
        self._shared_data = shared_data
        # A trial trusts what it has written itself.
        self._artifacts = Artifacts(files, path, "this trial", trust=True)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            return find_former_name(self, name, STORE)

    def write(
        self,
        name: str,
        data: Any,
        overwrite: bool = False,
        *,
        save: Callable[[Any, str], Any] | None = None,
        load: Callable[[str], Any] | None = None,
        **options: Any,
    ) -> None:
        """Store data under a name, in the format of its last extension. After an error nothing has been written.

        Args:
            name: The name, with `/` for folders.
            data: The data.
            overwrite: Replace an artifact of that name.
            save: Writes a model to files at or next to the path of `save(data, path)`, for names that end in `.zip`.
            load: Reads that model: `load(path)`.
            options: Those of the format, such as `encoding` for text.

        Raises:
            InvalidType: The format has no such option.
            BadName: The name has no known extension or leaves the folder.
            WrongKind: The format does not take such data.
            ArtifactExists: The name is taken, and `overwrite` is False.
        """
        content = dump(name, data, save=save, load=load, **options)
        self._local.check_open()
        self._local.sync()
        if self._is_file(name):
            if not overwrite:
                raise _exists("artifact", name, "write")
        elif self._asks and self._files.is_directory(join(self._path, name)):
            raise ArtifactExists(f"{name!r} is a folder of artifacts", given=name, todo="Use another name.")
        self._refuse_file_above(name)
        self._put(name, content)

    def _put(self, name: str, content: bytes) -> None:
        self._files.write(join(self._path, name), content)
        self._local.wrote(name, content)

    def _refuse_file_above(self, name: str) -> None:
        above = name.rpartition("/")[0]
        while above:
            if self._is_file(above):
                raise ArtifactExists(
                    f"{above!r} is an artifact and cannot contain others", given=name, todo="Use another name."
                )
            above = above.rpartition("/")[0]

    def _is_file(self, name: str) -> bool:
        path = join(self._path, name)
        is_own = name in self._local.digests and self._files.local_path(path) is None  # there, it may have been removed
        if is_own or self._local.has(name):
            return True
        return self._asks and self._files.exists(path) and not self._files.is_directory(path)

    def read(self, name: str, default: Any = NOTHING, *, load: Callable[[str], Any] | None = None) -> Any:
        """Return an artifact as it was written.

        Args:
            name: Its name.
            default: Returned if there is no such artifact.
            load: Reads a model (`.zip`); default: the function that was named when it was written.

        Raises:
            MissingArtifact: There is no such artifact, and no default.
            BadName: The name is not that of an artifact.
        """
        self._local.sync()
        return self._artifacts.read(name, default, load=load)

    def path(self, name: str) -> str:
        """Return a local path for an artifact, existing or not; a file written to it is stored.

        Args:
            name: With any extension; a name that ends in `/` is a directory, which is created.
        """
        check_place(name)
        place = os.path.join(self._local.open(), name.removesuffix("/"))
        os.makedirs(place if name.endswith("/") else os.path.dirname(place), exist_ok=True)
        return place

    @contextmanager
    def directory(self, name: str, overwrite: bool = False) -> Iterator[str]:
        """Yield a new local directory that is stored when the block ends without an error.

        Example: `with self.store.directory("model/") as path:`. All of it appears at once, or nothing. On a remote
        storage, its files appear one after the other; if one cannot be stored, the others are removed.

        Args:
            name: A name that ends in `/`.
            overwrite: Replace a directory of that name.

        Raises:
            BadName: The name has no `/` at its end, or leaves the folder.
            ArtifactExists: The name is taken, and `overwrite` is False.
        """
        place = check_directory(name)
        self._refuse_taken_directory(name, place, overwrite)
        local = self._files.local_path(self._path)
        if local is None:
            scratch = Scratch()
            temporary = scratch.path
        else:
            temporary = temporary_beside(local)
            os.makedirs(temporary)
        try:
            new = os.path.join(temporary, os.path.basename(place))
            os.mkdir(new)
            yield new
            for path in files_below(new):
                check_place(name + path)
            self._refuse_taken_directory(name, place, overwrite)
            if local is not None:
                self._files.allow(self._path)
                _exchange(new, os.path.join(local, *place.split("/")), temporary)
                for known in [known for known in self._local.digests if known.startswith(name)]:
                    del self._local.digests[known]
            else:
                self._store_directory(new, name)
        finally:
            if local is None:
                scratch.close()
            else:
                from shutil import rmtree

                rmtree(temporary, ignore_errors=True)
                with suppress(OSError):  # the trial has other files there
                    os.rmdir(os.path.dirname(temporary))

    def _refuse_taken_directory(self, name: str, place: str, overwrite: bool) -> None:
        self._local.check_open()
        if self._is_file(place):
            raise ArtifactExists(f"{place!r} is an artifact, not a directory", given=name, todo="Use another name.")
        if not overwrite and self.has(name):
            raise _exists("directory", name, "directory")
        self._refuse_file_above(place)

    def _store_directory(self, directory: str, name: str) -> None:
        self._local.sync()
        old = {known for known in self._names() if known.startswith(name)}
        done: set[str] = set()
        try:
            for path in sorted(files_below(directory)):
                stored = name + path.replace(os.sep, "/")
                done.add(stored)
                self._local.store(stored, os.path.join(directory, path))
        except BaseException:
            self._remove(done - old)
            raise
        self._remove(old - done)

    def _remove(self, names: set[str]) -> None:
        for name in names:
            self._local.removed(name)
            with suppress(FileNotFoundError):
                self._files.remove(join(self._path, name))

    def has(self, name: str) -> bool:
        """Return whether there is an artifact of that name, or a folder of artifacts for a name that ends in `/`."""
        self._local.sync()
        if name.endswith("/"):
            return any(one.startswith(name) for one in self._names())
        return self._is_file(name)

    def _names(self) -> list[str]:
        """Return the names of all artifacts."""
        return names_below(self._files, self._path) if self._asks else [*self._local.digests]

    def shared(self, name: str, keys: Sequence[str]) -> SharedDirectory:
        """Return a local directory that is shared by trials with the same component and values of these keys.

        One trial at a time can use it: others wait until this one, or its `with` block, ends.

        Args:
            name: A name that ends in `/`; each name is a separate directory.
            keys: Keys of the configuration, dotted as in `data.name`.

        Returns:
            The path. From a remote storage, the content is fetched, and changes are stored before another trial gets
            the directory.

        Raises:
            BadName: The name has no `/` at its end, or leaves the folder.
            MissingKey: The configuration has no such key.
            StorageUnavailable: The server of locks cannot be reached.
        """
        return self._shared_data().directory(check_directory(name), keys)

    def digests(self) -> dict[str, dict[str, Plain]]:
        """Return `{"digest": "sha256:…", "size": n}` of each artifact that exists now, by name."""
        self._local.sync()
        return {
            name: {"digest": found[0], "size": found[1]}
            for name in sorted(set(self._names()))
            if (found := self._digest(name)) is not None
        }

    def _digest(self, name: str) -> tuple[str, int] | None:
        path = join(self._path, name)
        local = self._files.local_path(path)
        if local is not None and (self._local.is_open or name not in self._local.digests):
            try:  # the component used the directory, and may have changed any file
                with open(local, "rb") as file:
                    return stream_digest(file), file.tell()
            except FileNotFoundError:
                return None
        if name not in self._local.digests:
            self._local.digests[name] = digest_of(self._files.pieces(path))
        return self._local.digests[name]


def _exists(kind: str, name: str, method: str) -> ArtifactExists:
    return ArtifactExists(
        f"the {kind} {name!r} already exists",
        given=name,
        todo=f"Take another name, or allow it: store.{method}(…, overwrite=True).",
    )


def _exchange(new: str, place: str, temporary: str) -> None:
    """Move a directory to its place, and the previous one to the temporary directory."""
    os.makedirs(os.path.dirname(place), exist_ok=True)
    if os.path.lexists(place):
        os.rename(place, os.path.join(temporary, ".former"))
    if next(files_below(new), None) is not None:  # storages hold files only, so an empty directory does not exist
        os.rename(new, place)
