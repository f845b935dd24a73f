"""Directories for workers that do not reach the storage: what a trial requires, with all that it may read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import machinable as ml
from machinable.execution.worker_task import folders_needed
from machinable.plan.spec import ComponentSpec, Requirement, Target, TrialSpec

World = Callable[..., Path]


def test_a_trial_needs_the_folders_of_all_that_it_may_read() -> None:
    spec = TrialSpec(
        index=0,
        uid="d",
        seed=0,
        flags={},
        definition=ComponentSpec("d", "d", None, {}, Target("d")),
        requires={
            "left": Requirement("b", "b", "", place="X/b"),
            "right": Requirement("c", "c", "", artifact="table.csv", place="X/c"),
            "not yet": Requirement("e", "e", ""),
        },
        indirect={"a": "Y/a", "c": "X/c"},
        resume_from="Z/trials/d/attempts/1",
    )
    assert folders_needed(spec) == ["Z/trials/d/attempts/1", "X/trials/b", "X/trials/c", "Y/trials/a"]


CHAIN = {
    "first": """
from machinable import Component


class First(Component):
    def on_execute(self):
        self.store.write("numbers.json", [1, 2, 3])
""",
    "second": """
from machinable import Component


class Second(Component):
    def on_execute(self):
        self.record["total"] = sum(self.requires.first.read())
        self.record.save()

    def on_load(self, into=None):
        self.numbers = self.requires.first.read()
""",
    "third": """
from machinable import Component


class Third(Component):
    def on_execute(self):
        second = self.requires.second
        rows = [row["total"] for row in second.records]
        return second.component.numbers, rows, second.trial.status, second.trial.last_row["total"], second.trial.uid
""",
}
CHAINED = """
components:
  - first:
  - second: {_requires_: {first: first}}
  - third: {_requires_: {second: second}}
"""


@pytest.mark.parametrize("engine", ["local", "processes:1"])
@pytest.mark.parametrize("kind", ["memory", "directory"])
def test_a_requirement_can_be_read_on_every_engine_and_storage(
    kind: str, engine: str, project: World, tmp_path: Path
) -> None:
    project(CHAINED, **CHAIN)
    storage = None if kind == "memory" else tmp_path / "stored"

    execution = ml.execute("third", storage, "OY1p1o", engine)

    second, third = execution.trials[1:]
    assert third.result == ([1, 2, 3], [6], "finished", 6, second.uid)
