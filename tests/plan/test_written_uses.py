"""Requirements as they are written: one, or several under one name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import machinable as ml
from machinable.plan.plan import Plan
from machinable.plan.task import task_from_data

DECLARATIONS = """
counts: [1, 2]
components:
  - fold: {n: 0, rate: 0.1, ~fast: {rate: 1.0}}
  - data: {}
  - listed: {_requires_: {folds: [{each: [[fold, {n: 1}], [fold, ~fast, {n: 2}], data]}]}}
  - mapped: {_requires_: {folds: {each: [[fold, {n: 1}], data:x.csv]}}}
  - grid: {_requires_: {folds: {component: fold, version: ~fast, grid: {n: [1, 2], rate: [3.0, 4.0]}}}}
  - each: {_requires_: {folds: {component: fold, each: [~fast, [~fast, {n: 5}], null], grid: {n: $.counts}}}}
  - joined: {_requires_: {folds: [{each: [data]}, {component: fold, grid: {n: [7]}}]}}
  - one: {_requires_: {folds: {component: fold, version: [~fast, {n: 3}]}}}
  - numbers: {_requires_: [data, {component: fold, grid: {n: [1, 2]}}]}
  - plain: {_requires_: {folds: fold}}
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "machinable.yaml").write_text(DECLARATIONS)
    return tmp_path


def planned(directory: Path, name: str, **more: Any) -> tuple[Plan, dict[str, tuple[Any, ...]]]:
    """The plan, and the component, values and artifact of each requirement by name."""
    plan = ml.Task().component(name, **more).plan(directory, "OY1p1o")
    specs = {spec.uid: spec for spec in plan}
    requires = plan[-1].requires
    return plan, {
        name: (one.component, *specs[one.uid].config.values(), *filter(None, [one.artifact]))
        for name, one in requires.items()
    }


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("listed", [("fold", 1, 0.1), ("fold", 2, 1.0), ("data",)]),
        ("mapped", [("fold", 1, 0.1), ("data", "x.csv")]),
        ("grid", [("fold", 1, 3.0), ("fold", 1, 4.0), ("fold", 2, 3.0), ("fold", 2, 4.0)]),
        ("each", [("fold", n, rate) for rate in (1.0, 1.0, 0.1) for n in (1, 2)]),
        ("joined", [("data",), ("fold", 7, 0.1)]),
    ],
)
def test_several_requirements_of_one_name_are_numbered_in_order(
    directory: Path, name: str, expected: list[tuple[Any, ...]]
) -> None:
    assert planned(directory, name)[1] == {f"folds.{number}": one for number, one in enumerate(expected)}


def test_a_mapping_without_alternatives_is_one_requirement(directory: Path) -> None:
    assert planned(directory, "one")[1] == {"folds": ("fold", 3, 1.0)}


def test_an_unnamed_requirement_may_be_several(directory: Path) -> None:
    assert planned(directory, "numbers")[1] == {"0": ("data",), "1.0": ("fold", 1, 0.1), "1.1": ("fold", 2, 0.1)}


@pytest.mark.parametrize(
    "given",
    [
        [("fold", {"n": 1}), ("fold", {"n": 2})],
        ("fold", [{"n": 1}, {"n": 2}]),
        {"component": "fold", "grid": {"n": [1, 2]}},
        [[("fold", {"n": 1})], ("fold", {"n": 2})],
    ],
    ids=["a list", "a list of versions", "a grid", "nested lists"],
)
def test_a_task_gives_several_as_lists_which_replace_declared_ones(directory: Path, given: Any) -> None:
    expected = {"folds.0": ("fold", 1, 0.1), "folds.1": ("fold", 2, 0.1)}
    for name in ("plain", "listed"):
        plan, found = planned(directory, name, requires={"folds": given})
        assert found == expected
        again = task_from_data(plan.request.as_data()).plan(directory, "OY1p1o")
        assert [spec.as_data() for spec in again] == [spec.as_data() for spec in plan]


def test_one_requirement_replaces_several_and_none_removes_them(directory: Path) -> None:
    assert planned(directory, "listed", requires={"folds": "data"})[1] == {"folds": ("data",)}
    assert planned(directory, "listed", requires={"folds": None})[1] == {}


def test_two_requirements_cannot_have_one_name(directory: Path) -> None:
    with pytest.raises(ValueError, match=r"two requirements are called 'folds\.0'"):
        planned(directory, "listed", requires={"folds.0": "data"})


def test_a_plan_shows_several_requirements_under_their_name(directory: Path) -> None:
    assert "folds #0 #1 #2 " in str(planned(directory, "listed")[0])
