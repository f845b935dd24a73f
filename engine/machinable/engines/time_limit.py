"""End a trial of this process when its time is over, even if its code catches the error."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType

from machinable.engines.interruption import interruption

__all__ = ["Overdue", "TimeLimit", "time_limit"]

GRACE = 1.0  # seconds that a component has after the TimeoutError
INTERVAL = 1e-5  # seconds between further attempts to end it
HOLD_INTERVAL = 0.01  # seconds until the next attempt while no code of a component runs
# Where the code of a component is called from
_CALLERS = tuple(os.path.join("machinable", "trial", name) for name in ("lifecycle.py", "runner.py"))
# This package and what it calls there
_OURS = (os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep, contextlib.__file__)


class Overdue(BaseException):
    """Ends code that has caught the `TimeoutError` of its time limit; `except Exception` does not catch it."""


class TimeLimit:
    """The time limit of the trial in the main thread of this process.

    First, a `TimeoutError` is raised in the component, once. If it still runs after `GRACE`, `Overdue` is raised, and
    where that is caught, again and again, so fast that soon one is raised in each `except:` and `finally:` around.
    """

    def __init__(self) -> None:
        self._seconds = 0.0
        self._is_reached = self._is_ringing = False
        self._is_over = True

    @contextlib.contextmanager
    def of(self, seconds: float) -> Iterator[None]:
        """Limit what runs within the block."""
        self._seconds, self._is_reached, self._is_over = seconds, False, False
        before = signal.signal(signal.SIGALRM, self._ring)
        signal.setitimer(signal.ITIMER_REAL, min(seconds, threading.TIMEOUT_MAX))
        try:
            yield
        finally:
            self._stop()
            signal.signal(signal.SIGALRM, before)

    def error(self, error: BaseException) -> BaseException:
        """Return the error that ended a component, and stop ending it; a `TimeoutError` in place of an `Overdue`."""
        if not self._is_reached:
            return error
        self._stop()
        return TimeoutError(str(error)).with_traceback(error.__traceback__) if isinstance(error, Overdue) else error

    def _stop(self) -> None:
        self._is_over = True
        signal.setitimer(signal.ITIMER_REAL, 0)
        time.sleep(0)  # handles a signal that has arrived, before its handler is replaced

    def _ring(self, number: int, frame: FrameType | None) -> None:
        if self._is_ringing or self._is_over:
            return
        if interruption.is_held:
            signal.setitimer(signal.ITIMER_REAL, HOLD_INTERVAL)
            return
        self._is_ringing = True
        try:
            text = f"the trial took longer than {self._seconds:g} s"
            if not self._is_reached:
                self._is_reached = True
                signal.setitimer(signal.ITIMER_REAL, GRACE, GRACE)
                raise TimeoutError(text)
            if _is_in_component(frame):
                signal.setitimer(signal.ITIMER_REAL, INTERVAL, INTERVAL)
                raise Overdue(text)
        finally:
            self._is_ringing = False


def _is_in_component(frame: FrameType | None) -> bool:
    """Return whether code of a component runs, or what it has called."""
    while frame is not None and not frame.f_code.co_filename.endswith(_CALLERS):
        if not frame.f_code.co_filename.startswith(_OURS):
            return True
        frame = frame.f_back
    return False


time_limit = TimeLimit()
