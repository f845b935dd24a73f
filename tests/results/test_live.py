"""`trial.live()`: the component of a stored trial in this process."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

import machinable as ml
from machinable.errors import MissingFile, NotAvailable, Refused, StorageError
from tests.conftest import World
from tests.execution.test_stored_trials import DATA, DECLARATIONS, HELP, TRAIN


@pytest.fixture
def stored(project: World, tmp_path: Path) -> str:
    project(DECLARATIONS, data=DATA, train=TRAIN, help=HELP)
    storage = str(tmp_path / "results")
    task = ml.Task().component("train", {"rate": 2}).component("data", {"fails": True})
    ml.execute(task, {"storage": storage, "code_backup": False}, on_failure="continue", seed="OY1p1o")
    return storage


def test_a_live_component_is_the_one_that_a_requirement_would_be(stored: str) -> None:
    component = ml.Storage(stored)["OY1p1o"].trials[1].live()
    found = [component.weight, component._help_.doubled(), component.kid.config.size, component.config._width]
    assert found == [6, 4, 3, 4]
    assert (component.config.rate, component.store.read("w.json")) == (2, 6)
    assert component.requires.data.read() == [0, 1, 2]
    assert component.requires.data.component.config.size == 3
    assert (component.requires.data.trial.component, list(component.requires.data.records)) == ("data", [])


def test_the_component_of_a_reused_trial_reads_the_results_of_its_source(stored: str) -> None:
    reusing: Any = ml.execute("train", {"storage": stored, "code_backup": False})
    assert reusing.trials[0].status == "reused"
    assert ml.Storage(stored)[str(reusing)].trials[0].live().store.read("x.json") == [0, 1, 2]


@pytest.mark.parametrize(
    "attempt",
    [
        lambda component: component.record,
        lambda component: component.store.write("a.json", 1),
        lambda component: component.save_checkpoint(),
        lambda component: component.set_seed(1),
    ],
)
def test_what_belongs_to_a_running_trial_is_not_available(stored: str, attempt: Any) -> None:
    component = ml.Storage(stored)["OY1p1o"].trials[1].live()
    with pytest.raises(NotAvailable):
        attempt(component)


def test_a_trial_that_has_not_finished_and_code_that_is_gone_are_refused(stored: str, tmp_path: Path) -> None:
    trials = ml.Storage(stored)["OY1p1o"].trials
    with pytest.raises(Refused, match="is failed, not finished"):
        trials[2].live()
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(MissingFile):
        trials[1].live(tmp_path / "elsewhere")


def test_pickles_are_read_only_from_a_trusted_storage(stored: str) -> None:
    trial = ml.Storage(stored)["OY1p1o"].trials[1]
    (Path(stored) / "OY1p1o" / "trials" / trial.uid / "artifacts" / "any.p").write_bytes(pickle.dumps(1))
    with pytest.raises(StorageError, match="trust"):
        trial.live().store.read("any.p")
