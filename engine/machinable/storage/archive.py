"""Unpacking code backups, which may come from others: no file leaves the given directory."""

from __future__ import annotations

import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO

from msgspec import Struct

from machinable.errors import BadName, Damaged, StorageError, StorageUnavailable
from machinable.storage.temporary import temporary_beside
from machinable.units import format_size

__all__ = ["MAX_FILES", "SIZE_LIMIT", "Unpacked", "unpack"]

SIZE_LIMIT = 4 * 2**30  # bytes of all files together
MAX_FILES = 200_000
MAX_RATIO = 1100  # deflate, with its headers, makes files at most this many times smaller
MAX_LINK = 4096  # bytes of the target of a link
MAX_ROUNDS = 20  # of checking whether links lead out of the directory

_UNREADABLE = (  # what the library raises for damaged archives
    zipfile.BadZipFile,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    struct.error,
    zlib.error,
    OSError,
)


class Unpacked(Struct, frozen=True):
    """An unpacked archive.

    Attributes:
        files: The number of files.
        size: Their bytes together.
        skipped: Links that would lead out of the directory.
    """

    files: int
    size: int
    skipped: tuple[str, ...]


def unpack(data: bytes | IO[bytes], directory: str | os.PathLike[str], *, limit: int = SIZE_LIMIT) -> Unpacked:
    """Unpack the archive of a project's code. The directory appears once it is complete.

    Args:
        data: The archive, as bytes or as a file.
        directory: The target, which must be empty or missing.
        limit: The largest size of all files together, in bytes.

    Returns:
        What was unpacked. Links that lead out of the directory are left out, as their targets are not in the archive.

    Raises:
        StorageUnavailable: The directory is not empty, or cannot be written.
        Damaged: The data is not an archive, or damaged, or larger than it states or than the limit.
        BadName: A name leads out of the directory, or occurs twice.
    """
    target = os.path.abspath(directory)
    _check_target(target)
    from io import BytesIO

    try:
        with zipfile.ZipFile(BytesIO(data) if isinstance(data, bytes) else data) as archive:
            entries = _checked(archive.infolist(), limit)
            return _unpacked(archive, entries, target)
    except StorageError:
        raise
    except _UNREADABLE as error:
        raise _damaged(str(error) or type(error).__name__) from error


def _damaged(reason: str) -> Damaged:
    return Damaged(f"cannot unpack the code backup: {reason}", given=reason, todo="Restore code.zip from a copy.")


def _check_target(target: str) -> None:
    try:
        if os.path.lexists(target) and (not os.path.isdir(target) or os.path.islink(target) or os.listdir(target)):
            raise StorageUnavailable(
                f"{target!r} is not empty" if os.path.isdir(target) else f"{target!r} is not a directory",
                given=target,
                todo="Give a new directory.",
            )
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise _unwritable(target, error) from error


def _unwritable(target: str, error: OSError) -> StorageUnavailable:
    return StorageUnavailable(
        f"cannot write to {target!r}: {error.strerror or error}",
        given=target,
        todo="Check its permissions and the free space, or give another directory.",
    )


def _checked(entries: Sequence[zipfile.ZipInfo], limit: int) -> list[zipfile.ZipInfo]:
    """Return the files and links of an archive after checking that they can be unpacked safely.

    Raises:
        Damaged, BadName: They cannot.
    """
    if len(entries) > MAX_FILES:
        raise _damaged(f"it has {len(entries)} files, the limit is {MAX_FILES}")
    total = sum(entry.file_size for entry in entries)
    if total > limit:
        raise _damaged(f"it has {format_size(total)}, the limit is {format_size(limit)}")
    seen: dict[str, bool] = {}  # False for a file or link, True for a directory above one
    files = []
    for entry in entries:
        if entry.file_size > max(entry.compress_size, 1) * MAX_RATIO:
            raise _damaged(f"{entry.filename!r} claims to have {format_size(entry.file_size)}")
        if entry.flag_bits & 1:
            raise _damaged(f"{entry.filename!r} is encrypted")
        is_directory = entry.filename.endswith("/")
        parts = _parts(entry.orig_filename)
        path = "/".join(parts)
        if seen.get(path, is_directory) is not is_directory or (path in seen and not is_directory):
            raise _bad_name(entry.orig_filename, "it occurs twice")
        seen[path] = is_directory
        for number in range(1, len(parts)):
            if not seen.setdefault("/".join(parts[:number]), True):
                raise _bad_name(entry.orig_filename, "its parent is not a directory")
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if not is_directory and kind not in (0, stat.S_IFREG, stat.S_IFLNK):
            raise _bad_name(entry.orig_filename, "it is neither a file nor a link")
        if not is_directory:
            files.append(entry)
    return files


def _parts(name: str) -> list[str]:
    parts = name.removesuffix("/").split("/")
    if name.startswith("/") or not {"", ".", ".."}.isdisjoint(parts) or "\0" in name:
        raise _bad_name(name, "it leads out of the directory")
    return parts


def _bad_name(name: str, reason: str) -> BadName:
    return BadName(
        f"the code backup has the name {name!r}: {reason}",
        given=name,
        todo="Nothing was unpacked. The archive was not created by machinable.",
    )


def _unpacked(archive: zipfile.ZipFile, entries: Sequence[zipfile.ZipInfo], target: str) -> Unpacked:
    from shutil import rmtree

    temporary = temporary_beside(target)
    try:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.mkdir(temporary)
        size = 0
        links: dict[str, tuple[str, str]] = {}
        for entry in entries:
            place = os.path.join(temporary, *entry.filename.split("/"))
            os.makedirs(os.path.dirname(place), exist_ok=True)
            mode = entry.external_attr >> 16
            if stat.S_ISLNK(mode):
                links[entry.filename] = place, _target_of(archive, entry)
            else:
                size += _write(archive, entry, place)
                if mode & stat.S_IXUSR:
                    readable = os.stat(place).st_mode
                    os.chmod(place, stat.S_IMODE(readable | (readable & 0o444) >> 2))
        # Links come last, so that nothing is written through one.
        skipped = _make_links(temporary, links)
        with suppress(FileNotFoundError):
            os.rmdir(target)  # an empty one
        os.rename(temporary, target)
    except OSError as error:
        rmtree(temporary, ignore_errors=True)
        if isinstance(error, StorageError):
            raise
        raise _unwritable(target, error) from error
    except BaseException:
        rmtree(temporary, ignore_errors=True)
        raise
    return Unpacked(len(entries) - len(skipped), size, tuple(skipped))


def _write(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, place: str) -> int:
    """Write a file, up to the size that the archive states."""
    size = 0
    with archive.open(entry) as source, open(place, "xb") as file:
        while piece := source.read(2**20):
            size += len(piece)
            if size > entry.file_size:
                raise _damaged(f"{entry.filename!r} is larger than stated")
            file.write(piece)
    if size != entry.file_size:
        raise _damaged(f"{entry.filename!r} is shorter than stated")
    return size


def _target_of(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> str:
    if entry.file_size > MAX_LINK:
        raise _damaged(f"the target of the link {entry.filename!r} is too long")
    leads = os.fsdecode(archive.read(entry))
    if not leads or "\0" in leads:
        raise _damaged(f"the link {entry.filename!r} has no target")
    return leads


def _make_links(root: str, links: Mapping[str, tuple[str, str]]) -> list[str]:
    """Create links, and return the names of those that would lead out of the directory.

    The target of a link may depend on other links. So all are created, and those that lead out are removed until none
    does.
    """
    made: dict[str, str] = {}
    skipped: list[str] = []
    for name, (place, leads) in links.items():
        os.symlink(leads, place)
        made[name] = place
    top = os.path.realpath(root)
    for _ in range(MAX_ROUNDS):
        out = [name for name, place in made.items() if not _is_within(os.path.realpath(place), top)]
        out += [name for name in made if os.path.isabs(links[name][1]) and name not in out]
        if not out:
            return sorted(skipped)
        for name in out:
            os.unlink(made.pop(name))
        skipped += out
    raise _damaged("its links lead out of the directory")


def _is_within(path: str, top: str) -> bool:
    return path == top or path.startswith(os.path.join(top, ""))
