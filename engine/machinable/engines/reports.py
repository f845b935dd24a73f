"""What a trial in a worker tells about itself before it has ended."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeAlias

from machinable.plain import Plain

__all__ = ["OnProgress", "Reports", "reports"]

# uid; steps that are done, of how many; in place of a number of steps the row that was saved last
OnProgress: TypeAlias = Callable[[str, "int | dict[str, Plain]", "int | None"], None]

PAUSE = 0.1  # seconds between two reports of a worker; nobody looks more often


class Reports:
    """The way from a trial to whoever shows progress: `send` is set where there is somebody at the other end."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.send: OnProgress | None = None
        self._clock = clock
        self._next = 0.0

    def progress(self, uid: str, i: int | dict[str, Plain], total: int | None) -> None:
        """Tell how far a trial is; steps that come too fast are left out, but not the last one."""
        if self.send is None:
            return
        if isinstance(i, dict):
            self.send(uid, i, total)  # rows do not come too fast
            return
        now = self._clock()
        if now >= self._next or i == total:
            self._next = now + PAUSE
            self.send(uid, i, total)


reports = Reports()  # those of this worker
