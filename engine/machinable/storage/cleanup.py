"""Clean up the files that killed processes leave behind: temporary files, marks of processes, and leases."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress

from machinable.errors import LeaseLost
from machinable.storage import layout
from machinable.storage.files import FileInfo, Files, writing
from machinable.storage.lock_backends import leases_in
from machinable.storage.locks import LEASE, open_locks
from machinable.storage.process_info import is_gone
from machinable.storage.temporary import ABANDONED_AFTER, marked, marker_beside, writer_of

__all__ = [
    "abandoned",
    "at_work",
    "is_at_work",
    "is_held",
    "mark_worker",
    "release",
    "stale_leases",
    "sweep",
    "workers_left",
]


@contextmanager
def at_work(files: Files, folder: str) -> Iterator[None]:
    """Mark this process as at work on an execution, after removing the temporary files of killed processes."""
    marker = None
    with writing(files):
        tidy(files)
        if files.marks_processes:
            sweep(files, folder)
            marker = marker_beside(folder)
            files.write(marker, b"")
    try:
        yield
    finally:
        if marker is not None:
            with suppress(OSError):  # the storage may be read-only by now; the next process removes it
                with suppress(LeaseLost):
                    for found in _workers(files, folder):  # their work has ended
                        _remove(files, found)
                files.remove(marker)


def mark_worker(files: Files, folder: str) -> Callable[[], None]:
    """Mark this process as a worker of an execution until it ends, and return a function that removes the mark."""
    if not files.marks_processes:
        return lambda: None
    marker, process = marker_beside(layout.join(folder, layout.TRIALS)), os.getpid()
    files.write(marker, b"")

    def remove_mark() -> None:
        if os.getpid() == process:  # not in a forked process
            with suppress(OSError):
                files.remove(marker)

    return remove_mark


def workers_left(files: Files, folder: str) -> list[int]:
    """Return the process ids of workers on this host that outlive a killed execution.

    The caller must know that no process runs the execution. Only directories have marks of workers.
    """
    writers = [writer_of(found.name) for found in _workers(files, folder)]
    return [one["pid"] for one in writers if one is not None and one["pid"] != os.getpid() and not is_gone(one)]


def _workers(files: Files, folder: str) -> list[FileInfo]:
    return [found for found in files.temporaries(folder) if marked(found.name) == layout.TRIALS]


def is_at_work(files: Files, folder: str) -> bool:
    """Return whether a process, possibly of another host, is at work on an execution; False without marks."""
    return any(marked(found.name) == folder and not is_abandoned(found) for found in files.temporaries(""))


def tidy(files: Files) -> None:
    """Remove the temporary files of killed processes from the storage itself and from marked executions."""
    for found in [found for found in files.temporaries("") if is_abandoned(found)]:
        folder = marked(found.name)
        if folder is not None:
            if workers_left(files, folder):  # they still write there; the mark stays for the next process
                continue
            sweep(files, folder)
            sweep(files, layout.BY_CONTENT)
            if files.is_directory(folder) and not files.exists(layout.join(folder, layout.EXECUTION)):
                files.remove(folder)  # it never became an execution
        _remove(files, found)


def sweep(files: Files, path: str) -> None:
    """Remove the temporary files of killed processes from a folder and below."""
    for found in abandoned(files, path):
        _remove(files, found)


def abandoned(files: Files, path: str) -> list[FileInfo]:
    """Return the temporary files of killed processes in a folder and below."""
    return [found for found in files.temporaries(path, below=True) if is_abandoned(found)]


def is_abandoned(found: FileInfo) -> bool:
    """Return whether the process that wrote a temporary file has ended without removing it.

    Processes of this host are looked up. Files of other hosts are abandoned if they are unchanged for an hour.
    """
    writer = writer_of(found.name)
    if writer is not None:
        return is_gone(writer)
    return found.changed is not None and time.time() - found.changed >= ABANDONED_AFTER


def _remove(files: Files, found: FileInfo) -> None:
    with suppress(FileNotFoundError, PermissionError):  # another process was faster; it belongs to another user
        files.remove(found.path)


CLOCK_TOLERANCE = 300.0  # seconds by which the clocks of hosts and storages may differ


def stale_leases(files: Files, paths: Iterable[str]) -> Iterator[str]:
    """Yield the leases whose holders have ended, or seem to: on another host, without a heartbeat for minutes.

    `release` finds out.
    """
    leases = leases_in(files)
    for path in paths:
        found = leases.find(path)
        if found is not None and found.is_overdue(LEASE, CLOCK_TOLERANCE):
            yield path


def is_held(files: Files, path: str) -> bool:
    """Return whether a process holds a lease, or seems to; on another host, only watching it tells."""
    found = leases_in(files).find(path)
    return found is not None and not found.is_overdue(LEASE, CLOCK_TOLERANCE)


def release(files: Files, path: str) -> bool:
    """Remove a stale lease, and return whether that was done; of another host, it is watched for its time before."""
    with closing(open_locks(files)) as locks:  # which releases it
        return locks.take_over(path) is not None
