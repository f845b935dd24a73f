"""A task that was stored is the same task again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import machinable as ml
from machinable.errors import ImportFailed, InvalidValue, MissingMember
from machinable.plan.stored import task_as_data
from machinable.plan.task import task_from_data
from machinable.serialization import dumps, loads

DECLARATIONS = """
components:
  - a: {x: 0, ~v: {x: 1}, _requires_: {data: data}}
  - data: {size: 1}
  - c: {~v: {z: 1}}
"""


class Class(ml.Component):
    class Inner(ml.Component):
        pass


def function() -> None: ...


def again(task: ml.Task) -> ml.Task:
    """The task after its way through execution.json."""
    return task_from_data(loads(dumps(task_as_data(task.wish))))


@pytest.mark.parametrize(
    "task",
    [
        ml.Task(),
        ml.Task("a").repeat(2).split(3, "FOLD"),
        ml.Task().component("a", ["~v", ("~v", [{"x": 3}, "x: 4"]), None]).version({"y": (1, 2)}).version("~v"),
        ml.Task().component(("a", "~v", {"x": 2}), flags={"f": [1]}, tags={"t": "x"}, resources={"cpus": 2}),
        ml.Task().component("data", children=["c", ("c", "~v"), {"component": "c", "flags": {"z": 1}}]),
        ml.Task().component("a", checkpoint="there"),
        ml.Task().component("a", requires={"data": None, "b": "data:x.npy", "c": ("data", {"size": 2}, "size: 3")}),
        ml.Task().component(Class, {"x": 1}).component(Class.Inner).component(function, requires=[Class, function]),
        ml.Task("a").tune({"loss": 0.1}, {"lr": [1, 2]}, 3, metric="loss"),
    ],
    ids=["empty", "levels", "versions", "tuple", "children", "checkpoint", "requires", "code", "tune"],
)
def test_a_stored_task_says_what_it_said(task: ml.Task, tmp_path: Path) -> None:
    (tmp_path / "machinable.yaml").write_text(DECLARATIONS)
    restored = again(task)
    assert task_as_data(restored.wish) == task_as_data(task.wish)
    assert restored.tuning == task.tuning
    assert list(restored.plan(tmp_path, 1)) == list(task.plan(tmp_path, 1))


def test_hidden_keys_are_not_stored() -> None:
    task = ml.Task().component(("data", {"_token": 1, "size": 2}), requires={"d": ("data", {"_token": 1, "size": 2})})
    data = task_as_data(task.wish)["components"][0]
    assert (data["version"], data["requires"]["d"]["version"]) == ({"size": 2}, {"size": 2})


def test_hidden_keys_that_are_sampled_are_not_stored() -> None:
    config = {"_token": 1, "net._token": 2, "net.lr": 3, "deep": {"_token": 4, "n": {"grid_search": [5]}}}
    tune: Any = task_as_data(ml.Task("a").tune({"_iteration": 9}, config).wish)["tune"]
    assert (tune["stop"], tune["config"]) == ({"_iteration": 9}, {"net.lr": 3, "deep": {"n": {"grid_search": [5]}}})


def test_a_task_that_an_older_version_stored_can_be_read() -> None:
    data = task_as_data(ml.Task("a").wish)
    del data["components"][0]["requires"]
    assert task_as_data(task_from_data(data).wish) == task_as_data(ml.Task("a").wish)


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("no.such.module:X", ImportFailed, "no.such.module:X does not import: ModuleNotFoundError"),
        (f"{__name__}:Class.Outer", MissingMember, "there is no 'Class.Outer' in the module"),
        (f"{__name__}:<lambda>", MissingMember, "there is no '<lambda>' in the module"),
    ],
)
def test_code_that_is_gone_is_told(name: str, kind: type[Exception], words: str) -> None:
    data = task_as_data(ml.Task("a").wish)
    data["components"][0]["component"] = name
    with pytest.raises(kind) as caught:
        task_from_data(data)
    assert words in str(caught.value)
    assert "give the task again" in str(caught.value)


def test_what_cannot_be_stored_of_tuning_is_missed_when_it_is_needed() -> None:
    class Distribution: ...

    task = ml.Task("a").tune(
        lambda *a: True, {"lr": Distribution(), "deep": {"n": Distribution(), "m": 1}}, search=print
    )
    tune: Any = task_as_data(task.wish)["tune"]
    assert tune == {
        "stop": None,
        "config": {"lr": None, "deep": {"n": None, "m": 1}},
        "num_samples": 1,
        "options": {"search": None},
        "lost": ["stop", "config.lr", "config.deep.n", "options.search"],
    }
    with pytest.raises(InvalidValue, match=r"values that could not be stored: stop, config\.lr, config\.deep\.n"):
        again(task)
