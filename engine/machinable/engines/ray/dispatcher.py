"""Give trials to actors on other hosts, short ones several at a time."""

from __future__ import annotations

import math
import pickle
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Protocol

from machinable.engines.base import OnProgress, PortableWork, StorageTransfer, Work, WorkerError, WorkerLost
from machinable.engines.processes.pool import read_outcome
from machinable.engines.ray.actor import Reply, TrialRequest
from machinable.plan.spec import Outcome, TrialSpec

__all__ = ["AGAIN", "Dispatcher", "Handle", "TrialFuture", "WorkerProvider"]

AGAIN = 3  # further attempts of a trial whose worker was lost through no fault of the trial
SHORT = 0.08  # seconds below which an actor gets its next trial before it has finished the current one
CHUNK_SECONDS = 0.04  # how much work an actor gets at a time if trials are shorter
CHUNK_MAX = 64  # trials that an actor gets at a time
FOLDERS_MAX = 64  # folders that are put into the object store at a time
REPLY_WINDOW = 0.05  # seconds that an actor waits for further replies
SHUTDOWN_TIMEOUT = 5.0  # seconds for an actor to end a trial or itself
FAILURES = 3  # actors in a row that do not start, after which their trials fail
NO_WORKER_NOTICE_AFTER = 10.0  # seconds that trials wait without any worker before the user is notified

_KILLED = (-signal.SIGKILL, -signal.SIGTERM)  # from outside: too little memory, or the host shuts down


class Handle(Protocol):
    """An actor as seen from here."""

    def call(self, method: str, *arguments: Any) -> Future[Any]:
        """Call a method; the future has an exception when the actor is lost."""

    def kill(self) -> None:
        """End the actor at once."""


class WorkerProvider(Protocol):
    """The cluster as the dispatcher sees it."""

    def hire(self, needs: Hashable) -> Handle:
        """Start an actor for trials with these needs."""

    def limit(self, needs: Hashable) -> int:
        """Return how many such actors fit into the cluster."""

    def why(self, error: BaseException) -> str | None:
        """Return how an actor was lost; None if the error has another cause."""

    def shortage(self, needs: Hashable) -> str:
        """Return what such actors wait for."""

    def keep(self, data: bytes) -> Any:
        """Put data into the object store, from which each host fetches it once."""

    def fetch(self, kept: Any) -> Future[bytes]:
        """Get what an actor has put into the object store."""


class TrialFuture(Future[Outcome]):
    """The future of a trial.

    Attributes:
        began: When the trial began, by `time.monotonic`; None while it waits for a worker.
    """

    began: float | None = None


class _Job:
    """A trial that has not ended."""

    def __init__(self, needs: Hashable, work_id: int, request: TrialRequest, folders: Sequence[str]) -> None:
        self.number = request.number
        self.needs = needs
        self.work_id = work_id
        self.request = request
        self.folders = folders
        self.future = TrialFuture()
        self.ended_by: BaseException | None = None  # set when it must not run any more

    def begin(self) -> None:
        """Mark that it does not wait any more."""
        if self.future.began is None and not self.future.done():
            self.future.began = time.monotonic()
            self.future.set_running_or_notify_cancel()

    def fail(self, error: BaseException) -> None:
        """End it with an error."""
        if not self.future.done():
            self.future.set_exception(error)


class _Actor:
    """An actor and its trials, of which the first one runs."""

    def __init__(self, handle: Handle, needs: Hashable) -> None:
        self.handle = handle
        self.needs = needs
        self.jobs: dict[int, _Job] = {}
        self.work_id = -1
        self.is_ready = False
        self.is_reached = True  # the storage, from its host
        self.is_collecting = False
        self.folders: set[str] = set()  # that it has received
        self.sent = 0  # folders, also for former work


class Dispatcher:
    """Give trials to actors. One thread takes all decisions; others leave it a message.

    Args:
        provider: Starts actors.
        slots: How many trials run at once while nothing is known about how long they take.
        on_progress: Returns what receives progress, if anything does.
        on_notice: Receives a text when trials wait and no actor starts.

    Attributes:
        slots: How many trials may be submitted.
        prefetch: How many more are worth submitting, so that each actor has its next one at hand.
        transfer: The storage of the execution, for actors that do not reach it.
    """

    def __init__(
        self,
        provider: WorkerProvider,
        slots: int,
        on_progress: Callable[[], OnProgress | None],
        on_notice: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.slots = slots
        self.prefetch = 0
        self.transfer: StorageTransfer | None = None
        self._provider = provider
        self._at_once = slots
        self._on_progress = on_progress
        self._on_notice = on_notice
        self._messages: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._submitted: deque[_Job] = deque()  # not in a queue yet
        self._queues: dict[Hashable, deque[_Job]] = {}
        self._saturated: set[Hashable] = set()  # whose actors have enough to do: more need not wake the thread
        self._actors: list[_Actor] = []
        self._leaving: list[Handle] = []  # actors that end
        self._jobs: dict[Future[Outcome], _Job] = {}
        self._seconds: dict[Hashable, float] = {}  # how long the last trials took
        self._works: dict[int, bytes] = {}
        self._kept: dict[str, Any] = {}  # folders in the object store
        self._work: Work | None = None
        self._number = 0
        self._failures = 0
        self._starved_from: float | None = None  # trials wait, and there is no actor for them
        self._is_shortage_told = False
        self._is_over = False
        self._thread = threading.Thread(target=self._run, name="machinable-dispatcher", daemon=True)
        self._thread.start()

    # called by other threads

    def submit(self, work: Work, spec: TrialSpec, needs: Hashable) -> Future[Outcome]:
        """Let a trial wait for an actor.

        Args:
            work: What runs the trial.
            spec: The trial.
            needs: What an actor must hold to run it.

        Returns:
            A `TrialFuture`.
        """
        if work is not self._work:
            self._works[len(self._works)] = pickle.dumps(work)
            self._work = work
        self._number += 1
        folder, folders = (
            (work.folder_of(spec), work.folders_needed(spec)) if isinstance(work, PortableWork) else ("", ())
        )
        request = TrialRequest(self._number, pickle.dumps(spec), spec.threads, folder)
        job = _Job(needs, len(self._works) - 1, request, folders)
        self._jobs[job.future] = job
        job.future.add_done_callback(lambda future: self._jobs.pop(future, None))
        self._submitted.append(job)
        if needs not in self._saturated:
            self._messages.put(self._queue_submitted)
        return job.future

    def interrupt(self) -> None:
        """Raise `KeyboardInterrupt` in all running trials; waiting ones do not begin."""
        self._messages.put(self._interrupt)

    def end(self, future: Future[Outcome]) -> None:
        """End a trial; afterwards its future is done."""
        job = self._jobs.get(future)
        if job is not None:
            self._messages.put(partial(self._end, job))
            with suppress(BaseException):
                future.exception(SHUTDOWN_TIMEOUT)
            self._messages.put(partial(self._end_by_force, job))
        future.exception()

    def dismiss(self) -> None:
        """Release all idle actors, whose code is out of date."""
        self._messages.put(self._dismiss)

    def close(self) -> None:
        """Release everything."""
        self._messages.put(self._close)
        self._thread.join()

    # the thread

    def _run(self) -> None:
        while not self._is_over:
            try:
                self._step()
            except Exception as error:  # no trial may wait forever
                self._break_off(error)

    def _step(self) -> None:
        """Process all messages, then give out what waits."""
        with suppress(Empty):
            message = self._messages.get(timeout=self._seconds_to_notice())
            while not self._is_over:
                self._queue_submitted()
                message()
                message = self._messages.get_nowait()
        if not self._is_over:
            self._queue_submitted()
            self._dispatch()
            self._notice_shortage()
            for actor in self._actors:
                if actor.jobs and not actor.is_collecting:
                    self._exchange(actor)

    def _then(self, future: Future[Any], action: Callable[[Future[Any]], None]) -> None:
        """Let the thread process the result of a call."""
        future.add_done_callback(lambda done: self._messages.put(partial(action, done)))

    def _queue_submitted(self) -> None:
        while self._submitted:
            job = self._submitted.popleft()
            self._queues.setdefault(job.needs, deque()).append(job)

    def _starving(self) -> list[Hashable]:
        """Return the needs of waiting trials for which no actor has started."""
        served = {actor.needs for actor in self._actors if actor.is_ready}
        return [needs for needs, queue in self._queues.items() if queue and needs not in served]

    def _seconds_to_notice(self) -> float | None:
        if self._starved_from is None or self._is_shortage_told:
            return None
        return max(0.0, self._starved_from + NO_WORKER_NOTICE_AFTER - time.monotonic())

    def _notice_shortage(self) -> None:
        """Notify once when trials wait and no actor starts."""
        starving = self._starving()
        if not starving:
            self._starved_from, self._is_shortage_told = None, False
        elif self._starved_from is None:
            self._starved_from = time.monotonic()
        elif not self._is_shortage_told and self._seconds_to_notice() == 0.0:
            self._is_shortage_told = True
            with suppress(Exception):  # a listener that fails must not fail the trials
                self._on_notice(self._provider.shortage(starving[0]))

    def _break_off(self, error: Exception) -> None:
        self._saturated = set()
        self._drain()
        for job in list(self._jobs.values()):
            job.fail(error)
        for actor in self._actors:
            actor.handle.kill()
        self._actors.clear()

    # starting actors and giving them trials

    def _dispatch(self) -> None:
        limits = {needs: self._provider.limit(needs) for needs in self._queues}
        waiting = {needs: queue for needs, queue in self._queues.items() if queue}
        saturated = set()
        for needs, queue in waiting.items():
            mine = [actor for actor in self._actors if actor.needs == needs]
            wanted = min(limits[needs], len(queue) + sum(len(actor.jobs) for actor in mine))
            for _ in range(wanted - len(mine)):
                self._hire(needs)
            self._give_out(queue, [actor for actor in mine if actor.is_ready], self._chunk(needs))
            if queue and wanted == limits[needs]:
                saturated.add(needs)
        self._saturated = saturated
        if self._starving():  # idle actors may hold what others wait for
            for actor in self._actors[:]:
                if actor.is_ready and not actor.jobs and actor.needs not in waiting:
                    self._release(actor)
        chunk = max(map(self._chunk, self._seconds), default=1)
        at_once = max([self._at_once, *limits.values()])
        self.slots = at_once * max(1, chunk // 2)
        self.prefetch = at_once * (chunk + chunk // 2) - self.slots

    def _chunk(self, needs: Hashable) -> int:
        """Return how many trials an actor gets at a time."""
        seconds = self._seconds.get(needs, SHORT)
        return 1 if seconds >= SHORT else min(CHUNK_MAX, max(2, int(CHUNK_SECONDS / max(seconds, 1e-4))))

    def _hire(self, needs: Hashable) -> None:
        actor = _Actor(self._provider.hire(needs), needs)
        self._actors.append(actor)
        self._prepare(actor, self._queues[needs][0].work_id if self._queues[needs] else len(self._works) - 1)

    def _prepare(self, actor: _Actor, work_id: int) -> None:
        actor.is_ready = False
        actor.work_id = work_id
        actor.folders.clear()
        self._then(actor.handle.call("look", work_id, self._works[work_id]), partial(self._prepared, actor))

    def _prepared(self, actor: _Actor, done: Future[Any]) -> None:
        problem = done.exception()
        if problem is None:
            actor.is_ready, actor.is_reached = True, done.result()
            self._failures = 0
            return
        if actor not in self._actors:
            return
        self._actors.remove(actor)
        actor.handle.kill()
        self._failures += 1
        why = self._provider.why(problem)
        if self._failures < FAILURES and why is not None:
            return
        self._failures = 0
        for job in self._drain(actor.needs):
            job.fail(WorkerLost(f"no worker could be started: {why or _described(problem)}"))

    def _drain(self, needs: Hashable | None = None) -> list[_Job]:
        """Empty the queues, or that of these needs; return what has waited there."""
        queues = list(self._queues.values()) if needs is None else [self._queues.get(needs, deque())]
        jobs = [job for queue in queues for job in queue]
        for queue in queues:
            queue.clear()
        return jobs

    def _give_out(self, queue: deque[_Job], actors: list[_Actor], chunk: int) -> None:
        fair = math.ceil((len(queue) + sum(len(actor.jobs) for actor in actors)) / max(1, len(actors)))
        free = [actor for actor in actors if not actor.jobs or len(actor.jobs) <= chunk // 2]
        for actor in sorted(free, key=lambda actor: len(actor.jobs)):
            if not queue:
                return
            if queue[0].work_id != actor.work_id:
                if not actor.jobs:
                    self._prepare(actor, queue[0].work_id)
                continue
            room = min(chunk, fair) - len(actor.jobs)
            jobs: list[_Job] = []
            while len(jobs) < room and queue and queue[0].work_id == actor.work_id:
                jobs.append(queue.popleft())
            if jobs:
                self._give(actor, jobs)

    def _give(self, actor: _Actor, jobs: list[_Job]) -> None:
        bundle: dict[str, Any] = {}
        if not actor.is_reached and self.transfer is not None:
            for path in dict.fromkeys(path for job in jobs for path in job.folders):
                if path in actor.folders:
                    continue
                try:
                    if path not in self._kept:
                        while len(self._kept) >= FOLDERS_MAX:
                            del self._kept[next(iter(self._kept))]
                        self._kept[path] = self._provider.keep(self.transfer.fetch(path))
                except Exception as error:
                    for job in [job for job in jobs if path in job.folders]:
                        jobs.remove(job)
                        job.fail(error)
                    continue
                bundle[path] = self._kept[path]
        if not jobs:
            self._messages.put(lambda: None)  # the actor is still free: dispatch again
            return
        actor.folders.update(bundle)
        actor.sent += len(bundle)
        actor.jobs.update((job.number, job) for job in jobs)
        next(iter(actor.jobs.values())).begin()
        self._exchange(actor, jobs, bundle.values())

    # what actors reply

    def _exchange(self, actor: _Actor, jobs: Iterable[_Job] = (), bundle: Iterable[Any] = ()) -> None:
        """Send trials to an actor, and collect replies unless another call does that already."""
        number = 0 if actor.is_collecting else max(1, len(actor.jobs) // 2)
        actor.is_collecting = True
        requests = [job.request for job in jobs]
        exchanged = actor.handle.call("exchange", requests, number, REPLY_WINDOW, actor.sent, *bundle)
        self._then(exchanged, partial(self._exchanged, actor, number))

    def _exchanged(self, actor: _Actor, number: int, done: Future[Any]) -> None:
        problem = done.exception()
        if problem is not None:
            self._lost(actor, problem)
            return
        if number:
            actor.is_collecting = False
        replies: list[Reply] = done.result()
        returned: list[_Job] = []
        for reply in replies:
            if reply.progress is not None:
                on_progress = self._on_progress()
                if on_progress is not None:
                    on_progress(*reply.progress)
                continue
            job = actor.jobs.pop(reply.number, None)
            if job is None:
                continue
            if reply.kind == "returned":
                returned.append(job)
                continue
            job.begin()
            self._answered(job, reply)
        self._put_back(returned)
        for job in list(actor.jobs.values())[:1]:
            job.begin()

    def _put_back(self, jobs: list[_Job]) -> None:
        """Queue trials again that have waited behind one that takes long."""
        for job in reversed(jobs):
            self._seconds[job.needs] = SHORT  # what follows may take long, too
            if job.ended_by is not None:
                job.fail(job.ended_by)
            else:
                self._queues[job.needs].appendleft(job)

    def _answered(self, job: _Job, reply: Reply) -> None:
        """Set the result of a trial that has ended, once everything large has arrived."""
        for part, value in (("outcome", reply.outcome), ("archive", reply.archive)):
            if value is not None and not isinstance(value, bytes):
                self._then(self._provider.fetch(value), partial(self._fetched, job, reply, part))
                return
        try:
            if reply.archive is not None and self.transfer is not None:
                self.transfer.store(reply.archive)
        except Exception as error:
            job.fail(error)
            return
        if reply.kind == "outcome":
            outcome = read_outcome(reply.outcome)
            before = self._seconds.get(job.needs, outcome.seconds)
            # One long trial counts at once: what follows may take long, too.
            self._seconds[job.needs] = max((before + outcome.seconds) / 2, min(outcome.seconds, SHORT))
            if not job.future.done():
                job.future.set_result(outcome)
        elif reply.kind == "interrupted":
            job.fail(KeyboardInterrupt(reply.text))
        elif reply.kind == "lost":
            again = AGAIN if reply.code in _KILLED and job.ended_by is None else 0
            job.fail(WorkerLost(reply.text, reply.code, again))
        else:
            job.fail(WorkerError(reply.text))

    def _fetched(self, job: _Job, reply: Reply, part: str, done: Future[Any]) -> None:
        problem = done.exception()
        if problem is None:
            self._answered(job, reply._replace(**{part: done.result()}))
        else:
            how = self._provider.why(problem) or _described(problem)
            job.fail(WorkerLost(f"the trial has ended, but its results were lost: {how}", again=AGAIN))

    def _lost(self, actor: _Actor, error: BaseException) -> None:
        if actor not in self._actors:
            return
        self._actors.remove(actor)
        actor.handle.kill()
        why = self._provider.why(error)
        for job in actor.jobs.values():
            if why is None:  # the actor is there, but what it says or hears cannot be read
                job.fail(WorkerError(_described(error)))
            else:
                job.fail(WorkerLost(f"the worker was lost: {why}", again=AGAIN if job.ended_by is None else 0))

    # ending trials and actors

    def _interrupt(self) -> None:
        for job in self._drain():
            job.fail(KeyboardInterrupt())
        for actor in self._actors:
            for job in actor.jobs.values():
                job.ended_by = KeyboardInterrupt()
            if actor.jobs:
                actor.handle.call("interrupt")

    def _end(self, job: _Job) -> None:
        job.ended_by = WorkerLost("the trial was ended before it began")
        queue = self._queues.get(job.needs, deque())
        if job in queue:
            queue.remove(job)
            job.fail(job.ended_by)
        for actor in self._actors:
            if job.number in actor.jobs:
                actor.handle.call("end", job.number)

    def _end_by_force(self, job: _Job) -> None:
        for actor in self._actors[:]:
            if job.number in actor.jobs:
                self._actors.remove(actor)
                actor.handle.kill()
                for other in actor.jobs.values():
                    lost = "its trial was ended" if other is job else "the trial before it was ended"
                    other.fail(WorkerLost(f"the worker was lost: {lost}", again=0 if other is job else AGAIN))
        job.fail(WorkerLost("its trial was ended"))

    def _dismiss(self) -> None:
        for actor in self._actors[:]:
            if not actor.jobs:
                self._release(actor)

    def _release(self, actor: _Actor) -> None:
        """Let an idle actor end in order."""
        self._actors.remove(actor)
        self._leaving.append(actor.handle)
        self._then(actor.handle.call("close"), lambda done: self._released(actor.handle))

    def _released(self, handle: Handle) -> None:
        self._leaving.remove(handle)
        handle.kill()

    def _close(self) -> None:
        self._is_over = True
        for job in self._drain():
            job.fail(WorkerLost("the engine was closed before the trial began"))
        closing = [actor.handle.call("close") for actor in self._actors if actor.is_ready]
        until = time.monotonic() + SHUTDOWN_TIMEOUT
        for closed in closing:
            with suppress(BaseException):
                closed.exception(max(0.0, until - time.monotonic()))
        for handle in [*self._leaving, *(actor.handle for actor in self._actors)]:
            handle.kill()
        for actor in self._actors:
            for job in list(actor.jobs.values()):
                job.fail(WorkerLost("the worker was lost: the engine was closed"))
        for job in list(self._jobs.values()):
            job.fail(WorkerLost("the engine was closed"))
        self._actors.clear()


def _described(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
