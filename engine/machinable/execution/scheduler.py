"""Run the trials of a plan on an engine: their start and end, retries and time limits."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import Future, wait
from contextlib import AbstractContextManager, nullcontext, suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from machinable.engines.base import Work, WorkerLost
from machinable.execution.attempts import (
    Completed,
    attempt_to_continue,
    complete_output,
    move_aside,
    read_outcome,
    read_status,
    write_end,
    write_failure,
    write_pruned,
)
from machinable.execution.interrupts import Interrupts
from machinable.execution.ledger import Ledger
from machinable.execution.preflight import Checked
from machinable.execution.queue import Blocked, TrialQueue
from machinable.execution.reuse import SharedResults, inputs_of
from machinable.execution.unneeded import find_unneeded
from machinable.execution.worker_task import folders_needed
from machinable.plan.spec import Outcome, Retries, TrialSpec
from machinable.results.pointers import Available, Pointer, changed_input
from machinable.storage import layout
from machinable.storage.files import Files
from machinable.storage.locks import LeaseGuard

if TYPE_CHECKING:
    from machinable.execution.limits import SharedLimits
    from machinable.storage.served.server import FilesServer

__all__ = ["Run", "Scheduler"]

INTERRUPT_TIMEOUT = 5.0  # seconds within which workers record that they were interrupted
RESPONSE_TIME = 0.1  # maximum seconds until an interrupt is handled while trials run elsewhere
LOOK_INTERVAL = 1.0  # seconds after which an engine that may grow learns again which trials wait
MAX_EXPECTED = 200  # trials that it learns of
BUSY_INTERVAL = 1.0  # seconds between two looks whether another execution has computed a result


class Run(Struct, frozen=True):
    """An execution that has begun: its folder exists and contains its plan."""

    checked: Checked
    files: Files  # the storage, with a fallback where work could be lost
    folder: str  # the folder of the execution in it
    ledger: Ledger
    shared: SharedResults
    fallback: str  # the name of the local directory that takes files while the storage is unavailable; "" for none
    limits: SharedLimits | None = None  # of those that executions share; None if no trial needs one
    guard: LeaseGuard | None = None  # holds the lease that keeps others from resuming it; None in memory
    completed: Completed = Completed()  # the finished trials of a resumed execution


class Scheduler:
    """Run the trials of one execution; `server` is for workers that do not reach the storage."""

    def __init__(self, run: Run, work: Work, server: FilesServer | None, interrupts: Interrupts) -> None:
        self.outage = ""  # why no further trial was started, if the storage could not be written
        self._plan, self._reuse = run.checked.plan, run.checked.reuse
        self._files, self._folder = run.files, run.folder
        self._ledger = run.ledger
        self._policy = run.checked.options.policy
        self._shared = run.shared
        self._capacity = run.checked.capacity
        self._limits = run.limits
        self._completed = run.completed
        self._engine = run.checked.engine
        self._search = run.checked.search
        self._guard = run.guard
        self._work = work
        self._rows: SimpleQueue[tuple[str, int, Any]] = SimpleQueue()  # of trials that may be pruned
        if self._search is not None:
            self._search.on_row = self._take_row
        self._server = server
        self._interrupts = interrupts
        self._queue = TrialQueue(run.checked.plan, run.completed.uids, run.completed.results)
        self._running: dict[Future[Outcome], tuple[TrialSpec, float]] = {}  # with their deadlines
        # Those that ended while other trials were handled; None for rows
        self._done: SimpleQueue[Future[Outcome] | None] = SimpleQueue()
        self._lost: Counter[str] = Counter()  # by trial, the attempts whose worker was lost, which do not count
        self._in_vain: Counter[str] = Counter()  # those of them since it has last saved a checkpoint
        self._saved: dict[str, Any] = {}  # the facts of that checkpoint
        self._retried: set[str] = set()
        self._next_look = 0.0  # when an engine that may grow learns the next trials
        self._is_expecting = False
        self._unneeded: dict[str, str] = {}  # the identities of requirements that need not run

    def run(self) -> None:
        """Run all trials.

        Raises:
            KeyboardInterrupt: It was interrupted, and everything is written; a second interrupt shortens that.
        """
        began = time.perf_counter()
        self._ledger.began()
        interrupt: KeyboardInterrupt | None = None
        try:
            with self._interrupts.allowed():
                done, results = self._completed.uids, self._completed.results
                self._unneeded = find_unneeded(self._plan, self._reuse, self._shared, done, results)
                if self._search is not None:
                    self._search.begin(self._ledger, self._files, self._folder, done)
            while True:
                while (spec := self._next()) is not None:
                    self._start(spec)
                if not self._wait():
                    break
        except KeyboardInterrupt as error:
            interrupt = error
            self._interrupt_running()
        finally:
            self._shared.close()
            if self._limits is not None:
                self._limits.close()
        if self._search is not None:
            self._search.close()
        self._ledger.ended(time.perf_counter() - began)
        if interrupt is not None:
            raise interrupt

    def _must_stop(self) -> bool:
        files = self._files
        if not self.outage and files.is_away and not files.flush_fallback():
            self.outage = (
                f"the storage {files.url} could not be written for a while: no further trials were started\n"
                f"  To resume: machinable resume {self._folder} --storage {files.url}"
            )
        if self._search is not None and self._search.problem is not None:
            return True
        return bool(self.outage) or (self._policy.on_failure == "stop" and self._ledger.counts["failed"] > 0)

    # what starts next

    def _next(self) -> TrialSpec | None:
        """Return a trial that can start now, and settle trials before it that need not run."""
        # Trials that a failure stops or a timeout ends wait here.
        waits_here = self._policy.on_failure == "stop" or self._policy.timeout is not None or self._search is not None
        limit = self._engine.slots + (0 if waits_here else self._engine.prefetch)
        while len(self._running) < limit and not self._must_stop():
            self._interrupts.raise_pending()
            now = time.monotonic()
            spec = self._queue.pop_decided(self._fits, now)
            if spec is None:
                spec = self._queue.pop(now)
                if spec is None:
                    if self._asks():
                        continue
                    return None
                if self._settles_without_running(spec):
                    continue
                spec = self._queue.located(spec)
                if not self._fits(spec.resources):
                    self._queue.hold(spec)
                    continue
            if self._claims(spec) and self._has_units(spec):
                return spec
        return None

    def _asks(self) -> bool:
        """Return whether a search has added trials, which it does while all that it has added are running."""
        search = self._search
        if search is None or search.trials_left >= self._engine.slots or not search.more():
            return False
        self._queue.extend()
        return True

    def _fits(self, wanted: Mapping[str, float]) -> bool:
        return self._capacity.fits(wanted) and (self._limits is None or self._limits.may_fit(wanted))

    def _has_units(self, spec: TrialSpec) -> bool:
        """Return whether a trial has its units of the limits that executions share; hold it if it has to wait."""
        missing = None if self._limits is None else self._limits.take(spec)
        if missing is None:
            return True
        assert self._limits is not None
        self._queue.hold(spec)
        if not self._ledger.has_waited(spec) and (other := self._limits.other()) is not None:
            text = f"{spec.component} {spec.uid} is waiting for {missing}, which {other} uses"
            self._ledger.waiting(spec, f"{missing}: {other}", text)
        return False

    def _settles_without_running(self, spec: TrialSpec) -> bool:
        if spec.identity in self._unneeded and spec.definition.is_requirement:
            self._ledger.unneeded(spec)
            self._queue.settle(spec, None)
            return True
        blocker = self._queue.blocker(spec) if spec.requires else None
        if blocker is not None:
            self._settle_blocked(spec, blocker)
            return True
        outcome = self._completed.doubtful.get(spec.uid)
        if outcome is not None and self._is_unchanged(spec, outcome):
            self._ledger.counts["finished"] += 1
            row = {"event": "finished", "uid": spec.uid, "attempt": outcome.attempt, "record": outcome.record}
            self._settle(spec, Available(f"{self._folder}/{spec.uid}", outcome.artifacts), row, outcome)
            return True
        if self._search is not None and (because := self._search.pruned(spec.uid)):
            write_pruned(self._files, self._folder, spec, because)
            self._settle(spec, None, self._ledger.pruned(spec, None, because))
            return True
        pointer = self._shared.reusable(spec, self._queue.result)
        if pointer is not None:
            self._settle_reused(spec, pointer)
        return pointer is not None

    def _is_unchanged(self, spec: TrialSpec, outcome: Outcome) -> bool:
        return changed_input(self._files, inputs_of(spec, outcome), self._queue.result) is None

    def _settle_blocked(self, spec: TrialSpec, blocker: Blocked) -> None:
        self._settle(spec, blocker, self._ledger.blocked(spec, blocker))

    def _settle(
        self,
        spec: TrialSpec,
        result: Available | Blocked | None,
        row: Mapping[str, Any],
        outcome: Outcome | None = None,
    ) -> None:
        """Pass on the end of a trial, which the ledger has recorded as a row."""
        self._queue.settle(spec, result)
        if self._search is not None:
            self._search.ended(spec, outcome, row)

    def _settle_reused(self, spec: TrialSpec, pointer: Pointer) -> None:
        if pointer.trial == f"{self._folder}/{spec.uid}":  # it was copied from another storage
            row = self._ledger.finished(spec, Outcome(spec.uid, "finished", spec.attempt, 0.0))
            self._ledger.notice(f"copied {spec.component} {spec.uid} from {spec.definition.stored_at}")
        else:
            row = self._ledger.reused(spec, pointer)
        self._settle(spec, Available(pointer.trial, pointer.artifacts), row)

    def _claims(self, spec: TrialSpec) -> bool:
        """Return whether this execution computes a trial; if not, handle the trial according to the policy."""
        claimed = self._shared.claim(spec, self._queue.result)
        if claimed is None:
            return True
        if isinstance(claimed, Pointer):
            self._settle_reused(spec, claimed)
        elif self._policy.on_busy == "wait" or self._shared.seems_abandoned(spec):
            text = f"waiting for {claimed}, which is computing {spec.component} {spec.uid}"
            if self._policy.on_busy != "wait":
                text += " and seems to be gone"
            self._ledger.waiting(spec, claimed, text)
            self._queue.look_again(spec, time.monotonic() + BUSY_INTERVAL)
        elif self._policy.on_busy == "skip":
            self._settle_blocked(spec, Blocked("skipped", claimed))
        else:
            message = f"{claimed} is computing it"
            error = {"type": "Busy", "message": message, "traceback": f"Busy: {message}"}
            self._failed(spec, Outcome(spec.uid, "failed", spec.attempt, 0.0, error=error), error, None)
        return False

    # starting

    def _start(self, spec: TrialSpec) -> None:
        if spec.attempt == 1 and (previous := self._completed.attempts.get(spec.uid)):
            spec = replace(spec, attempt=previous + 1)
        if spec.attempt > 1:
            move_aside(self._files, self._folder, spec, spec.attempt - 1)
            if not (spec.uid in self._retried and self._retries(spec).restart):
                spec = replace(spec, resume_from=attempt_to_continue(self._files, self._folder, spec))
        if self._completed.resumed:
            spec = replace(spec, token=layout.fencing_token(self._completed.resumed, spec.attempt))
        devices = self._capacity.take(spec.resources)
        if devices or spec.devices:
            spec = replace(spec, devices=devices)
        if self._policy.timeout is not None:
            spec = replace(spec, timeout=self._policy.timeout)
        if self._search is not None:
            spec = self._search.prepared(spec)
        if self._limits is not None and (waits := self._limits.waiting) is not None:
            is_full = len(self._running) + 1 >= self._engine.slots
            if is_full or not self._capacity.fits(waits.resources):
                self._limits.withdraw()
        self._ledger.started(spec)
        timeout = self._policy.timeout
        deadline = time.monotonic() + timeout if timeout else float("inf")
        future: Future[Outcome] | None = None
        # With an engine of this process the trial may run right here.
        within: AbstractContextManager[None] = nullcontext()
        if self._engine.reach == "process":
            within = self._interrupts.allowed()
        try:
            if self._server is not None:
                folder = layout.join(self._folder, layout.trial(spec.uid))
                self._server.admit(spec.uid, spec.attempt, [folder], folders_needed(spec))
            with within:
                future = self._engine.submit(self._work, spec)
            if not isinstance(future, Future):
                raise TypeError(f"the engine {self._engine.name!r} returned {future!r} instead of a future")
        except Exception as error:
            future = Future()
            future.set_exception(error)
        except KeyboardInterrupt:
            self._running[future or self._interrupted(spec)] = spec, deadline
            raise
        self._running[future] = spec, deadline
        if future.done():
            self._ended(future)
        else:
            future.add_done_callback(self._done.put)

    def _interrupted(self, spec: TrialSpec) -> Future[Outcome]:
        future: Future[Outcome] = Future()
        outcome = read_outcome(self._files, self._folder, spec.uid, spec.attempt)
        if outcome is not None:  # the interrupt came after the trial had finished
            future.set_result(outcome)
        else:
            future.set_exception(KeyboardInterrupt())
        return future

    # waiting

    def _wait(self) -> bool:
        """Wait for the end of a trial, a deadline, or a due time; return False if there is nothing to wait for."""
        due = self._queue.next_due
        if self._limits is not None and self._limits.waiting is not None:
            again = max(self._limits.next_due or 0.0, time.monotonic() + RESPONSE_TIME)
            due = again if due is None else min(due, again)
        if self._running:
            self._wait_for_trials(due)
        elif self._must_stop():
            return False
        elif due is not None:
            with self._interrupts.allowed():
                # In pieces, because outside of the main thread no signal ends it.
                time.sleep(max(0.0, min(LOOK_INTERVAL, due - time.monotonic())))
        else:
            return self._queue.is_holding
        return True

    def _wait_for_trials(self, due: float | None) -> None:
        until = min(deadline for _, deadline in self._running.values())
        if due is not None and len(self._running) < self._engine.slots:
            until = min(until, due)
        done: list[Future[Outcome] | None] = []
        while not done:
            with suppress(Empty):
                done.append(self._done.get(timeout=max(0.0, min(RESPONSE_TIME, until - time.monotonic()))))
                while True:
                    done.append(self._done.get_nowait())
            self._interrupts.raise_pending()  # between two waits, so that nothing is lost
            if self._guard is not None and self._guard.lost is not None:
                raise self._guard.lost
            if time.monotonic() >= until or (self._engine.may_grow and self._has_grown()):
                break
        if self._search is not None:
            self._judge_rows()
        for future in done:
            if future is not None and future in self._running:
                self._ended(future)
        if not done:
            late = [future for future in self._running if self._deadline(future) <= time.monotonic()]
            for future in late:
                self._engine.end(future)
            for future in late:
                wait([future])
                self._ended(future, is_late=True)

    def _take_row(self, uid: str, iteration: int, value: Any) -> None:
        """Take the metric of a running trial; any thread may call this."""
        self._rows.put((uid, iteration, value))
        if self._engine.runs_on_submit:  # in this thread, which waits for the trial
            self._judge_rows()
        else:
            self._done.put(None)

    def _judge_rows(self) -> None:
        """Let the pruner judge the rows that have arrived, and tell the workers of trials that are pruned."""
        assert self._search is not None
        with suppress(Empty):
            while True:
                for uid in self._search.row(*self._rows.get_nowait()):
                    for future, (spec, _) in self._running.items():
                        if spec.uid == uid:  # trials of this process look themselves
                            self._engine.prune(future, self._search.pruned(uid))

    def _has_grown(self) -> bool:
        """Return whether there are more slots now; once a second, let the engine know which trials wait for one."""
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + LOOK_INTERVAL
            waiting = [] if self._must_stop() else self._queue.next(MAX_EXPECTED)
            self._engine.expect(waiting)
            self._is_expecting = bool(waiting)
        return self._is_expecting and len(self._running) < self._engine.slots

    def _deadline(self, future: Future[Outcome]) -> float:
        """Return the deadline of a trial; if it waited for a worker, the time counts from its start there."""
        spec, deadline = self._running[future]
        timeout = self._policy.timeout
        if timeout is not None and self._engine.queues:
            began = self._engine.began(future)
            deadline = (time.monotonic() if began is None else began) + timeout
            self._running[future] = spec, deadline
        return deadline

    # ending

    def _ended(self, future: Future[Outcome], is_late: bool = False) -> None:
        spec, _ = self._running[future]
        problem = self._dismissed(spec) or _problem_of(future)
        if isinstance(problem, KeyboardInterrupt):
            raise KeyboardInterrupt
        if problem is None:
            outcome = future.result()
        else:
            began = self._engine.began(future)
            outcome = self._outcome_after(problem, spec, is_late, 0.0 if began is None else time.monotonic() - began)
        outcome = self._shared.checked_code(spec, outcome)
        del self._running[future]
        self._capacity.give_back(spec.resources, spec.devices)
        if self._limits is not None:
            self._limits.give_back(spec)
        if outcome.state == "pruned":
            self._shared.release(spec)
            because = outcome.because or "its sample was pruned"
            self._settle(spec, None, self._ledger.pruned(spec, outcome, because), outcome)
        elif outcome.error is None:
            self._finished(spec, outcome)
        elif outcome.state == "interrupted":  # it has ended, but its files are not in the storage
            self.outage = self.outage or outcome.error["message"]
            self._ledger.interrupted(spec, "StorageUnavailable")
            self._shared.release(spec)
        else:
            self._failed(spec, outcome, outcome.error, None if is_late else problem)

    def _dismissed(self, spec: TrialSpec) -> Exception | None:
        """Accept nothing more from the worker of a trial; return why its last lines were not stored, if so."""
        try:
            if self._server is not None:
                self._server.dismiss(spec.uid)
        except Exception as error:
            return error
        return None

    def _outcome_after(self, problem: BaseException, spec: TrialSpec, is_late: bool, elapsed: float) -> Outcome:
        """Return the outcome of a trial for which the engine has none."""
        if isinstance(problem, WorkerLost):
            complete_output(self._files, self._folder, spec.uid, problem)
        if is_late or isinstance(problem, WorkerLost):
            outcome = read_outcome(self._files, self._folder, spec.uid, spec.attempt)
            if outcome is not None:  # the worker was lost after the trial had finished
                return outcome
        seconds = 0.0
        if is_late:
            seconds = self._policy.timeout or 0.0
            problem = TimeoutError(f"the trial took longer than {seconds:g} s")
        return write_failure(self._files, self._folder, spec, problem, seconds, elapsed)

    def _retry_due(self, spec: TrialSpec, error: Mapping[str, str], problem: BaseException | None) -> float | None:
        """Return when to retry a trial that failed; None for never."""
        if isinstance(problem, WorkerLost) and problem.again:
            saved = (read_status(self._files, self._folder, spec.uid) or {}).get("at_checkpoint")
            if saved != self._saved.get(spec.uid):  # a long trial is preempted again and again, and goes on each time
                self._saved[spec.uid] = saved
                self._in_vain[spec.uid] = 0
            if self._in_vain[spec.uid] < problem.again:
                self._in_vain[spec.uid] += 1
                self._lost[spec.uid] += 1
                return time.monotonic()
        lost = self._lost[spec.uid]
        retries = self._retries(spec)
        attempts = spec.attempt - lost - self._completed.attempts.get(spec.uid, 0)
        if attempts > retries.count or (retries.on and error["type"] not in retries.on):
            return None
        return time.monotonic() + retries.delay

    def _retries(self, spec: TrialSpec) -> Retries:
        return spec.definition.retries or Retries(self._policy.retries, self._policy.retry_delay)

    def _finished(self, spec: TrialSpec, outcome: Outcome) -> None:
        result = self._shared.publish(spec, outcome)
        self._shared.release(spec)  # before the ledger: a resumed execution only looks at what that does not have
        self._settle(spec, result, self._ledger.finished(spec, outcome), outcome)

    def _failed(
        self, spec: TrialSpec, outcome: Outcome, error: Mapping[str, str], problem: BaseException | None
    ) -> None:
        """Retry a trial that failed, or record that it will not be retried."""
        due = self._retry_due(spec, error, problem)
        if due is None:
            self._give_up(spec, outcome)
            return
        self._retried.add(spec.uid)
        self._queue.retry(replace(spec, attempt=spec.attempt + 1, resume_from=None), due)
        self._ledger.failed(spec, outcome, will_retry=True)

    def _give_up(self, spec: TrialSpec, outcome: Outcome) -> None:
        row = self._ledger.failed(spec, outcome, will_retry=False)
        self._shared.release(spec)
        self._settle(spec, Blocked("blocked", f"{spec.component} {spec.uid}"), row, outcome)

    def _interrupt_running(self) -> None:
        """Interrupt the running trials, and record that."""
        with suppress(KeyboardInterrupt):  # immediately if interrupted again
            if self._running and self._engine.can_interrupt:
                self._engine.interrupt()
                until = time.monotonic() + INTERRUPT_TIMEOUT
                pending = set(self._running)
                while pending and time.monotonic() < until and not self._interrupts.is_repeated:
                    pending = wait(pending, timeout=RESPONSE_TIME).not_done
        for future, (spec, _) in list(self._running.items()):
            if future.done() and _problem_of(future) is None:
                self._ended(future)
                continue
            if not future.done():
                self._engine.end(future)
            self._dismissed(spec)
            if isinstance(problem := future.exception(), WorkerLost):
                complete_output(self._files, self._folder, spec.uid, problem)
            write_end(self._files, self._folder, spec, "interrupted", None)
            self._ledger.interrupted(spec)
        self._running.clear()


def _problem_of(future: Future[Outcome]) -> BaseException | None:
    """Return why an engine has no outcome of an ended trial; None if it has one."""
    if future.cancelled():
        return WorkerLost("the engine has cancelled the trial")
    problem = future.exception()
    if problem is None and not isinstance(future.result(), Outcome):
        return TypeError(f"the engine returned {future.result()!r} instead of an outcome")
    return problem
