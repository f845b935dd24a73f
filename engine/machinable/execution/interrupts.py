"""Decide when signals may interrupt an execution: Ctrl-C and others that end it, and the alarm of a time limit.

`Interrupts` delays SIGINT, SIGTERM and SIGHUP to points where they can be handled; `with_alarm` sets a time limit.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

from machinable.engines.base import Work
from machinable.engines.interruption import INSIST_AFTER, Terminated, interruption
from machinable.engines.time_limit import time_limit
from machinable.plan.spec import Outcome, TrialSpec

__all__ = ["Interrupts", "with_alarm"]


def with_alarm(work: Work, seconds: float) -> Callable[[TrialSpec], Outcome]:
    """Return the work with a time limit in seconds, which ends the component; see `TimeLimit`."""

    def timed(spec: TrialSpec) -> Outcome:
        with time_limit.of(seconds):
            return work(spec)

    return timed


class Interrupts:
    """Delay signals within a `with` block, so that an execution writes its files completely.

    They become a `KeyboardInterrupt` only in `allowed()`, where components run or the scheduler waits; one that arrived
    earlier is raised on entry, or at the end of the block. A further one after `INSIST_AFTER` is raised immediately,
    for example while a storage does not answer. In threads other than the main one, and for signals that are ignored or
    have another handler, nothing changes.

    Raises:
        SystemExit: The process was asked to end by SIGTERM or SIGHUP, and everything is written.
    """

    def __init__(self) -> None:
        self._count = 0
        self._raised = 0
        self._is_allowed = False
        self._pending_since = 0.0
        self._number: int = signal.SIGINT  # of the last signal
        self._is_stopped = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            for number, default in _DEFAULTS.items():
                if signal.getsignal(number) == default:
                    self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
        if self._count > self._raised and (kind is None or issubclass(kind, Exception)):
            error = self._error()
            if not isinstance(error, Terminated):
                raise error
        if isinstance(error, Terminated):
            raise SystemExit(128 + error.number) from error

    def _error(self) -> KeyboardInterrupt:
        return KeyboardInterrupt() if self._number == signal.SIGINT else Terminated(self._number)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._count == self._raised:
            self._pending_since = now
        self._count += 1
        self._number = signal.SIGTERM if self._is_stopped else number
        if self._is_allowed or now - self._pending_since > INSIST_AFTER:
            self._raised = self._count
            interruption.receive(number, self._error())

    def stop(self) -> None:
        """Interrupt from another thread, as SIGTERM does; outside of the main thread, between two trials.

        The signal is one that is handled here: Ray, for example, handles SIGTERM where it is initialized.
        """
        self._is_stopped = True
        if self._before:
            os.kill(os.getpid(), signal.SIGTERM if signal.SIGTERM in self._before else next(iter(self._before)))
        else:
            self._number = signal.SIGTERM
            self._count += 1

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
            raise self._error()

    @property
    def is_repeated(self) -> bool:
        """Whether another interrupt followed the last one that was raised."""
        return self._count > self._raised


# Of the signals that interrupt, the handlers that are replaced
_DEFAULTS: dict[int, Any] = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
    signal.SIGHUP: signal.SIG_DFL,
}
