"""The actor on another host: it has one worker process there, which runs its trials one after the other."""

from __future__ import annotations

import os
import pickle
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Any, Literal, NamedTuple, TypeAlias

from machinable.engines.base import PortableWork, WorkerLost
from machinable.engines.processes.pool import Origin, ProcessesEngine, Scratch
from machinable.engines.transfer import pack_folder, unpack_folder

__all__ = ["LARGE", "OtherVersion", "Reply", "Setup", "TrialActor", "TrialRequest"]

LONG = 0.1  # seconds after which trials that wait behind the running one are handed back
LARGE = 2**20  # bytes from which on something travels on its own

Kind: TypeAlias = Literal["outcome", "error", "interrupted", "lost", "progress", "returned"]


class Setup(NamedTuple):
    """How the executing process imports and finds its files, where that works on other hosts.

    Attributes:
        project: The absolute path of the project.
        directory: The absolute path of the working directory.
        host: What `host_of` returns for the working directory.
        path: See `Origin`.
        arguments: See `Origin`.
        flags: See `Origin`.
        is_heard: Whether anything receives progress.
        version: The version of machinable.
    """

    project: str
    directory: str
    host: tuple[Any, ...]
    path: Sequence[str]
    arguments: Sequence[str]
    flags: Sequence[str]
    is_heard: bool
    version: str

    @classmethod
    def here(cls, project: str, is_heard: bool) -> Setup:
        """Return those of this process."""
        origin, directory = Origin.here(), os.getcwd()
        arguments = list(origin.arguments)
        return cls(project, directory, host_of(directory), origin.path, arguments, origin.flags, is_heard, _version())


def _version() -> str:
    return str(sys.modules["machinable"].__version__)


def host_of(directory: str) -> tuple[Any, ...]:
    """Return what identifies a directory together with its host."""
    found = os.stat(directory)
    started = b""
    with suppress(OSError), open("/proc/sys/kernel/random/boot_id", "rb") as file:
        started = file.read()
    return (os.uname().nodename, started, found.st_dev, found.st_ino)


class TrialRequest(NamedTuple):
    """A trial for an actor.

    Attributes:
        number: Identifies it.
        spec: The specification, pickled.
        threads: With how many threads it computes.
        folder: The folder that it writes.
    """

    number: int
    spec: bytes
    threads: int
    folder: str


class Reply(NamedTuple):
    """What an actor reports about a trial.

    Attributes:
        kind: What has become of it; "returned" if it has not begun and another actor may run it.
        number: That of the request.
        outcome: For `read_outcome`, or a reference to it if it is large.
        archive: The folder that it wrote, if this host does not reach the storage.
        text: What went wrong.
        code: The return code of a worker that was lost.
        progress: For `on_progress`.
    """

    kind: Kind
    number: int = -1
    outcome: Any = None
    archive: Any = None
    text: str = ""
    code: int | None = None
    progress: tuple[str, Any, int | None] | None = None


class OtherVersion(RuntimeError):
    """Another version of machinable is installed on the host of an actor."""


class TrialActor:
    """Run trials in a worker process. Several threads call the methods at the same time.

    Args:
        setup: of the process that executes. code: an archive of its project, or None.

    Raises:
        OtherVersion: the two would not understand each other.
    """

    def __init__(self, setup: Setup, code: bytes | None) -> None:
        if setup.version != _version():
            raise OtherVersion(
                f"machinable {_version()} is installed there, and {setup.version} here: every host of the cluster "
                "needs the same version of it"
            )
        self._setup = setup
        self._scratch = Scratch()
        self._root = self._scratch.path
        self._project = setup.project
        if code is not None:
            from machinable.storage.archive import unpack

            self._project = os.path.join(self._root, "code")
            unpack(code, self._project)
        try:
            is_same = host_of(setup.directory) == setup.host
        except OSError:
            is_same = False
        os.chdir(setup.directory if is_same else self._project if code is not None else self._root)
        self._work = b""
        self._staging: Any = None  # where trials write, if that is not the storage
        self._engine = ProcessesEngine(1)
        # A worker that outlives its actor would write beside the one that gets the trial next.
        self._engine.origin = Origin(self._path(), setup.arguments, setup.flags, grace=0.0)
        if setup.is_heard:
            self._engine.on_progress = self._progress
        self._changed = threading.Condition()
        self._replies: deque[Reply] = deque()
        self._progress_replies: dict[tuple[str, bool], Reply] = {}  # the last progress of each trial, and its last row
        self._wanted = 1
        self._folders = 0  # that have come
        self._running: dict[int, Future[bytes]] = {}
        self._since = 0.0  # when the trial that runs began, by `time.monotonic`

    def look(self, work_id: int, work: bytes) -> bool:
        """Take the work of the trials that follow; return whether this host reaches the storage."""
        made = pickle.loads(work)  # noqa: S301  # made by the process that executes
        is_reached = True
        self._staging = None
        if isinstance(made, PortableWork):
            is_reached = made.is_reached()
            if not is_reached:
                from machinable.storage.local import DirectoryFiles

                directory = os.path.join(self._root, f"staging-{work_id}")
                os.makedirs(directory, exist_ok=True)
                self._staging = DirectoryFiles(directory)
            made = made.moved(self._project, None if is_reached else self._staging.url)
        self._work = pickle.dumps(made)
        return is_reached

    def exchange(
        self, requests: Sequence[TrialRequest], number: int, window: float, folders: int = 0, *bundle: bytes
    ) -> list[Reply]:
        """Start trials, and collect replies about all trials.

        Args:
            requests: The trials.
            number: How many replies are wanted; 0 returns at once without any.
            window: Seconds to wait for further replies after the first one.
            folders: How many folders have been sent so far, with these. Calls run at the same time, and a later trial
                may read what an earlier call brings.
            bundle: Archives of the folders that the trials read.

        Returns:
            The replies since the last call.
        """
        for archive in bundle:
            unpack_folder(self._staging, archive)
        with self._changed:
            self._folders += len(bundle)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._folders >= folders)
            if not self._running:
                self._since = time.monotonic()
        for request in requests:
            future = self._engine.pass_on(self._work, request.spec, request.threads)
            self._running[request.number] = future
            future.add_done_callback(partial(self._ended, request))
        with self._changed:
            self._changed.notify_all()  # the thread that collects replies may have to hand some back
        return self._collected(number, window) if number else []

    def _collected(self, number: int, window: float) -> list[Reply]:
        with self._changed:
            self._wanted = 1
            while not (self._replies or self._progress_replies):
                self._changed.wait(self._seconds_to_hand_back())
                self._hand_back()
            self._hand_back()
            if not self._progress_replies and len(self._replies) < number:
                self._wanted = number
                self._changed.wait_for(lambda: len(self._replies) >= number, window)
            replies = [*self._progress_replies.values(), *self._replies]
            self._progress_replies.clear()
            self._replies.clear()
        return replies

    def _seconds_to_hand_back(self) -> float | None:
        return max(0.0, self._since + LONG - time.monotonic()) if len(self._running) > 1 else None

    def _hand_back(self) -> None:
        """Return the trials that wait behind one that takes long, so that other actors can run them."""
        if self._seconds_to_hand_back() == 0.0:
            futures = set(self._engine.withdraw())
            for number in [number for number, future in list(self._running.items()) if future in futures]:
                del self._running[number]
                self._replies.append(Reply("returned", number))

    def interrupt(self) -> None:
        """Raise `KeyboardInterrupt` in the trial that runs; the others do not begin."""
        self._engine.interrupt()

    def end(self, number: int) -> None:
        """End a trial by ending its worker process."""
        future = self._running.get(number)
        if future is not None:
            self._engine.end(future)

    def close(self) -> None:
        """End the worker process, and remove all files."""
        self._engine.close()
        os.chdir("/")
        self._scratch.close()

    def keep(self, data: bytes) -> Any:
        """Return a reference to something large, to be fetched separately."""
        return data

    def _path(self) -> list[str]:
        """Return where to import from: as in the executing process, but with the shipped code of the project."""
        found = []
        for entry in [*self._setup.path, *filter(None, sys.path)]:  # Ray has put the project into this one, too
            inside = os.path.relpath(entry, self._setup.project)
            here = os.path.normpath(os.path.join(self._project, inside))
            if not inside.startswith(os.pardir) and os.path.exists(here):
                entry = here
            if os.path.exists(entry) and entry not in found:
                found.append(entry)
        return found

    def _ended(self, request: TrialRequest, future: Future[bytes]) -> None:
        """Reply that a trial has ended; called by a thread of the engine."""
        number = request.number
        self._running.pop(number, None)
        self._since = time.monotonic()
        problem = future.exception()
        try:
            archive = None if self._staging is None else self._packed(request.folder)
            if problem is None:
                reply = Reply("outcome", number, self._large(future.result()), archive)
            elif isinstance(problem, KeyboardInterrupt):
                reply = Reply("interrupted", number, archive=archive, text=str(problem))
            elif isinstance(problem, WorkerLost):
                reply = Reply("lost", number, archive=archive, text=str(problem), code=problem.code)
            else:
                reply = Reply("error", number, archive=archive, text=str(problem))
        except BaseException as error:
            reply = Reply(
                "error", number, text=f"what the trial left could not be sent: {type(error).__name__}: {error}"
            )
        self._say(reply)

    def _packed(self, path: str) -> Any:
        archive = pack_folder(self._staging, path)
        if self._staging.is_directory(path):
            self._staging.remove(path)
        return self._large(archive)

    def _large(self, data: bytes) -> Any:
        return self.keep(data) if len(data) > LARGE else data

    def _say(self, reply: Reply) -> None:
        with self._changed:
            self._replies.append(reply)
            if len(self._replies) >= self._wanted:
                self._changed.notify_all()

    def _progress(self, uid: str, i: Any, total: int | None) -> None:
        with self._changed:
            self._progress_replies[uid, isinstance(i, dict)] = Reply("progress", progress=(uid, i, total))
            self._changed.notify_all()
