"""Pack folders of a storage into archives, for workers that cannot access it."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from machinable.storage.files import Files

__all__ = ["pack_folder", "unpack_folder"]


def pack_folder(files: Files, *paths: str) -> bytes:
    """Return an archive of folders under their paths in the storage. Missing ones are left out."""
    from zipfile import ZIP_STORED, ZipFile  # 10 ms, and most storages are accessible

    buffer = BytesIO()
    with ZipFile(buffer, "w", ZIP_STORED) as archive:
        folders = [path for path in paths if files.exists(path)]
        for folder in folders:  # which grows
            entries = files.entries(folder)
            if not entries:
                archive.writestr(f"{folder}/", b"")
            for entry in entries:
                path = f"{folder}/{entry.name}"
                if entry.is_directory:
                    folders.append(path)
                elif files.exists(path):  # a link may lead nowhere
                    archive.writestr(path, files.read(path))
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
