"""Write events of trials to the ledger, count them, and notify listeners, in this order."""

from __future__ import annotations

import sys
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from machinable import events
from machinable.display.terminal import echo
from machinable.errors import MachinableError, warn
from machinable.events import Event, Listener, TrialEvent, name_of
from machinable.execution.environment import now
from machinable.execution.queue import Blocked
from machinable.plan.spec import Outcome, TrialSpec
from machinable.results.execution import trial_that_ended
from machinable.results.pointers import Pointer
from machinable.results.trial import Trial
from machinable.serialization import Plain
from machinable.storage import layout
from machinable.storage.files import Files
from machinable.storage.streams import RowWriter

__all__ = ["Failure", "Ledger"]

Failure: TypeAlias = tuple[TrialSpec, dict[str, Any]]
NAMES = {  # of events in the ledger
    events.TrialStarted: "started",
    events.TrialFinished: "finished",
    events.TrialFailed: "failed",
    events.TrialReused: "reused",
    events.TrialBlocked: "blocked",
    events.TrialSkipped: "skipped",
    events.TrialUnneeded: "unneeded",
    events.TrialPruned: "pruned",
    events.TrialInterrupted: "interrupted",
    events.TrialWaiting: "waiting",
}
NOT_RUN = (events.TrialReused, events.TrialBlocked, events.TrialSkipped, events.TrialUnneeded)
_DONE = ("finished", "reused", "skipped", "unneeded", "pruned")
MAX_FAILURES = 1000  # only the number of further ones is stored


class Ledger:
    """The ledger of one execution of `planned` trials; the callbacks receive each finished trial of the task."""

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
        self.is_open = False  # whether a search may ask for further trials
        self.folder = folder
        self.counts: Counter[str] = Counter()  # of trials by the state they ended in
        self.failures: list[Failure] = []  # the first of them
        self._seed = seed
        self._files = files
        self._listeners = listeners
        self._callbacks = callbacks
        self._readers = [one for one in listeners if one.hears(Listener.on_trial)]
        self._warned: set[int] = set()
        self._waited: set[str] = set()  # trials that waited for others
        self._dropped: set[tuple[str, str]] = set()  # by component, what was said once to be dropped
        self._finished_before = 0
        self._path = layout.join(folder, layout.LEDGER)
        self._rows = RowWriter(files, self._path)

    def _append(self, row: Mapping[str, Any]) -> None:
        """Append a row.

        Raises:
            LeaseLost: Another process has taken over the execution. It has replaced the ledger, or written its next
                part, so that nothing can be appended any more.
        """
        if self._rows.is_replaced():
            self._files.confirm(self._path)
            self._rows.close()  # a repair has replaced it
            self._rows = RowWriter(self._files, self._path)
        self._rows.append(row)

    @property
    def status(self) -> str:
        """The status of the execution when no trial is running."""
        counts = self.counts
        if counts["failed"] or counts["blocked"]:
            return "failed"
        if self.is_open or sum(counts[state] for state in _DONE) < self.planned:
            return "interrupted"
        return "partial" if counts["skipped"] else "finished"

    # the execution

    def began(self) -> None:
        """Announce that the execution starts or is resumed."""
        self._notify(events.ExecutionStarted, now(), self._seed, self._files.url, self.planned, self._finished_before)

    def resumed(self, done: Mapping[str, int], facts: Mapping[str, Plain]) -> None:
        """Record that the execution is resumed, with trials done before, of which `done` has the number by state."""
        self._finished_before = sum(done.values())
        self.counts.update(done)
        self._append({"event": "resumed", "time": now(), **facts})
        self._rows.flush()  # the former executing process must not write the next part of the ledger

    def ended(self, seconds: float) -> None:
        """Record the end of the execution; nothing is written afterwards."""
        status, time = self.status, now()
        event = "paused" if self.is_open else "ended"
        self._append({"event": event, "status": status, "time": time, "seconds": seconds})
        self._rows.close()
        finished = self.counts["finished"] + self.counts["reused"]
        failed = self.counts["failed"] + self.counts["blocked"]
        self._notify(events.ExecutionFinished, time, status, finished, failed, seconds)

    def notice(self, text: str) -> None:
        """Pass a message to the listeners, or print it if none takes it, because waiting looks like hanging."""
        listeners = [one for one in self._listeners if one.hears(Listener.on_notice)]
        for listener in listeners:
            self._call(listener.on_notice, text, listener, "listener", "a notice")
        if not listeners:
            echo(text, file=sys.stderr)

    # its trials

    def waiting(self, spec: TrialSpec, because: str, notice: str) -> None:
        """Record that a trial which could run waits for another execution, and say so once."""
        if not self.has_waited(spec):
            self._waited.add(spec.uid)
            time = now()
            self._append({"event": NAMES[events.TrialWaiting], "uid": spec.uid, "time": time, "because": because})
            self._rows.flush()  # others look why nothing happens
            self._notify_trial(events.TrialWaiting, spec, time, because)
            self.notice(notice)

    def has_waited(self, spec: TrialSpec) -> bool:
        """Return whether it was recorded before that a trial waits."""
        return spec.uid in self._waited

    def started(self, spec: TrialSpec) -> None:
        """Record that an attempt is submitted to the engine."""
        self._record(events.TrialStarted, spec, {})

    def finished(self, spec: TrialSpec, outcome: Outcome) -> dict[str, Any]:
        """Record that a trial finished."""
        self.counts["finished"] += 1
        facts: dict[str, Any] = {"seconds": outcome.seconds, "record": outcome.record, **_imported(outcome)}
        row = self._record(events.TrialFinished, spec, facts, outcome.seconds, outcome.record)
        for what in outcome.dropped:
            if (spec.component, what) not in self._dropped:
                self._dropped.add((spec.component, what))
                self.notice(f"{spec.component} ({spec.uid}): {what}")
        self._call_back(spec, row)
        return row

    def finished_before(self, spec: TrialSpec, outcome: Outcome) -> None:
        """Record a trial that finished before its execution was killed without recording that."""
        row = {"event": "finished", "uid": spec.uid, "attempt": outcome.attempt, "time": now()}
        self._append({**row, "seconds": outcome.seconds, "record": outcome.record})

    def pruned_before(self, spec: TrialSpec, trial: Trial) -> None:
        """Record a trial that was pruned before its execution was killed without recording that."""
        row = {"event": "pruned", "uid": spec.uid, "attempt": trial.attempt, "time": now(), "seconds": trial.seconds}
        self._append({**row, "record": trial.last_row, "because": trial.because or ""})

    def failed(self, spec: TrialSpec, outcome: Outcome, will_retry: bool) -> dict[str, Any]:
        """Record that an attempt failed."""
        error = outcome.error or {}
        if not will_retry:
            self.counts["failed"] += 1
            if len(self.failures) < MAX_FAILURES:
                self.failures.append((spec, error))
        facts = {
            "seconds": outcome.seconds,
            "record": outcome.record,
            "will_retry": will_retry,
            "error": {"type": error["type"], "message": error["message"]},
            **_imported(outcome),
        }
        return self._record(events.TrialFailed, spec, facts, outcome.seconds, error, will_retry)

    def interrupted(self, spec: TrialSpec, because: str = "KeyboardInterrupt") -> None:
        """Record that an attempt was interrupted.

        Nothing is written if the storage is unavailable: its files say whether it finished, once they arrive.
        """
        self.counts["interrupted"] += 1
        if because == "StorageUnavailable":
            self._notify_trial(events.TrialInterrupted, spec, now(), because)
        else:
            self._record(events.TrialInterrupted, spec, {}, because)

    def reused(self, spec: TrialSpec, pointer: Pointer) -> dict[str, Any]:
        """Record that the stored result of a trial is reused."""
        self.counts["reused"] += 1
        facts = {"source": pointer.trial, "seconds": pointer.seconds, "record": pointer.record}
        row = self._record(events.TrialReused, spec, facts, pointer.trial)
        self._call_back(spec, row)
        return row

    def pruned(self, spec: TrialSpec, outcome: Outcome | None, because: str) -> dict[str, Any]:
        """Record that a trial was ended between two iterations, or without an outcome, that it does not start."""
        self.counts["pruned"] += 1
        facts: dict[str, Any] = {"attempt": 0, "seconds": 0.0, "because": because}
        if outcome is not None:
            facts = {"seconds": outcome.seconds, "record": outcome.record, "because": because, **_imported(outcome)}
        return self._record(events.TrialPruned, spec, facts, 0.0 if outcome is None else outcome.seconds, because)

    def unneeded(self, spec: TrialSpec) -> None:
        """Record that a trial does not run, because no trial that runs requires it."""
        self.counts["unneeded"] += 1
        self._record(events.TrialUnneeded, spec, {})

    def blocked(self, spec: TrialSpec, blocker: Blocked) -> dict[str, Any]:
        """Record that a trial does not run, because a requirement failed or another execution computes it or one."""
        self.counts[blocker.state] += 1
        kind = events.TrialBlocked if blocker.state == "blocked" else events.TrialSkipped
        return self._record(kind, spec, {"because": blocker.because}, blocker.because)

    # a search

    def asked(self, sample: int, values: Mapping[str, Plain], uids: Sequence[str], planned: int) -> None:
        """Record the values of a sample, and the uids of its trials, before they are planned."""
        self.planned = planned
        self._append({"event": "asked", "sample": sample, "values": dict(values), "uids": list(uids), "time": now()})
        self._rows.flush()

    def evaluated(self, sample: int, value: float | None, state: str, because: str | None, over: str) -> None:
        """Record the result of a sample, and why none follows it, if none does."""
        row = {"event": "evaluated", "sample": sample, "value": value, "state": state, "time": now()}
        row |= {} if because is None else {"because": because}
        self._append(row | {"over": over} if over else row)

    def judged(self, uid: str, iteration: int, value: float, because: str | None) -> None:
        """Record a value that the pruner has seen, and why it prunes the trial, if it does."""
        row = {"event": "judged", "uid": uid, "iteration": iteration, "value": value}
        self._append(row if because is None else row | {"because": because})

    def searched(self, because: str) -> None:
        """Record that no further sample follows, and why."""
        self.is_open = False
        self._append({"event": "searched", "because": because, "time": now()})

    def _record(
        self, kind: type[TrialEvent], spec: TrialSpec, facts: Mapping[str, Any], *event_facts: Any
    ) -> dict[str, Any]:
        row: dict[str, Any] = {"event": NAMES[kind], "uid": spec.uid}
        if kind not in NOT_RUN:
            row["attempt"] = spec.attempt
        row["time"] = now()
        row.update(facts)
        self._append(row)
        self._notify_trial(kind, spec, row["time"], *event_facts)
        if self._readers and kind not in NOT_RUN and not facts.get("will_retry"):
            trial = trial_that_ended(self._files, self.folder, spec, row)
            for listener in self._readers:
                self._call(listener.on_trial, trial, listener, "listener", f"the trial {spec.uid}")
        return row

    def _notify_trial(self, kind: type[TrialEvent], spec: TrialSpec, time: str, *facts: Any) -> None:
        self._notify(kind, time, spec.uid, spec.index, spec.component, spec.attempt, *facts)

    def _notify(self, kind: type[Event], *facts: Any) -> None:
        if self._listeners:
            event = kind(self.folder, *facts)
            for listener in self._listeners:
                self._call(listener.on_event, event, listener, "listener", kind.__name__)

    def _call_back(self, spec: TrialSpec, row: Mapping[str, Any]) -> None:
        """Call the functions of `Task.on_complete` with a trial of the task."""
        if self._callbacks and not spec.definition.is_requirement:
            trial = trial_that_ended(self._files, self.folder, spec, row)
            for callback in self._callbacks:
                self._call(callback, trial, callback, "callback", f"the trial {spec.uid}")

    def _call(self, function: Callable[[Any], Any], argument: Any, owner: object, kind: str, where: str) -> None:
        """Call a function of the user; warn once if it raises an exception, but continue to call it.

        An error of this package says all in its message.
        """
        try:
            function(argument)
        except MachinableError as error:
            if id(owner) not in self._warned:
                self._warned.add(id(owner))
                self.notice(error.message)
        except Exception:
            if id(owner) in self._warned:
                return
            self._warned.add(id(owner))
            warn(
                f"the {kind} {name_of(owner)} raised an exception at {where}; the execution continues, and further "
                f"exceptions of it are not reported\n{traceback.format_exc()}",
                RuntimeWarning,
            )


def _imported(outcome: Outcome) -> dict[str, Any]:
    """Return the source files that execution.json does not list, if the trial has imported any."""
    return {"imported": dict(outcome.imported)} if outcome.imported else {}
