"""The builder: what it takes, what it refuses, and what comes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import machinable as ml
from machinable.errors import MachinableError

DECLARATIONS = """
components:
  - a: {x: 0, data: {name: none}, ~v: {x: 1}}
  - c: {y: 0}
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "machinable.yaml").write_text(DECLARATIONS)
    return tmp_path


class Elsewhere(ml.Component):
    """A class that no project declares."""


def values(task: ml.Task, directory: Path, *keys: str) -> list[Any]:
    return [tuple(spec.config[key] for key in keys) for spec in task.plan(directory, 1)]


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: ml.Task().component(3), TypeError, "3 names no component"),
        (lambda: ml.Task().component(""), ValueError, "empty text"),
        (lambda: ml.Task().component(()), ValueError, "empty tuple"),
        (lambda: ml.Task().component(("a", "~v"), "~v"), TypeError, "another one beside it"),
        (lambda: ml.Task().component("a", 3), TypeError, "3 of type int is not a version"),
        (lambda: ml.Task().component("a", {"x": object()}), TypeError, "is not plain data"),
        (lambda: ml.Task().component("a", flags=3), TypeError, "`flags` takes a mapping"),
        (lambda: ml.Task().component("a", flags={1: 2}), TypeError, "names of `flags` are text"),
        (lambda: ml.Task().component("a", checkpoint=3), TypeError, "a checkpoint is text"),
        (lambda: ml.Task().component("a", children=[3]), TypeError, "3 names no child"),
        (lambda: ml.Task().component("a", children=[print]), TypeError, "not the function"),
        (lambda: ml.Task().component("a", children={"componet": "c"}), KeyError, "Did you mean 'component'?"),
        (lambda: ml.Task().component("a", children={"version": "~v"}), ValueError, "a child has no `component`"),
        (lambda: ml.Task().component("a", resources={"cpus": "two"}), TypeError, "an amount of cpus is a number"),
        (lambda: ml.Task().component("a", resources={"memory": "4 elephants"}), ValueError, "no size of memory"),
        (lambda: ml.Task().repeat(0), ValueError, "at least 1"),
        (lambda: ml.Task().repeat(True), TypeError, "a whole number, not True"),
        (lambda: ml.Task().split(2.0), TypeError, "a whole number, not 2.0"),
        (lambda: ml.Task().repeat(2, "my name"), ValueError, "an identifier"),
        (lambda: ml.Task().repeat(2, 3), TypeError, "is text"),
        (lambda: ml.Task().version(["~v"]), TypeError, "one version, not a list"),
        (lambda: ml.Task().version(("~v", ["~w"])), TypeError, "one version, not a list"),
        (lambda: ml.Task().named(3), TypeError, "a task's name is text"),
    ],
)
def test_what_means_nothing_is_refused_when_it_is_said(call: Any, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind) as caught:
        call()
    assert isinstance(caught.value, MachinableError)
    assert words in str(caught.value)


def test_methods_change_the_task_and_return_it() -> None:
    task = ml.Task()
    assert task.component("a").repeat(2).split(2).version("~v").named("n") is task


def test_a_copy_is_independent(directory: Path) -> None:
    versions = [{"x": 1}]
    task = ml.Task().component("a", versions)
    copy = task.copy().repeat(2)
    versions.append({"x": 2})
    task.component("c")
    assert (len(copy.plan(directory)), len(task.plan(directory))) == (2, 3)


def test_children_make_a_cross_product_and_the_last_is_fastest(directory: Path) -> None:
    task = ml.Task().component("a", [{"x": 1}, {"x": 2}], children=[("c", [{"y": 3}, {"y": 4}])])
    plan = task.plan(directory, 1)
    assert [(spec.config["x"], spec.children[0].config["y"]) for spec in plan] == [(1, 3), (1, 4), (2, 3), (2, 4)]


def test_a_version_of_the_task_holds_for_children_too(directory: Path) -> None:
    (spec,) = ml.Task().component("a", children="c").version({"z": 9}).plan(directory, 1)
    assert (spec.config["z"], spec.children[0].config["z"]) == (9, 9)


def test_a_class_that_is_not_declared_begins_empty(directory: Path) -> None:
    (spec,) = ml.Task().component(Elsewhere, {"a": 1}).plan(directory, 1)
    assert (spec.component, dict(spec.config)) == (f"{__name__}:Elsewhere", {"a": 1})


def test_a_plan_shows_only_what_differs(directory: Path) -> None:
    plan = ml.Task().component("a", ["~v", {"data.name": "mnist"}]).repeat(2).plan(directory, "OY1p1o")
    assert str(plan).splitlines() == [
        "Plan OY1p1o: 4 trials",
        "#  uid           component  repeat  x  data.name",
        f"0  {plan[0].uid}  a          1/2     1  none",
        f"1  {plan[1].uid}  a          1/2     0  mnist",
        f"2  {plan[2].uid}  a          2/2     1  none",
        f"3  {plan[3].uid}  a          2/2     0  mnist",
    ]
    assert plan._repr_html_().count("<tr>") == 5
    assert plan.as_data()["trials"][1]["config"] == {"x": 0, "data": {"name": "mnist"}}


def test_a_long_plan_is_cut(directory: Path) -> None:
    plan = ml.Task("a").repeat(50).plan(directory, 1)
    assert str(plan).splitlines()[-1] == "… and 10 more"


def test_a_plan_is_a_sequence(directory: Path) -> None:
    plan = ml.Task("a").repeat(3).plan(directory, 1)
    assert [spec.index for spec in plan[1:]] == [1, 2]
    assert plan[-1] == plan[2]
    with pytest.raises(IndexError):
        plan[3]


def test_user_flags_come_first_and_ours_win(directory: Path) -> None:
    (spec,) = ml.Task().component("a", flags={"mine": 1, "SEED": 2}).plan(directory, 1)
    assert next(iter(spec.flags)) == "mine"
    assert spec.flags["SEED"] == spec.seed != 2


def test_errors_of_all_components_are_told_together(directory: Path) -> None:
    with pytest.raises(ValueError, match="no component named 'b'") as caught:
        ml.Task().component("b").component("a", "~w").plan(directory)
    assert "no version named '~w'" in str(caught.value)


def test_building_reads_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    task = ml.Task().component("anything", "~whatever").repeat(3)
    with pytest.raises(FileNotFoundError, match=r"machinable init"):
        task.plan()
