"""`--grid`, `--split`, and what is typed instead of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from machinable.cli.values import several_values, split_values
from tests.cli.conftest import Run


def trials(run: Run, *words: str) -> list[dict[str, Any]]:
    ran = run("execute", *words, "--dry", "--json", "--seed", "1")
    assert ran.code == 0, ran.err + ran.out
    return [{key: trial["config"].get(key) for key in ("rate", "layers")} for trial in ran.data["trials"]]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["--grid", "rate=0.1,0.01"], [(0.1, [1, 2]), (0.01, [1, 2])]),
        (
            ["--grid", "rate=1,2", "--grid", "layers=[3],[4]"],
            [(1, [3]), (1, [4]), (2, [3]), (2, [4])],
        ),
        (["--grid", "@fast,@deep"], [(0.5, [1, 2]), (0.1, [1, 2, 3])]),
        (["--grid", "null,~fast"], [(0.1, [1, 2]), (0.5, [1, 2])]),
        (["rate=3", "--grid", "@fast,@deep"], [(3, [1, 2]), (3, [1, 2, 3])]),
        (["@deep", "layers=[7]", "--grid", "rate=1,2"], [(1, [7]), (2, [7])]),
        (["--grid", "rate=[1,2]", "--grid", "layers=[[3]]"], None),
        (["--grid", "layers.0=5,6"], [(0.1, [5, 2]), (0.1, [6, 2])]),
        (["--grid", "rate=4"], [(4, [1, 2])]),
    ],
)
def test_a_grid_gives_one_trial_for_each_combination(run: Run, words: list[str], found: list[Any] | None) -> None:
    if found is None:
        ran = run("execute", "train", *words, "--dry")
        assert (ran.code, "declared as a number" in ran.err) == (2, True)
        return
    assert [(one["rate"], one["layers"]) for one in trials(run, "train", *words)] == found


def test_a_trial_of_a_grid_is_the_same_as_when_it_is_typed_alone(run: Run) -> None:
    uid = "uid"
    grid = run("execute", "train", "fails=[]", "--grid", "rate=1,2", "--dry", "--json", "--seed", "1").data["trials"]
    alone = run("execute", "train", "rate=2", "fails=[]", "--dry", "--json", "--seed", "1").data["trials"]

    assert grid[1][uid] == alone[0][uid]
    assert grid[0][uid] != alone[0][uid]


def test_split_is_a_level_inside_of_repeat(run: Run) -> None:
    ran = run("execute", "train", "--split", "3", "--repeat", "2", "--dry", "--json")

    flags = [trial["flags"] for trial in ran.data["trials"]]
    assert [(one["REPEAT_NUMBER"], one["SPLIT_NUMBER_1"]) for one in flags][:2] == [(0, 0), (1, 0)]
    assert len(flags) == 6


@pytest.mark.parametrize(
    ("words", "message", "todo"),
    [
        (["--grid", "rate"], "--grid 'rate' is neither key=value,value nor versions", "--grid rate=VALUE,VALUE"),
        (["--grid", ""], "--grid '' is neither key=value,value nor versions", "--grid KEY=VALUE,VALUE"),
        (["--grid", "rate:1,2"], "--grid 'rate:1,2' is neither key=value,value nor versions", "Write --grid rate=1,2."),
        (["--grid", "rate", "1,2"], "--grid 'rate' is neither key=value,value nor versions", "--grid rate=VALUE,VALUE"),
        (["--grid", "=1,2"], "--grid '=1,2' names no key", "--grid key=value,value"),
        (["--grid", "data..x=1"], "--grid 'data..x=1' names no key", "--grid key=value,value"),
        (["--grid", "rate="], "--grid rate= has no values", "--grid rate=VALUE,VALUE"),
        (["--grid", "rate=1,,2"], "--grid rate=1,,2 has an empty value between its commas", "null for null"),
        (["--grid", "rate=1,2,1"], "'rate' has the value 1 twice", "Keep one of them"),
        (["--grid", "rate=1,fast"], "rate is 'fast', but it is declared as a number", "Write a number, such as 0.1"),
        (["--grid", "rate=[1,2]"], "rate is [1, 2], but it is declared as a number", "--grid rate=1,2"),
        (["--grid", "rate=1..4"], "rate is '1..4', but it is declared as a number", "--grid rate=1,2,3,4"),
        (["--grid", "layers=1,2"], "layers is 1, but it is declared as a list", "--grid 'layers=[1],[…]'"),
        (["--grid", "rate=1,2", "--grid", "rate=3"], "'rate' is in two --grid", "Write all values in one"),
        (["rate=3", "--grid", "rate=1,2"], "'rate' has a value, and others in --grid rate=…", "Keep one of them"),
        (["--grid", "@fast,@deepp"], "no version named '~deepp'", "Did you mean '~deep'?"),
        (["--grid", "@fast,rate=3"], "'rate=3' is not a version in --grid @fast,rate=3", "keys are in another --grid"),
        (["--grid", "@fast,@fast"], "'~fast' is twice in --grid @fast,@fast", "--repeat"),
        (["--grid", "@fast,"], "a version is empty in --grid @fast,", "Write --grid @small,@large"),
        (
            [part for key in "abc" for part in ("--grid", f"{key}={','.join(map(str, range(999)))}")],
            "the grid has more than 10,000,000 combinations: 999 x 999 x 999",
            "Give fewer values",
        ),
        (["--split", "0"], "split takes a number of at least 1, not 0", ""),
        (["--split", "many"], "'many' is not a valid integer", ""),
    ],
)
def test_a_wrong_grid_is_an_error_before_anything_runs(run: Run, words: list[str], message: str, todo: str) -> None:
    ran = run("execute", "train", *words)

    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err
    assert todo in ran.err


@pytest.mark.parametrize(
    "words",
    [
        ["--grid", "_token=abcdef,abcdef"],
        ["--grid", "_token:abcdef"],
        ["--grid", "_token=abcdef", "--grid", "_token=abcdef"],
        ["--grid", "_token=abcdef,,"],
        ["--grid", "._token=abcdef"],
        ["_token=abcdef,xy", "--dry"],
        ["_token=abcdef", "--grid", "_token=abcdef"],
    ],
)
@pytest.mark.parametrize("form", [[], ["--json"]])
def test_values_of_hidden_keys_are_not_shown(run: Run, words: list[str], form: list[str]) -> None:
    ran = run("execute", "train", *words, *form)

    assert "abcdef" not in ran.out + ran.err


def test_the_error_points_at_the_value(run: Run) -> None:
    ran = run("execute", "train", "@fast", "--grid", "rate=1,2", "--grid", "layers=3")

    assert ran.err.splitlines()[:4] == [
        "command line:1:30: layers is 3, but it is declared as a list",
        "  in layers",
        "    1 | @fast --grid rate=1,2 --grid layers=3",
        "                                     ^",
    ]


@pytest.mark.parametrize(
    ("word", "grid"),
    [
        ("rate=0.1,0.01", "--grid rate=0.1,0.01"),
        ("rate=[0.1, 0.01]", "--grid rate=0.1,0.01"),
        ("rate=choice(1,2)", "--grid rate=1,2"),
        ("rate=range(1,4)", "--grid rate=1,2,3"),
        ("rate=1..3", "--grid rate=1,2,3"),
        ("rate=1|2", "--grid rate=1,2"),
        ("rate=1;2", "--grid rate=1,2"),
        ("rate=linspace(0,1,5)", "--grid rate=VALUE,VALUE,…, with every value"),
        ("layers=[1],[2]", "--grid layers=[1],[2]"),
    ],
)
def test_several_values_for_one_key_name_the_grid(run: Run, word: str, grid: str) -> None:
    ran = run("execute", "train", word)

    assert ran.code == 2
    assert f"For one trial each, write {grid}." in ran.err


def test_an_error_of_a_schema_names_the_place_and_the_grid(run: Run, project: Path) -> None:
    (project / "machinable.yaml").write_text("components: [{typed: {rate: 0.1}}]")
    (project / "typed.py").write_text(
        "from dataclasses import dataclass\nfrom machinable import Component\n"
        "class Typed(Component):\n    @dataclass\n    class Config:\n        rate: float\n"
    )

    ran = run("execute", "typed", "rate=0.1,0.01")
    assert ran.err.startswith("command line:1:1: rate is '0.1,0.01', but it must be a float")
    assert "For one trial each, write --grid rate=0.1,0.01." in ran.err
    ran = run("execute", "typed", "--grid", "rate=1,x")
    assert ran.err.splitlines()[2] == "    1 | --grid rate=1,x"


def test_text_with_commas_stays_text_with_a_hint(run: Run) -> None:
    ran = run("execute", "train", "data.name=a,b", "--dry")

    assert ran.code == 0
    assert "data.name is the text 'a,b'; for one trial each, write --grid data.name=a,b" in ran.err


def test_a_range_is_not_taken_for_a_text_without_a_word(run: Run) -> None:
    ran = run("execute", "train", "--grid", "data.name=range(1,4)")
    assert ran.code == 2
    assert "Write --grid data.name=1,2,3; for the text, --grid 'data.name=\"range(1,4)\"'." in ran.err

    assert run("execute", "train", "--grid", "data.name='range(1,4)'", "--dry").code == 0
    ran = run("execute", "train", "data.name=range(1,4)", "--dry")
    assert "hint: data.name is the text 'range(1,4)'; for one trial each, write --grid data.name=1,2,3" in ran.err


@pytest.mark.filterwarnings("always")
def test_alternatives_that_are_overridden_give_a_warning(run: Run) -> None:
    ran = run("execute", "train", "--grid", "@fast,@deep", "--grid", "@deep,@fast", "--dry")
    assert "warning: an alternative has the configuration of an earlier one, so only their seeds differ" in ran.err
    assert "train with ~fast ~deep and ~deep ~fast." in ran.err

    ran = run("execute", "train", "--grid", "@deep,null", "layers=[1]", "--grid", "half=1,2", "--dry")
    assert "2 of 4 alternatives have" in ran.err
    assert 'train with ~deep {"layers": [1], "half": 1} and {"layers": [1], "half": 1}.' in ran.err
    for grid in ("_resources_.cpus=1,2", "_seed_=1,2"):
        assert "warning" not in run("execute", "train", "--grid", grid, "--dry").err


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1,2", ["1", "2"]),
        ("[1,2],[3]", ["[1,2]", "[3]"]),
        ("{a: 1, b: [2,3]},null", ["{a: 1, b: [2,3]}", "null"]),
        ('\'a,b\',"c,\\"d"', ["'a,b'", '"c,\\"d"']),
        ("it's,ok", ["it's", "ok"]),
        ("f(1, x=[2,3]),4", ["f(1, x=[2,3])", "4"]),
        ("", [""]),
        ("]1,2", ["]1", "2"]),
    ],
)
def test_values_are_split_at_commas_outside_of_quotes_and_brackets(text: str, values: list[str]) -> None:
    assert split_values(text) == values


@pytest.mark.parametrize("text", ["1", "", "fast", "0.1", "f(1,2)", "[", "a,", "{a: 1}"])
def test_one_value_names_no_grid(text: str) -> None:
    assert several_values("rate", text) is None


def test_long_ranges_are_not_written_out() -> None:
    assert several_values("x", "range(0,1000)") == ("--grid x=VALUE,VALUE,…, or in Python grid({'x': range(0, 1000)})")


def test_resume_takes_alternatives_with_a_component_only(run: Run) -> None:
    run("execute", "train", "--storage", "out", "--seed", "OY1p1o", "--quiet")

    ran = run("resume", "OY1p1o", "--grid", "rate=1,2", "--storage", "out")
    assert "--grid needs a component or a task" in ran.err
    ran = run("resume", "OY1p1o", "train", "--grid", "rate=1,2", "--storage", "out", "--yes", "--quiet", "--json")
    assert (ran.code, len(ran.data["trials"])) == (0, 2)
