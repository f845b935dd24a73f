"""Gives trials to agents on other hosts: several at once while they are short, and to others when one takes long."""

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

from machinable.engines.base import (
    OnProgress,
    PortableWork,
    StorageTransfer,
    Work,
    WorkerError,
    WorkerLost,
)
from machinable.engines.processes.pool import read_outcome
from machinable.engines.ray.actor import Reply, TrialRequest
from machinable.plan.spec import Outcome, TrialSpec

__all__ = ["AGAIN", "Dispatcher", "Handle", "TrialFuture", "WorkerProvider"]

AGAIN = 3  # times that a trial is tried again whose worker was lost through no fault of its own
SHORT = 0.08  # seconds below which an agent has the next trial at hand
AHEAD = 0.04  # seconds of work that it has then, if these are more
MOST = 64  # trials that an agent has at most
LONG = 0.1  # seconds after which what waits behind a trial is given to others
LINGER = 0.05  # seconds that an agent waits for further replies
PATIENCE = 5.0  # seconds that an agent gets to answer
FAILURES = 3  # agents in a row that could not even begin
NO_WORKER_NOTICE_AFTER = 10.0  # seconds without an agent for what waits, after which that is told

_KILLED = (-signal.SIGKILL, -signal.SIGTERM)  # by somebody else: too little memory, a host that ends


class Handle(Protocol):
    """An agent as seen from here."""

    def call(self, method: str, *arguments: Any) -> Future[Any]:
        """Let it do something; the future has an exception when it is gone."""

    def kill(self) -> None:
        """End it at once."""


class WorkerProvider(Protocol):
    """How agents are had.

    `hire` gives one for trials with such needs, `limit` says how many of those there can be, `why` how an agent was
    lost (None if the error is another one), `shortage` what such agents lack at the moment, `keep` makes something
    large travel once, `fetch` gets what an agent kept.
    """

    def hire(self, needs: Hashable) -> Handle: ...
    def limit(self, needs: Hashable) -> int: ...
    def why(self, error: BaseException) -> str | None: ...
    def shortage(self, needs: Hashable) -> str: ...
    def keep(self, data: bytes) -> Any: ...
    def fetch(self, kept: Any) -> Future[bytes]: ...


class TrialFuture(Future[Outcome]):
    """The future of a trial.

    Attributes:
        began: When the trial began, by `time.monotonic`; None while it waits for a worker.
    """

    began: float | None = None


class _Job:
    """A trial on its way."""

    def __init__(self, needs: Hashable, work_id: int, errand: TrialRequest, folders: Sequence[str]) -> None:
        self.number = errand.number
        self.needs = needs
        self.work_id = work_id
        self.errand = errand
        self.folders = folders
        self.future = TrialFuture()
        self.is_ended = False  # somebody here wants it to be

    def begins(self) -> None:
        """It is its turn."""
        if self.future.began is None and not self.future.done():
            self.future.began = time.monotonic()
            self.future.set_running_or_notify_cancel()


class _Place:
    """An agent, and what it has to do. The first of its trials runs."""

    def __init__(self, handle: Handle, needs: Hashable) -> None:
        self.handle = handle
        self.needs = needs
        self.jobs: dict[int, _Job] = {}
        self.work_id = -1
        self.is_ready = False
        self.is_reached = True
        self.is_collecting = False
        self.is_withdrawing = False
        self.folders: set[str] = set()  # that it has got
        self.sent = 0  # folders, also for former work
        self.heard = time.monotonic()


class Dispatcher:
    """One thread that decides everything; all others leave it a note.

    Args:
        hired: how agents are had. on_progress: is told how far trials are. on_notice: is told if none come.

    Attributes:
        slots: How many trials may be submitted.
        prefetch: How many more are worth submitting, so that each worker has its next one at hand.
        transfer: The storage of the execution, for workers that do not reach it.
    """

    def __init__(
        self,
        hired: WorkerProvider,
        slots: int,
        on_progress: Callable[[], OnProgress | None],
        on_notice: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.slots = slots
        self.prefetch = 0
        self.transfer: StorageTransfer | None = None
        self._hired = hired
        self._at_once = slots
        self._on_progress = on_progress
        self._on_notice = on_notice
        self._notes: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._coming: deque[_Job] = deque()  # to the queues
        self._queues: dict[Hashable, deque[_Job]] = {}
        self._saturated: set[Hashable] = set()  # agents have enough of these; more need not wake the thread
        self._places: list[_Place] = []
        self._leaving: list[Handle] = []  # agents that end
        self._jobs: dict[Future[Outcome], _Job] = {}
        self._seconds: dict[Hashable, float] = {}  # of the trials that ended last
        self._works: dict[int, bytes] = {}
        self._kept: dict[str, Any] = {}
        self._work: Work | None = None
        self._movable: PortableWork | None = None  # the same, if it is
        self._number = 0
        self._failures = 0
        self._starved_from: float | None = None  # something waits, and no agent is there for it
        self._is_shortage_told = False
        self._is_over = False
        self._thread = threading.Thread(target=self._run, name="machinable-dispatcher", daemon=True)
        self._thread.start()

    # called by others

    def submit(self, work: Work, spec: TrialSpec, needs: Hashable) -> Future[Outcome]:
        """Let a trial wait for an agent.

        Args:
            needs: what tells agents that can run it from others.
        """
        if work is not self._work:
            self._works[len(self._works)] = pickle.dumps(work)
            self._work, self._movable = work, work if isinstance(work, PortableWork) else None
        self._number += 1
        home, folders = ("", ()) if self._movable is None else (self._movable.home(spec), self._movable.needs(spec))
        errand = TrialRequest(self._number, pickle.dumps(spec), spec.threads, home)
        job = _Job(needs, len(self._works) - 1, errand, folders)
        self._jobs[job.future] = job
        self._coming.append(job)
        if needs not in self._saturated:
            self._notes.put(self._take_in)
        return job.future

    def interrupt(self) -> None:
        """Raise `KeyboardInterrupt` in all trials that run; those that wait do not begin."""
        self._notes.put(self._interrupt)

    def end(self, future: Future[Outcome]) -> None:
        """End a trial; afterwards the future is done."""
        job = self._jobs.get(future)
        if job is not None:
            self._notes.put(partial(self._end, job))
            with suppress(BaseException):
                future.exception(PATIENCE)
            self._notes.put(partial(self._end_by_force, job))
        future.exception()

    def dismiss(self) -> None:
        """Let go of all agents that have nothing to do: what they have been given counts no more."""
        self._notes.put(self._dismiss)

    def close(self) -> None:
        """Let go of everything."""
        self._notes.put(self._close)
        self._thread.join()

    # the thread

    def _run(self) -> None:
        while not self._is_over:
            try:
                self._turn()
            except Exception as error:  # nobody who waits for a trial may wait for ever
                self._break_off(error)

    def _turn(self) -> None:
        with suppress(Empty):
            note = self._notes.get(timeout=self._patience())
            while not self._is_over:
                self._take_in()
                note()
                note = self._notes.get_nowait()
        if not self._is_over:
            self._take_in()
            self._withdraw()
            self._dispatch()
            self._tell_shortage()
            for place in self._places:
                if place.jobs and not place.is_collecting:
                    self._exchange(place)

    def _patience(self) -> float | None:
        """After how many seconds to look around though nobody has left a note."""
        if any(len(place.jobs) > 1 for place in self._places):
            return LONG / 2
        if self._starved_from is None or self._is_shortage_told:
            return None
        return max(0.0, self._starved_from + NO_WORKER_NOTICE_AFTER - time.monotonic())

    def _tell_shortage(self) -> None:
        """Say it once when trials wait and nobody is there for them, so that people can do something about it."""
        served = {place.needs for place in self._places if place.is_ready}
        starved = [needs for needs, queue in self._queues.items() if queue and needs not in served]
        if not starved:
            self._starved_from, self._is_shortage_told = None, False
        elif self._starved_from is None:
            self._starved_from = time.monotonic()
        elif not self._is_shortage_told and time.monotonic() - self._starved_from >= NO_WORKER_NOTICE_AFTER:
            self._is_shortage_told = True
            with suppress(Exception):  # what waits shall not fail because of what is said about it
                self._on_notice(self._hired.shortage(starved[0]))

    def _break_off(self, error: Exception) -> None:
        self._saturated = set()
        self._drained()
        for job in list(self._jobs.values()):
            self._fail(job, error)
        for place in self._places:
            place.handle.kill()
        self._places.clear()

    def _later(self, future: Future[Any], then: Callable[[Future[Any]], None]) -> None:
        """Have something done with a result by the thread."""
        future.add_done_callback(lambda done: self._notes.put(partial(then, done)))

    def _take_in(self) -> None:
        while self._coming:
            job = self._coming.popleft()
            self._queues.setdefault(job.needs, deque()).append(job)

    def _dispatch(self) -> None:
        waiting = {needs: queue for needs, queue in self._queues.items() if queue}
        limits = {needs: self._hired.limit(needs) for needs in self._queues}
        sated = set()
        for needs, queue in waiting.items():
            mine = [place for place in self._places if place.needs == needs]
            busy = sum(len(place.jobs) for place in mine)
            worth = min(limits[needs], len(queue) + busy)
            for _ in range(worth - len(mine)):
                self._hire(needs)
            self._give_out(queue, [place for place in mine if place.is_ready], self._depth(needs))
            if queue and worth == limits[needs]:
                sated.add(needs)
        self._saturated = sated
        served = {place.needs for place in self._places if place.is_ready}
        if not waiting.keys() <= served:
            for place in self._places[:]:  # idle ones may hold what others wait for
                if place.is_ready and not place.jobs and place.needs not in waiting:
                    self._release(place)
        depth = max(map(self._depth, self._seconds), default=1)
        at_once = max([self._at_once, *limits.values()])
        self.slots = at_once * max(1, depth // 2)
        self.prefetch = at_once * (depth + depth // 2) - self.slots

    def _depth(self, needs: Hashable) -> int:
        """How many trials an agent gets at a time."""
        seconds = self._seconds.get(needs, SHORT)
        return 1 if seconds >= SHORT else min(MOST, max(2, int(AHEAD / max(seconds, 1e-4))))

    def _hire(self, needs: Hashable) -> None:
        place = _Place(self._hired.hire(needs), needs)
        self._places.append(place)
        self._look(place, self._queues[needs][0].work_id if self._queues[needs] else len(self._works) - 1)

    def _look(self, place: _Place, work_id: int) -> None:
        place.is_ready = False
        place.work_id = work_id
        place.folders.clear()
        self._later(place.handle.call("look", work_id, self._works[work_id]), partial(self._looked, place))

    def _looked(self, place: _Place, done: Future[Any]) -> None:
        problem = done.exception()
        if problem is None:
            place.is_ready, place.is_reached = True, done.result()
            self._failures = 0
            return
        if place not in self._places:
            return
        self._places.remove(place)
        place.handle.kill()
        self._failures += 1
        if self._failures < FAILURES and self._hired.why(problem) is not None:
            return
        how = self._hired.why(problem) or f"{type(problem).__name__}: {problem}"
        self._failures = 0
        for job in self._drained(place.needs):
            self._fail(job, WorkerLost(f"no worker could be started: {how}"))

    def _drained(self, needs: Hashable | None = None) -> list[_Job]:
        """What waits, which does not wait any more."""
        queues = self._queues.values() if needs is None else [self._queues.get(needs, deque())]
        jobs = [job for queue in queues for job in queue]
        for queue in queues:
            queue.clear()
        return jobs

    def _give_out(self, queue: deque[_Job], places: list[_Place], depth: int) -> None:
        fair = math.ceil((len(queue) + sum(len(place.jobs) for place in places)) / max(1, len(places)))
        wanting = [x for x in places if not x.is_withdrawing and (not x.jobs or len(x.jobs) <= depth // 2)]
        wanting.sort(key=lambda place: len(place.jobs))
        for place in wanting:
            if not queue:
                return
            if queue[0].work_id != place.work_id:
                if not place.jobs:
                    self._look(place, queue[0].work_id)
                continue
            room = min(depth, fair) - len(place.jobs)
            jobs: list[_Job] = []
            while len(jobs) < room and queue and queue[0].work_id == place.work_id:
                jobs.append(queue.popleft())
            if jobs:
                self._give(place, jobs)

    def _give(self, place: _Place, jobs: list[_Job]) -> None:
        luggage: dict[str, Any] = {}
        if not place.is_reached and self.transfer is not None:
            for path in dict.fromkeys(path for job in jobs for path in job.folders):
                if path in place.folders:
                    continue
                try:
                    if path not in self._kept:
                        while len(self._kept) >= MOST:
                            del self._kept[next(iter(self._kept))]
                        self._kept[path] = self._hired.keep(self.transfer.fetch(path))
                except Exception as error:
                    for job in [job for job in jobs if path in job.folders]:
                        jobs.remove(job)
                        self._fail(job, error)
                    continue
                luggage[path] = self._kept[path]
        if not jobs:
            self._notes.put(lambda: None)  # it is still free: look again
            return
        place.folders.update(luggage)
        place.sent += len(luggage)
        if not place.jobs:
            place.heard = time.monotonic()
        place.jobs.update((job.number, job) for job in jobs)
        next(iter(place.jobs.values())).begins()
        self._exchange(place, jobs, luggage.values())

    def _exchange(self, place: _Place, jobs: Iterable[_Job] = (), luggage: Iterable[Any] = ()) -> None:
        """Give an agent trials, and have it tell how some have ended, if it does not do that already."""
        number = 0 if place.is_collecting else max(1, len(place.jobs) // 2)
        place.is_collecting = True
        exchanged = place.handle.call("exchange", [job.errand for job in jobs], number, LINGER, place.sent, *luggage)
        self._later(exchanged, partial(self._exchanged, place, number))

    def _exchanged(self, place: _Place, number: int, done: Future[Any]) -> None:
        problem = done.exception()
        if problem is not None:
            self._lost(place, problem)
            return
        if number:
            place.is_collecting = False
        replies: list[Reply] = done.result()
        for reply in replies:
            if reply.progress is not None:
                tell = self._on_progress()
                if tell is not None:
                    tell(*reply.progress)
                continue
            place.heard = time.monotonic()
            job = place.jobs.pop(reply.number, None)
            if job is not None:
                job.begins()
                self._answered(job, reply)
        for job in list(place.jobs.values())[:1]:
            job.begins()

    def _answered(self, job: _Job, reply: Reply) -> None:
        """A trial has ended; what is large is still to come."""
        for part in ("outcome", "archive"):
            kept = getattr(reply, part)
            if kept is not None and not isinstance(kept, bytes):
                self._later(self._hired.fetch(kept), partial(self._fetched, job, reply, part))
                return
        try:
            if reply.archive is not None and self.transfer is not None:
                self.transfer.store(reply.archive)
        except Exception as error:
            self._fail(job, error)
            return
        if reply.kind == "outcome":
            outcome = read_outcome(reply.outcome)
            before = self._seconds.get(job.needs, outcome.seconds)
            # One long trial counts at once: what follows may be long, too.
            self._seconds[job.needs] = max((before + outcome.seconds) / 2, min(outcome.seconds, SHORT))
            self._jobs.pop(job.future, None)
            if not job.future.done():
                job.future.set_result(outcome)
        elif reply.kind == "interrupted":
            self._fail(job, KeyboardInterrupt(reply.text))
        elif reply.kind == "lost":
            self._fail(
                job, WorkerLost(reply.text, reply.code, AGAIN if reply.code in _KILLED and not job.is_ended else 0)
            )
        else:
            self._fail(job, WorkerError(reply.text))

    def _fetched(self, job: _Job, reply: Reply, part: str, done: Future[Any]) -> None:
        problem = done.exception()
        if problem is None:
            self._answered(job, reply._replace(**{part: done.result()}))
        else:
            how = self._hired.why(problem) or f"{type(problem).__name__}: {problem}"
            self._fail(job, WorkerLost(f"the trial has ended, but what it left was lost: {how}", again=AGAIN))

    def _fail(self, job: _Job, error: BaseException) -> None:
        self._jobs.pop(job.future, None)
        if not job.future.done():
            job.future.set_exception(error)

    def _withdraw(self) -> None:
        """Take back what waits behind a trial that takes long."""
        now = time.monotonic()
        for place in self._places:
            if len(place.jobs) > 1 and now - place.heard > LONG and not place.is_withdrawing:
                place.is_withdrawing = True
                self._seconds[place.needs] = LONG
                self._later(place.handle.call("withdraw"), partial(self._withdrawn, place))

    def _withdrawn(self, place: _Place, done: Future[Any]) -> None:
        place.is_withdrawing = False
        place.heard = time.monotonic()
        if done.exception() is not None:
            return  # it is lost, which is told elsewhere
        jobs = [job for number in done.result() if (job := place.jobs.pop(number, None)) is not None]
        for job in reversed(jobs):
            self._queues[job.needs].appendleft(job)

    def _lost(self, place: _Place, error: BaseException) -> None:
        if place not in self._places:
            return
        self._places.remove(place)
        place.handle.kill()
        why = self._hired.why(error)
        for job in place.jobs.values():
            if why is None:  # it is there, but cannot say or understand something
                self._fail(job, WorkerError(f"{type(error).__name__}: {error}"))
            else:
                self._fail(job, WorkerLost(f"the worker was lost: {why}", again=0 if job.is_ended else AGAIN))

    def _interrupt(self) -> None:
        for job in self._drained():
            self._fail(job, KeyboardInterrupt())
        for place in self._places:
            for job in place.jobs.values():
                job.is_ended = True
            if place.jobs:
                place.handle.call("interrupt")

    def _end(self, job: _Job) -> None:
        queue = self._queues.get(job.needs, deque())
        if job in queue:
            queue.remove(job)
            self._fail(job, WorkerLost("the trial was ended before it began"))
        for place in self._places:
            if job.number in place.jobs:
                job.is_ended = True
                place.handle.call("end", job.number)

    def _end_by_force(self, job: _Job) -> None:
        for place in self._places[:]:
            if job.number in place.jobs:
                self._places.remove(place)
                place.handle.kill()
                for other in place.jobs.values():
                    lost = "its trial was ended" if other is job else "the trial before it was ended"
                    self._fail(other, WorkerLost(f"the worker was lost: {lost}", again=0 if other is job else AGAIN))
        self._fail(job, WorkerLost("its trial was ended"))

    def _dismiss(self) -> None:
        for place in self._places[:]:
            if not place.jobs:
                self._release(place)

    def _release(self, place: _Place) -> None:
        """Let an idle agent end in order."""
        self._places.remove(place)
        self._leaving.append(place.handle)
        self._later(place.handle.call("close"), lambda done: self._released(place.handle))

    def _released(self, handle: Handle) -> None:
        self._leaving.remove(handle)
        handle.kill()

    def _close(self) -> None:
        self._is_over = True
        for job in self._drained():
            self._fail(job, WorkerLost("the engine was closed before the trial began"))
        closing = [(place, place.handle.call("close")) for place in self._places if place.is_ready]
        until = time.monotonic() + PATIENCE
        for _, closed in closing:
            with suppress(BaseException):
                closed.exception(max(0.0, until - time.monotonic()))
        for handle in self._leaving:
            handle.kill()
        for place in self._places:
            place.handle.kill()
            for job in place.jobs.values():
                self._fail(job, WorkerLost("the worker was lost: the engine was closed"))
        for job in list(self._jobs.values()):
            self._fail(job, WorkerLost("the engine was closed"))
        self._places.clear()
