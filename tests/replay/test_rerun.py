"""A task of which only some trials run again."""

from __future__ import annotations

from pathlib import Path

import pytest

import machinable as ml
from machinable.errors import NotStored
from machinable.replay.rerun import TaskSubset

DECLARATIONS = "components: [data: , net: {_requires_: {data: data}, lr: 1}, other: ]\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "machinable.yaml").write_text(DECLARATIONS)
    return tmp_path


@pytest.fixture
def task() -> ml.Task:
    return ml.Task().component("net", [{"lr": 1}, {"lr": 2}]).component("other")


def test_its_plan_has_the_chosen_trials_and_what_they_require(task: ml.Task, project: Path) -> None:
    data, first, second, _ = task.plan(project, 1)

    chosen = TaskSubset(task, [second.uid]).plan(project, 1)

    assert list(chosen) == [data, second]
    assert (len(chosen), chosen[1]) == (2, first)


def test_a_trial_that_is_not_in_the_plan_is_refused(task: ml.Task, project: Path) -> None:
    with pytest.raises(NotStored, match="the trial nowhere is not in the plan that the restored code makes"):
        TaskSubset(task, ["nowhere"]).plan(project, 1)
