"""Interrupts that wait for the end of an iteration, so that the component saves a checkpoint first."""

from __future__ import annotations

import signal
import threading
import time
from _thread import start_new_thread
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["GRACE", "Interruption", "Terminated", "interruption"]

GRACE = 4.0  # seconds that an iteration has, less than what workers have to record that they were interrupted


class Terminated(KeyboardInterrupt):
    """An interrupt by another signal than that of Ctrl-C, with its number."""

    def __init__(self, number: int) -> None:
        super().__init__(f"received {signal.Signals(number).name}")
        self.number = number


class Interruption:
    """Interrupts of the trial in the main thread of this process.

    Attributes:
        grace: Seconds that an iteration has.
    """

    def __init__(self) -> None:
        self.grace = GRACE
        self._is_deferred = False
        self._pending: KeyboardInterrupt | None = None

    @property
    def is_pending(self) -> bool:
        """Whether an interrupt waits for the end of the iteration."""
        return self._pending is not None

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Let the first interrupt within the block wait for `raise_pending`, or for the grace."""
        self._is_deferred = threading.current_thread() is threading.main_thread()
        try:
            yield
        finally:
            self._is_deferred, self._pending = False, None

    def receive(self, number: int, error: KeyboardInterrupt) -> None:
        """Raise the error of a signal, or let it wait; for the signal's handler, which is called again after the grace.

        Raises:
            KeyboardInterrupt: It does not wait.
        """
        if not self._is_deferred or self._pending is not None:
            raise error
        self._pending = error
        start_new_thread(self._insist, (number, error))  # `threading` may hold the lock that it needs for that

    def _insist(self, number: int, error: KeyboardInterrupt) -> None:
        time.sleep(self.grace)
        main_thread = threading.main_thread().ident
        if self._pending is error and main_thread is not None:
            signal.pthread_kill(main_thread, number)

    def raise_pending(self) -> None:
        """Raise an interrupt that has waited.

        Raises:
            KeyboardInterrupt: There was one.
        """
        error, self._pending = self._pending, None
        if error is not None:
            self._is_deferred = False
            raise error


interruption = Interruption()
