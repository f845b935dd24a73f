"""A directory that takes writes while a storage is unwritable, so that a full disk loses no results."""

from __future__ import annotations

import errno
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from functools import lru_cache, partial
from shlex import quote
from typing import IO, Any, TypeVar

from machinable.errors import Damaged, LeaseLost, StorageUnavailable
from machinable.storage import layout
from machinable.storage.documents import ROW, STATUS, parse_rows, read_document, read_rows
from machinable.storage.files import Appender, Entry, FileInfo, Files, Guard, checked
from machinable.storage.local import DirectoryFiles
from machinable.storage.numbered_parts import PartAppender, part_numbers
from machinable.storage.streams import RowWriter

__all__ = ["FallbackFiles", "copy_fallback", "fallback_name", "is_outage", "outage_of"]

_T = TypeVar("_T")
_OUTAGES = {  # beside those of the classes in `is_outage`
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EIO,
    errno.ENXIO,
    errno.ENODEV,
    errno.ESTALE,
    errno.ENOTCONN,
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
    errno.ENETDOWN,
    errno.ENETUNREACH,
    getattr(errno, "EREMOTEIO", -1),  # Linux
}
MIN_FREE = 64 * 2**20  # bytes that must be free where a fallback is created, if there is a choice
PREFIX = "machinable-rescued-"
PLACES = ("/var/tmp", "~", "/dev/shm")  # for fallbacks, after the directory for temporary files


def is_outage(failure: OSError) -> bool:
    """Return whether an error means that a storage is unwritable, and not that a name is taken or invalid.

    Requests that can be repeated have already been repeated.
    """
    kinds = (StorageUnavailable, ConnectionError, TimeoutError, PermissionError)
    return isinstance(failure, kinds) or failure.errno in _OUTAGES


def fallback_name(folder: str) -> str:
    """Return a unique name for the fallback of all processes of an execution."""
    return f"{PREFIX}{folder}-{os.urandom(4).hex()}"


class FallbackFiles(Files):
    """A storage whose outage does not stop a trial: from then on writes go to a directory of this host, the fallback.

    It has the layout of the storage. `flush_fallback` copies it into the storage when that is writable again.

    Attributes:
        directory: The path of the fallback, once it is in use.
    """

    def __init__(self, files: Files, name: str) -> None:
        """Put a fallback, whose directory has a name from `fallback_name`, in front of a storage."""
        self.url = files.url
        self.reach = files.reach
        self.appends = files.appends
        self.has_free_marks = files.has_free_marks
        self.directory: str | None = None
        self._inner = files
        self._name = name
        self._fallback: DirectoryFiles | None = None
        self._reason = ""
        self._lock = threading.RLock()
        self._number = 0

    @property
    def inner(self) -> Files:
        return self._inner

    @property
    def is_away(self) -> bool:
        return self._fallback is not None

    def _write(self, act: Callable[[Files], _T]) -> _T:
        """Write with `act` into the storage or, during an outage, into the fallback, and return its result."""
        if self._fallback is None:
            try:
                return act(self._inner)
            except OSError as failure:
                if not is_outage(failure):
                    raise
                problem = failure
            with self._lock:
                if self._fallback is None:
                    self._switch_to_fallback(problem)
        with self._lock:
            if self._fallback is None:  # another thread has flushed the fallback
                return self._write(act)
            return act(self._fallback)

    def _switch_to_fallback(self, failure: OSError) -> None:
        self._reason = getattr(failure, "message", None) or failure.strerror or str(failure)
        self._reason = self._reason.removeprefix(f"the storage {self.url!r} cannot be used: ")
        try:
            self.directory = _create(self._name, self._inner.local_path(""))
        except OSError as nowhere:
            raise self.outage() from nowhere
        self._fallback = DirectoryFiles(self.directory)
        with suppress(RuntimeWarning):  # where warnings are errors, this one must not stop the write
            warnings.warn(
                f"can no longer write to the storage {self.url}: {self._reason}. "
                f"Further results are written to {self.directory}",
                RuntimeWarning,
                stacklevel=5,
            )

    def _path_in(self, files: Files, path: str) -> str:
        """Return the path of a file in the storage or in the fallback.

        The number of a part is free in the storage, because its appender wrote those before it. Only a ledger may have
        grown earlier; its part gets a number that no other part can have.
        """
        number = layout.part_number(path)
        if files is self._inner or not number or not (files.exists(path) or (number == 1 and _is_ledger(path))):
            return path
        self._number = max(self._number + 1, int(time.time()))
        return layout.part(layout.whole(path), self._number)

    def write(self, path: str, data: bytes) -> None:
        self._write(lambda files: files.write(self._path_in(files, path), data))

    def write_from(self, path: str, file: IO[bytes]) -> None:
        beginning = file.tell()

        def write(files: Files) -> None:
            file.seek(beginning)
            files.write_from(self._path_in(files, path), file)

        self._write(write)

    def copy(self, path: str, to: str) -> None:
        def copy(files: Files) -> None:
            source = self._holder(path)
            if source is files:
                files.copy(path, self._path_in(files, to))
            else:
                files.write(self._path_in(files, to), source.read(path))

        self._write(copy)

    def mark(self, path: str) -> object:
        return self._inner.mark(path)

    def write_if(self, path: str, data: bytes, mark: object) -> object:
        def write(files: Files) -> object:
            if files is self._inner:
                return files.write_if(path, data, mark)
            files.write(path, data)  # whether it has changed is found out when it is copied
            return mark or data

        return self._write(write)

    def guard(self, folder: str, guard: Guard) -> None:
        self._inner.guard(folder, guard)

    def unguard(self, folder: str, guard: Guard) -> None:
        self._inner.unguard(folder, guard)

    def lose(self, folder: str, error: LeaseLost) -> None:
        self._inner.lose(folder, error)

    def guard_of(self, path: str) -> Guard | None:
        return self._inner.guard_of(path)

    def allow(self, path: str) -> None:
        self._write(lambda files: files.allow(path))

    def check_root(self) -> None:
        self._inner.check_root()

    def create(self, path: str, data: bytes, owner: str) -> bool:
        return self._write(lambda files: files.create(self._path_in(files, path), data, owner))

    def appender(self, path: str) -> Appender:
        if self.appends:
            return _FallbackAppender(self, checked(path))
        return PartAppender(self, path, create=self.create, first=self.first_part(path))

    def create_directory(self, path: str) -> bool:
        return self._write(lambda files: files.create_directory(path))

    def _holder(self, path: str) -> Files:
        """Return the fallback if it has the path, else the storage."""
        fallback = self._fallback
        return fallback if fallback is not None and path and fallback.exists(path) else self._inner

    def _rename(self, path: str, to: str) -> None:
        self._holder(path).move(path, to)

    def remove(self, path: str) -> None:
        self._holder(path).remove(path)

    def read(self, path: str) -> bytes:
        return self._holder(path).read(path)

    def pieces(self, path: str) -> Iterator[bytes]:
        return self._holder(path).pieces(path)

    def read_from(self, path: str, position: int) -> bytes:
        return self._holder(path).read_from(path, position)

    def exists(self, path: str) -> bool:
        return self._holder(path).exists(path)

    def is_directory(self, path: str) -> bool:
        return self._holder(path).is_directory(path)

    def size(self, path: str) -> int:
        return self._holder(path).size(path)

    def _listed(self, look: Callable[[Files], Iterable[_T]]) -> list[_T]:
        """Return the entries of the storage, if it answers, and of the fallback."""
        fallback = self._fallback
        try:
            found = list(look(self._inner))
        except OSError as failure:
            if fallback is None or not is_outage(failure):
                raise
            found = []
        return found if fallback is None else [*found, *look(fallback)]

    def entries(self, path: str) -> list[Entry]:
        found = self._listed(lambda files: files.entries(path))
        return sorted(set(found)) if self.is_away else found

    def walk(self, path: str) -> Iterator[FileInfo]:
        yield from {found.path: found for found in self._listed(lambda files: files.walk(path))}.values()

    def temporaries(self, path: str, *, below: bool = False) -> list[FileInfo]:
        return self._inner.temporaries(path, below=below)

    def local_path(self, path: str) -> str | None:
        fallback = self._fallback
        return (self._inner if fallback is None else fallback).local_path(path)

    def close(self) -> None:
        self._inner.close()

    def flush_fallback(self) -> bool:
        with self._lock:
            if self._fallback is None:
                return True
            try:
                _, left = copy_fallback(self._fallback, self._inner)
            except OSError as failure:
                if not is_outage(failure):
                    raise
                return False
            if left:  # another process has taken the execution over
                return False
            from shutil import rmtree

            rmtree(self._fallback.url, ignore_errors=True)
            self._fallback, self.directory = None, None
            return True

    def outage(self) -> StorageUnavailable:
        details, todo = [], "No other directory of this host is writable."
        if self.directory:
            details = [f"later results are in {self.directory}"]
            command = f"machinable rescue {quote(self.directory)} --storage {quote(self.url)}"
            todo = f"When it is writable again: {command}"
        return StorageUnavailable(
            f"can no longer write to the storage {self.url}: {self._reason}",
            given=self.url,
            details=details,
            todo=todo,
        )


def outage_of(text: str, url: str) -> StorageUnavailable:
    """Return the error of an outage from its text, because workers report only text."""
    first, *more = text.split("\n  ")
    return StorageUnavailable(first, given=url, details=more[:-1], todo=more[-1] if more else None)


def _create(name: str, storage: str | None) -> str:
    """Create the directory of a fallback where there is free space, not on the device of the storage."""
    from shutil import disk_usage
    from tempfile import gettempdir

    bases = [gettempdir(), *map(os.path.expanduser, PLACES)]
    for base in bases:
        if os.path.isdir(os.path.join(base, name)):  # another process of this execution has created it
            return os.path.join(base, name)
    full = None
    if storage is not None:
        with suppress(OSError):
            full = os.stat(storage).st_dev

    def is_poor(base: str) -> bool:
        try:
            return os.stat(base).st_dev == full or disk_usage(base).free < MIN_FREE
        except OSError:
            return True

    failure = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    for base in sorted(bases, key=is_poor):
        try:
            os.mkdir(os.path.join(base, name), 0o700)
            return os.path.join(base, name)
        except FileExistsError:
            return os.path.join(base, name)
        except OSError as error:
            failure = error
    raise failure


class _FallbackAppender(Appender):
    """Appends to a file of the storage or, during an outage, to a numbered part of it in the fallback."""

    def __init__(self, files: FallbackFiles, path: str) -> None:
        self._files = files
        self._path = path
        self._inner = self._target = files.inner  # the appender writes to the target
        self._appender = files.inner.appender(path)
        self._is_closed = False

    def write(self, data: bytes) -> None:
        if self._is_closed:
            raise ValueError(f"{self._path} is closed")
        if self._target is self._inner and not self._files.is_away:  # nearly always
            try:
                self._appender.write(data)
                return
            except OSError as failure:
                if not is_outage(failure):
                    raise
        self._files._write(partial(self._append, data))

    def _append(self, data: bytes, files: Files) -> None:
        if files is not self._target:
            self._appender.close()
            path = self._path if files is self._inner else self._free_part()
            self._target, self._appender = files, files.appender(path)
        self._appender.write(data)

    def _free_part(self) -> str:
        """Return the name of a part after those in the storage."""
        try:
            numbers = part_numbers(self._inner, self._path)
        except OSError:
            numbers = []
        return layout.part(self._path, max(numbers, default=0) + 1)

    def flush(self) -> None:
        self._appender.flush()

    def close(self) -> None:
        self._is_closed = True
        self._appender.close()

    def is_replaced(self) -> bool:
        if self._target is not self._inner or self._files.is_away:
            return False
        with suppress(OSError):  # the write finds out
            return self._appender.is_replaced()
        return False


def copy_fallback(fallback: Files, files: Files) -> tuple[list[str], list[str]]:
    """Copy a fallback into a storage.

    Trials that have run again since are left out. Rows of the ledger are added if they are newer than its own.

    Returns:
        The paths that were copied, and those that were left out.
    """
    paths = sorted(
        (stored.path for stored in fallback.walk("")),
        key=lambda path: (path.endswith("/" + layout.STATUS), path),  # a status follows the files that it describes
    )
    copied, left = [], []
    has_run_again = lru_cache(maxsize=None)(partial(_has_run_again, fallback, files))
    ledgers: dict[str, list[str]] = {}
    for path in paths:
        parts = path.split("/")
        if _is_ledger(path):
            ledgers.setdefault(parts[0], []).append(path)
        elif parts[1:2] == [layout.TRIALS] and has_run_again("/".join(parts[:3])):
            left.append(path)
        else:
            _copy(fallback, files, path)
            copied.append(path)
    for folder, pieces in ledgers.items():
        rows = [row for piece in pieces for row in parse_rows(fallback.read(piece), ROW, piece)]
        _merge_ledger(rows, files, layout.join(folder, layout.LEDGER))
        copied.append(layout.join(folder, layout.LEDGER))
    return copied, left


def _is_ledger(path: str) -> bool:
    return layout.whole(path).rpartition("/")[2] == layout.LEDGER and path.count("/") == 1


def _copy(fallback: Files, files: Files, path: str) -> None:
    local = fallback.local_path(path)
    if local is None:
        files.write(path, fallback.read(path))
        return
    with open(local, "rb") as file:
        files.write_from(path, file)


def _has_run_again(fallback: Files, files: Files, trial: str) -> bool:
    """Return whether the storage has another attempt of a trial than the fallback."""
    ours, theirs = (_status(one, layout.join(trial, layout.STATUS)) for one in (fallback, files))
    if theirs is None:
        return False
    if ours is None:
        return theirs.get("state") != "running"
    return (ours.get("attempt"), ours.get("started")) != (theirs.get("attempt"), theirs.get("started"))


def _status(files: Files, path: str) -> dict[str, Any] | None:
    with suppress(Damaged):
        return read_document(files, path, STATUS)
    return None


def _merge_ledger(rows: list[dict[str, Any]], files: Files, path: str) -> None:
    def subject(row: dict[str, Any]) -> object:
        return row.get("uid", row.get("event"))

    def time(row: dict[str, Any]) -> str:
        return str(row.get("time", ""))

    there = sorted(read_rows(files, path), key=time)
    latest = {subject(row): time(row) for row in there}
    with closing(RowWriter(files, path)) as writer:
        for row in sorted(rows, key=time):
            if row not in there and time(row) >= latest.get(subject(row), ""):
                writer.append(row)
