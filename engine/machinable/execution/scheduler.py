"""Hands the trials of a plan to an engine: what comes next, retries, time, capacity, and how it ends."""

from __future__ import annotations

import time
import warnings
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Literal, NamedTuple, TypeAlias

from msgspec.structs import replace

from machinable.engines.base import Engine, Work, WorkerLost
from machinable.errors import Damaged
from machinable.execution.attempts import outcome_left, outcome_without, set_aside, write_end
from machinable.execution.interrupts import Interrupts
from machinable.execution.ledger import Journal
from machinable.execution.queue import Available, Blocked, Order
from machinable.execution.resources import Capacity
from machinable.execution.reuse import Exclusion, Pointers, ReuseDecision, ReusePolicy, decide_reuse
from machinable.plan.plan import Plan
from machinable.plan.spec import Outcome, Retries, TrialSpec
from machinable.results.pointers import Pointer, changed_input
from machinable.storage.files import Files

__all__ = ["Completed", "OnBusy", "OnFailure", "Policy", "PreviousAttempt", "Scheduler"]

OnFailure: TypeAlias = Literal["raise", "continue", "stop"]
OnBusy: TypeAlias = Literal["wait", "skip", "fail"]
GRACE = 5.0  # seconds that workers get to write down that they were interrupted
ANSWER = 0.1  # seconds until an interrupt is answered, at most, while trials run elsewhere
LOOK = 1.0  # seconds between two looks whether somebody else has computed something


@dataclass(frozen=True)
class Policy:
    """What happens when a trial does not end well, and which results count.

    Attributes:
        on_failure: "stop" starts no further trial. retries: further attempts of a failed trial.
        retry_delay: seconds before one. timeout: seconds that an attempt may take, or None.
        on_busy: what becomes of a trial that somebody else computes.
    """

    on_failure: OnFailure = "raise"
    retries: int = 0
    retry_delay: float = 0.0
    timeout: float | None = None
    on_busy: OnBusy = "wait"


class PreviousAttempt(NamedTuple):
    """The last attempt of a trial in an execution that goes on, and the checkpoint to go on from, if there is one."""

    attempt: int
    checkpoint: str | None = None


@dataclass(frozen=True)
class Completed:
    """What an execution that goes on has already.

    Attributes:
        uids: of trials that stay as they are. results: of those that are requirements.
        former: the last attempts of the others, as far as there were any.
        doubtful: how those have finished that stay if what they require gives the same as before.
    """

    uids: frozenset[str] = frozenset()
    results: Mapping[str, Available] = field(default_factory=dict)
    former: Mapping[str, PreviousAttempt] = field(default_factory=dict)
    doubtful: Mapping[str, Outcome] = field(default_factory=dict)


class Scheduler:
    """Carries out one plan in its folder.

    Args:
        plan: what shall run. engine: where. work: what is done for a trial. files, folder: where it is kept.
        journal: writes down what happens. policy: for failures. capacity: what there is for trials.
        interrupts: when Ctrl-C is heard. rule: which results count. pointers: to them; None: none are shared.
        exclusion: keeps others from computing the same. done: what needs no running.

    Attributes:
        outage: why nothing was started any more, if that is because the storage could not be written.
    """

    def __init__(
        self,
        plan: Plan,
        engine: Engine,
        work: Work,
        files: Files,
        folder: str,
        journal: Journal,
        policy: Policy,
        capacity: Capacity,
        interrupts: Interrupts,
        rule: ReusePolicy,
        pointers: Pointers | None,
        exclusion: Exclusion,
        done: Completed,
    ) -> None:
        self.plan = plan
        self.engine = engine
        self.folder = folder
        self.journal = journal
        self._work = work
        self._files = files
        self._policy = policy
        self._capacity = capacity
        self._interrupts = interrupts
        self._rule = rule
        self._pointers = pointers
        self._exclusion = exclusion
        self._former = done.former
        self._doubtful = done.doubtful
        self._order = Order(plan, done.uids, done.results)
        self._running: dict[Future[Outcome], tuple[TrialSpec, float]] = {}  # with the time by which it must have ended
        self._done: SimpleQueue[Future[Outcome]] = SimpleQueue()  # what ended elsewhere, be it known or not
        self._lost: Counter[str] = Counter()  # attempts of each trial whose worker was lost through no fault of its own
        self._noticed: set[tuple[str, str | None]] = set()
        self._waited_for: set[str] = set()
        self.outage = ""

    def run(self) -> None:
        """Run all trials that are to be run.

        Raises:
            KeyboardInterrupt: no trial was started after it, and everything is written; a second one cuts that short.
        """
        began = time.perf_counter()
        self.journal.began()
        interrupt: KeyboardInterrupt | None = None
        try:
            self._run_all()
        except KeyboardInterrupt as error:
            interrupt = error
            self._interrupt_running()
        finally:
            self._exclusion.close()
        self.journal.ended(time.perf_counter() - began)
        if interrupt is not None:
            raise interrupt

    @property
    def _is_stopped(self) -> bool:
        files = self._files
        if not self.outage and files.is_away and not files.flush_fallback():
            self.outage = (
                f"the storage {files.url} could not be written for a while: nothing was started any more\n"
                f"  Go on with: machinable resume {self.folder} --storage {files.url}"
            )
        return bool(self.outage) or (self._policy.on_failure == "stop" and self.journal.counts["failed"] > 0)

    def _run_all(self) -> None:
        while True:
            if not self._is_stopped:
                self._start_what_fits()
            elif not self._running:
                return
            due = self._order.next_look
            if self._running:
                self._wait()
            elif due is not None:
                with self._interrupts.allowed():
                    time.sleep(max(0.0, due - time.monotonic()))
            elif not self._order.is_waiting:
                return

    @property
    def _room(self) -> int:
        """How many trials may be submitted. None waits there that a failure would stop, or whose time counts."""
        if self._policy.on_failure == "stop" or self._policy.timeout is not None:
            return self.engine.slots
        return self.engine.slots + self.engine.prefetch

    # starting

    def _start_what_fits(self) -> None:
        """Start trials while there are places for them: what was decided on before first, then the plan in order."""
        while len(self._running) < self._room and not self._is_stopped:
            self._interrupts.answer()
            now = time.monotonic()
            spec = self._order.decided(self._capacity.fits, now)
            if spec is None:
                spec = self._order.next(now)
                if spec is None:
                    return
                if self._needs_no_running(spec):
                    continue
                spec = self._order.placed(spec)
                if not self._capacity.fits(spec.resources):
                    self._order.wait(spec)
                    continue
            if self._has_lease(spec):
                self._start(spec)

    def _needs_no_running(self, spec: TrialSpec) -> bool:
        """Whether a trial is settled without being run: it cannot, or its result is there."""
        obstacle = self._order.obstacle(spec) if spec.requires else None
        if obstacle is not None:
            tell = self.journal.blocked if obstacle.state == "blocked" else self.journal.skipped
            tell(spec, obstacle.because)
            self._order.settle(spec, obstacle)
            return True
        left = self._doubtful.get(spec.uid)
        if left is not None and changed_input(left.inputs, self._artifacts(spec)) is None:
            self.journal.stays()
            self._order.settle(spec, Available(f"{self.folder}/{spec.uid}", left.artifacts))
            return True
        if self._pointers is None or not self._rule.shares(spec):
            return False
        verdict = self._verdict(spec)
        if verdict.pointer is None:
            return False
        self._reuse(spec, verdict.pointer, verdict.other_source)
        return True

    def _verdict(self, spec: TrialSpec) -> ReuseDecision:
        assert self._pointers is not None
        pointer = None
        if self._rule.mode is not False and not self._rule.reruns(spec):
            try:
                pointer = self._pointers.find(spec.identity)
            except Damaged as error:
                warnings.warn(f"{error.message}; {spec.component} runs again", RuntimeWarning, stacklevel=2)
        return decide_reuse(spec, self._rule, pointer, self._artifacts(spec), self._pointers.source(spec))

    def _artifacts(self, spec: TrialSpec) -> dict[str, Mapping[str, str]]:
        """The digests of the artifacts of what a trial requires, by the names that it uses."""
        return {name: result.artifacts for name, result in self._order.results(spec).items()}

    def _reuse(self, spec: TrialSpec, pointer: Pointer, other_source: str | None) -> None:
        if other_source is not None and (spec.module, pointer.source) not in self._noticed:
            self._noticed.add((spec.module, pointer.source))
            warnings.warn(
                f"{spec.component} is reused from {pointer.trial}, which was made by {spec.module} as of "
                f"{pointer.source}; it is {other_source} now. To run it again: rerun={spec.component!r}, "
                "and always in such a case: reuse='same-code'",
                UserWarning,
                stacklevel=2,
            )
        self.journal.reused(spec, pointer.trial, pointer.seconds, pointer.record)
        self._order.settle(spec, Available(pointer.trial, pointer.artifacts))

    def _has_lease(self, spec: TrialSpec) -> bool:
        """Whether nobody else computes the same; if somebody does, what becomes of the trial."""
        if self._pointers is None or not self._rule.shares(spec) or self._exclusion.has(spec):
            return True
        if self._exclusion.take(spec):
            verdict = self._verdict(spec)  # whoever had the lease a moment ago may have left a result
            if verdict.pointer is None:
                return True
            self._exclusion.release(spec)
            self._reuse(spec, verdict.pointer, verdict.other_source)
            return False
        holder = self._exclusion.holder(spec) or "somebody else"
        if self._policy.on_busy == "wait":
            if spec.uid not in self._waited_for:
                self._waited_for.add(spec.uid)
                self.journal.notice(f"{spec.component} {spec.uid} is computed by {holder}: waiting for that")
            self._order.look_again(spec, time.monotonic() + LOOK)
            return False
        if self._policy.on_busy == "skip":
            self.journal.skipped(spec, holder)
            self._order.settle(spec, Blocked("skipped", holder))
        else:
            message = f"{holder} computes it at the moment"
            error = {"type": "Busy", "message": message, "traceback": f"Busy: {message}"}
            self._failed(spec, Outcome(spec.uid, "failed", spec.attempt, 0.0, error=error), again=False)
        return False

    def _start(self, spec: TrialSpec) -> None:
        if spec.attempt == 1 and spec.uid in self._former:
            spec = self._going_on(spec, self._former[spec.uid])
        elif spec.attempt > 1:
            set_aside(self._files, self.folder, spec.uid, spec.attempt - 1)
        self._capacity.take(spec.resources)
        self.journal.started(spec)
        timeout = self._policy.timeout
        deadline = time.monotonic() + timeout if timeout else float("inf")
        future: Future[Outcome] | None = None
        try:
            if self.engine.reach == "process":  # the trial may run right here
                with self._interrupts.allowed():
                    future = self._submit(spec)
            else:
                future = self._submit(spec)
        except KeyboardInterrupt:
            if future is None:
                future = Future()
                left = outcome_left(self._files, self.folder, spec.uid, spec.attempt)
                if left is not None:  # it came when the trial was over
                    future.set_result(left)
                else:
                    future.set_exception(KeyboardInterrupt())
            self._running[future] = spec, deadline
            raise
        self._running[future] = spec, deadline
        if future.done():
            self._ended(future)
        else:
            future.add_done_callback(self._done.put)

    def _submit(self, spec: TrialSpec) -> Future[Outcome]:
        """Give a trial to the engine. What goes wrong there is told like an error of the trial."""
        try:
            future: object = self.engine.submit(self._work, spec)
            if isinstance(future, Future):
                return future
            raise TypeError(f"the engine {self.engine.name!r} gave {future!r} in place of a future")
        except Exception as error:
            failed: Future[Outcome] = Future()
            failed.set_exception(error)
            return failed

    def _going_on(self, spec: TrialSpec, former: PreviousAttempt) -> TrialSpec:
        """The next attempt of a trial in an execution that goes on: from its checkpoint, if there is one."""
        aside = set_aside(self._files, self.folder, spec.uid, former.attempt)
        spec = replace(spec, attempt=former.attempt + 1)
        return spec if former.checkpoint is None else replace(spec, resume_from=aside)

    # waiting and ending

    def _wait(self) -> None:
        """Wait until a trial has ended, has no time left, or there is something to be looked at again."""
        until = min(deadline for _, deadline in self._running.values())
        due = self._order.next_look
        if due is not None and len(self._running) < self.engine.slots:
            until = min(until, due)
        while True:
            done = self._ended_within(max(0.0, min(ANSWER, until - time.monotonic())))
            self._interrupts.answer()  # between two waits, so that nothing gets lost within
            if done or time.monotonic() >= until:
                break
        for future in done:
            self._ended(future)
        if not done:
            late = [future for future in self._running if self._deadline(future) <= time.monotonic()]
            for future in late:
                self.engine.end(future)
            for future in late:
                wait([future])
                self._ended(future, late=True)

    def _ended_within(self, seconds: float) -> list[Future[Outcome]]:
        """The trials that have ended; it waits for the first of them."""
        done = []
        with suppress(Empty):
            done.append(self._done.get(timeout=seconds))
            while True:
                done.append(self._done.get_nowait())
        return [future for future in done if future in self._running]

    def _deadline(self, future: Future[Outcome]) -> float:
        """By when a trial must have ended. Where it has to wait for a host, the time counts once it has begun."""
        spec, deadline = self._running[future]
        timeout = self._policy.timeout
        if timeout is None or not self.engine.queues:
            return deadline
        began = self.engine.began(future)
        deadline = (time.monotonic() if began is None else began) + timeout
        self._running[future] = spec, deadline
        return deadline

    def _ended(self, future: Future[Outcome], late: bool = False) -> None:
        spec, _ = self._running[future]
        outcome = self._outcome(spec, future, late)
        if outcome is None:
            raise KeyboardInterrupt
        del self._running[future]
        self._capacity.give_back(spec.resources)
        if outcome.state == "interrupted" and outcome.error is not None:  # it is over, and not in the storage
            self.outage = self.outage or outcome.error["message"]
            self.journal.lost(spec)
            self._exclusion.release(spec)
            return
        if outcome.error is None:
            self._finished(spec, outcome)
            return
        rule = spec.definition.retries or Retries(self._policy.retries, self._policy.retry_delay)
        earlier = self._former[spec.uid].attempt if spec.uid in self._former else 0
        lost = self._lost[spec.uid]  # attempts that do not count, since they did not fail by themselves
        again = spec.attempt - earlier - lost <= rule.count and (not rule.on or outcome.error["type"] in rule.on)
        problem = _problem_of(future)
        is_lost = not late and isinstance(problem, WorkerLost) and lost < problem.again
        if is_lost:
            again, self._lost[spec.uid] = True, lost + 1
        if again:
            due = time.monotonic() + (0.0 if is_lost else rule.delay)
            next_one = replace(spec, attempt=spec.attempt + 1, resume_from=None)
            self._order.try_again(next_one, due)
        self._failed(spec, outcome, again)

    def _finished(self, spec: TrialSpec, outcome: Outcome) -> None:
        result = Available(f"{self.folder}/{spec.uid}", outcome.artifacts)
        if self._pointers is not None and self._rule.shares(spec):
            result = self._pointers.write(spec, self.folder, outcome)
        self.journal.finished(spec, outcome)
        self._exclusion.release(spec)
        self._order.settle(spec, result)

    def _failed(self, spec: TrialSpec, outcome: Outcome, again: bool) -> None:
        self.journal.failed(spec, outcome, again)
        if not again:
            self._exclusion.release(spec)
            self._order.settle(spec, Blocked("blocked", f"{spec.component} {spec.uid}"))

    def _outcome(self, spec: TrialSpec, future: Future[Outcome], late: bool) -> Outcome | None:
        """How a trial ended; None if it was interrupted."""
        problem = _problem_of(future)
        if isinstance(problem, KeyboardInterrupt):
            return None
        if problem is None:
            return future.result()
        if late or isinstance(problem, WorkerLost):
            left = outcome_left(self._files, self.folder, spec.uid, spec.attempt)
            if left is not None:  # the worker was lost when the trial was over
                return left
        if late:
            problem = TimeoutError(f"the trial took longer than {self._policy.timeout:g} s")
        return outcome_without(self._files, self.folder, spec, problem, self._policy.timeout or 0.0 if late else 0.0)

    def _interrupt_running(self) -> None:
        """End what runs, and write that it was interrupted."""
        with suppress(KeyboardInterrupt):  # a further one: at once
            if self._running and self.engine.can_interrupt:
                self.engine.interrupt()
                until = time.monotonic() + GRACE
                pending = set(self._running)
                while pending and time.monotonic() < until and not self._interrupts.is_hurried:
                    pending = wait(pending, timeout=0.1).not_done
        for future, (spec, _) in list(self._running.items()):
            if future.done() and _problem_of(future) is None:
                self._ended(future)
                continue
            if not future.done():
                self.engine.end(future)
            write_end(self._files, self.folder, spec, "interrupted", None)
            self.journal.interrupted(spec)
        self._running.clear()


def _problem_of(future: Future[Outcome]) -> BaseException | None:
    """Why an engine has no outcome of a trial that is over; None if it has one."""
    if future.cancelled():
        return WorkerLost("its engine has cancelled the trial")
    problem = future.exception()
    if problem is None and not isinstance(future.result(), Outcome):
        return TypeError(f"its engine gave {future.result()!r} in place of an outcome")
    return problem
