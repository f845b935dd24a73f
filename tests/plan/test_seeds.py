"""The seed and uid of a trial depend on nothing else in the plan or the project."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from machinable import ids
from machinable.errors import InvalidValue
from machinable.execution.execute import execute
from machinable.plan.task import Task

DECLARATIONS = "components:\n" + "".join(f"  - {name}: {{x: 0, ~v: {{x: 1}}}}\n" for name in "abcd")
CALLS = st.tuples(
    st.sampled_from("abcd"),
    st.sampled_from([None, "~v", {"x": 2}, ("~v", {"x": 3}), [{"x": 4}, {"x": 5}], "x: 6"]),
    st.sampled_from([None, "a", ["b", ("c", "~v")]]),
)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("seeds")
    (path / "machinable.yaml").write_text(DECLARATIONS)
    return path


def drawn(directory: Path, calls: list[Any], repeats: int) -> list[tuple[Any, int, str]]:
    """What tells each trial apart for a reader, with its seed and uid; equal ones are numbered."""
    task = Task()
    for name, version, children in calls:
        task.component(name, version, children=children)
    plan = task.repeat(repeats).plan(directory, "OY1p1o")
    seen: dict[str, int] = {}
    result = []
    for spec in plan:
        text = repr(
            (
                spec.component,
                spec.version,
                [(c.component, c.version) for c in spec.children],
                spec.flags["REPEAT_NUMBER"],
            )
        )
        seen[text] = seen.get(text, 0) + 1
        result.append(((text, seen[text]), spec.seed, spec.uid))
    return result


@settings(max_examples=60, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    calls=st.lists(CALLS, min_size=1, max_size=4),
    others=st.lists(CALLS, max_size=3),
    repeats=st.integers(1, 3),
    more=st.integers(0, 2),
    random=st.randoms(use_true_random=False),
)
def test_seeds_do_not_depend_on_other_components_their_order_or_more_repeats(
    directory: Path, calls: list[Any], others: list[Any], repeats: int, more: int, random: Any
) -> None:
    alone = drawn(directory, calls, repeats)
    mixed = [*calls, *others]
    random.shuffle(mixed)
    together = {key: (seed, uid) for key, seed, uid in drawn(directory, mixed, repeats + more)}
    assert {key: together[key] for key, _, _ in alone} == {key: (seed, uid) for key, seed, uid in alone}


def test_seeds_do_not_depend_on_the_configuration_of_the_project(tmp_path: Path) -> None:
    (tmp_path / "machinable.yaml").write_text("components:\n  - a: {x: 0}\n")
    before = drawn(tmp_path, [("a", {"x": 1}, None)], 2)
    (tmp_path / "machinable.yaml").write_text("components:\n  - b: {}\n  - a: {x: 7, more: [1, 2]}\n")
    assert drawn(tmp_path, [("a", {"x": 1}, None)], 2) == before


@pytest.mark.parametrize(
    ("seed", "words"),
    [
        (22490017876, "seed=22490017876 is the number in the id OY1p1o; for its numbers, use the id: seed='OY1p1o'"),
        (-1, "seed=-1 draws the same numbers as seed=1: the sign of a seed does not count"),
    ],
)
def test_a_number_that_probably_should_be_another_seed_is_a_warning(seed: int, words: str) -> None:
    with pytest.warns(UserWarning, match=re.escape(words)):
        execute(Task(lambda: None), None, seed, "dry")


@pytest.mark.parametrize("seed", [0, 1, 42, 62**5 - 1, 62**6, "OY1p1o", None])
def test_other_seeds_are_without_doubt(seed: object) -> None:
    assert ids.doubt_about(seed) is None


def test_seeds_and_uids_are_unique_in_a_plan(directory: Path) -> None:
    plan = Task().component("a", [{"x": i} for i in range(500)]).repeat(4).plan(directory, 1)
    assert len({spec.seed for spec in plan}) == len({spec.uid for spec in plan}) == 2000


# --- seeds from the content


def test_seeds_from_the_content_are_those_of_requirements(directory: Path) -> None:
    required = Task().component("a", requires={"b": "b", "c": ("c", "~v")}).plan(directory, "OY1p1o")

    listed = Task("b").component("c", {"x": 1}).plan(directory, "content:1234ab")

    assert listed.id == "1234ab"
    assert [(one.seed, one.identity) for one in listed] == [(one.seed, one.identity) for one in required[:2]]
    assert listed[0].seed == Task("b").plan(directory, "content")[0].seed


def test_repetitions_of_one_content_differ_and_stay_when_there_are_more(directory: Path) -> None:
    def seeds(task: Task) -> list[int]:
        return [one.seed for one in task.plan(directory, "content")]

    three, five = seeds(Task("a").repeat(3)), seeds(Task("a").repeat(5))

    assert len({*five}) == 5
    assert five[:3] == three
    assert three[0] == seeds(Task("a"))[0]
    # Parts of a split are not repetitions, and depend on how many there are.
    assert len({*seeds(Task("a").split(2)), *seeds(Task("a").split(3)), *five}) == 10
    twice = seeds(Task("a").component("a", {}))
    assert twice[0] == three[0]
    assert twice[1] not in five
    chosen = Task().component("a", {"_seed_": 57}).plan(directory, "content")
    assert chosen[0].seed == 57


def test_what_repetitions_share_does_not_depend_on_the_execution_if_their_seeds_do_not(directory: Path) -> None:
    first, second = (Task("a").repeat(2).plan(directory, "content") for _ in range(2))

    assert first.id != second.id
    for name in ("SEED", "REPEAT_SEED", "PAIRED_SEED"):
        assert [one.flags[name] for one in first] == [one.flags[name] for one in second]


def test_trials_of_one_repetition_are_paired(directory: Path) -> None:
    task = Task().component("a", [None, "~v"]).component("b", requires={"c": "c"}).repeat(2).split(2)

    plan = task.plan(directory, "OY1p1o")

    pairs: dict[Any, set[Any]] = {}
    for one in plan:
        if one.definition.is_requirement:
            assert one.flags["PAIRED_SEED"] == one.seed  # shared by executions and repetitions
        else:
            numbers = one.flags["REPEAT_NUMBER"], one.flags["SPLIT_NUMBER_1"]
            pairs.setdefault(numbers, set()).add(one.flags["PAIRED_SEED"])
    assert [len(seeds) for seeds in pairs.values()] == [1] * 4
    assert len(set.union(*pairs.values())) == 4
    # In any order of the levels.
    other = Task("a").split(2).repeat(2).plan(directory, "OY1p1o")
    alone = Task("a").plan(directory, "OY1p1o")
    assert len({one.flags["PAIRED_SEED"] for one in other} & set.union(*pairs.values())) == 0
    assert alone[0].flags["PAIRED_SEED"] == Task("b").plan(directory, "OY1p1o")[0].flags["PAIRED_SEED"]


@pytest.mark.parametrize("seed", ["content:", "content:OY1p1", "content:OY1p1o-1", "Content", "contents"])
def test_a_misspelt_content_seed_is_an_error(directory: Path, seed: str) -> None:
    with pytest.raises(InvalidValue, match="is not an execution id"):
        Task("a").plan(directory, seed)


def test_a_nearly_misspelt_content_seed_that_is_an_id_is_noted(directory: Path) -> None:
    assert ids.doubt_about("contet") == (
        "seed='contet' is an execution id; for seeds from the content of trials: seed='content'"
    )
    assert ids.doubt_about("content") is ids.doubt_about("OY1p1o") is None
    assert ids.seed_of_text("content") == "content"
    assert ids.seed_of_text("content:OY1p1o") == "content:OY1p1o"
    with pytest.raises(InvalidValue, match="neither a number nor an execution id"):
        ids.seed_of_text("contents")
