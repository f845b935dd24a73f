"""The base class of engines with workers on other hosts, to which a `Dispatcher` sends trials."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from concurrent.futures import Future

from machinable.engines.base import Engine, Reach, Work
from machinable.engines.cluster.dispatcher import Dispatcher, TrialFuture
from machinable.plan.spec import Outcome, TrialSpec

__all__ = ["ClusterEngine"]


class ClusterEngine(Engine):
    """Run trials on other hosts. Subclasses define `_started`, `_needs` and the methods of `Cluster`."""

    reach: Reach = "anywhere"
    ships = True
    tells_progress = True
    queues = True
    _dispatcher: Dispatcher | None = None

    def _started(self) -> Dispatcher:
        """Return the dispatcher, which is started with the first call."""
        raise NotImplementedError

    def _needs(self, spec: TrialSpec) -> Hashable:
        """Return what a trial needs; trials with equal needs share workers."""
        raise NotImplementedError

    @property
    def prefetch(self) -> int:
        """The number of further trials that may wait for a worker: none while trials are long."""
        return 0 if self._dispatcher is None else self._dispatcher.prefetch

    def submit(self, work: Work, spec: TrialSpec) -> Future[Outcome]:
        """Start a trial, or queue it until there are resources for it."""
        try:
            return self._started().submit(work, spec, self._needs(spec))
        except Exception as error:
            future: Future[Outcome] = Future()
            future.set_exception(error)
            return future

    def expect(self, trials: Sequence[TrialSpec]) -> None:
        """Ask for hosts for trials that will be submitted when there are more slots."""
        self._started().expect([self._needs(spec) for spec in trials])

    def began(self, future: Future[Outcome]) -> float | None:
        """Return when a trial began, by `time.monotonic`; None while it waits for a worker."""
        return future.began if isinstance(future, TrialFuture) else None

    def interrupt(self) -> None:
        """Raise `KeyboardInterrupt` in all running trials; waiting ones do not begin."""
        if self._dispatcher is not None:
            self._dispatcher.interrupt()

    def prune(self, future: Future[Outcome], because: str) -> None:
        """Let a trial of this engine end after its current iteration."""
        if self._dispatcher is not None and isinstance(future, TrialFuture):
            self._dispatcher.prune(future, because)

    def end(self, future: Future[Outcome]) -> None:
        """End a trial of this engine by ending its worker. Afterwards the future is done."""
        if self._dispatcher is not None and isinstance(future, TrialFuture):
            self._dispatcher.end(future)

    def close(self) -> None:
        """Release all workers. A later `submit` starts new ones."""
        if self._dispatcher is not None:
            self._dispatcher.close()
            self._dispatcher = None
