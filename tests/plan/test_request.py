"""A stored task is restored as the same task."""

from __future__ import annotations

from pathlib import Path

import pytest

import machinable as ml
from machinable.errors import ImportFailed, MissingMember
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
    return task_from_data(loads(dumps(task.request.as_data())))


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
    ],
    ids=["empty", "levels", "versions", "tuple", "children", "checkpoint", "requires", "code"],
)
def test_a_stored_task_gives_the_same_plan(task: ml.Task, tmp_path: Path) -> None:
    (tmp_path / "machinable.yaml").write_text(DECLARATIONS)
    restored = again(task)
    assert restored.request.as_data() == task.request.as_data()
    assert list(restored.plan(tmp_path, 1)) == list(task.plan(tmp_path, 1))


def test_hidden_flags_and_tags_are_neither_stored_nor_part_of_the_identity(tmp_path: Path) -> None:
    (tmp_path / "machinable.yaml").write_text("components: [{c: {}}, {d: {}}]\n")

    def task(text: str) -> ml.Task:
        more = {"flags": {"_f": text, "x": {"_y": text}}}
        return ml.Task().component("c", tags={"_t": text}, children=[{"component": "d", **more}], **more)

    (one,), (other,) = (task(text).plan(tmp_path, 1) for text in ("s3cret", "other"))
    assert one.identity == other.identity
    assert (one.flags["_f"], one.tags["_t"], one.children[0].flags["_f"]) == ("s3cret",) * 3
    assert "s3cret" not in repr(one.as_data()) + repr(task("s3cret").request.as_data())


def test_hidden_keys_are_not_stored() -> None:
    task = ml.Task().component(("data", {"_token": 1, "size": 2}), requires={"d": ("data", {"_token": 1, "size": 2})})
    data = task.request.as_data()["components"][0]
    assert (data["version"], data["requires"]["d"]["version"]) == ({"size": 2}, {"size": 2})


def test_a_task_that_an_older_version_stored_can_be_read() -> None:
    data = ml.Task("a").request.as_data()
    del data["components"][0]["requires"]
    assert task_from_data(data).request.as_data() == ml.Task("a").request.as_data()


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("no.such.module:X", ImportFailed, "no.such.module:X cannot be imported: ModuleNotFoundError"),
        (f"{__name__}:Class.Outer", MissingMember, "there is no 'Class.Outer' in the module"),
        (f"{__name__}:<lambda>", MissingMember, "there is no '<lambda>' in the module"),
    ],
)
def test_missing_code_is_reported(name: str, kind: type[Exception], words: str) -> None:
    data = ml.Task("a").request.as_data()
    data["components"][0]["component"] = name
    with pytest.raises(kind) as caught:
        task_from_data(data)
    assert words in str(caught.value)
    assert "give the task again" in str(caught.value)
