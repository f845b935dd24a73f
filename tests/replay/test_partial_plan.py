"""A plan with some of its trials, and what they require."""

from __future__ import annotations

from pathlib import Path

import pytest

import machinable as ml
from machinable.errors import NotStored
from machinable.replay.partial_plan import subset

DECLARATIONS = "components: [data: , net: {_requires_: {data: data}, lr: 1}, other: ]\n"


@pytest.fixture
def plan(tmp_path: Path) -> ml.Plan:
    (tmp_path / "machinable.yaml").write_text(DECLARATIONS)
    return ml.Task().component("net", [{"lr": 1}, {"lr": 2}]).component("other").plan(tmp_path, 1)


def test_it_has_the_chosen_trials_and_what_they_require(plan: ml.Plan) -> None:
    data, first, second, _ = plan

    chosen = subset(plan, [second.uid])

    assert list(chosen) == [data, second]
    assert (len(chosen), chosen[1]) == (2, first)


def test_a_trial_that_the_plan_does_not_have_is_refused(plan: ml.Plan) -> None:
    with pytest.raises(NotStored, match="the trial nowhere is not in the plan that the restored code makes"):
        subset(plan, ["nowhere"])
