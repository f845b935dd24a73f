"""Check that everything a storage has recorded exists and is readable, and repair what can be repaired."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple, TypeVar

from machinable.errors import BadName, Damaged, MachinableError, StorageError
from machinable.ids import is_folder_name
from machinable.results.pointers import pointer_from
from machinable.results.reader import code_facts, is_outage
from machinable.results.trial import LEASE
from machinable.serialization import Plain, dumps
from machinable.storage import layout
from machinable.storage.cleanup import abandoned, is_abandoned, is_at_work, release, stale_leases
from machinable.storage.documents import (
    ANNOTATION,
    EVENT,
    PLANNED,
    POINTER,
    ROW,
    STATUS,
    TRIAL,
    Kind,
    damaged_lines,
    parse_rows,
    read_checksum,
    read_document,
    read_execution,
    read_rows,
)
from machinable.storage.files import FileInfo, Files, writing
from machinable.storage.hashing import digest_of
from machinable.storage.streams import RowWriter

__all__ = ["Checked", "Fault", "lease_faults", "repair", "unnoted", "verify", "verify_by_content"]

_T = TypeVar("_T")
_R = TypeVar("_R")
_DESCRIPTIONS = {layout.STATUS: STATUS, layout.TRIAL: TRIAL}
_ENDS = ("finished", "failed", "interrupted", "pruned")
QUIET = 2 * LEASE  # seconds without a change, after which a ledger is no longer being written
MAX_REQUESTS = 16  # concurrent ones, to a remote storage


class Fault(NamedTuple):
    """Something wrong in a storage.

    Attributes:
        kind: "damaged": a file is malformed. "unreadable": it may be intact, but this user or version cannot read it.
            "missing": something recorded does not exist. "changed": an artifact or
            the code is not the stored one. "unnoted": a trial has ended, and the ledger lacks that. "dangling": a
            pointer to a result that is gone. "leftover": of a killed process.
        path: The path in the storage.
        message: What is wrong, without the path.
        mend: What `repair` does about it; "" if it cannot be repaired.
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
    """The number of things that were checked."""

    executions: int
    trials: int
    artifacts: int
    size: int


def verify(
    files: Files,
    names: Iterable[str] | None = None,
    *,
    on_progress: Callable[[Checked], None] | None = None,
    clock: Callable[[], float] = time.time,
) -> tuple[Checked, list[Fault]]:
    """Check executions, by default everything that a storage has recorded. Nothing is changed.

    On an object store it lists each execution once and gets each object once. `on_progress` is called after each trial.
    """
    checked = Checked(0, 0, 0, 0)
    faults: list[Fault] = []
    executions, others = _folders(files)
    for name in executions if names is None else names:
        try:
            for found, more in _Execution(files, name, clock()).check():
                faults += found
                checked = Checked(*map(sum, zip(checked, more, strict=True)))
                if on_progress is not None:
                    on_progress(checked)
        except StorageError as error:
            faults.append(_fault_of(files, name, error))
    if names is None:
        links = files.links_out()
        faults += [Fault("unreadable", name, "a link out of the storage, which is not followed") for name in links]
        faults += [] if layout.BY_CONTENT in links else verify_by_content(files, with_values=True)
        faults += map(_leftover, filter(is_abandoned, files.temporaries("")))
        for other in others:
            try:
                faults += map(_leftover, abandoned(files, other))
            except StorageError as error:
                faults.append(_fault_of(files, other, error))
    return checked, faults


def _folders(files: Files) -> tuple[list[str], list[str]]:
    """Return the folders in a storage: those that can be executions, and the others."""
    names = [entry.name for entry in files.entries("") if entry.is_directory]
    return list(filter(is_folder_name, names)), [name for name in names if not is_folder_name(name)]


def unnoted(files: Files, name: str) -> list[Fault]:
    """Return the trials of an execution whose end its ledger lacks, as faults that `repair` can repair.

    It does not wait for recent changes to settle, so no process may still write the execution. It returns none while a
    process is at work on the execution.
    """
    return _Execution(files, name, math.inf).unnoted()


def _leftover(found: FileInfo) -> Fault:
    return Fault("leftover", found.path, "a process was killed while it wrote this", "remove it")


def lease_faults(files: Files, paths: Iterable[str]) -> Iterator[Fault]:
    """Yield the faults of leases: those whose holder is gone, and those that cannot be read."""
    for path in paths:
        try:
            for lease in stale_leases(files, [path]):
                yield Fault("leftover", lease, "its holder is gone", "remove it")
        except StorageError as error:
            yield _fault_of(files, path, error)


def _fault_of(files: Files, path: str, error: StorageError, mend: str = "") -> Fault:
    """Return an error while a file or folder was read as a fault.

    Raises:
        StorageUnavailable: The server of a remote storage does not answer, so no other file can be read either.
    """
    if isinstance(error, Damaged):
        return Fault("damaged", path, _without_place(error, files, path), mend)
    if is_outage(files, error):
        raise error
    return Fault("unreadable", path, _without_place(error, files, path))


def _without_place(error: StorageError, files: Files, path: str) -> str:
    place = layout.join(files.url, path)
    message = error.message.replace(f"{place} ", "it ", 1) if error.message.startswith(place) else error.message
    return message.removeprefix(f"cannot read {place}: ").replace(f" of {place}", "", 1)


class _Execution:
    """Check one execution. Its files are listed, and its ledger is read, to find out whether they may still change."""

    def __init__(self, files: Files, name: str, now: float) -> None:
        self.files = files
        self.name = name
        self.sizes: dict[str, int] = {}
        self.folders: dict[str, list[str]] = {}  # the files of each trial
        self.events: dict[str, dict[str, Any]] = {}  # the last line about each trial
        self.survey_faults: list[Fault] = []
        last_change, has_ended = 0.0, False
        for stored in files.walk(name):
            path = stored.path[len(name) + 1 :]
            self.sizes[path] = stored.size
            last_change = max(last_change, stored.changed or 0.0)
            if path.startswith(f"{layout.TRIALS}/"):
                self.folders.setdefault(path.split("/")[1], []).append(path)
        # Without execution.json it is about to start, or never started.
        self.exists = layout.EXECUTION in self.sizes
        ledger = [path for path in self.sizes if layout.whole(path) == layout.LEDGER]
        for path in sorted(ledger, key=layout.part_number) if self.exists else ():
            for row in self.rows(path, self.survey_faults):
                has_ended = row.get("event") in ("ended", "paused")
                if isinstance(row.get("uid"), str):
                    self.events[row["uid"]] = row
        self.knows_events = all(one.kind != "unreadable" for one in self.survey_faults)
        is_held = False
        if layout.EXECUTION_LEASE in self.sizes:
            stale = list(lease_faults(files, [self.place(layout.EXECUTION_LEASE)]))
            self.survey_faults += stale
            is_held = all(one.kind != "leftover" for one in stale)
        is_quiet = now - last_change >= QUIET
        # No process still writes it, so missing files stay missing.
        self.is_over = (is_quiet or has_ended) and not is_held and not is_at_work(files, name)

    def check(self) -> Iterator[tuple[list[Fault], Checked]]:
        """Yield the faults of the execution and of each trial, and how much was checked."""
        if self.exists:
            found = [_leftover(one) for one in abandoned(self.files, self.name)]
            facts = self.mapping(layout.EXECUTION, found) or {}
            found += self.code_faults(facts)
            for path in self.sizes:
                if layout.whole(path) == layout.ANNOTATIONS:
                    self.rows(path, found)
            uids = dict.fromkeys((*self.planned(facts, found), *self.events, *self.folders))
            yield self.settled(found + self.survey_faults), Checked(0, 0, 0, 0)
            for found, artifacts, size in _mapped(self.checked_trial, uids, self.files):
                yield self.settled(found), Checked(0, 1, artifacts, size)
        elif self.files.exists(self.place(layout.EXECUTION)):
            yield [self.fault("unreadable", layout.EXECUTION, "it is not a regular file")], Checked(0, 0, 0, 0)
        yield [], Checked(1, 0, 0, 0)

    def settled(self, faults: list[Fault]) -> list[Fault]:
        """Return faults; those of an execution that may still be written are not repairable yet."""
        if self.is_over:
            return faults
        # Repairing a file that is being written would lose what is written at the same time.
        later = f"(it may still be written; it can be repaired {QUIET:g} s after its last change)"
        return [one._replace(message=f"{one.message} {later}", mend="") if one.mend else one for one in faults]

    def unnoted(self) -> list[Fault]:
        """Return only the faults of lines that its ledger lacks."""
        uids = [
            uid
            for uid in dict.fromkeys((*self.events, *self.folders))
            if layout.status(uid) in self.sizes and self.events.get(uid, {}).get("event") in (None, "started")
        ]
        if not self.exists or not self.is_over:
            return []
        return [fault for faults in _mapped(self.unnoted_of, uids, self.files) for fault in faults]

    def unnoted_of(self, uid: str) -> list[Fault]:
        return self.state_faults(uid, self.mapping(layout.status(uid), []))

    def place(self, path: str) -> str:
        return layout.join(self.name, path)

    def fault(
        self, kind: str, path: str, message: str, mend: str = "", row: Mapping[str, Plain] | None = None
    ) -> Fault:
        return Fault(kind, self.place(path), message, mend, row)

    def mapping(self, path: str, faults: list[Fault]) -> dict[str, Any] | None:
        """Return the mapping in a file, or None and add its fault."""
        try:
            if path == layout.EXECUTION:
                return read_execution(self.files, self.name)
            return read_document(self.files, self.place(path), _DESCRIPTIONS[path.rpartition("/")[2]])
        except StorageError as error:
            mend = "" if path == layout.EXECUTION else "move it aside"
            faults.append(_fault_of(self.files, self.place(path), error, mend))
        return None

    def rows(self, path: str, faults: list[Fault]) -> list[dict[str, Any]]:
        """Return the readable lines of a file, and add the fault of the others."""
        kind = _kind_of(path)
        try:
            data = self.files.read(self.place(path))
        except IsADirectoryError:
            faults.append(self.fault("damaged", path, "it is a directory", "move it aside"))
            return []
        except StorageError as error:
            faults.append(_fault_of(self.files, self.place(path), error))
            return []
        good, _, found = _sorted_lines(data, kind)
        if found:
            shown = ", ".join(str(number) for number, _ in found[:10]) + (" …" if found[10:] else "")
            what = f"line {shown} is" if not found[1:] else f"lines {shown} are"
            faults.append(self.fault("damaged", path, f"{what} not {kind.name}: {found[0][1]}", "move them aside"))
        return parse_rows(good, kind, path)

    def code_faults(self, facts: Mapping[str, Any]) -> list[Fault]:
        said = code_facts(facts).get("backup")
        if said and layout.CODE not in self.sizes:
            return [self.fault("missing", layout.CODE, "execution.json records its digest, but the file is missing")]
        try:
            if said and digest_of(self.files.pieces(self.place(layout.CODE)))[0] != said:
                return [self.fault("changed", layout.CODE, "its digest is not the recorded one")]
        except StorageError as error:
            return [_fault_of(self.files, self.place(layout.CODE), error)]
        return []

    def planned(self, facts: Mapping[str, Any], faults: list[Fault]) -> list[str]:
        """Return the uids in the plan, and add its fault."""
        place = self.place(layout.PLAN)
        try:
            data = self.files.read(place) if layout.PLAN in self.sizes else b""
            uids = [row["uid"] for row in parse_rows(data, PLANNED, layout.join(self.files.url, place), decoded=False)]
        except StorageError as error:
            faults.append(_fault_of(self.files, place, error))
            return []
        said = facts.get("trials")
        if said is not None and len(uids) < said:
            message = f"it has {len(uids)} trials, but execution.json says {said}"
            faults.append(self.fault("damaged", layout.PLAN, message))
        return uids

    def checked_trial(self, uid: str) -> tuple[list[Fault], int, int]:
        """Return what `check_trial` does, or the fault that keeps it from checking the trial."""
        try:
            return self.check_trial(uid)
        except StorageError as error:
            return [_fault_of(self.files, self.place(layout.trial(uid)), error)], 0, 0

    def check_trial(self, uid: str) -> tuple[list[Fault], int, int]:
        """Return the faults of a trial, and the number and size of its artifacts."""
        found: list[Fault] = []
        status: dict[str, Any] | None = None
        records = []
        for path in sorted(self.folders.get(uid, ())):
            inner = path.split("/")[2:]
            if not inner:
                found.append(self.fault("damaged", path, "it is a file, not the folder of a trial"))
                return found, 0, 0
            if inner[0] == layout.ATTEMPTS:
                inner = inner[2:]
            if len(inner) == 1 and inner[0] in _DESCRIPTIONS:
                facts = self.mapping(path, found)
                if path == layout.status(uid):
                    status = facts
            elif len(inner) == 2 and inner[0] == layout.RECORDS:
                records.append(path)
        found += self.row_faults(uid, records)
        found += self.state_faults(uid, status)
        artifacts = status.get("artifacts") if status is not None and status.get("state") == "finished" else None
        sizes = []
        for name, said in (artifacts or {}).items():
            fault, size = self.check_artifact(layout.artifact(uid, name), said)
            found += fault
            sizes.append(size)
        return found, len(sizes), sum(sizes)

    def row_faults(self, uid: str, paths: list[str]) -> list[Fault]:
        """Return the faults of the rows of a trial, given their files."""
        found: list[Fault] = []
        default, last, is_cut = layout.records(uid), None, False
        for path in sorted(paths, key=layout.part_number):
            if layout.DAMAGED_ENDING in path:
                is_cut = True  # rows were put aside
            if layout.scope_of(path):
                rows = self.rows(path, found)
                if layout.whole(path) == default and rows:
                    last = rows[-1]
        event = self.events.get(uid, {})
        said = event.get("record") if event.get("event") == "finished" else None
        is_known = self.is_over and uid in self.folders and not is_cut and not found
        if is_known and isinstance(said, dict) and (last is None or dumps(last) != dumps(said)):
            message = "its last row is not the one in the ledger" if last else "it has no rows, but the ledger has one"
            found.append(self.fault("changed", default, message))
        return found

    def state_faults(self, uid: str, status: Mapping[str, Any] | None) -> list[Fault]:
        """Return the faults where the ledger and the status of a trial disagree."""
        event, folder, path = self.events.get(uid, {}), layout.trial(uid), layout.status(uid)
        last, state = event.get("event"), status.get("state") if status else None
        if last == "reused":
            source = event.get("source") or ""
            execution, _, origin = source.partition("/")
            if self.files.exists(layout.join(execution, layout.status(origin))):
                return []
            return [self.fault("missing", folder, f"the trial was reused from {source}, which is gone")]
        if not (self.is_over and self.knows_events):
            return []  # a missing file may be about to be written, and an unreadable ledger may say everything
        if last == "finished":
            if uid not in self.folders:
                return [self.fault("missing", folder, "the trial has finished, but its folder is gone")]
            if path not in self.sizes:
                message = "the trial has finished, but the record of what it wrote is gone"
                return [self.fault("missing", path, message)]
            if status is not None and state != "finished":
                message = f"the ledger says that the trial has finished, but this file says {state}"
                return [self.fault("changed", path, message)]
            return []
        is_of_an_earlier_attempt = last == "started" and event.get("attempt") != (status or {}).get("attempt")
        if status is None or state not in _ENDS or last not in (None, "started") or is_of_an_earlier_attempt:
            return []
        message = f"the trial {uid} has {state}, but its execution ended before recording it"
        return [self.fault("unnoted", layout.LEDGER, message, "note it", self.missing_line(uid, status))]

    def missing_line(self, uid: str, status: Mapping[str, Any]) -> dict[str, Plain]:
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
        times = [datetime.fromisoformat(status[key]) for key in ("started", "finished") if status.get(key)]
        row["seconds"] = (times[1] - times[0]).total_seconds() if len(times) == 2 else None
        row["record"] = rows[-1] if rows else None
        if row["event"] == "pruned":
            row["because"] = status.get("because") or ""
        if row["event"] == "failed":
            error = status.get("error") or {"type": "unknown", "message": ""}
            row |= {"will_retry": False, "error": {key: error[key] for key in ("type", "message")}}
        return row

    def check_artifact(self, path: str, facts: Mapping[str, Any]) -> tuple[list[Fault], int]:
        """Return the fault of an artifact that is not as the trial wrote it, and its size."""
        expected, size, place = facts.get("size"), self.sizes.get(path), self.place(path)
        if size is None or size != expected:  # it may have been written since
            try:
                size = self.files.size(place)
            except (FileNotFoundError, NotADirectoryError):
                return [self.fault("missing", path, "the trial wrote it, but it is missing")], 0
        if size != expected:
            return [self.fault("changed", path, f"it has {size} bytes, but {expected} were written")], size
        if digest_of(self.files.pieces(place))[0] != facts["digest"]:
            return [self.fault("changed", path, "its content is not what the trial wrote")], size
        return [], size


def _kind_of(path: str) -> Kind:
    """Return the kind of the lines of a file."""
    return {layout.LEDGER: EVENT, layout.ANNOTATIONS: ANNOTATION}.get(layout.whole(path.rpartition("/")[2]), ROW)


def _sorted_lines(data: bytes, kind: Kind) -> tuple[bytes, bytes, list[tuple[int, str]]]:
    """Return the readable lines of a file of rows, the damaged ones, and their numbers and faults."""
    found = damaged_lines(data, kind)
    if not found:
        return data, b"", found
    lines, damaged = list(enumerate(data.split(b"\n"), start=1)), {number for number, _ in found}
    return (
        b"\n".join(line for number, line in lines if number not in damaged),
        b"".join(line + b"\n" for number, line in lines if number in damaged),
        found,
    )


def _mapped(act: Callable[[_T], _R], items: Iterable[_T], files: Files) -> Iterator[_R]:
    """Yield the results in order, from concurrent requests if the storage is remote."""
    if files.reach != "anywhere":
        yield from map(act, items)
        return
    with ThreadPoolExecutor(MAX_REQUESTS) as pool:
        yield from pool.map(act, items)


def verify_by_content(files: Files, *, with_values: bool = False) -> Iterator[Fault]:
    """Yield the faults of pointers to results and of leases; `with_values`, also of cached values, which are read."""
    paths = sorted(stored.path for stored in files.walk(layout.BY_CONTENT))
    checks = [(_pointer_fault, [path for path in paths if layout.pointer_identity(path)])]
    if with_values:
        checks.append((_cached_fault, [path for path in paths if layout.is_cached(path)]))
    for check, chosen in checks:
        for fault in _mapped(partial(check, files), chosen, files):
            if fault is not None:
                yield fault
    leases = [path for path in paths if layout.is_lease(path)]
    yield from lease_faults(files, leases)


def _cached_fault(files: Files, path: str) -> Fault | None:
    try:
        recorded = read_checksum(files, path)
        if recorded is not None and digest_of(files.pieces(path))[0] == recorded:
            return None
    except FileNotFoundError:  # it has just been removed
        return None
    except StorageError as error:
        return _fault_of(files, path, error)
    what = "no digest is recorded" if recorded is None else "its digest is not the recorded one"
    return Fault("changed", path, what, "remove it, so that it is computed again")


def _pointer_fault(files: Files, path: str) -> Fault | None:
    try:
        row = read_document(files, path, POINTER)
        if row is None:
            return None  # it has just been removed
        place = pointer_from(row, str(layout.pointer_identity(path)), layout.join(files.url, path)).trial
    except StorageError as error:
        return _fault_of(files, path, error, "move it aside")
    folder, _, uid = place.partition("/")
    try:
        status = read_document(files, layout.join(folder, layout.status(uid)), STATUS)
    except BadName as error:
        return Fault("damaged", path, error.message, "move it aside")
    except StorageError:
        return None  # reported with that file
    if status is None:
        return Fault("dangling", path, f"the result that it points to is gone: {place}", "remove it")
    if status["state"] != "finished":
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
        if layout.is_cached(fault.path):
            with suppress(FileNotFoundError):
                files.remove(layout.checksum(fault.path))
        return True


def _put_aside(files: Files, path: str) -> bool:
    data = b""
    with suppress(IsADirectoryError):
        try:
            data = files.read(path)
        except FileNotFoundError:
            return False
    aside, number = path + layout.DAMAGED_ENDING, 1
    while files.exists(aside):
        number += 1
        aside = f"{path}.{number}{layout.DAMAGED_ENDING}"
    good, damaged, found = _sorted_lines(data, _kind_of(path)) if path.endswith(".jsonl") else (b"", b"", [])
    if found:
        files.write(aside, damaged)
        files.write(path, good)
    else:
        files.move(path, aside)
    return True
