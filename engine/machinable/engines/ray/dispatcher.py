"""Send trials to actors on other hosts, short ones several at a time."""

from __future__ import annotations

import math
import pickle
import signal
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Protocol

from machinable.engines.base import OnProgress, Work, WorkerLost
from machinable.engines.processes.pool import read_outcome
from machinable.engines.ray.actor import Reply, Report, TrialRequest
from machinable.plan.spec import Outcome, TrialSpec

__all__ = ["AGAIN", "Cluster", "Dispatcher", "TrialFuture"]

AGAIN = 3  # further attempts of a trial whose worker was lost through no fault of the trial
SHORT = 0.08  # seconds below which an actor gets its next trial before it has finished the current one
CHUNK_SECONDS = 0.04  # seconds of work that an actor gets at a time if trials are shorter
CHUNK_MAX = 64  # trials that an actor gets at a time
SHUTDOWN_TIMEOUT = 5.0  # seconds for an actor to end a trial or itself
FAILURES = 3  # actors in a row that do not start, after which their trials fail
NO_WORKER_NOTICE_AFTER = 10.0  # seconds that trials wait without any worker before the user is notified

_KILLED = (-signal.SIGKILL, -signal.SIGTERM)  # from outside: too little memory, or the host shuts down


class Cluster(Protocol):
    """The interface of a cluster for the dispatcher. Actors are `TrialActor`s, represented by handles.

    Attributes:
        on_progress: See `Engine`.
        on_notice: See `Engine`.
    """

    on_progress: OnProgress | None
    on_notice: Callable[[str], None] | None

    def start(self, needs: Hashable) -> Any:
        """Start an actor for trials with these needs, and return its handle."""

    def call(self, handle: Any, method: str, *arguments: Any) -> Future[Any]:
        """Call a method of an actor; the future has an exception if the actor is lost."""

    def kill(self, handle: Any) -> None:
        """End an actor immediately."""

    def limit(self, needs: Hashable) -> int:
        """Return the number of actors with these needs that fit into the cluster."""

    def reason_of_loss(self, error: BaseException) -> str | None:
        """Return how an actor was lost; None if the error has another cause."""

    def shortage(self, needs: Hashable) -> str:
        """Return what actors with these needs are waiting for."""


class TrialFuture(Future[Outcome]):
    """The future of a trial, with what an actor needs to run it.

    Attributes:
        began: When the trial began, by `time.monotonic`; None while it waits for a worker.
        ended_by: The error of the trial if it must no longer start.
    """

    def __init__(self, needs: Hashable, work: bytes, request: TrialRequest) -> None:
        super().__init__()
        self.needs = needs
        self.work = work
        self.request = request
        self.began: float | None = None
        self.ended_by: BaseException | None = None

    def fail(self, error: BaseException) -> None:
        """Set an error, unless the trial has ended."""
        if not self.done():
            self.set_exception(error)


class _Actor:
    """An actor and its trials by number, of which the first one runs. It has at most one call at a time."""

    def __init__(self, handle: Any, needs: Hashable) -> None:
        self.handle = handle
        self.needs = needs
        self.trials: dict[int, TrialFuture] = {}
        self.work = b""
        self.is_ready = False
        self.is_called = True


class Dispatcher:
    """Send trials to actors. One thread makes all decisions; others send it messages.

    Args:
        cluster: Starts and calls actors.
        cores: The number of trials that run at once while their needs are unknown.

    Attributes:
        slots: The number of trials that may be submitted.
        prefetch: The number of further trials that may be submitted, so that actors do not wait for their next one.
    """

    def __init__(self, cluster: Cluster, cores: int) -> None:
        self.slots = cores
        self.prefetch = 0
        self._cluster = cluster
        self._cores = cores
        self._messages: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._queues: defaultdict[Hashable, deque[TrialFuture]] = defaultdict(deque)
        self._actors: list[_Actor] = []
        self._seconds: dict[Hashable, float] = {}  # how long trials take
        self._work: Work | None = None
        self._pickled_work = b""
        self._number = 0
        self._failures = 0
        self._starving_since: float | None = None
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="machinable-dispatcher", daemon=True)
        self._thread.start()

    # called by other threads

    def submit(self, work: Work, spec: TrialSpec, needs: Hashable) -> TrialFuture:
        """Queue a trial for an actor that has the resources it needs."""
        if work is not self._work:
            self._pickled_work, self._work = pickle.dumps(work), work
        self._number += 1
        request = TrialRequest(self._number, pickle.dumps(spec), spec.definition.threads)
        trial = TrialFuture(needs, self._pickled_work, request)
        self._messages.put(lambda: self._queues[needs].append(trial))
        return trial

    def interrupt(self) -> None:
        """Raise `KeyboardInterrupt` in all running trials; waiting ones do not begin."""
        self._messages.put(self._interrupt)

    def end(self, trial: TrialFuture) -> None:
        """End a trial; afterwards its future is done."""
        self._messages.put(partial(self._end, trial))
        with suppress(BaseException):
            trial.exception(SHUTDOWN_TIMEOUT)
        self._messages.put(partial(self._end_by_force, trial))
        trial.exception()

    def close(self) -> None:
        """Release everything."""
        self._messages.put(self._close)
        self._thread.join()

    # the thread

    def _run(self) -> None:
        while not self._is_closed:
            try:
                self._step()
            except Exception as error:  # no trial may wait forever
                self._fail_all(error)

    def _step(self) -> None:
        """Handle all messages, then send waiting trials to actors."""
        with suppress(Empty):
            message = self._messages.get(timeout=None if self._starving_since is None else 0.5)
            while True:
                message()
                if self._is_closed:
                    return
                message = self._messages.get_nowait()
        self._dispatch()
        self._notice_shortage()

    def _call(self, actor: _Actor, then: Callable[[Future[Any]], None], method: str, *arguments: Any) -> None:
        """Call an actor, and let the thread handle the result."""
        actor.is_called = True
        called = self._cluster.call(actor.handle, method, *arguments)
        called.add_done_callback(lambda done: self._messages.put(partial(then, done)))

    def _starving(self) -> list[Hashable]:
        """Return the needs of waiting trials for which no actor has started."""
        served = {actor.needs for actor in self._actors if actor.is_ready}
        return [needs for needs, queue in self._queues.items() if queue and needs not in served]

    def _notice_shortage(self) -> None:
        """Notify the user once if trials wait and no actor starts."""
        starving = self._starving()
        if not starving:
            self._starving_since = None
        elif self._starving_since is None:
            self._starving_since = time.monotonic()
        elif time.monotonic() - self._starving_since >= NO_WORKER_NOTICE_AFTER:
            self._starving_since = math.inf
            if self._cluster.on_notice is not None:
                self._cluster.on_notice(self._cluster.shortage(starving[0]))

    def _fail_all(self, error: BaseException) -> None:
        for trial in [*self._drain(), *(trial for actor in self._actors for trial in actor.trials.values())]:
            trial.fail(error)
        for actor in self._actors:
            self._cluster.kill(actor.handle)
        self._actors.clear()

    def _drain(self) -> list[TrialFuture]:
        """Empty the queues, and return their trials."""
        trials = [trial for queue in self._queues.values() for trial in queue]
        for queue in self._queues.values():
            queue.clear()
        return trials

    # starting actors and giving them trials

    def _dispatch(self) -> None:
        limits = {needs: self._cluster.limit(needs) for needs in self._queues}
        for needs, queue in self._queues.items():
            actors = [actor for actor in self._actors if actor.needs == needs]
            if queue:
                wanted = min(limits[needs], len(queue) + sum(len(actor.trials) for actor in actors))
                for _ in range(wanted - len(actors)):
                    actor = _Actor(self._cluster.start(needs), needs)
                    self._actors.append(actor)
                    self._prepare(actor, queue[0].work)
            ready = [actor for actor in actors if actor.is_ready]
            share = math.ceil((len(queue) + sum(len(actor.trials) for actor in ready)) / max(1, len(ready)))
            for actor in ready:
                if not actor.is_called:
                    self._give(actor, queue, min(share, self._chunk(needs)))
        if self._starving():  # idle actors may hold resources that others need
            for actor in [actor for actor in self._actors if not actor.is_called and not self._queues[actor.needs]]:
                self._release(actor)
        chunk = max(map(self._chunk, self._seconds), default=1)
        at_once = max([self._cores, *limits.values()])
        self.slots = at_once * max(1, chunk // 2)
        self.prefetch = at_once * (chunk + chunk // 2) - self.slots

    def _chunk(self, needs: Hashable) -> int:
        """Return the number of trials that an actor gets at a time."""
        seconds = self._seconds.get(needs, SHORT)
        return 1 if seconds >= SHORT else min(CHUNK_MAX, max(2, int(CHUNK_SECONDS / max(seconds, 1e-4))))

    def _prepare(self, actor: _Actor, work: bytes) -> None:
        """Send the work of the following trials to an actor."""
        actor.work, actor.is_ready = work, False
        self._call(actor, partial(self._prepared, actor), "prepare", work)

    def _prepared(self, actor: _Actor, done: Future[Any]) -> None:
        actor.is_called = False
        problem = done.exception()
        if problem is None:
            actor.is_ready = True
            self._failures = 0
            return
        if actor not in self._actors:
            return
        self._actors.remove(actor)
        self._cluster.kill(actor.handle)
        self._failures += 1
        reason = self._cluster.reason_of_loss(problem)
        if self._failures < FAILURES and reason is not None:
            return
        self._failures = 0
        queue = self._queues[actor.needs]
        while queue:
            queue.popleft().fail(WorkerLost(f"no worker could be started: {reason or _described(problem)}"))

    def _give(self, actor: _Actor, queue: deque[TrialFuture], room: int) -> None:
        """Send up to a number of trials to an actor, and wait for replies about half of its trials."""
        if queue and not actor.trials and queue[0].work is not actor.work:
            self._prepare(actor, queue[0].work)
            return
        requests = []
        while queue and len(actor.trials) < room and queue[0].work is actor.work:
            trial = queue.popleft()
            actor.trials[trial.request.number] = trial
            requests.append(trial.request)
        if actor.trials:
            running = next(iter(actor.trials.values()))
            running.began = running.began or time.monotonic()
            replies = max(1, len(actor.trials) // 2)
            self._call(actor, partial(self._exchanged, actor), "exchange", requests, replies)

    # what actors reply

    def _exchanged(self, actor: _Actor, done: Future[tuple[list[Report], list[Reply]]]) -> None:
        actor.is_called = False
        problem = done.exception()
        if problem is not None:
            self._lost(actor, problem)
            return
        reports, replies = done.result()
        for report in reports:
            if self._cluster.on_progress is not None:
                self._cluster.on_progress(*report)
        # Returned trials first, in reverse order, because each is put at the front of the queue.
        for reply in sorted(replies, key=lambda reply: -reply.number if reply.result is None else reply.number):
            trial = actor.trials.pop(reply.number)
            if not trial.done():  # by force
                self._take(trial, reply)

    def _take(self, trial: TrialFuture, reply: Reply) -> None:
        """Set the result of an ended trial; queue a returned one again."""
        result: Any = reply.result
        try:
            if isinstance(result, bytes):
                outcome = read_outcome(result)
                self._measured(trial.needs, outcome.seconds)
                trial.set_result(outcome)
                return
        except Exception as error:
            result = error
        if result is None:
            self._measured(trial.needs, SHORT)  # it has waited behind a long one, and the next ones may also be long
            if trial.ended_by is None:
                self._queues[trial.needs].appendleft(trial)
                return
            result = trial.ended_by
        if isinstance(result, WorkerLost) and result.code in _KILLED and trial.ended_by is None:
            result.again = AGAIN
        trial.fail(result)

    def _measured(self, needs: Hashable, seconds: float) -> None:
        """Update the estimated duration of trials: immediately if one took longer, gradually if one was shorter."""
        self._seconds[needs] = max(seconds, (self._seconds.get(needs, seconds) + seconds) / 2)

    def _lost(self, actor: _Actor, error: BaseException) -> None:
        reason = self._cluster.reason_of_loss(error)
        if reason is not None:
            self._discard(actor, reason, AGAIN)
        else:  # the actor runs, but a message cannot be read
            self._discard(actor, _described(error), 0)

    def _discard(self, actor: _Actor, reason: str, again: int) -> None:
        """Kill an actor with its trials."""
        if actor in self._actors:
            self._actors.remove(actor)
            self._cluster.kill(actor.handle)
            for trial in actor.trials.values():
                trial.fail(WorkerLost(f"the worker was lost: {reason}", again=0 if trial.ended_by else again))

    # ending trials and actors

    def _interrupt(self) -> None:
        for trial in self._drain():
            trial.fail(KeyboardInterrupt())
        for actor in self._actors:
            for trial in actor.trials.values():
                trial.ended_by = KeyboardInterrupt()
            if actor.trials:
                self._cluster.call(actor.handle, "interrupt")

    def _end(self, trial: TrialFuture) -> None:
        trial.ended_by = WorkerLost("the trial was ended before it began")
        if trial in self._queues[trial.needs]:
            self._queues[trial.needs].remove(trial)
            trial.fail(trial.ended_by)
        for actor in self._actors:
            if trial.request.number in actor.trials:
                self._cluster.call(actor.handle, "end", trial.request.number)

    def _end_by_force(self, trial: TrialFuture) -> None:
        """End a trial that has not ended in time, together with its actor."""
        for actor in self._actors[:]:
            if trial.request.number in actor.trials:
                self._discard(actor, "a trial was ended, but did not end in time", AGAIN)
        trial.fail(WorkerLost("the trial was ended"))

    def _release(self, actor: _Actor) -> None:
        """Let an idle actor exit cleanly."""
        self._actors.remove(actor)
        self._call(actor, lambda done: self._cluster.kill(actor.handle), "close")

    def _close(self) -> None:
        self._is_closed = True
        closing = [self._cluster.call(actor.handle, "close") for actor in self._actors if actor.is_ready]
        until = time.monotonic() + SHUTDOWN_TIMEOUT
        for closed in closing:
            with suppress(BaseException):
                closed.exception(max(0.0, until - time.monotonic()))
        self._fail_all(WorkerLost("the engine was closed"))


def _described(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
