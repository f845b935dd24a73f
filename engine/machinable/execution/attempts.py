"""Read, complete and move aside the files of a trial's earlier attempts."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from contextlib import closing, suppress
from datetime import datetime
from typing import Any

from msgspec import Struct

from machinable.engines.base import WorkerLost
from machinable.errors import Damaged
from machinable.execution.environment import now
from machinable.plan.spec import Outcome, State, TrialSpec
from machinable.results.pointers import Available
from machinable.serialization import dumps
from machinable.storage import layout
from machinable.storage.artifacts import artifacts_in
from machinable.storage.cleanup import sweep
from machinable.storage.documents import STATUS, TRIAL, read_document, read_rows
from machinable.storage.files import Files
from machinable.storage.numbered_parts import read_parts
from machinable.trial.capture import stored_error

__all__ = [
    "Completed",
    "artifacts_in",
    "attempt_to_continue",
    "complete_output",
    "move_aside",
    "read_outcome",
    "read_status",
    "write_end",
    "write_failure",
    "write_pruned",
]


class Completed(Struct, frozen=True):
    """The trials of a resumed execution that have already finished."""

    uids: frozenset[str] = frozenset()  # the trials that stay as they are
    # The results of those among them that are requirements, by identity; None for those that were not needed
    results: Mapping[str, Available | None] = {}
    attempts: Mapping[str, int] = {}  # the numbers of the last attempts of the others, where there were any
    # The outcomes of trials that stay if their requirements give the same results as before
    doubtful: Mapping[str, Outcome] = {}
    resumed: int = 0  # how often the execution has been resumed


def read_status(files: Files, folder: str, uid: str) -> dict[str, Any] | None:
    """Return status.json of a trial; None if it does not exist or cannot be read."""
    with suppress(Damaged):
        return read_document(files, layout.join(folder, layout.status(uid)), STATUS)
    return None


def read_outcome(files: Files, folder: str, uid: str, attempt: int | None = None) -> Outcome | None:
    """Return the outcome of a trial if its files say that it finished, in this attempt or, if None, in any."""
    status = read_status(files, folder, uid)
    if status is None or status["state"] != "finished":
        return None
    number = int(status.get("attempt") or 1)
    if attempt not in (None, number):
        return None
    rows = read_rows(files, layout.join(folder, layout.records(uid)))
    return Outcome(
        uid,
        "finished",
        number,
        _seconds_in(status),
        rows[-1] if rows else None,
        status.get("result"),
        artifacts=artifacts_in(status),
        inputs={name: dict(read) for name, read in (status.get("inputs") or {}).items()},
        indirect=status.get("indirect") or {},
    )


def _seconds_in(status: Mapping[str, Any]) -> float:
    if status.get("started") and status.get("finished"):
        times = [datetime.fromisoformat(status[key]) for key in ("started", "finished")]
        return (times[1] - times[0]).total_seconds()
    return 0.0


def write_end(
    files: Files, folder: str, spec: TrialSpec, state: State, error: dict[str, str] | None, because: str = ""
) -> None:
    """Write the end of a trial whose worker could not write it.

    An end that the worker has written stays, except that a failure or "pruned" replaces "interrupted". If the worker
    still lives, on a host that cannot be reached, its attempt has lost the trial with this.
    """
    written = None
    while written is None:
        path = layout.join(folder, layout.status(spec.uid))
        status: dict[str, Any] = {"attempt": spec.attempt, "started": None, "host": None, "checkpoint": None}
        mark = files.mark(path)
        status |= (read_status(files, folder, spec.uid) or {}) if mark is not None else {}
        if status.get("state") not in (None, "running", *(("interrupted",) if state in ("failed", "pruned") else ())):
            return
        status |= {"state": state, "heartbeat": now(), "finished": now(), "result": None, "error": error}
        if because:
            status["because"] = because
        written = files.write_if(path, dumps(status).encode("ascii") + b"\n", mark)


def write_pruned(files: Files, folder: str, spec: TrialSpec, because: str) -> None:
    """Write that a trial does not run any more, if an attempt of it has been interrupted."""
    if read_status(files, folder, spec.uid) is not None:
        write_end(files, folder, spec, "pruned", None, because)


def write_failure(
    files: Files, folder: str, spec: TrialSpec, problem: BaseException, seconds: float = 0.0, elapsed: float = 0.0
) -> Outcome:
    """Write the end of a trial without an outcome as a failure because of a problem, and return it.

    Without a duration in seconds, it is taken from its files; if these do not say it, either, it is what has elapsed.
    """
    error = stored_error(type(problem).__name__, str(problem), "".join(traceback.format_exception(problem)))
    sweep(files, layout.join(folder, layout.trial(spec.uid)))
    write_end(files, folder, spec, "failed", error)
    seconds = seconds or _seconds_in(read_status(files, folder, spec.uid) or {}) or elapsed
    return Outcome(spec.uid, "failed", spec.attempt, seconds, error=error)


def complete_output(files: Files, folder: str, uid: str, lost: WorkerLost) -> None:
    """Append the end of what a trial has printed, which its lost worker has not stored."""
    if not lost.output:
        return
    path = layout.join(folder, layout.output(uid))
    stored = sum(map(len, read_parts(files, path)))
    gap, rest = lost.offset - stored, lost.output[max(0, stored - lost.offset) :]
    if gap > 0:
        rest = f"\n… {gap} bytes are missing: the worker was lost before they were stored …\n".encode() + rest
    if rest:
        with closing(files.appender(path)) as appender:
            appender.write(rest)


def move_aside(files: Files, folder: str, spec: TrialSpec, attempt: int) -> str:
    """Move the files of an attempt to `attempts`, so that the next one starts in an empty folder; return their path.

    The attempt loses the trial first, in case it still runs on a host that cannot be reached.
    """
    trial = layout.join(folder, layout.trial(spec.uid))
    aside = layout.join(folder, layout.attempt(spec.uid, attempt))
    status = read_status(files, folder, spec.uid)
    if status is not None and status["state"] == "running":
        write_end(files, folder, spec, "interrupted", None)
    for entry in files.entries(trial):
        if entry.name != layout.ATTEMPTS:
            files.move(layout.join(trial, entry.name), layout.join(aside, entry.name))
    return aside


def attempt_to_continue(files: Files, folder: str, spec: TrialSpec) -> str | None:
    """Return the folder of the last earlier attempt of a trial with a checkpoint to continue from; None to start again.

    The attempts after it, of the same computation, were ended before they had restored it.
    """
    for number in range(spec.attempt - 1, 0, -1):
        attempt = layout.attempt(spec.uid, number)
        path = layout.join(folder, attempt)
        with suppress(Damaged):
            description = read_document(files, layout.join(path, layout.TRIAL), TRIAL)
            status = read_document(files, layout.join(path, layout.STATUS), STATUS)
            if description is None or status is None:
                continue
            if description.get("identity") != spec.identity or status.get("state") == "finished":
                return None
            if status.get("at_checkpoint") is not None:
                return path
    return None
