"""Two executions that need the same result at the same time: one computes it, and none waits for a dead process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import machinable as ml
from machinable import errors, events
from machinable.execution.dry_run import dry_run
from machinable.plan.spec import TrialSpec
from machinable.storage import layout
from machinable.storage.local import DirectoryFiles
from machinable.storage.locks import Locks, open_locks
from tests.conftest import World
from tests.execution.fakes import Computing, computed, events_of, stored

DECLARATIONS = """
components:
  - nums: {size: 3}
  - train: {_requires_: {data: nums}}
  - other: {}
"""
MODULE = "from machinable import Component\n\n\nclass Any(Component):\n    pass\n"
BOTH = ml.Task().component("train").component("other")


@pytest.fixture
def here(project: World) -> Path:
    return project(DECLARATIONS, nums=MODULE, train=MODULE, other=MODULE)


@pytest.fixture
def locks(tmp_path: Path) -> Any:
    """Those of somebody else, in the same storage."""
    (tmp_path / "s").mkdir()
    found = open_locks(DirectoryFiles(tmp_path / "s"))
    yield found
    found.close()


def held(locks: Locks) -> Any:
    lease = locks.take(layout.lease(BOTH.plan()[0].identity), {"execution": "HoLdEr", "uid": "u"})
    assert lease is not None
    return lease


HOLDER = f"HoLdEr on {os.uname().nodename} (process {os.getpid()})"


def test_busy_trials_come_after_all_others(here: Path, tmp_path: Path, locks: Locks) -> None:
    lease = held(locks)

    def release(spec: TrialSpec) -> None:
        if spec.component == "other":
            lease.release()

    execution, ran = computed(BOTH, tmp_path / "s", Computing(meets=release))
    assert ran == ["other", "nums", "train"]
    assert execution.status == "finished"


def test_listeners_receive_one_notice_of_a_wait(here: Path, tmp_path: Path, locks: Locks) -> None:
    class Listener(events.Listener):
        def __init__(self) -> None:
            self.told: list[str] = []

        def on_event(self, event: events.Event) -> None:
            if isinstance(event, events.TrialFinished) and event.component == "other":
                lease.release()

        def on_notice(self, text: str) -> None:
            self.told.append(text)

    lease = held(locks)
    listener = Listener()
    execution, _ = computed(BOTH, tmp_path / "s", listeners=[listener])
    told = [text for text in listener.told if text.startswith("waiting for Ho")]
    assert told == [f"waiting for {HOLDER}, which is computing nums {execution.trials[0].uid}"]


def test_a_listener_that_raises_at_a_notice_stops_nothing(here: Path, tmp_path: Path, locks: Locks) -> None:
    class Listener(events.Listener):
        def on_event(self, event: events.Event) -> None:
            if isinstance(event, events.TrialFinished) and event.component == "other":
                lease.release()

        def on_notice(self, text: str) -> None:
            raise RuntimeError(text)

    lease = held(locks)
    with pytest.warns(RuntimeWarning, match="the listener .* raised an exception at a notice"):
        execution, _ = computed(BOTH, tmp_path / "s", listeners=[Listener()])

    assert execution.status == "finished"


def test_after_a_wait_the_result_is_looked_up_before_the_trial_runs(here: Path, tmp_path: Path, locks: Locks) -> None:
    lease = held(locks)

    def compute_elsewhere(spec: TrialSpec) -> None:
        if spec.component == "other":
            lease.release()
            computed("train", tmp_path / "s", seed="OTHERx")

    execution, ran = computed(BOTH, tmp_path / "s", Computing(meets=compute_elsewhere))
    assert ran == ["other", "train"]
    assert str(execution.trials[0].source).startswith("OTHERx/")


def test_busy_trials_and_those_that_need_them_are_skipped(here: Path, tmp_path: Path, locks: Locks) -> None:
    held(locks)
    heard: list[events.Event] = []
    execution, ran = computed(BOTH, tmp_path / "s", on_busy="skip", listeners=[heard.append])
    assert ran == ["other"]
    assert events_of(execution) == [("nums", "skipped"), ("train", "skipped"), ("other", "finished")]
    assert [trial.because for trial in execution.trials] == [HOLDER, HOLDER, None]
    assert execution.status == ml.Storage(tmp_path / "s")[str(execution)].status == "partial"
    assert [event.because for event in heard if isinstance(event, events.TrialSkipped)] == [HOLDER, HOLDER]
    assert isinstance(heard[-1], events.ExecutionFinished)
    assert (heard[-1].status, heard[-1].finished, heard[-1].failed) == ("partial", 1, 0)


def test_skipped_trials_run_when_the_execution_is_resumed(here: Path, tmp_path: Path, locks: Locks) -> None:
    lease = held(locks)
    execution, _ = computed(BOTH, tmp_path / "s", on_busy="skip")
    lease.release()
    engine = Computing()
    again = ml.execute(storage=stored(tmp_path / "s"), resume=str(execution), engine=engine)
    assert engine.ran == ["nums", "train"]
    assert again.status == "finished"


@pytest.mark.parametrize("is_alive", [False, True])
@pytest.mark.parametrize("on_busy", ["skip", "fail"])
def test_a_holder_on_another_host_that_seems_to_be_gone_is_watched_before_its_trial_is_skipped(
    on_busy: str, is_alive: bool, here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lease = tmp_path / "s" / layout.lease(BOTH.plan()[0].identity)
    lease.parent.mkdir(parents=True)
    lease.write_text(json.dumps({"execution": "HoLdEr", "host": "elsewhere", "pid": 1, "lease": 0.6, "token": "t"}))
    os.utime(lease, (1e9, 1e9))

    def listener(event: events.Event) -> None:
        if isinstance(event, events.TrialWaiting) and is_alive:
            os.utime(lease, (1.1e9, 1.1e9))  # its clock is wrong

    execution, ran = computed(BOTH, tmp_path / "s", on_busy=on_busy, on_failure="continue", listeners=[listener])
    if is_alive:
        assert (ran, execution.trials[0].status) == (["other"], "skipped" if on_busy == "skip" else "failed")
    else:
        assert (sorted(ran), execution.status) == (["nums", "other", "train"], "finished")
    said = capsys.readouterr().err
    assert "waiting for HoLdEr on elsewhere (process 1), which is computing nums " in said
    assert said.count(" and seems to be gone\n") == 1


def test_with_fail_a_busy_trial_fails_and_names_the_holder(here: Path, tmp_path: Path, locks: Locks) -> None:
    held(locks)
    execution, ran = computed(BOTH, tmp_path / "s", on_busy="fail", on_failure="continue", retries=3)
    assert ran == ["other"]
    assert events_of(execution) == [("nums", "failed"), ("train", "blocked"), ("other", "finished")]
    assert dict(execution.trials[0].error or {}) == {"type": "Busy", "message": f"{HOLDER} is computing it"}


def test_with_fail_a_busy_trial_is_retried(here: Path, tmp_path: Path, locks: Locks) -> None:
    lease = held(locks)
    retried: list[int] = []

    def listener(event: events.Event) -> None:
        if isinstance(event, events.TrialFailed) and event.will_retry:
            retried.append(event.attempt)
            if len(retried) == 2:
                lease.release()

    execution, ran = computed(BOTH, tmp_path / "s", on_busy="fail", retries=3, listeners=[listener])
    assert (retried, sorted(ran), execution.status) == ([1, 2], ["nums", "other", "train"], "finished")
    assert execution.trials[0].attempt == 3


def test_the_project_can_set_on_busy(here: Path, tmp_path: Path, locks: Locks) -> None:
    held(locks)
    (here / "machinable.yaml").write_text(DECLARATIONS + "execution: {on_busy: skip}\n")
    assert computed(BOTH, tmp_path / "s")[0].status == "partial"


def test_a_dry_run_shows_busy_trials(here: Path, tmp_path: Path, locks: Locks) -> None:
    held(locks)
    _, found = dry_run(BOTH, stored(tmp_path / "s"))
    assert [(one.action, one.why) for one in found] == [
        ("busy", f"{HOLDER} is computing it"),
        ("run", "it is listed in the task"),
        ("run", "it is listed in the task"),
    ]


def test_a_lease_is_held_while_a_trial_runs_and_released_afterwards(here: Path, tmp_path: Path, locks: Locks) -> None:
    path = layout.lease(BOTH.plan()[0].identity)
    seen: list[tuple[str, Any]] = []

    def look(spec: TrialSpec) -> None:
        found = locks.holder(path)
        seen.append((spec.component, found and found["execution"]))

    execution, _ = computed(BOTH, tmp_path / "s", Computing(meets=look))
    assert seen == [("nums", str(execution)), ("train", None), ("other", None)]
    for fails in (["nums"], []):
        computed(BOTH, tmp_path / "s", Computing(fails=fails), on_failure="continue", rerun="nums")
        assert locks.holder(path) is None


def test_listed_trials_hold_a_lease_if_they_are_reused(here: Path, tmp_path: Path, locks: Locks) -> None:
    plan = ml.Task("other").plan(seed="OY1p1o")
    lease = locks.take(layout.lease(plan[0].identity), {"execution": "HoLdEr"})
    assert lease is not None
    execution, _ = computed("other", tmp_path / "s", seed="OY1p1o", reuse="all", on_busy="skip")
    assert execution.status == "partial"
    execution, _ = computed("other", tmp_path / "s", seed="OY1p1o", on_busy="skip")
    assert execution.status == "finished"


def test_two_equal_trials_of_one_execution_are_computed_once(here: Path, tmp_path: Path) -> None:
    (here / "machinable.yaml").write_text("components:\n  - other: {_seed_: 5}\n")
    execution, ran = computed(ml.Task("other").repeat(2), tmp_path / "s", reuse="all")
    assert ran == ["other"]
    assert [trial.status for trial in execution.trials] == ["finished", "reused"]


# real processes


SLOW = """
import os
from machinable import Component


class Nums(Component):
    def on_execute(self):
        with open("ran", "a") as file:
            file.write(f"{os.getpid()}\\n")
        with open("pipe", "w") as pipe:
            pipe.write("runs\\n")
        if os.path.exists("pipe2"):
            with open("pipe2") as pipe:
                pipe.read()
        self.store.write("x.json", os.getpid())
"""
TRAIN = """
from machinable import Component


class Train(Component):
    def on_execute(self):
        return self.requires.data.read("x.json")
"""


@pytest.fixture
def slow(project: World) -> Path:
    directory = project(DECLARATIONS, nums=SLOW, train=TRAIN, other=MODULE)
    os.mkfifo(directory / "pipe")
    os.mkfifo(directory / "pipe2")
    return directory


def process(here: Path) -> subprocess.Popen[str]:
    where = "{'storage': 'stored', 'code_backup': False}"
    script = f"import machinable as ml\nml.execute('train', {where}, progress=False)\n"
    environment = {**os.environ, "PYTHONPATH": str(Path(ml.__file__).parents[1])}
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", script], cwd=here, env=environment, stderr=subprocess.PIPE, text=True
    )


def test_two_processes_that_need_the_same_result_compute_it_once(slow: Path) -> None:
    waits = threading.Event()

    def heard(event: events.Event) -> None:
        if isinstance(event, events.TrialFinished) and event.component == "other":
            waits.set()

    with process(slow) as first:
        with open(slow / "pipe") as pipe:
            assert pipe.readline() == "runs\n"
        second: list[Any] = []
        thread = threading.Thread(
            target=lambda: second.append(ml.execute(BOTH, stored(slow / "stored"), project=slow, listeners=[heard]))
        )
        thread.start()
        assert waits.wait(60)  # it has met the lease, and done everything else
        with open(slow / "pipe2", "w"):
            pass
        thread.join()
        _, said = first.communicate(timeout=60)
    assert (first.returncode, said) == (0, "")
    assert (slow / "ran").read_text().splitlines() == [str(first.pid)]
    (execution,) = second
    assert [trial.status for trial in execution.trials] == ["reused", "finished", "finished"]
    assert execution.trials[1].result == first.pid


def test_a_holder_that_was_killed_is_replaced(slow: Path) -> None:
    with process(slow) as first:
        with open(slow / "pipe") as pipe:
            assert pipe.readline() == "runs\n"
        first.send_signal(signal.SIGKILL)
        first.communicate()
    (slow / "pipe").unlink()
    (slow / "pipe2").unlink()
    execution = ml.execute("train", stored(slow / "stored"))
    assert [trial.status for trial in execution.trials] == ["finished", "finished"]
    assert execution.trials[1].result == os.getpid()


def test_an_error_of_a_component_releases_the_lease(project: World, tmp_path: Path) -> None:
    fails = "from machinable import Component\n\n\nclass Any(Component):\n    def on_execute(self):\n        raise ValueError\n"  # noqa: E501
    project(DECLARATIONS, nums=fails, train=TRAIN, other=MODULE)
    for _ in range(2):
        with pytest.raises(errors.TrialsFailed):
            ml.execute("train", stored(tmp_path / "s"), on_busy="skip")
    assert not list((tmp_path / "s").rglob("*.lease"))
