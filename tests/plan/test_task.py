"""The builder: what it takes, what it refuses, and the plan that follows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import machinable as ml
from machinable.errors import InvalidValue, MachinableError
from machinable.plan.task import task_from_data

DECLARATIONS = """
components:
  - a: {x: 0, data: {name: none}, ~v: {x: 1}}
  - c: {y: 0}
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "machinable.yaml").write_text(DECLARATIONS)
    return tmp_path


class ClusterResources(ml.Component):
    """A class that no project declares."""


def values(task: ml.Task, directory: Path, *keys: str) -> list[Any]:
    return [tuple(spec.config[key] for key in keys) for spec in task.plan(directory, 1)]


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: ml.Task().component(3), TypeError, "3 is not a component"),
        (lambda: ml.Task().component(""), ValueError, "the name of a component is empty"),
        (lambda: ml.Task().component(()), ValueError, "empty tuple"),
        (lambda: ml.Task().component(("a", "~v"), "~v"), TypeError, "another one as an argument"),
        (lambda: ml.Task().component("a", 3), TypeError, "3 of type int is not a version"),
        (lambda: ml.Task().component("a", {"x": object()}), TypeError, "is not plain data"),
        (lambda: ml.Task().component("a", flags=3), TypeError, "`flags` takes a mapping"),
        (lambda: ml.Task().component("a", flags={1: 2}), TypeError, "names of `flags` are text"),
        (lambda: ml.Task().component("a", checkpoint=3), TypeError, "a checkpoint is text"),
        (lambda: ml.Task().component("a", children=[3]), TypeError, "3 is not a child"),
        (lambda: ml.Task().component("a", children=[print]), TypeError, "not the function"),
        (lambda: ml.Task().component("a", children={"componet": "c"}), KeyError, "Did you mean 'component'?"),
        (lambda: ml.Task().component("a", children={"version": "~v"}), ValueError, "a child has no `component`"),
        (lambda: ml.Task().component("a", resources={"cpus": "two"}), TypeError, "an amount of cpus is a number"),
        (lambda: ml.Task().component("a", resources={"memory": "4 elephants"}), ValueError, "is not a size of memory"),
        (lambda: ml.Task().repeat(0), ValueError, "at least 1"),
        (lambda: ml.Task().repeat(True), TypeError, "a whole number, not True"),
        (lambda: ml.Task().split(2.0), TypeError, "a whole number, not 2.0"),
        (lambda: ml.Task().repeat(2, "my name"), ValueError, "an identifier"),
        (lambda: ml.Task().repeat(2, "GLOBAL"), ValueError, "would hide the flag GLOBAL_SEED"),
        (lambda: ml.Task().repeat(2, 3), TypeError, "is text"),
        (lambda: ml.Task().version(["~v"]), TypeError, "one version, not a list"),
        (lambda: ml.Task().version(("~v", ["~w"])), TypeError, "one version, not a list"),
        (lambda: ml.Task().named(3), TypeError, "a task's name is text"),
    ],
)
def test_invalid_arguments_are_refused_at_once(call: Any, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind) as caught:
        call()
    assert isinstance(caught.value, MachinableError)
    assert words in str(caught.value)


def test_methods_change_the_task_and_return_it() -> None:
    task = ml.Task()
    assert task.component("a").repeat(2).split(2).version("~v").named("n") is task


def test_a_copy_is_independent(directory: Path) -> None:
    task = ml.Task().component("a", [{"x": 1}])
    copy = task.copy().repeat(2)
    task.component("c")
    assert (len(copy.plan(directory)), len(task.plan(directory))) == (2, 2)
    assert [spec.component for spec in copy.plan(directory)] == ["a", "a"]


def test_changing_a_version_later_does_not_affect_the_task(directory: Path) -> None:
    task, version, versions = ml.Task(), {"x": 0, "data": {"name": "n"}}, [{"x": 7}]
    for x in (1, 2):
        version["x"] = x
        task.component("a", version).component("a", children=("c", version))
    task.component("a", versions).version(version)
    version["data"]["name"] = "changed"  # type: ignore[index]
    versions.append({"x": 8})

    assert values(task, directory, "x", "data") == [(x, {"name": "n"}) for x in (1, 2, 2, 2, 7)]
    assert [spec.children[0].config["x"] for spec in task.plan(directory) if spec.children] == [1, 2]


def test_a_task_of_a_task_is_a_copy_under_its_own_or_another_name(directory: Path) -> None:
    task = ml.Task(("a", "~v"), name="first").repeat(2).version({"x": 5}).on_complete(print)
    other = ml.Task(task, name="second").component("c")
    same = ml.Task(task)

    assert values(same, directory, "x") == [(1,), (1,)]
    assert [each.execution_name for each in (task, other, same)] == ["first", "second", "first"]
    assert same.callbacks == [print]
    assert (len(task.plan(directory)), len(other.plan(directory))) == (2, 4)


def test_children_form_a_product_in_which_the_last_varies_fastest(directory: Path) -> None:
    task = ml.Task().component("a", [{"x": 1}, {"x": 2}], children=[("c", [{"y": 3}, {"y": 4}])])
    plan = task.plan(directory, 1)
    assert [(spec.config["x"], spec.children[0].config["y"]) for spec in plan] == [(1, 3), (1, 4), (2, 3), (2, 4)]


def test_a_version_of_the_task_applies_to_children_too(directory: Path) -> None:
    (spec,) = ml.Task().component("a", children="c").version({"z": 9}).plan(directory, 1)
    assert (spec.config["z"], spec.children[0].config["z"]) == (9, 9)


def test_an_undeclared_class_has_an_empty_configuration(directory: Path) -> None:
    (spec,) = ml.Task().component(ClusterResources, {"a": 1}).plan(directory, 1)
    assert (spec.component, dict(spec.config)) == (f"{__name__}:ClusterResources", {"a": 1})


def test_a_class_of_a_declared_module_is_that_component_also_by_name(tmp_path: Path) -> None:
    (tmp_path / "machinable.yaml").write_text(f"components:\n  - {ClusterResources.__module__}: {{z: 3}}\n")
    given, named = (ml.Task(one).plan(tmp_path, 1)[0] for one in (ClusterResources, ClusterResources.__module__))
    assert (given.component, given.config) == (ClusterResources.__module__, {"z": 3})
    assert (given.flags, given.uid) == (named.flags, named.uid)


def test_a_task_with_more_trials_than_fit_in_memory_is_refused(directory: Path) -> None:
    with pytest.raises(InvalidValue, match="the task has more than 10,000,000 trials"):
        ml.Task("a").repeat(10**30).split(10**5000).plan(directory)


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


def test_a_plan_shows_values_of_children_that_differ(tmp_path: Path) -> None:
    (tmp_path / "machinable.yaml").write_text(
        "components:\n  - part: {n: 1, m: 2}\n  - other: {n: 3}\n  - net: {_children_: {a: part}}\n"
    )
    task = ml.Task().component("net").component("net", children={"a": ("part", {"n": 5})})
    headings, rows = task.component("net", children=["other"]).plan(tmp_path, 1).table()
    assert headings == ["#", "uid", "component", "children.a.n"]
    assert [row[2:] for row in rows] == [["net (part)", "1"], ["net (part)", "5"], ["net (other)", ""]]


def test_a_long_plan_is_truncated(directory: Path) -> None:
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


def test_errors_of_all_components_are_reported_together(directory: Path) -> None:
    with pytest.raises(ValueError, match="no component named 'b'") as caught:
        ml.Task().component("b").component("a", "~w").plan(directory)
    assert "no version named '~w'" in str(caught.value)


def test_building_reads_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    task = ml.Task().component("anything", "~whatever").repeat(3)
    with pytest.raises(FileNotFoundError, match=r"machinable init"):
        task.plan()


# tags, on_complete


@pytest.mark.parametrize(
    ("call", "tags"),
    [
        (lambda: ml.Task("a"), {}),
        (lambda: ml.Task().component("a", "~v"), {"x": 1}),
        (
            lambda: ml.Task().component("a", {"data.name": "mnist", "x": 0, "new": {"n": [1]}, "_h": 1}),
            {"data.name": "mnist", "new.n": [1]},
        ),
        (lambda: ml.Task().component("a", "~v", tags={"x": "mine", "model": "bm25"}), {"x": "mine", "model": "bm25"}),
        (lambda: ml.Task("a").version({"x": 5}), {"x": 5}),
        (lambda: ml.Task().component(ClusterResources, {"z": {}}), {"z": {}}),
    ],
    ids=["none", "block", "mapping", "explicit", "of the task", "class"],
)
def test_what_a_version_changes_is_tagged(call: Any, tags: dict[str, Any], directory: Path) -> None:
    (spec,) = call().plan(directory, 1)
    assert (spec.tags, spec.as_data()["tags"]) == (tags, tags)


def test_tags_of_the_version_are_not_those_of_the_task(directory: Path) -> None:
    assert ml.Task().component("a", {"x": 1}).plan(directory).request.as_data()["components"][0]["tags"] == {}


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda task: task.on_complete(3), TypeError, "the callback 3 cannot be called"),
        (lambda task: task.on_complete(lambda: None), TypeError, "cannot take one trial"),
        (lambda task: task.on_complete(lambda a, b: None), TypeError, "A callback is called as callback(trial)."),
    ],
)
def test_wrong_arguments_of_on_complete_are_refused_at_once(call: Any, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind) as caught:
        call(ml.Task("a"))
    assert isinstance(caught.value, MachinableError)
    assert words in str(caught.value)


def test_callbacks_are_kept_and_copied(directory: Path) -> None:
    heard: list[Any] = []
    task = ml.Task("a").on_complete(heard.append).on_complete(print)
    copy = task.copy().on_complete(repr)
    assert (task.callbacks, len(copy.callbacks)) == ([heard.append, print], 3)
    assert task.plan(directory, 1)[0] == ml.Task("a").plan(directory, 1)[0]


SEARCH: dict[str, Any] = {"space": {"x": {"uniform": [0, 1]}}, "metric": "records.x.last", "mode": "min", "samples": 3}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"space": None}, "a search needs a space"),
        ({"space": {}}, "the space is empty"),
        ({"space": {"x": {"uniform": [1, 0]}}}, "is not less than its upper bound"),
        ({"space": {"x": {"loguniform": [0, 1]}}}, "has no logarithm"),
        ({"metric": None}, "a search needs a metric"),
        ({"metric": 3}, "the metric of a search is text, not 3"),
        ({"mode": None}, "a search needs a mode"),
        ({"mode": "mni"}, "'mni' is not a direction of a search"),
        ({"samples": 0}, "`samples` is at least 1, not 0"),
        ({"samples": True}, "`samples` is a whole number, not True"),
        ({"samples": None}, "the search would never end"),
        ({"sampler": "tpee"}, "no sampler named 'tpee'"),
        ({"sampler": object()}, "has no ask and no tell"),
        ({"prune": "ahsa"}, "no pruner named 'ahsa'"),
        ({"prune": "asha", "metric": "result"}, "the metric result is not one of them"),
        ({"stop": 3}, "`stop` is 3"),
        ({"stop": {"records.x.last": "low"}}, "`stop` maps fields to numbers"),
        ({"timeout": 0}, "the timeout of a search is more than 0 seconds"),
        ({"timeout": "1h"}, "the timeout of a search is a number of seconds"),
        ({"repeats": 0}, "at least 1, not 0"),
        ({"config": {"x": 1}}, "both space and config"),
        ({"num_samples": 3}, "both samples and num_samples"),
        ({"space": None, "config": 3}, "the configuration of a search is a mapping"),
    ],
)
def test_a_search_that_makes_no_sense_is_refused_at_once(arguments: dict[str, Any], words: str) -> None:
    task = ml.Task("a")
    with pytest.raises(MachinableError, match=re.escape(words)):
        task.tune(**{**SEARCH, **arguments})
    assert (task.search, task.levels) == (None, [])


def test_a_task_has_one_search_which_is_stored_and_copied(directory: Path) -> None:
    task = ml.Task("a").tune(**SEARCH, repeats=2, prune={"asha": {"reduction": 4}}, stop={"records.x.last": 1})
    data = task.request.as_data()
    assert task_from_data(data).request.as_data() == task.copy().request.as_data() == data
    assert repr(task) == "Task(a x2, 3 samples)"
    with pytest.raises(InvalidValue, match="has a search already"):
        task.tune(**SEARCH)


def test_a_task_and_its_copy_keep_the_values_they_were_given(directory: Path) -> None:
    version: dict[str, Any] = {"y": [1]}
    flags = {"f": [1]}
    task = ml.Task().component("c", version, requires={"c": ("c", version)}, flags=flags)
    copy = task.copy()
    version["y"].append(2)
    flags["f"].append(2)
    task.component("a")
    for one in (task, copy):
        assert [spec.config["y"] for spec in one.plan(directory)[:2]] == [[1], [1]]
        assert one.plan(directory)[1].flags["f"] == [1]
    assert (len(task.plan(directory)), len(copy.plan(directory))) == (3, 2)


class Changes(ml.Component):
    """Changes what it is given, at any depth."""

    def on_init(self, config: dict[str, Any], flags: dict[str, Any], node: Any) -> None:
        config["deep"]["list"].append("init")

    def on_execute(self) -> list[Any]:
        seen = self.config.to_dict()
        self.config.deep.list.append(1)
        self.config.deep.name = "changed"
        self.config["deep"]["more"] = {"x": 1}
        del self.config.deep.gone
        return [seen, self.config.to_dict()]


def test_what_a_component_does_to_its_configuration_reaches_no_other_trial(tmp_path: Path) -> None:
    (tmp_path / "machinable.yaml").write_text(
        "components:\n  - changes: {n: 0, deep: {list: [0], name: a, gone: 1}, _hidden: {x: 1}}\n"
    )
    (tmp_path / "changes.py").write_text(f"from {__name__} import Changes\nclass Mine(Changes):\n    pass\n")
    project = ml.Project(tmp_path)
    task = ml.Task().component("changes", [{"n": 1}, {"n": 2}]).repeat(2)
    results = [trial.result[0] for trial in ml.execute(task, project=project).trials]
    expected = {"deep": {"list": [0], "name": "a", "gone": 1}, "_hidden": {"x": 1}}
    assert results == [{"n": n, **expected} for n in (1, 2, 1, 2)]
    assert project.resolve("changes").to_dict() == {"n": 0, **expected}


def test_a_version_for_one_component_is_over_all_others_wherever_it_stands(tmp_path: Path) -> None:
    (tmp_path / "machinable.yaml").write_text(
        "components:\n  - data=d: {n: 0, ~two: {n: 2}}\n  - net: {n: 1, _requires_: {a: data, b: [data, ~two]}}\n"
        "  - top: {n: 1, _requires_: {net: net}, _children_: {kid: [data, ~two]}}\n"
    )

    def values(task: ml.Task) -> list[tuple[str, int]]:
        plan = task.plan(tmp_path, 1)
        again = task_from_data(plan.request.as_data()).plan(tmp_path, 1)
        assert [spec.as_data() for spec in again] == [spec.as_data() for spec in plan]
        return [(spec.component, one.config["n"]) for spec in plan for one in (spec.definition, *spec.children)]

    before = [("data", 0), ("data", 2), ("net", 1), ("top", 1), ("top", 2)]
    assert values(ml.Task("top")) == before
    assert values(ml.Task("top").version({"n": 5}, of="d")) == [("data", 5), ("net", 1), ("top", 1), ("top", 5)]
    assert values(ml.Task("top").version("~two", of="data").version({"n": 3}, of="net")) == [
        ("data", 2),
        ("net", 3),
        ("top", 1),
        ("top", 2),
    ]
    own = ml.Task().component("data", [{"n": 7}, {"n": 8}]).version({"n": 9}).version({"n": 1}, of="data")
    assert values(own) == [("data", 1), ("data", 1)]
    for of, words in (("dat", "Did you mean"), ("net", "no component of the plan named 'net'")):
        with pytest.raises(KeyError, match=words):
            ml.Task("data").version({"n": 1}, of=of).plan(tmp_path)
    with pytest.raises(TypeError, match="3 is not a component"):
        ml.Task("data").version({"n": 1}, of=3)
