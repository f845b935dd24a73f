"""Send trials to actors on other hosts, short ones several at a time."""

from __future__ import annotations

import math
import pickle
import signal
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Protocol

from msgspec.structs import replace

from machinable.engines.base import OnProgress, Work, WorkerLost
from machinable.engines.cluster.actor import Reply, Report, TrialRequest
from machinable.engines.processes.pool import read_outcome
from machinable.plan.spec import Outcome, TrialSpec

__all__ = ["AGAIN", "Cluster", "Dispatcher", "TrialFuture"]

AGAIN = 3  # further attempts of a trial whose worker was lost through no fault of the trial
SHORT = 0.08  # seconds below which an actor gets its next trial before it has finished the current one
CHUNK_SECONDS = 0.04  # seconds of work that an actor gets at a time if trials are shorter
CHUNK_MAX = 64  # trials that an actor gets at a time
AHEAD = (
    8,
    100,
)  # the least and the largest number of actors that wait for hosts to join; between, as many as there are
LOOK_AGAIN = 2.0  # seconds after which hosts that have joined are noticed
SHUTDOWN_TIMEOUT = 5.0  # seconds for an actor to end a trial or itself
FAILURES = 3  # actors in a row that are lost at their start, after which their trials fail
NO_WORKER_NOTICE_AFTER = 10.0  # seconds that trials wait without any worker before the user is notified

_KILLED = (-signal.SIGKILL, -signal.SIGTERM)  # from outside: too little memory, or the host shuts down


class Cluster(Protocol):
    """The interface of a cluster for the dispatcher. Actors are `Launcher`s, represented by handles.

    Attributes:
        on_progress: See `Engine`.
        on_notice: See `Engine`.
        may_grow: See `Engine`.
        idle_seconds: Seconds after which an actor without a trial is ended; None for never.
        is_single_use: Whether an actor runs one trial only.
    """

    on_progress: OnProgress | None
    on_notice: Callable[[str], None] | None
    idle_seconds: float | None
    is_single_use: bool

    @property
    def may_grow(self) -> bool: ...  # noqa: D102

    def start(self, needs: Hashable, without: Collection[str]) -> Any:
        """Start an actor for trials with these needs, on other hosts than these; return its handle."""

    def call(self, handle: Any, method: str, *arguments: Any) -> Future[Any]:
        """Call a method of an actor; the future has an exception if the actor is lost."""

    def kill(self, handle: Any) -> None:
        """End an actor immediately."""

    def room(self, needs: Hashable) -> Mapping[str, int]:
        """Return how many actors with these needs fit on each host, by its id; hosts without room are left out."""

    def reason_of_loss(self, error: BaseException) -> str | None:
        """Return how an actor was lost; None if the error has another cause."""

    def shortage(self, needs: Hashable) -> str:
        """Return what actors with these needs are waiting for."""


class TrialFuture(Future[Outcome]):
    """The future of a trial, with what an actor needs to run it.

    Attributes:
        began: When the trial began, by `time.monotonic`; None while it waits for a worker.
        ended_by: The error of the trial if it must no longer start.
        is_final: Whether it is to fail where its code cannot be imported, because no other host is left.
    """

    def __init__(self, needs: Hashable, work: bytes, number: int, spec: TrialSpec) -> None:
        super().__init__()
        self.needs = needs
        self.work = work
        self.number = number
        self.component = spec.component
        self.request = TrialRequest(number, pickle.dumps(replace(spec, may_move=True)), spec.definition.threads)
        self.began: float | None = None
        self.ended_by: BaseException | None = None
        self.is_final = False

    def make_final(self) -> None:
        """Let no other host run the trial, so that it records why it cannot be imported."""
        if not self.is_final:
            spec = pickle.loads(self.request.spec)  # noqa: S301  # made above
            self.request = self.request._replace(spec=pickle.dumps(replace(spec, may_move=False)))
            self.is_final = True

    def fail(self, error: BaseException) -> None:
        """Set an error, unless the trial has ended."""
        if not self.done():
            self.set_exception(error)


class _Actor:
    """An actor and its trials by number, of which the first one runs. It has at most one call at a time."""

    def __init__(self, handle: Any, needs: Hashable) -> None:
        self.handle = handle
        self.needs = needs
        self.host = ""  # its id; "" while the actor starts
        self.host_name = ""
        self.trials: dict[int, TrialFuture] = {}
        self.work = b""
        self.is_ready = False
        self.is_called = True
        self.idle_since: float | None = None


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
        self._expected: Counter[Hashable] = Counter()  # trials that wait to be submitted
        self._actors: list[_Actor] = []
        self._seconds: dict[Hashable, float] = {}  # how long trials take
        # Why hosts cannot run a component, by their ids; "" for all components
        self._unfit: defaultdict[str, dict[str, str]] = defaultdict(dict)
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
        trial = TrialFuture(needs, self._pickled_work, self._number, spec)
        self._messages.put(lambda: self._queues[needs].append(trial))
        return trial

    def expect(self, needs: Iterable[Hashable]) -> None:
        """Take the needs of the trials that will be submitted when there are more slots."""
        expected = Counter(needs)

        def take() -> None:
            self._expected = expected

        self._messages.put(take)

    def interrupt(self) -> None:
        """Raise `KeyboardInterrupt` in all running trials; waiting ones do not begin."""
        self._messages.put(self._interrupt)

    def prune(self, trial: TrialFuture, because: str) -> None:
        """Let a trial end after its current iteration."""
        self._messages.put(partial(self._prune, trial, because))

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
        waits = self._expected or any(self._queues.values())
        waits = waits or any(actor.idle_since is not None for actor in self._actors)
        with suppress(Empty):
            message = self._messages.get(timeout=LOOK_AGAIN if waits else None)
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

    def _notice(self, text: str) -> None:
        if self._cluster.on_notice is not None:
            self._cluster.on_notice(text)

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
            self._notice(self._cluster.shortage(starving[0]))

    def _fail_all(self, error: BaseException) -> None:
        for trial in [*self._drain(), *(trial for actor in self._actors for trial in actor.trials.values())]:
            trial.fail(error)
        for actor in self._actors[:]:
            self._remove(actor)

    def _drain(self, queue: deque[TrialFuture] | None = None) -> list[TrialFuture]:
        """Empty a queue or all of them, and return the trials."""
        trials: list[TrialFuture] = []
        for one in self._queues.values() if queue is None else [queue]:
            trials += one
            one.clear()
        return trials

    # starting actors and giving them trials

    def _dispatch(self) -> None:
        room: dict[Hashable, int] = {}
        for needs, queue in self._queues.items():
            hosts = self._cluster.room(needs)
            self._settle_unfit(queue, hosts)
            without = self._unfit_for(queue[0]) if queue else self._unfit[""].keys()
            room[needs] = sum(count for host, count in hosts.items() if host not in without)
            self._hire(needs, room[needs], without)
            ready = [actor for actor in self._actors if actor.needs == needs and actor.is_ready]
            share = math.ceil((len(queue) + sum(len(actor.trials) for actor in ready)) / max(1, len(ready)))
            for actor in ready:
                if not actor.is_called:
                    self._give(actor, queue, min(share, self._chunk(needs)))
        self._release_idle()
        if self._starving():  # idle actors may hold resources that others need
            for actor in [actor for actor in self._actors if not actor.is_called and not self._queues[actor.needs]]:
                self._release(actor)
        chunk = max(map(self._chunk, self._seconds), default=1)
        at_once = max([self._cores, *room.values()])
        self.slots = at_once * max(1, chunk // 2)
        self.prefetch = at_once * (chunk + chunk // 2) - self.slots

    def _hire(self, needs: Hashable, room: int, without: Collection[str]) -> None:
        """Start as many actors as there are trials and hosts for them, and some ahead, to which autoscalers react."""
        queue = self._queues[needs]
        actors = [actor for actor in self._actors if actor.needs == needs and actor.host not in without]
        trials = len(queue) + sum(len(actor.trials) for actor in actors)
        if trials:
            trials += self._expected[needs]
        ahead = min(max(AHEAD[0], room), AHEAD[1]) if self._cluster.may_grow else 0
        wanted = min(max(1, room + ahead), trials)
        for _ in range(wanted - len(actors)):
            actor = _Actor(self._cluster.start(needs, without), needs)
            self._actors.append(actor)
            self._prepare(actor, queue[0].work if queue else self._pickled_work)
        starting = [actor for actor in actors if not actor.host]
        for actor in starting[: max(0, len(actors) - max(wanted, room))]:
            self._remove(actor)  # no host has joined, and none is needed any more

    def _release_idle(self) -> None:
        """Let actors exit that have had no trial for a while."""
        limit, now = self._cluster.idle_seconds, time.monotonic()
        if limit is None:
            return
        for actor in self._actors[:]:
            if actor.is_called:
                actor.idle_since = None
            elif actor.idle_since is None:
                actor.idle_since = now
            elif now - actor.idle_since >= limit:
                self._release(actor)

    def _chunk(self, needs: Hashable) -> int:
        """Return the number of trials that an actor gets at a time."""
        if self._cluster.is_single_use:
            return 1
        seconds = self._seconds.get(needs, SHORT)
        return 1 if seconds >= SHORT else min(CHUNK_MAX, max(2, int(CHUNK_SECONDS / max(seconds, 1e-4))))

    def _prepare(self, actor: _Actor, work: bytes) -> None:
        """Send the work of the following trials to an actor."""
        actor.work, actor.is_ready = work, False
        self._call(actor, partial(self._prepared, actor), "prepare", work)

    def _prepared(self, actor: _Actor, done: Future[Any]) -> None:
        actor.is_called = False
        if actor not in self._actors:
            return
        problem = done.exception()
        if problem is None:
            self._failures = 0
            actor.host, actor.host_name, why = done.result()
            actor.is_ready = not why
            if why:
                self._exclude(actor, "", why)
                self._remove(actor)
            return
        self._remove(actor)
        self._failures += 1
        reason = self._cluster.reason_of_loss(problem)
        if self._failures < FAILURES and reason is not None:
            return
        self._failures = 0
        for trial in self._drain(self._queues[actor.needs]):
            trial.fail(WorkerLost(f"no worker could be started: {reason or _described(problem)}"))

    def _give(self, actor: _Actor, queue: deque[TrialFuture], room: int) -> None:
        """Send up to a number of trials to an actor, and wait for replies about half of its trials."""
        if queue and not actor.trials and queue[0].work is not actor.work:
            self._prepare(actor, queue[0].work)
            return
        given: list[TrialFuture] = []
        for trial in queue:
            if len(actor.trials) + len(given) >= room or trial.work is not actor.work:
                break
            if actor.host not in self._unfit_for(trial):
                given.append(trial)
        for trial in given:
            queue.remove(trial)  # from the front, unless hosts are unfit
            actor.trials[trial.number] = trial
        if actor.trials:
            running = next(iter(actor.trials.values()))
            running.began = running.began or time.monotonic()
            replies = max(1, len(actor.trials) // 2)
            requests = [trial.request for trial in given]
            self._call(actor, partial(self._exchanged, actor), "exchange", requests, replies)
        elif queue:  # its host is unfit for all of them
            self._release(actor)

    # hosts that cannot run trials

    def _exclude(self, actor: _Actor, component: str, reason: str) -> None:
        """Use the host of an actor no longer for a component, or for any."""
        if actor.host not in self._unfit[component]:
            self._unfit[component][actor.host] = f"{actor.host_name}: {reason}"
            what = f" for {component}" if component else ""
            self._notice(f"the host {actor.host_name} is not used{what}: {reason}")

    def _unfit_for(self, trial: TrialFuture) -> Collection[str]:
        """Return the ids of the hosts that cannot run a trial."""
        unfit, own = self._unfit[""], self._unfit.get(trial.component)
        return unfit.keys() | own.keys() if own and not trial.is_final else unfit.keys()

    def _settle_unfit(self, queue: deque[TrialFuture], hosts: Mapping[str, int]) -> None:
        """Let trials fail for which no host is left."""
        if not hosts or not any(self._unfit.values()):
            return
        if not hosts.keys() - self._unfit[""].keys():
            reasons = "; ".join(self._unfit[""][host] for host in hosts)
            for trial in self._drain(queue):
                trial.fail(WorkerLost(f"no worker could be started: {reasons}"))
        for trial in queue:
            if not hosts.keys() - self._unfit_for(trial):
                trial.make_final()

    # what actors reply

    def _exchanged(self, actor: _Actor, done: Future[tuple[list[Report], list[Reply]]]) -> None:
        actor.is_called = False
        problem = done.exception()
        if problem is not None:
            reason = self._cluster.reason_of_loss(problem)
            # Without a reason the actor runs, but a message cannot be read.
            self._discard(actor, reason or _described(problem), AGAIN if reason else 0)
            return
        reports, replies = done.result()
        for report in reports:
            if self._cluster.on_progress is not None:
                self._cluster.on_progress(*report)
        # Returned trials first, in reverse order, because each is put at the front of the queue.
        for reply in sorted(replies, key=lambda reply: -reply.number if reply.result is None else reply.number):
            trial = actor.trials.pop(reply.number)
            if not trial.done():  # by force
                self._take(actor, trial, reply.result)
        if self._cluster.is_single_use and not actor.trials and actor in self._actors:
            self._release(actor)

    def _take(self, actor: _Actor, trial: TrialFuture, result: Any) -> None:
        """Set the result of an ended trial; queue one that has not begun again."""
        if isinstance(result, bytes):
            try:
                outcome = read_outcome(result)
            except Exception as error:
                trial.fail(error)
                return
            if outcome.state != "pending":
                self._measured(trial.needs, outcome.seconds)
                trial.set_result(outcome)
                return
            assert outcome.error is not None
            self._exclude(actor, trial.component, f"{outcome.error['type']}: {outcome.error['message']}")
        elif result is None:
            self._measured(trial.needs, SHORT)  # it has waited behind a long one, and the next ones may also be long
        else:
            if isinstance(result, WorkerLost) and result.code in _KILLED and trial.ended_by is None:
                result.again = AGAIN
            trial.fail(result)
            return
        if trial.ended_by is not None:
            trial.fail(trial.ended_by)
        else:
            trial.began = None
            self._queues[trial.needs].appendleft(trial)

    def _measured(self, needs: Hashable, seconds: float) -> None:
        """Update the estimated duration of trials: immediately if one took longer, gradually if one was shorter."""
        self._seconds[needs] = max(seconds, (self._seconds.get(needs, seconds) + seconds) / 2)

    # ending trials and actors

    def _remove(self, actor: _Actor) -> None:
        """Kill an actor."""
        self._actors.remove(actor)
        self._cluster.kill(actor.handle)

    def _discard(self, actor: _Actor, reason: str, again: int) -> None:
        """Kill an actor with its trials."""
        if actor in self._actors:
            self._remove(actor)
            where = f" on {actor.host_name}" if actor.host_name else ""
            for trial in actor.trials.values():
                trial.fail(WorkerLost(f"the worker{where} was lost: {reason}", again=0 if trial.ended_by else again))

    def _release(self, actor: _Actor) -> None:
        """Let an idle actor exit cleanly."""
        self._actors.remove(actor)
        self._call(actor, lambda done: self._cluster.kill(actor.handle), "close")

    def _interrupt(self) -> None:
        for trial in self._drain():
            trial.fail(KeyboardInterrupt())
        for actor in self._actors:
            for trial in actor.trials.values():
                trial.ended_by = KeyboardInterrupt()
            if actor.trials:
                self._cluster.call(actor.handle, "interrupt")

    def _prune(self, trial: TrialFuture, because: str) -> None:
        for actor in self._actors:
            if trial.number in actor.trials:
                self._cluster.call(actor.handle, "prune", trial.number, because)

    def _end(self, trial: TrialFuture) -> None:
        trial.ended_by = WorkerLost("the trial was ended before it began")
        if trial in self._queues[trial.needs]:
            self._queues[trial.needs].remove(trial)
            trial.fail(trial.ended_by)
        for actor in self._actors:
            if trial.number in actor.trials:
                self._cluster.call(actor.handle, "end", trial.number)

    def _end_by_force(self, trial: TrialFuture) -> None:
        """End a trial that has not ended in time, together with its actor."""
        for actor in self._actors[:]:
            if trial.number in actor.trials:
                self._discard(actor, "a trial was ended, but did not end in time", AGAIN)
        trial.fail(WorkerLost("the trial was ended"))

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
