"""Reserved keys say how a component runs; invalid values are reported with their place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from machinable.errors import MachinableError
from machinable.plan.spec import CheckpointPolicy
from machinable.plan.task import Task


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("_retries_: -1", "a number of retries cannot be negative or infinite: -1"),
        ("_retries_: {delay: 1" + "0" * 400 + "}", "a duration cannot be negative or infinite: 1000"),
        ("_retries_: {cuont: 1}", "no part of `_retries_` named 'cuont'"),
        ("_retries_: {from: beginning}", "`from` is where a retry begins: checkpoint or start, not 'beginning'"),
        ("_checkpoints_: 3", "`_checkpoints_` is a mapping, not 3"),
        ("_checkpoints_: {kep: 3}", "no part of `_checkpoints_` named 'kep'"),
        ("_checkpoints_: {from: start}", "It is a part of `_retries_`: write _retries_: {from: …}"),
        ("_checkpoints_: {keep: 0}", "the number of checkpoints to keep is at least 1"),
        ("_checkpoints_: {keep: none}", "the number of checkpoints to keep is a whole number, not 'none'"),
        ("_checkpoints_: {every: 2.5}", "the number of iterations is a whole number, not 2.5"),
        ("_checkpoints_: {every: true}", "the number of iterations is a whole number, not True"),
        ("_environment_: {A: [1]}", "the variable A is text, not list"),
        ('_environment_: {A: "x\\0y"}', "the variable A holds a null character"),
        ("_resources_: {memory: 4GX}", "'4GX' is not a size of memory"),
        ("_results_: {a: 1}", "`_results_` takes names of artifacts, not {'a': 1}"),
        ("_results_: [../w.npz]", "'../w.npz' cannot be the name of a promised artifact"),
        ("_results_: [a.json, '/']", "'/' cannot be the name of a promised artifact"),
    ],
)
def test_invalid_values_are_refused_with_their_place(tmp_path: Path, said: str, message: str) -> None:
    (tmp_path / "machinable.yaml").write_text(f"components:\n  - a:\n      size: 1\n      {said}\n")
    with pytest.raises(MachinableError) as refused:
        Task("a").plan(tmp_path)
    text = str(refused.value)
    assert (
        str(tmp_path / "machinable.yaml") + ":4:7: " in text or "machinable.yaml:4:7: " in text,
        message in text,
    ) == (True, True), text


def test_any_name_inside_the_directory_can_be_promised(tmp_path: Path) -> None:
    (tmp_path / "machinable.yaml").write_text("components:\n  - a: {_results_: [w.npz, model/, deep/model.ckpt]}\n")
    assert Task("a").plan(tmp_path)[0].definition.results == ("w.npz", "model/", "deep/model.ckpt")


def test_an_invalid_promise_of_a_task_is_reported_with_its_component(tmp_path: Path) -> None:
    (tmp_path / "machinable.yaml").write_text("components:\n  - a: {size: 1}\n")
    with pytest.raises(MachinableError, match=r"machinable.yaml:2:5: .* cannot be the name of a promised artifact"):
        Task(("a", {"_results_": ["../x.json"]})).plan(tmp_path)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, {"gpus": 1, "cpus": 2}),
        ({"cpus": 4}, {"gpus": 1, "cpus": 4}),
        ({"gpus": 0}, {"cpus": 2}),
        ({"memory": "1KiB"}, {"gpus": 1, "cpus": 2, "memory": 1024}),
    ],
)
def test_resources_of_a_task_are_merged_over_the_declared_ones(
    tmp_path: Path, asked: dict[str, Any], expected: dict[str, float]
) -> None:
    (tmp_path / "machinable.yaml").write_text("components:\n  - a: {_resources_: {gpus: 1, cpus: 2}}\n")
    assert Task().component("a", resources=asked).plan(tmp_path)[0].resources == expected


@pytest.mark.parametrize("said", ["random.seed", "[1]", "{random: seed}"])
def test_an_invalid_list_of_generators_is_refused_with_its_place(tmp_path: Path, said: str) -> None:
    (tmp_path / "machinable.yaml").write_text(f"components:\n  - a:\nexecution:\n  seeding: {said}\n")
    with pytest.raises(MachinableError, match=r"machinable.yaml:4:3: `seeding` is "):
        Task("a").plan(tmp_path)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("", CheckpointPolicy(3, None)),
        ("_checkpoints_: ", CheckpointPolicy(3, None)),
        ("_checkpoints_: {keep: 5}", CheckpointPolicy(5, None)),
        ("_checkpoints_: {keep: all, every: 10}", CheckpointPolicy(None, 10)),
        ("_checkpoints_: {keep: null, every: null}", CheckpointPolicy(3, None)),
    ],
)
def test_checkpoints_are_kept_as_declared(tmp_path: Path, said: str, expected: CheckpointPolicy) -> None:
    (tmp_path / "machinable.yaml").write_text(f"components:\n  - a:\n      size: 1\n      {said}\n")
    assert Task("a").plan(tmp_path)[0].definition.checkpoints == expected


@pytest.mark.parametrize(
    "key",
    [
        "_resources_: {cpus: $self._t}",
        "_resources_: {memory: $self._t}",
        "_retries_: $self._t",
        "_retries_: {on: [1, $self._t]}",
        "_retries_: {delay: $self._t}",
        "_checkpoints_: {keep: $self._t}",
        "_checkpoints_: $self._t",
        "_environment_: $self._t",
        "_environment_: {A: [$self._t]}",
        "_results_: {a: $self._t}",
    ],
)
def test_no_error_shows_a_value_that_is_made_from_a_hidden_one(tmp_path: Path, key: str) -> None:
    text = f"components:\n  - c:\n      _t: s3cret\n      {key}\n"
    (tmp_path / "machinable.yaml").write_text(text)
    with pytest.raises(MachinableError) as caught:
        Task().component("c").plan(tmp_path)
    assert "s3cret" not in str(caught.value) + repr(vars(caught.value))
    assert "$self._t" in str(caught.value)
