"""Write what happens to trials into the ledger, count it, and notify listeners, in this order."""

from __future__ import annotations

import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from machinable.events import (
    Event,
    ExecutionFinished,
    ExecutionStarted,
    Listener,
    TrialBlocked,
    TrialEvent,
    TrialFailed,
    TrialFinished,
    TrialInterrupted,
    TrialReused,
    TrialSkipped,
    TrialStarted,
    name_of,
)
from machinable.execution.environment import now
from machinable.execution.queue import Blocked
from machinable.plan.spec import Outcome, TrialSpec
from machinable.results.execution import trial_that_ended
from machinable.serialization import Plain
from machinable.storage import layout
from machinable.storage.files import Files
from machinable.storage.streams import RowWriter

__all__ = ["Failure", "Ledger"]

Failure: TypeAlias = tuple[TrialSpec, dict[str, Any]]
MAX_FAILURES = 1000  # of further ones only the number is held


class Ledger:
    """The ledger of one execution, with its counts and its audience.

    Args:
        planned: The number of trials.
        seed: The seed of the execution.
        files: The storage.
        folder: The directory of the execution in it.
        listeners: Receive each event.
        callbacks: Receive each finished trial of the task.

    Attributes:
        planned: The number of trials.
        counts: The number of trials by the state they ended in.
        failures: The first trials that failed, with their errors.
    """

    def __init__(
        self,
        planned: int,
        seed: int,
        files: Files,
        folder: str,
        listeners: Sequence[Listener] = (),
        callbacks: Sequence[Callable[[Any], Any]] = (),
    ) -> None:
        self.planned = planned
        self.folder = folder
        self.counts: Counter[str] = Counter()
        self.failures: list[Failure] = []
        self._seed = seed
        self._files = files
        self._listeners = listeners
        self._callbacks = callbacks
        self._warned: set[int] = set()
        self._finished_before = 0
        self._rows = RowWriter(files, layout.join(folder, layout.LEDGER))

    @property
    def status(self) -> str:
        """The status of the execution when no trial runs."""
        counts = self.counts
        if counts["failed"] or counts["blocked"]:
            return "failed"
        if counts["finished"] + counts["reused"] + counts["skipped"] < self.planned:
            return "interrupted"
        return "partial" if counts["skipped"] else "finished"

    # the execution

    def began(self) -> None:
        """Announce that the execution starts or is resumed."""
        self._notify(ExecutionStarted, now(), self._seed, self._files.url, self.planned, self._finished_before)

    def resumed(self, finished: int, facts: Mapping[str, Plain]) -> None:
        """Record that the execution is resumed, with `finished` trials done before."""
        self._finished_before = self.counts["finished"] = finished
        self._rows.append({"event": "resumed", "time": now(), **facts})

    def ended(self, seconds: float) -> None:
        """Record the end of the execution; nothing is written afterwards."""
        status, time = self.status, now()
        self._rows.append({"event": "ended", "status": status, "time": time, "seconds": seconds})
        self._rows.close()
        finished = self.counts["finished"] + self.counts["reused"]
        failed = self.counts["failed"] + self.counts["blocked"]
        self._notify(ExecutionFinished, time, status, finished, failed, seconds)

    def notice(self, text: str) -> None:
        """Pass a message to the listeners; print it if none takes it, because waiting looks like hanging."""
        listeners = [one for one in self._listeners if one.hears(Listener.on_notice)]
        for listener in listeners:
            try:
                listener.on_notice(text)
            except Exception:
                self._warn(listener, "listener", "a notice")
        if not listeners:
            print(text, file=sys.stderr)

    # its trials

    def started(self, spec: TrialSpec) -> None:
        """Record that an attempt is submitted to the engine."""
        self._notify_trial(TrialStarted, spec, self._append("started", spec, attempt=spec.attempt))

    def finished(self, spec: TrialSpec, outcome: Outcome) -> None:
        """Record that a trial finished."""
        self.counts["finished"] += 1
        row = self._append("finished", spec, attempt=spec.attempt, seconds=outcome.seconds, record=outcome.record)
        self._notify_trial(TrialFinished, spec, row, outcome.seconds, outcome.record)
        self._call_back(spec, row)

    def finished_before(self, spec: TrialSpec, outcome: Outcome) -> None:
        """Record a trial that finished before, whose execution was killed before it could record that."""
        self._append("finished", spec, attempt=outcome.attempt, seconds=outcome.seconds, record=outcome.record)

    def failed(self, spec: TrialSpec, outcome: Outcome, will_retry: bool) -> None:
        """Record that an attempt failed."""
        error = outcome.error or {}
        row = self._append(
            "failed",
            spec,
            attempt=spec.attempt,
            seconds=outcome.seconds,
            record=outcome.record,
            will_retry=will_retry,
            error={"type": error["type"], "message": error["message"]},
        )
        if not will_retry:
            self.counts["failed"] += 1
            if len(self.failures) < MAX_FAILURES:
                self.failures.append((spec, error))
        self._notify_trial(TrialFailed, spec, row, outcome.seconds, error, will_retry)

    def interrupted(self, spec: TrialSpec, because: str = "KeyboardInterrupt") -> None:
        """Record that an attempt was interrupted.

        Nothing is written where the storage is not available: the files say whether it finished, once they arrive.
        """
        self.counts["interrupted"] += 1
        is_lost = because == "StorageUnavailable"
        row = {"time": now()} if is_lost else self._append("interrupted", spec, attempt=spec.attempt)
        self._notify_trial(TrialInterrupted, spec, row, because)

    def reused(self, spec: TrialSpec, source: str, seconds: float | None, record: Mapping[str, Plain] | None) -> None:
        """Record that the stored result of a trial is reused."""
        self.counts["reused"] += 1
        row = self._append("reused", spec, source=source, seconds=seconds, record=record)
        self._notify_trial(TrialReused, spec, row, source)
        self._call_back(spec, row)

    def blocked(self, spec: TrialSpec, blocker: Blocked) -> None:
        """Record that a trial does not run, because a requirement failed, or another execution computes it or one."""
        self.counts[blocker.state] += 1
        row = self._append(blocker.state, spec, because=blocker.because)
        self._notify_trial(TrialBlocked if blocker.state == "blocked" else TrialSkipped, spec, row, blocker.because)

    def _append(self, event: str, spec: TrialSpec, *, attempt: int | None = None, **facts: Any) -> dict[str, Any]:
        row: dict[str, Any] = {"event": event, "uid": spec.uid}
        if attempt is not None:
            row["attempt"] = attempt
        row["time"] = now()
        row.update(facts)
        self._rows.append(row)
        return row

    def _notify_trial(self, kind: type[TrialEvent], spec: TrialSpec, row: Mapping[str, Any], *facts: Any) -> None:
        if self._listeners:
            self._notify(kind, row["time"], spec.uid, spec.index, spec.component, spec.attempt, *facts)

    def _notify(self, kind: type[Event], *facts: Any) -> None:
        if not self._listeners:
            return
        event = kind(self.folder, *facts)
        for listener in self._listeners:
            try:
                listener.on_event(event)
            except Exception:
                self._warn(listener, "listener", kind.__name__)

    def _call_back(self, spec: TrialSpec, row: Mapping[str, Any]) -> None:
        """Call the functions of `Task.on_complete` with a trial of the task."""
        if not self._callbacks or spec.is_requirement:
            return
        trial = trial_that_ended(self._files, self.folder, spec, row)
        for callback in self._callbacks:
            try:
                callback(trial)
            except Exception:
                self._warn(callback, "callback", f"the trial {spec.uid}")

    def _warn(self, function: object, kind: str, where: str) -> None:
        """Warn once that a function of the user raised; it is called again, as it may work the next time."""
        if id(function) in self._warned:
            return
        self._warned.add(id(function))
        warnings.warn(
            f"the {kind} {name_of(function)} raised an exception at {where}; the execution continues, and further "
            f"exceptions of it are not reported\n{traceback.format_exc()}",
            RuntimeWarning,
            stacklevel=4,
        )
