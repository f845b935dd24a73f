"""Pack folders of a storage into archives, for workers that do not reach it."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from machinable.storage.files import Files

__all__ = ["pack_folder", "unpack_folder"]


class _Found(NamedTuple):
    path: str
    is_directory: bool


def pack_folder(files: Files, *paths: str) -> bytes:
    """Return an archive of folders under their paths in the storage. Missing ones are left out."""
    from zipfile import ZIP_STORED, ZipFile  # 10 ms, and most storages are reached

    buffer = BytesIO()
    with ZipFile(buffer, "w", ZIP_STORED) as archive:
        for path in paths:
            for found in _walk(files, path):
                if found.is_directory:
                    archive.writestr(f"{found.path}/", b"")
                elif files.exists(found.path):  # a link may lead nowhere
                    archive.writestr(found.path, files.read(found.path))
    return buffer.getvalue()


def unpack_folder(files: Files, data: bytes) -> None:
    """Write an archive of `pack_folder` into another storage, under the same paths."""
    from zipfile import ZipFile

    with ZipFile(BytesIO(data)) as archive:
        for name in archive.namelist():
            if name.endswith("/"):
                files.create_directory(name.rstrip("/"))
            else:
                files.write(name, archive.read(name))


def _walk(files: Files, path: str) -> Iterator[_Found]:
    if not files.exists(path):
        return
    folders = [path]
    while folders:
        folder = folders.pop()
        entries = files.entries(folder)
        if not entries:
            yield _Found(folder, True)
        for entry in entries:
            inner = f"{folder}/{entry.name}"
            if entry.is_directory:
                folders.append(inner)
            else:
                yield _Found(inner, False)
