"""The engine of this process: one trial after the other, right here."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Literal

from machinable.engines.protocol import Work
from machinable.plan.spec import Outcome, TrialSpec

__all__ = ["LocalEngine"]


class LocalEngine:
    """Runs each trial when it is submitted."""

    name = "local"
    slots = 1
    reach: Literal["process"] = "process"

    def submit(self, work: Work, spec: TrialSpec) -> Future[Outcome]:
        """The outcome is there when this returns."""
        future: Future[Outcome] = Future()
        try:
            future.set_result(work(spec))
        except Exception as error:
            future.set_exception(error)
        return future

    def close(self) -> None:
        """There is nothing to let go of."""
