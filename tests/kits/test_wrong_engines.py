"""The conformance tests fail for engines with errors."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as LateError  # another one on 3.10
from typing import Any, Literal

import pytest

from machinable.engines.base import Work
from machinable.engines.local import LocalEngine
from machinable.plan.spec import Outcome, TrialSpec
from machinable.testing import engine as kit
from machinable.testing.engine import EngineConformance


class NoSlots(LocalEngine):
    slots = 0


class OnTheMoon(LocalEngine):
    reach = "moon"  # type: ignore[assignment]


class SaysHost(LocalEngine):
    reach: Literal["host"] = "host"  # type: ignore[assignment]


class Forgets(LocalEngine):
    def submit(self, work: Work, spec: TrialSpec) -> Future[Outcome]:
        return Future()


class Mixes(LocalEngine):
    def __init__(self) -> None:
        self.last: TrialSpec | None = None

    def submit(self, work: Work, spec: TrialSpec) -> Future[Outcome]:
        self.last, spec = spec, self.last or spec
        return super().submit(work, spec)


class Shortens(LocalEngine):
    def submit(self, work: Work, spec: TrialSpec) -> Future[Outcome]:
        future: Future[Outcome] = Future()
        outcome = super().submit(work, spec).result()
        future.set_result(Outcome(outcome.uid, outcome.state, outcome.attempt, outcome.seconds))
        return future


class Swallows(LocalEngine):
    def submit(self, work: Work, spec: TrialSpec) -> Future[Outcome]:
        future: Future[Outcome] = Future()
        try:
            future.set_result(work(spec))
        except BaseException:
            future.set_result(Outcome(spec.uid, "finished", 1, 0.0))
        return future


class ClosesOnce(LocalEngine):
    is_closed = False

    def close(self) -> None:
        if self.is_closed:
            raise RuntimeError("closed already")
        self.is_closed = True


@pytest.mark.parametrize(
    ("wrong", "test"),
    [
        (NoSlots, "its_attributes_are_valid"),
        (OnTheMoon, "its_attributes_are_valid"),
        (SaysHost, "trials_run_where_reach_says"),
        (Forgets, "a_failed_trial_is_an_outcome"),
        (Mixes, "each_future_has_the_outcome_of_its_own_trial"),
        (Shortens, "specifications_and_outcomes_are_complete"),
        (Shortens, "a_failed_trial_is_an_outcome"),
        (Swallows, "an_exception_of_the_work_is_reported_and_the_next_trial_runs"),
        (Swallows, "an_interrupt_by_the_work_is_an_interrupt_here"),
        (ClosesOnce, "closing_twice_is_fine"),
    ],
)
def test_an_engine_with_an_error_fails(wrong: Callable[[], Any], test: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kit, "RESULT_TIMEOUT", 0.1)

    with pytest.raises((AssertionError, LateError, RuntimeError)):
        getattr(EngineConformance(), f"test_{test}")(wrong())
