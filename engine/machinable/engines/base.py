"""What an engine is, what it runs, and how a running trial reports progress.

An engine runs trials; order, retries, reuse and limits belong to the scheduler.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

from machinable.plan.spec import Outcome, TrialSpec
from machinable.serialization import Plain

if TYPE_CHECKING:
    from concurrent.futures import Future  # loads `logging`, which workers do not need

__all__ = [
    "Engine",
    "OnProgress",
    "PortableWork",
    "Reach",
    "Reports",
    "StorageTransfer",
    "Work",
    "WorkerError",
    "WorkerLost",
    "reports",
]

# uid; steps that are done, of how many; in place of a number of steps the row that was saved last
OnProgress: TypeAlias = Callable[[str, "int | dict[str, Plain]", "int | None"], None]

REPORT_INTERVAL = 0.1  # seconds between two reports of progress; displays refresh no faster


class Reports:
    """Send the progress of running trials to the executing process. `send` is None where nothing listens."""

    def __init__(self) -> None:
        self.send: OnProgress | None = None
        self._next = 0.0

    def progress(self, uid: str, i: int | dict[str, Plain], total: int | None) -> None:
        """Report progress. Reports that follow too fast are dropped, except the last one."""
        if self.send is None:
            return
        if isinstance(i, dict):
            self.send(uid, i, total)  # rows do not come too fast
            return
        now = time.monotonic()
        if now >= self._next or i == total:
            self._next = now + REPORT_INTERVAL
            self.send(uid, i, total)


reports = Reports()  # those of this worker


Work: TypeAlias = Callable[[TrialSpec], Outcome]
Reach: TypeAlias = Literal["process", "host", "anywhere"]


class PortableWork:
    """Work that another process does. Subclasses say how it moves to another host."""

    def __call__(self, spec: TrialSpec) -> Outcome:
        """Run one attempt of a trial."""
        raise NotImplementedError

    def begin(self) -> None:
        """Prepare a worker process before its first trial."""

    def is_reached(self) -> bool:
        """Return whether this process reaches the storage that the work writes into."""
        return True

    def moved(self, project: str, url: str | None) -> PortableWork:
        """Return the same work for another directory of the project, and for another storage if a URL is given."""
        raise NotImplementedError

    def folder_of(self, spec: TrialSpec) -> str:
        """Return the folder that a trial writes, in the storage."""
        raise NotImplementedError

    def folders_needed(self, spec: TrialSpec) -> Sequence[str]:
        """Return the folders that a trial reads besides its own."""
        return ()


class StorageTransfer(Protocol):
    """The storage of an execution, for workers that do not reach it. Folders travel as archives."""

    def fetch(self, path: str) -> bytes:
        """Return a folder with its content."""

    def store(self, archive: bytes) -> None:
        """Write a folder to its place."""


class Engine:
    """A place where trials run. Subclasses define `submit`, and override the other methods where they apply.

    Attributes:
        name: As it stands in execution.json.
        slots: How many trials may be submitted and not ended.
        reach: Where the workers are: in this process, on this host, or anywhere. What is submitted to workers outside
            of this process can be pickled.
        on_progress: Set by the execution to what receives progress: `on_progress(uid, i, total)`; in place of `i` the
            last row when one was saved. None if nothing listens.
        on_notice: Set by the execution to what receives messages for the user, as text.
        transfer: Set by the execution to its storage, for workers that do not reach it, if the engine `ships`.
        ships: Whether the engine brings the project and the files of trials to workers on other hosts.
        runs_on_submit: Whether `submit` runs the trial in the calling thread.
        queues: Whether trials wait for a worker after `submit`, so that `began` says when their time starts.
        is_dry: Whether the engine runs nothing.
        tells_progress: Whether the engine calls `on_progress`.
    """

    name: str = ""
    slots: int = 1
    reach: Reach = "process"
    on_progress: OnProgress | None = None
    on_notice: Callable[[str], None] | None = None
    transfer: StorageTransfer | None = None
    ships: bool = False
    runs_on_submit: bool = False
    queues: bool = False
    is_dry: bool = False
    tells_progress: bool = False

    @property
    def prefetch(self) -> int:
        """How many trials beyond `slots` are worth submitting now, so that a worker need not wait for its next one."""
        return 0

    @property
    def can_end(self) -> bool:
        """Whether `end` ends a trial; without it there is no time limit for trials."""
        return type(self).end is not Engine.end

    @property
    def can_interrupt(self) -> bool:
        """Whether `interrupt` interrupts trials."""
        return type(self).interrupt is not Engine.interrupt

    def submit(self, work: Work, spec: TrialSpec) -> Future[Outcome]:
        """Start a trial. The future has the outcome, or the reason why there is none.

        A worker process calls `begin` of a `PortableWork` once before its first trial, and then checks that its parent
        still runs: a worker that a killed execution left behind starts nothing.

        Args:
            work: What runs the trial.
            spec: The trial.

        Returns:
            The future of its outcome.

        Raises:
            KeyboardInterrupt: The user or the component ends everything. The future has it if the trial ends later.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define submit(work, spec)")

    def began(self, future: Future[Outcome]) -> float | None:
        """Return when a trial of an engine that `queues` began, by `time.monotonic`; None while it waits."""
        return None

    def interrupt(self) -> None:
        """Raise `KeyboardInterrupt` in all running trials, without waiting for them."""

    def end(self, future: Future[Outcome]) -> None:
        """End a trial. Afterwards it does not run and its future is done."""

    def hosts(self, declared: Mapping[str, float]) -> Sequence[Mapping[str, float]] | None:
        """Return the resources of each host, if the engine assigns them itself.

        Args:
            declared: `execution: {resources: …}`, which apply to hosts that the engine starts itself.

        Returns:
            The resources by host; None if the scheduler assigns those of this host.

        Raises:
            Refused: There are no hosts, with the reason.
        """
        return None

    def ship(self, project: str, code: bytes) -> None:
        """Take the archive of a project that workers import from instead of that path."""

    def close(self) -> None:
        """Release the workers. Nothing is submitted afterwards."""


class WorkerError(RuntimeError):
    """The work raised an exception in a worker; the message has its type, message and traceback."""


class WorkerLost(RuntimeError):
    """A worker ended while it ran a trial; the message says how.

    Attributes:
        code: the return code of its process, below zero for a signal; None if that is not known.
        again: how often a trial that is lost in this way is to be tried again, whatever is said about failures.
    """

    def __init__(self, message: str = "", code: int | None = None, again: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.again = again
