"""Interrupts that wait for the end of an iteration, so that the component saves a checkpoint first, or of our own code.

An interrupt is an exception at any place. Only the code of components has to expect it: what surrounds it, such as the
redirection of the output, is set up and undone whole.
"""

from __future__ import annotations

import signal
import threading
import time
from _thread import start_new_thread
from collections.abc import Iterator
from contextlib import contextmanager

from machinable.errors import LeaseLost

__all__ = ["GRACE", "INSIST_AFTER", "Interruption", "Terminated", "interruption"]

GRACE = 4.0  # seconds that an iteration has, less than what workers have to record that they were interrupted
INSIST_AFTER = 10.0  # seconds after which a further Ctrl-C is raised anywhere


class Terminated(KeyboardInterrupt):
    """An interrupt by another signal than that of Ctrl-C, with its number."""

    def __init__(self, number: int) -> None:
        super().__init__(f"received {signal.Signals(number).name}")
        self.number = number


class Interruption:
    """Interrupts of the trial in the main thread of this process.

    Attributes:
        grace: Seconds that an iteration has.
        is_held: Whether interrupts wait because no code of a component runs.
    """

    def __init__(self) -> None:
        self.grace = GRACE
        self.is_held = False
        self._is_deferred = False
        self._pending: KeyboardInterrupt | None = None
        self._since = 0.0
        self._thread = 0  # the main thread, while interrupts are held or released

    @property
    def is_pending(self) -> bool:
        """Whether an interrupt waits."""
        return self._pending is not None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let interrupts within the block wait for its end or for `release`; only one that insists is raised.

        Raises:
            KeyboardInterrupt: One has waited.
        """
        if not _is_main_thread():
            yield
            return
        before, self._thread = self.is_held, threading.get_ident()
        self.is_held = True
        try:
            yield
        except LeaseLost:  # which the interrupt was for
            self._pending = None
            raise
        finally:
            self.is_held = before
            if not before:
                self.raise_pending()

    def release(self) -> None:
        """Let interrupts be raised until `hold`, because code of a component runs now.

        Raises:
            KeyboardInterrupt: One has waited.
        """
        if self._thread == threading.get_ident():
            self.is_held = False
            self.raise_pending()

    def hold(self) -> None:
        """Let interrupts wait again."""
        if self._thread == threading.get_ident():  # looking for the main thread would run code that can be interrupted
            self.is_held = True

    def drop(self) -> None:
        """Forget an interrupt that waits, because the trial that it was for has ended."""
        self._pending = None

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Let the first interrupt within the block wait for `raise_pending`, or for the grace."""
        self._is_deferred = _is_main_thread()
        try:
            yield
        finally:
            self._is_deferred = False

    def receive(self, number: int, error: KeyboardInterrupt) -> None:
        """Raise the error of a signal, or let it wait; for the signal's handler, which is called again after the grace.

        Raises:
            KeyboardInterrupt: It does not wait.
        """
        if self._pending is None and (self.is_held or self._is_deferred):
            self._pending, self._since = error, time.monotonic()
            if not self.is_held:
                start_new_thread(self._insist, (number, error))  # `threading` may hold the lock that it needs for that
        elif not self.is_held or time.monotonic() - self._since > INSIST_AFTER:
            self._pending = None
            raise error

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


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


interruption = Interruption()
