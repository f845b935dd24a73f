"""Ends a trial of this process when its time is over, by an alarm signal."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType

from machinable.engines.protocol import Work
from machinable.errors import Refused
from machinable.plan.spec import Outcome, TrialSpec

__all__ = ["check_alarm", "with_alarm"]


def check_alarm() -> None:
    """See that this thread can be woken.

    Raises:
        Refused: there are no alarm signals here.
    """
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        raise Refused(
            "a timeout on `local` needs an alarm signal, which only the main thread of a Unix process can get",
            todo="Use worker processes: engine='processes'.",
        )


def with_alarm(work: Work, seconds: float) -> Callable[[TrialSpec], Outcome]:
    """The work, with a `TimeoutError` raised in the component after so many seconds."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"the trial took longer than {seconds:g} s")

    def timed(spec: TrialSpec) -> Outcome:
        before = signal.signal(signal.SIGALRM, ring)
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            return work(spec)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    return timed
