"""Fixtures for tests of components."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from machinable import Component
from machinable.errors import InvalidValue, TrialsFailed, UnknownName
from machinable.testing import run_trial, temporary_project
from machinable.testing.fixtures import RunTrial, TemporaryProject

__all__ = ["run_trial", "temporary_project"]

YAML = """\
components:
  - data
  - work: {rate: 0.5, _requires_: {data: data}, ~fast: {rate: 2}}
execution: {storage: ./results, engine: processes, listeners: [nothing.here], retries: 0}
"""
WORK = """\
import random
from machinable import Component


class Work(Component):
    def on_execute(self):
        if self.config.rate < 0:
            raise ValueError("no good")
        self.record["loss"] = self.config.rate * self.requires.data.read("x.json")
        self.record["draw"] = random.random()
        self.record.save()
        with open("note.txt") as file:
            print(file.read())
"""
DATA = """\
import random
from machinable import Component


class Data(Component):
    def on_execute(self):
        self.store.write("x.json", random.random())
"""


@pytest.fixture
def files(temporary_project: TemporaryProject) -> Path:
    yaml = YAML.replace("- data\n", "- data: {}\n")
    return temporary_project({"machinable.yaml": yaml, "work.py": WORK, "data.py": DATA, "note.txt": "here"})


def test_a_trial_runs_in_memory_and_in_this_process_with_the_same_seed_each_time(
    files: Path,
    run_trial: RunTrial,
) -> None:
    trial = run_trial("work")

    assert (trial.component, trial.status, trial.output) == ("work", "finished", "here\n")
    assert trial.host is not None
    assert trial.host["pid"] == os.getpid()
    assert run_trial("work").records.last["draw"] == trial.records.last["draw"]
    assert run_trial("work", "~fast").records.last["loss"] == trial.records.last["loss"] * 4
    assert run_trial("work", seed=2).records.last["draw"] != trial.records.last["draw"]
    assert sorted(path.name for path in files.iterdir() if path.suffix) == [
        "data.py",
        "machinable.yaml",
        "note.txt",
        "work.py",
    ]


def test_a_failure_is_raised_or_returned(files: Path, run_trial: RunTrial) -> None:
    with pytest.raises(TrialsFailed, match="ValueError: no good") as caught:
        run_trial("work", {"rate": -1})
    assert 'raise ValueError("no good")' in str(caught.value.__cause__)

    trial = run_trial("work", {"rate": -1}, on_failure="continue")

    assert (trial.status, (trial.error or {})["type"]) == ("failed", "ValueError")


def test_what_is_wrong_before_it_runs_is_raised(files: Path, run_trial: RunTrial) -> None:
    with pytest.raises(UnknownName, match="Did you mean 'work'"):
        run_trial("wrk")
    with pytest.raises(InvalidValue, match="run_trial runs one trial, and these versions are 2"):
        run_trial("work", [None, "~fast"])


def test_a_class_of_the_test_runs_without_a_declaration(
    temporary_project: TemporaryProject, run_trial: RunTrial
) -> None:
    class Own(Component):
        def on_execute(self) -> float:
            return float(self.config.rate)

    assert run_trial(Own, {"rate": 0.5}).result == 0.5


def test_the_project_of_a_test_is_the_nearest_one_above_it(run_trial: RunTrial) -> None:
    assert Path.cwd() == Path(__file__).parents[2]  # which has a machinable.yaml with examples


def test_modules_of_a_temporary_project_are_unloaded(request: pytest.FixtureRequest) -> None:
    assert "work" not in sys.modules
