"""Run trials in this process, one after the other, or none at all."""

from __future__ import annotations

from concurrent.futures import Future

from machinable.engines.base import Engine, Reach, Work
from machinable.plan.spec import Outcome, TrialSpec

__all__ = ["DryEngine", "LocalEngine"]


class LocalEngine(Engine):
    """Run each trial when it is submitted."""

    name = "local"
    slots = 1
    reach: Reach = "process"
    runs_on_submit = True

    def submit(self, work: Work, spec: TrialSpec) -> Future[Outcome]:
        """Run the trial now; the future is done when this returns."""
        future: Future[Outcome] = Future()
        try:
            future.set_result(work(spec))
        except Exception as error:
            future.set_exception(error)
        return future


class DryEngine(Engine):
    """Run no trial: plans are checked and printed, and all trials stay pending."""

    name = "dry"
    slots = 0
    reach: Reach = "process"
    runs_on_submit = True
    is_dry = True

    def submit(self, work: Work, spec: TrialSpec) -> Future[Outcome]:
        """Return an outcome that leaves the trial pending."""
        future: Future[Outcome] = Future()
        future.set_result(Outcome(spec.uid, "pending", 0, 0.0))
        return future
