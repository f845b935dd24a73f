"""Signs of life: one timer for all trials of this process, so that a trial whose process was killed is recognised."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

__all__ = ["INTERVAL", "Heartbeat", "heartbeat"]

INTERVAL = 15.0  # seconds


class Heartbeat:
    """Calls functions regularly, from a thread of its own that starts with the first of them.

    Args:
        interval: seconds between two calls of the same function.
    """

    def __init__(self, interval: float = INTERVAL) -> None:
        self._interval = interval
        self._due: dict[Callable[[], None], list[float]] = {}
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def add(self, beat: Callable[[], None]) -> None:
        """Call the function from now on, first when the interval has passed. It must not raise."""
        self._due[beat] = [time.monotonic() + self._interval]
        if self._thread is None or not self._thread.is_alive():  # dead in a forked process
            with self._lock:
                if self._thread is None or not self._thread.is_alive():
                    self._thread = threading.Thread(target=self._run, name="machinable-heartbeat", daemon=True)
                    self._thread.start()

    def remove(self, beat: Callable[[], None]) -> None:
        """Do not call the function again; a call that is under way may still end."""
        self._due.pop(beat, None)

    def _run(self) -> None:
        while True:
            now = time.monotonic()
            next_due = now + self._interval  # what is added meanwhile is due later than this
            for beat, due in list(self._due.items()):
                if due[0] <= now:
                    due[0] = now + self._interval
                    beat()
                next_due = min(next_due, due[0])
            time.sleep(max(0.0, next_due - time.monotonic()))


heartbeat = Heartbeat()
