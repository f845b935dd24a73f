"""A storage in the memory of this process."""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

from machinable.storage import layout
from machinable.storage.files import Appender, Entry, FileInfo, Files, checked, file_path, path_error
from machinable.storage.numbered_parts import growing_file

__all__ = ["MemoryFiles"]

_Directory: TypeAlias = dict[str, Any]  # names with bytes, a bytearray (a file that grows) or a _Directory


class MemoryFiles(Files):
    """Files in memory. Each instance has separate files, which threads may share."""

    url = "mem://"
    reach = "process"

    def __init__(self) -> None:
        self._root: _Directory = {}
        self._lock = threading.RLock()

    @contextmanager
    def _parent(self, path: str, *, make: bool = False) -> Iterator[tuple[_Directory, str]]:
        """Lock the files, and yield the directory of the last name of the path and that name."""
        *folders, name = path.split("/")
        with self._lock:
            here = self._root
            for folder in folders:
                below = here.setdefault(folder, {}) if make else here.get(folder)
                if type(below) is not dict:
                    raise path_error(errno.ENOENT if below is None else errno.ENOTDIR, path)
                here = below
            yield here, name

    def _find(self, path: str) -> Any:
        """Return a directory, the content of a file, or None."""
        if not checked(path):
            return self._root
        try:
            with self._parent(path) as (folder, name):
                return folder.get(name)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def read(self, path: str) -> bytes:
        with self._parent(file_path(path)) as (folder, name):
            found = folder.get(name)
            if found is None or type(found) is dict:
                raise path_error(errno.ENOENT if found is None else errno.EISDIR, path)
            return bytes(found)

    def write(self, path: str, data: bytes) -> None:
        with self._parent(file_path(path), make=True) as (folder, name):
            if type(folder.get(name)) is dict:
                raise path_error(errno.EISDIR, path)
            folder[name] = bytes(data)

    def appender(self, path: str) -> Appender:
        return _MemoryAppender(self, checked(path))

    def _append(self, path: str, data: bytes, *, end_line: bool) -> None:
        with self._parent(file_path(path), make=True) as (folder, name):
            found = folder.get(name, b"")
            if type(found) is dict:
                raise path_error(errno.EISDIR, path)
            if type(found) is not bytearray:
                found = folder[name] = bytearray(found)
            if end_line and found and not found.endswith(b"\n"):
                found += b"\n"
            found += data

    def create_directory(self, path: str) -> bool:
        if not checked(path):
            return False
        with self._parent(path, make=True) as (folder, name):
            if name in folder:
                return False
            folder[name] = {}
            return True

    def exists(self, path: str) -> bool:
        return self._find(path) is not None

    def is_directory(self, path: str) -> bool:
        return type(self._find(path)) is dict

    def entries(self, path: str) -> list[Entry]:
        with self._lock:
            found = self._find(path)
            return sorted(Entry(n, type(v) is dict) for n, v in found.items()) if type(found) is dict else []

    def _scan(self, path: str) -> list[FileInfo]:
        with self._lock:
            found = self._find(path)
            items = list(found.items()) if type(found) is dict else []
            return [
                FileInfo(layout.join(path, name), 0 if type(one) is dict else len(one), None, type(one) is dict)
                for name, one in items
            ]

    def size(self, path: str) -> int:
        return len(self.read(path))

    def _rename(self, path: str, to: str) -> None:
        with self._parent(path) as (folder, name):
            if name not in folder:
                raise path_error(errno.ENOENT, path)
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
            self._path = growing_file(self._files, self._path)
        self._files._append(self._path, data, end_line=self._is_new)
        self._is_new = False

    def close(self) -> None:
        self._is_closed = True
