"""Progress on a terminal: a few changing lines at the bottom, with all other output above them."""

from __future__ import annotations

import sys
from typing import Any, TextIO

from rich.console import Console, Group, RenderableType
from rich.file_proxy import FileProxy
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from machinable.display.progress import Progress, ended_line
from machinable.display.terminal import escaped
from machinable.events import Event, ExecutionFinished, ExecutionStarted

__all__ = ["LiveProgress"]

MAX_RUNNING = 4  # running trials that are shown


class LiveProgress(Progress):
    """The live display, a context manager that always removes it at the end."""

    def __init__(self, stream: TextIO, saving: str = "") -> None:
        super().__init__(saving=saving)
        self._console = Console(file=stream, highlight=False)
        self._proxies: list[tuple[str, _AboveDisplay]] = []
        self._live = Live(
            console=self._console,
            get_renderable=self._render,
            transient=True,
            refresh_per_second=8,
            redirect_stdout=False,
            redirect_stderr=False,
            vertical_overflow="crop",
        )

    def __enter__(self) -> LiveProgress:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def _start(self) -> None:
        self._live.start(refresh=True)
        # Printed text must not break the display; if stdout is a file, the text must reach it unchanged.
        for name in ("stdout", "stderr") if sys.stdout.isatty() else ("stderr",):
            proxy = _AboveDisplay(self._console, getattr(sys, name))
            setattr(sys, name, proxy)
            self._proxies.append((name, proxy))

    def _stop(self) -> None:
        while self._proxies:
            name, proxy = self._proxies.pop()
            setattr(sys, name, proxy.rich_proxied_file)
            proxy.close()
        self._live.stop()

    def on_event(self, event: Event) -> None:
        """Receive an event, and show it."""
        super().on_event(event)
        if isinstance(event, ExecutionStarted):
            self._console.print(_text(self.headline()))
            self._start()
        elif isinstance(event, ExecutionFinished):
            self._stop()
            self._console.print(_text(self.ending()))

    def on_notice(self, text: str) -> None:
        """Print a notice above the display."""
        self._console.print(_text(text))

    def _render(self) -> RenderableType:
        top = Table.grid(padding=(0, 1))
        style = "red" if self.counts.get("failed") else "green"
        top.add_row(ProgressBar(self.total or 1, self.done, width=24, complete_style=style), _text(self.summary()))
        lines: list[RenderableType] = [top]
        running = self.now_running()
        lines += [_text(f"  running {line}", overflow="ellipsis", no_wrap=True) for line in running[:MAX_RUNNING]]
        if len(running) > MAX_RUNNING:
            lines.append(Text(f"  and {len(running) - MAX_RUNNING} more"))
        if self.last is not None:
            lines.append(_text(f"  last {ended_line(self.last)}", overflow="ellipsis", no_wrap=True))
        if self.advice:
            lines.append(_text(f"  {self.advice}", style="dim"))
        return Group(*lines)


class _AboveDisplay(FileProxy):
    """A stream that prints lines above the display.

    Of a line that is written again and again with carriage returns, such as a progress bar, it prints the last version.
    """

    def __init__(self, console: Console, file: TextIO) -> None:
        super().__init__(console, file)
        self._line = ""

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        *lines, self._line = (self._line + text).split("\n")
        if lines:
            super().write("\n".join([*map(_last_version, lines), ""]))
        return len(text)

    def flush(self) -> None:
        """Print an unfinished line, such as a question, unless it may be written again."""
        if "\r" not in self._line:
            self._end_line()

    def _end_line(self) -> None:
        line, self._line = self._line, ""
        if line:
            super().write(f"{_last_version(line)}\n")

    def close(self) -> None:
        """Print the rest; the stream can still be used."""
        self._end_line()


def _last_version(line: str) -> str:
    return next((version for version in reversed(line.split("\r")) if version), "")


def _text(text: str, **options: Any) -> Text:
    return Text(escaped(text), **options)
