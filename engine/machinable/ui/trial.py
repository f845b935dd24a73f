"""One trial: what it was, what it is, and what it has written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from machinable.display.summary import commit_text, trial_reason
from machinable.display.tables import MAX_TRACEBACK, cell, exact
from machinable.display.terminal import escaped
from machinable.plan.table import flatten
from machinable.results.query import version_text
from machinable.results.tail import GrowingFile
from machinable.results.trial import Trial
from machinable.storage import layout
from machinable.ui.selection import address
from machinable.units import format_duration, format_time, shortened

__all__ = ["Link", "Texts", "TrialView", "notes_of", "settings", "trial_view"]

REPEATED = ("NAME", "MODULE", "UID", "SEED", "EXECUTION")  # flags that the page has elsewhere
MAX_LINES = 1000  # of the log and of the output that are shown


class Link(NamedTuple):
    """A text that leads to another page."""

    text: str
    href: str
    status: str = ""


class TrialView(NamedTuple):
    """What the page of a trial shows, as texts for people.

    Attributes:
        status: The state.
        facts: Facts by their names.
        parts: Settings by the name of their part, such as the configuration and tags.
        requires: What it required, by name.
        required_by: The trials of its execution that require it.
        error: The traceback, or the message; empty without an error.
        notes: The notes that were added.
        last: The values of its last row.
    """

    status: str
    facts: dict[str, str]
    parts: dict[str, dict[str, str]]
    requires: dict[str, Link]
    required_by: list[Link]
    error: str
    notes: list[str]
    last: dict[str, str]


def settings(trial: Trial) -> dict[str, str]:
    """Return the configuration as it is stored, one text for each key path."""
    config = trial.config.to_dict(evaluate=False, hidden=False)
    return {key: exact(value) for key, value in flatten(config).items()}


def trial_view(trial: Trial, siblings: Iterable[Trial]) -> TrialView:
    """Return what the page of a trial shows, given all trials of its execution."""
    execution, error = trial.execution, trial.error or {}
    flags = {name: value for name, value in trial.flags.items() if name not in REPEATED}
    facts = {
        "component": trial.component + (f" {version_text(trial.version)}" if trial.version is not None else ""),
        "module": trial.module,
        "why": trial_reason(trial),
        "started": format_time(trial.started) if trial.started else "",
        "took": "" if trial.seconds is None else format_duration(trial.seconds),
        "attempt": str(trial.attempt) if trial.attempt > 1 else "",
        "host": (trial.host or {}).get("name"),
        "threads": trial.threads,
        "devices": ", ".join(trial.devices or ()),
        "seed": trial.seed,
        "identity": trial.identity,
        "commit": commit_text(execution.data.get("code") or {}),
        "checkpoint": trial.checkpoint,
        "result": None if trial.result is None else shortened(exact(trial.result), 500),
    }
    parts = {
        "configuration": settings(trial),
        "tags": {name: exact(value) for name, value in trial.tags.items()},
        "flags": {name: exact(value) for name, value in flags.items()},
    }
    own = [
        Link(f"{one.component} {one.uid}", address("trial", str(execution), one.uid), one.status)
        for one in siblings
        if any(needed["uid"] == trial.uid for needed in one.planned("requires").values())
    ]
    last = trial.last_row or {}
    return TrialView(
        trial.status,
        {name: exact(value) for name, value in facts.items() if value not in (None, "")},
        {name: values for name, values in parts.items() if values},
        {name: _required(trial, name) for name in trial.planned("requires")},
        own,
        escaped(shortened((error.get("traceback") or error.get("message") or "").rstrip(), MAX_TRACEBACK)),
        notes_of(trial.notes),
        {name: cell(value) for name, value in last.items() if not name.startswith("_")},
    )


def _required(trial: Trial, name: str) -> Link:
    needed = trial.planned("requires")[name]
    place = needed.get("place")
    if place is not None and "/" in place:  # a stored trial
        execution, _, uid = place.rpartition("/")
        return Link(f"{needed['component']} {uid}", address("trial", execution, uid))
    required = trial.required(name)
    status = "" if required is None else required.status
    return Link(f"{needed['component']} {needed['uid']}", address("trial", str(trial.execution), needed["uid"]), status)


def notes_of(notes: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return notes with time and author."""

    def parts(line: Mapping[str, Any]) -> list[str]:
        return [line["note"], line.get("user") or "", format_time(line["time"]) if line.get("time") else ""]

    return [" · ".join(filter(None, parts(line))) for line in notes]


class Texts:
    """The ends of the log and of the output of a trial, which may grow.

    Attributes:
        log: The last lines of the log.
        output: The last lines of the output.
    """

    def __init__(self, trial: Trial) -> None:
        files, folder = trial.execution.files, trial.folder
        self._log = GrowingFile(files, layout.join(folder, layout.LOG))
        self._output = GrowingFile(files, layout.join(folder, layout.OUTPUT))
        self.log: list[str] = []
        self.output: list[str] = []

    def update(self, *, is_running: bool) -> bool:
        """Read what was added, and return whether anything was; while it runs, only complete lines."""
        found = False
        for file, lines in ((self._log, self.log), (self._output, self.output)):
            new = file.lines(whole=not is_running, last=MAX_LINES)
            lines += [escaped(line.decode("utf-8", "replace")) for line in new]
            del lines[:-MAX_LINES]
            found = found or bool(new)
        return found
