"""The work on one trial, as an engine is given it: here, or in a worker that finds storage and code by itself."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal, NamedTuple

from msgspec import structs

from machinable.component.imports import Code, importing, load_component
from machinable.engines.base import OnProgress, PortableWork, reports
from machinable.engines.processes.isolation import SavedProcessState
from machinable.engines.processes.output import output_to
from machinable.engines.processes.threads import ThreadLimit
from machinable.errors import MachinableError, NotStored, Refused, SeveralErrors
from machinable.plan.spec import Outcome, Requirement, Target, TrialSpec, spec_from_data
from machinable.serialization import loads
from machinable.storage import layout
from machinable.storage.cleanup import mark_worker
from machinable.storage.fallback import FallbackFiles
from machinable.storage.files import Files, Reach
from machinable.storage.hashing import digest
from machinable.storage.open import open_files
from machinable.trial.runner import run
from machinable.trial.tracebacks import shipped

__all__ = [
    "InProcessTask",
    "Place",
    "WorkerTask",
    "check_importable",
    "folders_needed",
    "importable",
    "paths_required",
]


@dataclass(frozen=True)
class InProcessTask:
    """Runs a trial in this process, with the storage and the code that are at hand.

    Attributes:
        files, folder: the storage, and the folder of the execution. project: the project's directory.
        live: classes and functions that need no import. function: runs in place of every component.
        on_progress: is told how far a trial says it is. locks: see `run`.
    """

    files: Files
    folder: str
    project: str
    live: Mapping[Target, Any] = field(default_factory=dict)
    function: Any = None
    capture: Literal["tee", "keep"] | None = "tee"
    on_progress: OnProgress | None = None
    locks: tuple[str | None, float] | None = field(default=None, repr=False)  # a URL may have a password
    limit: ThreadLimit = field(default_factory=ThreadLimit)

    def close(self) -> None:
        """Let this process compute with as many threads as before."""
        self.limit.close()

    def __call__(self, spec: TrialSpec) -> Outcome:
        """How one attempt of the trial ended."""
        self.limit.hold(spec.threads)
        with _working_directory_kept():
            outcome = run(
                spec,
                self.files,
                self.folder,
                project=self.project,
                attempt=spec.attempt,
                capture=self.capture,
                code=self.function,
                live=self.live,
                progress=partial(self.on_progress, spec.uid) if self.on_progress is not None else None,
                locks=self.locks,
                stored_trial=_stored_trial,
            )
        return _stored(self.files, outcome)


@contextmanager
def _working_directory_kept() -> Iterator[None]:
    """A trial that changes the working directory changes it for itself, here as in a worker."""
    try:
        before = os.getcwd()
    except FileNotFoundError:  # somebody has removed it
        yield
        return
    try:
        yield
    finally:
        with suppress(OSError):  # the trial may have removed one of the two
            os.chdir(before)


@dataclass(frozen=True)
class WorkerTask(PortableWork):
    """Runs a trial in a worker, which gets this as plain data.

    Attributes:
        url: of the storage, as it is opened. folder: of the execution. project: the project's directory.
        function: where the function is that runs in place of every component. locks: see `run`.
        reach: from where the storage is reached. mark: the digest of execution.json, by which it is known.
        original: the project's directory where it was planned, if this one is a copy.
        refuge: the name of the directory for what the storage does not take; "" for none.
    """

    url: str
    folder: str
    project: str
    function: Place | None = None
    locks: tuple[str | None, float] | None = field(default=None, repr=False)
    reach: Reach = "host"
    mark: str = ""
    original: str | None = None
    refuge: str = ""

    def begin(self) -> None:
        """A worker will do this from now on. Whoever finds the execution killed can see that the worker is there."""
        with suppress(OSError, MachinableError):  # its first trial meets it again
            atexit.register(mark_worker(_opened(self.url), self.folder))

    def is_reached(self) -> bool:
        """Whether the storage is reached from here, and not another one that lies at the same place of its host."""
        if self.reach == "host":
            with suppress(Exception):
                execution = _opened(self.url, create=False).read(layout.join(self.folder, layout.EXECUTION))
                return digest(execution) == self.mark
            return False
        return self.reach == "anywhere"

    def moved(self, project: str, url: str | None) -> WorkerTask:
        """The same where the project lies in another directory, and in another storage if one is given."""
        original = None if project == self.project else self.project
        return replace(self, project=project, original=original, url=self.url if url is None else url)

    def home(self, spec: TrialSpec) -> str:
        """The folder that a trial writes."""
        return layout.join(self.folder, layout.trial(spec.uid))

    def needs(self, spec: TrialSpec) -> list[str]:
        """The folders that it reads besides: its requirements, and what it goes on from."""
        return folders_needed(spec)

    def __call__(self, spec: TrialSpec) -> Outcome:
        """How one attempt of the trial ended."""
        if self.original is not None:
            shipped[:] = [(self.project, self.original)]
        if self.function is not None:
            spec = structs.replace(spec, definition=structs.replace(spec.definition, target=self.function.target))
        files = _opened(self.url)
        if self.refuge:
            files = FallbackFiles(files, self.refuge)
        output = layout.join(self.folder, layout.output(spec.uid))
        with output_to(files, output):
            code = self._imported(spec)
            outcome = run(
                spec,
                files,
                self.folder,
                project=self.project,
                attempt=spec.attempt,
                capture=None,
                code=code,
                progress=partial(reports.progress, spec.uid),
                locks=self.locks,
                stored_trial=_stored_trial,
            )
        return _stored(files, outcome)

    def _imported(self, spec: TrialSpec) -> Code | None:
        """The code of the trial. What modules do when they are imported is not the trial's and is not put back."""
        code: Any = None
        before = len(sys.modules)
        with suppress(Exception, SystemExit):  # `run` meets it again, and writes it down
            with importing(self.project):
                code = load_component(spec.target, self.project)
                for child in spec.children if self.function is None else ():
                    load_component(child.target, self.project)
            for _ in range(self.function.wrappers if self.function else 0):
                code = code.__wrapped__
        if len(sys.modules) != before and SavedProcessState.current is not None:
            SavedProcessState.current.keep()
        return code  # type: ignore[no-any-return]


def folders_needed(spec: TrialSpec) -> list[str]:
    """The folders of a storage that a trial reads besides its own; an artifact in one that it reads nothing else of."""
    found = [] if spec.resume_from is None else [spec.resume_from]
    return list(dict.fromkeys(found + paths_required(spec.requires.values())))


def paths_required(requirements: Iterable[Requirement]) -> list[str]:
    """Where the results of requirements lie, as far as they are there: folders, or artifacts in them."""
    found = []
    for needed in requirements:
        if needed.place is not None:
            folder, _, uid = needed.place.rpartition("/")
            inside = layout.trial(uid) if needed.artifact is None else layout.artifact(uid, needed.artifact)
            found.append(layout.join(folder, inside))
    return found


def _stored(files: Files, outcome: Outcome) -> Outcome:
    """How a trial ended, if what it wrote is in the storage: otherwise nobody can say that it has."""
    if files.flush_fallback():
        return outcome
    error = files.outage()
    told = {"type": type(error).__name__, "message": str(error), "traceback": str(error)}
    return structs.replace(outcome, state="interrupted", error=told)


_open: dict[str, Files] = {}


def _opened(url: str, create: bool | None = None) -> Files:
    """The storage; a worker opens it once.

    A directory is there since the execution began, and is not asked whether it can be written: what it does not take
    at the moment is kept elsewhere.
    """
    if create is None:
        create = "://" in url
    if url not in _open:
        files = _open[url] = open_files(url, create=create)
        atexit.register(files.close)
    return _open[url]


def _stored_trial(files: Files, place: str) -> Any:
    """The trial at a place such as `OY1p1o/9c2EapVGXnPH`, which has finished.

    Plan and ledger of its execution are not looked at: they may be long, and stay where the storage is.
    """
    from machinable.results.execution import trial_that_ended  # few trials look at what they require like people do

    folder, _, uid = place.rpartition("/")
    try:
        row = loads(files.read(layout.join(folder, layout.trial_json(uid))))
    except (FileNotFoundError, NotADirectoryError):
        raise NotStored(f"the trial {place} is not there any more", given=place) from None
    return trial_that_ended(files, folder, spec_from_data(row), {"event": "finished", "uid": uid})


class Place(NamedTuple):
    """Where workers find a function: what is there, below so many wrappers (1 if a decorator has replaced it)."""

    target: Target
    wrappers: int


def check_importable(live: Mapping[Target, Any], function: Callable[..., Any] | None) -> Place | None:
    """See that workers find the classes and functions of a task, or the function that runs in place of all.

    Returns:
        Where that function is.

    Raises:
        Refused: something cannot be found; several are reported together.
    """
    if function is not None:
        target = Target(function.__module__, getattr(function, "__qualname__", repr(function)), "function")
        return Place(target, importable(target, function))
    errors: list[MachinableError] = []
    for target, code in live.items():
        try:
            if importable(target, code):
                raise _refused(target, "a decorator has replaced it there", "Give what its decorator has made of it")
        except MachinableError as error:
            errors.append(error)
    SeveralErrors.raise_any(errors)
    return None


def importable(target: Target, code: Any) -> int:
    """See that a worker finds a class or a function by its module and name.

    Returns:
        Below how many wrappers it is there.

    Raises:
        Refused: it cannot be found so.
    """
    if target.module == "__main__":
        file = getattr(sys.modules["__main__"], "__file__", None)
        where = os.path.basename(file) if file else "what was typed"
        raise _refused(
            target,
            f"it is defined in {where}, which runs as __main__",
            "Move it into a module of the project, and import it from there",
        )
    module = sys.modules.get(target.module)
    found: Any = module
    for part in (target.name or "").split("."):
        found = getattr(found, part, None)
    wrappers = 0
    while found is not None and found is not code:
        found = getattr(found, "__wrapped__", None)
        wrappers += 1
    if found is None:
        raise _refused(
            target,
            "there is nothing or something else at that place",
            "Define it at the top of its module with `class` or `def`, and leave it its name",
        )
    if getattr(module, "__spec__", None) is None:
        raise _refused(target, "its module was not imported from a file", "Put it into a module of the project")
    return wrappers


def _refused(target: Target, why: str, todo: str) -> Refused:
    name = f"{target.module}:{target.name}"
    return Refused(f"workers cannot import {name}: {why}", given=name, todo=f"{todo}; or use engine='local'.")
