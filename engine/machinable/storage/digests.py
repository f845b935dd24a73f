"""Names of contents: equal bytes have equal digests."""

from __future__ import annotations

from typing import IO

__all__ = ["digest", "file_digest"]


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
