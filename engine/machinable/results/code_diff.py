"""Compare the code of two executions: which files of their code backups differ, and in which lines."""

from __future__ import annotations

import io
import zipfile
from difflib import unified_diff

import msgspec

from machinable.errors import Damaged
from machinable.serialization import Plain

__all__ = ["FileChange", "code_changes"]

MAX_SIZE = 2**20  # bytes of a file that is compared line by line


class FileChange(msgspec.Struct, frozen=True):
    """A file that differs.

    Attributes:
        name: The path in the project.
        how: `changed`, `new` or `missing`.
        lines: A unified diff without line breaks; None if the file is no text or too large.
    """

    name: str
    how: str
    lines: list[str] | None

    def as_data(self) -> dict[str, Plain]:
        """Return the change for programs."""
        return msgspec.structs.asdict(self)


def code_changes(before: bytes, after: bytes) -> list[FileChange]:
    """Return the files that differ between two code backups, by name.

    Raises:
        Damaged: One of them cannot be read.
    """
    if before == after:
        return []
    one, other = _open(before), _open(after)
    changes = []
    for name in sorted({*one.NameToInfo, *other.NameToInfo}):
        mine, theirs = one.NameToInfo.get(name), other.NameToInfo.get(name)
        if mine is None:
            changes.append(FileChange(name, "new", _diff(name, "", _text(other, name))))
        elif theirs is None:
            changes.append(FileChange(name, "missing", _diff(name, _text(one, name), "")))
        elif (mine.CRC, mine.file_size, mine.external_attr) != (theirs.CRC, theirs.file_size, theirs.external_attr):
            changes.append(FileChange(name, "changed", _diff(name, _text(one, name), _text(other, name))))
    return changes


def _open(archive: bytes) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(io.BytesIO(archive))
    except zipfile.BadZipFile as error:
        raise Damaged(f"a code backup cannot be read: {error}", todo="Restore code.zip from a copy.") from error


def _text(archive: zipfile.ZipFile, name: str) -> str | None:
    """Return the content of a text file, None for any other file."""
    if archive.getinfo(name).file_size > MAX_SIZE:
        return None
    try:
        text = archive.read(name).decode("utf-8")
    except UnicodeDecodeError:
        return None
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise Damaged(f"{name} in a code backup cannot be read: {error}", given=name) from error
    return None if "\0" in text else text


def _diff(name: str, before: str | None, after: str | None) -> list[str] | None:
    if before is None or after is None:
        return None
    return list(unified_diff(before.splitlines(), after.splitlines(), name, name, lineterm=""))
