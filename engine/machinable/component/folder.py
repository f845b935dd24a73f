"""A folder of a trial as a directory of this host, for libraries that insist on a path."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress

from machinable.storage.files import Files, checked
from machinable.storage.layout import join

__all__ = ["LocalFolder"]


class LocalFolder:
    """A folder of a storage; on a storage without local paths a temporary copy of it, which `sync` brings home."""

    def __init__(self, files: Files, path: str) -> None:
        self._files = files
        self._path = path
        self._local: str | None = None
        self._is_copy = False
        self._seen: dict[str, tuple[int, int]] = {}

    def open(self) -> str:
        """The directory; it is made if it is not there."""
        if self._local is None:
            local = self._files.local_path(self._path)
            if local is not None:
                os.makedirs(local, exist_ok=True)
            else:
                from tempfile import mkdtemp  # 10 ms with what it imports

                local = mkdtemp(prefix="machinable-")
                self._is_copy = True
                for name in self._stored(""):
                    self._fetch(local, name, self._files.read(join(self._path, name)))
            self._local = local
        return self._local

    def wrote(self, name: str, data: bytes) -> None:
        """Tell that a file was written to the storage, so that an open copy has it too."""
        if self._is_copy and self._local is not None:
            self._fetch(self._local, name, data)

    def has(self, name: str) -> bool:
        """True if a copy has had a file of that name when it was last synchronised."""
        return name in self._seen

    def _fetch(self, local: str, name: str, data: bytes) -> None:
        place = os.path.join(local, checked(name))
        os.makedirs(os.path.dirname(place), exist_ok=True)
        with open(place, "wb") as file:
            file.write(data)
        self._seen[name] = _state(place)

    def _stored(self, below: str) -> Iterator[str]:
        for entry in self._files.entries(join(self._path, below)):
            name = join(below, entry.name)
            if entry.is_directory:
                yield from self._stored(name)
            else:
                yield name

    def sync(self) -> None:
        """Store what was changed in a copy since the last time."""
        if not self._is_copy or self._local is None:
            return
        here = {}
        for directory, _, names in os.walk(self._local):
            for name in names:
                place = os.path.join(directory, name)
                if os.path.isfile(place):
                    here[os.path.relpath(place, self._local).replace(os.sep, "/")] = place
        for name, place in sorted(here.items()):
            state = _state(place)
            if self._seen.get(name) != state:
                with open(place, "rb") as file:
                    self._files.write(join(self._path, name), file.read())
                self._seen[name] = state
        for name in [name for name in self._seen if name not in here]:
            del self._seen[name]
            with suppress(FileNotFoundError):
                self._files.remove(join(self._path, name))

    def close(self) -> None:
        """Store what was changed and remove the copy; a directory that stayed empty is removed too."""
        if self._local is None:
            return
        local, is_copy = self._local, self._is_copy
        try:
            self.sync()
        finally:
            self._local, self._is_copy = None, False
            if is_copy:
                from shutil import rmtree

                rmtree(local, ignore_errors=True)
            else:
                with suppress(OSError):  # it is not empty
                    os.rmdir(local)


def _state(place: str) -> tuple[int, int]:
    status = os.stat(place)
    return status.st_mtime_ns, status.st_size
