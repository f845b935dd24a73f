"""What the components of a running trial find in `self`, and the state of the attempt behind it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from machinable.component.base import Component, Context, state_of
from machinable.component.imports import Code, load_component
from machinable.component.local_dir import LocalFolder
from machinable.component.record import Clock, Record
from machinable.config.config import evaluate_stored
from machinable.errors import InvalidType, MissingArtifact, NotStored
from machinable.plan.spec import ComponentSpec, Target, TrialSpec, spec_from_data
from machinable.serialization import Plain, loads
from machinable.storage import layout
from machinable.storage.files import Files
from machinable.storage.streams import RowWriter, TextWriter
from machinable.trial import seeding
from machinable.trial.checkpoints import NODE, Checkpoints, Resumed, resume
from machinable.trial.children import child_specs, construct, create
from machinable.trial.seeding import Seeding
from machinable.trial.status import StatusFiles
from machinable.trial.tracebacks import first_line

if TYPE_CHECKING:
    import logging

    from machinable.component.requirements import Required, Requires
    from machinable.component.shared import SharedData
    from machinable.component.store import Store
    from machinable.results.trial import Trial

__all__ = ["Ending", "Progress", "TrialContext"]

Progress: TypeAlias = Callable[["int | dict[str, Plain]", "int | None"], None]


class Ending:
    """How an attempt ends: the result, or the first error.

    Attributes:
        result: what the component returned, as plain data.
        failure: the first error.
        interrupt: the last interrupt, whatever failed before.
    """

    def __init__(self) -> None:
        self.result: Plain = None
        self.failure: BaseException | None = None
        self.interrupt: KeyboardInterrupt | None = None

    def add(self, error: BaseException) -> None:
        """Note an error."""
        if isinstance(error, KeyboardInterrupt):
            self.interrupt = error
        if self.failure is None:
            self.failure = error


class TrialContext(Context):
    """One attempt of a trial, for its components.

    Args:
        spec: the trial.
        files: the storage.
        folder: the folder of the execution in it.
        project: the project directory.
        attempt: the number of the attempt.
        live: classes and functions that need no import.
        progress: receives steps and rows, see `run`.
        locks: see `run`.
    """

    def __init__(
        self,
        spec: TrialSpec,
        files: Files,
        folder: str,
        project: str | None,
        attempt: int,
        live: Mapping[Target, Code],
        progress: Progress | None,
        locks: tuple[str | None, float] | None,
    ) -> None:
        self.spec = spec
        self.files = files
        self.path = path = layout.join(folder, layout.trial(spec.uid))
        self.project = project
        self.attempt = attempt
        self.ending = Ending()
        self.clock = Clock()
        self.seeding = Seeding(spec.definition.seeding, spec.seed)
        self.status = StatusFiles(spec, files, path, attempt, self._heartbeat_failed)
        self.written: dict[str, dict[str, Plain]] = {}
        self._artifacts = LocalFolder(files, layout.join(path, layout.ARTIFACTS))
        self._checkpoint_folder = LocalFolder(files, layout.join(path, layout.CHECKPOINTS))
        self.checkpoints = Checkpoints(self._checkpoint_folder, self._snapshot, self.status.saved)
        self._folder = folder
        self._live = live
        self._progress = progress
        self._locks = locks
        self._config: Mapping[str, Plain] = spec.stored
        self._unevaluated: dict[str, Exception] = {}
        self._resumed: Resumed | None = None
        self._log: logging.Logger | None = None
        self._log_lock = threading.Lock()
        self._record: Record | None = None
        self._store: Store | None = None
        self._shared_data: SharedData | None = None
        self._requires: Requires | None = None

    # what components find in `self`

    @property
    def log(self) -> logging.Logger:
        """The logger, which writes `log.txt`."""
        with self._log_lock:  # the heartbeat may be the first to log
            if self._log is None:
                from machinable.trial.log import make_logger  # logging costs 5 ms, and many trials log nothing

                writer = TextWriter(self.files, layout.join(self.path, layout.LOG))
                self._log = make_logger(f"machinable.{self.spec.uid}", writer)
            return self._log

    @property
    def record(self) -> Record:
        """The rows of measurements."""
        if self._record is None:
            rows = self._resumed.rows if self._resumed is not None else {}
            on_row = self._report_row if self._progress is not None else None
            self._record = Record(self._open_rows, self.clock, restored=rows, on_row=on_row)
        return self._record

    @property
    def store(self) -> Store:
        """The artifacts."""
        if self._store is None:
            from machinable.component.store import Store  # many trials store nothing

            is_new = self.attempt == 1 and self.spec.resume_from is None
            path = layout.join(self.path, layout.ARTIFACTS)
            self._store = Store(self.files, path, self._artifacts, is_new, lambda: self.shared_data)
        return self._store

    @property
    def shared_data(self) -> SharedData:
        """The data that is shared with other trials."""
        if self._shared_data is None:
            from machinable.component.shared import SharedData  # few trials share anything

            config, log = (lambda: self._config), (lambda: self.log)
            self._shared_data = SharedData(self.spec, self.files, self._folder, config, log, *(self._locks or ()))
        return self._shared_data

    @property
    def requires(self) -> Requires:
        """The results that the trial requires."""
        if self._requires is None:
            from machinable.component.requirements import Requires  # many trials require nothing

            self._requires = Requires(self.spec.requires, self.files, self)
        return self._requires

    @property
    def directory(self) -> str:
        """The artifacts as a local directory."""
        return self._artifacts.open()

    def set_seed(self, seed: int | None) -> None:
        """Seed the random number generators; None: with the trial's seed."""
        self.seeding.apply(seed)

    def report_progress(self, i: int, total: int | None) -> None:
        """Report the progress of the component."""
        if self._progress is not None:
            self._progress(i, total)

    def save_checkpoint(self, component: Component, path: str | None, timestep: int | None) -> Any:
        """Let a component save its state; return the name of the checkpoint, or False."""
        saved, name = self.checkpoints.save(component, path, timestep)
        if name is not None:
            self.log.info("saved the checkpoint %s", name)
        return saved

    def stored_trial(self, place: str) -> Trial:
        """Return the finished trial at a place in the storage such as `OY1p1o/9c2EapVGXnPH`.

        The plan and the ledger of its execution are not read: they may be long, and workers may not reach them.
        """
        from machinable.results.execution import trial_that_ended  # few trials read their requirements as users do

        folder, _, uid = place.rpartition("/")
        try:
            row = loads(self.files.read(layout.join(folder, layout.trial_json(uid))))
        except (FileNotFoundError, NotADirectoryError):
            raise NotStored(f"the trial {place} no longer exists", given=place) from None
        return trial_that_ended(self.files, folder, spec_from_data(row), {"event": "finished", "uid": uid})

    def required_component(self, required: Required) -> Component:
        """Return the component of a requirement, created in this process."""
        from machinable.trial.required_component import load_required_component  # few trials need one

        return load_required_component(required, self)

    # components

    def load(self, target: Target) -> Code:
        """Return the class or function of a component."""
        return self._live.get(target) or load_component(target, self.project)

    def create(self, component: Component) -> None:
        """Create a child."""
        create(component)

    def construct_node(self, cls: type[Component], *, calls: bool = True) -> Component:
        """Construct the component of the trial.

        Args:
            cls: its class.
            calls: whether its configuration may call its methods.
        """
        flags = {**self.spec.flags, "ATTEMPT": self.attempt}
        node = construct(cls, self, self.spec.definition, flags, tags=self.spec.tags, calls=calls)
        self._restore_checkpoint_of(node, NODE)
        return node

    def child_specs(self) -> list[ComponentSpec]:
        """Return copies of the specifications of the children, which events may change."""
        return child_specs(self.spec.children)

    def construct_child(self, spec: ComponentSpec, node: Component) -> Component:
        """Construct the next child of a component."""
        cls = self.load(spec.target)
        if not isinstance(cls, type):
            raise InvalidType(
                f"the child {spec.component} is a function", given=spec.component, todo="A child is a class."
            )
        child = construct(cls, self, spec, spec.flags, tags=self.spec.tags, node=node)
        self._restore_checkpoint_of(child, str(len(node.children)))
        return child

    def _restore_checkpoint_of(self, component: Component, name: str) -> None:
        """Let a component restore its checkpoint of a previous attempt when it is created."""
        if self._resumed is not None and name in self._resumed.paths:
            component.flags["CHECKPOINT"] = self._resumed.paths[name]
            state_of(component).saves = self._resumed.facts["saved"][name]["saves"]

    # steps of the attempt

    def resume(self) -> None:
        """Restore the last checkpoint of a previous attempt, if there is one to continue; else log why not."""
        previous = self.spec.resume_from
        if previous is None:
            return
        found = resume(self.files, previous, self.path, self._checkpoint_folder)
        if isinstance(found, str):
            self.log.warning("cannot continue from the previous attempt, so it starts again: %s", found)
            return
        self._resumed = found
        self.checkpoints.restored(found.facts)
        self.status.saved(found.checkpoint, found.facts)
        self.record  # noqa: B018 - its rows exist, even if it is never used
        self.log.info("continues from %s", previous)

    def start(self, node: Component) -> None:
        """Write the description of the trial, and let the component find in `self` what the trial offers."""
        self.describe(node)
        state_of(node).is_started = True
        self.clock.begin()

    def describe(self, node: Component | None = None) -> None:
        """Write `trial.json`, with the values of config methods that can be evaluated already."""
        if node is not None:
            self._config, self._unevaluated = evaluate_stored(node.config, self.spec.stored)
        self.status.describe(self._config, self.seeding.predicted())

    def before_execute(self, node: Component) -> None:
        """Restore random number generators; evaluate config methods that could not be evaluated before `on_start`."""
        if self._resumed is not None:
            seeding.restore(self._resumed.facts["generators"], self.spec.seed)
        if not self._unevaluated:
            return
        failed = self._unevaluated
        self._config, self._unevaluated = evaluate_stored(node.config, self._config, failed)
        for path, error in self._unevaluated.items():
            self.log.warning("%s is stored as text: %s: %s", path, type(error).__name__, first_line(error))
        if len(self._unevaluated) < len(failed):
            self.status.describe(self._config, self.seeding.predicted())

    def first_iteration(self) -> tuple[int, bool] | None:
        """Return the first iteration and whether it has begun in a previous attempt; None if the last one is over."""
        if self._resumed is None or self._resumed.facts["iteration"] is None:
            return 0, False
        facts = self._resumed.facts
        seeding.restore(facts["generators"], self.spec.seed)
        return None if facts["is_last"] else (facts["iteration"], facts["has_begun"])

    def check_results(self) -> None:
        """Check that every promised artifact exists.

        Raises:
            MissingArtifact: one does not.
        """
        missing = [name for name in self.spec.definition.results if not self.store.has(name)]
        if missing:
            raise MissingArtifact(
                f"the promised result {missing[0]!r} was not written",
                given=missing[0],
                details=missing[1:],
                todo="Write it with self.store.write, or remove it from `_results_`.",
            )

    def unsaved_rows(self) -> list[str]:
        """Return the scopes of the record with a row that was not saved."""
        return self._record.unsaved() if self._record is not None else []

    def last_row(self) -> dict[str, Plain] | None:
        """Return the last row of the record."""
        return self._record.last if self._record is not None else None

    def inputs(self) -> dict[str, dict[str, str]]:
        """Return the digests of what was read of requirements, by their names."""
        if self._requires is None:
            return {}
        return {name: read for name, read in self._requires.inputs.items() if read}

    def close(self) -> None:
        """Release everything; an error of one does not keep the others from closing."""
        for close in self._closings():
            try:
                close()
            except BaseException as error:
                self.ending.add(error)

    def _closings(self) -> Iterator[Callable[[], object]]:
        yield self.seeding.close
        if self._shared_data is not None:
            yield self._shared_data.close
        yield self._note_artifacts
        yield self._artifacts.close
        yield self._checkpoint_folder.close
        if self._record is not None:
            yield self._record.close
        if self._log is not None:
            yield from [handler.close for handler in self._log.handlers]

    def _note_artifacts(self) -> None:
        self.written = self._artifact_digests()

    def _artifact_digests(self) -> dict[str, dict[str, Plain]]:
        if self._store is None and not self._artifacts.is_open and self._resumed is None:
            return {}
        return self.store.digests()

    def _snapshot(self) -> dict[str, Plain]:
        """Return what exists beside a checkpoint now, which an attempt that continues from it begins with."""
        return {
            "rows": self._record.counts() if self._record is not None else {},
            "artifacts": {name: facts["digest"] for name, facts in self._artifact_digests().items()},
            "generators": seeding.states(self.spec.seed),
        }

    def _heartbeat_failed(self, error: Exception) -> None:
        self.log.warning("the heartbeat could not be written: %s", first_line(error))

    def _report_row(self, row: dict[str, Plain]) -> None:
        if self._progress is not None:
            self._progress(row, None)

    def _open_rows(self, scope: str) -> RowWriter:
        return RowWriter(self.files, layout.join(self.path, layout.scope_file(scope)))
