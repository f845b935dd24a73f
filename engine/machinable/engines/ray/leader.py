"""What Ray Tune tells the process that searches, and what is made of it: samples begin, pause, go on and end."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import ray
from ray import tune
from ray.exceptions import RayActorError, RayError

from machinable.engines.base import Alarm, Movable, OnProgress, Sampling, StorageTransfer, WorkerError, WorkerLost
from machinable.engines.processes.pool import read_outcome
from machinable.engines.ray.actor import Reply
from machinable.engines.ray.sample import Party, SampleFailed, problem_of
from machinable.plan.spec import Outcome, TrialSpec

__all__ = ["Enough", "Leader"]

GRACE = 5.0  # seconds that samples get to write down that they were interrupted
PAUSE = 0.05  # seconds between two looks at what samples have told
STUCK = 5.0  # seconds in which nothing runs or is about to, after which a search has come to its end
SHOWN = 400  # characters of what Ray Tune says


class Enough(Exception):
    """No further sample is wanted, or the scheduler has forgotten those that it has paused."""


@dataclass
class _Attempt:
    """An attempt of a sample that runs, or whose end is not written down yet."""

    key: str
    spec: TrialSpec
    trial: Any
    actor: Any
    reply: Reply | None = None
    is_over: bool = False
    is_aside: bool = False  # its actor need not be told again
    asked: Any = None  # whether it is still there

    def is_lost(self, seconds: float) -> bool:
        """Whether its actor is gone; one that is busy does not answer in time."""
        self.asked = self.asked or self.actor.reaches_storage.remote()
        if not ray.wait([self.asked], timeout=seconds)[0]:
            return False
        asked, self.asked = self.asked, None
        try:
            ray.get(asked)
        except RayActorError:
            return True
        return False


class Leader(tune.Callback):  # type: ignore[misc]
    """What Ray Tune tells the process that searches, and what is made of it. All in one thread, that of `fit`."""

    def __init__(
        self,
        party: Party,
        work: Movable,
        sampling: Sampling,
        alarm: Alarm,
        depot: StorageTransfer | None,
        on_progress: OnProgress | None,
        stops: bool,
    ) -> None:
        self.problem: BaseException | None = None
        self._stops = stops
        self._has_failed = False
        self._desk = party.desk
        self._work = work
        self._sampling = sampling
        self._alarm = alarm
        self._depot = depot
        self._on_progress = on_progress
        self._made: list[Any] = []
        self._numbers: dict[str, int] = {}  # of what was made, by the id of Ray Tune's trial
        self._planned = 0
        self._attempts: dict[str, _Attempt] = {}  # by that id
        self._known: dict[str, _Attempt] = {}  # the same by key
        self._aside: dict[str, None] = {}  # samples that were set aside, which may have been the end of them
        self._next_look = 0.0
        self._quiet_since: float | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return tune.Callback, ()  # Ray Tune stores its callbacks; this one is of no use to anybody else

    # what Ray Tune calls

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Answer Ctrl-C."""
        with self._kept():
            self._alarm.answer()

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A sample begins, or goes on."""
        with self._kept():
            self._await_end(trial)
            if self._stops and self._has_failed:
                return
            spec = self._begins(trial, trials)
            actor = trial.temporary_state.ray_actor
            luggage: list[bytes] = []
            if self._depot is not None and not ray.get(actor.reaches_storage.remote()):
                luggage = [self._depot.fetch(path) for path in self._work.needs(spec)]
            attempt = _Attempt(f"{trial.trial_id}-{spec.attempt}", spec, trial, actor)
            actor.take.remote(attempt.key, spec, self._work.home(spec), luggage)
            self._attempts[trial.trial_id] = self._known[attempt.key] = attempt
            self._aside.pop(trial.trial_id, None)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A sample is over."""
        attempt = self._attempts.get(trial.trial_id)
        if attempt is not None:
            attempt.is_over = True
            attempt.actor.finish.remote(attempt.key, "over")

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A sample has failed and is tried again."""
        with self._kept():
            self._await_end(trial, again=True)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A sample has failed, be it that it could not even begin."""
        with self._kept():
            if trial.trial_id in self._attempts:
                self._await_end(trial)
            else:
                spec = self._begins(trial, trials)
                future: Future[Outcome] = Future()
                future.set_exception(WorkerLost(f"no worker could be started: {_told_by_tune(trial)}"))
                self._sampling.ends(spec, future, False)
                self._aside.pop(trial.trial_id, None)

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Write down what has ended; Ray Tune must not end before the samples have."""
        with self._kept():
            for attempt in self._attempts.values():
                if not attempt.is_over and attempt.trial.is_finished():  # everything was stopped
                    attempt.is_over = True
                    self._end(attempt, "over")
                elif not attempt.is_over and not attempt.is_aside and attempt.trial.status != "RUNNING":
                    attempt.is_aside = True
                    self._desk.end.remote(attempt.key, "aside")
            if time.monotonic() >= self._next_look:
                self._collect()
            while self._attempts and all(trial.is_finished() for trial in trials):
                self._alarm.answer()
                self._collect()
                self._note_lost(PAUSE)
            if (self._stops and self._has_failed and not self._attempts) or self._is_stuck(trials):
                raise Enough

    def _is_stuck(self, trials: list[Any]) -> bool:
        """Whether for some time there have only been samples that are paused or over.

        HyperBand in Ray Tune 2.60 never looks again at a sample that is just being paused when its bracket is finished.
        """
        if self._attempts or not self._aside or any(trial.status in ("RUNNING", "PENDING") for trial in trials):
            self._quiet_since = None
        elif self._quiet_since is None:
            self._quiet_since = time.monotonic()
        return self._quiet_since is not None and time.monotonic() - self._quiet_since > STUCK

    # what becomes of attempts

    def _begins(self, trial: Any, trials: list[Any]) -> TrialSpec:
        """The next attempt of a sample. They are counted in the order in which Ray Tune has made them."""
        if len(trials) != len(self._numbers):
            for one in trials:
                if one.trial_id not in self._numbers:
                    self._numbers[one.trial_id] = len(self._made)
                    self._made.append(one)
        number = self._numbers[trial.trial_id]
        while self._planned <= number:
            self._sampling.plans(self._planned, self._made[self._planned].config)
            self._planned += 1
        return self._sampling.begins(number, trial.config)

    @contextmanager
    def _kept(self) -> Iterator[None]:
        """What is raised inside ends the search; Ray Tune only understands exceptions."""
        try:
            yield
        except BaseException as error:
            if self.problem is None:
                self.problem = error
                self.break_off()
            raise SampleFailed("the search was broken off") from error

    def _collect(self, awaited: Any = None) -> None:
        """Take note of what samples have told. Whoever awaits the end of one settles that."""
        self._next_look = time.monotonic() + PAUSE
        for key, reply in ray.get(self._desk.collect.remote()):
            if reply.progress is not None:
                if self._on_progress is not None:
                    self._on_progress(*reply.progress)
                continue
            attempt = self._known.get(key)
            if attempt is not None and attempt.reply is None:
                attempt.reply = reply
                may_go_on = attempt.trial.status == "RUNNING" and not attempt.is_over and self.problem is None
                if attempt.trial is awaited or (may_go_on and problem_of(reply) is not None):
                    continue  # Ray Tune says whether it is tried again
                self._settle(attempt)

    def _await_end(self, trial: Any, again: bool = False) -> None:
        """See to it that the last attempt of a sample is over, and settled."""
        attempt = self._attempts.get(trial.trial_id)
        if attempt is None:
            return
        if attempt.reply is None:
            self._collect(trial)
        if attempt.reply is None:
            self._end(attempt, "aside")
        while attempt.reply is None:
            self._alarm.answer()
            self._collect(trial)
            if attempt.reply is None and attempt.is_lost(PAUSE):
                self._collect(trial)
                break
        self._settle(attempt, again)

    def _end(self, attempt: _Attempt, how: str) -> None:
        """Have an attempt end that Ray Tune has stopped: its actor asks, or is kept for another one."""
        self._desk.end.remote(attempt.key, how)
        attempt.actor.finish.remote(attempt.key, how)

    def _note_lost(self, seconds: float) -> None:
        """Settle attempts whose actors are gone; it takes that long at most for each."""
        for attempt in list(self._attempts.values()):
            if attempt.reply is None and attempt.is_lost(seconds):
                self._collect()  # it may have told before
                if attempt.trial.trial_id in self._attempts:
                    self._settle(attempt)

    def _settle(self, attempt: _Attempt, again: bool = False) -> None:
        """Have the end of an attempt written down."""
        del self._attempts[attempt.trial.trial_id], self._known[attempt.key]
        attempt.actor = None
        reply = attempt.reply
        future: Future[Outcome] = Future()
        if reply is None:
            future.set_exception(WorkerLost("the worker was lost: its process, or its host, is gone"))
        elif reply.kind == "outcome":
            future.set_result(read_outcome(reply.outcome))
        elif reply.kind == "lost":
            future.set_exception(WorkerLost(reply.text, reply.code))
        elif reply.kind == "error":
            future.set_exception(WorkerError(reply.text))
        elif self.problem is not None:
            future.set_exception(KeyboardInterrupt(reply.text))
        elif attempt.trial.status == "ERROR":
            future.set_exception(WorkerError(_told_by_tune(attempt.trial)))
        if reply is not None and reply.archive is not None and self._depot is not None:
            self._depot.store(reply.archive)
        if future.done():
            is_fine = future.exception() is None and future.result().error is None
            self._has_failed = self._has_failed or not (is_fine or again)
            self._sampling.ends(attempt.spec, future, again)
        else:
            self._aside[attempt.trial.trial_id] = None
            self._sampling.pauses(attempt.spec)

    # the end

    def break_off(self) -> None:
        """End all samples that run, soon."""
        with suppress(RayError):
            self._desk.end.remote(None, "aside")
            until = time.monotonic() + GRACE
            while self._attempts and time.monotonic() < until and not self._alarm.is_hurried:
                self._collect()
                self._note_lost(PAUSE)
        for attempt in list(self._attempts.values()):
            ray.kill(attempt.actor)
            attempt.reply = Reply("interrupted")
            self._settle(attempt)

    def close(self) -> None:
        """Finish what was set aside and not gone on with: it is over, too."""
        for trial_id in self._aside:
            self._sampling.finishes(self._numbers[trial_id])


def _told_by_tune(trial: Any) -> str:
    """Why Ray Tune takes a sample for failed that has not failed itself."""
    text = ""
    with suppress(OSError, TypeError), open(trial.error_file, encoding="utf-8", errors="replace") as file:
        text = file.read().strip()
    reason = re.search(r"The actor is dead because (.*?)(?: Some common causes include|$)", text)
    return reason[1] if reason else text.rpartition("\n")[2][:SHOWN] or "Ray Tune has given it up"
