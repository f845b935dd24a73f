"""What a trial in a worker tells about itself before it has ended."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeAlias

__all__ = ["OnProgress", "Reports", "reports"]

OnProgress: TypeAlias = Callable[[str, int, "int | None"], None]  # uid, steps that are done, of how many

PAUSE = 0.1  # seconds between two reports of a worker; nobody looks more often


class Reports:
    """The way from a trial to whoever shows progress: `send` is set where there is somebody at the other end."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.send: OnProgress | None = None
        self._clock = clock
        self._next = 0.0

    def progress(self, uid: str, i: int, total: int | None) -> None:
        """Tell how far a trial is; what comes too fast is left out, but not the last step."""
        if self.send is None:
            return
        now = self._clock()
        if now >= self._next or i == total:
            self._next = now + PAUSE
            self.send(uid, i, total)


reports = Reports()  # those of this worker
