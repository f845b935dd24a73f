"""What attempts of a trial have left in its folder: read, completed where a worker could not, and set aside."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

from machinable.execution.environment import now
from machinable.plan.spec import Outcome, State, TrialSpec
from machinable.serialization import dumps, loads
from machinable.storage import layout
from machinable.storage.artifacts import checkpoint_digests
from machinable.storage.cleanup import sweep
from machinable.storage.files import Files
from machinable.storage.streams import read_rows

__all__ = [
    "artifacts_in",
    "inputs_in",
    "outcome_left",
    "outcome_without",
    "set_aside",
    "status_left",
    "write_end",
]


def status_left(files: Files, folder: str, uid: str) -> dict[str, Any] | None:
    """status.json of a trial; None if there is none, or nothing that can be read."""
    with suppress(FileNotFoundError, NotADirectoryError, ValueError):
        status = loads(files.read(layout.join(folder, layout.status(uid))))
        if isinstance(status, dict) and isinstance(status.get("state"), str):
            return status
    return None


def outcome_left(files: Files, folder: str, uid: str, attempt: int | None = None) -> Outcome | None:
    """How a trial ended whose files say that it has finished, with this attempt if one is given; else None."""
    status = status_left(files, folder, uid)
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
        inputs=inputs_in(status),
    )


def _seconds_in(status: Mapping[str, Any]) -> float:
    """How long the attempt took that a status.json tells of, as far as it does."""
    with suppress(KeyError, TypeError, ValueError):
        times = [datetime.fromisoformat(status[key]) for key in ("started", "finished")]
        return (times[1] - times[0]).total_seconds()
    return 0.0


def artifacts_in(status: Mapping[str, Any]) -> dict[str, str]:
    """The digests of the artifacts and checkpoints that status.json tells of, by name."""
    artifacts = {name: facts["digest"] for name, facts in (status.get("artifacts") or {}).items()}
    return artifacts | checkpoint_digests(status)


def inputs_in(status: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """The digests of what the trial of a status.json has read, by requirement and name."""
    return {name: dict(read) for name, read in (status.get("inputs") or {}).items()}


def write_end(files: Files, folder: str, spec: TrialSpec, state: State, error: dict[str, str] | None) -> None:
    """Write how a trial ended whose worker could not do it. That one was interrupted is not the reason if it failed."""
    path = layout.join(folder, layout.status(spec.uid))
    status: dict[str, Any] = {"attempt": spec.attempt, "started": None, "host": None, "checkpoint": None}
    with suppress(FileNotFoundError, ValueError):
        status |= loads(files.read(path))
    if status.get("state") not in (None, "running", *(("interrupted",) if state == "failed" else ())):
        return
    status |= {"state": state, "heartbeat": now(), "finished": now(), "result": None, "error": error}
    files.write(path, dumps(status).encode("ascii") + b"\n")


def outcome_without(
    files: Files, folder: str, spec: TrialSpec, problem: BaseException, seconds: float = 0.0
) -> Outcome:
    """Write down how a trial ended that gave no outcome.

    Args:
        seconds: that it took; 0 if it is not known, then it has taken until now.
    """
    text = "".join(traceback.format_exception(problem))
    error = {"type": type(problem).__name__, "message": str(problem), "traceback": text}
    sweep(files, layout.join(folder, layout.trial(spec.uid)))
    write_end(files, folder, spec, "failed", error)
    seconds = seconds or _seconds_in(status_left(files, folder, spec.uid) or {})
    return Outcome(spec.uid, "failed", spec.attempt, seconds, error=error)


def set_aside(files: Files, folder: str, uid: str, attempt: int) -> str:
    """Let a further attempt begin with an empty folder: what the former one left goes to `attempts`.

    Returns:
        Where that is now, in the storage.
    """
    trial = layout.join(folder, layout.trial(uid))
    aside = layout.join(folder, layout.attempt(uid, attempt))
    for entry in files.entries(trial):
        if entry.name != layout.ATTEMPTS:
            files.move(layout.join(trial, entry.name), layout.join(aside, entry.name))
    return aside
