"""The queue of trials: what comes next, and what waits for requirements, resources or a time."""

from __future__ import annotations

import pickle
from collections.abc import Sequence

import pytest
from msgspec.structs import replace

import machinable as ml
from machinable.execution.queue import Blocked, TrialQueue
from machinable.plan.spec import ComponentSpec, Requirement, Target, TrialSpec
from machinable.results.pointers import Available
from tests.conftest import World


def trial(index: int, *requires: int, is_requirement: bool = True) -> TrialSpec:
    return TrialSpec(
        index=index,
        uid=str(index),
        seed=0,
        flags={},
        definition=ComponentSpec(f"c{index}", "m", None, {}, Target("m"), is_requirement=is_requirement),
        requires={str(other): Requirement(f"c{other}", str(other), str(other)) for other in requires},
        identity=str(index),
    )


def handed_out(queue: TrialQueue, now: float = 0.0) -> list[int]:
    indices = []
    while (spec := queue.pop(now)) is not None:
        indices.append(spec.index)
    return indices


@pytest.fixture
def plan() -> Sequence[TrialSpec]:
    return [trial(0), trial(1), trial(2, 0, 1), trial(3), trial(4, 2, is_requirement=False)]


def test_a_trial_comes_when_its_last_requirement_is_settled(plan: Sequence[TrialSpec]) -> None:
    queue = TrialQueue(plan)
    assert handed_out(queue) == [0, 1, 3]
    queue.settle(plan[1], Available("p/1"))
    assert handed_out(queue) == []
    queue.settle(plan[0], Available("p/0"))
    assert handed_out(queue) == [2]
    assert {name: needed.place for name, needed in queue.located(plan[2]).requires.items()} == {"0": "p/0", "1": "p/1"}


def test_the_next_trials_are_known_without_taking_them(plan: Sequence[TrialSpec]) -> None:
    queue = TrialQueue(plan, {"3"})
    seen = [[spec.index for spec in queue.next(10)], [spec.index for spec in queue.next(1)]]
    queue.pop(0.0)
    queue.pop(0.0)
    seen.append([spec.index for spec in queue.next(10)])
    handed_out(queue)
    for number in (0, 1):
        queue.settle(plan[number], Available(f"p/{number}"))
    seen.append([spec.index for spec in queue.next(10)])

    assert seen == [[0, 1], [0], [], [2]]
    assert handed_out(queue) == [2]


def test_a_trial_knows_where_the_requirements_of_its_requirements_are() -> None:
    #  0 ─ 1 ─ 2 ─┬─ 4
    #       3 ────┘       a trial that needs only an artifact of 2 cannot load it
    plan = [trial(0), trial(1, 0), trial(2, 1), trial(3, 1), trial(4, 2, 3, is_requirement=False)]
    only_part = replace(plan[4].requires["2"], artifact="x")
    plan.append(replace(plan[4], index=5, uid="5", requires={"2": only_part}))
    queue = TrialQueue(plan, {"0"}, {"0": Available("p/0")})
    for index in (1, 2, 3):
        handed_out(queue)
        queue.settle(plan[index], Available(f"p/{index}"))

    located = [queue.located(spec) for spec in plan]

    behind = [{}, {}, {"0": "p/0"}, {"0": "p/0"}, {"1": "p/1", "0": "p/0"}, {}]
    assert [dict(spec.indirect) for spec in located] == behind
    assert [spec.indirect for spec in pickle.loads(pickle.dumps(located))] == behind


def test_a_trial_comes_at_once_when_a_requirement_is_blocked(plan: Sequence[TrialSpec]) -> None:
    queue = TrialQueue(plan)
    handed_out(queue)
    queue.settle(plan[1], Blocked("skipped", "another execution"))
    assert handed_out(queue) == [2]
    assert queue.blocker(plan[2]) == Blocked("skipped", "another execution")
    queue.settle(plan[0], Blocked("blocked", "c0 0"))
    assert handed_out(queue) == []  # not twice
    assert queue.blocker(plan[2]) == Blocked("blocked", "c0 0")


def test_finished_trials_do_not_come_and_their_results_count(plan: Sequence[TrialSpec]) -> None:
    queue = TrialQueue(plan, {"0", "1"}, {"0": Available("p/0"), "1": Available("p/1")})
    assert handed_out(queue) == [2, 3]


def test_retries_and_busy_trials_come_when_they_are_due(plan: Sequence[TrialSpec]) -> None:
    queue = TrialQueue(plan)
    handed_out(queue)
    queue.look_again(plan[0], 5.0)
    queue.retry(plan[3], 7.0)
    assert queue.next_due == 5.0
    assert handed_out(queue, 4.0) == []
    assert queue.pop_decided(lambda wanted: True, 6.9) is None
    assert handed_out(queue, 5.0) == [0]
    assert queue.pop_decided(lambda wanted: False, 7.0) is None  # there is no room for it
    assert queue.pop_decided(lambda wanted: True, 7.0) == plan[3]
    assert queue.next_due is None


def test_the_plan_is_not_searched_to_its_end_for_a_trial_that_fits() -> None:
    queue = TrialQueue([trial(index) for index in range(500)])
    for _ in range(100):
        spec = queue.pop(0.0)
        assert spec is not None
        queue.hold(spec)
    assert queue.pop(0.0) is None
    assert queue.is_holding
    first = queue.pop_decided(lambda wanted: True, 0.0)
    assert first is not None
    assert first.index == 0


def test_a_plan_without_requirements_is_not_held_in_memory(project: World) -> None:
    project(
        "components:\n  - other:\n", other="from machinable import Component\n\n\nclass Other(Component):\n    pass\n"
    )
    queue = TrialQueue(ml.Task("other").repeat(1000).plan())
    while (spec := queue.pop(0.0)) is not None:
        queue.settle(spec, Available("p"))
    held = {name: len(value) for name, value in vars(queue).items() if isinstance(value, (dict, list))}
    assert set(held.values()) == {0}
