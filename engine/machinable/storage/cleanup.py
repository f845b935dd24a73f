"""What processes leave behind that were killed: temporary files, leases, and the beginnings of executions."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

from machinable.storage import layout
from machinable.storage.files import Files, writing
from machinable.storage.process_info import is_gone
from machinable.storage.temporary import Temporary, is_abandoned, marked, marker_beside, writer_here

__all__ = [
    "abandoned",
    "at_work",
    "is_at_work",
    "mark_worker",
    "release",
    "stale_leases",
    "sweep",
    "tidy",
    "workers_left",
]


@contextmanager
def at_work(files: Files, folder: str) -> Iterator[None]:
    """Meanwhile others can tell that this process is at work on an execution.

    First it removes the temporary files of processes that were killed, see `tidy`, and those in this folder.
    """
    marker = None
    with writing(files):
        tidy(files)
        if files.marks_processes:  # only there do killed processes leave files, and is a mark cheap
            sweep(files, folder)
            marker = marker_beside(folder)
            files.write(marker, b"")
    try:
        yield
    finally:
        if marker is not None:
            with suppress(OSError):  # the storage may be read-only by now; the next one finds it
                for found in _workers(files, folder):  # they are at work on nothing any more
                    _remove(files, found)
                files.remove(marker)


def mark_worker(files: Files, folder: str) -> Callable[[], None]:
    """Let others see that this process is a worker of an execution, until that has ended, or this process has.

    Returns:
        What takes it back when this process ends.
    """
    if not files.marks_processes:
        return lambda: None
    marker, process = marker_beside(layout.join(folder, layout.TRIALS)), os.getpid()
    files.write(marker, b"")

    def take_back() -> None:
        if os.getpid() == process:  # not in one that was forked
            with suppress(OSError):
                files.remove(marker)

    return take_back


def workers_left(files: Files, folder: str) -> list[int]:
    """The process ids of workers on this host that an execution has left, which was killed, and that are still there.

    It must be known that nobody carries it out. Only a directory can tell; elsewhere there are none.
    """
    if not files.marks_processes:
        return []
    writers = [writer_here(found) for found in _workers(files, folder)]
    return [
        int(str(one["pid"])) for one in writers if one is not None and one["pid"] != os.getpid() and not is_gone(one)
    ]


def _workers(files: Files, folder: str) -> list[Temporary]:
    return [found for found in files.temporaries(folder) if marked(found.name) == layout.TRIALS]


def is_at_work(files: Files, folder: str) -> bool:
    """Whether a process on this host, or perhaps one on another, is at work on an execution. It is asked for with one
    look into the storage; where that cannot tell, it is False."""
    return any(marked(found.name) == folder and not is_abandoned(found) for found in files.temporaries(""))


def tidy(files: Files) -> int:
    """Remove what killed processes have left, as far as one look into the storage tells where. Gives its number.

    These are temporary files in the storage itself, and in the executions that they were at work on.
    """
    removed = 0
    gone = [found for found in files.temporaries("") if is_abandoned(found)]
    for found in gone:
        folder = marked(found.name)
        if folder is not None:
            if workers_left(files, folder):  # they still write there, so the next one is to look again
                continue
            removed += sweep(files, folder) + sweep(files, layout.BY_CONTENT)
        removed += _remove(files, found)
    return removed


def sweep(files: Files, path: str) -> int:
    """Remove the temporary files of killed processes from a folder and all below. Gives their number."""
    return sum(_remove(files, found) for found in abandoned(files, path))


def abandoned(files: Files, path: str) -> list[Temporary]:
    """The temporary files of killed processes in a folder and all below."""
    return [found for found in files.temporaries(path, below=True) if is_abandoned(found)]


def _remove(files: Files, found: Temporary) -> int:
    with suppress(FileNotFoundError, PermissionError):  # somebody else was quicker; it is another user's
        files.remove(found.path)
        return 1
    return 0


def stale_leases(files: Files, paths: Iterable[str]) -> Iterator[str]:
    """Those leases whose holders are gone, or have given no sign of life for too long."""
    from machinable.storage.lock_backends import leases_in
    from machinable.storage.locks import LEASE

    leases = leases_in(files)
    try:
        for path in paths:
            found = leases.find(path)
            if found is not None:
                said = found.facts.get("lease")
                seconds = said if isinstance(said, (int, float)) else LEASE
                if is_gone(found.facts) or (found.age is not None and found.age >= seconds):
                    yield path
    finally:
        leases.close()


def release(files: Files, path: str) -> bool:
    """Remove a stale lease, as the next one would who wants it. False if somebody has it by now."""
    from machinable.storage.locks import open_locks

    locks = open_locks(files)
    try:
        lease = locks.take(path)
        if lease is not None:
            lease.release()
        return lease is not None
    finally:
        locks.close()
