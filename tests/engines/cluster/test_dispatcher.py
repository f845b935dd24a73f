"""Which trials actors get, without Ray: the tests reply in place of the actors."""

from __future__ import annotations

import pickle
import time
from collections import Counter
from collections.abc import Collection, Hashable, Iterator, Mapping
from concurrent.futures import Future
from queue import Queue
from typing import Any

import pytest
from msgspec import structs

from machinable.engines.base import OnProgress, WorkerLost
from machinable.engines.cluster.actor import Reply, TrialRequest
from machinable.engines.cluster.dispatcher import AGAIN, FAILURES, SHORT, Dispatcher
from machinable.plan.spec import Outcome
from machinable.serialization import dumps
from tests.engines.works import pid, trial

RESULT_TIMEOUT = 30.0


class Gone(Exception):
    """The error of calls to an actor that was lost."""


class Actor:
    """The handle of an actor."""

    def __init__(self, number: int, needs: Hashable, without: Collection[str]) -> None:
        self.number = number
        self.needs = needs
        self.without = set(without)
        self.is_killed = False


class Call:
    """A call to an actor, which the test answers."""

    def __init__(self, actor: Actor, arguments: tuple[Any, ...]) -> None:
        self.actor = actor
        self.arguments = arguments
        self.future: Future[Any] = Future()

    @property
    def requests(self) -> list[TrialRequest]:
        return list(self.arguments[0])

    def reply(self, *replies: Reply) -> None:
        self.future.set_result(([], list(replies)))

    def finish(self, seconds: float = 1.0) -> None:
        """Let all trials of the call finish."""
        self.reply(*(finished(request, seconds) for request in self.requests))


class World:
    """A cluster that keeps the calls to its actors for the test."""

    on_progress: OnProgress | None = None
    on_notice: Any = None

    def __init__(self) -> None:
        self.calls: dict[str, Queue[Call]] = {name: Queue() for name in ("prepare", "exchange", "interrupt", "end")}
        self.actors: list[Actor] = []
        self.hosts = {"h1": 1}
        self.may_grow = False
        self.idle_seconds: float | None = None
        self.is_single_use = False

    def start(self, needs: Hashable, without: Collection[str]) -> Actor:
        self.actors.append(Actor(len(self.actors), needs, without))
        return self.actors[-1]

    def call(self, handle: Actor, method: str, *arguments: Any) -> Future[Any]:
        call = Call(handle, arguments)
        if method == "close":
            call.future.set_result(None)
        else:
            self.calls[method].put(call)
        return call.future

    def kill(self, handle: Actor) -> None:
        handle.is_killed = True

    def room(self, needs: Hashable) -> Mapping[str, int]:
        return self.hosts

    def reason_of_loss(self, error: BaseException) -> str | None:
        return str(error) if isinstance(error, Gone) else None

    def shortage(self, needs: Hashable) -> str:
        return f"no actor for {needs}"

    def next(self, method: str) -> Call:
        return self.calls[method].get(timeout=RESULT_TIMEOUT)

    def prepared(self, host: str = "h1", why: str = "") -> Actor:
        """Let the next actor start on a host, which cannot run trials if there is a reason."""
        call = self.next("prepare")
        call.future.set_result((host, f"name of {host}", why))
        return call.actor

    def exchange(self) -> Call:
        return self.next("exchange")


def finished(request: TrialRequest, seconds: float = 1.0) -> Reply:
    outcome = Outcome(pickle.loads(request.spec).uid, "finished", 1, seconds)
    return Reply(request.number, dumps({"outcome": structs.asdict(outcome)}).encode())


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def dispatcher(world: World) -> Iterator[Dispatcher]:
    dispatcher = Dispatcher(world, 1)
    yield dispatcher
    dispatcher.close()


def submit(dispatcher: Dispatcher, number: int, needs: Hashable = "one") -> Future[Outcome]:
    return dispatcher.submit(pid, trial(number), needs)


def until(condition: Any) -> None:
    """Wait for the thread of the dispatcher."""
    end = time.monotonic() + RESULT_TIMEOUT
    while not condition() and time.monotonic() < end:
        time.sleep(0.001)
    assert condition()


def learn(world: World, dispatcher: Dispatcher, seconds: float) -> Actor:
    """Let one trial take some seconds, so that the dispatcher knows."""
    future = submit(dispatcher, 0)
    actor = world.prepared()
    world.exchange().finish(seconds)
    future.result(RESULT_TIMEOUT)
    until(lambda: dispatcher.prefetch or seconds >= SHORT)
    return actor


def test_trials_go_one_by_one_while_their_duration_is_unknown(world: World, dispatcher: Dispatcher) -> None:
    futures = [submit(dispatcher, number) for number in range(3)]
    world.prepared()

    for number in range(3):
        call = world.exchange()
        assert [pickle.loads(request.spec).uid for request in call.requests] == [f"{number:012d}"]
        call.finish()
    assert [future.result(RESULT_TIMEOUT).uid for future in futures] == [f"{n:012d}" for n in range(3)]
    assert len(world.actors) == 1
    assert dispatcher.slots == 1


def test_short_trials_go_several_at_a_time(world: World, dispatcher: Dispatcher) -> None:
    learn(world, dispatcher, 0.001)
    futures = [submit(dispatcher, number) for number in range(1, 200)]
    sizes = []
    while sum(sizes) < len(futures):
        call = world.exchange()
        sizes.append(len(call.requests))
        call.finish(0.001)

    assert {future.result(RESULT_TIMEOUT).state for future in futures} == {"finished"}
    assert max(sizes) > 10
    assert (dispatcher.slots, dispatcher.prefetch) == (20, 40)


@pytest.mark.parametrize(("seconds", "room"), [(0.01, (2, 4)), (0.05, (1, 2)), (0.5, (1, 0))])
def test_trials_are_prefetched_unless_they_take_long(
    seconds: float, room: tuple[int, int], world: World, dispatcher: Dispatcher
) -> None:
    learn(world, dispatcher, seconds)

    assert (dispatcher.slots, dispatcher.prefetch) == room


def test_an_actor_is_asked_for_half_of_its_replies_and_gets_its_next_trials_then(
    world: World, dispatcher: Dispatcher
) -> None:
    learn(world, dispatcher, 0.01)
    for number in range(1, 20):
        submit(dispatcher, number)
    first = world.exchange()  # may have been sent before the others were submitted
    first.finish(0.01)
    second = world.exchange()
    second.reply(*(finished(request, 0.01) for request in second.requests[:2]))
    third = world.exchange()

    assert [second.arguments[1], len(second.requests), len(third.requests)] == [2, 4, 2]


def test_short_trials_are_distributed_evenly(world: World, dispatcher: Dispatcher) -> None:
    learn(world, dispatcher, 0.001)
    world.hosts = {"h1": 2}
    submit(dispatcher, 1)
    first = world.exchange()
    for number in range(2, 32):
        submit(dispatcher, number)
    world.prepared()
    first.finish(0.001)

    sizes: Counter[int] = Counter()
    while sizes.total() < 30:
        call = world.exchange()
        sizes[call.actor.number] += len(call.requests)
        call.finish(0.001)
    assert min(sizes.values()) >= 10


def test_trials_behind_one_that_takes_long_are_given_to_others(world: World, dispatcher: Dispatcher) -> None:
    first = learn(world, dispatcher, 0.001)
    futures = [dispatcher.submit(pid, trial(number), "one") for number in range(1, 10)]
    call = world.exchange()
    if len(call.requests) == 1:  # sent before the others were submitted
        call.finish(0.001)
        futures = futures[1:]
        call = world.exchange()
    world.hosts = {"h1": 2}
    call.reply(*(Reply(request.number, None) for request in call.requests[1:]))
    second = world.prepared()

    assert second is not first
    calls = [world.exchange(), world.exchange()]
    assert [call.requests for call in calls if call.actor is first] == [[]]  # it waits for the long one
    assert [call.requests[0].number for call in calls if call.actor is second] == [futures[1].request.number]
    assert not any(future.done() for future in futures)
    assert [future.began is not None for future in futures[:3]] == [True, True, False]


def test_the_trials_of_a_lost_actor_are_tried_again(world: World, dispatcher: Dispatcher) -> None:
    future = submit(dispatcher, 0)
    actor = world.prepared()
    world.exchange().future.set_exception(Gone("the host has burnt down"))

    problem = future.exception(RESULT_TIMEOUT)
    assert isinstance(problem, WorkerLost)
    assert (str(problem), problem.again) == ("the worker on name of h1 was lost: the host has burnt down", AGAIN)
    assert actor.is_killed
    submit(dispatcher, 1)
    assert world.prepared() is not actor


def test_a_trial_is_tried_again_if_its_worker_was_killed_from_outside_but_not_if_it_crashed(
    world: World, dispatcher: Dispatcher
) -> None:
    futures = [submit(dispatcher, number) for number in range(3)]
    world.prepared()
    for code in (-9, -11, 3):
        call = world.exchange()
        call.reply(Reply(call.requests[0].number, WorkerLost("it was lost", code)))

    problems = [future.exception(RESULT_TIMEOUT) for future in futures]
    assert [problem.again for problem in problems if isinstance(problem, WorkerLost)] == [AGAIN, 0, 0]


def test_an_unreadable_reply_fails_its_trial_and_another_actor_continues(world: World, dispatcher: Dispatcher) -> None:
    future = submit(dispatcher, 0)
    following = submit(dispatcher, 1)
    world.prepared()
    world.exchange().future.set_exception(ValueError("not readable"))

    problem = future.exception(RESULT_TIMEOUT)
    assert isinstance(problem, WorkerLost)
    assert (str(problem), problem.again) == ("the worker on name of h1 was lost: ValueError: not readable", 0)
    world.prepared()
    world.exchange().finish()
    assert following.result(RESULT_TIMEOUT).uid == "000000000001"


def test_if_no_actor_starts_the_trials_fail_with_the_reason(world: World, dispatcher: Dispatcher) -> None:
    future = submit(dispatcher, 0)
    for _ in range(FAILURES):
        world.next("prepare").future.set_exception(Gone("it does not start"))

    assert str(future.exception(RESULT_TIMEOUT)) == "no worker could be started: it does not start"


def test_idle_actors_make_room_for_trials_that_need_others(world: World, dispatcher: Dispatcher) -> None:
    actor = learn(world, dispatcher, 1.0)
    submit(dispatcher, 1, "two")
    other = world.next("prepare").actor

    assert other.needs == "two"
    until(lambda: actor.is_killed)


def test_an_interrupt_reaches_running_trials_and_waiting_ones_do_not_begin(
    world: World, dispatcher: Dispatcher
) -> None:
    running, waiting = submit(dispatcher, 0), submit(dispatcher, 1)
    world.prepared()
    call = world.exchange()
    dispatcher.interrupt()

    assert isinstance(waiting.exception(RESULT_TIMEOUT), KeyboardInterrupt)
    world.next("interrupt")
    call.reply(Reply(call.requests[0].number, KeyboardInterrupt()))
    assert isinstance(running.exception(RESULT_TIMEOUT), KeyboardInterrupt)


def test_a_trial_that_was_interrupted_behind_another_one_does_not_begin(world: World, dispatcher: Dispatcher) -> None:
    future = submit(dispatcher, 0)
    world.prepared()
    call = world.exchange()
    dispatcher.interrupt()
    world.next("interrupt")
    call.reply(Reply(call.requests[0].number, None))

    assert isinstance(future.exception(RESULT_TIMEOUT), KeyboardInterrupt)


def test_a_waiting_trial_can_be_ended(world: World, dispatcher: Dispatcher) -> None:
    future = dispatcher.submit(pid, trial(0), "one")
    dispatcher.end(future)

    assert str(future.exception(0)) == "the trial was ended before it began"


def test_an_actor_that_does_not_end_a_trial_is_ended(
    world: World, dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("machinable.engines.cluster.dispatcher.SHUTDOWN_TIMEOUT", 0.01)
    future = dispatcher.submit(pid, trial(0), "one")
    actor = world.prepared()
    call = world.exchange()
    dispatcher.end(future)

    problem = future.exception(0)
    assert isinstance(problem, WorkerLost)
    assert (str(problem), problem.again) == (
        "the worker on name of h1 was lost: a trial was ended, but did not end in time",
        0,
    )
    assert actor.is_killed
    call.finish()  # too late
    submit(dispatcher, 1)
    assert world.prepared() is not actor


def test_an_internal_error_fails_all_trials(
    world: World, dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(needs: Hashable, without: Collection[str]) -> Actor:
        raise RuntimeError("the cluster is gone")

    monkeypatch.setattr(world, "start", fails)
    futures = [submit(dispatcher, number) for number in range(2)]

    assert {str(future.exception(RESULT_TIMEOUT)) for future in futures} == {"the cluster is gone"}


def test_closing_ends_running_and_waiting_trials(world: World) -> None:
    dispatcher = Dispatcher(world, 1)
    futures = [submit(dispatcher, number) for number in range(2)]
    actor = world.prepared()
    world.exchange()
    dispatcher.close()

    assert [str(future.exception(0)) for future in futures] == ["the engine was closed"] * 2
    assert actor.is_killed


def test_progress_is_passed_on(world: World, dispatcher: Dispatcher) -> None:
    received: Queue[tuple[Any, ...]] = Queue()
    world.on_progress = lambda *report: received.put(report)
    submit(dispatcher, 0)
    world.prepared()
    world.exchange().future.set_result(([("u", 1, None)], []))

    assert received.get(timeout=RESULT_TIMEOUT) == ("u", 1, None)
    assert world.exchange().requests == []  # the trial still runs


def test_a_shortage_of_actors_is_reported_once_each_time_that_trials_wait(
    world: World, dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("machinable.engines.cluster.dispatcher.NO_WORKER_NOTICE_AFTER", 0.05)
    monkeypatch.setattr("machinable.engines.cluster.dispatcher.LOOK_AGAIN", 0.05)
    received: Queue[str] = Queue()
    world.on_notice = received.put
    submit(dispatcher, 0, "gpu")
    assert received.get(timeout=RESULT_TIMEOUT) == "no actor for gpu"
    second = submit(dispatcher, 1, "gpu")
    world.prepared()
    for _ in range(2):
        world.exchange().finish()
    assert second.result(RESULT_TIMEOUT)

    submit(dispatcher, 2, "tpu")
    assert received.get(timeout=RESULT_TIMEOUT) == "no actor for tpu"
    world.prepared()
    world.exchange()
    assert received.empty()


# hosts that join


def test_actors_are_started_on_hosts_that_join(
    world: World, dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("machinable.engines.cluster.dispatcher.LOOK_AGAIN", 0.01)
    for number in range(3):
        submit(dispatcher, number)
    world.prepared()
    world.hosts = {"h1": 1, "h2": 2}

    assert [world.prepared("h2").needs, world.prepared("h2").needs] == ["one", "one"]
    until(lambda: dispatcher.slots == 3)


def test_actors_wait_for_hosts_that_may_join_until_no_trial_needs_them(world: World, dispatcher: Dispatcher) -> None:
    world.may_grow = True
    future = submit(dispatcher, 0)
    world.prepared()
    call = world.exchange()
    dispatcher.expect(["one"] * 5 + ["two"] * 50)
    waiting = [world.next("prepare").actor for _ in range(5)]
    dispatcher.expect([])
    call.finish()

    assert future.result(RESULT_TIMEOUT).state == "finished"
    until(lambda: all(actor.is_killed for actor in waiting))
    assert [actor.is_killed for actor in world.actors] == [False] + [True] * 5


def test_the_number_of_actors_that_wait_for_hosts_is_limited(world: World, dispatcher: Dispatcher) -> None:
    world.may_grow = True
    world.hosts = {}
    submit(dispatcher, 0)
    dispatcher.expect(["one"] * 1000)

    for _ in range(8):
        world.next("prepare")
    until(lambda: dispatcher._expected.total() == 1000)
    assert len(world.actors) == 8
    assert dispatcher.slots == 1


# hosts that cannot run trials


def not_begun(request: TrialRequest) -> Reply:
    error = {"type": "ImportFailed", "message": "No module named 'torch'", "traceback": ""}
    outcome = Outcome(pickle.loads(request.spec).uid, "pending", 1, 0.0, error=error)
    return Reply(request.number, dumps({"outcome": structs.asdict(outcome)}).encode())


def may_move(call: Call) -> list[bool]:
    return [pickle.loads(request.spec).may_move for request in call.requests]


def test_a_host_that_cannot_import_a_component_is_named_and_its_trials_go_elsewhere(
    world: World, dispatcher: Dispatcher
) -> None:
    notices: Queue[str] = Queue()
    world.on_notice = notices.put
    world.hosts = {"h1": 1, "h2": 1}
    future = submit(dispatcher, 0)
    first = world.prepared("h1")
    call = world.exchange()
    assert may_move(call) == [True]
    call.reply(not_begun(call.requests[0]))
    second = world.prepared("h2")
    assert (first.without, second.without) == (set(), {"h1"})
    world.exchange().finish()

    assert future.result(RESULT_TIMEOUT).state == "finished"
    until(lambda: first.is_killed)
    assert notices.get(timeout=RESULT_TIMEOUT) == (
        "the host name of h1 is not used for work: ImportFailed: No module named 'torch'"
    )
    assert notices.empty()


def test_a_trial_that_no_host_can_import_runs_to_record_why(world: World, dispatcher: Dispatcher) -> None:
    future = submit(dispatcher, 0)
    world.prepared()
    call = world.exchange()
    call.reply(not_begun(call.requests[0]))
    again = world.exchange()
    assert may_move(again) == [False]
    again.finish()

    assert future.result(RESULT_TIMEOUT).state == "finished"


def test_a_host_that_cannot_run_any_trial_is_left_out_until_none_is_left(world: World, dispatcher: Dispatcher) -> None:
    world.hosts = {"h1": 1, "h2": 1}
    future = submit(dispatcher, 0)
    first = world.prepared("h1", "machinable is missing")
    second = world.prepared("h2", "the disk is full")

    assert str(future.exception(RESULT_TIMEOUT)) == (
        "no worker could be started: name of h1: machinable is missing; name of h2: the disk is full"
    )
    assert (first.is_killed, first.without, second.without) == (True, set(), {"h1"})


def test_other_components_still_run_on_a_host_that_cannot_import_one(world: World, dispatcher: Dispatcher) -> None:
    world.hosts = {"h1": 1, "h2": 1}
    definition = structs.replace(trial().definition, component="other")
    submit(dispatcher, 0)
    dispatcher.submit(pid, structs.replace(trial(1), definition=definition), "one")
    first = world.prepared("h1")
    call = world.exchange()
    call.reply(not_begun(call.requests[0]))
    there = world.exchange()
    second = world.prepared("h2")
    elsewhere = world.exchange()

    assert [(call.actor, [request.number for request in call.requests]) for call in (there, elsewhere)] == [
        (first, [2]),
        (second, [1]),
    ]


def test_an_idle_actor_ends_after_a_while(
    world: World, dispatcher: Dispatcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("machinable.engines.cluster.dispatcher.LOOK_AGAIN", 0.01)
    world.idle_seconds = 0.02
    future = submit(dispatcher, 0)
    actor = world.prepared()
    world.exchange().finish()

    assert future.result(RESULT_TIMEOUT).uid
    until(lambda: actor.is_killed)


def test_an_actor_for_one_trial_is_not_given_a_second(world: World, dispatcher: Dispatcher) -> None:
    world.is_single_use = True
    futures = [submit(dispatcher, number) for number in range(2)]
    first = world.prepared()
    call = world.exchange()
    assert len(call.requests) == 1
    call.reply()  # with progress only
    more = world.exchange()
    assert not first.is_killed
    more.reply(finished(call.requests[0], 1.0))

    second = world.prepared()
    world.exchange().finish()

    assert first is not second
    assert first.is_killed
    assert [future.result(RESULT_TIMEOUT).state for future in futures] == ["finished", "finished"]
