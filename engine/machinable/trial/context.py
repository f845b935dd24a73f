"""The attributes that a running trial provides in `self`, and the state of the attempt."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeAlias
from weakref import ref

from machinable.component.base import Component, Context, saver_of, state_of
from machinable.component.children import create
from machinable.component.imports import Code, load_component
from machinable.component.local_dir import LocalFolder
from machinable.component.record import Record
from machinable.component.store import Store
from machinable.config.config import evaluate_stored
from machinable.config.secrets import is_secret_name, mask_of, secret_texts
from machinable.errors import MissingArtifact, NotStored
from machinable.plan.spec import Requirement, Target, TrialSpec, spec_from_data
from machinable.serialization import Plain
from machinable.storage import layout
from machinable.storage.documents import TRIAL, read_document
from machinable.storage.files import Files
from machinable.storage.streams import RowWriter, TextWriter
from machinable.trial import seeding
from machinable.trial.capture import first_line, make_logger
from machinable.trial.checkpoints import Checkpoints, Resumed, resume
from machinable.trial.seeding import Seeding
from machinable.trial.status import StatusFiles

if TYPE_CHECKING:
    import logging

    from machinable.component.requirements import Required, Requires
    from machinable.component.shared import SharedData
    from machinable.results.trial import Trial

__all__ = ["Progress", "TrialContext"]

Progress: TypeAlias = Callable[["int | dict[str, Plain]", "int | None"], None]


class TrialContext(Context):
    """One attempt of a trial, for its components. The arguments are those of `run`.

    Attributes:
        failure: The first error.
        interrupt: The last interrupt, even after a failure.
        artifacts: Digest and size of each artifact, known once the context is closed.
        inputs: The digests of what was read of each requirement, by its name.
        indirect: Identity and place of those requirements that are not the trial's own, by name.
    """

    def __init__(
        self,
        spec: TrialSpec,
        files: Files,
        folder: str,
        project: str | None,
        live: Mapping[Target, Code],
        progress: Progress | None,
        locks: tuple[str | None, float] | None,
        status: StatusFiles,
        pruned: Callable[[], str] = lambda: "",
    ) -> None:
        self.spec = spec
        self.files = files
        self.path = path = layout.join(folder, layout.trial(spec.uid))
        self.project = project
        self.failure: BaseException | None = None
        self.interrupt: KeyboardInterrupt | None = None
        self.artifacts: dict[str, dict[str, Plain]] = {}
        self.inputs: dict[str, dict[str, str]] = {}
        self.dropped: list[str] = []  # see `Outcome`
        self.indirect: dict[str, dict[str, str]] = {}
        self.began = perf_counter()  # the current phase, from which the first row is timed
        self._ends = None if spec.timeout is None else self.began + spec.timeout
        self.seeding = Seeding(spec.definition.seeding, spec.seed)
        self.status = status
        # What refers back to this object does so weakly, so that all that a trial made is freed when it ends.
        self._self = weak = self._reference()
        failed = "the heartbeat could not be written: %s"
        self.status.on_error = lambda error: weak().log.warning(failed, first_line(error))
        self._local = LocalFolder(files, layout.join(path, layout.ARTIFACTS))
        self._checkpoint_folder = LocalFolder(files, layout.join(path, layout.CHECKPOINTS))
        self.checkpoints = Checkpoints(
            self._checkpoint_folder, spec.definition.checkpoints.keep, lambda: weak()._snapshot(), self.status.saved
        )
        self._folder = folder
        self._live = live
        self.because = ""  # why it was pruned
        self._progress = progress
        self._pruned = pruned
        self._locks = locks
        self._config: Mapping[str, Plain] = spec.stored
        self._unevaluated: dict[str, Exception] = {}
        self._resumed: Resumed | None = None
        self._log: logging.Logger | None = None
        self._log_file: TextWriter | None = None
        self._log_lock = threading.Lock()
        self._is_closed = False

    def fail(self, error: BaseException) -> None:
        """Record an error that ends the attempt."""
        if isinstance(error, KeyboardInterrupt):
            self.interrupt = error
        if self.failure is None:
            self.failure = error

    # attributes of `self`; those that many trials do not use are imported and opened on first use

    @property
    def log(self) -> logging.Logger:
        """The logger, which writes `log.txt`."""
        with self._log_lock:  # the heartbeat may be the first to log
            if self._log is None:
                self._check_open()
                self._log_file = TextWriter(self.files, layout.join(self.path, layout.LOG))
                self._log = make_logger(f"machinable.{self.spec.uid}", self._log_file, self.mask)
            return self._log

    @cached_property
    def mask(self) -> Callable[[str], str]:
        """A function that replaces the hidden values of the trial in a text by `…`."""
        definition = self.spec.definition
        texts = {text for one in (definition, *definition.children) for text in secret_texts(one.config, one.stored)}
        named = {name: text for name, text in definition.environment.items() if is_secret_name(name)}
        return mask_of(texts | secret_texts({"_environment": named}, {}))

    @cached_property
    def record(self) -> Record:
        """The rows of measurements."""
        weak = self._self
        return Record(
            lambda scope: weak()._open_rows(scope),
            lambda: weak().began,
            restored=self._resumed.rows if self._resumed is not None else {},
            on_row=(lambda row: weak().report_progress(row, None)) if self._progress is not None else None,
        )

    def _open_rows(self, scope: str) -> RowWriter:
        self._check_open()
        return RowWriter(self.files, layout.join(self.path, layout.scope_file(scope)))

    def _check_open(self) -> None:
        """Check that the trial has not ended, before a thread that outlives it opens a file."""
        if self._is_closed:
            raise _closed(self.path)

    def _reference(self) -> Callable[[], TrialContext]:
        """Return a function that returns this object without keeping it alive."""
        weak, path = ref(self), self.path

        def found() -> TrialContext:
            context = weak()
            if context is None:
                raise _closed(path)
            return context

        return found

    @cached_property
    def store(self) -> Store:
        """The artifacts."""
        is_new = self.spec.attempt == 1 and self.spec.resume_from is None
        path = layout.join(self.path, layout.ARTIFACTS)
        weak = self._self
        return Store(self.files, path, self._local, is_new, lambda: weak().shared_data)

    @cached_property
    def shared_data(self) -> SharedData:
        """The data that this trial shares with others."""
        from machinable.component.shared import SharedData

        weak = self._self
        config, log = (lambda: weak()._config), (lambda: weak().log)
        return SharedData(self.spec, self.files, self._folder, config, log, *(self._locks or ()))

    @cached_property
    def requires(self) -> Requires:
        """The results that the trial requires."""
        from machinable.component.requirements import Requires

        return Requires(self.spec.requires, self.files, self)

    @property
    def directory(self) -> str:
        """The artifacts as a local directory."""
        return self._local.open()

    @property
    def remaining(self) -> float | None:
        """The seconds until the time limit of the attempt; None without one."""
        return None if self._ends is None else max(0.0, self._ends - perf_counter())

    def set_seed(self, seed: int | None) -> None:
        """Seed the random number generators; for None, with the trial's seed."""
        self.seeding.apply(seed)

    def report_judged(self, iteration: int, row: Mapping[str, Plain]) -> None:
        """Report the value in the row of an iteration by which the trial may be pruned."""
        column = self.spec.judged
        if self._progress is not None and column in row:
            self._progress({column: row[column]}, iteration)

    def is_pruned(self) -> bool:
        """Return whether the trial ends between two iterations."""
        self.because = self._pruned()
        return bool(self.because)

    def report_progress(self, i: int | dict[str, Plain], total: int | None) -> None:
        """Report the completed steps of the component, or its last row."""
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
        from machinable.results.execution import trial_that_ended

        folder, _, uid = place.rpartition("/")
        row = read_document(self.files, layout.join(folder, layout.trial_json(uid)), TRIAL)
        if row is None:
            raise NotStored(f"the trial {place} no longer exists", given=place)
        return trial_that_ended(self.files, folder, spec_from_data(row), {"event": "finished", "uid": uid})

    def inputs_of(self, name: str, requirement: Requirement) -> dict[str, str]:
        """Return the mapping that receives the digests of what is read from a requirement."""
        if name not in self.spec.requires:
            self.indirect[name] = {"identity": requirement.identity, "place": str(requirement.place)}
        return self.inputs.setdefault(name, {})

    def required_component(self, required: Required) -> Component:
        """Return the component of a requirement, created in this process."""
        from machinable.component.required_component import load_required_component

        return load_required_component(required, self)

    def load(self, target: Target) -> Code:
        """Return the class or function of a component."""
        return self._live.get(target) or load_component(target, self.project)

    def create(self, component: Component) -> None:
        """Create a child."""
        create(component)

    # steps of the attempt

    def resume(self) -> None:
        """Restore the last checkpoint of a previous attempt, or log why the attempt starts from the beginning."""
        previous = self.spec.resume_from
        if previous is None:
            return
        found = resume(self.files, previous, self.path, self._checkpoint_folder)
        if isinstance(found, str):
            self.log.warning("cannot continue from the previous attempt, so it starts again: %s", found)
            return
        self._resumed = found
        self.checkpoints.saved = dict(found.facts["saved"])
        self.status.saved(found.checkpoint, found.facts)
        self.record  # noqa: B018 - its rows exist, even if it is never used
        self.log.info("continues from %s", previous)

    def resume_component(self, component: Component) -> None:
        """Let a component restore its checkpoint of a previous attempt, if any, when it is created."""
        name = saver_of(component)
        if self._resumed is not None and name in self._resumed.paths:
            component.flags["CHECKPOINT"] = self._resumed.paths[name]
            state_of(component).saves = self._resumed.facts["saved"][name]["saves"]

    def describe(self, node: Component | None = None) -> None:
        """Write `trial.json`, with the values of those config methods that can already be evaluated."""
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
            self.describe()

    def first_iteration(self) -> tuple[int, bool] | None:
        """Return the first iteration and whether a previous attempt began it; None if the last one is over."""
        if self._resumed is None or self._resumed.facts["iteration"] is None:
            return 0, False
        facts = self._resumed.facts
        seeding.restore(facts["generators"], self.spec.seed)
        return None if facts["is_last"] else (facts["iteration"], facts["has_begun"])

    def check_results(self) -> None:
        """Check that every promised artifact exists.

        Raises:
            MissingArtifact: One does not exist.
        """
        missing = [name for name in self.spec.definition.results if not self.store.has(name)]
        if missing:
            raise MissingArtifact(
                f"the promised result {missing[0]!r} was not written",
                given=missing[0],
                details=missing[1:],
                todo="Write it with self.store.write, or remove it from `_results_`.",
            )

    def used(self, name: str) -> Any:
        """Return `record`, `store`, `shared_data` or `requires` if the trial has used it, otherwise None."""
        return self.__dict__.get(name)

    def close(self) -> None:
        """Release everything; an error of one does not prevent the others from closing."""
        for close in self._closings():
            try:
                close()
            except BaseException as error:
                self.fail(error)
        self._is_closed = True

    def _closings(self) -> Iterator[Callable[[], object]]:
        yield self.seeding.close
        if self.used("shared_data"):
            yield self.shared_data.close
        yield lambda: self.artifacts.update(self._artifact_digests())
        yield self._log_left_out
        yield self._local.close
        yield self._checkpoint_folder.close
        if self.used("record"):
            yield self.record.close
        if self._log is not None and self._log_file is not None:
            yield from [handler.close for handler in self._log.handlers]
            yield self._log_file.close

    def _log_left_out(self) -> None:
        for name, kind in self._local.left_out():
            self.log.warning("%s is not stored: it is %s", name, kind)

    def _artifact_digests(self) -> dict[str, dict[str, Plain]]:
        is_unused = not self.used("store") and not self._local.is_open and self._resumed is None
        return {} if is_unused else self.store.digests()

    def _snapshot(self) -> dict[str, Plain]:
        """Return the rest of the state at a checkpoint, with which an attempt that continues from it starts."""
        if self.used("record"):
            self.record.flush()  # the checkpoint is useless without its rows
        return {
            "rows": self.record.counts() if self.used("record") else {},
            "artifacts": {name: facts["digest"] for name, facts in self._artifact_digests().items()},
            "generators": seeding.states(self.spec.seed),
        }


def _closed(path: str) -> ValueError:
    return ValueError(f"{path} is closed, because the trial has ended")
