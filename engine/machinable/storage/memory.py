"""A storage in the memory of this process."""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeAlias

from machinable.storage import layout
from machinable.storage.files import Appender, Entry, FileInfo, Files, checked, path_error
from machinable.storage.numbered_parts import last_part

__all__ = ["MemoryFiles"]

_Directory: TypeAlias = dict[str, Any]  # names with bytes, a bytearray (a file that grows) or a _Directory


class MemoryFiles(Files):
    """Files in memory, which each instance has for itself and threads may share."""

    url = "mem://"
    reach = "process"

    def __init__(self) -> None:
        self._root: _Directory = {}
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        return "MemoryFiles()"

    @contextmanager
    def _parent(self, path: str, *, make: bool = False) -> Iterator[tuple[_Directory, str]]:
        """Lock the files, and yield the directory of the last name of the path and that name."""
        *folders, name = checked(path).split("/")
        with self._lock:
            here = self._root
            for folder in folders:
                below = here.setdefault(folder, {}) if make else here.get(folder)
                if below is None:
                    raise path_error(errno.ENOENT, path)
                if type(below) is not dict:
                    raise path_error(errno.ENOTDIR, path)
                here = below
            yield here, name

    def _find(self, path: str) -> Any:
        """Return a directory, the content of a file, or None."""
        if not path:
            return self._root
        try:
            with self._parent(path) as (folder, name):
                return folder.get(name)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _file(self, path: str) -> bytes | bytearray:
        if not path:
            raise path_error(errno.EISDIR, path)
        with self._parent(path) as (folder, name):
            found = folder.get(name)
        if found is None:
            raise path_error(errno.ENOENT, path)
        if type(found) is dict:
            raise path_error(errno.EISDIR, path)
        return found  # type: ignore[no-any-return]

    def read(self, path: str) -> bytes:
        with self._lock:
            return bytes(self._file(path))

    def write(self, path: str, data: bytes) -> None:
        if not path:
            raise path_error(errno.EISDIR, path)
        with self._parent(path, make=True) as (folder, name):
            if type(folder.get(name)) is dict:
                raise path_error(errno.EISDIR, path)
            folder[name] = bytes(data)

    def appender(self, path: str) -> Appender:
        return _MemoryAppender(self, checked(path))

    def _growing_file(self, path: str) -> str:
        if self._find(layout.part(path, 1)) is None:
            return path
        folder, _, name = path.rpartition("/")
        return layout.join(folder, last_part([entry.name for entry in self.entries(folder)], name))

    def _append(self, path: str, data: bytes, *, end_line: bool) -> None:
        if not path:
            raise path_error(errno.EISDIR, path)
        with self._parent(path, make=True) as (folder, name):
            found = folder.get(name, b"")
            if type(found) is dict:
                raise path_error(errno.EISDIR, path)
            if type(found) is not bytearray:
                found = folder[name] = bytearray(found)
            if end_line and found and not found.endswith(b"\n"):
                found += b"\n"
            found += data

    def create_directory(self, path: str) -> bool:
        if not path:
            return False
        with self._parent(path, make=True) as (folder, name):
            if name in folder:
                return False
            folder[name] = {}
            return True

    def exists(self, path: str) -> bool:
        checked(path)
        return self._find(path) is not None

    def is_directory(self, path: str) -> bool:
        checked(path)
        return type(self._find(path)) is dict

    def entries(self, path: str) -> list[Entry]:
        checked(path)
        with self._lock:
            found = self._find(path)
            return sorted(Entry(n, type(v) is dict) for n, v in found.items()) if type(found) is dict else []

    def walk(self, path: str) -> Iterator[FileInfo]:
        for entry in self.entries(path):
            name = layout.join(path, entry.name)
            if entry.is_directory:
                yield from self.walk(name)
            else:
                with suppress(FileNotFoundError):
                    yield FileInfo(name, self.size(name), None)

    def size(self, path: str) -> int:
        return len(self._file(path))

    def move(self, path: str, to: str) -> None:
        checked(to, root=False)
        with self._parent(checked(path, root=False)) as (folder, name):
            if name not in folder:
                raise path_error(errno.ENOENT, path)
            if self._find(to) is not None:
                raise path_error(errno.EEXIST, to)
            if to.startswith(path + "/"):
                raise path_error(errno.EINVAL, to)
            with self._parent(to, make=True) as (target, new_name):
                target[new_name] = folder.pop(name)

    def remove(self, path: str) -> None:
        with self._parent(checked(path, root=False)) as (folder, name):
            if name not in folder:
                raise path_error(errno.ENOENT, path)
            del folder[name]


class _MemoryAppender(Appender):
    def __init__(self, files: MemoryFiles, path: str) -> None:
        self._files = files
        self._path = path
        self._is_new = True
        self._is_closed = False

    def write(self, data: bytes) -> None:
        if self._is_closed:
            raise ValueError(f"{self._path} is closed")
        if self._is_new:
            self._path = self._files._growing_file(self._path)
        self._files._append(self._path, data, end_line=self._is_new)
        self._is_new = False

    def close(self) -> None:
        self._is_closed = True
