"""How the code of two executions differs: which files of the backups, and which lines of them."""

from __future__ import annotations

import io
import zipfile
from typing import NamedTuple

from machinable.errors import Damaged
from machinable.plain import Plain

__all__ = ["FileChange", "code_changes", "names_in"]

LARGEST = 2**20  # bytes of a file that is compared line by line


class FileChange(NamedTuple):
    """A file that differs.

    Attributes:
        name: its path in the project. how: `changed`, `new` or `missing`.
        lines: a unified diff, without line breaks; None for what is no text, or too long to be compared.
    """

    name: str
    how: str
    lines: list[str] | None

    def as_data(self) -> dict[str, Plain]:
        """The change for programs."""
        return self._asdict()


def names_in(archive: bytes) -> list[str]:
    """The files in a code backup.

    Raises:
        Damaged: it is no archive.
    """
    return sorted(_open(archive).NameToInfo)


def code_changes(before: bytes, after: bytes) -> list[FileChange]:
    """The files that differ between two code backups, by name.

    Raises:
        Damaged: one of them cannot be read.
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
    """The content of a text file, None for another one."""
    if archive.getinfo(name).file_size > LARGEST:
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
    from difflib import unified_diff

    return list(unified_diff(before.splitlines(), after.splitlines(), name, name, lineterm=""))
