"""A storage in a directory of this host."""

from __future__ import annotations

import errno
import os
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import IO

from machinable.errors import BadName, StorageUnavailable
from machinable.storage import layout
from machinable.storage.files import (
    PIECE,
    Appender,
    Entry,
    FileInfo,
    Files,
    Guard,
    checked,
    file_path,
    path_error,
    unreadable,
)
from machinable.storage.numbered_parts import growing_file
from machinable.storage.temporary import is_temporary, temporary_beside

__all__ = ["DirectoryFiles", "make_directory", "open_regular"]

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL
_GROWING = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
# A FIFO would make its reader wait. A link is followed only after it was checked.
_READING = os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK | os.O_NOFOLLOW
_NO_FILE = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
MAX_KNOWN = 4096  # folders that are remembered to be in the directory
NO_LINKS = frozenset({errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})  # of file systems without hard links
_SETTLED = 0.05  # seconds without a change after which no line is being written


class DirectoryFiles(Files):
    """The files below a directory of this host.

    A link in it is a name: what it leads to is read only if that is in the same directory. Anything else is a
    `BadName`, because a storage may come from others.

    Writes survive the end of the process, not a power failure: nothing is synced, which would take ten times as long.

    Attributes:
        root: Device and inode of the directory since the first write. If another directory is in its place, because the
            storage was unmounted or moved, writing fails as if it did not answer.
    """

    reach = "host"
    marks_processes = True
    has_free_marks = True

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.url = os.path.abspath(directory)
        self.root: tuple[int, int] | None = None
        self._prefix = self.url.rstrip(os.sep) + "/"
        self._folders: set[str] = set()  # known to be in this directory

    def check_root(self) -> None:
        """Check that the directory is the one that was written before.

        Raises:
            StorageUnavailable: It is gone, or another one is in its place.
        """
        try:
            found = os.stat(self.url)
        except FileNotFoundError:
            if self.root is None:
                return
            raise StorageUnavailable(f"the directory {self.url} is gone", given=self.url) from None
        root = found.st_dev, found.st_ino
        if self.root is None:
            self.root = root
        elif root != self.root:
            raise StorageUnavailable(
                f"another directory is at {self.url}: the storage was unmounted, moved or replaced", given=self.url
            )

    def _begin_write(self) -> None:
        self.check_root()
        if self.root is None:
            make_directory(self.url)
            self.check_root()

    def _may_write(self, path: str) -> Guard | None:
        """Check what a write depends on, and return the guard that has to be asked just before it.

        A guard that compares a file in this directory notices by itself if another directory is in its place.
        """
        guard = self.guard_of(path)
        if guard is None or not guard.knows_root:
            self._begin_write()
        return guard

    def _open_to_write(self, real: str, flags: int) -> int:
        try:
            return _open(real, flags)
        except FileNotFoundError:  # its folder was removed
            self._begin_write()
            make_directory(os.path.dirname(real))
            return _open(real, flags)

    def allow(self, path: str) -> None:
        self._ask(self.guard_of(path))

    def _ask(self, guard: Guard | None) -> None:
        if guard is None or not guard.knows_root:
            self._begin_write()
        if guard is not None:
            guard.check()

    def _real(self, path: str) -> str:
        """Return the real path of a name, which itself may be a link; the folders above it are in this directory."""
        if not path:
            return self.url
        folder = checked(path).rpartition("/")[0]
        if folder and folder not in self._folders:
            self._enter(folder)
        return self._prefix + path

    def _enter(self, folder: str) -> None:
        """Check that a folder, and each above it, is no link out of this directory."""
        above = folder.rpartition("/")[0]
        if above and above not in self._folders:
            self._enter(above)
        try:
            found = os.lstat(self._prefix + folder)
        except OSError:  # it does not exist, or cannot be entered
            return
        if stat.S_ISLNK(found.st_mode):
            self._followed(folder)
        self._know(folder)

    def _to_write(self, path: str) -> tuple[str, bool]:
        """Return the real path of a file to write, and whether its folder had to be created."""
        folder = path.rpartition("/")[0]
        is_new = bool(folder) and folder not in self._folders and self._provide(folder)
        return self._prefix + path, is_new

    def _provide(self, folder: str) -> bool:
        """Create a folder, and those above it, unless it exists and is no link out of this directory."""
        above = folder.rpartition("/")[0]
        if above and above not in self._folders:
            self._provide(above)
        else:
            self._begin_write()
        try:
            os.mkdir(self._prefix + folder)
            is_new = True
        except FileExistsError:
            self._followed(folder)
            is_new = False
        except FileNotFoundError:  # those above it were removed
            make_directory(self._prefix + folder)
            is_new = True
        self._know(folder)
        return is_new

    def _know(self, folder: str) -> None:
        if len(self._folders) >= MAX_KNOWN:
            self._folders.clear()
        self._folders.add(folder)

    def _followed(self, path: str) -> str:
        """Return the real path of what a name leads to if it is a link.

        Raises:
            BadName: It leads out of this directory.
        """
        real = self._prefix + path
        if os.path.islink(real):
            top, target = os.path.realpath(self.url), os.path.realpath(real)
            if target != top and not target.startswith(top.rstrip(os.sep) + "/"):
                raise BadName(
                    f"{path!r} is a link out of the storage {self.url}",
                    given=path,
                    todo=f"Links out of a storage are not followed. Replace it with a copy, or remove it: {real}",
                )
        return real

    def _leads_out(self, path: str) -> bool:
        try:
            self._followed(path)
        except BadName:
            return True
        return False

    def _target(self, path: str) -> str:
        """Return the real path of a file or directory to read; it and the folders above it are in this directory."""
        real = self._real(path)
        return self._followed(path) if path else real

    def read(self, path: str) -> bytes:
        file, size = self.open(path)
        try:
            return _read_all(file, size)
        except OSError as error:
            raise unreadable(self._prefix + path, error) from error
        finally:
            os.close(file)

    def pieces(self, path: str) -> Iterator[bytes]:
        file, _ = self.open(path)
        try:
            while piece := os.read(file, PIECE):
                yield piece
        except OSError as error:
            raise unreadable(self._prefix + path, error) from error
        finally:
            os.close(file)

    def read_from(self, path: str, position: int) -> bytes:
        file, size = self.open(path)
        try:
            os.lseek(file, position, os.SEEK_SET)
            return _read_all(file, max(0, size - position))
        except OSError as error:
            raise unreadable(self._prefix + path, error) from error
        finally:
            os.close(file)

    def open(self, path: str) -> tuple[int, int]:
        """Open a file for reading, and return its descriptor and its size; raise what `read` raises."""
        try:
            try:
                return open_regular(self._real(path))
            except OSError as error:
                if error.errno != errno.ELOOP:
                    raise
            return open_regular(os.path.realpath(self._target(path)))
        except _NO_FILE:
            raise
        except OSError as error:
            raise unreadable(self._prefix + path, error) from error

    def write(self, path: str, data: bytes) -> None:
        self._write(path, (data,), os.replace)

    def copy(self, path: str, to: str) -> None:
        descriptor, _ = self.open(path)
        with open(descriptor, "rb") as file:
            self.write_from(to, file)

    def write_from(self, path: str, file: IO[bytes]) -> None:
        self._write(path, iter(lambda: file.read(2**20), b""), os.replace)

    def _write(self, path: str, pieces: Iterable[bytes], put: Callable[[str, str], None]) -> os.stat_result:
        """Write a temporary file, put it in its place, and return its state."""
        guard = self._may_write(file_path(path))
        real, _ = self._to_write(path)
        temporary = temporary_beside(real)
        file = self._open_to_write(temporary, _NEW)
        try:
            try:
                for piece in pieces:
                    _write_all(file, piece)
                state = os.fstat(file)
            finally:
                os.close(file)
            if guard is not None:  # as late as possible
                guard.check()
            put(temporary, real)
            return state
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(temporary)
            raise

    def mark(self, path: str) -> object:
        try:
            return _mark(os.stat(self._real(path), follow_symlinks=False))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def write_if(self, path: str, data: bytes, mark: object) -> object:
        """Write a file unless it has changed; see `Files.write_if`.

        A new file appears in one step. Before one is replaced, it is checked to be unchanged, with nothing in between.
        """

        def put(temporary: str, real: str) -> None:
            if mark is None:
                _link(temporary, real)
            elif self.mark(path) == mark:
                os.replace(temporary, real)
            else:
                self.check_root()
                raise FileExistsError

        try:
            return _mark(self._write(path, (data,), put))
        except FileExistsError:
            return None

    def appender(self, path: str) -> Appender:
        return _DirectoryAppender(self, checked(path))

    def create_directory(self, path: str) -> bool:
        real = self._real(path)
        self.allow(path)
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
        real = self._real(path)
        return os.path.isdir(real) and not (path and self._leads_out(path))

    def entries(self, path: str) -> list[Entry]:
        try:
            with os.scandir(self._target(path)) as found:
                return sorted(Entry(e.name, self._is_folder(path, e)) for e in found if not is_temporary(e.name))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise unreadable(self._prefix + path, error) from error

    def links_out(self) -> list[str]:
        with os.scandir(self.url) as found:
            return sorted(entry.name for entry in found if entry.is_symlink() and self._leads_out(entry.name))

    def _is_folder(self, path: str, entry: os.DirEntry[str]) -> bool:
        return entry.is_dir() and not (entry.is_symlink() and self._leads_out(layout.join(path, entry.name)))

    def _scan(self, path: str) -> Iterator[FileInfo]:
        try:
            with os.scandir(self._target(path)) as found:
                entries = list(found)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise unreadable(self._prefix + path, error) from error
        for entry in entries:
            is_directory = entry.is_dir(follow_symlinks=False)
            if entry.is_symlink() and self._leads_out(layout.join(path, entry.name)):
                continue
            try:
                state = entry.stat()
            except FileNotFoundError:  # a dangling link, or a file that was just removed
                continue
            except OSError as error:
                if error.errno == errno.ELOOP:  # a link to itself
                    continue
                raise unreadable(entry.path, error) from error
            # Links to directories are not followed, and pipes, sockets and devices cannot be read.
            if is_directory or stat.S_ISREG(state.st_mode):
                size = 0 if is_directory else state.st_size
                yield FileInfo(layout.join(path, entry.name), size, state.st_mtime, is_directory)

    def size(self, path: str) -> int:
        try:
            found = os.stat(self._target(path))
        except _NO_FILE:
            raise
        except OSError as error:
            raise unreadable(self._prefix + path, error) from error
        if stat.S_ISDIR(found.st_mode):
            raise path_error(errno.EISDIR, path)
        return found.st_size

    def _rename(self, path: str, to: str) -> None:
        source, target = self._real(path), self._real(to)
        try:
            os.rename(source, target)
        except FileNotFoundError:
            os.lstat(source)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            os.rename(source, target)

    def remove(self, path: str) -> None:
        real = self._real(checked(path, root=False))
        self.allow(path)
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
        return self._target(path)


def open_regular(path: str) -> tuple[int, int]:
    """Open a file of this host that is no link for reading, and return its descriptor and its size.

    Raises:
        IsADirectoryError: It is a directory.
        OSError: It is a FIFO, a socket or a device, whose reader would wait, or it cannot be opened.
    """
    file = os.open(path, _READING)
    state = os.fstat(file)
    if stat.S_ISREG(state.st_mode):
        return file, state.st_size
    os.close(file)
    if stat.S_ISDIR(state.st_mode):
        raise path_error(errno.EISDIR, path)
    raise OSError(errno.EINVAL, "it is not a regular file", path)


def _read_all(file: int, size: int) -> bytes:
    """Return the rest of an open file, given how many bytes it has, or had a moment ago."""
    data = os.read(file, size + 1)
    if len(data) == size:  # nearly always
        return data
    parts = [data]
    while data:  # one call reads less than 2 GiB, and the file may grow
        data = os.read(file, PIECE)
        parts.append(data)
    return b"".join(parts)


def _mark(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_dev, found.st_ino, found.st_mtime_ns  # file systems use the numbers of removed files again


def _link(temporary: str, real: str) -> None:
    """Give a temporary file its name; raise FileExistsError if that is taken."""
    try:
        os.link(temporary, real)
        os.unlink(temporary)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        if os.path.lexists(real):
            raise path_error(errno.EEXIST, real) from None
        os.rename(temporary, real)


def _open(path: str, flags: int) -> int:
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
        self._real = ""
        self._state: os.stat_result | None = None  # of the open file
        self._guard = files.guard_of(path)  # of the writer who opens it, also when that one has ended
        self._is_closed = False
        self._lock = threading.Lock()

    def write(self, data: bytes) -> None:
        if self._file < 0:
            self._open()
        if self._guard is not None and self._guard.lost is not None:
            raise self._guard.lost
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
            path = self._path
            self._files._ask(self._guard)
            real, is_new = self._files._to_write(path)
            if not is_new and (last := growing_file(self._files, path)) != path:
                real = self._files._real(last)
            self._real = real
            file = self._files._open_to_write(real, _GROWING)
            try:
                if self._guard is not None:  # again, because the file may be that of another writer since just before
                    self._guard.check()
                if not is_new and _is_torn(file):
                    _write_all(file, b"\n")
            except BaseException:
                os.close(file)
                raise
            self._file = file

    def is_replaced(self) -> bool:
        if self._file < 0:
            return False
        if self._state is None:
            self._state = os.fstat(self._file)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.stat(self._real), self._state):
                return False
        self._files.check_root()
        return True

    def _release(self) -> None:
        with self._lock:
            file, self._file = self._file, -1
            self._state = None
        if file >= 0:
            os.close(file)

    def close(self) -> None:
        self._is_closed = True
        self._release()
