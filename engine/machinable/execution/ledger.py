"""What happens to trials is written into the ledger, counted, and told to listeners, in this order."""

from __future__ import annotations

import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from machinable.events import (
    Event,
    ExecutionFinished,
    ExecutionStarted,
    Listener,
    TrialBlocked,
    TrialFailed,
    TrialFinished,
    TrialInterrupted,
    TrialReused,
    TrialSkipped,
    TrialStarted,
    name_of,
)
from machinable.execution.environment import now
from machinable.plan.plan import Plan
from machinable.plan.spec import Outcome, TrialSpec
from machinable.results.execution import trial_that_ended
from machinable.serialization import Plain
from machinable.storage import layout
from machinable.storage.files import Files
from machinable.storage.streams import RowWriter

__all__ = ["Failure", "Journal"]

Failure = tuple[TrialSpec, dict[str, Any]]
MAX_FAILURES = 1000  # of which more than the number is kept


class Journal:
    """The ledger of one execution, and who is told.

    Args:
        plan: what shall run. files, folder: the storage, and the folder of the execution.
        listeners: are called with each event. callbacks: with each trial of the task that has finished.

    Attributes:
        planned: how many trials there are. counts: how many of them ended in which state.
        failures: the first of those that failed, with their errors.
    """

    def __init__(
        self,
        plan: Plan,
        files: Files,
        folder: str,
        listeners: Sequence[Listener] = (),
        callbacks: Sequence[Callable[[Any], Any]] = (),
    ) -> None:
        self.planned = len(plan)
        self.folder = folder
        self.counts: Counter[str] = Counter()
        self.failures: list[Failure] = []
        self._seed = plan.seed
        self._files = files
        self._listeners = listeners
        self._callbacks = callbacks
        self._blamed: set[int] = set()
        self._kept = 0
        self._ledger = RowWriter(files, layout.join(folder, layout.LEDGER))

    @property
    def status(self) -> str:
        """How the execution stands when nothing runs."""
        counts = self.counts
        if counts["failed"] or counts["blocked"]:
            return "failed"
        if counts["finished"] + counts["reused"] + counts["skipped"] < self.planned:
            return "interrupted"
        return "partial" if counts["skipped"] else "finished"

    def began(self) -> None:
        """The execution begins, or goes on."""
        self._tell(lambda: ExecutionStarted(self.folder, now(), self._seed, self._files.url, self.planned, self._kept))

    def resumed(self, finished: int, facts: Mapping[str, Plain]) -> None:
        """The execution goes on: how many trials have finished before, and what else is to be known."""
        self._kept = self.counts["finished"] = finished
        self._ledger.append({"event": "resumed", "time": now(), **facts})

    def ended(self, seconds: float) -> None:
        """The execution is over; nothing is written afterwards."""
        status = self.status
        self._ledger.append({"event": "ended", "status": status, "time": now(), "seconds": seconds})
        self._ledger.close()
        finished = self.counts["finished"] + self.counts["reused"]
        failed = self.counts["failed"] + self.counts["blocked"]
        self._tell(lambda: ExecutionFinished(self.folder, now(), status, finished, failed, seconds))

    def started(self, spec: TrialSpec, **facts: Plain) -> None:
        """An attempt is handed to the engine; with what else is to be known about it."""
        self._ledger.append(self._row("started", spec, spec.attempt, **facts))
        self._tell(lambda: TrialStarted(*self._about(spec)))

    def finished(self, spec: TrialSpec, outcome: Outcome) -> None:
        """A trial has ended well."""
        self.counts["finished"] += 1
        row = self._row("finished", spec, spec.attempt, seconds=outcome.seconds, record=outcome.record)
        self._ledger.append(row)
        self._tell(lambda: TrialFinished(*self._about(spec, row), outcome.seconds, outcome.record))
        self._call_back(spec, row)

    def stays(self) -> None:
        """A trial that had finished before stays as it is, now that it is known what it requires."""
        self.counts["finished"] += 1

    def notice(self, text: str) -> bool:
        """Tell a person something, by the listeners that take that. Whether there was one."""
        is_told = False
        for listener in self._listeners:
            if listener.hears(Listener.on_notice):
                is_told = True
                try:
                    listener.on_notice(text)
                except Exception:
                    self._warn(listener, "listener", "a notice")
        return is_told

    def told_late(self, spec: TrialSpec, outcome: Outcome) -> None:
        """A trial had finished before, and its executing process was killed before it could say so."""
        self._ledger.append(
            self._row("finished", spec, outcome.attempt, seconds=outcome.seconds, record=outcome.record)
        )

    def failed(self, spec: TrialSpec, outcome: Outcome, again: bool) -> None:
        """An attempt has ended with an error, and whether there will be another one."""
        error = outcome.error or {}
        row = self._row(
            "failed",
            spec,
            spec.attempt,
            seconds=outcome.seconds,
            record=outcome.record,
            will_retry=again,
            error={"type": error["type"], "message": error["message"]},
        )
        self._ledger.append(row)
        if not again:
            self.counts["failed"] += 1
            if len(self.failures) < MAX_FAILURES:
                self.failures.append((spec, error))
        self._tell(lambda: TrialFailed(*self._about(spec, row), outcome.seconds, error, again))

    def interrupted(self, spec: TrialSpec) -> None:
        """An attempt was ended from outside."""
        self.counts["interrupted"] += 1
        row = self._row("interrupted", spec, spec.attempt)
        self._ledger.append(row)
        self._tell(lambda: TrialInterrupted(*self._about(spec, row), "KeyboardInterrupt"))

    def paused(self, spec: TrialSpec) -> None:
        """An attempt was set aside, to go on later."""
        self._ledger.append(self._row("interrupted", spec, spec.attempt))

    def lost(self, spec: TrialSpec) -> None:
        """An attempt is over and the storage does not have it. The ledger says nothing: whether it has finished is told
        by its files, when they come there."""
        self.counts["interrupted"] += 1
        self._tell(lambda: TrialInterrupted(*self._about(spec), "StorageUnavailable"))

    def reused(self, spec: TrialSpec, source: str, seconds: float | None, record: Mapping[str, Plain] | None) -> None:
        """A trial need not run, for its result is there."""
        self.counts["reused"] += 1
        row = self._row("reused", spec, source=source, seconds=seconds, record=record)
        self._ledger.append(row)
        self._tell(lambda: TrialReused(*self._about(spec, row), source))
        self._call_back(spec, row)

    def blocked(self, spec: TrialSpec, because: str) -> None:
        """A trial cannot run, for something that it needs has failed."""
        self.counts["blocked"] += 1
        row = self._row("blocked", spec, because=because)
        self._ledger.append(row)
        self._tell(lambda: TrialBlocked(*self._about(spec, row), because))

    def skipped(self, spec: TrialSpec, because: str) -> None:
        """A trial is left out, for somebody else computes it, or something that it needs."""
        self.counts["skipped"] += 1
        row = self._row("skipped", spec, because=because)
        self._ledger.append(row)
        self._tell(lambda: TrialSkipped(*self._about(spec, row), because))

    def _row(self, event: str, spec: TrialSpec, attempt: int | None = None, **facts: Any) -> dict[str, Any]:
        said = {"event": event, "uid": spec.uid}
        return (said if attempt is None else {**said, "attempt": attempt}) | {"time": now(), **facts}

    def _about(self, spec: TrialSpec, row: Mapping[str, Any] | None = None) -> tuple[str, str, str, int, str, int]:
        return self.folder, row["time"] if row else now(), spec.uid, spec.index, spec.component, spec.attempt

    def _tell(self, make: Callable[[], Event]) -> None:
        if not self._listeners:
            return
        event = make()
        for listener in self._listeners:
            try:
                listener.on_event(event)
            except Exception:
                self._warn(listener, "listener", type(event).__name__)

    def _call_back(self, spec: TrialSpec, row: Mapping[str, Any]) -> None:
        """Hand a trial of the task to the functions of `Task.on_complete`."""
        if not self._callbacks or spec.is_requirement:
            return
        trial = trial_that_ended(self._files, self.folder, spec, row)
        for callback in self._callbacks:
            try:
                callback(trial)
            except Exception:
                self._warn(callback, "callback", f"the trial {spec.uid}")

    def _warn(self, function: Any, what: str, where: str) -> None:
        """Say once that a function of the user raised; it is called on, for the next time it may not."""
        if id(function) in self._blamed:
            return
        self._blamed.add(id(function))
        name = name_of(function)
        warnings.warn(
            f"the {what} {name} raised an exception at {where}; the execution goes on, and this is not told again\n"
            f"{traceback.format_exc()}",
            RuntimeWarning,
            stacklevel=4,
        )
