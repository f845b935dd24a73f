"""Trials with requirements: their order, failures that block, and long chains."""

from __future__ import annotations

import json
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

import machinable as ml
from machinable import errors, events
from machinable.execution.queue import Blocked, TrialQueue
from machinable.plan.spec import TrialSpec
from machinable.results.pointers import Available
from tests.conftest import World
from tests.execution.fakes import Computing, computed, events_of, stored

#   nums ──  double ─┬─ train
#        └──── odd ────┘           other
DECLARATIONS = """
components:
  - nums: {size: 3}
  - double: {_requires_: {data: nums}}
  - odd: {_requires_: {data: nums}}
  - train: {lr: 0.1, _requires_: {data: double, more: odd}}
  - other: {}
"""
MODULE = "from machinable import Component\n\n\nclass Any(Component):\n    pass\n"
NAMES = ("nums", "double", "odd", "train", "other")


@pytest.fixture
def here(project: World) -> Path:
    directory = project(DECLARATIONS)
    for name in NAMES:
        (directory / f"{name}.py").write_text(MODULE)
    return directory


def test_requirements_run_first(here: Path, tmp_path: Path) -> None:
    execution, ran = computed("train", tmp_path / "s")
    assert sorted(ran[1:3]) == ["double", "odd"]
    assert (ran[0], ran[3]) == ("nums", "train")
    assert execution.status == "finished"


def test_a_trial_knows_where_its_requirements_are(here: Path, tmp_path: Path) -> None:
    engine = Computing()
    execution, _ = computed("train", tmp_path / "s", engine)
    places = {spec.component: f"{execution}/{spec.uid}" for spec in engine.specs}
    assert {name: needed.place for name, needed in engine.specs[-1].requires.items()} == {
        "data": places["double"],
        "more": places["odd"],
    }


def test_a_failure_blocks_what_needs_it_and_nothing_else(here: Path, tmp_path: Path) -> None:
    heard: list[events.Event] = []
    with pytest.raises(errors.TrialsFailed) as caught:
        computed(
            ml.Task().component("train").component("other"),
            tmp_path / "s",
            Computing(fails=["double"]),
            listeners=[heard.append],
        )
    execution = caught.value.execution
    assert sorted(events_of(execution)) == [
        ("double", "failed"),
        ("nums", "finished"),
        ("odd", "finished"),
        ("other", "finished"),
        ("train", "blocked"),
    ]
    culprit = next(trial for trial in execution.trials if trial.component == "double")
    blocked = next(trial for trial in execution.trials if trial.component == "train")
    assert blocked.because == f"double {culprit.uid}"
    assert blocked.status == "blocked"
    assert (blocked.attempt, blocked.error, blocked.last_row, list(blocked.records)) == (0, None, None, [])
    assert caught.value.message == f"1 of 5 trials of {execution} failed and blocked 1 other"
    assert [event.because for event in heard if isinstance(event, events.TrialBlocked)] == [f"double {culprit.uid}"]
    assert isinstance(heard[-1], events.ExecutionFinished)
    assert (heard[-1].status, heard[-1].finished, heard[-1].failed) == ("failed", 3, 2)
    assert execution.status == ml.Storage(tmp_path / "s")[str(execution)].status == "failed"


def test_everything_below_a_failure_is_blocked_because_of_the_first(here: Path, tmp_path: Path) -> None:
    with pytest.raises(errors.TrialsFailed) as caught:
        computed("train", tmp_path / "s", Computing(fails=["nums"]))
    execution = caught.value.execution
    assert sorted(events_of(execution)) == [
        ("double", "blocked"),
        ("nums", "failed"),
        ("odd", "blocked"),
        ("train", "blocked"),
    ]
    assert {trial.because for trial in execution.trials} == {None, f"nums {execution.trials[0].uid}"}


def test_with_stop_trials_that_have_not_started_stay_pending(here: Path, tmp_path: Path) -> None:
    with pytest.raises(errors.TrialsFailed) as caught:
        computed("train", tmp_path / "s", Computing(fails=["nums"]), on_failure="stop")
    assert [trial.status for trial in caught.value.execution.trials] == ["failed", "pending", "pending", "pending"]


def test_a_requirement_that_fails_once_blocks_nothing(here: Path, tmp_path: Path) -> None:
    class Flaky(Computing):
        def submit(self, work: Any, spec: TrialSpec) -> Future[Any]:
            self._fails = ["nums"] if spec.attempt == 1 else []
            return super().submit(work, spec)

    execution, ran = computed("train", tmp_path / "s", Flaky(), retries=1)
    assert ran[:2] == ["nums", "nums"]
    assert execution.status == "finished"


def test_blocked_trials_run_when_the_execution_is_resumed(here: Path, tmp_path: Path) -> None:
    with pytest.raises(errors.TrialsFailed) as caught:
        computed("train", tmp_path / "s", Computing(fails=["odd"]))
    engine = Computing()
    execution = ml.execute(storage=stored(tmp_path / "s"), resume=str(caught.value.execution), engine=engine)
    assert engine.ran == ["odd", "train"]
    assert execution.status == "finished"
    places = {needed.component: needed.place for needed in engine.specs[-1].requires.values()}
    assert {place.partition("/")[0] for place in places.values() if place} == {str(execution)}


@pytest.mark.parametrize(("gives", "ran"), [("nums", ["nums"]), ("new", ["nums", "double", "odd"])])
def test_finished_trials_can_run_again_when_the_execution_is_resumed(
    here: Path, tmp_path: Path, gives: str, ran: list[str]
) -> None:
    first, _ = computed("train", tmp_path / "s")
    engine = Computing({"nums": gives})
    execution = ml.execute(storage=stored(tmp_path / "s"), resume=str(first), engine=engine, rerun="nums")
    assert sorted(engine.ran) == sorted(ran)
    assert {event for _, event in events_of(execution)} == {"finished"}
    assert execution.status == "finished"
    assert {trial.component: trial.attempt for trial in execution.trials} == {
        name: 2 if name in ran else 1 for name in ("nums", "double", "odd", "train")
    }


def test_without_a_cascade_nothing_else_runs_when_it_is_resumed(here: Path, tmp_path: Path) -> None:
    first, _ = computed("train", tmp_path / "s")
    engine = Computing({"nums": "new"})
    execution = ml.execute(
        storage=stored(tmp_path / "s"), resume=str(first), engine=engine, rerun="nums", cascade=False
    )
    assert engine.ran == ["nums"]
    assert [trial.stale for trial in execution.trials] == [None, "data:x", "data:x", None]


def test_other_branches_run_while_a_requirement_waits_for_its_retry(here: Path, tmp_path: Path) -> None:
    class Flaky(Computing):
        def submit(self, work: Any, spec: TrialSpec) -> Future[Any]:
            self._fails = ["nums"] if spec.attempt == 1 else []
            return super().submit(work, spec)

    task = ml.Task().component("double").component("other")
    _, ran = computed(task, tmp_path / "s", Flaky(), retries=1, retry_delay=0.05)
    assert ran == ["nums", "other", "nums", "double"]


def test_a_chain_of_5000_is_no_problem(project: World, tmp_path: Path) -> None:
    declared = ["components:", "  - c0: {}"]
    declared += [f"  - c{i}: {{_requires_: {{before: c{i - 1}}}}}" for i in range(1, 5000)]
    project("\n".join(declared) + "\n")
    plan = ml.Task("c4999").plan()
    queue = TrialQueue(plan)
    ran = []
    while (spec := queue.pop(0.0)) is not None:
        ran.append(spec.index)
        queue.settle(spec, Available(f"OY1p1o/{spec.uid}"))
    assert ran == list(range(5000))

    queue = TrialQueue(plan)
    first = queue.pop(0.0)
    assert first is not None
    waiting = queue.pop(0.0)
    assert waiting is None  # everything waits for the first
    queue.settle(first, Blocked("blocked", "c0"))
    blocked = 0
    while (spec := queue.pop(0.0)) is not None:
        obstacle = queue.blocker(spec)
        assert obstacle == Blocked("blocked", "c0")
        queue.settle(spec, obstacle)
        blocked += 1
    assert blocked == 4999


def test_the_ledger_says_what_was_blocked(here: Path, tmp_path: Path) -> None:
    with pytest.raises(errors.TrialsFailed) as caught:
        computed("double", tmp_path / "s", Computing(fails=["nums"]))
    path = tmp_path / "s" / str(caught.value.execution) / "ledger.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    uids = [trial.uid for trial in caught.value.execution.trials]
    assert rows[2] | {"time": ""} == {"event": "blocked", "uid": uids[1], "time": "", "because": f"nums {uids[0]}"}
    assert rows[3]["status"] == "failed"
