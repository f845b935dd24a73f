"""A folder of a trial as a local directory, for libraries that need a path."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress

from machinable.errors import Damaged
from machinable.storage.files import Files, checked
from machinable.storage.hashing import digest, files_below, stream_digest
from machinable.storage.layout import join
from machinable.storage.temporary import Scratch, is_temporary

__all__ = ["LocalFolder"]


class LocalFolder:
    """A folder of a storage; for a remote storage a temporary copy, whose changes `sync` stores.

    Attributes:
        digests: Digest and size of the files that were stored, by name.
    """

    def __init__(self, files: Files, path: str) -> None:
        self._files = files
        self._path = path
        self._local: str | None = None
        self._copy: str | None = None  # the same directory, if it is a copy
        self._scratch: Scratch | None = None  # which contains the copy
        self._seen: dict[str, tuple[int, int]] = {}
        self._is_closed = False
        self.digests: dict[str, tuple[str, int]] = {}

    @property
    def is_open(self) -> bool:
        """Whether the directory is in use, and any file in it may have changed."""
        return self._local is not None

    def check_open(self) -> None:
        """Check that it is not closed: a thread that outlives its trial must not change what was stored.

        Raises:
            ValueError: It is closed.
        """
        if self._is_closed:
            raise ValueError(f"{self._path} is closed, because the trial has ended")

    def open(self) -> str:
        """Return the directory; create it if it does not exist."""
        self.check_open()
        self._files.allow(self._path)
        if self._local is None:
            local = self._files.local_path(self._path)
            if local is not None:
                try:
                    os.makedirs(local, exist_ok=True)
                except (FileExistsError, NotADirectoryError) as error:
                    raise Damaged(
                        f"there is a file in the place of the directory {local}",
                        given=local,
                        todo="Move it elsewhere.",
                    ) from error
            else:
                self._scratch = Scratch()
                local = self._copy = self._scratch.path
                for stored in self._files.walk(self._path):
                    self._fetch(stored.path.removeprefix(self._path + "/"), self._files.pieces(stored.path))
            self._local = local
        return self._local

    def wrote(self, name: str, data: bytes) -> None:
        """Record a file that was written to the storage, and add it to an open copy."""
        self.digests[name] = digest(data), len(data)
        if self._copy is not None:
            self._fetch(name, [data])

    def store(self, name: str, place: str) -> None:
        """Store a file of this host, piece by piece, and add it to an open copy."""
        self._store(name, place)
        if self._copy is not None:
            self._fetch(name, self._files.pieces(join(self._path, name)))

    def _store(self, name: str, place: str) -> None:
        with open(place, "rb") as file:
            self._files.write_from(join(self._path, name), file)
            self.digests[name] = stream_digest(file), file.tell()

    def _fetch(self, name: str, pieces: Iterable[bytes]) -> None:
        assert self._copy is not None
        place = os.path.join(self._copy, checked(name))
        os.makedirs(os.path.dirname(place), exist_ok=True)
        with open(place, "wb") as file:
            file.writelines(pieces)
        self._seen[name] = _state(place)

    def removed(self, name: str) -> None:
        """Remove a file from an open copy after it was removed from the storage."""
        self.digests.pop(name, None)
        if self._copy is not None and self._seen.pop(name, None) is not None:
            with suppress(FileNotFoundError):
                os.unlink(os.path.join(self._copy, name))

    def remove(self, name: str) -> None:
        """Remove a file or a directory, if it exists."""
        place = os.path.join(self.open(), *checked(name, root=False).split("/"))
        with suppress(FileNotFoundError):
            if os.path.isdir(place) and not os.path.islink(place):
                from shutil import rmtree

                rmtree(place)
            else:
                os.unlink(place)
        self.sync()

    def has(self, name: str) -> bool:
        """Return whether a copy had a file of that name when it was last synchronized."""
        return name in self._seen

    def sync(self) -> None:
        """Store the changes of a copy since the last call."""
        if self._copy is None:
            return
        names = sorted(name.replace(os.sep, "/") for name in files_below(self._copy))
        for name in names:
            place = os.path.join(self._copy, name)
            state = _state(place)
            if self._seen.get(name) != state:
                self._store(name, place)
                self._seen[name] = state
        for name in self._seen.keys() - names:
            del self._seen[name]
            self.digests.pop(name, None)
            with suppress(FileNotFoundError):
                self._files.remove(join(self._path, name))

    def left_out(self) -> Iterator[tuple[str, str]]:
        """Yield the names of what is in the open directory and is not stored, with what it is."""
        if self._local is None:
            return
        below = len(self._path) + 1
        stored = self._seen if self._copy else {found.path[below:] for found in self._files.walk(self._path)}
        for folder, folders, names in os.walk(self._local):
            for name in [*names, *(one for one in folders if os.path.islink(os.path.join(folder, one)))]:
                place = os.path.join(folder, name)
                relative = os.path.relpath(place, self._local)
                if relative not in stored and not is_temporary(name):
                    yield relative, _kind(place)

    def close(self) -> None:
        """Release the directory; it cannot be opened again."""
        self._is_closed = True
        self.release()

    def release(self) -> None:
        """Store changes and remove the copy, or a directory that is still empty."""
        local = self._local
        if local is None:
            return
        try:
            self.sync()
        finally:
            self._local = self._copy = None
            if self._scratch is not None:
                self._scratch.close()
            else:
                with suppress(OSError):  # it is not empty
                    os.rmdir(local)


def _state(place: str) -> tuple[int, int]:
    status = os.stat(place)
    return status.st_mtime_ns, status.st_size


def _kind(place: str) -> str:
    mode = os.lstat(place).st_mode
    if stat.S_ISLNK(mode):
        return "a link to a directory" if os.path.isdir(place) else "a link that leads out, or nowhere"
    kinds = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}
    return kinds.get(stat.S_IFMT(mode), "not a file")
