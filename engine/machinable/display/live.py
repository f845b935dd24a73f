"""Progress on a terminal: a few changing lines at the bottom, with all other output above them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Any, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from machinable.display.progress import Progress, ended_line
from machinable.events import Event, ExecutionFinished, ExecutionStarted, Listener

__all__ = ["LiveProgress"]

MAX_RUNNING = 4  # running trials that are shown


class LiveProgress(Listener):
    """The display, and a context that always removes it at the end.

    Args:
        progress: What is shown.
        stream: The terminal.
    """

    def __init__(self, progress: Progress, stream: TextIO) -> None:
        self._progress = progress
        self._console = Console(file=stream, highlight=False)
        # Printed text must not break the display; if stdout is a file, the text must reach it unchanged.
        self._live = Live(
            console=self._console,
            get_renderable=self._render,
            transient=True,
            refresh_per_second=8,
            redirect_stdout=sys.stdout.isatty(),
            redirect_stderr=True,
            vertical_overflow="crop",
        )

    def __enter__(self) -> LiveProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._live.stop()

    def on_event(self, event: Event) -> None:
        """Receive an event."""
        self._progress.on_event(event)
        if isinstance(event, ExecutionStarted):
            self._console.print(Text(self._progress.headline()))
            self._live.start(refresh=True)
        elif isinstance(event, ExecutionFinished):
            self._live.stop()
            self._console.print(Text(self._progress.ending()))

    def on_progress(self, uid: str, i: int, total: int | None) -> None:
        """Receive the completed steps of a running trial."""
        self._progress.on_progress(uid, i, total)

    def on_record(self, uid: str, row: Mapping[str, Any]) -> None:
        """Receive the last row of a running trial."""
        self._progress.on_record(uid, row)

    def on_advice(self, text: str) -> None:
        """Receive advice, which is shown while the execution runs."""
        self._progress.on_advice(text)

    def on_notice(self, text: str) -> None:
        """Print a notice above the display."""
        self._console.print(Text(text))

    def _render(self) -> RenderableType:
        progress = self._progress
        counts = progress.counts
        top = Table.grid(padding=(0, 1))
        style = "red" if counts.get("failed") else "green"
        top.add_row(ProgressBar(progress.total or 1, progress.done, width=24, complete_style=style), progress.summary())
        lines: list[RenderableType] = [top]
        running = progress.now_running()
        lines += [Text(f"  running {line}", overflow="ellipsis", no_wrap=True) for line in running[:MAX_RUNNING]]
        if len(running) > MAX_RUNNING:
            lines.append(Text(f"  and {len(running) - MAX_RUNNING} more"))
        if progress.last is not None:
            lines.append(Text(f"  last {ended_line(progress.last)}", overflow="ellipsis", no_wrap=True))
        if progress.advice:
            lines.append(Text(f"  {progress.advice}", style="dim"))
        return Group(*lines)
