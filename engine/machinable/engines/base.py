"""The base class of engines, the work that they run, and the progress of running trials.

An engine runs trials; order, retries, reuse and limits belong to the scheduler.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

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
    "Work",
    "WorkerError",
    "WorkerLost",
    "reports",
]

# uid, completed steps (or the row that was saved last), number of steps
OnProgress: TypeAlias = Callable[[str, "int | dict[str, Plain]", "int | None"], None]

REPORT_INTERVAL = 0.1  # seconds between two reports of progress; displays refresh no faster


class Reports:
    """Send the progress of running trials to the executing process; `send` is None if nothing listens."""

    def __init__(self) -> None:
        self.send: OnProgress | None = None
        self.pruned: Callable[[str], str] = lambda uid: ""  # why a trial ends between two iterations
        self._next = 0.0

    def progress(self, uid: str, i: int | dict[str, Plain], total: int | None) -> None:
        """Report progress. Reports in quick succession are dropped, except the last one."""
        if self.send is None:
            return
        if isinstance(i, dict):
            self.send(uid, i, total)  # rows are rarely that frequent
            return
        now = time.monotonic()
        if now >= self._next or i == total:
            self._next = now + REPORT_INTERVAL
            self.send(uid, i, total)


reports = Reports()  # those of this worker


Work: TypeAlias = Callable[[TrialSpec], Outcome]
Reach: TypeAlias = Literal["process", "host", "anywhere"]


class PortableWork:
    """Work that another process can run. Subclasses define how it moves to another host."""

    def __call__(self, spec: TrialSpec) -> Outcome:
        """Run one attempt of a trial."""
        raise NotImplementedError

    def begin(self) -> None:
        """Prepare a worker process before its first trial."""

    def moved(self, project: str) -> PortableWork:
        """Return the same work for another directory of the project."""
        raise NotImplementedError


class Engine:
    """A place where trials run. Subclasses define `submit`, and override the other methods where they apply.

    Attributes:
        name: Its name in execution.json.
        given: The text that it was made from, such as `processes:4`; None for others.
        given_options: The options of the mapping that it was made from; None for others.
        unstored: The options that are not stored, because commands and variables in them may have secrets.
        paths: The options that are paths, which are relative to the project.
        slots: The number of trials that may be submitted at a time.
        reach: Where the workers are: in this process, on this host, or anywhere. Work for workers outside of this
            process can be pickled.
        on_progress: Set by the execution. Receives progress: `on_progress(uid, i, total)`, where `i` is the last row
            after one was saved. None if nothing listens.
        on_notice: Set by the execution. Receives messages for the user.
        counted: Set by the execution: those of the resources that a trial requests which the execution counts itself,
            so an engine that assigns resources ignores them.
        ships: Whether the engine transfers the project to workers on other hosts, which connect to this process
            at `address_for_workers`.
        runs_on_submit: Whether `submit` runs the trial in the calling thread.
        queues: Whether trials wait for a worker after `submit`, so that `began` returns their start.
        is_dry: Whether the engine runs nothing.
        tells_progress: Whether the engine calls `on_progress`.
    """

    name: str = ""
    given: str | None = None
    given_options: Mapping[str, Any] | None = None
    unstored: frozenset[str] = frozenset()
    paths: frozenset[str] = frozenset()
    slots: int = 1
    reach: Reach = "process"
    on_progress: OnProgress | None = None
    on_notice: Callable[[str], None] | None = None
    counted: frozenset[str] = frozenset()
    ships: bool = False
    runs_on_submit: bool = False
    queues: bool = False
    is_dry: bool = False
    tells_progress: bool = False

    @property
    def prefetch(self) -> int:
        """The number of trials beyond `slots` that may be submitted now, so that workers do not wait."""
        return 0

    @property
    def may_grow(self) -> bool:
        """Whether hosts may join while trials wait: then resources that no host has are no error."""
        return False

    @property
    def can_end(self) -> bool:
        """Whether `end` ends a trial; without it, trials have no time limit."""
        return type(self).end is not Engine.end

    @property
    def can_interrupt(self) -> bool:
        """Whether `interrupt` interrupts trials."""
        return type(self).interrupt is not Engine.interrupt

    def submit(self, work: Work, spec: TrialSpec) -> Future[Outcome]:
        """Start a trial. The future has the outcome, or the reason why there is none.

        A worker process calls `begin` of a `PortableWork` once before its first trial, and then checks that its parent
        is still running, so that no trial starts after the execution was killed.

        Args:
            work: The function that runs the trial.
            spec: The trial.

        Returns:
            The future of its outcome.

        Raises:
            KeyboardInterrupt: The user or the component interrupts the execution; later, the future raises it.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define submit(work, spec)")

    def expect(self, trials: Sequence[TrialSpec]) -> None:
        """Take note of trials that will be submitted when there are more slots, so that hosts can be requested.

        Args:
            trials: The next ones; none if all are submitted.
        """

    def began(self, future: Future[Outcome]) -> float | None:
        """Return when a trial of an engine that `queues` began, by `time.monotonic`; None while it waits."""
        return None

    def interrupt(self) -> None:
        """Raise `KeyboardInterrupt` in all running trials, without waiting for them."""

    @property
    def can_prune(self) -> bool:
        """Whether trials can be ended between two iterations: in this process, or by `prune`."""
        return self.reach == "process" or type(self).prune is not Engine.prune

    def prune(self, future: Future[Outcome], because: str) -> None:
        """Let a trial that may be running end after its current iteration, without waiting for it.

        Args:
            future: The trial.
            because: The reason, which is in its outcome.
        """

    def end(self, future: Future[Outcome]) -> None:
        """End a trial. Afterwards it no longer runs, and its future is done."""

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

    def address_for_workers(self) -> str:
        """Return the address of this host to which workers connect when they do not reach the storage."""
        return "127.0.0.1"

    def ship(self, project: str, code: bytes) -> None:
        """Take the archive of a project, which workers import instead of the project's directory."""

    def close(self) -> None:
        """Release the workers."""


class WorkerError(RuntimeError):
    """The work raised an exception in a worker; the message has its type, message and traceback."""


class WorkerLost(RuntimeError):
    """A worker ended while it ran a trial; the message says how.

    Attributes:
        code: The return code of its process, negative for a signal; None if unknown.
        again: How often such a trial is retried, in addition to `retries`, without a new checkpoint.
        output: The end of what the trial has printed, if its storage is remote and may not have it yet.
        offset: The number of bytes that were printed before.
    """

    def __init__(self, message: str = "", code: int | None = None, again: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.again = again
        self.output = b""
        self.offset = 0
