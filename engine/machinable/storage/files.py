"""The interface of a storage: a tree of named files.

Paths are relative, with `/` between names; "" is the root. Errors are those of Python: `FileNotFoundError`,
`IsADirectoryError`, `NotADirectoryError`, `FileExistsError`. A path that could leave the tree is a `BadName`.
"""

from __future__ import annotations

import errno
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import IO, Any, Literal, NamedTuple, TypeAlias

from machinable.errors import BadName, LeaseLost, StorageError, StorageUnavailable
from machinable.storage import layout
from machinable.storage.temporary import is_temporary

__all__ = [
    "PIECE",
    "Appender",
    "Entry",
    "FileInfo",
    "Files",
    "Guard",
    "Reach",
    "checked",
    "file_path",
    "path_error",
    "unreadable",
    "writing",
]

Reach: TypeAlias = Literal["process", "host", "anywhere"]

PIECE = 2**20  # bytes of a large file that are held at a time


class Entry(NamedTuple):
    """A name in a directory."""

    name: str
    is_directory: bool


class FileInfo(NamedTuple):
    """A file in a storage.

    Attributes:
        path: Its path.
        size: Its length in bytes, 0 for a directory.
        changed: When it was changed, in seconds since the epoch; None if that is not known.
        is_directory: Whether it is a directory.
    """

    path: str
    size: int
    changed: float | None
    is_directory: bool = False

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]


class Appender(ABC):
    """A file that grows. It appears with the first write."""

    @abstractmethod
    def write(self, data: bytes) -> None:
        """Append one or several whole lines, after ending a line that a killed process left unfinished."""

    def flush(self) -> None:  # noqa: B027
        """Store what was written, where that is not done immediately."""

    @abstractmethod
    def close(self) -> None:
        """Store everything. It may be called twice; writing afterwards raises a `ValueError`."""

    def is_replaced(self) -> bool:
        """Return whether the file that it appends to was replaced or removed, if that is found for free."""
        return False


class Guard:
    """The right of one writer to write below a folder; writes there ask it first.

    Attributes:
        lost: Why the writer has lost the right, once that is known; every write below the folder raises it.
        token: The fencing token of the writer, 0 for none: of two writers of a file, the one with the greater token
            stays.
        versions: The versions of files as the writer has left them, for storages that compare them.
        knows_root: Whether `check` would notice that another directory is in the place of the storage.
    """

    knows_root: bool = False

    def __init__(self, token: int = 0) -> None:
        self.lost: LeaseLost | None = None
        self.token = token
        self.versions: dict[str, object] = {}

    def check(self) -> None:
        """Check that the writer has not lost the right, without a request where that is possible.

        Raises:
            LeaseLost: It has.
            OSError: The storage is away.
        """
        if self.lost is not None:
            raise self.lost

    def confirm(self) -> None:
        """Check it by asking the storage, because another writer was noticed; raise as `check`."""
        self.check()


class Files(ABC):
    """A tree of files.

    Attributes:
        url: Its location without credentials; the absolute path of a directory.
        reach: Where it can be opened: in this process, on this host, or anywhere.
        appends: Whether files can grow; otherwise appenders write numbered parts.
        lists_at_once: Whether one request lists the files of many folders.
        marks_processes: Whether killed processes can leave temporary files, so that processes leave marks.
        has_free_marks: Whether `mark` takes no longer than a system call.
        is_served: Whether another process writes for this one, and nothing after the end of that one.
    """

    url: str
    reach: Reach
    appends: bool = True
    lists_at_once: bool = False
    marks_processes: bool = False
    has_free_marks: bool = False
    is_served: bool = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    @property
    def inner(self) -> Files:
        """The storage itself, without a fallback in front of it."""
        return self

    @property
    def is_away(self) -> bool:
        """Whether writes go to a fallback because the storage is unwritable."""
        return False

    @abstractmethod
    def read(self, path: str) -> bytes:
        """Return the content of a file.

        Raises:
            FileNotFoundError, NotADirectoryError, IsADirectoryError: There is no such file.
            StorageUnavailable: It cannot be read.
        """

    def pieces(self, path: str) -> Iterator[bytes]:
        """Yield the content of a file piece by piece; raise what `read` raises."""
        yield self.read(path)

    def read_from(self, path: str, position: int) -> bytes:
        """Return the content of a file from a position on, counted from 0; raise what `read` raises."""
        return self.read(path)[position:]

    @abstractmethod
    def write(self, path: str, data: bytes) -> None:
        """Create or replace a file. Readers see the old or the new content, even if the writer is killed."""

    def write_from(self, path: str, file: IO[bytes]) -> None:
        """Write the rest of an open file, in pieces if the storage supports that."""
        self.write(path, file.read())

    def copy(self, path: str, to: str) -> None:
        """Copy a file."""
        self.write(to, self.read(path))

    def mark(self, path: str) -> object:
        """Return a value that identifies the current version of a file; None if there is no such file."""
        try:
            return self.read(path)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def write_if(self, path: str, data: bytes, mark: object) -> object:
        """Write a file unless it has changed since it had this mark (None: unless it exists).

        Not every storage can do that in one step; see its class.

        Returns:
            The mark of the new version; None if the file has changed, and nothing was written.
        """
        if self.mark(path) != mark:
            return None
        self.write(path, data)
        return data

    # what writes depend on

    def check_root(self) -> None:  # noqa: B027
        """Check that the storage is still the one that was written before; raise StorageUnavailable if it is not."""

    @cached_property
    def _guards(self) -> dict[str, Guard]:
        """The guards by the folder below which they apply, the innermost ones last."""
        return {}

    def guard(self, folder: str, guard: Guard) -> None:
        """Let writes below a folder through this object ask a guard first; that of an inner folder counts alone."""
        self._guards[f"{folder}/"] = guard

    def unguard(self, folder: str, guard: Guard) -> None:
        """Remove a guard, unless another one has replaced it."""
        if self._guards.get(f"{folder}/") is guard:
            del self._guards[f"{folder}/"]

    def lose(self, folder: str, error: LeaseLost) -> None:
        """Let all writes below a folder through this object raise an error from now on."""
        for path, guard in list(self._guards.items()):
            if path.startswith(f"{folder}/"):
                guard.lost = error

    def confirm(self, path: str) -> None:
        """Check that the writer of a path still has the right to write it, because another writer was noticed.

        Raises:
            LeaseLost: It has lost it.
        """
        guard = self.guard_of(path)
        if guard is not None:
            guard.confirm()

    def first_part(self, path: str) -> int:
        """Return the number of the first numbered part of a file that this object writes."""
        guard = self.guard_of(path)
        return 1 if guard is None else layout.first_part(guard.token)

    def guard_of(self, path: str) -> Guard | None:
        """Return the guard of a path; leases and marks have none.

        Raises:
            LeaseLost: The writer of a folder around it has lost the right to write there.
        """
        found = None
        if path.endswith(layout.LEASE_ENDING) and layout.is_lease(path):
            return None
        if is_temporary(path.rpartition("/")[2]):  # a mark, whose name only this process has
            return None
        for folder, guard in tuple(self._guards.items()):
            if path.startswith(folder):
                if guard.lost is not None:
                    raise guard.lost
                found = guard
        return found

    def allow(self, path: str) -> None:
        """Check that a path may be written, before that is done by other means than this object.

        Raises:
            LeaseLost: Another process has taken over what is there.
        """
        guard = self.guard_of(path)
        if guard is not None:
            guard.check()

    def create(self, path: str, data: bytes, owner: str) -> bool:
        """Create a file unless one exists, and return whether that was done.

        A storage that repeats requests recognises its own file by the owner, a name that only this caller has.
        """
        if self.exists(path):
            return False
        self.write(path, data)
        return True

    @abstractmethod
    def appender(self, path: str) -> Appender:
        """Return an appender for a file."""

    @abstractmethod
    def create_directory(self, path: str) -> bool:
        """Create a directory and its parents. Return False if the name exists: only one caller succeeds."""

    @abstractmethod
    def exists(self, path: str) -> bool:
        """Return whether there is a file or a directory."""

    @abstractmethod
    def is_directory(self, path: str) -> bool:
        """Return whether there is a directory."""

    @abstractmethod
    def entries(self, path: str) -> list[Entry]:
        """Return the names in a directory, sorted; none if there is no such directory."""

    def _scan(self, path: str) -> Iterable[FileInfo]:
        """Return the entries of a directory, including temporary files; none if there is no such directory."""
        return ()

    def links_out(self) -> list[str]:
        """Return the names in the root that are links to something outside, sorted."""
        return []

    def walk(self, path: str) -> Iterator[FileInfo]:
        """Yield all files in a directory and below, in any order; none if there is no such directory."""
        folders = [path]  # not by recursion: a storage of others may be deeper than the stack
        while folders:
            for found in self._scan(folders.pop()):
                if is_temporary(found.name):
                    continue
                if found.is_directory:
                    folders.append(found.path)
                else:
                    yield found

    def temporaries(self, path: str, *, below: bool = False) -> list[FileInfo]:
        """Return the temporary files in a directory, also those in directories below it if `below`."""
        there, folders = [], [path]
        while folders:
            for found in self._scan(folders.pop()):
                if is_temporary(found.name):
                    there.append(found)
                elif found.is_directory and below:
                    folders.append(found.path)
        return sorted(there)

    @abstractmethod
    def size(self, path: str) -> int:
        """Return the length of a file in bytes."""

    def move(self, path: str, to: str) -> None:
        """Rename a file or a directory. The new name must be free."""
        checked(path, root=False)
        if self.exists(checked(to, root=False)):
            raise path_error(errno.EEXIST, to)
        self.allow(path)
        if to.startswith(f"{path}/"):
            raise path_error(errno.EINVAL, to)
        self._rename(path, to)

    @abstractmethod
    def _rename(self, path: str, to: str) -> None: ...

    @abstractmethod
    def remove(self, path: str) -> None:
        """Remove a file, or a directory with its content."""

    def local_path(self, path: str) -> str | None:
        """Return the path on this host, if there is one."""
        checked(path)
        return None

    def leases(self) -> Any:
        """Return the backend of its leases, if the storage brings one with it."""
        return None

    def flush_fallback(self) -> bool:
        """Copy a fallback into the storage, and return whether the storage has everything that was written."""
        return True

    def outage(self) -> StorageUnavailable:
        """Return the error for a storage that is no longer writable, with what to do about it."""
        return StorageUnavailable(f"can no longer write to the storage {self.url}", given=self.url)

    def close(self) -> None:  # noqa: B027
        """Close connections. It may be called twice."""


def checked(path: str, *, root: bool = True) -> str:
    """Return the path itself.

    Raises:
        BadName: The path could leave the tree, or it is the root and `root` is False.
    """
    if not path:
        if root:
            return path
        raise BadName("the root of a storage cannot be moved or removed", given=path)
    slashed = f"/{path}/"  # four searches take half the time of splitting it
    if "//" in slashed or "/./" in slashed or "/../" in slashed or "\0" in slashed:
        raise BadName(
            f"{path!r} is not a path within a storage", given=path, todo="Use names separated by /, without . and .."
        )
    return path


def file_path(path: str) -> str:
    """Return the path itself.

    Raises:
        BadName: The path could leave the tree.
        IsADirectoryError: It is the root.
    """
    if not checked(path):
        raise path_error(errno.EISDIR, path)
    return path


def path_error(number: int, path: str) -> OSError:
    """Return the error that Python raises for a number, e.g. `FileNotFoundError` for `errno.ENOENT`."""
    return OSError(number, os.strerror(number), path)


def unreadable(place: str, error: OSError) -> StorageUnavailable:
    """Return the error for a file or directory that exists and cannot be read."""
    return StorageUnavailable(
        f"cannot read {place}: {error.strerror or error}",
        given=place,
        todo="Check its permissions, and the disk or server that it is on.",
    )


@contextmanager
def writing(files: Files, todo: str = "Check its permissions and the free space.") -> Iterator[None]:
    """Convert errors of the operating system while a storage is written to `StorageUnavailable`."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        raise StorageUnavailable(
            f"cannot write to the storage {files.url}: {error.strerror or error}", given=files.url, todo=todo
        ) from error
