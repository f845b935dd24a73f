"""Ctrl-C while an execution runs: raised where it can be answered, remembered everywhere else.

Ends a trial of this process when its time is over, by an alarm signal.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

from machinable.engines.base import Work
from machinable.errors import Refused
from machinable.plan.spec import Outcome, TrialSpec

__all__ = ["Interrupts", "check_alarm", "with_alarm"]


def check_alarm() -> None:
    """See that this thread can be woken.

    Raises:
        Refused: this is not the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
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


PATIENCE = 10.0  # seconds


class Interrupts:
    """Holds SIGINT back in its `with` block, so that what an execution writes down is written whole.

    Only in `allowed()`, where components run or nothing is done but waiting, it becomes a `KeyboardInterrupt`, and
    one that came before does so there at once. One that is still held back at the end of the block is raised then;
    and whoever presses Ctrl-C again after having waited for `PATIENCE` is heard wherever we are, as in a storage that
    does not answer. In other threads than the main one, and where somebody has another handler, nothing is changed.
    """

    def __init__(self) -> None:
        self._count = 0
        self._raised = 0
        self._is_allowed = False
        self._held_since = 0.0
        self._before: Any = None

    def __enter__(self) -> Interrupts:
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._before = signal.signal(signal.SIGINT, self._on_signal)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._before is None:
            return
        signal.signal(signal.SIGINT, self._before)
        self._before = None
        if self._count > self._raised and (kind is None or issubclass(kind, Exception)):
            raise KeyboardInterrupt

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._count == self._raised:
            self._held_since = now
        self._count += 1
        if self._is_allowed or now - self._held_since > PATIENCE:
            self._raise()

    def _raise(self) -> None:
        self._raised = self._count
        raise KeyboardInterrupt

    @contextmanager
    def allowed(self) -> Iterator[None]:
        """Meanwhile an interrupt is raised.

        Raises:
            KeyboardInterrupt: there was one before.
        """
        try:
            self._is_allowed = True
            self.answer()
            yield
        finally:
            self._is_allowed = False

    def answer(self) -> None:
        """Raise what was held back.

        Raises:
            KeyboardInterrupt: there was one.
        """
        if self._count > self._raised:
            self._raised += 1  # a further one that has come already hurries what follows
            raise KeyboardInterrupt

    @property
    def is_hurried(self) -> bool:
        """Whether there was another one after the last that was raised."""
        return self._count > self._raised
