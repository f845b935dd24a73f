"""Progress in a notebook: one line below the cell that changes."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

from machinable.events import Event, ExecutionFinished, ExecutionStarted, Listener

__all__ = ["NotebookProgress", "notebook_listeners"]

PAUSE = 0.2  # seconds between two changes


def notebook_listeners() -> list[NotebookProgress]:
    """The listener that a notebook needs; none elsewhere. IPython is never imported for that."""
    ipython: Any = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return [NotebookProgress()] if getattr(shell, "kernel", None) is not None else []


class NotebookProgress(Listener):
    """A listener that keeps one line of a notebook up to date."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        from machinable.display.progress import Progress  # it is asked everywhere whether this is a notebook

        self._progress = Progress()
        self._clock = clock
        self._next = 0.0
        self._handle: Any = None

    def on_event(self, event: Event) -> None:
        """Take an event in."""
        self._progress.on_event(event)
        if isinstance(event, ExecutionStarted):
            ipython: Any = import_module("IPython.display")
            self._handle = ipython.display(self._line(self._progress.headline()), display_id=True)
        elif isinstance(event, ExecutionFinished):
            self._handle.update(self._line(self._progress.ending()))
        else:
            self._refresh()

    def on_progress(self, uid: str, i: int, total: int | None) -> None:
        """Take in how far a trial says it is."""
        self._progress.on_progress(uid, i, total)
        self._refresh()

    def _refresh(self) -> None:
        now = self._clock()
        if now >= self._next:
            self._next = now + PAUSE
            self._handle.update(self._line(f"{self._progress.execution}: {self._progress.summary()}"))

    @staticmethod
    def _line(text: str) -> Any:
        import html

        ipython: Any = import_module("IPython.display")
        return ipython.HTML(f"<code>{html.escape(text)}</code>")
