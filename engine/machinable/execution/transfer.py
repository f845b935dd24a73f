"""Move the files of trials between the storage and workers that do not reach it."""

from __future__ import annotations

from concurrent.futures import Future, wait
from functools import partial

from machinable.engines.base import Engine, Work
from machinable.engines.processes.pool import Scratch
from machinable.engines.transfer import pack_folder, unpack_folder
from machinable.execution.worker_task import folders_needed, paths_required
from machinable.plan.spec import Outcome, Requirement, TrialSpec
from machinable.serialization import loads
from machinable.storage import layout
from machinable.storage.files import Files
from machinable.storage.local import DirectoryFiles

__all__ = ["Staging", "StorageTransfer", "folders_behind"]


class Staging(Engine):
    """An engine that wraps another one, whose workers write into a temporary directory of this host.

    The directory of each trial is moved from there into the storage before its future is done, also if its worker was
    lost.

    Args:
        engine: The engine that runs the trials.
        files: The storage.
        folder: The directory of the execution.

    Attributes:
        directory: The directory that workers use as the storage.
    """

    def __init__(self, engine: Engine, files: Files, folder: str) -> None:
        self.name = engine.name
        self.slots = engine.slots
        self.reach = engine.reach
        self.queues = engine.queues
        self._scratch = Scratch()
        self.directory = self._scratch.path
        self._engine = engine
        self._files = files
        self._folder = folder
        self._staged = DirectoryFiles(self.directory)
        self._inner: dict[Future[Outcome], Future[Outcome]] = {}
        self._fetched: set[str] = set()  # directories that trials read

    def submit(self, work: Work, spec: TrialSpec) -> Future[Outcome]:
        """Start a trial. Its directory is in the storage when the future is done."""
        outer: Future[Outcome] = Future()
        try:
            for path in folders_needed(spec):
                for folder in folders_behind(self._files, path):
                    if folder not in self._fetched:
                        unpack_folder(self._staged, pack_folder(self._files, folder))
                        self._fetched.add(folder)
        except Exception as error:
            outer.set_exception(error)
            return outer
        inner = self._engine.submit(work, spec)
        self._inner[outer] = inner
        inner.add_done_callback(partial(self._ended, spec, outer))
        return outer

    def began(self, future: Future[Outcome]) -> float | None:
        """Return when a trial began in the wrapped engine."""
        inner = self._inner.get(future)
        return None if inner is None else self._engine.began(inner)

    @property
    def can_end(self) -> bool:
        """Whether the wrapped engine ends trials."""
        return self._engine.can_end

    @property
    def can_interrupt(self) -> bool:
        """Whether the wrapped engine interrupts trials."""
        return self._engine.can_interrupt

    def interrupt(self) -> None:
        """Interrupt all running trials, if the engine can."""
        self._engine.interrupt()

    def end(self, future: Future[Outcome]) -> None:
        """End a trial, if the engine can."""
        inner = self._inner.get(future)
        if self.can_end and inner is not None:
            self._engine.end(inner)
            wait([future])

    def close(self) -> None:
        """Remove the directory. The wrapped engine stays open."""
        self._scratch.close()

    def _ended(self, spec: TrialSpec, outer: Future[Outcome], inner: Future[Outcome]) -> None:
        problem: BaseException | None = None
        try:
            problem = inner.exception()
            self._collect(layout.join(self._folder, layout.trial(spec.uid)))
        except BaseException as error:  # this runs in a thread of the engine: pass it to the one that waits
            problem = problem or error
        self._inner.pop(outer, None)
        if problem is None:
            outer.set_result(inner.result())
        else:
            outer.set_exception(problem)

    def _collect(self, path: str) -> None:
        if self._staged.is_directory(path):
            unpack_folder(self._files, pack_folder(self._staged, path))
            self._staged.remove(path)


class StorageTransfer:
    """The storage of an execution, for an engine whose workers do not reach it."""

    def __init__(self, files: Files) -> None:
        self._files = files

    def fetch(self, path: str) -> bytes:
        """Return what a trial needs that reads a directory or an artifact, as an archive."""
        return pack_folder(self._files, *folders_behind(self._files, path))

    def store(self, archive: bytes) -> None:
        """Write the directory in an archive to its place."""
        unpack_folder(self._files, archive)


def folders_behind(files: Files, path: str) -> list[str]:
    """Return the directories that a trial needs that reads a directory or an artifact.

    With the directory of a trial come those of its requirements, recursively: a required component may read them.
    """
    paths, folders = [path], []
    for one in paths:
        folder, is_artifact, _ = one.partition(f"/{layout.ARTIFACTS}/")
        folders.append(folder)
        if not is_artifact and layout.ATTEMPTS not in folder.split("/"):
            paths += [behind for behind in _required_by(files, folder) if behind not in paths]
    return list(dict.fromkeys(folders))


def _required_by(files: Files, folder: str) -> list[str]:
    try:
        facts = loads(files.read(layout.join(folder, layout.TRIAL)))
    except (FileNotFoundError, NotADirectoryError):
        return []  # reading it will raise
    return paths_required(Requirement(**needed) for needed in facts.get("requires", {}).values())
