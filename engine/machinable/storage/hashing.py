"""Digests of contents: equal bytes have equal digests."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from typing import IO

__all__ = ["digest", "file_digest", "stream_digest", "tree_digest"]


def digest(data: bytes) -> str:
    """Return the digest of the data: `sha256:9d0e…`."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def stream_digest(file: IO[bytes]) -> str:
    """Return the digest of an open file, from its beginning to its end."""
    hashed = hashlib.sha256()
    file.seek(0)
    while piece := file.read(2**20):
        hashed.update(piece)
    return "sha256:" + hashed.hexdigest()


def file_digest(path: str) -> str:
    """Return the digest of a file of this host."""
    with open(path, "rb") as file:
        return stream_digest(file)


def tree_digest(path: str, of_file: Callable[[str], str] = file_digest) -> str:
    """Return the digest of a file, or of a directory with the names and contents of all files in it."""
    if os.path.isfile(path):
        return of_file(path)
    found = (os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names)
    lines = sorted(f"{os.path.relpath(file, path)}\0{of_file(file)}\n" for file in found if os.path.isfile(file))
    return digest("".join(lines).encode())
