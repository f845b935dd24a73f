"""The actor on another host, with one worker process that runs its trials one after the other."""

from __future__ import annotations

import os
import pickle
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple, TypeAlias

from machinable.engines.base import PortableWork
from machinable.engines.processes.pool import Origin, ProcessesEngine
from machinable.storage.archive import unpack
from machinable.storage.temporary import Scratch

__all__ = ["Reply", "Report", "Setup", "TrialActor", "TrialRequest", "version_here"]

LONG = 0.1  # seconds after which trials that wait behind the running one are handed back

Report: TypeAlias = tuple[str, Any, "int | None"]  # for `on_progress`


class Setup(NamedTuple):
    """The settings by which the executing process imports and finds files, for use on other hosts.

    Attributes:
        project: The absolute path of the project.
        directory: The absolute path of the working directory.
        host: The result of `host_of` for the working directory.
        origin: The settings that worker processes take over.
        is_heard: Whether anything receives progress.
    """

    project: str
    directory: str
    host: tuple[Any, ...]
    origin: Origin
    is_heard: bool

    @classmethod
    def here(cls, project: str, is_heard: bool) -> Setup:
        """Return the setup of this process."""
        directory = os.getcwd()
        # A worker that outlives its actor would write beside the one that gets the trial next.
        origin = Origin.here()._replace(grace=0.0)
        return cls(project, directory, host_of(directory), origin, is_heard)


def version_here() -> str:
    """Return the version of machinable."""
    return str(sys.modules["machinable"].__version__)


def host_of(directory: str) -> tuple[Any, ...]:
    """Return an identifier of a directory and its host."""
    found = os.stat(directory)
    started = b""
    with suppress(OSError), open("/proc/sys/kernel/random/boot_id", "rb") as file:
        started = file.read()
    return (os.uname().nodename, started, found.st_dev, found.st_ino)


class TrialRequest(NamedTuple):
    """A trial for an actor.

    Attributes:
        number: Identifies the trial.
        spec: The specification, pickled.
        threads: Its number of threads.
    """

    number: int
    spec: bytes
    threads: int


class Reply(NamedTuple):
    """The result of a request.

    Attributes:
        number: That of the request.
        result: For `read_outcome`, or an exception; None if the trial has not begun and another actor may run it.
    """

    number: int
    result: bytes | BaseException | None


class TrialActor:
    """Run trials in a worker process; other methods than `prepare` may be called while `exchange` waits.

    Args:
        setup: That of the executing process.
        code: An archive of its project, or None.
    """

    def __init__(self, setup: Setup, code: bytes | None) -> None:
        self._scratch = Scratch()
        self._project = setup.project
        if code is not None:
            self._project = os.path.join(self._scratch.path, "code")
            unpack(code, self._project)
        is_same = False
        with suppress(OSError):
            is_same = host_of(setup.directory) == setup.host
        os.chdir(setup.directory if is_same else self._scratch.path if code is None else self._project)
        self._work = b""
        self._engine = ProcessesEngine(1)
        self._engine.origin = setup.origin._replace(path=self._path(setup))
        if setup.is_heard:
            self._engine.on_progress = self._progress
        self._changed = threading.Condition()
        self._replies: list[Reply] = []
        # The last progress of each trial, its last row, and its values at iterations, by which it may be pruned
        self._reports: dict[tuple[str, bool, int | None], Report] = {}
        self._running: dict[int, Future[bytes]] = {}
        self._since = 0.0  # when the running trial began, by `time.monotonic`
        self._is_leaving = False

    def _path(self, setup: Setup) -> list[str]:
        """Return the import path: that of the executing process, but with the shipped code of the project."""
        found = []
        for entry in [*setup.origin.path, *filter(None, sys.path)]:  # Ray has added the project to this one
            inside = os.path.relpath(entry, setup.project)
            here = os.path.normpath(os.path.join(self._project, inside))
            if not inside.startswith(os.pardir) and os.path.exists(here):
                entry = here
            if os.path.exists(entry) and entry not in found:
                found.append(entry)
        return found

    def prepare(self, work: bytes) -> None:
        """Take the work of the following trials."""
        made = pickle.loads(work)  # noqa: S301  # made by the executing process
        self._work = pickle.dumps(made.moved(self._project)) if isinstance(made, PortableWork) else work

    def exchange(self, requests: Sequence[TrialRequest], number: int) -> tuple[list[Report], list[Reply]]:
        """Start trials, and wait for replies about all trials.

        Args:
            requests: The trials.
            number: The number of replies to wait for; progress of a trial also ends the wait.

        Returns:
            Progress and replies since the last call.
        """
        with self._changed:
            if not self._running:
                self._since = time.monotonic()
            for request in requests:
                if self._is_leaving:
                    self._replies.append(Reply(request.number, None))
                    continue
                future = self._engine.pass_on(self._work, request.spec, request.threads)
                self._running[request.number] = future
                future.add_done_callback(partial(self._ended, request))
            while not self._reports and len(self._replies) < number:
                remaining = self._since + LONG - time.monotonic() if len(self._running) > 1 else None
                if remaining is not None and remaining <= 0:
                    self._hand_back()
                else:
                    self._changed.wait(remaining)
            reports, replies = list(self._reports.values()), self._replies
            self._reports, self._replies = {}, []
        return reports, replies

    def _hand_back(self) -> None:
        """Return the trials that wait behind a long one, so that other actors can run them."""
        waiting = self._engine.withdraw()
        for number in [number for number, future in self._running.items() if future in waiting]:
            del self._running[number]
            self._replies.append(Reply(number, None))

    def interrupt(self) -> None:
        """Raise `KeyboardInterrupt` in the running trial; the others do not begin."""
        self._engine.interrupt()

    def prune(self, number: int, because: str) -> None:
        """Let a trial end after its current iteration."""
        future = self._future(number)
        if future is not None:
            self._engine.prune(future, because)

    def leave(self) -> None:
        """Interrupt the running trial, and begin no other one from now on."""
        with self._changed:
            self._is_leaving = True
        self._engine.interrupt()

    def settle(self) -> None:
        """Wait until no trial runs."""
        with self._changed:
            self._changed.wait_for(lambda: not self._running)

    def end(self, number: int) -> None:
        """End a trial by ending its worker process."""
        future = self._future(number)
        if future is not None:
            self._engine.end(future)

    def _future(self, number: int) -> Future[bytes] | None:
        with self._changed:  # a trial may have begun, and not be among the running ones yet
            return self._running.get(number)

    def close(self) -> None:
        """End the worker process, and remove all files."""
        self._engine.close()
        os.chdir("/")
        self._scratch.close()

    def _ended(self, request: TrialRequest, future: Future[bytes]) -> None:
        """Reply that a trial has ended; called by a thread of the engine."""
        with self._changed:
            self._running.pop(request.number)
            self._since = time.monotonic()
            self._replies.append(Reply(request.number, future.exception() or future.result()))
            self._changed.notify_all()

    def _progress(self, uid: str, i: Any, total: int | None) -> None:
        with self._changed:
            is_row = isinstance(i, dict)
            self._reports[uid, is_row, total if is_row else None] = uid, i, total
            self._changed.notify_all()
