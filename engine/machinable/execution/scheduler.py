"""Hands the trials of a plan to an engine: order, retries, time, capacity, the ledger, and who is told."""

from __future__ import annotations

import heapq
import time
import traceback
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from machinable.engines.protocol import Engine, Work
from machinable.events import (
    Event,
    ExecutionFinished,
    ExecutionStarted,
    Listener,
    TrialFailed,
    TrialFinished,
    TrialInterrupted,
    TrialStarted,
)
from machinable.execution.capacity import Capacity
from machinable.execution.host import now
from machinable.plan.plan import Plan
from machinable.plan.spec import Outcome, Retries, State, TrialSpec
from machinable.storage import layout
from machinable.storage.files import Files
from machinable.storage.records import RowWriter

__all__ = ["Failure", "OnFailure", "Policy", "Scheduler"]

OnFailure: TypeAlias = Literal["raise", "continue", "stop"]
Failure: TypeAlias = tuple[TrialSpec, dict[str, Any]]
MAX_FAILURES = 1000  # of which more than the number is kept
GRACE = 5.0  # seconds that workers get to write down that they were interrupted


@dataclass(frozen=True)
class Policy:
    """What happens when a trial does not end well.

    Attributes:
        on_failure: "stop" starts no further trial. retries: further attempts of a failed trial.
        retry_delay: seconds before one. timeout: seconds that an attempt may take, or None.
    """

    on_failure: OnFailure = "raise"
    retries: int = 0
    retry_delay: float = 0.0
    timeout: float | None = None


class Scheduler:
    """Carries out one plan in its folder.

    Args:
        plan: what shall run. engine: where. work: what is done for a trial.
        files, folder: the storage, and the folder of the execution. listeners: who is told.
        policy: for failures. capacity: what there is for trials.

    Attributes:
        counts: how many trials ended in which state. failures: the first of those that failed, with their errors.
    """

    def __init__(
        self,
        plan: Plan,
        engine: Engine,
        work: Work,
        files: Files,
        folder: str,
        listeners: Sequence[Listener],
        policy: Policy,
        capacity: Capacity,
    ) -> None:
        self.plan = plan
        self.engine = engine
        self.folder = folder
        self.counts: Counter[str] = Counter()
        self.failures: list[Failure] = []
        self._work = work
        self._files = files
        self._listeners = listeners
        self._policy = policy
        self._capacity = capacity
        self._ledger = RowWriter(files, layout.join(folder, layout.LEDGER))
        self._running: dict[Future[Outcome], tuple[TrialSpec, float]] = {}  # with the time by which it must have ended
        self._again: list[tuple[float, int, TrialSpec]] = []  # a heap: when, place in the plan, what

    def run(self) -> None:
        """Run all trials that are to be run.

        Raises:
            KeyboardInterrupt: no trial was started after it, and everything is written; a second one cuts that short.
        """
        began = time.perf_counter()
        self._tell(lambda: ExecutionStarted(self.folder, now(), self.plan.seed, self._files.url, len(self.plan)))
        interrupt: KeyboardInterrupt | None = None
        try:
            self._run_all()
        except KeyboardInterrupt as error:
            interrupt = error
            self._interrupt_running()
        seconds = time.perf_counter() - began
        status = self._status()
        self._ledger.append({"event": "ended", "status": status, "time": now(), "seconds": seconds})
        self._ledger.close()
        self._tell(lambda: ExecutionFinished(
            self.folder, now(), status, self.counts["finished"], self.counts["failed"], seconds))  # fmt: skip
        if interrupt is not None:
            raise interrupt

    def _status(self) -> str:
        if self.counts["failed"]:
            return "failed"
        return "finished" if self.counts["finished"] == len(self.plan) else "interrupted"

    def _run_all(self) -> None:
        planned: Iterator[TrialSpec] = iter(self.plan)
        waiting: deque[TrialSpec] = deque()  # those that want more than is free
        while True:
            stopped = self._policy.on_failure == "stop" and self.counts["failed"]
            if not stopped:
                self._start_what_fits(planned, waiting)
            elif not self._running:
                return
            if self._running:
                self._wait()
            elif self._again:
                time.sleep(max(0.0, self._again[0][0] - time.monotonic()))
            elif not waiting:
                return

    def _start_what_fits(self, planned: Iterator[TrialSpec], waiting: deque[TrialSpec]) -> None:
        """Start trials while there are places for them: what waits to be tried again first, then the plan in order."""
        while len(self._running) < self.engine.slots:
            spec = self._next(planned, waiting)
            if spec is None:
                return
            if spec.attempt > 1:
                self._set_aside(spec)
            self._capacity.take(spec.resources)
            future = self._start(spec)
            timeout = self._policy.timeout
            self._running[future] = spec, time.monotonic() + timeout if timeout else float("inf")
            if future.done():
                self._ended(future)
                if self._policy.on_failure == "stop" and self.counts["failed"]:
                    return

    def _next(self, planned: Iterator[TrialSpec], waiting: deque[TrialSpec]) -> TrialSpec | None:
        fits = self._capacity.fits
        if self._again and self._again[0][0] <= time.monotonic() and fits(self._again[0][2].resources):
            return heapq.heappop(self._again)[2]
        for index, held in enumerate(waiting):
            if fits(held.resources):
                del waiting[index]
                return held
        while len(waiting) < 100:  # smaller ones may overtake, but the plan is not searched to its end
            spec = next(planned, None)
            if spec is None or fits(spec.resources):
                return spec
            waiting.append(spec)
        return None

    def _start(self, spec: TrialSpec) -> Future[Outcome]:
        self._ledger.append({"event": "started", "uid": spec.uid, "attempt": spec.attempt, "time": now()})
        self._tell(lambda: TrialStarted(self.folder, now(), spec.uid, spec.index, spec.component, spec.attempt))
        try:
            return self.engine.submit(self._work, spec)
        except KeyboardInterrupt:
            self._interrupted(spec)
            raise

    def _set_aside(self, spec: TrialSpec) -> None:
        """Let a further attempt begin with an empty folder: what the former one left goes to `attempts`."""
        trial = layout.join(self.folder, layout.trial(spec.uid))
        aside = layout.join(self.folder, layout.attempt(spec.uid, spec.attempt - 1))
        for entry in self._files.entries(trial):
            if entry.name != layout.ATTEMPTS:
                self._files.move(layout.join(trial, entry.name), layout.join(aside, entry.name))

    def _wait(self) -> None:
        """Wait until a trial has ended, has no time left, or one is to be tried again."""
        until = min(deadline for _, deadline in self._running.values())
        if self._again and len(self._running) < self.engine.slots:
            until = min(until, self._again[0][0])
        seconds = None if until == float("inf") else max(0.0, until - time.monotonic())
        done = wait(self._running, timeout=seconds, return_when=FIRST_COMPLETED).done
        for future in done:
            self._ended(future)
        if not done:
            late = [future for future, (_, deadline) in self._running.items() if deadline <= time.monotonic()]
            for future in late:
                self.engine.end(future)  # type: ignore[attr-defined]  # checked before the start
            for future in late:
                wait([future])
                self._ended(future, late=True)

    def _ended(self, future: Future[Outcome], late: bool = False) -> None:
        spec, _ = self._running.pop(future)
        self._capacity.give_back(spec.resources)
        outcome = self._outcome(spec, future, late)
        if outcome is None:
            self._interrupted(spec)
            raise KeyboardInterrupt
        time_of_end = now()
        facts = {"uid": spec.uid, "attempt": spec.attempt, "time": time_of_end, "seconds": outcome.seconds}
        about = (self.folder, time_of_end, spec.uid, spec.index, spec.component, spec.attempt, outcome.seconds)
        error = outcome.error
        if error is None:
            self.counts[outcome.state] += 1
            self._ledger.append({"event": "finished", **facts, "record": outcome.record})
            self._tell(lambda: TrialFinished(*about, outcome.record))
            return
        rule = spec.retries or Retries(self._policy.retries, self._policy.retry_delay)
        again = spec.attempt <= rule.count and (not rule.on or error["type"] in rule.on)
        self._ledger.append({
            "event": "failed", **facts, "record": outcome.record, "will_retry": again,
            "error": {"type": error["type"], "message": error["message"]},
        })  # fmt: skip
        if again:
            due = time.monotonic() + rule.delay
            heapq.heappush(self._again, (due, spec.index, replace(spec, attempt=spec.attempt + 1)))
        else:
            self.counts["failed"] += 1
            if len(self.failures) < MAX_FAILURES:
                self.failures.append((spec, error))
        self._tell(lambda: TrialFailed(*about, error, again))

    def _outcome(self, spec: TrialSpec, future: Future[Outcome], late: bool) -> Outcome | None:
        """How a trial ended; None if it was interrupted."""
        problem = future.exception()
        if isinstance(problem, KeyboardInterrupt):
            return None
        if problem is None:
            return future.result()
        if late:
            problem = TimeoutError(f"the trial took longer than {self._policy.timeout:g} s")
        text = "".join(traceback.format_exception(problem))
        error = {"type": type(problem).__name__, "message": str(problem), "traceback": text}
        self._write_status(spec, "failed", error)
        return Outcome(spec.uid, "failed", spec.attempt, self._policy.timeout or 0.0 if late else 0.0, error=error)

    def _write_status(self, spec: TrialSpec, state: State, error: dict[str, str] | None) -> None:
        """Write how a trial ended whose worker could not do it."""
        from machinable.plain import dumps, loads

        path = layout.join(self.folder, layout.status(spec.uid))
        status: dict[str, Any] = {"attempt": spec.attempt, "started": None, "host": None, "checkpoint": None}
        with suppress(FileNotFoundError, ValueError):
            status |= loads(self._files.read(path))
        if status.get("state") not in (None, "running"):
            return
        status |= {"state": state, "heartbeat": now(), "finished": now(), "result": None, "error": error}
        self._files.write(path, dumps(status).encode("ascii") + b"\n")

    def _interrupt_running(self) -> None:
        """End what runs, and write that it was interrupted."""
        with suppress(KeyboardInterrupt):  # a second one: at once
            if self._running and hasattr(self.engine, "interrupt"):
                self.engine.interrupt()
                wait(self._running, timeout=GRACE)
        for future, (spec, _) in list(self._running.items()):
            if future.done() and future.exception() is None:
                self._ended(future)
                continue
            if not future.done() and hasattr(self.engine, "end"):
                self.engine.end(future)
            self._write_status(spec, "interrupted", None)
            self._interrupted(spec)
        self._running.clear()

    def _interrupted(self, spec: TrialSpec) -> None:
        self.counts["interrupted"] += 1
        self._ledger.append({"event": "interrupted", "uid": spec.uid, "attempt": spec.attempt, "time": now()})
        self._tell(lambda: TrialInterrupted(
            self.folder, now(), spec.uid, spec.index, spec.component, spec.attempt, "KeyboardInterrupt"))  # fmt: skip

    def _tell(self, make: Callable[[], Event]) -> None:
        if not self._listeners:
            return
        event = make()
        for listener in self._listeners:
            try:
                listener(event)
            except Exception:
                name = getattr(listener, "__qualname__", repr(listener))
                warnings.warn(
                    f"the listener {name} raised an exception at {type(event).__name__}; the execution goes on\n"
                    f"{traceback.format_exc()}",
                    RuntimeWarning,
                    stacklevel=2,
                )
