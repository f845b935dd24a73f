"""The engine that runs nothing: a plan is checked and shown, and every trial stays pending."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Literal

from machinable.engines.protocol import Work
from machinable.plan.spec import Outcome, TrialSpec

__all__ = ["DryEngine"]


class DryEngine:
    """Takes trials and leaves them as they are."""

    name = "dry"
    slots = 0
    reach: Literal["process"] = "process"

    def submit(self, work: Work, spec: TrialSpec) -> Future[Outcome]:
        """The trial is pending for good."""
        future: Future[Outcome] = Future()
        future.set_result(Outcome(spec.uid, "pending", 0, 0.0))
        return future

    def close(self) -> None:
        """There is nothing to let go of."""
