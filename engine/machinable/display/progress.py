"""The progress of an execution according to its events, and lines of text about it."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from msgspec.structs import asdict

from machinable.display.tables import cell, counted, headline, printable
from machinable.display.terminal import escaped
from machinable.events import (
    Event,
    ExecutionFinished,
    ExecutionStarted,
    Listener,
    TrialEvent,
    TrialFailed,
    TrialStarted,
    TrialWaiting,
)
from machinable.units import format_duration

__all__ = ["PlainProgress", "Progress", "details", "is_memory", "measurements", "notebook_listeners"]

LINES_AT_ONCE = 20  # trials that have a line each when they end; then one line per interval
LINE_INTERVAL = 1.0  # seconds
NOTEBOOK_INTERVAL = 0.2  # seconds between two changes of the line in a notebook
ADVICE_AFTER = 10.0  # seconds until advice on how to run faster is useful


def is_memory(storage: str) -> bool:
    """Return whether a storage is in memory, so that its results are lost when the process ends."""
    return storage.startswith(("mem:", "temp:"))


def measurements(record: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the measurements of a row, without the columns that every row has."""
    return {key: value for key, value in (record or {}).items() if not key.startswith("_")}


class Progress(Listener):
    """The state of an execution according to its events so far. Other threads may read it at any time."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, saving: str = "") -> None:
        self._clock = clock
        self._saving = saving  # what to do to save results that stay in memory
        self._lock = threading.Lock()
        self._began = 0.0
        self.execution: str | None = None  # the name of the folder; None before the start
        self.storage = ""
        self.total = 0
        self.kept = 0  # trials that had already finished, if the execution is resumed
        self.counts: dict[str, int] = {}  # ended trials by status
        self.running: dict[str, str] = {}  # components by uid
        self.waiting: set[str] = set()  # uids of trials that wait for other executions
        self.steps: dict[str, tuple[int, int | None]] = {}  # completed, of how many, by uid
        self.records: dict[str, Mapping[str, Any]] = {}  # the last rows by uid
        self.last: TrialEvent | None = None  # of the trial that ended last
        self.status: str | None = None  # None until the end
        self.seconds = 0.0
        self._advice: str | None = None

    def on_event(self, event: Event) -> None:
        """Receive an event."""
        with self._lock:
            if isinstance(event, ExecutionStarted):
                self._began = self._clock()
                self.execution, self.storage = event.execution, event.storage
                self.total, self.kept = event.total, event.kept
            elif isinstance(event, ExecutionFinished):
                self.status, self.seconds = event.status, event.seconds
                self.running.clear()
            elif isinstance(event, TrialWaiting):
                self.waiting.add(event.uid)
            elif isinstance(event, TrialStarted):
                self.running[event.uid] = event.component
                self.waiting.discard(event.uid)
            elif isinstance(event, TrialEvent):
                self.running.pop(event.uid, None)
                self.waiting.discard(event.uid)
                self.steps.pop(event.uid, None)
                self.records.pop(event.uid, None)
                if isinstance(event, TrialFailed) and event.will_retry:
                    return
                ended = type(event).__name__.removeprefix("Trial").lower()
                self.counts[ended] = self.counts.get(ended, 0) + 1
                self.last = event

    def on_progress(self, uid: str, i: int, total: int | None) -> None:
        """Receive the completed steps of a running trial."""
        with self._lock:
            if uid in self.running:
                self.steps[uid] = i, total

    def on_record(self, uid: str, row: Mapping[str, Any]) -> None:
        """Receive the last row of a running trial."""
        with self._lock:
            if uid in self.running:
                self.records[uid] = row

    def on_advice(self, text: str) -> None:
        """Receive advice."""
        self._advice = text

    @property
    def advice(self) -> str | None:
        """The advice, once the execution has run long enough for it to be useful."""
        return self._advice if self._began and self._clock() - self._began >= ADVICE_AFTER else None

    @property
    def done(self) -> int:
        """The number of trials that are done; interrupted ones are not."""
        return self.kept + sum(count for how, count in self.counts.items() if how != "interrupted")

    def now_running(self) -> list[str]:
        """Return a line about each running trial, oldest first: `train 9c2EapVGXnPH 3/10 loss=0.5`."""
        with self._lock:
            return [
                f"{component} {uid}{steps_text(*self.steps[uid]) if uid in self.steps else ''}"
                f"{record_text(self.records.get(uid))}"
                for uid, component in self.running.items()
            ]

    def summary(self) -> str:
        """Return one line: `3 of 6 done, 1 failed, 2 running, 12.3 s left`."""
        parts = [f"{self.done} of {self.total} done"]
        parts += [f"{count} {how}" for how, count in self.counts.items() if how != "finished"]
        running = len(self.running)
        if running:
            steps = steps_text(*next(iter(self.steps.values()))) if running == 1 and self.steps else ""
            parts.append(f"{running} running{steps}")
        if self.waiting:
            parts.append(f"{len(self.waiting)} waiting")
        ran = self.counts.get("finished", 0) + self.counts.get("failed", 0)  # the others take no time
        if ran and self.status is None and self.done < self.total:
            parts.append(f"{format_duration((self._clock() - self._began) / ran * (self.total - self.done))} left")
        return ", ".join(parts)

    def headline(self) -> str:
        """Return the number of trials and where they are stored."""
        before = f" ({self.kept} already finished)" if self.kept else ""
        place = f"stored in {self.storage}"
        if is_memory(self.storage):
            place = f"in memory; to save results: {self._saving}" if self._saving else "in memory"
        return f"{self.execution}: {counted(self.total, 'trial')}{before}, {place}"

    def ending(self) -> str:
        """Return a line about the end of the execution."""
        parts = [f"{self.kept} already finished"] if self.kept else []
        counts = ", ".join(parts + [f"{count} {how}" for how, count in self.counts.items()]) or "no trials were run"
        return f"{self.execution}: {self.status} after {format_duration(self.seconds)}; {counts}"


def steps_text(i: int, total: int | None) -> str:
    """Return completed steps, to be appended to a name."""
    return f" {i}/{total}" if total is not None else f" step {i}"


def record_text(record: Mapping[str, Any] | None) -> str:
    """Return the measurements of a row, to be appended to a name."""
    return "".join(f" {key}={cell(value)}" for key, value in measurements(record).items())


def ended_line(event: TrialEvent) -> str:
    """Return one line about a trial that has ended."""
    how = type(event).__name__.removeprefix("Trial").lower()
    return " ".join([how, event.component, event.uid, *details(asdict(event))])


def details(event: Mapping[str, Any]) -> list[str]:
    """Return the facts in an event of a trial as texts: duration, measurements, error, and why it did not run."""
    found = [format_duration(event["seconds"])] if event.get("seconds") is not None else []
    found += [f"{key}={cell(value)}" for key, value in measurements(event.get("record")).items()]
    if error := event.get("error"):
        found.append(printable(headline(error)))
    if event.get("will_retry"):
        found.append(f"(attempt {event['attempt']}, will be retried)")
    because = "" if event.get("seconds") is not None else "because of "  # of a pruned trial it is a sentence
    named = (("source", "from "), ("because", because))
    return found + [f"{word}{event[key]}" for key, word in named if event.get(key)]


class PlainProgress(Progress):
    """Progress in lines, for streams that are not a terminal.

    The first trials have a line each when they end, then there is one line per second; the last trial always has one.
    """

    def __init__(
        self, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic, saving: str = ""
    ) -> None:
        super().__init__(clock, saving)
        self._show = write
        self._written = 0
        self._at = 0.0
        self._is_advised = False

    def hears(self, method: Callable[..., None]) -> bool:
        """Return whether a method has an effect: steps and rows of running trials are not shown."""
        return method not in (Listener.on_progress, Listener.on_record) and super().hears(method)

    def _write(self, text: str) -> None:
        self._show(escaped(text))

    def on_notice(self, text: str) -> None:
        """Write a notice."""
        self._write(text)

    def on_event(self, event: Event) -> None:
        """Receive an event, and write a line about it; advice follows the first one that is late enough."""
        super().on_event(event)
        if not self._is_advised and (advice := self.advice):
            self._is_advised = True
            self._write(advice)
        if isinstance(event, ExecutionStarted):
            self._write(self.headline())
        elif isinstance(event, ExecutionFinished):
            self._write(self.ending())
        elif isinstance(event, TrialEvent) and not isinstance(event, (TrialStarted, TrialWaiting)):
            now = self._clock()
            if self._written < LINES_AT_ONCE or now - self._at >= LINE_INTERVAL or self.done == self.total:
                self._written, self._at = self._written + 1, now
                self._write(f"{self.done}/{self.total} {ended_line(event)}")


def notebook_listeners() -> list[NotebookProgress]:
    """Return the listeners for a notebook; none elsewhere. This does not import IPython."""
    ipython: Any = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return [NotebookProgress()] if getattr(shell, "kernel", None) is not None else []


class NotebookProgress(Progress):
    """Keep one line of a notebook up to date."""

    _next = 0.0
    _handle: Any = None

    def on_event(self, event: Event) -> None:
        """Receive an event, and show it."""
        super().on_event(event)
        if isinstance(event, ExecutionStarted):
            self._handle = import_module("IPython.display").display(_html(self.headline()), display_id=True)
        elif isinstance(event, ExecutionFinished):
            self._handle.update(_html(self.ending()))
        else:
            self._refresh()

    def on_progress(self, uid: str, i: int, total: int | None) -> None:
        """Receive the completed steps of a running trial, and show them."""
        super().on_progress(uid, i, total)
        self._refresh()

    def _refresh(self) -> None:
        if self._clock() >= self._next:
            self._next = self._clock() + NOTEBOOK_INTERVAL
            self._handle.update(_html(f"{self.execution}: {self.summary()}"))


def _html(text: str) -> Any:
    from html import escape  # loads a large table of entities, which only notebooks need

    return import_module("IPython.display").HTML(f"<code>{escape(text)}</code>")
