"""Digests of contents: equal bytes have equal digests."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from typing import IO

__all__ = ["digest", "digest_of", "file_digest", "files_below", "stream_digest", "tree_digest"]


def digest(data: bytes) -> str:
    """Return the digest of the data: `sha256:9d0e…`."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def digest_of(pieces: Iterable[bytes]) -> tuple[str, int]:
    """Return the digest of data that comes in pieces, and its length."""
    hashed, size = hashlib.sha256(), 0
    for piece in pieces:
        hashed.update(piece)
        size += len(piece)
    return "sha256:" + hashed.hexdigest(), size


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
    lines = sorted(f"{name}\0{of_file(os.path.join(path, name))}\n" for name in files_below(path))
    return digest("".join(lines).encode())


def files_below(directory: str) -> Iterator[str]:
    """Yield the paths of all files in a directory of this host and below, relative to it; no links that lead out."""
    root = os.path.join(os.path.realpath(directory), "")
    for folder, _, names in os.walk(directory):
        for name in names:
            path = os.path.join(folder, name)
            if os.path.isfile(path) and (not os.path.islink(path) or os.path.realpath(path).startswith(root)):
                yield os.path.relpath(path, directory)
