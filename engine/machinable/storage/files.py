"""A tree of files: bytes with names, in a directory or in memory.

Paths are relative, with `/` between names; "" is the root. Python's own errors tell what is wrong with a path:
`FileNotFoundError`, `IsADirectoryError`, `NotADirectoryError`, `FileExistsError`. A path that could leave the tree is
a `BadName`.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import IO, Any, Literal, NamedTuple, Protocol, TypeAlias
from zlib import crc32

from machinable.errors import BadName, StorageError, StorageUnavailable
from machinable.serialization import Plain, dumps
from machinable.storage import layout
from machinable.storage.process_info import is_gone, this_process

__all__ = [
    "Appender",
    "DirectoryFiles",
    "Entry",
    "Files",
    "MemoryFiles",
    "PartAppender",
    "Reach",
    "Stored",
    "Temporary",
    "checked",
    "is_abandoned",
    "is_temporary",
    "make_directory",
    "marked",
    "marker_beside",
    "read_parts",
    "storage_below",
    "temporary_beside",
    "writer_here",
    "writing",
]

Reach: TypeAlias = Literal["process", "host", "anywhere"]


class Entry(NamedTuple):
    """What a directory holds."""

    name: str
    is_directory: bool


class Stored(NamedTuple):
    """A file, its length in bytes, and when it was changed (seconds since the epoch; None if that is not known)."""

    path: str
    size: int
    changed: float | None


class Temporary(NamedTuple):
    """What a writer needs for a moment; see `is_abandoned`.

    Attributes:
        path: of the file or directory. size: its bytes, 0 for a directory.
        age: seconds since it was changed, by the clock of this host.
    """

    path: str
    size: int
    age: float

    @property
    def name(self) -> str:
        """What it is called, without the folders above."""
        return self.path.rpartition("/")[2]


class Appender(Protocol):
    """A file that grows. It appears with the first write."""

    def write(self, data: bytes) -> None:
        """Append a whole line or several. What a killed process left unfinished before is ended by a line break."""

    def close(self) -> None:
        """Make sure that all is stored. Closing twice is fine, writing afterwards a `ValueError`."""


class Files(Protocol):
    """A tree of files.

    Attributes:
        url: where it is, without credentials; of a directory the absolute path.
        reach: from where it can be opened: this process, this host or anywhere.
        appends: False if files cannot grow; then appenders write numbered parts.
    """

    @property
    def url(self) -> str: ...
    @property
    def reach(self) -> Reach: ...
    @property
    def appends(self) -> bool: ...

    def read(self, path: str) -> bytes:
        """The content of a file."""

    def write(self, path: str, data: bytes) -> None:
        """Make or replace a file. A reader meets the old content or the new, whenever the writer is killed."""

    def write_from(self, path: str, file: IO[bytes]) -> None:
        """The same as `write` with what a file has from its present position to its end, without having all of it in
        memory where that can be avoided."""

    def appender(self, path: str) -> Appender:
        """A file that grows."""

    def create_directory(self, path: str) -> bool:
        """Make a directory, and those above. False if something of that name was there: one caller wins."""

    def exists(self, path: str) -> bool:
        """True for a file and for a directory."""

    def is_directory(self, path: str) -> bool:
        """True for a directory."""

    def entries(self, path: str) -> list[Entry]:
        """What a directory holds, sorted by name; nothing if there is no such directory."""

    def walk(self, path: str) -> Iterator[Stored]:
        """All files in a directory and those below, in any order; nothing if there is no such directory."""

    def temporaries(self, path: str, *, below: bool = False) -> list[Temporary]:
        """What a directory, and if wanted those below, holds besides: files that are being written, and those whose
        writers were killed."""

    def size(self, path: str) -> int:
        """The length of a file in bytes."""

    def move(self, path: str, to: str) -> None:
        """Give a file or a directory another name, which must be free."""

    def remove(self, path: str) -> None:
        """Remove a file, or a directory with all that is in it."""

    def local_path(self, path: str) -> str | None:
        """The path on this host, if there is one."""

    def close(self) -> None:
        """Let go of connections. Closing twice is fine."""


_NOWHERE = frozenset({"", ".", ".."})
_TEMPORARY = ".machinable-writing-"
_MARKER = ".machinable-running-"
FORGOTTEN = 3600.0  # seconds without a change, after which nobody writes a file whose writer cannot be asked


def checked(path: str, *, root: bool = True) -> str:
    """The path itself.

    Raises:
        BadName: it could leave the tree, or it is the root and `root` is False.
    """
    if not path:
        if root:
            return path
        raise BadName("the root of a storage cannot be moved or removed", given=path)
    if not _NOWHERE.isdisjoint(path.replace(os.sep, "/").split("/")) or "\0" in path:
        raise BadName(f"{path!r} is no path within a storage", given=path, todo="Use names with / between them.")
    return path


def temporary_beside(path: str) -> str:
    """A name that nobody else takes, next to `path`. It is short, for names may have 255 bytes."""
    return f"{path[: path.rfind('/') + 1]}{_TEMPORARY}{_writer()}-{os.urandom(8).hex()}"


def marker_beside(path: str) -> str:
    """The name of a file next to `path` that says that this process is at work on `path`."""
    folder, slash, name = path.rpartition("/")
    return f"{folder}{slash}{_MARKER}{_writer()}-{name}"


_known_writer = 0, ""


def _writer() -> str:
    """This process, as the names of its temporary files tell it: `<host>-<pid>-<born>`, in hexadecimal digits."""
    global _known_writer
    pid, text = _known_writer
    if pid != os.getpid():  # the first time, and after a fork
        us = this_process()
        pid, text = us["pid"], f"{_host_mark(us)}-{us['pid']:x}-{str(us['born']).encode().hex()}"
        _known_writer = pid, text
    return text


def _host_mark(process: Mapping[str, Plain]) -> str:
    return f"{crc32(dumps([process['host'], process['boot']]).encode()):08x}"


def is_temporary(name: str) -> bool:
    """True for a file that is being written, or whose writer was killed, and for the mark of a process at work."""
    return name.startswith((_TEMPORARY, _MARKER))


def is_abandoned(found: Temporary) -> bool:
    """Whether the writer of a temporary file has ended without removing it.

    A writer on this host is looked for. Of others it is said if the file has not been changed for an hour.
    """
    writer = writer_here(found)
    return found.age >= FORGOTTEN if writer is None else is_gone(writer)


def writer_here(found: Temporary) -> Mapping[str, Plain] | None:
    """The process that a temporary file or a marker is from, see `this_process`; None for one on another host."""
    told = found.name.removeprefix(_TEMPORARY).removeprefix(_MARKER).split("-", 3)
    us = this_process()
    if len(told) == 4 and told[0] == _host_mark(us):
        with suppress(ValueError):
            return {**us, "pid": int(told[1], 16), "born": bytes.fromhex(told[2]).decode()}
    return None


def marked(name: str) -> str | None:
    """What a process is at work on, from the name of its marker; None for another name."""
    told = name.removeprefix(_MARKER).split("-", 3)
    return told[3] if name.startswith(_MARKER) and len(told) == 4 else None


def error(number: int, path: str) -> OSError:
    """What Python raises for this number, e.g. `FileNotFoundError` for `errno.ENOENT`."""
    return OSError(number, os.strerror(number), path)


def storage_below(files: Files) -> Files:
    """The storage itself, without what is laid over it, see `FallbackFiles`."""
    inner: Files = getattr(files, "inner", files)
    return inner


def read_parts(files: Files, path: str) -> list[bytes]:
    """The content of a file that grew, piece by piece: the file itself, then its numbered parts. Nothing if neither."""
    pieces = []
    if files.appends:
        with suppress(FileNotFoundError):
            pieces.append(files.read(path))
        # Only a storage that was copied from elsewhere has parts here; one look is cheaper than a listing.
        if not files.exists(layout.part(path, 1)):
            return pieces
    folder, _, name = path.rpartition("/")
    names = {entry.name for entry in files.entries(folder) if not entry.is_directory}
    if not files.appends and name in names:
        pieces.append(files.read(path))
    parts = [n for n in names if layout.part_number(n) and layout.whole(n) == name]
    return pieces + [files.read(layout.join(folder, n)) for n in sorted(parts, key=layout.part_number)]


@contextmanager
def writing(files: Files, todo: str = "Check its permissions and the free space.") -> Iterator[None]:
    """Turn what the system says about a storage that cannot be written into `StorageUnavailable`."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        raise StorageUnavailable(
            f"the storage {files.url} cannot be written: {error.strerror or error}", given=files.url, todo=todo
        ) from error


class DirectoryFiles:
    """The files below a directory of this host.

    A write is safe from the end of the process, not from that of the power: nothing is synced, which would cost ten
    times the write.
    """

    reach: Reach = "host"
    appends = True

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.url = os.path.abspath(directory)
        self._prefix = self.url.rstrip(os.sep) + "/"

    def __repr__(self) -> str:
        return f"DirectoryFiles({self.url!r})"

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
        if not path:
            raise error(errno.EISDIR, self.url)
        real = self._real(path)
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
        return _DirectoryAppender(self._prefix + checked(path))

    def create_directory(self, path: str) -> bool:
        real = self._real(path)
        try:
            try:
                os.mkdir(real)
            except FileNotFoundError:
                os.makedirs(os.path.dirname(real), exist_ok=True)
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

    def walk(self, path: str) -> Iterator[Stored]:
        folders = [path]
        self._real(path)
        while folders:
            folder = folders.pop()
            with suppress(FileNotFoundError, NotADirectoryError), os.scandir(self._real(folder)) as entries:
                for entry in entries:
                    if is_temporary(entry.name):
                        continue
                    name = layout.join(folder, entry.name)
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(name)
                        continue
                    with suppress(FileNotFoundError):  # a link that leads nowhere, or a file that was just removed
                        state = entry.stat()
                        if not stat.S_ISDIR(state.st_mode):
                            yield Stored(name, state.st_size, state.st_mtime)

    def temporaries(self, path: str, *, below: bool = False) -> list[Temporary]:
        found = []
        folders = [path]
        now = time.time()
        while folders:
            folder = folders.pop()
            with suppress(FileNotFoundError, NotADirectoryError), os.scandir(self._real(folder)) as entries:
                for entry in entries:
                    if is_temporary(entry.name):
                        name, is_directory = layout.join(folder, entry.name), entry.is_dir(follow_symlinks=False)
                        with suppress(FileNotFoundError):  # its writer has just put it in place
                            state = entry.stat(follow_symlinks=False)
                            found.append(Temporary(name, 0 if is_directory else state.st_size, now - state.st_mtime))
                    elif below and entry.is_dir(follow_symlinks=False):
                        folders.append(layout.join(folder, entry.name))
        return sorted(found)

    def size(self, path: str) -> int:
        found = os.stat(self._real(path))
        if stat.S_ISDIR(found.st_mode):
            raise error(errno.EISDIR, path)
        return found.st_size

    def move(self, path: str, to: str) -> None:
        source, target = self._prefix + checked(path, root=False), self._prefix + checked(to, root=False)
        os.lstat(source)
        if os.path.lexists(target):
            raise error(errno.EEXIST, target)
        if target.startswith(source + "/"):
            raise error(errno.EINVAL, target)
        try:
            os.rename(source, target)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            os.rename(source, target)

    def remove(self, path: str) -> None:
        real = self._prefix + checked(path, root=False)
        if os.path.isdir(real) and not os.path.islink(real):
            from shutil import rmtree

            if not is_temporary(os.path.basename(real)):  # it is gone at once, so that nobody meets half of it
                temporary = temporary_beside(real)
                os.rename(real, temporary)
                real = temporary
            rmtree(real)
        else:
            os.unlink(real)

    def local_path(self, path: str) -> str | None:
        return self._real(path)

    def close(self) -> None:
        """There is nothing to let go of."""


_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL
_GROWING = os.O_RDWR | os.O_CREAT | os.O_APPEND


def _open(path: str, flags: int) -> int:
    try:
        return os.open(path, flags, 0o666)
    except FileNotFoundError:
        make_directory(os.path.dirname(path))
        return os.open(path, flags, 0o666)


def make_directory(path: str) -> None:
    """Make a directory of this host, with those above it, if it is not there. Mostly those above are."""
    try:
        os.mkdir(path)
    except FileExistsError:
        if not os.path.isdir(path):
            raise
    except FileNotFoundError:
        os.makedirs(path, exist_ok=True)


def _write_all(file: int, data: bytes) -> None:
    written = os.write(file, data)
    while written < len(data):  # the system writes less than 2 GiB at once
        written += os.write(file, memoryview(data)[written : written + 2**30])


def _last_part(path: str) -> str:
    """Where a file goes on: itself, or its last numbered part in a storage that was copied from where files have these,
    for readers join them after it."""
    if not os.path.exists(layout.part(path, 1)):
        return path
    folder, name = os.path.split(path)
    return os.path.join(folder, _last_of(os.listdir(folder), name))


def _last_of(names: Iterable[str], name: str) -> str:
    parts = [one for one in names if layout.part_number(one) and layout.whole(one) == name]
    return max(parts, key=layout.part_number, default=name)


SETTLED = 0.05  # seconds without a change after which nobody is writing that line any more


def _is_torn(file: int) -> bool:
    """Whether a file ends in the middle of a line that nobody is writing.

    A line that crosses a page of memory becomes visible in two steps, so what looks torn may be another process's line
    on its way; it is looked at again until nothing has changed for a while.
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
        time.sleep(SETTLED)


class _DirectoryAppender:
    """Every write reaches the operating system before it returns."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._file = -1
        self._is_closed = False
        self._lock = threading.Lock()

    def write(self, data: bytes) -> None:
        if self._file < 0:
            self._open()
        try:
            _write_all(self._file, data)
        except BaseException:  # half a line may have been written: opened again, it is ended first
            self._release()
            raise

    def _open(self) -> None:
        with self._lock:
            if self._is_closed:
                raise ValueError(f"{self._path} is closed")
            if self._file >= 0:
                return
            file = _open(_last_part(self._path), _GROWING)
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


_Directory: TypeAlias = dict[str, Any]  # of names to bytes, to a bytearray (a file that grows) or to a _Directory


class MemoryFiles:
    """Files of this process that end with it; each instance has its own. Threads may share it."""

    url = "mem://"
    reach: Reach = "process"
    appends = True

    def __init__(self) -> None:
        self._root: _Directory = {}
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        return "MemoryFiles()"

    @contextmanager
    def _parent(self, path: str, *, make: bool = False) -> Iterator[tuple[_Directory, str]]:
        """The directory that has or gets the last name of the path, locked."""
        *folders, name = checked(path).split("/")
        with self._lock:
            here = self._root
            for folder in folders:
                below = here.setdefault(folder, {}) if make else here.get(folder)
                if below is None:
                    raise error(errno.ENOENT, path)
                if type(below) is not dict:
                    raise error(errno.ENOTDIR, path)
                here = below
            yield here, name

    def _find(self, path: str) -> Any:
        """A directory, a file's content, or None."""
        if not path:
            return self._root
        try:
            with self._parent(path) as (folder, name):
                return folder.get(name)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _file(self, path: str) -> bytes | bytearray:
        if not path:
            raise error(errno.EISDIR, path)
        with self._parent(path) as (folder, name):
            found = folder.get(name)
        if found is None:
            raise error(errno.ENOENT, path)
        if type(found) is dict:
            raise error(errno.EISDIR, path)
        return found  # type: ignore[no-any-return]

    def read(self, path: str) -> bytes:
        with self._lock:
            return bytes(self._file(path))

    def write(self, path: str, data: bytes) -> None:
        if not path:
            raise error(errno.EISDIR, path)
        with self._parent(path, make=True) as (folder, name):
            if type(folder.get(name)) is dict:
                raise error(errno.EISDIR, path)
            folder[name] = bytes(data)

    def write_from(self, path: str, file: IO[bytes]) -> None:
        self.write(path, file.read())

    def appender(self, path: str) -> Appender:
        return _MemoryAppender(self, checked(path))

    def _last_part(self, path: str) -> str:
        if self._find(layout.part(path, 1)) is None:
            return path
        folder, _, name = path.rpartition("/")
        return layout.join(folder, _last_of([entry.name for entry in self.entries(folder)], name))

    def _append(self, path: str, data: bytes, *, end_line: bool) -> None:
        if not path:
            raise error(errno.EISDIR, path)
        with self._parent(path, make=True) as (folder, name):
            found = folder.get(name, b"")
            if type(found) is dict:
                raise error(errno.EISDIR, path)
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

    def walk(self, path: str) -> Iterator[Stored]:
        for entry in self.entries(path):
            name = layout.join(path, entry.name)
            if entry.is_directory:
                yield from self.walk(name)
            else:
                with suppress(FileNotFoundError):
                    yield Stored(name, self.size(name), None)

    def temporaries(self, path: str, *, below: bool = False) -> list[Temporary]:
        checked(path)
        return []

    def size(self, path: str) -> int:
        return len(self._file(path))

    def move(self, path: str, to: str) -> None:
        checked(to, root=False)
        with self._parent(checked(path, root=False)) as (folder, name):
            if name not in folder:
                raise error(errno.ENOENT, path)
            if self._find(to) is not None:
                raise error(errno.EEXIST, to)
            if to.startswith(path + "/"):
                raise error(errno.EINVAL, to)
            with self._parent(to, make=True) as (target, new_name):
                target[new_name] = folder.pop(name)

    def remove(self, path: str) -> None:
        with self._parent(checked(path, root=False)) as (folder, name):
            if name not in folder:
                raise error(errno.ENOENT, path)
            del folder[name]

    def local_path(self, path: str) -> str | None:
        checked(path)
        return None

    def close(self) -> None:
        """What was written stays readable as long as the object lives."""


class _MemoryAppender:
    def __init__(self, files: MemoryFiles, path: str) -> None:
        self._files = files
        self._path = path
        self._is_new = True
        self._is_closed = False

    def write(self, data: bytes) -> None:
        if self._is_closed:
            raise ValueError(f"{self._path} is closed")
        if self._is_new:
            self._path = self._files._last_part(self._path)
        self._files._append(self._path, data, end_line=self._is_new)
        self._is_new = False

    def close(self) -> None:
        self._is_closed = True


class PartAppender:
    """An appender for files that cannot grow: what is written within `interval` seconds becomes one numbered part.

    A part that could not be stored is kept and tried again with the next write, after the interval and when closing;
    the next of these that is called says what is wrong.

    Args:
        files: where the parts are stored. path: of the file that they are parts of.
        interval: seconds. create: makes a file unless one is there, or it was made for the same owner, and says
            whether it did. With it nobody looks for parts of others until one is in the way, and none is overwritten.
    """

    LARGEST = 8 * 2**20  # bytes that wait for the interval to end

    def __init__(
        self,
        files: Files,
        path: str,
        interval: float = 10.0,
        create: Callable[[str, bytes, str], bool] | None = None,
    ) -> None:
        self._files = files
        self._path = checked(path, root=False)
        self._interval = interval
        self._create = create
        self._owner = os.urandom(8).hex()
        self._waiting = bytearray()
        self._number = 1 if create else 0  # of the next part, 0 if it is not known
        self._timer: threading.Timer | None = None
        self._has_failed = False
        self._is_closed = False
        self._lock = threading.RLock()

    def write(self, data: bytes) -> None:
        with self._lock:
            if self._is_closed:
                raise ValueError(f"{self._path} is closed")
            self._waiting += data
            if self._has_failed or len(self._waiting) >= self.LARGEST:
                self._flush()
            else:
                self._wait()

    def _wait(self) -> None:
        if self._timer is None:
            self._timer = threading.Timer(self._interval, self._interval_ended)
            self._timer.daemon = True
            self._timer.start()

    def _interval_ended(self) -> None:
        with self._lock:
            self._timer = None
            if self._is_closed:
                return
            try:
                self._flush()
            except Exception:  # nobody would see it in this thread: the rows are kept, and the writer is told
                self._wait()

    def _flush(self) -> None:
        if not self._waiting:
            return
        self._has_failed = True
        if not self._number:
            self._number = self._last() + 1
        data = bytes(self._waiting)
        if self._create is None:
            self._files.write(layout.part(self._path, self._number), data)
        else:
            while not self._create(layout.part(self._path, self._number), data, self._owner):
                self._number = max(self._last(), self._number) + 1
        self._number += 1
        self._waiting.clear()
        self._has_failed = False

    def _last(self) -> int:
        """The number of the last part; another process may have written some."""
        folder, _, name = self._path.rpartition("/")
        names = [entry.name for entry in self._files.entries(folder)]
        return max((layout.part_number(n) for n in names if layout.whole(n) == name), default=0)

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            self._flush()
