"""Decide when signals may interrupt an execution: Ctrl-C, and the alarm that ends a trial of this process.

`Interrupts` delays SIGINT to points where it can be handled; `with_alarm` raises `TimeoutError` in a component.
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
from machinable.plan.spec import Outcome, TrialSpec

__all__ = ["Interrupts", "with_alarm"]

INSIST_AFTER = 10.0  # seconds after which a further Ctrl-C is raised anywhere


def with_alarm(work: Work, seconds: float) -> Callable[[TrialSpec], Outcome]:
    """Return the work with a time limit: `TimeoutError` is raised in the component after `seconds`."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"the trial took longer than {seconds:g} s")

    def timed(spec: TrialSpec) -> Outcome:
        before = signal.signal(signal.SIGALRM, ring)
        signal.setitimer(signal.ITIMER_REAL, min(seconds, threading.TIMEOUT_MAX))
        try:
            return work(spec)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    return timed


class Interrupts:
    """Delay SIGINT within a `with` block, so that an execution writes its files completely.

    It becomes a `KeyboardInterrupt` only in `allowed()`, where components run or the scheduler waits; one that arrived
    earlier is raised on entry, or at the end of the block. A further Ctrl-C after `INSIST_AFTER` is raised
    immediately, for example while a storage does not answer. In threads other than the main one, and where another
    handler is installed, nothing changes.
    """

    def __init__(self) -> None:
        self._count = 0
        self._raised = 0
        self._is_allowed = False
        self._pending_since = 0.0
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
            self._pending_since = now
        self._count += 1
        if self._is_allowed or now - self._pending_since > INSIST_AFTER:
            self._raised = self._count
            raise KeyboardInterrupt

    @contextmanager
    def allowed(self) -> Iterator[None]:
        """Let interrupts be raised within the block.

        Raises:
            KeyboardInterrupt: One was pending.
        """
        try:
            self._is_allowed = True
            self.raise_pending()
            yield
        finally:
            self._is_allowed = False

    def raise_pending(self) -> None:
        """Raise an interrupt that was delayed.

        Raises:
            KeyboardInterrupt: One was pending.
        """
        if self._count > self._raised:
            self._raised += 1  # a further interrupt shortens the shutdown
            raise KeyboardInterrupt

    @property
    def is_repeated(self) -> bool:
        """Whether another interrupt followed the last one that was raised."""
        return self._count > self._raised
