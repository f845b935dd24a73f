"""A storage in a directory of this host."""

from __future__ import annotations

import errno
import os
import stat
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import IO

from machinable.storage import layout
from machinable.storage.files import Appender, Entry, FileInfo, Files, checked, file_path, path_error
from machinable.storage.numbered_parts import growing_file
from machinable.storage.temporary import is_temporary, temporary_beside

__all__ = ["DirectoryFiles", "make_directory"]

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL
_GROWING = os.O_RDWR | os.O_CREAT | os.O_APPEND
_SETTLED = 0.05  # seconds without a change after which no line is being written


class DirectoryFiles(Files):
    """The files below a directory of this host.

    Writes survive the end of the process, not a power failure: nothing is synced, which would take ten times as long.
    """

    reach = "host"
    marks_processes = True

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.url = os.path.abspath(directory)
        self._prefix = self.url.rstrip(os.sep) + "/"

    def _real(self, path: str) -> str:
        return self._prefix + checked(path) if path else self.url

    def read(self, path: str) -> bytes:
        with open(self._real(path), "rb", buffering=0) as file:
            return file.read()

    def write(self, path: str, data: bytes) -> None:
        self._write(path, (data,))

    def write_from(self, path: str, file: IO[bytes]) -> None:
        self._write(path, iter(lambda: file.read(2**20), b""))

    def _write(self, path: str, pieces: Iterable[bytes]) -> None:
        real = self._prefix + file_path(path)
        temporary = temporary_beside(real)
        file = _open(temporary, _NEW)
        try:
            try:
                for piece in pieces:
                    _write_all(file, piece)
            finally:
                os.close(file)
            os.replace(temporary, real)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(temporary)
            raise

    def appender(self, path: str) -> Appender:
        return _DirectoryAppender(self, checked(path))

    def create_directory(self, path: str) -> bool:
        real = self._real(path)
        try:
            try:
                os.mkdir(real)
            except FileNotFoundError:
                make_directory(os.path.dirname(real))
                os.mkdir(real)
        except FileExistsError:
            return False
        return True

    def exists(self, path: str) -> bool:
        return os.path.lexists(self._real(path))

    def is_directory(self, path: str) -> bool:
        return os.path.isdir(self._real(path))

    def entries(self, path: str) -> list[Entry]:
        try:
            with os.scandir(self._real(path)) as found:
                return sorted(Entry(e.name, e.is_dir()) for e in found if not is_temporary(e.name))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def _scan(self, path: str) -> Iterator[FileInfo]:
        with suppress(FileNotFoundError, NotADirectoryError), os.scandir(self._real(path)) as entries:
            for entry in entries:
                is_directory = entry.is_dir(follow_symlinks=False)
                with suppress(FileNotFoundError):  # a dangling link, or a file that was just removed
                    state = entry.stat()
                    if is_directory or not stat.S_ISDIR(state.st_mode):  # links to directories are not followed
                        size = 0 if is_directory else state.st_size
                        yield FileInfo(layout.join(path, entry.name), size, state.st_mtime, is_directory)

    def size(self, path: str) -> int:
        found = os.stat(self._real(path))
        if stat.S_ISDIR(found.st_mode):
            raise path_error(errno.EISDIR, path)
        return found.st_size

    def _rename(self, path: str, to: str) -> None:
        source, target = self._prefix + path, self._prefix + to
        try:
            os.rename(source, target)
        except FileNotFoundError:
            os.lstat(source)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            os.rename(source, target)

    def remove(self, path: str) -> None:
        real = self._prefix + checked(path, root=False)
        if os.path.isdir(real) and not os.path.islink(real):
            from shutil import rmtree

            if not is_temporary(os.path.basename(real)):  # readers never see half of it
                temporary = temporary_beside(real)
                os.rename(real, temporary)
                real = temporary
            rmtree(real)
        else:
            os.unlink(real)

    def local_path(self, path: str) -> str | None:
        return self._real(path)


def _open(path: str, flags: int) -> int:
    try:
        return os.open(path, flags, 0o666)
    except FileNotFoundError:
        make_directory(os.path.dirname(path))
        return os.open(path, flags, 0o666)


def make_directory(path: str) -> None:
    """Create a directory of this host, and those above it, unless it exists."""
    try:
        os.mkdir(path)  # nearly always enough, and `makedirs` checks the parent first
    except (FileExistsError, FileNotFoundError):
        os.makedirs(path, exist_ok=True)


def _write_all(file: int, data: bytes) -> None:
    written = os.write(file, data)
    while written < len(data):  # one call writes less than 2 GiB
        written += os.write(file, memoryview(data)[written : written + 2**30])


def _is_torn(file: int) -> bool:
    """Return whether a file ends with an incomplete line that no process is writing.

    A line that crosses a page of memory becomes visible in two steps, so the line may be one that another process is
    writing; the file is read again until it has not changed for a while.
    """
    size = -1
    while True:
        before, size = size, os.lseek(file, 0, os.SEEK_END)
        if not size:
            return False
        os.lseek(file, size - 1, os.SEEK_SET)
        if os.read(file, 1) == b"\n":
            return False
        if size == before:
            return True
        time.sleep(_SETTLED)


class _DirectoryAppender(Appender):
    """An appender that passes each write to the operating system before it returns."""

    def __init__(self, files: DirectoryFiles, path: str) -> None:
        self._files = files
        self._path = path
        self._file = -1
        self._is_closed = False
        self._lock = threading.Lock()

    def write(self, data: bytes) -> None:
        if self._file < 0:
            self._open()
        try:
            _write_all(self._file, data)
        except BaseException:  # half a line may have been written, which opening the file again ends
            self._release()
            raise

    def _open(self) -> None:
        with self._lock:
            if self._is_closed:
                raise ValueError(f"{self._path} is closed")
            if self._file >= 0:
                return
            file = _open(self._files._real(growing_file(self._files, self._path)), _GROWING)
            try:
                if _is_torn(file):
                    _write_all(file, b"\n")
            except BaseException:
                os.close(file)
                raise
            self._file = file

    def _release(self) -> None:
        with self._lock:
            file, self._file = self._file, -1
        if file >= 0:
            os.close(file)

    def close(self) -> None:
        self._is_closed = True
        self._release()
