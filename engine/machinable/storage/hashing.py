"""Names of contents: equal bytes have equal digests."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import IO

__all__ = ["digest", "digest_of_file", "file_digest", "tree_digest"]


def digest(data: bytes) -> str:
    """The name of the content: `sha256:9d0e…`."""
    import hashlib

    return "sha256:" + hashlib.sha256(data).hexdigest()


def file_digest(file: IO[bytes]) -> str:
    """The same of a file, from its beginning to its end."""
    import hashlib

    hashed = hashlib.sha256()
    file.seek(0)
    while piece := file.read(2**20):
        hashed.update(piece)
    return "sha256:" + hashed.hexdigest()


def digest_of_file(place: str) -> str:
    """The digest of a file of this host."""
    with open(place, "rb") as file:
        return file_digest(file)


def tree_digest(place: str, of_file: Callable[[str], str] = digest_of_file) -> str:
    """The digest of a file, or of a directory with the names and contents of all that is in it."""
    if os.path.isfile(place):
        return of_file(place)
    lines = sorted(f"{name}\0{of_file(os.path.join(place, *name.split('/')))}\n" for name in _files_in(place))
    return digest("".join(lines).encode())


def _files_in(place: str) -> Iterator[str]:
    for directory, _, names in os.walk(place):
        for name in names:
            path = os.path.join(directory, name)
            if os.path.isfile(path):
                yield os.path.relpath(path, place).replace(os.sep, "/")
