"""Specifications travel to workers, one by one or several together, and show no secrets."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from machinable.plan.spec import ComponentSpec, MixinSpec, Outcome, Requirement, Retries, Target, TrialSpec
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
def test_it_arrives_as_it_was(value: Any) -> None:
    assert pickle.loads(pickle.dumps(value)) == value


def test_trials_that_travel_together_share_their_definition() -> None:
    first, second = pickle.loads(pickle.dumps([TRIAL, replace(TRIAL, index=2, attempt=3)]))

    assert first.definition is second.definition
    assert (second.index, second.attempt) == (2, 3)


def test_trials_that_travel_alone_share_nothing() -> None:
    first, second = (pickle.loads(pickle.dumps(TRIAL)) for _ in range(2))
    first.config["rate"].append(7)

    assert second == TRIAL


def test_its_text_shows_no_secrets() -> None:
    assert "s3cret" not in repr(TRIAL)
    assert repr(DEFINITION) == "<ComponentSpec net ('~small', {'lr': 0.1})>"


def test_repetitions_share_their_definition(tmp_path: Path) -> None:
    (tmp_path / "machinable.yaml").write_text("components: [net: {}]")
    plan = Task("net").repeat(3).plan(tmp_path)

    assert plan[0].definition is plan[2].definition
