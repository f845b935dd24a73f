"""Progress in a notebook: one changing line below the cell."""

from __future__ import annotations

import html
import sys
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

from machinable.events import Event, ExecutionFinished, ExecutionStarted, Listener

__all__ = ["NotebookProgress", "notebook_listeners"]

REFRESH_INTERVAL = 0.2  # seconds


def notebook_listeners() -> list[NotebookProgress]:
    """Return the listener for a notebook; none elsewhere. IPython is not imported to find out."""
    ipython: Any = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return [NotebookProgress()] if getattr(shell, "kernel", None) is not None else []


class NotebookProgress(Listener):
    """Keep one line of a notebook up to date."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        from machinable.display.progress import Progress  # every execution asks for listeners

        self._progress = Progress()
        self._clock = clock
        self._next = 0.0
        self._handle: Any = None

    def on_event(self, event: Event) -> None:
        """Receive an event."""
        self._progress.on_event(event)
        if isinstance(event, ExecutionStarted):
            ipython: Any = import_module("IPython.display")
            self._handle = ipython.display(self._line(self._progress.headline()), display_id=True)
        elif isinstance(event, ExecutionFinished):
            self._handle.update(self._line(self._progress.ending()))
        else:
            self._refresh()

    def on_progress(self, uid: str, i: int, total: int | None) -> None:
        """Receive the completed steps of a running trial."""
        self._progress.on_progress(uid, i, total)
        self._refresh()

    def _refresh(self) -> None:
        now = self._clock()
        if now >= self._next:
            self._next = now + REFRESH_INTERVAL
            self._handle.update(self._line(f"{self._progress.execution}: {self._progress.summary()}"))

    @staticmethod
    def _line(text: str) -> Any:
        ipython: Any = import_module("IPython.display")
        return ipython.HTML(f"<code>{html.escape(text)}</code>")
