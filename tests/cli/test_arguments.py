"""Versions as words of the command line."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest

from machinable.cli.arguments import format_version, parse_version
from machinable.errors import InvalidValue, MachinableError
from tests.cli.conftest import Run


@pytest.mark.parametrize(
    ("version", "words"),
    [
        (None, []),
        ("~a", ["@a"]),
        ("_loader_", ["_loader_"]),
        ("settings/fast.yaml", ["settings/fast.yaml"]),
        (("~a", {"x": 1, "data.size": 0}), ["@a", "x=1", "data.size=0"]),
        ({"data": {"size": 0}}, ['data={"size": 0}']),  # another key of a trial than data.size
        ({"t": "a b", "u": "1e-3", "n": None, "b": True, "e": ""}, ["t=a b", 'u="1e-3"', "n=null", "b=true", 'e=""']),
        ({"day": datetime.date(2020, 1, 31), "list": [1, "x"]}, ["day=2020-01-31", 'list=[1, "x"]']),
        ({"r": "$self.rate", "c": "double(2)"}, ["r=$self.rate", "c=double(2)"]),
    ],
)
def test_words_and_versions_convert_into_each_other(version: Any, words: list[str]) -> None:
    assert format_version(version) == words
    assert parse_version(words) == version


@pytest.mark.parametrize(
    "version",
    [
        "a: 1\nb: 2",  # YAML text
        ({"a": 1}, {"a": 2}),  # set twice
        ({"a": 1}, {"b": 2}),  # would be one mapping, and so another trial
        {1: 2},
        {"a": float("nan")},
        {"a=b": 1},
    ],
)
def test_versions_without_words_give_none(version: Any) -> None:
    assert format_version(version) is None


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("a..b=1", "'a..b=1' has a key without a name\n  Write a.b=1, without spaces and with one dot between keys."),
        (".a=1", "'.a=1' has a key without a name\n  Write a=1, without spaces and with one dot between keys."),
        (".=1", "'.=1' has a key without a name\n  Write key=value."),
        ("x =3", "'x =3' has spaces around a key\n  Write x=3, without spaces and with one dot between keys."),
        (
            " x. y= 3",
            "' x. y= 3' has spaces around a key\n  Write x.y=3, without spaces and with one dot between keys.",
        ),
        ("=3", "'=3' names no key\n  Write key=value."),
    ],
)
def test_a_key_with_a_missing_part_or_spaces_around_it_is_refused(word: str, expected: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        parse_version([word])
    assert str(caught.value) == expected


def test_a_key_without_a_value_is_refused() -> None:
    with pytest.raises(InvalidValue) as caught:
        parse_version(["rate="])
    assert str(caught.value) == """rate= has no value\n  Write rate=null for null, rate='""' for empty text."""


@pytest.mark.parametrize(
    "words",
    [
        ["_token=[s3cret"],
        ["_token=s3cret", "_token=s3cret"],
        ["a={_t: [s3cret}"],
        ["a={_t: s3cret, _t: s3cret}"],
        ["a={_t: !x s3cret}"],
        ["a=[{_t: s3cret]"],
        [" _t=s3cret"],
        ["_t..x=s3cret"],
    ],
)
def test_no_error_shows_the_value_of_a_hidden_key(words: list[str]) -> None:
    with pytest.raises(MachinableError) as caught:
        parse_version(words)
    assert "s3cret" not in str(caught.value) + repr(vars(caught.value))


@pytest.mark.parametrize(
    ("words", "column", "message"),
    [
        (["_children_.model=nett"], 1, "no component named 'nett'"),
        (["n=1", "_children_.model=[net, ~smal]"], 5, "no version named '~smal'"),
        (["_requires_={data: {each: net}}"], 1, "`each` of a requirement is a list, not 'net'"),
        (["n=1", "--grid", "_resources_.cpus=1,two"], 12, "an amount of cpus is a number, not 'two'"),
        (["--grid", "@smal,@small"], 8, "no version named '~smal'"),
        (["--of", "net", "n=3", "_retries_={count: -1}"], 14, "a number of retries cannot be negative"),
    ],
)
def test_an_error_of_a_reserved_key_points_at_the_word_that_sets_it(
    run: Run, project: Path, words: list[str], column: int, message: str
) -> None:
    (project / "machinable.yaml").write_text(
        "components:\n  - net: {n: 1, ~small: {n: 0}}\n"
        "  - train: {n: 1, _requires_: {data: net}, _children_: {model: net}}\n"
    )

    ran = run("execute", "train", *words, "--dry")

    assert ran.code == 2
    assert ran.err.startswith(f"command line:1:{column}: {message}")


def test_an_error_of_another_part_of_a_reserved_key_points_at_the_file(run: Run, project: Path) -> None:
    (project / "machinable.yaml").write_text("components:\n  - train:\n      _resources_: {cpus: two}\n")

    ran = run("execute", "train", "_resources_={memory: 1}", "--dry")

    assert ran.err.startswith("machinable.yaml:2:5: an amount of cpus is a number, not 'two'")
