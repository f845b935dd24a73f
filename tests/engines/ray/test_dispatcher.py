"""Which trials agents on other hosts get, decided without any other host: agents here are what the tests say."""

from __future__ import annotations

import pickle
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future
from queue import Queue
from typing import Any

import pytest
from msgspec import structs

from machinable.engines.base import PortableWork, WorkerError, WorkerLost
from machinable.engines.ray.actor import Reply, TrialRequest
from machinable.engines.ray.dispatcher import AGAIN, FAILURES, SHORT, Dispatcher
from machinable.plan.spec import Outcome, TrialSpec
from machinable.serialization import dumps
from tests.engines.works import pid, trial

PATIENCE = 30.0


class Gone(Exception):
    """What calls of an agent raise that was lost."""


class Call:
    """What an agent was asked for."""

    def __init__(self, agent: FakeAgent, method: str, arguments: tuple[Any, ...]) -> None:
        self.agent = agent
        self.method = method
        self.arguments = arguments
        self.future: Future[Any] = Future()


class FakeAgent:
    """An agent that leaves its answers to the test."""

    def __init__(self, world: World, number: int, needs: Hashable) -> None:
        self.world = world
        self.number = number
        self.needs = needs
        self.is_killed = False

    def call(self, method: str, *arguments: Any) -> Future[Any]:
        call = Call(self, method, arguments)
        if method == "close":
            call.future.set_result(None)
        else:
            self.world.calls[method].put(call)
        return call.future

    def kill(self) -> None:
        self.is_killed = True


class World:
    """Hires agents, and keeps what they are asked for."""

    def __init__(self) -> None:
        names = ("look", "exchange", "interrupt", "end")
        self.calls: dict[str, Queue[Call]] = {name: Queue() for name in names}
        self.agents: list[FakeAgent] = []
        self.most = 1
        self.asking: Call | None = None  # the one that waits for replies

    def hire(self, needs: Hashable) -> FakeAgent:
        self.agents.append(FakeAgent(self, len(self.agents), needs))
        return self.agents[-1]

    def limit(self, needs: Hashable) -> int:
        return self.most

    def why(self, error: BaseException) -> str | None:
        return str(error) if isinstance(error, Gone) else None

    def shortage(self, needs: Hashable) -> str:
        return f"no agent for {needs}"

    def keep(self, data: bytes) -> Any:
        return data

    def fetch(self, kept: Any) -> Future[bytes]:
        future: Future[bytes] = Future()
        future.set_result(kept)
        return future

    def next(self, method: str) -> Call:
        """The next call of that name."""
        return self.calls[method].get(timeout=PATIENCE)

    def ready(self, reached: bool = True) -> FakeAgent:
        """Let the next agent be there."""
        call = self.next("look")
        call.future.set_result(reached)
        return call.agent

    def given(self) -> list[TrialRequest]:
        """What an agent gets next."""
        return list(self.exchange(lambda errands: bool(errands)).arguments[0])

    def answer(self, *replies: Reply) -> None:
        """Let an agent say something."""
        call = self.asking or self.exchange(lambda errands: not errands)
        self.asking = None
        call.future.set_result(list(replies))

    def exchange(self, is_meant: Callable[[list[TrialRequest]], bool]) -> Call:
        """The next exchange of that kind; what wants no replies gets none."""
        while True:
            call = self.next("exchange")
            errands, number, *_ = call.arguments
            if number:
                self.asking = call
            else:
                call.future.set_result([])
            if is_meant(errands):
                return call


def finished(errand: TrialRequest, seconds: float = 1.0) -> Reply:
    outcome = Outcome(pickle.loads(errand.spec).uid, "finished", 1, seconds)
    return Reply("outcome", errand.number, dumps({"outcome": structs.asdict(outcome)}).encode())


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def dispatcher(world: World) -> Iterator[Dispatcher]:
    dispatcher = Dispatcher(world, 1, lambda: None)
    yield dispatcher
    dispatcher.close()


class Work(PortableWork):
    """Work that can be done elsewhere, and needs folders."""

    def __init__(self, folders: list[str]) -> None:
        self.folders = folders

    def __call__(self, spec: TrialSpec) -> Outcome:
        raise AssertionError("nobody does it")

    def is_reached(self) -> bool:
        return False

    def moved(self, project: str, url: str | None) -> Work:
        return self

    def folder_of(self, spec: TrialSpec) -> str:
        return "home"

    def folders_needed(self, spec: TrialSpec) -> list[str]:
        return self.folders


def submit(dispatcher: Dispatcher, number: int, needs: Hashable = "one") -> Future[Outcome]:
    return dispatcher.submit(pid, trial(number), needs)


def learn(world: World, dispatcher: Dispatcher, seconds: float) -> FakeAgent:
    """Let one trial take so long."""
    future = submit(dispatcher, 0)
    agent = world.ready()
    (errand,) = world.given()
    world.answer(finished(errand, seconds))
    future.result(PATIENCE)
    until = time.monotonic() + PATIENCE
    while not dispatcher.prefetch and seconds < SHORT and time.monotonic() < until:
        time.sleep(0)  # it thinks about that right after the outcome
    return agent


def test_trials_go_one_by_one_as_long_as_nobody_knows_how_long_they_take(world: World, dispatcher: Dispatcher) -> None:
    futures = [submit(dispatcher, number) for number in range(3)]
    world.ready()

    for number in range(3):
        (errand,) = world.given()
        assert pickle.loads(errand.spec).uid == f"{number:012d}"
        world.answer(finished(errand))
    assert [future.result(PATIENCE).uid for future in futures] == [f"{n:012d}" for n in range(3)]
    assert len(world.agents) == 1
    assert dispatcher.slots == 1


def test_short_trials_go_several_at_a_time(world: World, dispatcher: Dispatcher) -> None:
    learn(world, dispatcher, 0.001)
    futures = [submit(dispatcher, number) for number in range(1, 200)]
    most = done = 0
    errands: list[TrialRequest] = []
    while done < len(futures):
        errands += world.given()
        most = max(most, len(errands))
        world.answer(*(finished(errand, 0.001) for errand in errands))
        done += len(errands)
        errands = []

    assert {future.result(PATIENCE).state for future in futures} == {"finished"}
    assert most > 10
    assert (dispatcher.slots, dispatcher.prefetch) == (20, 40)


@pytest.mark.parametrize(("seconds", "room"), [(0.01, (2, 4)), (0.05, (1, 2)), (0.5, (1, 0))])
def test_the_next_trial_is_at_hand_unless_trials_take_long(
    seconds: float, room: tuple[int, int], world: World, dispatcher: Dispatcher
) -> None:
    learn(world, dispatcher, seconds)

    assert (dispatcher.slots, dispatcher.prefetch) == room


def test_short_trials_are_shared_out_evenly(
    world: World, dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn(world, dispatcher, 0.001)
    world.most = 2
    for number in range(1, 3):
        submit(dispatcher, number)
    world.ready()
    for number in range(3, 31):
        submit(dispatcher, number)

    given: Counter[int] = Counter()
    while given.total() < 30:
        call = world.exchange(lambda errands: bool(errands))
        given[call.agent.number] += len(call.arguments[0])
    assert given == {0: 15, 1: 15}


def test_what_comes_while_agents_are_busy_is_given_to_them_later(world: World, dispatcher: Dispatcher) -> None:
    futures = [submit(dispatcher, number) for number in range(2)]
    world.ready()
    (errand,) = world.given()
    until = time.monotonic() + PATIENCE
    while not dispatcher._saturated and time.monotonic() < until:
        time.sleep(0)
    futures += [submit(dispatcher, number) for number in range(2, 4)]
    for number in range(4):
        assert pickle.loads(errand.spec).uid == f"{number:012d}"
        world.answer(finished(errand))
        if number < 3:
            (errand,) = world.given()

    assert [future.result(PATIENCE).uid for future in futures] == [f"{n:012d}" for n in range(4)]


def test_what_waits_behind_a_trial_that_turns_out_long_is_given_to_others(world: World, dispatcher: Dispatcher) -> None:
    first = learn(world, dispatcher, 0.001)
    futures = [submit(dispatcher, number) for number in range(1, 10)]
    given = world.given()
    while len(given) < 2:
        given += world.given()  # the first may go alone
    world.most = 2
    world.answer(*(Reply("returned", errand.number) for errand in given[1:]))
    second = world.ready()

    assert second is not first
    (errand,) = world.given()
    assert errand.number == given[1].number
    assert not any(future.done() for future in futures)
    assert [future.began is not None for future in futures[:3]] == [True, True, False]  # type: ignore[attr-defined]


def test_the_trials_of_a_lost_agent_are_lost_and_to_be_tried_again(world: World, dispatcher: Dispatcher) -> None:
    future = submit(dispatcher, 0)
    agent = world.ready()
    world.next("exchange").future.set_exception(Gone("the host has burnt down"))

    problem = future.exception(PATIENCE)
    assert isinstance(problem, WorkerLost)
    assert (str(problem), problem.again) == ("the worker was lost: the host has burnt down", AGAIN)
    assert agent.is_killed
    submit(dispatcher, 1)
    assert world.ready() is not agent


def test_an_agent_that_is_lost_when_it_gets_more_loses_what_it_has_too(world: World, dispatcher: Dispatcher) -> None:
    learn(world, dispatcher, 0.001)
    first = submit(dispatcher, 1)
    world.given()
    second = submit(dispatcher, 2)
    call = world.next("exchange")
    call.future.set_exception(Gone("the host has burnt down"))

    assert [errand.number for errand in call.arguments[0]] == [3]
    assert call.arguments[1] == 0  # it waits for replies already
    for future in (first, second):
        assert str(future.exception(PATIENCE)) == "the worker was lost: the host has burnt down"


def test_a_worker_that_somebody_killed_is_no_fault_of_its_trial_but_one_that_crashed_is(
    world: World, dispatcher: Dispatcher
) -> None:
    futures = [submit(dispatcher, number) for number in range(3)]
    world.ready()
    for code in (-9, -11, 3):
        (errand,) = world.given()
        world.answer(Reply("lost", errand.number, text="it was lost", code=code))

    problems = [future.exception(PATIENCE) for future in futures]
    assert [problem.again for problem in problems if isinstance(problem, WorkerLost)] == [AGAIN, 0, 0]


def test_what_cannot_be_understood_is_an_error_and_another_agent_goes_on(world: World, dispatcher: Dispatcher) -> None:
    future = submit(dispatcher, 0)
    following = submit(dispatcher, 1)
    world.ready()
    world.next("exchange").future.set_exception(ValueError("nobody can read that"))

    assert str(future.exception(PATIENCE)) == "ValueError: nobody can read that"
    assert isinstance(future.exception(0), WorkerError)
    world.ready()
    (errand,) = world.given()
    world.answer(finished(errand))
    assert following.result(PATIENCE).uid == "000000000001"


def test_without_any_agent_that_could_begin_the_trials_fail_with_the_reason(
    world: World, dispatcher: Dispatcher
) -> None:
    future = submit(dispatcher, 0)
    for _ in range(FAILURES):
        world.next("look").future.set_exception(Gone("it does not start"))

    assert str(future.exception(PATIENCE)) == "no worker could be started: it does not start"


def test_idle_agents_make_room_for_trials_that_need_others(world: World, dispatcher: Dispatcher) -> None:
    agent = learn(world, dispatcher, 1.0)
    submit(dispatcher, 1, "two")
    other = world.next("look").agent

    assert other.needs == "two"
    dispatcher.end(submit(dispatcher, 2, "two"))  # notes are read in order
    assert agent.is_killed


def test_an_interrupt_ends_what_waits_and_is_passed_on_to_what_runs(world: World, dispatcher: Dispatcher) -> None:
    running, waiting = submit(dispatcher, 0), submit(dispatcher, 1)
    world.ready()
    (errand,) = world.given()
    dispatcher.interrupt()

    assert isinstance(waiting.exception(PATIENCE), KeyboardInterrupt)
    world.next("interrupt")
    world.answer(Reply("interrupted", errand.number))
    assert isinstance(running.exception(PATIENCE), KeyboardInterrupt)


def test_a_trial_that_waits_can_be_ended(world: World, dispatcher: Dispatcher) -> None:
    future = submit(dispatcher, 0)
    dispatcher.end(future)

    assert str(future.exception(0)) == "the trial was ended before it began"


def test_an_agent_that_does_not_end_a_trial_is_ended_itself(
    world: World, dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("machinable.engines.ray.dispatcher.SHUTDOWN_TIMEOUT", 0.01)
    future = submit(dispatcher, 0)
    agent = world.ready()
    world.given()
    dispatcher.end(future)

    problem = future.exception(0)
    assert isinstance(problem, WorkerLost)
    assert (str(problem), problem.again) == ("the worker was lost: its trial was ended", 0)
    assert agent.is_killed


def test_folders_go_to_agents_that_do_not_reach_the_storage_and_come_back(world: World, dispatcher: Dispatcher) -> None:
    stored: list[bytes] = []

    class StorageTransfer:
        def fetch(self, path: str) -> bytes:
            return path.encode()

        def store(self, archive: bytes) -> None:
            stored.append(archive)

    dispatcher.transfer = StorageTransfer()
    work = Work(["a", "b"])
    futures = [dispatcher.submit(work, trial(number), "one") for number in range(2)]
    world.ready(reached=False)
    luggage = []
    for _ in futures:
        call = world.exchange(lambda errands: bool(errands))
        luggage.append(call.arguments[3:])
        (errand,) = call.arguments[0]
        world.answer(finished(errand)._replace(archive=b"home"))

    assert [future.result(PATIENCE).state for future in futures] == ["finished"] * 2
    assert (luggage, stored) == ([(2, b"a", b"b"), (2,)], [b"home"] * 2)  # the first of each: how many it must have


def test_a_folder_that_cannot_be_stored_or_had_fails_its_trial(world: World, dispatcher: Dispatcher) -> None:
    class StorageTransfer:
        def fetch(self, path: str) -> bytes:
            raise FileNotFoundError(path)

        def store(self, archive: bytes) -> None:
            raise OSError("the disk is full")

    dispatcher.transfer = StorageTransfer()
    first, second = dispatcher.submit(Work(["gone"]), trial(0), "one"), submit(dispatcher, 1)
    world.ready(reached=False)
    world.ready(reached=False)  # for the other work
    (errand,) = world.given()
    world.answer(finished(errand)._replace(archive=b"home"))

    assert [repr(future.exception(PATIENCE)) for future in (first, second)] == [
        "FileNotFoundError('gone')",
        "OSError('the disk is full')",
    ]


def test_an_error_of_its_own_ends_all_trials_instead_of_letting_them_wait(
    world: World, dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(needs: Hashable) -> FakeAgent:
        raise RuntimeError("the cluster is gone")

    monkeypatch.setattr(world, "hire", fails)
    futures = [submit(dispatcher, number) for number in range(2)]

    assert {str(future.exception(PATIENCE)) for future in futures} == {"the cluster is gone"}


def test_closing_ends_what_runs_and_what_waits(world: World) -> None:
    dispatcher = Dispatcher(world, 1, lambda: None)
    futures = [submit(dispatcher, number) for number in range(2)]
    agent = world.ready()
    world.given()
    dispatcher.close()

    assert [str(future.exception(0)) for future in futures] == [
        "the worker was lost: the engine was closed",
        "the engine was closed before the trial began",
    ]
    assert agent.is_killed


def test_progress_is_passed_on(world: World) -> None:
    told: Queue[tuple[Any, ...]] = Queue()

    def listener(*facts: Any) -> None:
        told.put(facts)

    dispatcher = Dispatcher(world, 1, lambda: listener)
    submit(dispatcher, 0)
    world.ready()
    world.given()
    world.answer(Reply("progress", progress=("u", 1, None)))

    assert told.get(timeout=PATIENCE) == ("u", 1, None)
    dispatcher.close()


def test_who_is_told_that_no_agents_come_can_break_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("machinable.engines.ray.dispatcher.NO_WORKER_NOTICE_AFTER", 0.05)
    told: Queue[str] = Queue()

    def hear(text: str) -> None:
        told.put(text)
        raise RuntimeError(text)

    dispatcher = Dispatcher(world, 1, lambda: None, hear)
    try:
        future = submit(dispatcher, 0)
        told.get(timeout=PATIENCE)
        world.ready()
        (errand,) = world.given()
        world.answer(finished(errand))
        assert future.result(PATIENCE).state == "finished"
    finally:
        dispatcher.close()


def test_when_no_agents_come_it_is_told_once_for_each_time_that_trials_wait(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("machinable.engines.ray.dispatcher.NO_WORKER_NOTICE_AFTER", 0.05)
    told: Queue[str] = Queue()
    dispatcher = Dispatcher(world, 1, lambda: None, told.put)
    try:
        first = submit(dispatcher, 0, "gpu")
        assert told.get(timeout=PATIENCE) == "no agent for gpu"
        submit(dispatcher, 1, "gpu")
        world.ready()
        for _ in range(2):
            (errand,) = world.given()
            world.answer(finished(errand))
        assert first.result(PATIENCE)

        submit(dispatcher, 2, "tpu")
        assert told.get(timeout=PATIENCE) == "no agent for tpu"
        world.ready()
        world.given()
        assert told.empty()
    finally:
        dispatcher.close()
