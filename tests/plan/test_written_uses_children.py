"""Children as they are written in `_children_`, and those of a task laid over them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import machinable as ml
from machinable.errors import MachinableError, UnknownName
from machinable.plan.plan import Plan
from machinable.plan.task import task_from_data

DECLARATIONS = """
components:
  - net: {layers: 1, ~small: {layers: 0}}
  - data: {size: 3}
  - train:
      n: 4
      _children_: {model: [net, ~small], data: [data, {size: $self.n}]}
      ~big: {_children_: {model: [net, {layers: 9}]}}
      ~alone: {_children_: {data: null}}
  - heir^train: {_children_: {more: net}}
  - listed: {_children_: [net, [data, {size: 1}]]}
  - ensemble: {_children_: {members: {component: net, grid: {layers: [1, 2]}}}}
  - plain: {}
  - user: {_requires_: {one: [train, ~big], other: train}}
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "machinable.yaml").write_text(DECLARATIONS)
    return tmp_path


def plan(directory: Path, name: Any, **more: Any) -> Plan:
    return ml.Task().component(name, **more).plan(directory, "OY1p1o")


def children(found: Plan, index: int = -1) -> dict[str, tuple[Any, ...]]:
    """Component and values of each child of a trial, by its name or its number."""
    return {
        child.called or str(number): (child.component, *child.config.values())
        for number, child in enumerate(found[index].children)
    }


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("train", {"model": ("net", 0), "data": ("data", 4)}),
        (("train", {"n": 2}), {"model": ("net", 0), "data": ("data", 2)}),
        (("train", "~big"), {"model": ("net", 9), "data": ("data", 4)}),
        (("train", "~alone"), {"model": ("net", 0)}),
        (("train", {"_children_.model": "net"}), {"model": ("net", 1), "data": ("data", 4)}),
        (("train", {"_children_": None}), {}),
        ("heir", {"model": ("net", 0), "data": ("data", 4), "more": ("net", 1)}),
        ("listed", {"0": ("net", 1), "1": ("data", 1)}),
        ("ensemble", {"members.0": ("net", 1), "members.1": ("net", 2)}),
    ],
    ids=str,
)
def test_declared_children_are_merged_like_any_key(directory: Path, name: Any, expected: Any) -> None:
    found = plan(directory, name)
    assert children(found) == expected
    again = task_from_data(found.request.as_data()).plan(directory, "OY1p1o")
    assert [spec.as_data() for spec in again] == [spec.as_data() for spec in found]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"model": ("net", {"layers": 7})}, {"model": ("net", 7), "data": ("data", 4)}),
        ({"data": None}, {"model": ("net", 0)}),
        ({"more": "net"}, {"model": ("net", 0), "data": ("data", 4), "more": ("net", 1)}),
        ({"model": {"component": "data", "version": {"size": 8}}}, {"model": ("data", 8), "data": ("data", 4)}),
        (["data"], {"0": ("data", 3)}),
        ([], {}),
        ("data", {"0": ("data", 3)}),
    ],
    ids=["one", "none", "a new one", "another component", "a list", "an empty list", "a single one"],
)
def test_children_of_a_task_are_laid_over_declared_ones(directory: Path, given: Any, expected: Any) -> None:
    found = plan(directory, "train", children=given)
    assert children(found) == expected
    again = task_from_data(found.request.as_data()).plan(directory, "OY1p1o")
    assert [spec.as_data() for spec in again] == [spec.as_data() for spec in found]


@pytest.mark.parametrize(
    ("name", "more", "warning"),
    [
        (
            "train",
            {"children": {"modle": "net"}},
            "train has no child 'modle', so it is added. Did you mean 'model'? (tra",
        ),
        (
            ("train", {"_children_.modle": "net"}),
            {},
            "train has no child 'modle', so it is added. Did you mean 'model'?",
        ),
        (
            "user",
            {"requires": {"othr": "net"}},
            "user has no requirement 'othr', so it is added. Did you mean 'other'?",
        ),
        ("train", {"children": {"model_2": "net"}}, None),
        ("train", {"children": {"model": "net"}}, None),
        ("plain", {"children": {"modle": "net"}}, None),
    ],
    ids=["child", "version", "requirement", "a further one", "the declared one", "none declared"],
)
def test_an_added_name_that_resembles_a_declared_one_gives_a_warning(
    directory: Path, recwarn: pytest.WarningsRecorder, name: Any, more: dict[str, Any], warning: str | None
) -> None:
    plan(directory, name, **more)

    found = [str(one.message) for one in recwarn]
    assert len(found) == (warning is not None)
    assert warning is None or found[0].startswith(warning)


def test_versions_of_a_named_child_are_alternatives(directory: Path) -> None:
    found = plan(directory, "train", children={"model": ("net", ["~small", None])})
    assert [children(found, index)["model"] for index in range(2)] == [("net", 0), ("net", 1)]
    assert len({spec.uid for spec in found}) == 2


def test_a_named_child_without_a_component_is_the_declared_one_with_a_further_version(directory: Path) -> None:
    def planned(child: Any) -> Plan:
        task = ml.Task().component("train", children={"model": child})
        return task_from_data(task.request.as_data()).plan(directory, 1)

    found = planned({"version": [{"layers": 7}, None]})
    assert [children(found, index)["model"] for index in range(2)] == [("net", 7), ("net", 0)]
    written = planned(("net", "~small", {"layers": 7}))
    assert (found[0].uid, found[0].identity) == (written[0].uid, written[0].identity)


@pytest.mark.parametrize(
    ("over", "expected"),
    [
        ({"_children_": {"model": {"version": {"layers": 7}}}}, {"model": ("net", 7), "data": ("data", 4)}),
        ({"_children_.data": {"version": {}}}, {"model": ("net", 0), "data": ("data", 4)}),
        ({"_children_.members": {"version": "~small"}}, {"members.0": ("net", 1), "members.1": ("net", 2)}),
    ],
    ids=["a list", "with dots", "a grid"],
)
def test_a_child_in_a_version_needs_no_component_where_one_is_declared(
    directory: Path, over: dict[str, Any], expected: Any
) -> None:
    assert children(plan(directory, ("ensemble" if "members" in str(over) else "train", over))) == expected


def test_a_version_is_laid_over_a_declared_requirement_too(directory: Path) -> None:
    (directory / "machinable.yaml").write_text(
        f"{DECLARATIONS}tasks: {{a: {{component: user, requires: {{one: {{version: {{n: 5}}}}}}}}}}\n"
    )

    found = ml.Project(directory).task("a").plan(directory, 1)
    written = plan(directory, ("user", {"_requires_": {"one": ["train", "~big", {"n": 5}]}}))
    assert found[-1].requires["one"].identity == written[-1].requires["one"].identity


def test_a_child_without_component_that_is_not_declared_is_refused(directory: Path) -> None:
    with pytest.raises(MachinableError, match="Only over a declared one"):
        plan(directory, ("plain", {"_children_": {"modle": {"version": "~small"}}}))


@pytest.mark.parametrize(
    ("name", "more", "words"),
    [
        ("train", {"children": {"other": "net"}}, "no child named 'other'"),
        (("train", {"_children_.modle": "net"}), {}, "Did you mean 'model'"),
        ("user", {"requires": {"othr": "net"}}, "Did you mean 'other'"),
    ],
)
def test_a_strict_project_refuses_new_names_of_children_and_requirements(
    directory: Path, name: Any, more: dict[str, Any], words: str
) -> None:
    (directory / "machinable.yaml").write_text(f"execution: {{strict: true}}\n{DECLARATIONS}")

    with pytest.raises(UnknownName, match=words):
        plan(directory, name, **more)
    assert children(plan(directory, "plain", children={"any": "net"})) == {"any": ("net", 1)}


@pytest.mark.parametrize(
    ("child", "path", "words"),
    [
        ({"modle": {"version": "~small"}}, "children.modle", "Did you mean 'model'"),
        ({"model": {"verson": "~small"}}, "children.model.verson", "Did you mean 'version'"),
        ({"model": {"config": {}}}, "children.model.config", "Write {'version': {'config': …}}"),
    ],
)
def test_a_misspelt_named_child_is_refused_with_its_place(
    directory: Path, child: dict[str, Any], path: str, words: str
) -> None:
    with pytest.raises(UnknownName, match=words) as caught:
        plan(directory, "train", children=child)
    assert caught.value.path == path


def test_a_component_with_children_can_be_required(directory: Path) -> None:
    found = plan(directory, "user")
    assert [children(found, index).get("model") for index in range(3)] == [("net", 9), ("net", 0), None]
    assert len({spec.identity for spec in found}) == 3


def test_children_of_a_list_count_alike_wherever_they_are_written_and_names_count(directory: Path) -> None:
    declared = plan(directory, "listed")[0].definition.content
    given = plan(directory, "listed", children=["net", ("data", {"size": 1})])[0].definition.content
    named = plan(directory, "listed", children={"0": None, "1": None, "a": "net", "b": ("data", {"size": 1})})
    assert declared == given != named[0].definition.content


def test_declared_children_do_not_change_seeds(directory: Path) -> None:
    assert plan(directory, "train")[0].seed == plan(directory, ("train", {"_children_.model": "net"}))[0].seed
    assert plan(directory, "train")[0].seed != plan(directory, "train", children={"model": "net"})[0].seed


def test_a_version_of_the_task_is_below_those_of_declared_children_too(directory: Path) -> None:
    task = ml.Task("train").version({"layers": 5, "size": 6})
    assert children(task.plan(directory)) == {"model": ("net", 0, 6), "data": ("data", 4, 5)}


@pytest.mark.parametrize(
    ("declared", "kind", "words"),
    [
        ("net", TypeError, "children are a mapping of names to components, or a list, not 'net'"),
        ("{1: net}", TypeError, "the name of a child is text, not 1"),
        ("{append: net}", ValueError, "because `self.children.append` is a method"),
        ("{_m: net}", ValueError, "a child cannot be called '_m'"),
        ("{m: nett}", KeyError, "no component named 'nett'"),
        ("{m: 3}", TypeError, "3 is not a child"),
        ("[net, []]", TypeError, "[] is not a child"),
        ("{m: 'net:x.npy'}", ValueError, "'net:x.npy' names an artifact, and a child is a component"),
        ("{m: {component: net, eahc: [1]}}", KeyError, "no key of a child named 'eahc'"),
        ("{m: $.x}", KeyError, "there is no key 'x'"),
        ("{m: [net, {x: $self._token}]}", ValueError, "a child is configured with a secret"),
    ],
)
def test_invalid_children_in_a_file_are_refused_with_their_place(
    tmp_path: Path, declared: str, kind: type[Exception], words: str
) -> None:
    (tmp_path / "machinable.yaml").write_text(
        f"components:\n  - net: {{}}\n  - work: {{_token: secret, _children_: {declared}}}\n"
    )
    with pytest.raises(kind) as caught:
        plan(tmp_path, "work")
    error = caught.value
    assert isinstance(error, MachinableError)
    assert words in error.message
    assert error.at is not None
    assert error.at.line == 3
    assert (error.path or "").startswith("work._children_")


@pytest.mark.parametrize(
    ("child", "words"),
    [("train", "the child train has children itself"), ("user", "the child user requires other components")],
)
def test_a_child_has_neither_children_nor_requirements(directory: Path, child: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        plan(directory, "plain", children={"a": child})
    assert caught.value.details == ("used as a child of plain",)  # type: ignore[attr-defined]


def test_a_child_that_is_not_declared_cannot_be_removed(directory: Path) -> None:
    with pytest.raises(KeyError, match="no child named 'modl'") as caught:
        plan(directory, "train", children={"modl": None})
    assert "Did you mean 'model'?" in str(caught.value)
    with pytest.raises(TypeError, match="the name of a child is text"):
        ml.Task().component("train", children={1: "net"})
