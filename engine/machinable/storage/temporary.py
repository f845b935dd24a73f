"""Temporary files, and marks of processes: others know whether the process has ended.

In a storage, names contain the process. On this host, a process locks its temporary directories.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from itertools import count
from zlib import crc32

from machinable.ids import is_folder_name
from machinable.serialization import Plain, dumps
from machinable.storage.layout import TRIALS
from machinable.storage.process_info import this_process

__all__ = ["ABANDONED_AFTER", "Scratch", "is_temporary", "marked", "marker_beside", "temporary_beside", "writer_of"]

_TEMPORARY = ".machinable-writing-"
_MARKER = ".machinable-running-"
_numbers = count(int.from_bytes(os.urandom(7), "big"))  # containers may have equal names and processes
ABANDONED_AFTER = 3600.0  # seconds without a change after which a file of another host counts as abandoned


def temporary_beside(path: str) -> str:
    """Return a unique name for a temporary file next to `path`. It is short, as names may have 255 bytes."""
    return f"{path[: path.rfind('/') + 1]}{_TEMPORARY}{_writer(os.getpid())}-{next(_numbers):x}"


def marker_beside(path: str) -> str:
    """Return the name of a file next to `path` that marks this process as at work on `path`."""
    folder, slash, name = path.rpartition("/")
    return f"{folder}{slash}{_MARKER}{_writer(os.getpid())}-{name}"


@lru_cache(maxsize=1)  # a forked process has another id
def _writer(pid: int) -> str:
    """Return this process as it appears in names: `<host>-<pid>-<start>`, in hexadecimal digits."""
    process = this_process()
    return f"{_host_mark(process)}-{pid:x}-{str(process['born']).encode().hex()}"


def _host_mark(process: Mapping[str, Plain]) -> str:
    return f"{crc32(dumps([process['host'], process['boot']]).encode()):08x}"


def is_temporary(name: str) -> bool:
    """Return whether a name is that of a temporary file or of the mark of a process."""
    return name.startswith((_TEMPORARY, _MARKER))


def writer_of(name: str) -> Mapping[str, Plain] | None:
    """Return the process of this host that wrote a temporary file, see `this_process`; None for another host."""
    parts = name.removeprefix(_TEMPORARY).removeprefix(_MARKER).split("-", 3)
    process = this_process()
    if len(parts) == 4 and parts[0] == _host_mark(process):
        with suppress(ValueError):
            return {**process, "pid": int(parts[1], 16), "born": bytes.fromhex(parts[2]).decode()}
    return None


def marked(name: str) -> str | None:
    """Return what a process has marked as at work: an execution or `trials`; None if `name` is no such mark."""
    parts = name.removeprefix(_MARKER).split("-", 3)
    if not name.startswith(_MARKER) or len(parts) < 4 or not (parts[3] == TRIALS or is_folder_name(parts[3])):
        return None  # anything else could lead out of the storage
    return parts[3]


SCRATCH = "machinable-scratch-"
YOUNG = 60.0  # seconds in which a new directory may not be locked yet


class Scratch:
    """A temporary directory of this process, which exists until it is closed; leaving its `with` block closes it.

    The first one of a process removes those that killed processes have left.

    Attributes:
        path: Its path.
    """

    def __init__(self) -> None:
        from tempfile import gettempdir, mkdtemp  # 10 ms with what it imports

        _sweep(gettempdir())
        self.path = mkdtemp(prefix=SCRATCH)
        self._hold = _held(self.path)
        self._process = os.getpid()

    def close(self) -> None:
        """Remove it, unless this process is a fork of the one that has made it."""
        from shutil import rmtree

        if self._process != os.getpid():
            return
        rmtree(self.path, ignore_errors=True)
        if self._hold is not None:
            os.close(self._hold)
            self._hold = None

    def __enter__(self) -> str:
        return self.path

    def __exit__(self, *error: object) -> None:
        self.close()


@lru_cache(maxsize=1)
def _sweep(directory: str) -> None:
    from shutil import rmtree

    for entry in os.scandir(directory):
        with suppress(OSError):  # another process removes it, or it belongs to another user
            if not entry.name.startswith(SCRATCH) or not entry.is_dir(follow_symlinks=False):
                continue
            if time.time() - entry.stat(follow_symlinks=False).st_mtime < YOUNG:
                continue
            hold = _held(entry.path)
            if hold is not None:
                rmtree(entry.path, ignore_errors=True)
                os.close(hold)


def _held(path: str) -> int | None:
    """Lock a directory for the lifetime of this process; None if another process holds it."""
    hold = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(hold, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(hold)
        return None
    return hold
