"""Temporary directories that do not stay when whoever has made them was killed."""

from __future__ import annotations

import os
import time
from contextlib import suppress

__all__ = ["Scratch"]

PREFIX = "machinable-scratch-"
YOUNG = 60.0  # seconds in which a directory may not be held yet by whoever has just made it


class Scratch:
    """A temporary directory of this process. To make one removes those that were left by processes that are gone.

    Attributes:
        path: where it is.
    """

    def __init__(self) -> None:
        from tempfile import gettempdir, mkdtemp

        _sweep(gettempdir())
        self.path = mkdtemp(prefix=PREFIX)
        self._hold = _held(self.path)

    def close(self) -> None:
        """Remove it."""
        from shutil import rmtree

        rmtree(self.path, ignore_errors=True)
        if self._hold is not None:
            os.close(self._hold)
            self._hold = None


def _sweep(directory: str) -> None:
    from shutil import rmtree

    for entry in os.scandir(directory):
        with suppress(OSError):  # somebody else is faster, or it is not ours
            if not entry.name.startswith(PREFIX) or not entry.is_dir(follow_symlinks=False):
                continue
            if time.time() - entry.stat(follow_symlinks=False).st_mtime < YOUNG:
                continue
            hold = _held(entry.path)
            if hold is not None:
                rmtree(entry.path, ignore_errors=True)
                os.close(hold)


def _held(path: str) -> int | None:
    """Hold a directory as long as this process lives; None if another one does, or that is not possible here."""
    try:
        import fcntl
    except ImportError:
        return None  # Windows
    hold = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(hold, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(hold)
        return None
    return hold
