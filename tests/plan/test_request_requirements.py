"""Requirements: which trials they give, in which order, with which seeds, and what is refused."""

from __future__ import annotations

import json
import pickle
import random
import re
import warnings
from pathlib import Path
from typing import Any

import pytest

import machinable as ml
from machinable.errors import MachinableError, SeveralErrors
from machinable.plan.identity import identity
from machinable.plan.plan import Plan
from machinable.plan.spec import Requirement, TrialSpec

DECLARATIONS = """
shared: {name: data, size: 7}
components:
  - data: {size: 10, rate: 1.0, new?: 1}
  - net: {layers: 1, ~small: {layers: 2}, _requires_: {data: [data, {size: $self.layers}]}}
  - fold: {fold: 1}
  - train:
      lr: 0.1
      _workers: 4
      _requires_:
        data: data
        model: [net, ~small, {layers: 3}]
        topics: fold:topics.tsv
  - listed: {_requires_: [data, [net, ~small]]}
  - child^train: {_requires_: {data: null, more: data}}
  - referring: {n: 5, _requires_: {data: [$.shared.name, {size: $self.n}], other: [data, $.shared]}}
  - versioned: {~with: {_requires_: {data: data}}, ~without: {_requires_: null}}
  - left: {_requires_: {data: data}}
  - right: {x: 1, _requires_: {data: data}}
  - diamond: {_requires_: {l: left, r: right}}
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "machinable.yaml").write_text(DECLARATIONS)
    return tmp_path


class ClusterResources(ml.Component):
    """A class that no project declares."""


def function() -> None:
    """A function in place of a component."""


def plan(directory: Path, *call: Any, **more: Any) -> Plan:
    return ml.Task().component(*call, **more).plan(directory, "OY1p1o")


def needs(plan: Plan) -> list[tuple[str, dict[str, Any], dict[str, int]]]:
    """Of each trial: component, configuration, and the places of what it requires."""
    places = {spec.uid: spec.index for spec in plan}
    return [
        (spec.component, dict(spec.config), {name: places[one.uid] for name, one in spec.requires.items()})
        for spec in plan
    ]


DATA = {"size": 10, "rate": 1.0, "new": 1}


def test_each_requirement_is_one_trial_before_the_first_that_needs_it(directory: Path) -> None:
    assert needs(plan(directory, "train")) == [
        ("data", DATA, {}),
        ("data", DATA | {"size": 3}, {}),
        ("net", {"layers": 3}, {"data": 1}),
        ("fold", {"fold": 1}, {}),
        ("train", {"lr": 0.1, "_workers": 4}, {"data": 0, "model": 2, "topics": 3}),
    ]


def test_a_requirement_comes_directly_before_those_that_need_it_and_is_shared(directory: Path) -> None:
    task = ml.Task().component("fold").component("left").component("diamond").repeat(2)
    assert [(name, where) for name, _, where in needs(task.plan(directory, 1))] == [
        ("fold", {}),
        ("data", {}),
        ("left", {"data": 1}),
        ("left", {"data": 1}),
        ("right", {"data": 1}),
        ("diamond", {"l": 3, "r": 4}),
        ("fold", {}),
        ("left", {"data": 1}),
        ("diamond", {"l": 3, "r": 4}),
    ]


def test_a_requirement_has_no_levels_and_is_marked(directory: Path) -> None:
    task = ml.Task("left").repeat(2).version({"x": 1})
    needed, first, second = task.plan(directory, "OY1p1o")
    assert (needed.definition.is_requirement, first.definition.is_requirement) == (True, False)
    assert needed.config == DATA  # a version of the task is for what the task lists
    assert needed.flags == {
        "GLOBAL_SEED": 22490017876,
        "EXECUTION": "OY1p1o",
        "SEED": needed.seed,
        "PAIRED_SEED": needed.seed,
        "UID": needed.uid,
        "INDEX": 0,
        "TOTAL": 3,
        "NAME": "data",
        "MODULE": "data",
    }
    assert (
        first.requires
        == second.requires
        == {"data": Requirement("data", needed.uid, needed.identity, spec=first.requires["data"].spec)}
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("listed", {"0": ("data", DATA), "1": ("net", {"layers": 2})}),
        ("child", {"model": ("net", {"layers": 3}), "topics": ("fold", {"fold": 1}), "more": ("data", DATA)}),
        ("referring", {"data": ("data", DATA | {"size": 5}), "other": ("data", DATA | {"size": 7, "name": "data"})}),
        ("versioned", {}),
        (("versioned", "~with"), {"data": ("data", DATA)}),
        (("versioned", "~with", "~without"), {}),
        (("versioned", {"_requires_.more": "fold"}), {"more": ("fold", {"fold": 1})}),
    ],
    ids=["a list", "inherited", "references", "none", "in a block", "taken back", "in a mapping"],
)
def test_declared_requirements_are_merged_like_any_key(directory: Path, name: Any, expected: Any) -> None:
    found = plan(directory, name)
    by_uid = {spec.uid: spec for spec in found}
    needed = {name: by_uid[one.uid] for name, one in found[-1].requires.items()}
    assert {name: (spec.component, dict(spec.config)) for name, spec in needed.items()} == expected


def test_a_mixin_can_require(tmp_path: Path) -> None:
    (tmp_path / "machinable.yaml").write_text(
        "mixins:\n  - reader: {_requires_: {data: data, other: data}}\n"
        "components:\n  - data: {}\n  - own: {}\n  - work: {_mixins_: reader, _requires_: {other: own}}\n"
    )
    needed = plan(tmp_path, "work")[-1].requires
    assert {name: one.component for name, one in needed.items()} == {"data": "data", "other": "own"}


@pytest.mark.parametrize(
    ("requires", "expected"),
    [
        ({"data": ("data", {"size": 20})}, {"data": 20, "model": None, "topics": None}),
        ({"data": None, "topics": None}, {"model": None}),
        ({"more": "data"}, {"data": 10, "model": None, "topics": None, "more": 10}),
        (["data", ("data", ({"size": 1}, {"rate": 2}))], {"data": 10, "model": None, "topics": None, "0": 10, "1": 1}),
        ([], {"data": 10, "model": None, "topics": None}),
    ],
)
def test_requirements_of_a_task_are_merged_over_the_declared_ones(
    directory: Path, requires: Any, expected: dict[str, int | None]
) -> None:
    found = plan(directory, "train", {"lr": 0.2}, requires=requires)
    by_uid = {spec.uid: spec for spec in found}
    assert {name: by_uid[one.uid].config.get("size") for name, one in found[-1].requires.items()} == expected


def test_classes_and_functions_can_be_required(directory: Path) -> None:
    found = plan(directory, "fold", requires={"c": (ClusterResources, {"x": 1}), "f": function})
    assert [(spec.component, dict(spec.config), spec.definition.target.kind) for spec in found] == [
        (f"{__name__}:ClusterResources", {"x": 1}, "class"),
        (f"{__name__}:function", {}, "function"),
        ("fold", {"fold": 1}, "component"),
    ]


def test_a_version_in_a_list_of_versions_may_require_more(directory: Path) -> None:
    found = plan(directory, "versioned", [None, "~with", {"x": 1}])
    assert [(spec.component, len(spec.requires)) for spec in found] == [
        ("versioned", 0),
        ("data", 0),
        ("versioned", 1),
        ("versioned", 0),
    ]


# identity


def whole(directory: Path, *call: Any, **more: Any) -> str:
    return plan(directory, *call, **more).uses[-1].definition.content


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"d": ("data", {"rate": 1})}, {"d": ("data", {"rate": 1.0})}),
        ({"d": ("data", {"new": 1})}, {"d": "data"}),
        ({"d": ("data", {"_hidden": 5})}, {"d": "data"}),
        ({"d": ("data", None, ({"size": 4}, {"size": 5}))}, {"d": ("data", "size: 5")}),
        ({"d": "data", "e": "net"}, {"e": "net", "d": "data"}),
    ],
    ids=["a float", "an optional default", "a hidden key", "other spelling", "other order"],
)
def test_two_spellings_of_a_requirement_are_the_same(directory: Path, one: Any, other: Any) -> None:
    assert whole(directory, "fold", requires=one) == whole(directory, "fold", requires=other)
    both = {f"1{k}": v for k, v in one.items()} | {f"2{k}": v for k, v in other.items()}
    assert len(plan(directory, "fold", requires=both)) == len(plan(directory, "fold", requires=one))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({}, {"d": "data"}),
        ({"d": "data"}, {"e": "data"}),
        ({"d": "data"}, {"d": ("data", {"size": 11})}),
        ({"d": "data"}, {"d": "fold"}),
        ({"d": "data"}, {"d": ("data", {"_seed_": 3})}),
        ({"d": ("data", {"_seed_": 0})}, {"d": ("data", {"_seed_": 3})}),
        ({"d": "data:a.npy"}, {"d": "data:b.npy"}),
        ({"d": "data:a.npy"}, {"d": ("data:a.npy", {"size": 11})}),
        ({"d": "net"}, {"d": ("net", {"_requires_": {"data": "data"}})}),
    ],
    ids=["none", "name", "value", "component", "seed", "seeds", "artifact", "producer", "what it requires itself"],
)
def test_requirements_are_part_of_the_identity(directory: Path, one: Any, other: Any) -> None:
    assert whole(directory, "fold", requires=one) != whole(directory, "fold", requires=other)


def test_equal_names_in_two_modules_are_two_requirements(tmp_path: Path) -> None:
    (tmp_path / "machinable.yaml").write_text("components:\n  - a.data: {}\n  - b.data: {}\n  - work: {}\n")
    assert len(plan(tmp_path, "work", requires=["a.data", "b.data"])) == 3


def test_the_identity_of_a_requirement_is_pinned(directory: Path) -> None:
    """If this changes, no stored result is found again."""
    found = plan(directory, "train")
    assert [spec.identity for spec in found] == [
        "43ecd3c8c5b988df7e9cf19f66beb319",
        "826fe8dba2d214ce59a9de56fa5b54ef",
        "c27b765200f1b687d0b6409b49ccfea2",
        "a62a0e46ba40be1ea0b05e8e05295c58",
        "5c33cbe2c6ae5e1f82eb22a98dfc3d17",
    ]
    assert [(spec.seed, spec.uid) for spec in found][::2][:2] == [
        (469102975, "02fpotvxfHlg"),
        (1603192776, "ObJEOk1HFREc"),
    ]


def test_the_seed_of_a_requirement_follows_from_its_content(directory: Path) -> None:
    one, other = (ml.Task("train").plan(directory, seed) for seed in (1, 2))
    for a, b in zip(list(one)[:-1], list(other)[:-1], strict=True):
        assert (a.seed, a.identity, a.uid == b.uid) == (b.seed, b.identity, False)
        assert 0 <= a.seed < 2**31
    assert len({spec.seed for spec in one}) == len(one)


@pytest.mark.parametrize("seed", [57, 0, 2**40])
def test_a_chosen_seed_is_used_as_it_is(directory: Path, seed: int) -> None:
    needed, _ = plan(directory, "fold", requires=[("data", {"_seed_": seed})])
    assert (needed.seed, needed.flags["SEED"]) == (seed, seed)
    assert needed.identity == identity(plan(directory, "fold", requires=["data"]).uses[0].definition.content, seed)


def test_requirements_do_not_change_other_seeds_or_uids(directory: Path) -> None:
    alone = ml.Task("fold").component("right").plan(directory, "OY1p1o")
    more = ml.Task().component("fold", requires=["net", "data"]).component("right").plan(directory, "OY1p1o")
    facts = {(spec.component, spec.seed, spec.uid) for spec in more if not spec.definition.is_requirement}
    assert facts == {(spec.component, spec.seed, spec.uid) for spec in alone if not spec.definition.is_requirement}


# messages


def test_a_plan_shows_who_requires_what(directory: Path) -> None:
    assert (
        str(plan(directory, "diamond"))
        == """\
Plan OY1p1o: 4 trials
#  uid           component  requires    identity
0  02fpotvxfHlg  data                   43ecd3c8
1  3fcobHV73gNq  left       data #0     4fa16e66
2  JP0xIK7VhGOr  right      data #0     33b3da1c
3  OX7u6EjWTyHq  diamond    l #1, r #2  8ccceec5"""
    )


def test_a_table_for_notebooks_has_the_same_cells(directory: Path) -> None:
    found = plan(directory, "left")._repr_html_()
    assert "<th>requires</th><th>identity</th>" in found
    assert f"<td>data #0</td><td>{plan(directory, 'left')[1].identity[:8]}</td>" in found


def test_a_line_of_the_plan_names_the_trial_that_is_required(directory: Path) -> None:
    needed, trial = plan(directory, "fold", requires={"d": "data:x.npy"})
    assert json.loads(json.dumps(trial.as_data()))["requires"] == {
        "d": {"component": "data", "uid": needed.uid, "identity": needed.identity, "artifact": "x.npy", "place": None}
    }


def test_a_pickled_trial_has_what_its_live_requirements_need(directory: Path) -> None:
    trial = plan(directory, "fold", requires={"d": ("net", {"_hidden": 1})})[-1]
    there: TrialSpec = pickle.loads(pickle.dumps(trial))
    assert there == trial
    spec = there.requires["d"].spec
    assert spec is not None
    assert (dict(spec.config), dict(spec.requires)) == ({"layers": 1, "_hidden": 1}, {})


# what is refused


def refused(directory: Path, *call: Any, **more: Any) -> MachinableError:
    with pytest.raises(MachinableError) as caught:
        plan(directory, *call, **more)
    return caught.value


def test_a_cycle_is_printed(tmp_path: Path) -> None:
    (tmp_path / "machinable.yaml").write_text(
        "components:\n  - a: {x: 0, _requires_: {one: b}}\n  - b: {_requires_: {two: [a, {x: 1}]}}\n"
        "  - self: {_requires_: {me: self}}\n"
    )
    error = refused(tmp_path, ("a", {"y": 1}))
    assert isinstance(error, ValueError)
    assert (
        str(error)
        == """\
machinable.yaml:2:28: a component requires itself: a → b → a
  in a._requires_.one
    2 |   - a: {x: 0, _requires_: {one: b}}
                                   ^
  a._requires_.one = b   machinable.yaml:2:28
  b._requires_.two = a   machinable.yaml:3:22
  Remove one of these requirements."""
    )
    assert "requires itself: self → self" in str(refused(tmp_path, "self"))


def test_a_component_may_require_another_configuration_of_itself(tmp_path: Path) -> None:
    (tmp_path / "machinable.yaml").write_text(
        "components:\n  - step: {n: 2, ~first: {n: 1, _requires_: null}, _requires_: {before: [step, ~first]}}\n"
    )
    assert needs(plan(tmp_path, "step")) == [("step", {"n": 1}, {}), ("step", {"n": 2}, {"before": 0})]


def test_endless_requirements_are_refused(tmp_path: Path) -> None:
    (tmp_path / "machinable.yaml").write_text("components:\n  - g: {x: 1, _requires_: {me: [g, {x: [$self.x]}]}}\n")
    assert "nested" in str(refused(tmp_path, "g")) or "nests" in str(refused(tmp_path, "g"))


def test_a_chain_of_five_thousand_works(tmp_path: Path) -> None:
    lines = [f"  - c{i}: {{n: {i}, _requires_: {{next: c{i + 1}, far: c{min(i + 9, 5000)}}}}}\n" for i in range(5000)]
    (tmp_path / "machinable.yaml").write_text("components:\n" + "".join(lines) + "  - c5000: {}\n")
    found = plan(tmp_path, "c0")
    assert [spec.component for spec in found] == [f"c{i}" for i in range(5000, -1, -1)]
    assert len(pickle.dumps(found[-1])) < 10_000

    (tmp_path / "machinable.yaml").write_text("components:\n" + "".join(lines) + "  - c5000: {_requires_: {n: c0}}\n")
    text = (tmp_path / "machinable.yaml").read_text()
    (tmp_path / "machinable.yaml").write_text(re.sub(", far: [^}]*}", "}", text))
    message = refused(tmp_path, "c0").message
    assert message.startswith("a component requires itself: c0 → c1 → c2")
    assert message.endswith("→ c4999 → c5000 → c0")
    assert len(message) < 200


def test_errors_of_requirements_are_reported_with_all_others_and_their_places(tmp_path: Path) -> None:
    (tmp_path / "machinable.yaml").write_text(
        "components:\n"
        "  - data: {size: 1, ~small: {size: 0}}\n"
        "  - work:\n"
        "      _requires_:\n"
        "        one: dat\n"
        "        two: [data, ~smal]\n"
        "        three: {data: 1}\n"
        "        four: data\n"
        "  - other: {_requires_: {deep: work}, x: $.nothing}\n"
    )
    with pytest.raises(SeveralErrors) as caught:
        ml.Task("work").component("other").component("missing").plan(tmp_path)
    assert (
        str(caught.value)
        == """\
machinable.yaml:7:9: {'data': 1} is not a requirement
  in work._requires_.three
    7 |         three: {data: 1}
                ^
  Write a component, [component, version, …], component:artifact, or for several {each: […]}.

machinable.yaml:5:9: no component named 'dat'
  in work._requires_.one
    5 |         one: dat
                ^
  searched in machinable.yaml
  Did you mean 'data'?

machinable.yaml:2:5: no version named '~smal'
  in data
    2 |   - data: {size: 1, ~small: {size: 0}}
            ^
  required as work._requires_.two   machinable.yaml:6:9
  Did you mean '~small'?

machinable.yaml:9:42: '$.nothing': there is no key 'nothing'
  in other.x
    9 |   - other: {_requires_: {deep: work}, x: $.nothing}
                                                 ^
  Known here: components

no component named 'missing'
  searched in machinable.yaml
  Known: data, work, other"""
    )


@pytest.mark.parametrize(
    ("declared", "kind", "words"),
    [
        ("data", TypeError, "requirements are a mapping of names to components, or a list, not 'data'"),
        ("{1: data}", TypeError, "the name of a requirement is text, not 1"),
        ("{_x: data}", ValueError, "a requirement cannot be called '_x'"),
        ("{'': data}", ValueError, "a requirement cannot be called ''"),
        (
            "{items: data}",
            ValueError,
            "a requirement cannot be called 'items', because `self.requires.items` is a method",
        ),
        ("{x: []}", TypeError, "[] is not a requirement"),
        ("{x: 3}", TypeError, "3 is not a requirement"),
        ("{x: [3, ~a]}", TypeError, "[3, '~a'] is not a requirement"),
        ("{x: [data, [~a, {y: 1}]]}", TypeError, "expected one version, not the list"),
        ("{x: [data, 3]}", TypeError, "3 of type int is not a version"),
        ("{x: 'data:'}", ValueError, "'data:' is not a requirement"),
        ("{x: ':a'}", ValueError, "':a' is not a requirement"),
        ("{x: 'data:../a'}", ValueError, "'data:../a' is not a requirement"),
        ("{x: 'data:/a'}", ValueError, "'data:/a' is not a requirement"),
        ("{x: $.nothing}", KeyError, "'$.nothing'"),
        ("{x: {each: data}}", TypeError, "`each` of a requirement is a list, not 'data'"),
        ("{x: {each: []}}", ValueError, "a list of requirements is empty"),
        ("{x: {each: [data, 3]}}", TypeError, "3 is not a requirement"),
        ("{x: {each: [data], grid: {size: [1]}}}", ValueError, "a requirement has no `component`"),
        ("{x: {component: data, eahc: [~a]}}", KeyError, "no key of a requirement named 'eahc'"),
        ("{x: {component: data, grid: [1, 2]}}", TypeError, "`grid` of a requirement is a mapping of keys to lists"),
        ("{x: {component: data, grid: {size: 3}}}", TypeError, "the values of 'size' are not a list but 3"),
        ("{x: {component: [data], each: [{}]}}", TypeError, "is not a requirement"),
        ("{x: {each: [data, [~a]]}}", TypeError, "'~a' is a version, where a requirement names its component"),
    ],
)
def test_an_invalid_requirement_in_a_file_is_refused(
    tmp_path: Path, declared: str, kind: type[Exception], words: str
) -> None:
    (tmp_path / "machinable.yaml").write_text(f"components:\n  - data: {{}}\n  - work: {{_requires_: {declared}}}\n")
    error = refused(tmp_path, "work")
    assert isinstance(error, kind)
    assert words in error.message
    assert error.at is not None
    assert error.at.line == 3
    assert (error.path or "").startswith("work._requires_")


@pytest.mark.parametrize(
    ("requires", "kind", "words", "path"),
    [
        ("data", TypeError, "or a list, not 'data'", "requires"),
        (("data", "fold"), TypeError, "or a list, not ('data', 'fold')", "requires"),
        ({1: "data"}, TypeError, "the name of a requirement is text, not 1", "requires"),
        ({"x": ["data", "~small"]}, TypeError, "'~small' is a version, where a requirement names", "requires.x.1"),
        ({"x": ["data", {"size": 1}]}, TypeError, "{'size': 1} is not a requirement", "requires.x.1"),
        ({"x": []}, ValueError, "a list of requirements is empty", "requires.x"),
        ({"x": ("data", [])}, ValueError, "a list of requirements is empty", "requires.x"),
        ({"x": ()}, TypeError, "() is not a requirement", "requires.x"),
        ({"x": ("data", [1])}, TypeError, "1 of type int is not a version", "requires.x"),
        ({"x": ("data", {"a": {"b": object()}})}, TypeError, "is not plain data", "requires.x.a.b"),
        ({"x": ""}, ValueError, "'' is not a requirement", "requires.x"),
    ],
)
def test_an_invalid_requirement_of_a_task_is_refused_at_once(
    requires: Any, kind: type[Exception], words: str, path: str
) -> None:
    with pytest.raises(kind) as caught:
        ml.Task().component("work", requires=requires)
    assert isinstance(caught.value, MachinableError)
    assert words in caught.value.message
    assert caught.value.path == path


def test_unknown_names_in_a_task_are_reported_with_near_ones(directory: Path) -> None:
    assert (
        str(refused(directory, "fold", requires={"d": "dta"}))
        == """\
no component named 'dta'
  in requires.d of fold
  searched in machinable.yaml
  Did you mean 'data'?"""
    )
    assert "no requirement named 'dta'" in str(refused(directory, "train", requires={"dta": None}))


def test_a_child_cannot_require_components(directory: Path) -> None:
    error = refused(directory, "fold", children=["left"])
    assert (error.message, str(error.at), error.path) == (
        "the child left requires other components, which only its parent can",
        "machinable.yaml:18:12",
        "left._requires_",
    )
    assert len(plan(directory, "fold", children=[("left", {"_requires_": None})])) == 1


def test_a_secret_in_a_requirement_is_not_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "s3cret")
    text = "components:\n  - data: {}\n  - work: {_t: '${TOKEN}', _requires_: {d: [data, {KEY: $self._t}]}}\n"
    (tmp_path / "machinable.yaml").write_text(text.replace("KEY", "token"))
    error = refused(tmp_path, "work")
    assert (error.message, str(error.at)) == (
        "a requirement is configured with a secret, which would be stored",
        "machinable.yaml:3:28",
    )
    (tmp_path / "machinable.yaml").write_text(text.replace("KEY", "_token"))
    needed = plan(tmp_path, "work")[0]
    assert (dict(needed.config), "s3cret" in json.dumps(needed.as_data())) == ({"_token": "s3cret"}, False)


def test_requirements_can_cause_warnings(directory: Path) -> None:
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        plan(directory, "fold", requires=[("data", {"sizee": 1})])
    assert ["Did you mean 'size'" in str(one.message) for one in heard] == [True]


def test_plans_with_requirements_are_small(directory: Path) -> None:
    task = ml.Task().component("left", [{"x": random.Random(i).random()} for i in range(50)]).repeat(200)
    found = task.plan(directory, 1)
    assert (len(found), len(found.uses), found[10_000].requires["data"].uid) == (10_001, 51, found[0].uid)
