"""Text in the form of a call is one only if the component has the method, or nearly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import machinable as ml
from machinable.cli import main
from machinable.component.base import Component
from machinable.component.config_methods import check_calls
from machinable.errors import MalformedText, MissingMember, SeveralErrors, UndefinedName

World = Callable[..., Path]

TEXTS = ["time (s)", "accuracy (%)", "Results (2019)", "ResNet(18)", "P(A|B)", "O(n log n)", "f(x)", "log(loss)", "a()"]


class Methods(Component):
    def config_rate(self, x: float) -> float:
        return x


@pytest.mark.parametrize("text", TEXTS)
def test_text_that_calls_no_method_is_text(text: str) -> None:
    check_calls(Methods, {"a": text, "b": ["rate(1)", {"c": text}]})


def test_a_method_that_is_nearly_named_is_suggested() -> None:
    with pytest.raises(MissingMember) as caught:
        check_calls(Methods, {"b": [{"c": "rte(2)"}]})
    assert str(caught.value) == (
        f"{__name__}.Methods has no method config_rte, which 'rte(2)' calls\n  in b[0].c\n"
        "  Did you mean rate(…)? If it is text, add a character after the last parenthesis."
    )
    with pytest.raises(SeveralErrors):
        check_calls(Methods, {"a": "Rate()", "b": "rates()"})


@pytest.mark.parametrize(("text", "error"), [("rate(lr)", UndefinedName), ("rate (%)", MalformedText)])
def test_the_arguments_of_a_call_are_checked(text: str, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"the call 'rate") as caught:
        check_calls(Methods, {"a": [text]})
    assert caught.value.path == "a[0]"  # type: ignore[attr-defined]


@pytest.mark.parametrize("text", ["rate(secret)", "rte(secret)"])
def test_a_hidden_value_is_not_shown(text: str) -> None:
    with pytest.raises(AttributeError if "rte" in text else NameError, match="this value calls") as caught:
        check_calls(Methods, {"a": text}, lambda path, text: False)
    assert "secret" not in str(caught.value)


YAML = """\
components:
  - job: {rate: scaled(2), label: ResNet(18), axes: {x: time (s), y: [accuracy (%)]}, "Results (2019)": 1}
  - typed: {label: ResNet(18), axis: "time (s)", rate: scaled(2)}
"""
JOB = """
import pickle
from machinable import Component


class Job(Component):
    def config_scaled(self, x):
        return x * 10

    def on_execute(self):
        other = pickle.loads(pickle.dumps(self.config))
        assert other == self.config and other.axes.x == "time (s)"
        return self.config.to_dict()
"""
TYPED = """
from dataclasses import dataclass
from machinable import Component


class Typed(Component):
    @dataclass
    class Config:
        label: str
        axis: str
        rate: float
        unit: str = "log(x)"

    def config_scaled(self, x):
        return x * 10

    def on_execute(self):
        return self.config.to_dict()
"""


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "job",
            {
                "rate": 20,
                "label": "ResNet(18)",
                "axes": {"x": "time (s)", "y": ["accuracy (%)"]},
                "Results (2019)": 1,
            },
        ),
        ("typed", {"label": "ResNet(18)", "axis": "time (s)", "rate": 20, "unit": "log(x)"}),
    ],
)
def test_components_read_such_text_and_it_is_stored_as_it_is(project: World, name: str, expected: Any) -> None:
    project(YAML, job=JOB, typed=TYPED)
    trial = ml.execute(name, "out").trials[0]
    assert trial.result == expected
    assert trial.config.to_dict() == expected


def test_the_place_of_a_misspelt_call_is_the_value(project: World) -> None:
    project(YAML.replace("scaled(2), label", "scaldd(2), label"), job=JOB, typed=TYPED)
    with pytest.raises(MissingMember) as caught:
        ml.execute("job")
    assert str(caught.value.at) == "machinable.yaml:2:11"


def test_check_points_at_text_that_could_be_meant_as_a_call(project: World, capsys: pytest.CaptureFixture[str]) -> None:
    project(
        YAML.replace("label: ResNet(18), axes", "warmup: warm_up(0.1), label: ResNet(18), axes"), job=JOB, typed=TYPED
    )
    assert main(["check"]) == 0
    assert [line for line in capsys.readouterr().out.splitlines() if "hint" in line][:-1] == [
        "machinable.yaml:2:28: hint: 'warm_up(0.1)' is text, because job.Job has no method config_warm_up"
    ]
