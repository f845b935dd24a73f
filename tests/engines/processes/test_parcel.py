"""Specifications that travel: whole, and without what they have in common being pickled again."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

from machinable.engines.processes.parcel import MOST, Packer
from machinable.plan.spec import Requirement, Retries, TrialSpec
from tests.engines.works import trial


def whole(index: int, config: dict[str, Any]) -> TrialSpec:
    return replace(
        trial(index),
        config=config,
        stored=config,
        flags={"SEED": index},
        retries=Retries(2),
        tags={"a": [1]},
        requires={"data": Requirement("data", "uid", "identity")},
        results=("model",),
        mixin_only=frozenset({"b"}),
    )


def test_specifications_of_one_use_arrive_as_they_were() -> None:
    packer, config = Packer(), {"rate": [0.1, {"deep": None}]}
    specs = [whole(0, config), whole(1, config)]
    specs += [
        replace(specs[1], attempt=2, checkpoint="c", resume_from="trials/1"),
        replace(specs[1], environment={"A": "b"}, resources={"cpus": 2.0}),
        specs[0],
    ]

    assert [pickle.loads(packer.pack(spec)) for spec in specs] == specs


def test_specifications_share_nothing_where_they_arrive() -> None:
    packer, config = Packer(), {"rate": [0.1]}
    first, second = (pickle.loads(packer.pack(whole(index, config))) for index in (0, 1))

    first.config["rate"].append(7)

    assert second.config == config


def test_what_is_shared_is_pickled_once() -> None:
    counted: list[int] = []

    class Counted(dict[str, Any]):
        def __reduce__(self) -> tuple[Any, ...]:
            counted.append(1)
            return dict, (dict(self),)

    packer, first = Packer(), replace(trial(), config=Counted(rate=1))
    for index in range(3):
        assert pickle.loads(packer.pack(replace(first, index=index))).config == {"rate": 1}

    assert counted == [1]


def test_trials_of_many_uses_may_take_turns() -> None:
    packer, configs = Packer(), [{"number": number} for number in range(2 * MOST)]
    specs = [whole(index, config) for index in range(2) for config in configs]

    assert [pickle.loads(packer.pack(spec)) for spec in specs] == specs
