"""The examples of the guide run as written."""

from __future__ import annotations

from pathlib import Path

import pytest

import machinable as ml
from machinable import Task, execute
from tests.conftest import World

DECLARATIONS = """
mixins:
  - imagenet:
      data: {name: imagenet, shards: 8}
components:
  - optimization:
      learning_rate: 0.001
      data:
        name: cifar10
        augmentation: False
      ~alexnet:
        learning_rate: 0.1
      ~mnist:
        data: {name: mnist}
  - evaluation: {metric: accuracy}
"""
MODULE = """
from machinable import Component


class Work(Component):
    def on_execute(self):
        self.record["steps"] = 1
        self.record.save()
        return self.config.to_dict()
"""
DATA = {"name": "cifar10", "augmentation": False}


@pytest.fixture(autouse=True)
def guide(project: World) -> Path:
    return project(DECLARATIONS, optimization=MODULE, evaluation=MODULE)


def results(execution: ml.Execution) -> list[object]:
    return [trial.result for trial in execution.trials]


def test_a_task_of_one_component() -> None:
    execution = execute(Task().component("optimization"))
    assert results(execution) == [{"learning_rate": 0.001, "data": DATA}]
    assert bool(execution)


def test_a_version_as_mapping() -> None:
    execution = execute(Task().component("optimization", version={"learning_rate": 0.5}))
    assert results(execution) == [{"learning_rate": 0.5, "data": DATA}]


def test_two_components() -> None:
    execution = execute(Task().component("optimization").component("evaluation"))
    assert results(execution) == [{"learning_rate": 0.001, "data": DATA}, {"metric": "accuracy"}]


def test_a_list_of_versions_gives_a_trial_for_each() -> None:
    execution = execute(Task().component("optimization", [{"learning_rate": lr} for lr in (0.1, 0.2, 0.3)]))
    assert [trial.config.learning_rate for trial in execution.trials] == [0.1, 0.2, 0.3]


def test_a_tuple_merges_from_left_to_right() -> None:
    execution = execute(Task().component("optimization", ({"learning_rate": 0.1}, {"learning_rate": 0.2})))
    assert results(execution) == [{"learning_rate": 0.2, "data": DATA}]


def test_the_tuple_may_stand_in_place_of_the_name() -> None:
    execution = execute(Task().component(("optimization", "~alexnet", {"data.name": "svhn"})))
    assert results(execution) == [{"learning_rate": 0.1, "data": {"name": "svhn", "augmentation": False}}]


def test_yaml_text_as_version() -> None:
    execution = execute(Task().component("optimization", "learning_rate: 1e-2"))
    assert results(execution) == [{"learning_rate": 0.01, "data": DATA}]


def test_a_version_that_the_file_declares() -> None:
    assert results(execute(Task().component("optimization", "~alexnet"))) == [{"learning_rate": 0.1, "data": DATA}]


def test_a_mixin_as_version() -> None:
    execution = execute(Task().component("optimization", "_imagenet_"))
    assert results(execution) == [
        {"learning_rate": 0.001, "data": {"name": "imagenet", "augmentation": False, "shards": 8}}
    ]


def test_versions_are_merged_in_the_order_in_which_they_are_written() -> None:
    execution = execute(Task().component("optimization", ("~alexnet", "~mnist", {"learning_rate": 0.5})))
    assert results(execution) == [{"learning_rate": 0.5, "data": {"name": "mnist", "augmentation": False}}]


@pytest.mark.parametrize(("seed", "identifier"), [(42, "8gWVkz"), ("OY1p1o", "OY1p1o")])
def test_a_seed_is_a_number_or_an_id(seed: object, identifier: str) -> None:
    first = execute(Task("optimization").repeat(2), seed=seed)
    again = execute(Task("optimization").repeat(2), seed=first.id)
    assert first.id == again.id == identifier
    assert [trial.seed for trial in first.trials] == [trial.seed for trial in again.trials]


def test_a_storage_is_a_path_a_url_or_a_mapping(tmp_path: Path) -> None:
    execute(Task("optimization"), tmp_path / "path", seed=1)
    execute(Task("optimization"), f"osfs://{tmp_path}/url", seed=1)
    execute(Task("optimization"), {"storage": str(tmp_path / "mapping"), "code_backup": False}, seed=1)
    kept = {name: sorted(path.name for path in (tmp_path / name / "hp2cEP").iterdir()) for name in ("path", "mapping")}
    assert kept == {
        "path": ["code.zip", "execution.json", "ledger.jsonl", "plan.jsonl", "trials"],
        "mapping": ["execution.json", "ledger.jsonl", "plan.jsonl", "trials"],
    }
    assert [str(one) for one in ml.Storage(tmp_path / "url").executions] == ["hp2cEP"]


def test_development_mode_stores_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MACHINABLE_MODE", "DEV")
    execution = execute(Task("optimization"), tmp_path / "results")
    assert (execution.storage, execution.status) == ("mem://", "finished")
    assert not (tmp_path / "results").exists()


def test_the_same_id_again_is_a_rerun_with_the_same_bytes(tmp_path: Path) -> None:
    first, second = (execute(Task("optimization").repeat(3), tmp_path, seed="OY1p1o") for _ in range(2))
    assert (str(first), str(second)) == ("OY1p1o", "OY1p1o-2")
    for trial, again in zip(first.trials, second.trials, strict=True):
        assert (trial.uid, trial.seed, trial.result) == (again.uid, again.seed, again.result)
