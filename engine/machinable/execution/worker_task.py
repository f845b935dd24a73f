"""Run one trial for an engine: in this process, or in a worker that opens the storage and imports the code itself."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from machinable.component.imports import Code, importing, load_component
from machinable.component.project_modules import begin_project, imported_files
from machinable.engines.base import OnProgress, PortableWork, reports
from machinable.engines.interruption import interruption
from machinable.engines.processes.isolation import SavedProcessState
from machinable.engines.processes.output import output_to
from machinable.engines.processes.threads import ThreadLimit
from machinable.errors import MachinableError
from machinable.execution.portable_code import PortableCode
from machinable.plan.spec import Outcome, Target, TrialSpec
from machinable.storage import layout
from machinable.storage.cleanup import mark_worker
from machinable.storage.fallback import FallbackFiles
from machinable.storage.files import Files, Reach
from machinable.storage.hashing import digest
from machinable.storage.local import DirectoryFiles
from machinable.storage.open import open_files
from machinable.trial.capture import shipped
from machinable.trial.runner import run
from machinable.trial.status import StatusFiles

if TYPE_CHECKING:
    from machinable.storage.served.client import ServedFiles
    from machinable.storage.served.messages import Access

__all__ = [
    "InProcessTask",
    "WorkerTask",
    "environment_for_workers",
    "folders_needed",
]


class InProcessTask:
    """Run trials in this process, with the open storage and loaded code; see `machinable.trial.runner.run`."""

    def __init__(
        self,
        files: Files,
        folder: str,
        project: str,
        live: Mapping[Target, Any] = MappingProxyType({}),
        function: Callable[..., Any] | None = None,
        on_progress: OnProgress | None = None,
        locks: tuple[str | None, float] | None = None,
        capture: Literal["tee", "keep"] | None = "tee",
    ) -> None:
        self.files = files
        self.folder = folder
        self.pruned: Callable[[str], str] = lambda uid: ""  # returns why a running trial is pruned
        self._project = project
        self._on_progress = on_progress
        self._threads = ThreadLimit()
        self._run = partial(
            run,
            files=files,
            folder=folder,
            project=project,
            live=live,
            code=function,
            capture=capture,
            locks=locks,
            in_executing_process=True,
        )

    def __call__(self, spec: TrialSpec) -> Outcome:
        """Run one attempt of a trial."""
        imported_files(self._project)  # by others
        self._threads.hold(spec.definition.threads)
        progress = partial(self._on_progress, spec.uid) if self._on_progress is not None else None
        outcome = self._run(spec, progress=progress, pruned=partial(self.pruned, spec.uid))
        return _stored(self.files, self._project, outcome)

    def close(self) -> None:
        """Restore the number of threads of this process."""
        self._threads.close()


class _Connection(NamedTuple):
    """How a worker writes.

    Attributes:
        served: The storage as the executing process serves it, which also tells whether the trial is still wanted.
        is_reached: Whether the worker opens the storage itself.
    """

    served: ServedFiles | None
    is_reached: bool


class WorkerTask(Struct, PortableWork, frozen=True):
    """Run trials in a worker, which receives this as plain data."""

    url: str  # of the storage
    folder: str  # the folder of the execution
    project: str
    code: PortableCode = PortableCode()
    locks: tuple[str | None, float] | None = None  # see `machinable.trial.runner.run`
    reach: Reach = "host"  # from where the storage can be opened
    mark: str = ""  # the digest of execution.json, which identifies the storage
    access: Access | None = None  # to the server of the executing process, for workers that do not reach the storage
    environment: Mapping[str, str] = {}  # variables of the executing process
    original: str | None = None  # the project's directory where the plan was made, if this one is a copy
    root: tuple[int, int] | None = None  # of a directory: its device and inode on this host, see `DirectoryFiles`
    fallback: str = ""  # the name of the local directory that takes files while the storage is unavailable; "" for none
    # The source files of the project that were read when the execution began, by their paths in it
    sources: Mapping[str, bytes] = {}

    def __repr__(self) -> str:  # without the lock server's URL, which may have a password
        return f"<WorkerTask {self.folder}>"

    def begin(self) -> None:
        """Let modules be imported as they were when the execution began, and leave a marker of this worker.

        The marker is for a process that resumes the execution after it was killed.
        """
        begin_project(self.project, self.sources)
        if self.environment:
            os.environ.update(self.environment)
            if SavedProcessState.current is not None:
                SavedProcessState.current.keep()
        with suppress(OSError, MachinableError):  # the first trial raises it again
            if self._connection().is_reached:
                atexit.register(mark_worker(self._files(), self.folder))

    def _files(self) -> Files:
        files = _opened(self.url)
        if self.root is not None and isinstance(files, DirectoryFiles):
            files.root = self.root
        return files

    def _connection(self) -> _Connection:
        """Return how this process writes; found once, because opening the storage takes a request or two."""
        access = self.access
        if access is None:
            return _Connection(None, True)
        if access not in _connections:
            from machinable.engines.processes.worker import exit_at_once
            from machinable.storage.served.client import ServedFiles

            for former in _connections.values():
                if former.served is not None:
                    former.served.close()
            _connections.clear()
            is_reached = self._is_reached()
            served = None
            if not is_reached or self.reach == "anywhere":
                # Directories end with their network. A worker that still reaches an object store, but not the executing
                # process, ends, because its trial may be run elsewhere by now.
                served = ServedFiles(access, exit_at_once)
            _connections[access] = _Connection(served, is_reached)
        return _connections[access]

    def _is_reached(self) -> bool:
        """Return whether this process can open the storage, and not another one at the same path on another host."""
        if self.reach != "process":
            with suppress(Exception):
                files = _opened(self.url, create=False)
                if self.reach == "anywhere":  # opening it sends a request
                    return True
                return digest(files.read(layout.join(self.folder, layout.EXECUTION))) == self.mark
        return False

    def moved(self, project: str) -> WorkerTask:
        """Return the same work for another directory of the project."""
        return replace(self, project=project, original=None if project == self.project else self.project)

    def __call__(self, spec: TrialSpec) -> Outcome:
        """Run one attempt of a trial."""
        imported_files(self.project)  # by others
        if self.original is not None:
            shipped[:] = [(self.project, self.original)]
        if self.code.function is not None:
            spec = replace(spec, definition=replace(spec.definition, target=self.code.function))
        try:
            files, attempt = self._storage(spec)
        except Exception as error:
            if not spec.may_move:
                raise
            return _not_begun(spec, error)
        with attempt, interruption.held():
            outcome = self._run(spec, files)
            interruption.drop()  # a late one has nothing to interrupt
            return outcome

    def _run(self, spec: TrialSpec, files: Files) -> Outcome:
        path, output = (layout.join(self.folder, one(spec.uid)) for one in (layout.trial, layout.output))
        status = StatusFiles(spec, files, path)
        status.open()  # before its output is written
        try:
            with output_to(files, output):
                code, live, problem = self._imported(spec)
                if problem is None or not spec.may_move:  # `run` raises it again, and records it
                    outcome = run(
                        spec,
                        files,
                        self.folder,
                        project=self.project,
                        capture=None,
                        code=code,
                        live=live,
                        progress=partial(reports.progress, spec.uid),
                        pruned=partial(reports.pruned, spec.uid),
                        locks=self.locks,
                        status=status,
                    )
                    return _stored(files, self.project, outcome)
            for written in (output, layout.join(path, layout.STATUS)):
                with suppress(FileNotFoundError):  # nothing was printed; on an object store, no status is written yet
                    files.remove(written)
            return _not_begun(spec, problem)
        finally:
            status.abandon()  # it has ended, or not begun

    def _storage(self, spec: TrialSpec) -> tuple[Files, AbstractContextManager[None]]:
        """Return the storage, and a context in which it accepts the files of an attempt."""
        served, is_reached = self._connection()
        attempt = nullcontext() if served is None else served.attempt(spec.uid, spec.attempt)
        if served is not None and not is_reached:
            served.connect()
            return served, attempt
        files = self._files()
        return FallbackFiles(files, self.fallback) if self.fallback else files, attempt

    def _imported(self, spec: TrialSpec) -> tuple[Code | None, Mapping[Target, Code], BaseException | None]:
        """Import the code of a trial, and keep the effects on the process, which are not undone after the trial.

        Returns:
            The code, what was sent by value, and why it cannot be imported.
        """
        code: Any = None
        live: Mapping[Target, Code] = {}
        problem: BaseException | None = None
        before = len(sys.modules)
        try:
            interruption.release()
            with importing(self.project):
                live = self.code.load()
                code = live.get(spec.definition.target) or load_component(spec.definition.target, self.project)
                for child in spec.children if self.code.function is None else ():
                    live.get(child.target) or load_component(child.target, self.project)
            for _ in range(self.code.wrappers):
                code = code.__wrapped__
        except (Exception, SystemExit) as error:
            problem = error
        finally:
            interruption.hold()
        if len(sys.modules) != before and SavedProcessState.current is not None:
            SavedProcessState.current.keep()
        return code, live, problem


def _not_begun(spec: TrialSpec, error: BaseException) -> Outcome:
    """Return the outcome of a trial that this host cannot start, and another one may."""
    facts = {"type": type(error).__name__, "message": str(error), "traceback": ""}
    return Outcome(spec.uid, "pending", spec.attempt, 0.0, error=facts)


def folders_needed(spec: TrialSpec) -> list[str]:
    """Return the folders that a trial reads in addition to its own."""
    paths = [] if spec.resume_from is None else [spec.resume_from]
    places = [needed.place for needed in spec.requires.values() if needed.place is not None]
    paths += [layout.folder_of(place) for place in (*places, *spec.indirect.values())]
    return list(dict.fromkeys(paths))


def _stored(files: Files, project: str, outcome: Outcome) -> Outcome:
    """Return the outcome with what was imported, an interrupted one if its files are not in the storage."""
    imported = imported_files(project)
    if imported:
        outcome = replace(outcome, imported=imported)
    if files.flush_fallback():
        return outcome
    error = files.outage()
    facts = {"type": type(error).__name__, "message": str(error), "traceback": str(error)}
    return replace(outcome, state="interrupted", error=facts)


def environment_for_workers(reach: Reach) -> dict[str, str]:
    """Return the variables that workers on other hosts get: the settings, and the credentials of a remote storage."""
    prefixes = ("MACHINABLE_", "AWS_") if reach == "anywhere" else ("MACHINABLE_",)
    return {name: value for name, value in os.environ.items() if name.startswith(prefixes)}


_open: dict[str, Files] = {}
_connections: dict[Access, _Connection] = {}  # the last one


def _opened(url: str, create: bool | None = None) -> Files:
    """Open a storage once per worker.

    A directory has existed since the execution began. It is not checked for write access, because the fallback takes
    writes while the directory is unwritable.
    """
    if create is None:
        create = "://" in url
    if url not in _open:
        files = _open[url] = open_files(url, create=create)
        atexit.register(files.close)
    return _open[url]
