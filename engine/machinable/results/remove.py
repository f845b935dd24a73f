"""Find and remove removable files of a storage."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, suppress
from datetime import datetime
from itertools import chain
from typing import NamedTuple

from machinable.errors import StorageError
from machinable.results.reader import execution_folders, is_outage
from machinable.results.trial import LEASE
from machinable.results.verify import lease_faults, verify_by_content
from machinable.serialization import Plain
from machinable.storage import layout
from machinable.storage.cleanup import abandoned, is_at_work, is_held, release, workers_left
from machinable.storage.documents import EVENT, POINTER, STATUS, read_document, read_rows
from machinable.storage.files import Files, writing
from machinable.storage.locks import open_locks
from machinable.storage.process_info import is_gone, is_running
from machinable.storage.temporary import ABANDONED_AFTER

__all__ = ["Removal", "executions", "leftovers", "remove", "seems_in_use"]


class Removal(NamedTuple):
    """Something that can be removed.

    Attributes:
        kind: "temporary", "lease", "pointer" (to a result that is gone), "incomplete" (the beginning of an execution)
            or "execution".
        path: The path in the storage.
        size: Bytes; for a folder, those of its content.
        reason: Why it can be removed, or what it is.
        holds: What else would be lost.
        pointers: The pointers that are removed with it.
    """

    kind: str
    path: str
    size: int
    reason: str
    holds: tuple[str, ...] = ()
    pointers: tuple[str, ...] = ()

    def as_data(self) -> dict[str, Plain]:
        """Return the removal for programs."""
        return {"kind": self.kind, "path": self.path, "bytes": self.size, "reason": self.reason, "holds": [*self.holds]}


def leftovers(files: Files) -> Iterator[Removal]:
    """Yield leftovers of killed processes, and pointers to results that are gone."""
    for found in abandoned(files, ""):
        yield Removal("temporary", found.path, found.size, "a process was killed while it wrote this")
    folders = execution_folders(files)
    leases = [layout.join(folder, layout.EXECUTION_LEASE) for folder in folders]
    for fault in chain(verify_by_content(files), lease_faults(files, leases)):
        if fault.kind in ("leftover", "dangling"):
            with suppress(FileNotFoundError):  # it has just been removed
                kind = "pointer" if fault.kind == "dangling" else "lease"
                yield Removal(kind, fault.path, files.size(fault.path), fault.message)
    for folder in folders:
        if files.exists(layout.join(folder, layout.EXECUTION)) or is_at_work(files, folder):
            continue
        if is_held(files, layout.join(folder, layout.EXECUTION_LEASE)):
            continue
        size, changed = _measured(files, folder)
        if changed is None or time.time() - changed >= ABANDONED_AFTER:  # otherwise an execution may be starting
            yield Removal("incomplete", folder, size, "a process was killed before it became an execution")


def _measured(files: Files, folder: str) -> tuple[int, float | None]:
    """Return the bytes of a folder and the time of its last change, None if that is unknown."""
    size, changed = 0, []
    for stored in files.walk(folder):
        size += stored.size
        changed += [stored.changed] if stored.changed else []
    local = files.local_path(folder)
    if local is not None:
        with suppress(FileNotFoundError):
            changed.append(os.stat(local).st_mtime)
    return size, max(changed, default=None)


def executions(files: Files, folders: Iterable[str]) -> Iterator[Removal]:
    """Yield whole executions, with the results that other executions use."""
    chosen = list(folders)
    if not chosen:
        return
    pointers: dict[str, str] = {}  # to the trials that have the results, as `OY1p1o/9c2EapVGXnPH`
    for stored in files.walk(layout.BY_CONTENT):
        if layout.pointer_identity(stored.path):
            with suppress(StorageError):  # `verify` reports it
                if (row := read_document(files, stored.path, POINTER)) is not None:
                    pointers[stored.path] = row["trial"]
    reused = _reused(files, chosen)
    for folder in chosen:
        size, _ = _measured(files, folder)
        own = sorted(path for path, source in pointers.items() if source.partition("/")[0] == folder)
        holds = []
        if own:
            holds.append(f"{len(own)} result{'s' if own[1:] else ''} that later executions would reuse")
        holds += [f"results that {other} has reused: {', '.join(uids)}" for other, uids in reused[folder].items()]
        count = sum(entry.is_directory for entry in files.entries(layout.join(folder, layout.TRIALS)))
        reason = f"execution, {count} trial{'' if count == 1 else 's'} started"
        yield Removal("execution", folder, size, reason, tuple(holds), tuple(own))


def _reused(files: Files, chosen: list[str]) -> dict[str, dict[str, list[str]]]:
    """Return the reused trials by chosen execution and by the execution that reused them."""
    found: dict[str, dict[str, list[str]]] = {folder: {} for folder in chosen}
    for other in execution_folders(files):
        if other in found:
            continue
        try:
            rows = read_rows(files, layout.join(other, layout.LEDGER), EVENT)
        except StorageError:
            continue  # `verify` reports it
        for row in rows:
            source, _, uid = (row.get("source") or "").partition("/")
            if row.get("event") == "reused" and source in found:
                found[source].setdefault(other, []).append(uid)
    return found


def seems_in_use(files: Files, folder: str) -> bool:
    """Return whether a process, or a worker of one, seems to be at work on an execution whose plan cannot be read."""
    if is_held(files, layout.join(folder, layout.EXECUTION_LEASE)) or is_at_work(files, folder):
        return True
    if files.marks_processes and workers_left(files, folder):
        return True
    for entry in files.entries(layout.join(folder, layout.TRIALS)):
        try:
            status = read_document(files, layout.join(folder, layout.status(entry.name)), STATUS)
        except StorageError as error:
            if is_outage(files, error):
                raise
            continue
        if status is None or status["state"] != "running":
            continue
        facts = status.get("host") or {}
        process = {**facts, "host": facts.get("name")}
        beat = status.get("heartbeat")
        is_recent = beat is not None and time.time() - datetime.fromisoformat(beat).timestamp() < LEASE
        if is_running(process) or (is_recent and not is_gone(process)):
            return True
    return False


def remove(files: Files, removal: Removal) -> bool:
    """Remove something, and return False if it no longer exists or is in use by now.

    The lease of an execution is taken first, so that no process runs it. One of another host that seems to be gone is
    watched before.

    Of an execution, pointers go first, then execution.json, then the rest: after an interruption it is either complete
    or no execution.

    Raises:
        StorageUnavailable: The storage cannot be written.
    """
    with writing(files), ExitStack() as stack:
        if removal.kind == "lease":
            return release(files, removal.path)
        if removal.kind in ("execution", "incomplete") and files.reach != "process":
            locks = stack.enter_context(closing(open_locks(files)))
            if locks.take_over(layout.join(removal.path, layout.EXECUTION_LEASE)) is None:
                return False
        first = [*removal.pointers]
        if removal.kind == "execution":
            first.append(layout.join(removal.path, layout.EXECUTION))
        for path in first:
            with suppress(FileNotFoundError):
                files.remove(path)
        try:
            files.remove(removal.path)
        except FileNotFoundError:
            return False
        return True
