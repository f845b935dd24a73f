"""Which trials of two executions belong together."""

from __future__ import annotations

from typing import Any

from machinable.results.diff import match
from machinable.results.execution import Execution
from tests.results.worlds import planned, stored


def execution(*trials: dict[str, Any]) -> Execution:
    """An execution of trials that say `uid`, and perhaps `version`, `component` and the `number` of a repetition."""
    rows = []
    for index, trial in enumerate(trials):
        number = trial.pop("number", None)
        flags = {} if number is None else {"REPEAT_NUMBER": number, "REPEAT_SEED": 1}
        rows.append(planned(index, flags=flags) | trial)
    return stored(rows)


def uids(one: Execution, other: Execution) -> tuple[list[tuple[str, str]], list[str], list[str]]:
    found = match(one.trials, other.trials)
    return (
        [(a.uid, b.uid) for a, b in found.pairs],
        [trial.uid for trial in found.only_one],
        [trial.uid for trial in found.only_other],
    )


def test_the_same_uid_comes_first() -> None:
    one = execution({"uid": "a", "version": "~x"}, {"uid": "b"})
    other = execution({"uid": "b", "version": "~x"}, {"uid": "a"})

    assert uids(one, other) == ([("a", "a"), ("b", "b")], [], [])


def test_then_what_was_asked_for_alike() -> None:
    one = execution({"uid": "a", "version": "~x", "number": 0}, {"uid": "b", "version": "~x", "number": 1})
    other = execution({"uid": "c", "version": "~x", "number": 1}, {"uid": "d", "version": "~x", "number": 0})

    assert uids(one, other) == ([("a", "d"), ("b", "c")], [], [])


def test_then_the_same_repetition_of_the_component_and_then_its_order() -> None:
    one = execution({"uid": "a", "version": "~x", "number": 1}, {"uid": "b", "version": "~y"})
    other = execution({"uid": "c"}, {"uid": "d", "number": 1}, {"uid": "e"})

    assert uids(one, other) == ([("a", "d"), ("b", "c")], [], ["e"])


def test_trials_of_different_components_never_belong_together() -> None:
    one, other = execution({"uid": "a", "component": "train"}), execution({"uid": "b", "component": "test"})

    assert uids(one, other) == ([], ["a"], ["b"])
