"""Samples of a search are trials of their own: with the key of their origin and a number, and the values on top."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import machinable as ml
from machinable import ids
from machinable.errors import MachinableError, Refused, WrongType
from machinable.plan.samples import Samples, expected_samples, without_origins
from machinable.plan.spec import TrialSpec, spec_from_data
from machinable.project import Project
from machinable.serialization import canonical, dumps, loads

DECLARATIONS = """
components:
  - data: {size: 1}
  - net: {lr: 0.1, net: {width: 4}, half: $self.lr, _secret: 1}
  - needs: {lr: 0.1, size: 1, _requires_: {data: data}}
  - follows: {size: 1, _requires_: [[data, {size: $self.size}]]}
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "machinable.yaml").write_text(DECLARATIONS)
    return Project(tmp_path)


def samples_of(task: ml.Task, project: Project) -> Samples:
    return Samples(task.plan(project, "OY1p1o"), project)


def sample(samples: Samples, values: dict[str, Any], origin: int = 0, number: int = 0) -> TrialSpec:
    listed = samples.origins[origin]
    return samples.trial(samples.use(listed, values), listed, number, values, 7, 9)


def test_what_is_sampled_is_the_last_layer_and_references_follow(project: Project) -> None:
    samples = samples_of(ml.Task().component("net", {"lr": 0.2}).version({"net": {"width": 5}}), project)

    spec = sample(samples, {"lr": 0.5, "net.width": 6, "_secret": 2})

    assert spec.config == {"lr": 0.5, "net": {"width": 6}, "half": 0.5, "_secret": 2}
    assert spec.stored == {"lr": 0.5, "net": {"width": 6}, "half": 0.5}
    assert spec.sample == {"of": samples.origins[0].uid, "number": 0, "values": {"lr": 0.5, "net.width": 6}}


def test_its_seed_and_uid_are_those_of_its_origins_key_with_its_number(project: Project) -> None:
    samples = samples_of(ml.Task().component("net", ["lr: 1", "lr: 2"]).repeat(2), project)
    key = canonical(
        {
            "component": "net",
            "version": "lr: 2",
            "children": [],
            "levels": [["REPEAT", 1]],
            "ordinal": 0,
            "sample": 3,
        }
    )

    spec = sample(samples, {"lr": 0.5}, origin=3, number=3)

    assert (spec.seed, spec.uid) == ids.assign(ids.decode("OY1p1o"), [key], [None])[0]
    assert spec.flags["SEED"] == spec.seed


def test_who_asks_again_gets_the_same_whatever_else_was_asked_for(project: Project) -> None:
    samples = samples_of(ml.Task("net"), project)
    first = sample(samples, {"lr": 0.5}, number=1)
    sample(samples, {"lr": 0.6}, number=0)

    assert sample(samples, {"lr": 0.5}, number=1) == first
    assert sample(samples_of(ml.Task("net"), project), {"lr": 0.5}, number=1) == first


def test_its_flags_are_those_of_its_origin_with_its_own_place(project: Project) -> None:
    samples = samples_of(ml.Task().component("net", flags={"mine": 1}).repeat(2), project)

    flags = sample(samples, {"lr": 0.5}, origin=1).flags

    assert (flags["mine"], flags["REPEAT_NUMBER"], flags["REPEAT_TOTAL"]) == (1, 1, 2)
    assert (flags["INDEX"], flags["TOTAL"], flags["TUNING"]) == (7, 9, True)


def test_it_is_read_back_from_its_line(project: Project) -> None:
    spec = sample(samples_of(ml.Task("net"), project), {"lr": 0.5, "_secret": 3})

    read = spec_from_data(loads(dumps(spec.as_data())))

    assert (read.sample, read.uid, read.config) == (spec.sample, spec.uid, spec.stored)


def test_two_samples_with_the_same_values_have_other_identities(project: Project) -> None:
    samples = samples_of(ml.Task("net"), project)

    found = {sample(samples, {"lr": 0.5}, number=number).identity for number in range(3)}

    assert len(found) == 3


def test_what_is_required_stands_in_the_plan_and_is_not_sampled(project: Project) -> None:
    samples = samples_of(ml.Task("needs").repeat(2), project)

    spec = sample(samples, {"lr": 0.5})

    assert [one.component for one in samples.required] == ["data"]
    assert spec.requires["data"].uid == samples.required[0].uid
    assert len(samples.origins) == 2


def test_a_sample_that_would_require_something_else_is_refused(project: Project) -> None:
    samples = samples_of(ml.Task("follows"), project)

    with pytest.raises(Refused, match="with what is sampled, follows requires another 0"):
        sample(samples, {"size": 3})

    assert sample(samples, {"size": 1}).requires["0"].uid == samples.required[0].uid


@pytest.mark.parametrize(
    ("values", "kind"), [({"lr": object()}, WrongType), ({"half": {"x": 1}, "lr": {"deep": {1, 2}}}, WrongType)]
)
def test_values_that_are_not_plain_are_refused(
    values: dict[str, Any], kind: type[MachinableError], project: Project
) -> None:
    with pytest.raises(kind, match=r"config of Task\.tune\.lr"):
        sample(samples_of(ml.Task("net"), project), values)


def test_numpy_values_become_numbers(project: Project) -> None:
    import numpy

    spec = sample(samples_of(ml.Task("net"), project), {"lr": numpy.float64(0.5)})

    assert type(spec.config["lr"]) is float
    assert dumps(spec.sample["values"]) == '{"lr": 0.5}'  # type: ignore[index]


def test_a_key_that_nobody_reads_may_be_a_mistake(project: Project) -> None:
    samples = samples_of(ml.Task("net"), project)

    sample(samples, {"lrr": 0.5})

    (text,) = samples.warnings
    assert text.startswith("'lrr' is a new key of net: did you mean 'lr'?")


@pytest.mark.parametrize(
    ("config", "count"),
    [
        ({}, 3),
        ({"a": 1, "b": [1, 2]}, 3),
        ({"a": {"grid_search": [1, 2]}, "b": {"c": {"grid_search": [1, 2, 3]}, "d": 1}}, 18),
    ],
)
def test_all_of_a_grid_is_expected_for_each_sample(config: dict[str, Any], count: int) -> None:
    assert expected_samples(config, 3) == count


def test_without_what_is_searched_a_plan_has_its_requirements(project: Project) -> None:
    plan = ml.Task("needs").plan(project, 1)

    assert [spec.uid for spec in without_origins(plan)] == [plan[0].uid]
