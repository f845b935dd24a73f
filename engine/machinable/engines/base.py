"""What an engine is: a place where trials run. Order, retries, reuse and progress are the scheduler's business.

What a trial in a worker tells about itself before it has ended.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, runtime_checkable

from machinable.plan.spec import Outcome, TrialSpec
from machinable.serialization import Plain

if TYPE_CHECKING:
    from concurrent.futures import Future  # loads `logging`, and workers need none of these

__all__ = [
    "Engine",
    "Movable",
    "OnProgress",
    "Reach",
    "Remote",
    "Reports",
    "StorageTransfer",
    "Work",
    "WorkerError",
    "WorkerLost",
    "reports",
]

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


Work: TypeAlias = Callable[[TrialSpec], Outcome]
Reach: TypeAlias = Literal["process", "host", "anywhere"]


@runtime_checkable
class Engine(Protocol):
    """A place where trials run.

    Engines with workers may also have `interrupt()`, which raises `KeyboardInterrupt` in all trials that run and does
    not wait for them, `end(future)`, after which that trial does not run any more and its future is done, and an
    attribute `on_progress`, which is set to what is to be told how far trials are: `on_progress(uid, i, total)` (in
    place of `i` the last row, when one was saved), `on_notice`, which is set to what is told what people should know
    at once, as a text, and `ahead`, the number of trials beyond `slots` that it is worth to have submitted at the
    moment, so that a worker need not wait for its next one. Engines with workers on other hosts are also `Remote`.

    A worker process calls `begin()` of the work once before its first trial, if the work has it, and then sees that
    who sent it is still there: so nobody goes on with a killed execution while a worker that it left still writes.

    Attributes:
        name: as it stands in execution.json.
        slots: how many trials may be submitted and not ended.
        reach: where its workers are: in this process, on this host, or anywhere. What is submitted to workers outside
            of this process can be pickled.
    """

    name: str
    slots: int
    reach: Reach

    def submit(self, work: Work, spec: TrialSpec) -> Future[Outcome]:
        """Start a trial. The future has the outcome, or the reason why there is none.

        Raises:
            KeyboardInterrupt: the user, or the component, wants everything to end. Where the trial has not ended when
                this returns, the future has it.
        """

    def close(self) -> None:
        """Let go of workers. Nothing is submitted afterwards."""


@runtime_checkable
class Movable(Protocol):
    """Work that can be done on another host than it was made on."""

    def is_reached(self) -> bool:
        """Whether the storage that it writes into is reached from this process."""

    def moved(self, project: str, url: str | None) -> Work:
        """The same work where the project lies in another directory, and in another storage if one is given."""

    def home(self, spec: TrialSpec) -> str:
        """The folder that a trial writes, in the storage."""

    def needs(self, spec: TrialSpec) -> Sequence[str]:
        """The folders that it reads besides."""


class StorageTransfer(Protocol):
    """The storage of an execution, for workers that do not reach it. Folders travel as archives."""

    def fetch(self, path: str) -> bytes:
        """A folder with all that is in it."""

    def store(self, archive: bytes) -> None:
        """Put a folder back to its place."""


@runtime_checkable
class Remote(Protocol):
    """An engine whose workers may be on other hosts, and which looks after resources by itself.

    Attributes:
        depot: is set to the storage of the execution before a trial is submitted.
    """

    depot: StorageTransfer | None

    def places(self, declared: Mapping[str, float]) -> Sequence[Mapping[str, float]]:
        """The resources of each host.

        Args:
            declared: `execution: {resources: …}`, which hold if the engine starts hosts of its own.

        Raises:
            Refused: there are no hosts, with the reason.
        """

    def ship(self, project: str, code: bytes) -> None:
        """Take an archive of the project at that path, which workers import from in its place."""


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
