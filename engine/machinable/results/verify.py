"""Check that everything a storage has recorded exists and is readable, and repair what can be repaired."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from threading import Lock
from typing import Any, NamedTuple, TypeVar

from machinable.errors import MachinableError
from machinable.ids import is_folder_name
from machinable.results.trial import LEASE
from machinable.serialization import Plain, dumps, loads
from machinable.storage import layout
from machinable.storage.cleanup import abandoned, is_at_work, release, stale_leases
from machinable.storage.files import Files, writing
from machinable.storage.hashing import digest
from machinable.storage.streams import RowWriter, damaged_lines, read_rows, rows_in
from machinable.storage.temporary import Temporary

__all__ = ["Checked", "Fault", "repair", "unnoted", "verify", "verify_by_content"]

_T = TypeVar("_T")
_R = TypeVar("_R")
_DESCRIPTIONS = (layout.EXECUTION, layout.STATUS, layout.TRIAL)
_ENDS = {"finished", "failed", "interrupted"}
QUIET = 2 * LEASE  # seconds without a change, after which a ledger is no longer being written
MAX_REQUESTS = 16  # concurrent ones, to a remote storage


class Fault(NamedTuple):
    """Something that is wrong.

    Attributes:
        kind: "damaged": a file cannot be read. "missing": something recorded does not exist. "changed": an artifact or
            the code is not the stored one. "unnoted": a trial has ended, and the ledger lacks that. "dangling": a
            pointer to a result that is gone. "leftover": of a killed process.
        path: The path in the storage.
        message: What is wrong, without the path.
        mend: What `repair` does about it; "" if nothing can be done.
        row: The line that the ledger lacks.
    """

    kind: str
    path: str
    message: str
    mend: str = ""
    row: Mapping[str, Plain] | None = None

    def as_data(self) -> dict[str, Plain]:
        """Return the fault for programs."""
        return {"kind": self.kind, "path": self.path, "message": self.message, "mend": self.mend or None}


class Checked(NamedTuple):
    """How much was checked."""

    executions: int
    trials: int
    artifacts: int
    size: int


class _Count:
    """Count what several threads check, and report it."""

    def __init__(self, on_progress: Callable[[Checked], None] | None) -> None:
        self.checked = Checked(0, 0, 0, 0)
        self._on_progress = on_progress
        self._lock = Lock()

    def add(self, executions: int = 0, trials: int = 0, artifacts: int = 0, size: int = 0) -> None:
        with self._lock:
            new = zip(self.checked, (executions, trials, artifacts, size), strict=True)
            self.checked = Checked(*(before + more for before, more in new))
            if self._on_progress is not None and not artifacts:
                self._on_progress(self.checked)


def verify(
    files: Files,
    names: Iterable[str] | None = None,
    *,
    on_progress: Callable[[Checked], None] | None = None,
    clock: Callable[[], float] = time.time,
) -> tuple[Checked, list[Fault]]:
    """Check everything that a storage has recorded. Nothing is changed.

    On an object store it lists each execution once and gets each object once.

    Args:
        files: The storage.
        names: The executions; by default all, and what else the storage has.
        on_progress: Called after each trial with what has been checked.
        clock: Returns the time in seconds since the epoch.

    Returns:
        How much was checked, and the faults.
    """
    count = _Count(on_progress)
    faults: list[Fault] = []
    existing = [entry.name for entry in files.entries("") if entry.is_directory and is_folder_name(entry.name)]
    chosen = existing if names is None else list(names)
    for name in chosen:
        faults += _Execution(files, name, count, clock()).faults()
        count.add(executions=1)
    if names is None:
        faults += verify_by_content(files)
        inside = set(existing)
        outside = [found for found in abandoned(files, "") if found.path.partition("/")[0] not in inside]
        faults += map(_leftover, outside)
    return count.checked, faults


def unnoted(files: Files, name: str) -> list[Fault]:
    """Return the trials of an execution whose end its ledger lacks, as faults that `repair` can repair.

    Use it for an execution that no process writes: it does not wait for recent changes to settle. It returns none while
    a process is at work on the execution.
    """
    return _Execution(files, name, _Count(None), math.inf).unnoted()


def _leftover(found: Temporary) -> Fault:
    return Fault("leftover", found.path, "a process was killed while it wrote this", "remove it")


def _stale(lease: str) -> Fault:
    return Fault("leftover", lease, "its holder is gone", "remove it")


def _left_alone(fault: Fault) -> Fault:
    """Return a fault of something that may still be written: it is not repaired yet."""
    if not fault.mend:
        return fault
    later = f"{fault.message} (it may still be written; it can be repaired {QUIET:g} s after its last change)"
    return fault._replace(message=later, mend="", row=None)


class _Execution:
    """Check one execution."""

    def __init__(self, files: Files, name: str, count: _Count, now: float) -> None:
        self.files = files
        self.name = name
        self.count = count
        self.now = now
        self.sizes: dict[str, int] = {}
        self.last_change = 0.0
        self.is_over = False  # no process writes it any more, so what is missing stays missing
        self.has_ended = False  # by the last line of its ledger
        self.is_quiet = False
        self.events: dict[str, dict[str, Any]] = {}

    def survey(self) -> list[Fault]:
        """List the files, read the ledger, and find out whether they may still change.

        Returns:
            The faults of the ledger and of the lease.
        """
        for stored in self.files.walk(self.name):
            path = stored.path[len(self.name) + 1 :]
            self.sizes[path] = stored.size
            self.last_change = max(self.last_change, stored.changed or 0.0)
        self.is_quiet = self.now - self.last_change >= QUIET
        if layout.EXECUTION not in self.sizes:
            return []
        found: list[Fault] = []
        ledger = [path for path in self.sizes if layout.whole(path) == layout.LEDGER]
        for path in sorted(ledger, key=layout.part_number):
            data = self.files.read(self.place(path))
            found += self.lines_of(path, data)
            self.note_events(data)
        self.is_over = (self.is_quiet or self.has_ended) and not is_at_work(self.files, self.name)
        found += self.lease_faults()
        self.is_quiet = self.is_quiet and self.is_over
        return found

    def faults(self) -> list[Fault]:
        """Return all faults."""
        ledger_faults = self.survey()
        if layout.EXECUTION not in self.sizes:
            return []  # it is about to start, or never started
        found = [_leftover(one) for one in abandoned(self.files, self.name)]
        facts, damaged = self.mapping(layout.EXECUTION)
        found += damaged
        found += self.code_faults(facts or {})
        planned, damaged = self.plan(facts or {})
        found += damaged
        found += ledger_faults
        trials: dict[str, list[str]] = {uid: [] for uid in (*planned, *self.events)}
        for path in self.sizes:
            if path.startswith(f"{layout.TRIALS}/"):
                trials.setdefault(path.split("/")[1], []).append(path)
        for faults in _mapped(self.trial_faults, trials.items(), self.files):
            found += faults
            self.count.add(trials=1)
        # Repairing a file that is being written would lose what is written at the same time.
        return found if self.is_over else list(map(_left_alone, found))

    def unnoted(self) -> list[Fault]:
        """Return only what its ledger lacks."""
        self.survey()
        if not self.is_quiet:
            return []
        folders = (path.split("/")[1] for path in self.sizes if path.startswith(f"{layout.TRIALS}/"))
        uids = [
            uid
            for uid in dict.fromkeys((*self.events, *folders))
            if layout.status(uid) in self.sizes and self.events.get(uid, {}).get("event") in (None, "started")
        ]
        return [fault for faults in _mapped(self.unnoted_of, uids, self.files) for fault in faults]

    def unnoted_of(self, uid: str) -> list[Fault]:
        return self.ledger_faults(uid, self.mapping(layout.status(uid))[0], True)

    def lease_faults(self) -> list[Fault]:
        """Return the lease of the execution as a fault if its holder is gone."""
        if layout.EXECUTION_LEASE not in self.sizes:
            return []
        stale = list(stale_leases(self.files, [self.place(layout.EXECUTION_LEASE)]))
        self.is_over = self.is_over and bool(stale)
        return [_stale(path) for path in stale]

    def place(self, path: str) -> str:
        return layout.join(self.name, path)

    def mapping(self, path: str) -> tuple[dict[str, Any] | None, list[Fault]]:
        """Return the mapping in a file, or its faults."""
        try:
            found = loads(self.files.read(self.place(path)))
            if type(found) is not dict:
                raise ValueError(f"it holds {type(found).__name__}, not a mapping")
            return found, []
        except FileNotFoundError:
            return None, []
        except ValueError as error:
            mend = "" if path == layout.EXECUTION else "put it aside"
            return None, [Fault("damaged", self.place(path), f"it cannot be read: {error}", mend)]

    def code_faults(self, facts: Mapping[str, Any]) -> list[Fault]:
        said = (facts.get("code") or {}).get("backup") if isinstance(facts.get("code"), dict) else None
        if not said:
            return []
        if layout.CODE not in self.sizes:
            return [Fault("missing", self.place(layout.CODE), "execution.json has its digest, and the file is missing")]
        if digest(self.files.read(self.place(layout.CODE))) != said:
            return [Fault("changed", self.place(layout.CODE), "it is not the stored one: its digest differs")]
        return []

    def plan(self, facts: Mapping[str, Any]) -> tuple[list[str], list[Fault]]:
        place = self.place(layout.PLAN)
        try:
            rows = rows_in(self.files.read(place), place) if layout.PLAN in self.sizes else []
        except MachinableError as error:
            return [], [Fault("damaged", place, f"it cannot be read: {error.message}")]
        said = facts.get("trials")
        uids = [row["uid"] for row in rows if isinstance(row.get("uid"), str)]
        if type(said) is int and len(uids) < said:
            return uids, [Fault("damaged", place, f"it has {len(uids)} trials, and execution.json says {said}")]
        return uids, []

    def row_faults(self, uid: str, paths: Iterable[str]) -> Iterator[Fault]:
        """Yield the faults of the rows of a trial, given their files."""
        default, last, is_cut = layout.records(uid), None, False
        for path in sorted(paths, key=layout.part_number):
            if layout.DAMAGED_ENDING in path:
                is_cut = True  # rows were put aside
            if not layout.scope_of(path.rpartition("/")[2]):
                continue
            data = self.files.read(self.place(path))
            for fault in self.lines_of(path, data):
                is_cut = True
                yield fault
            if layout.whole(path) == default:
                last = _last_row(data) or last
        event = self.events.get(uid, {})
        said = event.get("record") if event.get("event") == "finished" else None
        if self.is_over and not is_cut and isinstance(said, dict) and (last is None or dumps(last) != dumps(said)):
            message = "its last row is not the one in the ledger"
            yield Fault("changed", self.place(default), message if last else "it has no rows, but the ledger has one")

    def lines_of(self, path: str, data: bytes) -> Iterator[Fault]:
        """Yield the faults of the lines of a file."""
        numbers = damaged_lines(data)
        if numbers:
            shown = ", ".join(map(str, numbers[:10])) + (" …" if numbers[10:] else "")
            message = f"lines {shown} are no rows" if numbers[1:] else f"line {shown} is no row"
            yield Fault("damaged", self.place(path), message, "put them aside")

    def note_events(self, data: bytes) -> None:
        """Remember the last readable line of the ledger about each trial."""
        for line in data.split(b"\n"):
            try:
                row = loads(line)
            except ValueError:
                continue  # `lines_of` reports it, or it is incomplete
            if type(row) is dict:
                self.has_ended = row.get("event") == "ended"
                if isinstance(row.get("uid"), str):
                    self.events[row["uid"]] = row

    def trial_faults(self, trial: tuple[str, list[str]]) -> list[Fault]:
        uid, paths = trial
        found: list[Fault] = []
        folder = layout.trial(uid)
        status: dict[str, Any] | None = None
        rows = []
        for path in sorted(paths):
            inner = path[len(folder) + 1 :].split("/")
            if inner[0] == layout.ATTEMPTS:
                inner = inner[2:]
            if len(inner) == 1 and inner[0] in _DESCRIPTIONS:
                facts, damaged = self.mapping(path)
                found += damaged
                if path == layout.status(uid):
                    status = facts
            elif len(inner) == 2 and inner[0] == layout.RECORDS:
                rows.append(path)
        found += self.row_faults(uid, rows) if paths else []
        found += self.ledger_faults(uid, status, bool(paths))
        if status is not None and status.get("state") == "finished":
            found += self.artifact_faults(uid, status)
        return found

    def ledger_faults(self, uid: str, status: Mapping[str, Any] | None, has_folder: bool) -> list[Fault]:
        event = self.events.get(uid, {})
        last = event.get("event")
        if last == "finished" and not has_folder and not self.files.exists(self.place(layout.trial(uid))):
            return [Fault("missing", self.place(layout.trial(uid)), "the trial has finished, and its folder is gone")]
        if last == "finished" and layout.status(uid) not in self.sizes and has_folder and self.is_over:
            return [
                Fault(
                    "missing",
                    self.place(layout.status(uid)),
                    "the trial has finished, and what it had written is not known any more",
                )
            ]
        if last == "finished" and status is not None and status.get("state") != "finished" and self.is_over:
            return [
                Fault(
                    "changed",
                    self.place(layout.status(uid)),
                    f"the ledger says that the trial has finished, and this says {status.get('state')}",
                )
            ]
        if last == "reused":
            return self.source_faults(str(event.get("source") or ""), uid)
        if status is None or status.get("state") not in _ENDS or last not in (None, "started") or not self.is_quiet:
            return []
        if last == "started" and event.get("attempt") != status.get("attempt"):
            return []  # the files are of an earlier attempt
        row = self.row_of(uid, status)
        return [
            Fault(
                "unnoted",
                self.place(layout.LEDGER),
                f"the trial {uid} has {row['event']}, and its execution ended before it noted that",
                "note it",
                row,
            )
        ]

    def row_of(self, uid: str, status: Mapping[str, Any]) -> dict[str, Plain]:
        """Return the line about a trial that the ledger lacks."""
        row: dict[str, Plain] = {
            "event": status["state"],
            "uid": uid,
            "attempt": status.get("attempt"),
            "time": status.get("finished"),
        }
        if row["event"] == "interrupted":
            return row
        try:
            rows = read_rows(self.files, self.place(layout.records(uid)))
        except MachinableError:
            rows = []  # `row_faults` reports it
        row |= {"seconds": _seconds(status), "record": rows[-1] if rows else None}
        if row["event"] == "failed":
            error = status.get("error") or {}
            row |= {"will_retry": False, "error": {key: error.get(key) for key in ("type", "message")}}
        return row

    def source_faults(self, source: str, uid: str) -> list[Fault]:
        folder, _, origin = source.partition("/")
        if self.files.exists(layout.join(folder, layout.status(origin))):
            return []
        return [Fault("missing", self.place(layout.trial(uid)), f"the trial was reused from {source}, which is gone")]

    def size_now(self, path: str, expected: object) -> int | None:
        """Return the size of a file; unless it is the expected one, ask again, as it may have just been written."""
        size = self.sizes.get(path)
        if size is not None and size == expected:
            return size
        try:
            return self.files.size(self.place(path))
        except FileNotFoundError:
            return None

    def artifact_faults(self, uid: str, status: Mapping[str, Any]) -> list[Fault]:
        """Return the artifacts that are not what the trial has written."""
        artifacts = status.get("artifacts")
        found = []
        for name, said in artifacts.items() if isinstance(artifacts, dict) else ():
            path = layout.artifact(uid, name)
            facts = said if isinstance(said, dict) else {"digest": said}
            size = self.size_now(path, facts.get("size"))
            self.count.add(artifacts=1, size=size or 0)
            if size is None:
                found.append(Fault("missing", self.place(path), "the trial has written it, and it is missing"))
                continue
            expected = facts.get("size")
            if type(expected) is int and size != expected:
                message = f"it has {size} bytes, and {expected} were written"
                found.append(Fault("changed", self.place(path), message))
            elif facts.get("digest") and digest(self.files.read(self.place(path))) != facts["digest"]:
                found.append(Fault("changed", self.place(path), "its content is not what was written"))
        return found


def _last_row(data: bytes) -> dict[str, Any] | None:
    for line in reversed(data.split(b"\n")):
        try:
            row = loads(line)
        except ValueError:
            continue  # torn
        return row if type(row) is dict else None
    return None


def _seconds(status: Mapping[str, Any]) -> float | None:
    try:
        began, ended = (datetime.fromisoformat(status[key]) for key in ("started", "finished"))
        return (ended - began).total_seconds()
    except (KeyError, TypeError, ValueError):
        return None


def _mapped(act: Callable[[_T], _R], items: Iterable[_T], files: Files) -> Iterator[_R]:
    """Yield the results in order, from concurrent requests if the storage is remote."""
    if files.reach != "anywhere":
        yield from map(act, items)
        return
    with ThreadPoolExecutor(MAX_REQUESTS) as pool:
        yield from pool.map(act, items)


def verify_by_content(files: Files) -> Iterator[Fault]:
    """Yield the faults of pointers to results and of leases."""
    paths = sorted(stored.path for stored in files.walk(layout.BY_CONTENT))
    pointers = [path for path in paths if layout.pointer_identity(path)]
    for fault in _mapped(partial(_pointer_fault, files), pointers, files):
        if fault is not None:
            yield fault
    leases = [path for path in paths if layout.is_lease(path)]
    for path in stale_leases(files, leases):
        yield _stale(path)


def _pointer_fault(files: Files, path: str) -> Fault | None:
    try:
        pointer = loads(files.read(path))
        place, identity = pointer["trial"], pointer["identity"]
        if identity != layout.pointer_identity(path):
            raise ValueError(f"it has the identity {identity!r}")
        folder, _, uid = place.partition("/")
    except FileNotFoundError:
        return None  # it has just been removed
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        return Fault("damaged", path, f"it cannot be read: {reason}", "put it aside")
    try:
        state = loads(files.read(layout.join(folder, layout.status(uid)))).get("state")
    except (FileNotFoundError, NotADirectoryError):
        return Fault("dangling", path, f"the result that it points to is gone: {place}", "remove it")
    except (ValueError, AttributeError):
        return None  # reported with that file
    if state != "finished":
        return Fault("dangling", path, f"what it points to has not finished: {place}", "remove it")
    return None


def repair(files: Files, fault: Fault) -> bool:
    """Repair a fault without losing data, and return whether that was possible and still necessary.

    A line that the ledger lacks is written, damaged data is moved to a file whose name ends in `.damaged`, and
    leftovers and dangling pointers are removed.

    Raises:
        StorageUnavailable: The storage cannot be written.
    """
    if not fault.mend:
        return False
    with writing(files):
        if fault.kind == "unnoted":
            assert fault.row is not None
            ledger = RowWriter(files, fault.path)
            ledger.append(fault.row)
            ledger.close()
            return True
        if fault.kind == "damaged":
            return _put_aside(files, fault.path)
        if layout.is_lease(fault.path):
            return release(files, fault.path)
        try:
            files.remove(fault.path)
        except FileNotFoundError:
            return False
        return True


def _put_aside(files: Files, path: str) -> bool:
    try:
        data = files.read(path)
    except FileNotFoundError:
        return False
    aside, number = path + layout.DAMAGED_ENDING, 1
    while files.exists(aside):
        number += 1
        aside = f"{path}.{number}{layout.DAMAGED_ENDING}"
    numbers = set(damaged_lines(data)) if path.endswith(".jsonl") else set()
    if not numbers:
        files.move(path, aside)
        return True
    lines = data.split(b"\n")
    files.write(aside, b"".join(line + b"\n" for n, line in enumerate(lines, start=1) if n in numbers))
    files.write(path, b"\n".join(line for n, line in enumerate(lines, start=1) if n not in numbers))
    return True
