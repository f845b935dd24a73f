"""What an engine is: a place where trials run. Order, retries, reuse and progress are the scheduler's business."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, runtime_checkable

from machinable.plan.spec import Outcome, TrialSpec

if TYPE_CHECKING:
    from concurrent.futures import Future  # loads `logging`, and workers need neither

__all__ = ["Engine", "Reach", "Work", "WorkerError", "WorkerLost"]

Work: TypeAlias = Callable[[TrialSpec], Outcome]
Reach: TypeAlias = Literal["process", "host", "anywhere"]


@runtime_checkable
class Engine(Protocol):
    """A place where trials run.

    Engines with workers may also have `interrupt()`, which raises `KeyboardInterrupt` in all trials that run and does
    not wait for them, `end(future)`, after which that trial does not run any more and its future is done, and an
    attribute `on_progress`, which is set to what is to be told how far trials are: `on_progress(uid, i, total)`.

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


class WorkerError(RuntimeError):
    """The work raised an exception in a worker; the message has its type, message and traceback."""


class WorkerLost(RuntimeError):
    """A worker ended while it ran a trial; the message says how."""
