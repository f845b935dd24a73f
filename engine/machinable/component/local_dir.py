"""A folder of a trial as a local directory, for libraries that need a path."""

from __future__ import annotations

import os
from contextlib import suppress

from machinable.storage.files import Files, checked
from machinable.storage.hashing import digest
from machinable.storage.layout import join

__all__ = ["LocalFolder"]


class LocalFolder:
    """A folder of a storage; for a remote storage a temporary copy, whose changes `sync` stores.

    Attributes:
        digests: digest and size of the files that `sync` has stored, by name.
    """

    def __init__(self, files: Files, path: str) -> None:
        self._files = files
        self._path = path
        self._local: str | None = None
        self._is_copy = False
        self._seen: dict[str, tuple[int, int]] = {}
        self.digests: dict[str, tuple[str, int]] = {}

    @property
    def is_open(self) -> bool:
        """Whether the directory was handed out, so that any file in it may have changed."""
        return self._local is not None

    def open(self) -> str:
        """Return the directory; create it if it does not exist."""
        if self._local is None:
            local = self._files.local_path(self._path)
            if local is not None:
                os.makedirs(local, exist_ok=True)
            else:
                from tempfile import mkdtemp  # 10 ms with what it imports

                local = mkdtemp(prefix="machinable-")
                self._is_copy = True
                for stored in self._files.walk(self._path):
                    self._fetch(local, stored.path.removeprefix(self._path + "/"), self._files.read(stored.path))
            self._local = local
        return self._local

    def wrote(self, name: str, data: bytes) -> None:
        """Add a file that was written to the storage to an open copy."""
        self.digests.pop(name, None)
        if self._is_copy and self._local is not None:
            self._fetch(self._local, name, data)

    def removed(self, name: str) -> None:
        """Remove a file that was removed from the storage from an open copy."""
        self.digests.pop(name, None)
        if self._is_copy and self._local is not None and self._seen.pop(name, None) is not None:
            with suppress(FileNotFoundError):
                os.unlink(os.path.join(self._local, name))

    def has(self, name: str) -> bool:
        """Return whether a copy had a file of that name when it was last synchronized."""
        return name in self._seen

    def _fetch(self, local: str, name: str, data: bytes) -> None:
        place = os.path.join(local, checked(name))
        os.makedirs(os.path.dirname(place), exist_ok=True)
        with open(place, "wb") as file:
            file.write(data)
        self._seen[name] = _state(place)

    def sync(self) -> list[str]:
        """Store the changes of a copy since the last call; return the names of the files that were removed."""
        if not self._is_copy or self._local is None:
            return []
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
                    data = file.read()
                self._files.write(join(self._path, name), data)
                self._seen[name] = state
                self.digests[name] = digest(data), len(data)
        removed = [name for name in self._seen if name not in here]
        for name in removed:
            del self._seen[name]
            self.digests.pop(name, None)
            with suppress(FileNotFoundError):
                self._files.remove(join(self._path, name))
        return removed

    def close(self) -> None:
        """Store changes and remove the copy; remove a directory that stayed empty too."""
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
