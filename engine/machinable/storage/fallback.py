"""Where writes go while a storage cannot be written: nothing that was computed is lost because a disk is full."""

from __future__ import annotations

import errno
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import IO, Any, TypeVar

from machinable.errors import StorageUnavailable
from machinable.serialization import loads
from machinable.storage import layout
from machinable.storage.files import (
    Appender,
    DirectoryFiles,
    Entry,
    Files,
    PartAppender,
    Reach,
    Stored,
    Temporary,
    checked,
    is_temporary,
)
from machinable.storage.streams import RowWriter, read_rows, rows_in

__all__ = ["FallbackFiles", "bring_home", "is_outage", "lost_as_told", "refuge_name", "storage_lost"]

_T = TypeVar("_T")
_OUTAGES = frozenset(
    getattr(errno, name, -1)
    for name in (
        "ENOSPC",
        "EDQUOT",
        "EROFS",
        "EIO",
        "ENXIO",
        "ENODEV",
        "ESTALE",
        "ENOTCONN",
        "EACCES",
        "EPERM",
        "ETIMEDOUT",
        "EHOSTDOWN",
        "EHOSTUNREACH",
        "ENETDOWN",
        "ENETUNREACH",
        "ECONNREFUSED",
        "ECONNRESET",
        "EPIPE",
        "EREMOTEIO",
    )
)
ROOM = 64 * 2**20  # bytes that must be free where a refuge is made, if there is a choice
PREFIX = "machinable-rescued-"
PLACES = ("/var/tmp", "~", "/dev/shm")  # for refuges, after the directory for temporary files


def is_outage(failure: OSError) -> bool:
    """Whether an error says that a storage cannot be written at all, rather than that a name is taken or wrong.

    What can be tried again has been tried again by then.
    """
    return isinstance(failure, (StorageUnavailable, ConnectionError, TimeoutError)) or failure.errno in _OUTAGES


def refuge_name(folder: str) -> str:
    """A name that nobody else takes, for the refuge of all processes of an execution."""
    return f"{PREFIX}{folder}-{os.urandom(4).hex()}"


class FallbackFiles:
    """A storage that is never in the way of a trial: when it cannot be written, all that follows goes to a refuge.

    That is a directory of this host, laid out like the storage, so it can be copied over it. `flush_fallback` tries
    to write it all to the storage again.

    Args:
        files: the storage. name: of the directory, from `refuge_name`.

    Attributes:
        inner: the storage. place: the directory, once there is one.
    """

    def __init__(self, files: Files, name: str) -> None:
        self.inner = files
        self.place: str | None = None
        self._name = name
        self._refuge: DirectoryFiles | None = None
        self._reason = ""
        self._has_told = False
        self._lock = threading.RLock()
        self._number = 0

    def __repr__(self) -> str:
        return f"FallbackFiles({self.inner!r})"

    @property
    def url(self) -> str:
        return self.inner.url

    @property
    def reach(self) -> Reach:
        return self.inner.reach

    @property
    def appends(self) -> bool:
        return self.inner.appends

    @property
    def is_away(self) -> bool:
        """Whether writes go to the refuge."""
        return self._refuge is not None

    def _written(self, there: Callable[[Files], _T], here: Callable[[DirectoryFiles], _T]) -> _T:
        """What a write gives, in the storage or in the refuge."""
        if self._refuge is None:
            try:
                return there(self.inner)
            except OSError as failure:
                if not is_outage(failure):
                    raise
                problem = failure
            with self._lock:
                if self._refuge is None:
                    self._flee(problem)
        with self._lock:
            if self._refuge is None:  # another thread has brought everything home meanwhile
                return self._written(there, here)
            given = here(self._refuge)
        self._tell()
        return given

    def _tell(self) -> None:
        if self._has_told:
            return
        self._has_told = True
        with suppress(RuntimeWarning):  # where warnings are errors: it must not stand between a trial and its rows
            warnings.warn(
                f"the storage {self.url} cannot be written any more: {self._reason}. "
                f"What is written from now on is kept in {self.place}",
                RuntimeWarning,
                stacklevel=5,
            )

    def _flee(self, failure: OSError) -> None:
        self._reason = getattr(failure, "message", None) or failure.strerror or str(failure)
        self._reason = self._reason.removeprefix(f"the storage {self.url!r} cannot be used: ")
        try:
            self.place = _made(self._name, self.inner.local_path(""))
        except OSError as nowhere:
            raise storage_lost(self) from nowhere
        self._refuge = DirectoryFiles(self.place)

    def _kept_as(self, path: str, refuge: DirectoryFiles) -> str:
        """What a numbered part is called in the refuge.

        Its number is free in the storage, for its appender has made those before it. Only a ledger may have grown
        before that; then it gets a number that none can have.
        """
        number = layout.part_number(path)
        if not number or not (refuge.exists(path) or (number == 1 and _is_ledger(path))):
            return path
        self._number = max(self._number + 1, int(time.time()))
        return layout.part(layout.whole(path), self._number)

    # writing

    def write(self, path: str, data: bytes) -> None:
        self._written(
            lambda files: files.write(path, data), lambda refuge: refuge.write(self._kept_as(path, refuge), data)
        )

    def write_from(self, path: str, file: IO[bytes]) -> None:
        beginning = file.tell()

        def again(refuge: DirectoryFiles) -> None:
            file.seek(beginning)
            refuge.write_from(self._kept_as(path, refuge), file)

        self._written(lambda files: files.write_from(path, file), again)

    def create(self, path: str, data: bytes, owner: str) -> bool:
        """Make a file unless one is there, and say whether it did."""

        def there(files: Files) -> bool:
            create: Callable[[str, bytes, str], bool] | None = getattr(files, "create", None)
            if create is not None:
                return create(path, data, owner)
            if files.exists(path):
                return False
            files.write(path, data)
            return True

        def here(refuge: DirectoryFiles) -> bool:
            refuge.write(self._kept_as(path, refuge), data)
            return True

        return self._written(there, here)

    def appender(self, path: str) -> Appender:
        if self.appends:
            return _Growing(self, checked(path))
        return PartAppender(self, path, create=self.create)

    def append(self, growing: _Growing, data: bytes) -> None:
        """Append to a file of the storage, or to a part of it in the refuge."""
        self._written(lambda files: growing.write_there(data), lambda refuge: growing.write_here(refuge, data))

    def free_part(self, path: str) -> str:
        """The name of a numbered part that follows those in the storage."""
        folder, _, name = path.rpartition("/")
        try:
            numbers = [
                layout.part_number(one.name) for one in self.inner.entries(folder) if layout.whole(one.name) == name
            ]
        except OSError:
            numbers = []
        return layout.part(path, max(numbers, default=0) + 1)

    def create_directory(self, path: str) -> bool:
        return self._written(lambda files: files.create_directory(path), lambda refuge: refuge.create_directory(path))

    def move(self, path: str, to: str) -> None:
        (self._holder(path) or self.inner).move(path, to)

    def remove(self, path: str) -> None:
        (self._holder(path) or self.inner).remove(path)

    # reading

    def _holder(self, path: str) -> DirectoryFiles | None:
        """The refuge, if it has that path."""
        refuge = self._refuge
        return refuge if refuge is not None and path and refuge.exists(path) else None

    def read(self, path: str) -> bytes:
        return (self._holder(path) or self.inner).read(path)

    def exists(self, path: str) -> bool:
        return self._holder(path) is not None or self.inner.exists(path)

    def is_directory(self, path: str) -> bool:
        holder = self._holder(path)
        return holder.is_directory(path) if holder is not None else self.inner.is_directory(path)

    def size(self, path: str) -> int:
        return (self._holder(path) or self.inner).size(path)

    def entries(self, path: str) -> list[Entry]:
        refuge = self._refuge
        if refuge is None:
            return self.inner.entries(path)
        return sorted({*refuge.entries(path), *self._from_inner(lambda: self.inner.entries(path))})

    def walk(self, path: str) -> Iterator[Stored]:
        refuge = self._refuge
        if refuge is None:
            return self.inner.walk(path)
        found = {stored.path: stored for stored in self._from_inner(lambda: list(self.inner.walk(path)))}
        return iter((found | {stored.path: stored for stored in refuge.walk(path)}).values())

    def _from_inner(self, look: Callable[[], list[_T]]) -> list[_T]:
        """What the storage has, as far as it answers."""
        try:
            return look()
        except OSError as failure:
            if not is_outage(failure):
                raise
            return []

    def temporaries(self, path: str, *, below: bool = False) -> list[Temporary]:
        return self.inner.temporaries(path, below=below)

    def local_path(self, path: str) -> str | None:
        refuge = self._refuge
        return (self.inner if refuge is None else refuge).local_path(path)

    def close(self) -> None:
        self.inner.close()

    # coming home

    def flush_fallback(self) -> bool:
        """Bring everything from the refuge into the storage, if it can be written again.

        Returns:
            Whether all that was written is in the storage.
        """
        with self._lock:
            if self._refuge is None:
                return True
            try:
                bring_home(self._refuge, self.inner, is_same=True)
            except OSError as failure:
                if not is_outage(failure):
                    raise
                return False
            from shutil import rmtree

            rmtree(self._refuge.url, ignore_errors=True)
            self._refuge, self.place, self._has_told = None, None, False
            return True


def storage_lost(files: FallbackFiles) -> StorageUnavailable:
    """The error for a storage that cannot be written any more: it says where everything is."""
    from shlex import quote

    details, todo = [], "There is no other place on this host that can be written."
    if files.place:
        details = [f"what was written since is in {files.place}"]
        command = f"machinable rescue {quote(files.place)} --storage {quote(files.url)}"
        todo = f"When it can be written again: {command}"
    return StorageUnavailable(
        f"the storage {files.url} cannot be written any more: {files._reason}",
        given=files.url,
        details=details,
        todo=todo,
    )


def lost_as_told(text: str, url: str) -> StorageUnavailable:
    """The same error, of which only the text has come from a worker."""
    first, *more = text.split("\n  ")
    return StorageUnavailable(first, given=url, details=more[:-1], todo=more[-1] if more else None)


def _made(name: str, storage: str | None) -> str:
    """A directory of that name, where there is room: not on the device of a directory that may be full."""
    from tempfile import gettempdir

    places = [gettempdir(), *map(os.path.expanduser, PLACES)]
    for base in places:
        if os.path.isdir(os.path.join(base, name)):  # another process of this execution has been here
            return os.path.join(base, name)
    full = None
    if storage is not None:
        with suppress(OSError):
            full = os.stat(storage).st_dev
    failure: OSError = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    for needs_room in (True, False):
        for base in places:
            try:
                if needs_room and (os.stat(base).st_dev == full or _free(base) < ROOM):
                    continue
                os.mkdir(os.path.join(base, name), 0o700)
                return os.path.join(base, name)
            except FileExistsError:
                return os.path.join(base, name)
            except OSError as error:
                failure = error
    raise failure


def _free(directory: str) -> int:
    from shutil import disk_usage

    return disk_usage(directory).free


class _Growing:
    """A file that grows, in the storage or, from some line on, as a part of it in the refuge."""

    def __init__(self, files: FallbackFiles, path: str) -> None:
        self._files = files
        self._path = path
        self._there = files.inner.appender(path)
        self._here: Appender | None = None
        self._refuge: DirectoryFiles | None = None
        self._is_closed = False

    def write(self, data: bytes) -> None:
        if self._is_closed:
            raise ValueError(f"{self._path} is closed")
        if self._here is None and not self._files.is_away:  # the way of nearly all lines, without a detour
            try:
                self._there.write(data)
                return
            except OSError as failure:
                if not is_outage(failure):
                    raise
        self._files.append(self, data)

    def write_there(self, data: bytes) -> None:
        """Append in the storage."""
        if self._here is not None:  # what was kept is in the storage by now, behind the last line that we wrote there
            self._here.close()
            self._here = None
        self._there.write(data)

    def write_here(self, refuge: DirectoryFiles, data: bytes) -> None:
        """Append in the refuge."""
        if self._here is None or self._refuge is not refuge:
            self._there.close()
            self._there = self._files.inner.appender(self._path)
            self._refuge, self._here = refuge, refuge.appender(self._files.free_part(self._path))
        self._here.write(data)

    def close(self) -> None:
        self._is_closed = True
        self._there.close()
        if self._here is not None:
            self._here.close()


def bring_home(refuge: Files, files: Files, *, is_same: bool = False) -> tuple[list[str], list[str]]:
    """Write what a refuge has into the storage.

    Of a trial that has been run again since, nothing is written. Of the ledger, only lines are added that are newer
    than what it says.

    Args:
        is_same: nobody else can have written there meanwhile.

    Returns:
        What was written, and what was left out.
    """
    paths = sorted(
        (stored.path for stored in refuge.walk("") if not is_temporary(stored.path.rpartition("/")[2])),
        key=lambda path: (path.endswith("/" + layout.STATUS), path),  # what a state speaks of is there before it
    )
    brought, left = [], []
    is_other: dict[str, bool] = {}
    ledgers: dict[str, list[str]] = {}
    for path in paths:
        folder, _, inner = path.partition("/")
        if _is_ledger(path):
            ledgers.setdefault(folder, []).append(path)
            continue
        if inner.startswith(f"{layout.TRIALS}/") and not is_same:
            trial = layout.join(folder, layout.trial(inner.split("/")[1]))
            if trial not in is_other:
                is_other[trial] = _is_another_attempt(refuge, files, trial)
            if is_other[trial]:
                left.append(path)
                continue
        _copy(refuge, files, path)
        brought.append(path)
    for folder, pieces in ledgers.items():
        rows = [row for piece in pieces for row in rows_in(refuge.read(piece), piece)]
        _bring_ledger(rows, files, layout.join(folder, layout.LEDGER))
        brought.append(layout.join(folder, layout.LEDGER))
    return brought, left


def _is_ledger(path: str) -> bool:
    return layout.whole(path).rpartition("/")[2] == layout.LEDGER and path.count("/") == 1


def _copy(refuge: Files, files: Files, path: str) -> None:
    local = refuge.local_path(path)
    if local is None:
        files.write(path, refuge.read(path))
        return
    with open(local, "rb") as file:
        files.write_from(path, file)


def _is_another_attempt(refuge: Files, files: Files, trial: str) -> bool:
    """Whether what a storage has of a trial is of another attempt than what the refuge has."""
    ours, theirs = (_status(one, layout.join(trial, layout.STATUS)) for one in (refuge, files))
    if theirs is None:
        return False
    if ours is None:
        return theirs.get("state") != "running"
    return (ours.get("attempt"), ours.get("started")) != (theirs.get("attempt"), theirs.get("started"))


def _status(files: Files, path: str) -> dict[str, Any] | None:
    with suppress(FileNotFoundError, NotADirectoryError, ValueError):
        found = loads(files.read(path))
        if isinstance(found, dict):
            return found
    return None


def _bring_ledger(rows: list[dict[str, Any]], files: Files, path: str) -> None:
    there = read_rows(files, path)
    latest: dict[object, str] = {}
    for row in there:
        key = row.get("uid", row.get("event"))
        latest[key] = max(latest.get(key, ""), str(row.get("time", "")))
    writer = RowWriter(files, path)
    for row in sorted(rows, key=lambda row: str(row.get("time", ""))):
        if row not in there and str(row.get("time", "")) >= latest.get(row.get("uid", row.get("event")), ""):
            writer.append(row)
    writer.close()
