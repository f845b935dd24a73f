"""The text of conditions."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from machinable.config.nodes import Source
from machinable.config.reader import read
from machinable.errors import InvalidValue
from machinable.results.conditions import is_condition, parse
from machinable.serialization import as_plain


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("config.rate<0.3", [("config.rate", "<", 0.3)]),
        ("  config.rate  >=  1e-3  ", [("config.rate", ">=", 1e-3)]),
        ("version=~small", [("version", "=", "~small")]),
        ("version~~small*", [("version", "~", "~small*")]),
        ("component~*net", [("component", "~", "*net")]),  # an alias in YAML
        ("component~'a b'", [("component", "~", "a b")]),
        ("a=1 and b!=2 and c in [x, 'y and z']", [("a", "=", 1), ("b", "!=", 2), ("c", "in", ["x", "y and z"])]),
        ("tags.note='this and that' and x=1", [("tags.note", "=", "this and that"), ("x", "=", 1)]),
        ("tags.note=don't and x=1", [("tags.note", "=", "don't"), ("x", "=", 1)]),
        ("'config.a b'={c: 1, d: 'and }'}", [("config.a b", "=", {"c": 1, "d": "and }"})]),
        ("started>2026-11-01", [("started", ">", datetime.date(2026, 11, 1))]),
        ("x='black or white'", [("x", "=", "black or white")]),
        ("x=null", [("x", "=", None)]),
        ("x=brandy", [("x", "=", "brandy")]),
        ("x in[1]", [("x", "in", [1])]),
    ],
)
def test_conditions_are_read(text: str, expected: list[tuple[str, str, Any]]) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize(
    ("text", "caret", "fault", "todo"),
    [
        ("", 0, "a field is expected here", "Write FIELD OPERATOR VALUE"),
        ("a=1 and", 7, "a field is expected here", "Write FIELD OPERATOR VALUE"),
        ("a==1", 1, "an operator is expected after a", "Write = in place of ==."),
        ("a =< 1", 2, "an operator is expected after a", "Write <= in place of =<."),
        ("a", 1, "an operator is expected after a", "Write one of = != < <= > >= ~ in"),
        ("a is 1", 2, "an operator is expected after a", "Write = in place of is."),
        ("a=b and c", 9, "an operator is expected after c", "Write one of"),
        ("a=1 or b=2", 4, "a value without quotes ends before this", "Join conditions by 'and'"),
        ("a=1 && b=2", 4, "a value without quotes ends before this", "Join conditions by 'and'"),
        ("a=1, b=2", 5, "a value without quotes ends before this", "Join conditions by 'and'"),
        ("a<", 2, "a value is expected after <", "Write null"),
        ("a=[1, 2", 2, "the bracket is not closed", "Close it with ]."),
        ("a='b and c=1", 2, "the quotes are not closed", "Close them with '."),
        ("a in 3", 5, "a list is expected after in", "Write it in brackets: in [3]."),
        ("a=%b", 2, "'%b' is not a value in YAML", ""),
        ("a=b: c: d", 2, "'b: c: d' is not a value in YAML", ""),
    ],
)
def test_a_caret_marks_what_does_not_parse(text: str, caret: int, fault: str, todo: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        parse(text)

    lines = str(caught.value).splitlines()
    assert lines[0].startswith(f"the condition {text!r} does not parse: {fault}")
    assert (lines[1], lines[2]) == (f"    {text}", f"    {' ' * caret}^")
    assert lines[3].startswith(f"  {todo}")


@pytest.mark.parametrize("text", ["OY1p1o", "last-1", "OY1p1o-2/9c2E", "inside"])
def test_an_id_is_no_condition(text: str) -> None:
    assert not is_condition(text)
    assert is_condition(f"{text}=1")
    assert is_condition(f"{text} in [1]")


@pytest.mark.parametrize(
    "text",
    [
        *(
            "0",
            "-3",
            "12",
            "1.5",
            "-0.0",
            "007",
            "1e-3",
            "1_000",
            "0x1F",
            "12:30",
            "1.",
            ".5",
            "+1",
            "123456789012345678",
        ),
        *(
            "mnist",
            "net.small",
            "True",
            "NO",
            "y",
            "null",
            "Null",
            "nan",
            "inf",
            "a-b",
            "a/b",
            "v1.0",
            "e5",
            "on",
            "off",
        ),
    ],
)
def test_simple_values_are_those_of_yaml(text: str) -> None:
    (condition,) = parse(f"x={text}")

    expected = as_plain(read(Source("", text)))
    assert (type(condition.value), repr(condition.value)) == (type(expected), repr(expected))
