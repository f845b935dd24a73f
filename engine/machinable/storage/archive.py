"""Unpack code backups, which may come from others, without writing outside of the given directory."""

from __future__ import annotations

import os
import shutil
import stat
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from io import BytesIO

from msgspec import Struct
from msgspec.structs import replace

from machinable.errors import BadName, Damaged, StorageError, StorageUnavailable
from machinable.storage.process_info import is_gone
from machinable.storage.temporary import is_temporary, temporary_beside, writer_of
from machinable.units import format_size

__all__ = ["MAX_FILES", "SIZE_LIMIT", "UNREADABLE", "Unpacked", "unpack"]

SIZE_LIMIT = 4 * 2**30  # bytes of all files together
MAX_FILES = 200_000
MAX_LINK = 4096  # bytes of the target of a link
MAX_NAME = 4096  # characters of a name, as long as a path of the operating system
MAX_FOLDERS = 256  # in a name
MAX_CHARACTERS = 2**25  # in the names of all folders together
# Data of version control, whose settings and hooks name commands to run. Our archives never contain them.
VERSION_CONTROL = frozenset({".git", ".hg", ".svn", ".bzr", "_darcs", "cvs", ".jj"})

# raised by the library for damaged archives
UNREADABLE = (zipfile.BadZipFile, EOFError, RuntimeError, ValueError, struct.error, zlib.error, OSError)


class Unpacked(Struct, frozen=True):
    """The number of unpacked files, their total size, and what was skipped: links out, data of version control."""

    files: int
    size: int
    skipped: tuple[str, ...]


def unpack(data: bytes, directory: str | os.PathLike[str], *, limit: int = SIZE_LIMIT) -> Unpacked:
    """Unpack the archive of a project's code into an empty or missing directory, which appears when it is complete.

    Links that lead out of the directory are skipped, because their targets are not in the archive, and so is the data
    of version control.

    Raises:
        StorageUnavailable: The directory is not empty, or cannot be written.
        Damaged: The data is not an archive, or damaged, or larger than the limit.
        BadName: A name leads out of the directory, or occurs twice.
    """
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            entries, left_out = _checked(archive.infolist(), limit)
            done = _unpacked(archive, entries, os.path.abspath(directory))
            return replace(done, skipped=(*done.skipped, *left_out))
    except StorageError:
        raise
    except UNREADABLE as error:
        raise _damaged(str(error) or type(error).__name__) from error


def _damaged(reason: str) -> Damaged:
    return Damaged(f"cannot unpack the code backup: {reason}", given=reason, todo="Restore code.zip from a copy.")


def _checked(entries: Sequence[zipfile.ZipInfo], limit: int) -> tuple[list[zipfile.ZipInfo], list[str]]:
    """Return the files and links of an archive that can be unpacked safely, and the folders that are left out."""
    if len(entries) > MAX_FILES:
        raise _damaged(f"it has {len(entries)} files, the limit is {MAX_FILES}")
    total = sum(entry.file_size for entry in entries)
    if total > limit:
        raise _damaged(f"it has {format_size(total)}, the limit is {format_size(limit)}")
    files: dict[str, zipfile.ZipInfo] = {}
    folders: set[str] = set()
    left_out: set[str] = set()
    characters = 0  # in the names of folders
    for entry in entries:
        name, kind = entry.orig_filename, stat.S_IFMT(entry.external_attr >> 16)
        if len(name) > MAX_NAME or name.count("/") > MAX_FOLDERS:  # before anything that takes time for each folder
            raise _bad_name(f"{name[:60]}…", f"it has more than {MAX_NAME} characters or {MAX_FOLDERS} folders")
        is_directory = name.endswith("/")
        parts = name.removesuffix("/").split("/")
        if not {"", ".", ".."}.isdisjoint(parts) or "\0" in name:
            raise _bad_name(name, "it leads out of the directory")
        if owned := [number for number, part in enumerate(parts) if _is_version_control(part)]:
            left_out.add("/".join(parts[: owned[0] + 1]))
            continue
        folder = name.removesuffix("/") if is_directory else name.rpartition("/")[0]
        while folder and folder not in folders:
            folders.add(folder)
            characters += len(folder)
            folder = folder.rpartition("/")[0]
        if characters > MAX_CHARACTERS:
            raise _damaged(f"the names of its folders have more than {MAX_CHARACTERS} characters")
        if is_directory:
            continue
        if kind not in (0, stat.S_IFREG, stat.S_IFLNK):
            raise _bad_name(name, "it is neither a file nor a link")
        if kind == stat.S_IFLNK and entry.file_size > MAX_LINK:
            raise _damaged(f"the target of the link {name!r} is too long")
        if files.setdefault(name, entry) is not entry:
            raise _bad_name(name, "it occurs twice")
    for name in folders.intersection(files):
        raise _bad_name(name, "it occurs twice")
    return list(files.values()), sorted(left_out)


def _is_version_control(name: str) -> bool:
    # Some file systems ignore case and invisible characters.
    return "".join(filter(str.isprintable, name)).lower() in VERSION_CONTROL


def _bad_name(name: str, reason: str) -> BadName:
    return BadName(
        f"the code backup has the name {name!r}: {reason}",
        given=name,
        todo="Nothing was unpacked. The archive was not created by machinable.",
    )


def _remove_abandoned(directory: str) -> None:
    """Remove what killed processes of this host have left of archives that they unpacked here."""
    for name in filter(is_temporary, os.listdir(directory)):
        writer = writer_of(name)
        if writer is not None and is_gone(writer):
            shutil.rmtree(os.path.join(directory, name), ignore_errors=True)


def _unpacked(archive: zipfile.ZipFile, entries: Sequence[zipfile.ZipInfo], target: str) -> Unpacked:
    temporary = temporary_beside(target)
    try:
        if os.path.lexists(target) and (os.path.islink(target) or not os.path.isdir(target) or os.listdir(target)):
            raise StorageUnavailable(
                f"{target!r} is not empty" if os.path.isdir(target) else f"{target!r} is not a directory",
                given=target,
                todo="Give a new directory.",
            )
        os.makedirs(os.path.dirname(target), exist_ok=True)
        _remove_abandoned(os.path.dirname(target))
        os.mkdir(temporary)
        size = 0
        links: dict[str, str] = {}
        for entry in entries:
            mode = entry.external_attr >> 16
            if stat.S_ISLNK(mode):
                links[entry.filename] = os.fsdecode(archive.read(entry))
                continue
            place = archive.extract(entry, temporary)  # at most the stated size
            found = os.stat(place)
            if found.st_size != entry.file_size:
                raise _damaged(f"{entry.filename!r} is shorter than stated")
            size += entry.file_size
            if mode & stat.S_IXUSR:
                os.chmod(place, stat.S_IMODE(found.st_mode | (found.st_mode & 0o444) >> 2))
        # Links come last, so that nothing is written through one.
        skipped = _make_links(temporary, links)
        with suppress(FileNotFoundError):
            os.rmdir(target)  # an empty one
        os.rename(temporary, target)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, OSError) and not isinstance(error, StorageError):
            raise StorageUnavailable(
                f"cannot write to {target!r}: {error.strerror or error}",
                given=target,
                todo="Check its permissions and the free space, or give another directory.",
            ) from error
        raise
    return Unpacked(len(entries) - len(skipped), size, tuple(skipped))


def _make_links(root: str, links: Mapping[str, str]) -> list[str]:
    """Create links, and return the names of those that would lead out of the directory."""
    # The target of a link may depend on other links: all are created, then removed until none leads out.
    places = {name: os.path.join(root, *name.split("/")) for name in links}
    for place in places.values():  # all before the first link, which a name in another case may lead through
        os.makedirs(os.path.dirname(place), exist_ok=True)
    for name, place in places.items():
        os.symlink(links[name], place)
    top = os.path.realpath(root)
    skipped: list[str] = []
    while out := [
        name
        for name, place in places.items()
        if os.path.isabs(links[name]) or not f"{os.path.realpath(place)}/".startswith(f"{top}/")
    ]:
        for name in out:
            os.unlink(places.pop(name))
        skipped += out
    return sorted(skipped)
