"""Errors as data."""

from __future__ import annotations

import pytest

from machinable.component.base import Component
from machinable.config.config import Config
from machinable.trial.tracebacks import error_data
from tests.component.worlds import World


def raised(make: object) -> BaseException:
    try:
        make()  # type: ignore[operator]
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def test_an_error_is_its_type_message_and_traceback() -> None:
    def fails() -> None:
        raise ValueError("no\nreally")

    data = error_data(raised(fails))

    assert (data["type"], data["message"], set(data)) == ("ValueError", "no\nreally", {"type", "message", "traceback"})
    assert data["traceback"].startswith("Traceback (most recent call last):\n")
    assert data["traceback"].endswith('    raise ValueError("no\\nreally")\nValueError: no\nreally\n')


class NoText(Exception):
    def __str__(self) -> str:
        raise SystemExit("worse")


class NoArguments(Exception):
    def __init__(self, one: int, two: int) -> None:
        self.text = f"{one} {two}"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (NoText(), "<no message: its __str__ raised SystemExit>"),
        (NoArguments(1, 2), "(1, 2)"),
        (KeyError("x"), "'x'"),
        (RuntimeError("\udc80"), "\udc80"),
        (SystemExit(), ""),
    ],
)
def test_odd_errors_are_described_too(error: BaseException, message: str) -> None:
    data = error_data(error)

    assert (data["type"], data["message"]) == (type(error).__name__, message)
    assert type(error).__name__ in data["traceback"]


def test_our_own_frames_are_left_out_and_those_of_the_user_stay() -> None:
    class Methods:
        def rate(self) -> int:
            raise ValueError("inside the method")

    config = Config({"x": "rate()"}, methods=lambda name: getattr(Methods(), name))

    def reads() -> None:
        config.x  # noqa: B018

    trace = error_data(raised(reads))["traceback"]
    assert "in reads" in trace and "in rate" in trace
    assert "view.py" not in trace and "calls.py" not in trace


def test_causes_and_groups_are_described_with_their_own_frames() -> None:
    def first() -> None:
        Config({})["missing"]

    def second() -> None:
        try:
            first()
        except KeyError as error:
            raise RuntimeError("second") from error

    trace = error_data(raised(second))["traceback"]
    assert (
        "in first" in trace and "direct cause" in trace and "RuntimeError: second" in trace and "view.py" not in trace
    )


def test_a_failed_trial_shows_the_frames_of_its_component_only() -> None:
    class Fails(Component):
        def on_execute(self) -> None:
            self.store.write("a.unknown", 1)

    error = World(Fails).ended.error

    assert error is not None and error["type"] == "BadName"
    assert error["traceback"].count("  File ") == 1 and "in on_execute" in error["traceback"]


def test_a_deep_recursion_is_described_briefly() -> None:
    class Deep(Component):
        def on_execute(self) -> object:
            return self.on_execute()

    error = World(Deep).ended.error

    assert error is not None and error["type"] == "RecursionError"
    assert "more times" in error["traceback"] and len(error["traceback"]) < 5000
