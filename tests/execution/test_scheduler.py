"""The scheduler, with engines that behave as each test needs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import machinable as ml
from machinable import errors, events
from machinable.engines.base import Work, WorkerLost
from machinable.engines.local import LocalEngine
from machinable.plan.spec import Outcome, TrialSpec
from tests.conftest import World

MODULE = """
import threading
from machinable import Component

RUNNING, MOST, LOCK = set(), [], threading.Lock()
TOGETHER = threading.Barrier(2, timeout=10)


class Work(Component):
    def on_execute(self):
        with LOCK:
            RUNNING.add(self.flags.UID)
            MOST.append(len(RUNNING))
        if self.config.get("meet"):
            TOGETHER.wait()
        with LOCK:
            RUNNING.discard(self.flags.UID)
"""


class Threads(ml.Engine):
    """Runs trials in threads; what they print is nobody's business here."""

    name = "threads"

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.pool = ThreadPoolExecutor(slots)

    def submit(self, work: Callable[[Any], Any], spec: Any) -> Future[Any]:
        return self.pool.submit(work, spec)

    def close(self) -> None:
        self.pool.shutdown()


class Losing(Threads):
    """Loses the first trial, as an engine whose worker dies."""

    def submit(self, work: Callable[[Any], Any], spec: Any) -> Future[Any]:
        if spec.index == 0 and spec.attempt == 1:
            future: Future[Any] = Future()
            future.set_exception(RuntimeError("the worker is gone"))
            return future
        return super().submit(work, spec)


class Ahead(Threads):
    """Has one thread, and wants one trial to wait for it. The first trial goes on when it has that, if it `holds`."""

    prefetch = 1  # type: ignore[assignment]

    def __init__(self, holds: bool) -> None:
        super().__init__(1)
        self.open: list[int] = []  # how many had not ended when the next one came
        self._futures: list[Future[Any]] = []
        self._has_more = threading.Event()
        if not holds:
            self._has_more.set()

    def submit(self, work: Callable[[Any], Any], spec: Any) -> Future[Any]:
        self.open.append(sum(not future.done() for future in self._futures))
        if len(self.open) > 1:
            self._has_more.set()
        self._futures.append(self.pool.submit(lambda: self._has_more.wait(30) and work(spec)))
        return self._futures[-1]

    def end(self, future: Future[Any]) -> None:
        future.exception()


def most_at_once() -> int:
    import work

    return max(work.MOST)


def test_an_engine_gets_as_many_trials_as_it_has_slots(project: World) -> None:
    project("components:\n  - work: {meet: true}\n", work=MODULE)
    assert ml.execute(ml.Task("work").repeat(4), engine=Threads(2)).status == "finished"
    assert most_at_once() == 2


def test_an_engine_may_prefetch_trials(project: World) -> None:
    project("components:\n  - work:\n", work=MODULE)
    engine = Ahead(holds=True)

    assert ml.execute(ml.Task("work").repeat(4), engine=engine).status == "finished"

    assert engine.open[:2] == [0, 1]
    assert max(engine.open) == 1
    assert most_at_once() == 1


@pytest.mark.parametrize("options", [{"on_failure": "stop"}, {"timeout": 100}])
def test_nothing_is_prefetched_with_stop_or_a_timeout(options: Any, project: World) -> None:
    project("components:\n  - work:\n", work=MODULE)
    engine = Ahead(holds=False)

    assert ml.execute(ml.Task("work").repeat(4), engine=engine, **options).status == "finished"

    assert engine.open == [0, 0, 0, 0]


def test_declared_capacities_are_honoured(project: World) -> None:
    project("execution: {resources: {license: 3}}\ncomponents:\n  - work: {_resources_: {license: 2}}\n", work=MODULE)
    assert ml.execute(ml.Task("work").repeat(6), engine=Threads(4)).status == "finished"
    assert most_at_once() == 1


def test_a_smaller_trial_may_overtake_a_waiting_one(project: World) -> None:
    project("execution: {resources: {seats: 2}}\ncomponents:\n  - work: {}\n", work=MODULE)
    task = ml.Task()
    for seats in (1, 2, 1):
        task.component("work", {"meet": seats == 1}, resources={"seats": seats})
    started: list[int] = []

    def note(event: events.Event) -> None:
        if isinstance(event, events.TrialStarted):
            started.append(event.index)

    assert ml.execute(task, engine=Threads(2), listeners=[note]).status == "finished"
    assert started == [0, 2, 1]


def test_a_trial_that_its_engine_loses_fails_and_the_others_continue(project: World, tmp_path: Path) -> None:
    project("components:\n  - work: {}\n", work=MODULE)
    with pytest.raises(errors.TrialsFailed, match="1 of 2 trials"):
        ml.execute(ml.Task("work").repeat(2), tmp_path, seed="OY1p1o", engine=Losing(1))
    trials = ml.Storage(tmp_path)["OY1p1o"].trials
    assert [trial.status for trial in trials] == ["failed", "finished"]
    assert trials[0].error is not None
    assert trials[0].error["message"] == "the worker is gone"


class Wrong(Threads):
    """Gives something else for the first trial."""

    def __init__(self, given: Callable[[], Any]) -> None:
        super().__init__(1)
        self._given = given

    def submit(self, work: Callable[[Any], Any], spec: Any) -> Future[Any]:
        given: Future[Any] = self._given() if spec.index == 0 else super().submit(work, spec)
        return given


def cancelled() -> Future[Any]:
    future: Future[Any] = Future()
    future.cancel()
    return future


def no_outcome() -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result({"state": "finished"})
    return future


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda: 1 // 0, "integer division or modulo by zero"),
        (lambda: "nothing", "the engine 'threads' returned 'nothing' instead of a future"),
        (cancelled, "the engine has cancelled the trial"),
        (no_outcome, "the engine returned {'state': 'finished'} instead of an outcome"),
    ],
)
def test_an_error_of_an_engine_fails_a_trial_and_the_others_continue(
    given: Callable[[], Any], message: str, project: World, tmp_path: Path
) -> None:
    project("components:\n  - work: {}\n", work=MODULE)
    with pytest.raises(errors.TrialsFailed, match="1 of 2 trials"):
        ml.execute(ml.Task("work").repeat(2), tmp_path, seed="OY1p1o", engine=Wrong(given))
    trials = ml.Storage(tmp_path)["OY1p1o"].trials
    assert [trial.status for trial in trials] == ["failed", "finished"]
    assert trials[0].error is not None
    assert trials[0].error["message"].endswith(message)


def test_a_lost_trial_can_be_retried(project: World) -> None:
    project("components:\n  - work: {}\n", work=MODULE)
    execution = ml.execute(ml.Task("work").repeat(2), engine=Losing(1), retries=1)
    assert [(trial.status, trial.attempt) for trial in execution.trials] == [("finished", 2), ("finished", 1)]


def test_a_timeout_is_refused_where_trials_run_in_other_threads(project: World, tmp_path: Path) -> None:
    project("components:\n  - work: {}\n", work=MODULE)
    with pytest.raises(errors.Refused, match="the engine 'threads' cannot end a trial that exceeds its timeout"):
        ml.execute("work", tmp_path / "s", engine=Threads(1), timeout=1)
    assert not (tmp_path / "s").exists()


def test_a_timeout_on_local_is_refused_outside_the_main_thread(project: World, tmp_path: Path) -> None:
    project("components:\n  - work: {}\n", work=MODULE)
    caught: list[BaseException] = []

    def run() -> None:
        try:
            ml.execute("work", tmp_path / "s", timeout=1)
        except errors.Refused as error:
            caught.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert "only the main thread" in str(caught[0])
    assert not (tmp_path / "s").exists()


def test_others_run_while_a_failed_trial_waits_for_its_retry(project: World) -> None:
    module = """
from machinable import Component


class Work(Component):
    def on_execute(self):
        if self.config.fails and self.flags.ATTEMPT == 1:
            raise OSError("once")
"""
    project("components:\n  - work: {fails: false}\n", work=module)
    order: list[tuple[int, int]] = []

    def note(event: events.Event) -> None:
        if isinstance(event, events.TrialStarted):
            order.append((event.index, event.attempt))

    task = ml.Task().component("work", [{"fails": True}, {"fails": False}])
    ml.execute(task, retries=1, retry_delay=0.05, listeners=[note])
    assert order == [(0, 1), (1, 1), (0, 2)]


PREEMPTED = """
from machinable import Component


class Long(Component):
    def on_execute_iteration(self, iteration):
        self.record["iteration"] = iteration
        if iteration == 6:
            return StopIteration
        if iteration == self.flags.ATTEMPT:
            raise RuntimeError("the host is needed for something else")

    def on_save(self, path, timestep):
        pass

    def on_restore(self, path):
        pass
"""


class Preempting(LocalEngine):
    """Its hosts end trials, which are retried once without a new checkpoint."""

    def submit(self, work: Work, spec: TrialSpec) -> Future[Outcome]:
        future = super().submit(work, spec)
        if future.result().state == "finished":
            return future
        lost: Future[Outcome] = Future()
        lost.set_exception(WorkerLost("preempted", again=1))
        return lost


@pytest.mark.parametrize(("every", "status", "attempts"), [(1, "finished", 6), (100, "failed", 2)])
def test_a_trial_whose_worker_is_lost_goes_on_as_long_as_it_saves_checkpoints(
    project: World, every: int, status: str, attempts: int
) -> None:
    project(f"components: [long: {{_checkpoints_: {{every: {every}}}}}]", long=PREEMPTED)

    execution = ml.execute("long", "results", engine=Preempting(), on_failure="continue")

    (trial,) = execution.trials
    assert (trial.status, trial.attempt) == (status, attempts)
    if every == 1:
        assert [row["iteration"] for row in trial.records] == list(range(7))
