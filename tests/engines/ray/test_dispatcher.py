"""Which trials actors on other hosts get, decided without any other host: actors here are what the tests say."""

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

RESULT_TIMEOUT = 30.0


class Gone(Exception):
    """What calls of an actor raise that was lost."""


class Call:
    """What an actor was asked for."""

    def __init__(self, actor: FakeActor, method: str, arguments: tuple[Any, ...]) -> None:
        self.actor = actor
        self.method = method
        self.arguments = arguments
        self.future: Future[Any] = Future()


class FakeActor:
    """An actor that leaves its answers to the test."""

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
    """Hires actors, and keeps what they are asked for."""

    def __init__(self) -> None:
        names = ("look", "exchange", "interrupt", "end")
        self.calls: dict[str, Queue[Call]] = {name: Queue() for name in names}
        self.actors: list[FakeActor] = []
        self.most = 1
        self.asking: Call | None = None  # the one that waits for replies

    def hire(self, needs: Hashable) -> FakeActor:
        self.actors.append(FakeActor(self, len(self.actors), needs))
        return self.actors[-1]

    def limit(self, needs: Hashable) -> int:
        return self.most

    def why(self, error: BaseException) -> str | None:
        return str(error) if isinstance(error, Gone) else None

    def shortage(self, needs: Hashable) -> str:
        return f"no actor for {needs}"

    def keep(self, data: bytes) -> Any:
        return data

    def fetch(self, kept: Any) -> Future[bytes]:
        future: Future[bytes] = Future()
        future.set_result(kept)
        return future

    def next(self, method: str) -> Call:
        """The next call of that name."""
        return self.calls[method].get(timeout=RESULT_TIMEOUT)

    def ready(self, reached: bool = True) -> FakeActor:
        """Let the next actor be there."""
        call = self.next("look")
        call.future.set_result(reached)
        return call.actor

    def given(self) -> list[TrialRequest]:
        """What an actor gets next."""
        return list(self.exchange(lambda requests: bool(requests)).arguments[0])

    def answer(self, *replies: Reply) -> None:
        """Let an actor say something."""
        call = self.asking or self.exchange(lambda requests: not requests)
        self.asking = None
        call.future.set_result(list(replies))

    def exchange(self, is_meant: Callable[[list[TrialRequest]], bool]) -> Call:
        """The next exchange of that kind; what wants no replies gets none."""
        while True:
            call = self.next("exchange")
            requests, number, *_ = call.arguments
            if number:
                self.asking = call
            else:
                call.future.set_result([])
            if is_meant(requests):
                return call


def finished(request: TrialRequest, seconds: float = 1.0) -> Reply:
    outcome = Outcome(pickle.loads(request.spec).uid, "finished", 1, seconds)
    return Reply("outcome", request.number, dumps({"outcome": structs.asdict(outcome)}).encode())


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
        raise AssertionError("it is not run")

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


def learn(world: World, dispatcher: Dispatcher, seconds: float) -> FakeActor:
    """Let one trial take so long."""
    future = submit(dispatcher, 0)
    actor = world.ready()
    (request,) = world.given()
    world.answer(finished(request, seconds))
    future.result(RESULT_TIMEOUT)
    until = time.monotonic() + RESULT_TIMEOUT
    while not dispatcher.prefetch and seconds < SHORT and time.monotonic() < until:
        time.sleep(0)  # it thinks about that right after the outcome
    return actor


def test_trials_go_one_by_one_as_long_as_it_is_unknown_how_long_they_take(world: World, dispatcher: Dispatcher) -> None:
    futures = [submit(dispatcher, number) for number in range(3)]
    world.ready()

    for number in range(3):
        (request,) = world.given()
        assert pickle.loads(request.spec).uid == f"{number:012d}"
        world.answer(finished(request))
    assert [future.result(RESULT_TIMEOUT).uid for future in futures] == [f"{n:012d}" for n in range(3)]
    assert len(world.actors) == 1
    assert dispatcher.slots == 1


def test_short_trials_go_several_at_a_time(world: World, dispatcher: Dispatcher) -> None:
    learn(world, dispatcher, 0.001)
    futures = [submit(dispatcher, number) for number in range(1, 200)]
    most = done = 0
    requests: list[TrialRequest] = []
    while done < len(futures):
        requests += world.given()
        most = max(most, len(requests))
        world.answer(*(finished(request, 0.001) for request in requests))
        done += len(requests)
        requests = []

    assert {future.result(RESULT_TIMEOUT).state for future in futures} == {"finished"}
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
        call = world.exchange(lambda requests: bool(requests))
        given[call.actor.number] += len(call.arguments[0])
    assert given == {0: 15, 1: 15}


def test_what_comes_while_actors_are_busy_is_given_to_them_later(world: World, dispatcher: Dispatcher) -> None:
    futures = [submit(dispatcher, number) for number in range(2)]
    world.ready()
    (request,) = world.given()
    until = time.monotonic() + RESULT_TIMEOUT
    while not dispatcher._saturated and time.monotonic() < until:
        time.sleep(0)
    futures += [submit(dispatcher, number) for number in range(2, 4)]
    for number in range(4):
        assert pickle.loads(request.spec).uid == f"{number:012d}"
        world.answer(finished(request))
        if number < 3:
            (request,) = world.given()

    assert [future.result(RESULT_TIMEOUT).uid for future in futures] == [f"{n:012d}" for n in range(4)]


def test_what_waits_behind_a_trial_that_turns_out_long_is_given_to_others(world: World, dispatcher: Dispatcher) -> None:
    first = learn(world, dispatcher, 0.001)
    futures = [submit(dispatcher, number) for number in range(1, 10)]
    given = world.given()
    while len(given) < 2:
        given += world.given()  # the first may go alone
    world.most = 2
    world.answer(*(Reply("returned", request.number) for request in given[1:]))
    second = world.ready()

    assert second is not first
    (request,) = world.given()
    assert request.number == given[1].number
    assert not any(future.done() for future in futures)
    assert [future.began is not None for future in futures[:3]] == [True, True, False]  # type: ignore[attr-defined]


def test_the_trials_of_a_lost_actor_are_lost_and_to_be_tried_again(world: World, dispatcher: Dispatcher) -> None:
    future = submit(dispatcher, 0)
    actor = world.ready()
    world.next("exchange").future.set_exception(Gone("the host has burnt down"))

    problem = future.exception(RESULT_TIMEOUT)
    assert isinstance(problem, WorkerLost)
    assert (str(problem), problem.again) == ("the worker was lost: the host has burnt down", AGAIN)
    assert actor.is_killed
    submit(dispatcher, 1)
    assert world.ready() is not actor


def test_an_actor_that_is_lost_when_it_gets_more_loses_what_it_has_too(world: World, dispatcher: Dispatcher) -> None:
    learn(world, dispatcher, 0.001)
    first = submit(dispatcher, 1)
    world.given()
    second = submit(dispatcher, 2)
    call = world.next("exchange")
    call.future.set_exception(Gone("the host has burnt down"))

    assert [request.number for request in call.arguments[0]] == [3]
    assert call.arguments[1] == 0  # it waits for replies already
    for future in (first, second):
        assert str(future.exception(RESULT_TIMEOUT)) == "the worker was lost: the host has burnt down"


def test_a_worker_that_was_killed_from_outside_is_no_fault_of_its_trial_but_one_that_crashed_is(
    world: World, dispatcher: Dispatcher
) -> None:
    futures = [submit(dispatcher, number) for number in range(3)]
    world.ready()
    for code in (-9, -11, 3):
        (request,) = world.given()
        world.answer(Reply("lost", request.number, text="it was lost", code=code))

    problems = [future.exception(RESULT_TIMEOUT) for future in futures]
    assert [problem.again for problem in problems if isinstance(problem, WorkerLost)] == [AGAIN, 0, 0]


def test_what_cannot_be_understood_is_an_error_and_another_actor_goes_on(world: World, dispatcher: Dispatcher) -> None:
    future = submit(dispatcher, 0)
    following = submit(dispatcher, 1)
    world.ready()
    world.next("exchange").future.set_exception(ValueError("not readable"))

    assert str(future.exception(RESULT_TIMEOUT)) == "ValueError: not readable"
    assert isinstance(future.exception(0), WorkerError)
    world.ready()
    (request,) = world.given()
    world.answer(finished(request))
    assert following.result(RESULT_TIMEOUT).uid == "000000000001"


def test_without_any_actor_that_could_begin_the_trials_fail_with_the_reason(
    world: World, dispatcher: Dispatcher
) -> None:
    future = submit(dispatcher, 0)
    for _ in range(FAILURES):
        world.next("look").future.set_exception(Gone("it does not start"))

    assert str(future.exception(RESULT_TIMEOUT)) == "no worker could be started: it does not start"


def test_idle_actors_make_room_for_trials_that_need_others(world: World, dispatcher: Dispatcher) -> None:
    actor = learn(world, dispatcher, 1.0)
    submit(dispatcher, 1, "two")
    other = world.next("look").actor

    assert other.needs == "two"
    dispatcher.end(submit(dispatcher, 2, "two"))  # notes are read in order
    assert actor.is_killed


def test_an_interrupt_ends_what_waits_and_is_passed_on_to_what_runs(world: World, dispatcher: Dispatcher) -> None:
    running, waiting = submit(dispatcher, 0), submit(dispatcher, 1)
    world.ready()
    (request,) = world.given()
    dispatcher.interrupt()

    assert isinstance(waiting.exception(RESULT_TIMEOUT), KeyboardInterrupt)
    world.next("interrupt")
    world.answer(Reply("interrupted", request.number))
    assert isinstance(running.exception(RESULT_TIMEOUT), KeyboardInterrupt)


def test_a_trial_that_waits_can_be_ended(world: World, dispatcher: Dispatcher) -> None:
    future = submit(dispatcher, 0)
    dispatcher.end(future)

    assert str(future.exception(0)) == "the trial was ended before it began"


def test_an_actor_that_does_not_end_a_trial_is_ended_itself(
    world: World, dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("machinable.engines.ray.dispatcher.SHUTDOWN_TIMEOUT", 0.01)
    future = submit(dispatcher, 0)
    actor = world.ready()
    world.given()
    dispatcher.end(future)

    problem = future.exception(0)
    assert isinstance(problem, WorkerLost)
    assert (str(problem), problem.again) == ("the worker was lost: its trial was ended", 0)
    assert actor.is_killed


def test_folders_go_to_actors_that_do_not_reach_the_storage_and_come_back(world: World, dispatcher: Dispatcher) -> None:
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
    bundles = []
    for _ in futures:
        call = world.exchange(lambda requests: bool(requests))
        bundles.append(call.arguments[3:])
        (request,) = call.arguments[0]
        world.answer(finished(request)._replace(archive=b"home"))

    assert [future.result(RESULT_TIMEOUT).state for future in futures] == ["finished"] * 2
    assert (bundles, stored) == ([(2, b"a", b"b"), (2,)], [b"home"] * 2)  # the first of each: how many it must have


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
    (request,) = world.given()
    world.answer(finished(request)._replace(archive=b"home"))

    assert [repr(future.exception(RESULT_TIMEOUT)) for future in (first, second)] == [
        "FileNotFoundError('gone')",
        "OSError('the disk is full')",
    ]


def test_an_error_of_its_own_ends_all_trials_instead_of_letting_them_wait(
    world: World, dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(needs: Hashable) -> FakeActor:
        raise RuntimeError("the cluster is gone")

    monkeypatch.setattr(world, "hire", fails)
    futures = [submit(dispatcher, number) for number in range(2)]

    assert {str(future.exception(RESULT_TIMEOUT)) for future in futures} == {"the cluster is gone"}


def test_closing_ends_what_runs_and_what_waits(world: World) -> None:
    dispatcher = Dispatcher(world, 1, lambda: None)
    futures = [submit(dispatcher, number) for number in range(2)]
    actor = world.ready()
    world.given()
    dispatcher.close()

    assert [str(future.exception(0)) for future in futures] == [
        "the worker was lost: the engine was closed",
        "the engine was closed before the trial began",
    ]
    assert actor.is_killed


def test_progress_is_passed_on(world: World) -> None:
    heard: Queue[tuple[Any, ...]] = Queue()

    def listener(*facts: Any) -> None:
        heard.put(facts)

    dispatcher = Dispatcher(world, 1, lambda: listener)
    submit(dispatcher, 0)
    world.ready()
    world.given()
    world.answer(Reply("progress", progress=("u", 1, None)))

    assert heard.get(timeout=RESULT_TIMEOUT) == ("u", 1, None)
    dispatcher.close()


def test_a_listener_that_fails_on_a_notice_breaks_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("machinable.engines.ray.dispatcher.NO_WORKER_NOTICE_AFTER", 0.05)
    heard: Queue[str] = Queue()

    def hear(text: str) -> None:
        heard.put(text)
        raise RuntimeError(text)

    dispatcher = Dispatcher(world, 1, lambda: None, hear)
    try:
        future = submit(dispatcher, 0)
        heard.get(timeout=RESULT_TIMEOUT)
        world.ready()
        (request,) = world.given()
        world.answer(finished(request))
        assert future.result(RESULT_TIMEOUT).state == "finished"
    finally:
        dispatcher.close()


def test_when_no_actors_come_it_is_reported_once_for_each_time_that_trials_wait(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("machinable.engines.ray.dispatcher.NO_WORKER_NOTICE_AFTER", 0.05)
    heard: Queue[str] = Queue()
    dispatcher = Dispatcher(world, 1, lambda: None, heard.put)
    try:
        first = submit(dispatcher, 0, "gpu")
        assert heard.get(timeout=RESULT_TIMEOUT) == "no actor for gpu"
        submit(dispatcher, 1, "gpu")
        world.ready()
        for _ in range(2):
            (request,) = world.given()
            world.answer(finished(request))
        assert first.result(RESULT_TIMEOUT)

        submit(dispatcher, 2, "tpu")
        assert heard.get(timeout=RESULT_TIMEOUT) == "no actor for tpu"
        world.ready()
        world.given()
        assert heard.empty()
    finally:
        dispatcher.close()
