"""Specifications are pickled for workers, one by one or several together, and show no secrets."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from machinable.plan.spec import MAX_PICKLED, ComponentSpec, MixinSpec, Outcome, Requirement, Retries, Target, TrialSpec
from machinable.plan.task import Task

CHILD = ComponentSpec("kid", "kid", "~a", {"k": [1]}, Target("kid"), flags={"NAME": "kid"})
DEFINITION = ComponentSpec(
    component="net",
    module="nets",
    version=("~small", {"lr": 0.1}),
    config={"rate": [0.1, {"deep": None}], "_token": "s3cret"},
    target=Target("nets", "Net", "class"),
    mixins=(MixinSpec("tools", "tools"),),
    mixin_only=frozenset({"b"}),
    children=(CHILD,),
    retries=Retries(2, 0.5, ("OSError",)),
    environment={"TOKEN": "s3cret"},
    results=("model",),
)
REQUIRED = TrialSpec(0, "0", 7, {}, CHILD)
TRIAL = TrialSpec(1, "1", 8, {"SEED": 8}, DEFINITION, {"data": Requirement("kid", "0", "ab", spec=REQUIRED)})


@pytest.mark.parametrize(
    "value", [DEFINITION, TRIAL, Outcome("1", "failed", 2, 0.5, {"loss": float("inf")}, error={"type": "E"})]
)
def test_records_survive_pickling(value: Any) -> None:
    assert pickle.loads(pickle.dumps(value)) == value


@pytest.mark.parametrize("together", [True, False])
def test_unpickled_trials_share_nothing(together: bool) -> None:
    trials = [TRIAL, replace(TRIAL, index=2, attempt=3)]
    first, second = pickle.loads(pickle.dumps(trials)) if together else (pickle.loads(pickle.dumps(t)) for t in trials)
    first.config["rate"].append(7)

    assert second == trials[1]


def test_what_trials_share_is_pickled_once() -> None:
    counted: list[int] = []

    class Counted(dict[str, Any]):
        def __reduce__(self) -> tuple[Any, ...]:
            counted.append(1)
            return dict, (dict(self),)

    first = TrialSpec(0, "0", 7, {}, replace(CHILD, config=Counted(rate=1)))
    for index in range(3):
        assert pickle.loads(pickle.dumps(replace(first, index=index))).config == {"rate": 1}

    assert counted == [1]


def test_trials_of_many_components_may_take_turns() -> None:
    definitions = [replace(CHILD, config={"number": number}) for number in range(2 * MAX_PICKLED)]
    trials = [TrialSpec(0, "0", 7, {}, definition) for _ in range(2) for definition in definitions]

    assert [pickle.loads(pickle.dumps(trial)) for trial in trials] == trials


def test_the_repr_of_records_shows_no_secrets() -> None:
    assert "s3cret" not in repr(TRIAL)
    assert repr(DEFINITION) == "<ComponentSpec net ('~small', {'lr': 0.1})>"


def test_repetitions_share_their_definition(tmp_path: Path) -> None:
    (tmp_path / "machinable.yaml").write_text("components: [net: {}]")
    plan = Task("net").repeat(3).plan(tmp_path)

    assert plan[0].definition is plan[2].definition
