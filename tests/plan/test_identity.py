"""The identity of a computation: pinned, and equal exactly for equal computations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import machinable as ml
from machinable.errors import MachinableError
from machinable.plan.task import Task

DECLARATIONS = """
components:
  - a: {rate: 0.5, size?: 10, deep: {n?: 1}, _workers: 4, ~fast: {rate: 1.0}}
  - other.a: {rate: 0.5, size?: 10, deep: {n?: 1}}
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "machinable.yaml").write_text(DECLARATIONS)
    return tmp_path


def identity(directory: Path, *call: Any, **more: Any) -> str:
    return Task().component(*call, **more).plan(directory, "OY1p1o").uses[0].definition.content


def test_an_identity_is_pinned(directory: Path) -> None:
    """If this changes, no stored result is found again."""
    plan = Task("a").plan(directory, "OY1p1o")
    assert (plan.uses[0].definition.content, plan[0].identity) == (
        "74d5d038df5e8a9a94a6c7feff1638b1",
        "00dd8d3fa4b521528f0281538f43b934",
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([("a", {"rate": 1})], [("a", {"rate": 1.0})]),
        ([("a", {"rate": 1})], [("a", "~fast")]),
        ([("a", {"deep.n": 2})], [("a", "deep: {n: 2}")]),
        (["a"], [("a", {"_workers": 9})]),
        (["a"], [("a", {"size": 10, "deep": {"n": 1}})]),
    ],
    ids=[
        "a whole number where a float is declared",
        "a block",
        "other spelling",
        "a hidden key",
        "an optional default",
    ],
)
def test_two_spellings_of_a_computation_have_the_same_identity(directory: Path, one: Any, other: Any) -> None:
    assert identity(directory, *one) == identity(directory, *other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((["a"], {}), (["other.a"], {})),
        ((["a"], {}), ([("a", {"size": 11})], {})),
        ((["a"], {}), ([("a", {"new": None})], {})),
        ((["a"], {}), (["a"], {"flags": {"x": 1}})),
        ((["a"], {}), (["a"], {"checkpoint": "there"})),
        ((["a"], {}), (["a"], {"children": "a"})),
    ],
    ids=["module", "value", "key", "flags", "checkpoint", "children"],
)
def test_everything_that_decides_a_result_is_part_of_the_identity(directory: Path, one: Any, other: Any) -> None:
    assert identity(directory, *one[0], **one[1]) != identity(directory, *other[0], **other[1])


@pytest.mark.parametrize("declared", ["{_seeding_: [random.seed]}", "{_seeding_: [random.seed, numpy.random.seed]}"])
def test_seeded_generators_are_part_of_the_identity(tmp_path: Path, declared: str) -> None:
    (tmp_path / "machinable.yaml").write_text("components:\n  - a: {}\n")
    default = identity(tmp_path, "a")
    (tmp_path / "machinable.yaml").write_text(f"components:\n  - a: {declared}\n")
    assert identity(tmp_path, "a") != default


def test_adding_an_optional_key_does_not_change_the_identity(tmp_path: Path) -> None:
    (tmp_path / "machinable.yaml").write_text("components:\n  - a: {x: 1}\n")
    before = identity(tmp_path, "a")
    (tmp_path / "machinable.yaml").write_text("components:\n  - a: {x: 1, shuffle?: false}\n")
    assert identity(tmp_path, "a") == before


def test_adding_a_nested_optional_key_does_not_change_the_identity(tmp_path: Path) -> None:
    (tmp_path / "machinable.yaml").write_text("components:\n  - a: {x: 1}\n")
    before = identity(tmp_path, "a")
    (tmp_path / "machinable.yaml").write_text("components:\n  - a: {x: 1, noise?: {kind?: none, level: .nan, n: 1}}\n")
    assert [identity(tmp_path, "a"), identity(tmp_path, ("a", {"noise": {"kind": "none", "n": 1}}))] == [before] * 2
    others = [identity(tmp_path, ("a", {"noise": change})) for change in ({"n": 1.0}, {"n": True}, {"kind": "a"})]
    assert len({before, *others}) == 4


def test_numbers_in_lists_are_compared_with_the_declared_ones(tmp_path: Path) -> None:
    (tmp_path / "machinable.yaml").write_text("components:\n  - a: {betas: [0.5, 1.0, 3, [2.0]]}\n")
    written = ([0.5, 1.0, 3, [2.0]], [0.5, 1, 3, [2]], [0.5, 1.0, 3.0, [2.0]], [0.5, 1.0, 3], [0.5, 1, 3, [2], 1])
    found = [identity(tmp_path, ("a", {"betas": betas})) for betas in written]
    assert (found[0] == found[1], len(set(found))) == (True, 4)


@pytest.mark.parametrize("number", [2**53 + 1, 10**400])
def test_a_whole_number_that_no_float_represents_is_kept(directory: Path, number: int) -> None:
    one, other = (identity(directory, ("a", {"rate": value})) for value in (number, number - 1))
    assert one != other


def test_the_seed_of_a_listed_trial_is_part_of_its_identity(directory: Path) -> None:
    plan = Task("a").repeat(2).plan(directory, 1)
    assert plan[0].identity != plan[1].identity


def test_a_renamed_component_counts_as_the_former_one(tmp_path: Path) -> None:
    """Listed, required, as a child, with an heir, and in a group."""

    def planned(text: str, *names: str) -> list[tuple[str, int, str]]:
        (tmp_path / "machinable.yaml").write_text(text)
        plans = [ml.Task(name).repeat(2).plan(tmp_path, "OY1p1o") for name in names]
        return [(spec.uid, spec.seed, spec.identity) for plan in plans for spec in plan]

    text = (
        "components:\n  - data: {n: 1}\n  - heir^data: {}\n  - user: {_requires_: {a: [data, {n: 2}]}}\n"
        "  - node: {_children_: {kid: data}}\ncomponents:group:\n  - deep.old: {}\n"
    )
    renamed = (
        text.replace("- data: {", "- new: {_identity_: data, ")
        .replace("^data", "^new")
        .replace("[data,", "[new,")
        .replace("kid: data", "kid: new")
        .replace("deep.old: {", "shallow: {_identity_: group.deep.old, ")
    )
    before = planned(text, "data", "heir", "user", "node", "deep.old")
    after = planned(renamed, "new", "heir", "user", "node", "shallow")
    assert before == after
    asked = ml.Task().component("node", children=["new"]).plan(tmp_path, "OY1p1o")[0]
    (tmp_path / "machinable.yaml").write_text(text)
    assert asked.uid == ml.Task().component("node", children=["data"]).plan(tmp_path, "OY1p1o")[0].uid


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- new: {_identity_: data}\n  - data: {}", "data is declared, and their results would be mixed up"),
        ("- new: {_identity_: data}\n  - other: {_identity_: data}", "other has it, too"),
        ("- new: {_identity_: 3}", "`_identity_` takes the former name of the component, not 3"),
        ("- new: {_identity_: ''}", "`_identity_` takes the former name of the component, not ''"),
        ("- new: {_identity_: $.x}\nx: data", "not the reference '$.x'"),
        ("- new: {~v: {_identity_: data}}", "a version cannot set `_identity_`"),
        ("- new: {_mixins_: m}\nmixins: [{m: {_identity_: data}}]", "a mixin has no `_identity_`"),
    ],
)
def test_a_wrong_identity_is_refused_with_its_place(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "machinable.yaml").write_text(f"components:\n  {text}\n")
    with pytest.raises(MachinableError) as caught:
        ml.Task("new").plan(tmp_path)
    assert words in str(caught.value)
    assert caught.value.at is not None
