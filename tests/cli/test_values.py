"""Values on the command line are as the component declares them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run

JOB = """\
components:
  - job:
      zip: "01234"
      rate: 0.5
      flip: true
      layers: [64, 32]
      data: {name: mnist, size: 3, zip: "1"}
      day: 2026-01-01
      none: null
      sizes: {0: a}
      call: scaled(2)
      _key: secret
      ~text: {rate: fast}
  - typed: {rate: 0.1}
"""
MODULE = """\
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from machinable import Component


class Typed(Component):
    @dataclass
    class Config:
        rate: float
        zip: str = ""
        price: Decimal = Decimal("1.0")
        either: int | str = 0
        path: Path = Path("x")
        layers: list[int] = field(default_factory=list)
"""


@pytest.fixture
def job(project: Path) -> None:
    (project / "machinable.yaml").write_text(JOB)
    (project / "job.py").write_text("from machinable import Component\n\n\nclass Job(Component):\n    pass\n")
    (project / "typed.py").write_text(MODULE)


@pytest.mark.parametrize(
    ("word", "key", "expected"),
    [
        ("zip=02142", "zip", "02142"),
        ("zip=#ff0000", "zip", "#ff0000"),
        ("zip=a #b", "zip", "a #b"),
        ("zip=no", "zip", "no"),
        ("zip=None", "zip", "None"),
        ("zip=1e400", "zip", "1e400"),
        ("zip=2026-01-31", "zip", "2026-01-31"),
        ("zip=[a,b]", "zip", "[a,b]"),
        ("zip={a", "zip", "{a"),
        ("zip=a: b", "zip", "a: b"),
        ('zip="a b"', "zip", "a b"),
        ('zip=""', "zip", ""),
        ('zip="a', "zip", '"a'),
        ("zip='a' b", "zip", "'a' b"),
        ("zip=null", "zip", None),
        ("data.zip=007", "data", {"name": "mnist", "size": 3, "zip": "007"}),
        ("rate=1e-3", "rate", 0.001),
        ("rate=null", "rate", None),
        ("rate=.inf", "rate", float("inf")),
        ("rate=scaled(3)", "rate", "scaled(3)"),
        ("flip=no", "flip", False),
        ("layers=[1]", "layers", [1]),
        ("layers.-1=7", "layers", [64, 7]),
        ("layers._append_=[a]", "layers", [64, 32, "a"]),
        ("data={size: 5}", "data", {"name": "mnist", "size": 5, "zip": "1"}),
        ("none=3", "none", 3),
        ("call=3", "call", 3),
        ("new={a: {b}}", "new", {"a": {"b": None}}),
    ],
)
def test_text_is_as_typed_and_other_values_are_yaml(run: Run, job: None, word: str, key: str, expected: Any) -> None:
    ran = run("config", "job", word, "--json")
    assert (ran.err, ran.data["config"][key]) == ("" if key != "new" else ran.err, expected)


@pytest.mark.parametrize(
    ("word", "message", "todo"),
    [
        (
            "rate=0.1,0.2",
            "rate is '0.1,0.2', but it is declared as a number",
            "For one trial each, write --grid rate=0.1,0.2.",
        ),
        ("rate=None", "rate is 'None', but it is declared as a number", "Write rate=null."),
        ("rate=fast", "rate is 'fast', but it is declared as a number", "Write a number, such as rate=0.1."),
        ("flip=1", "flip is 1, but it is declared as true or false", "Write true or false, such as flip=true."),
        ("layers=3", "layers is 3, but it is declared as a list", "Write layers='[3]', or layers._append_='[3]'"),
        ("layers=1,2", "layers is '1,2', but it is declared as a list", "Write layers='[1,2]'."),
        ("layers.0=x", "layers.0 is 'x', but it is declared as a number", "Write a number, such as layers.0=0.1."),
        (
            "data=adam",
            "data is 'adam', but it is declared as a mapping",
            "Write data.KEY=VALUE, or data='{KEY: VALUE}'",
        ),
        ("data={size: x}", "data.size is 'x', but it is declared as a number", "Write a number for data.size."),
        ("data={zip: 02142}", "data.zip is 1122, but it is declared as text", "Write data.zip=TEXT, or quote it."),
        ("day=soon", "day is 'soon', but it is declared as a date", "Write a date, such as day=2026-01-31."),
        ("x=#1", "# begins a comment in x=#1", """Quote it: x='"#1"'"""),
        ("x=a #b", "# begins a comment in x=a #b", """Quote it: x='"a #b"'"""),
        ("x={a:10}", "'a:10' is a key without a value", "Write a space after the colon: x='{a: 10}'"),
        ("x=[{b: {a:10}}]", "'a:10' is a key without a value", "Write a space after the colon: x='[{b: {a: 10}}]'"),
        ("layers.x=5", "layers is declared as a list, so it has no key 'x'", "Write layers.0=VALUE for an element"),
        ("layers._apend_=[5]", "layers is declared as a list, so it has no key '_apend_'", "Did you mean '_append_'"),
        ("rate.x=5", "rate is declared as a number, so it has no key 'x'", "Write rate=VALUE."),
        (
            "data.size._append_=[5]",
            "data.size is declared as a number, so it has no key '_append_'",
            "Write data.size=",
        ),
        ("data._remove_=[sise]", "no key to remove named 'sise'", "Did you mean 'size'?"),
        ("layers.2=5", "there is no element 2: the list has 2 elements", "Count from 0"),
    ],
)
@pytest.mark.parametrize("command", ["config", "execute"])
def test_a_value_of_another_kind_is_an_error_with_the_right_spelling(
    run: Run, job: None, command: str, word: str, message: str, todo: str
) -> None:
    error = run(command, "job", "none=1", word, "--json").data["error"]
    assert (error["at"], error["message"]) == ("command line:1:8", message)
    assert error["todo"].startswith(todo)


def test_what_is_declared_includes_the_versions_on_the_line(run: Run, job: None) -> None:
    assert run("config", "job", "@text", "rate=012", "--json").data["config"]["rate"] == "012"


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("x=None", "None is the text 'None'; for no value write null, for the text \"None\""),
        ("rate=012", '012 is the number 10 (base 8); for the text write "012"'),
        ("x=[1:30]", '1:30 is the number 90 (base 60); for the text write "1:30"'),
        ("rate=1e400", "1e400 is infinite, because the largest number is 1.8e308; for infinity write .inf"),
        ("rate=1234e567", "1234e567 is infinite, because the largest number is 1.8e308; for infinity write .inf"),
    ],
)
def test_hints_of_check_hold_on_the_command_line(run: Run, job: None, word: str, hint: str) -> None:
    ran = run("config", "job", "none=1", word)
    assert (ran.code, ran.err.splitlines()[-1]) == (0, f"command line:1:8: hint: {hint}")


def test_nothing_hidden_is_shown(run: Run, job: None) -> None:
    for word in ("_x=c4n4ry #b", "_x={c4n4ry:10}", "_x=012345", "_key={c4n4ry", "_x={c4n4ry"):
        for command in ("config", "execute"):
            ran = run(command, "job", word)
            assert "c4n4ry" not in ran.err + ran.out and "012345" not in ran.err


@pytest.mark.parametrize(
    ("word", "key", "expected"),
    [
        ("zip=02142", "zip", "02142"),
        ("price=1.10", "price", "1.10"),
        ("path=012", "path", "012"),
        ("either=x", "either", "x"),
        ("either=5", "either", 5),
        ("layers=[1]", "layers", [1]),
    ],
)
def test_the_class_declares_kinds_where_it_has_a_config(
    run: Run, job: None, word: str, key: str, expected: Any
) -> None:
    ran = run("config", "typed", word, "--json")
    assert (ran.err, ran.data["config"][key]) == ("", expected)


def test_errors_of_the_class_name_the_command_line(run: Run, job: None) -> None:
    error = run("execute", "typed", "rate=1", "layers=[1, a]", "--json").data["error"]
    assert (error["at"], error["message"]) == ("command line:1:8", "layers.1 is 'a', but it must be an int")


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("other.x=2", "there is no key 'other', so it is added. Declared: zip, rate, flip"),
        ("data.limit=2", "there is no key 'data.limit', so it is added. Declared: name, size, zip"),
        ("rate=1", ""),
        ("data={limit: 1}", ""),
        ("sizes.0=b", ""),
        ("layers._append_=[1]", ""),
    ],
)
@pytest.mark.usefixtures("job")
def test_a_key_that_is_not_declared_is_named(run: Run, word: str, hint: str) -> None:
    ran = run("execute", "job", word, "--quiet")
    assert ran.code == 0, ran.err
    assert (hint in ran.err) if hint else ("is added" not in ran.err)


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("word", ["flipp=true", "data._replce_=true"])
@pytest.mark.usefixtures("job")
def test_a_key_with_a_near_name_is_named_once(run: Run, word: str) -> None:
    ran = run("execute", "job", word, "--quiet")
    assert ran.err.count("so it is added") == 1
