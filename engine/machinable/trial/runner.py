"""Runs one attempt of a trial: loads its code, leads it through its life, and keeps what it writes."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from machinable.component.base import Component, Part
from machinable.component.imports import Code, check_function, importing, load_component, load_mixin
from machinable.component.local_dir import LocalFolder
from machinable.component.record import Clock, Record
from machinable.config.config import evaluate_stored
from machinable.errors import InvalidType, MissingArtifact, NotAvailable, WrongType
from machinable.plan.spec import ComponentSpec, Outcome, State, Target, TrialSpec
from machinable.serialization import Plain, as_plain
from machinable.storage import layout
from machinable.storage.files import Files
from machinable.storage.streams import RowWriter, TextWriter
from machinable.trial import seeding
from machinable.trial.capture import Capture
from machinable.trial.checkpoints import NODE, Checkpoints
from machinable.trial.children import child_specs, construct, create
from machinable.trial.lifecycle import ReturnsOnce, live
from machinable.trial.seeding import Seeding
from machinable.trial.status import StatusFiles
from machinable.trial.tracebacks import error_data

if TYPE_CHECKING:
    import logging

    from machinable.component.requirements import Required, Requires
    from machinable.component.shared import SharedData
    from machinable.component.store import Store
    from machinable.trial.checkpoints import Resumed

__all__ = ["Progress", "run"]

NOTHING: AbstractContextManager[Any] = nullcontext()  # has to be around a trial

Progress: TypeAlias = Callable[["int | dict[str, Plain]", "int | None"], None]


def run(
    spec: TrialSpec,
    files: Files,
    folder: str,
    *,
    project: str | None = None,
    attempt: int = 1,
    capture: Literal["tee", "keep"] | None = "tee",
    code: Code | None = None,
    live: Mapping[Target, Code] = MappingProxyType({}),
    progress: Progress | None = None,
    locks: tuple[str | None, float] | None = None,
    stored_trial: Callable[[Files, str], Any] | None = None,
) -> Outcome:
    """Run one attempt of a trial. With `spec.resume_from` it goes on from the last checkpoint of a former one.

    Args:
        spec: what to run. files, folder: the storage, and the folder of the execution in it.
        project: the absolute path of the project, first in `sys.path` meanwhile.
        attempt: 1, 2, …
        capture: "tee": what is printed goes to the folder and to where it went before; "keep": to the folder only.
        code: the class or function to run, whatever `spec.target` says; by default that one.
        live: classes and functions that are at hand; all others are imported.
        progress: is told how far the component says it is: a number of steps, and of how many if that is known; and
            what the last row is, in place of a number.
        locks: the lock server for what it shares with other trials, None for the storage, and the seconds of a lease;
            default: the storage.
        stored_trial: gives the trial at a place such as `OY1p1o/9c2EapVGXnPH`, for components that look into what
            they require as people do.

    Returns:
        How it ended. Whatever the component raises, `SystemExit` too, is in there as data.

    Raises:
        KeyboardInterrupt: the trial was interrupted; its folder says so.
    """
    return _Trial(spec, files, folder, project, attempt, live, progress, locks, stored_trial).run(code, capture)


class _Trial:
    """One attempt: what happens around its events, and what its components find in `self`."""

    def __init__(
        self,
        spec: TrialSpec,
        files: Files,
        folder: str,
        project: str | None,
        attempt: int,
        at_hand: Mapping[Target, Code],
        progress: Progress | None,
        locks: tuple[str | None, float] | None,
        stored_trial: Callable[[Files, str], Any] | None,
    ) -> None:
        self._spec = spec
        self._files = files
        self._folder = folder
        self._locks = locks
        self._path = layout.join(folder, layout.trial(spec.uid))
        self._project = project
        self._attempt = attempt
        self._at_hand = at_hand
        self._progress = progress
        self._node: Component | None = None
        self._clock = Clock()
        self._seeding = Seeding(spec.definition.seeding, spec.seed)
        self._papers = StatusFiles(spec, files, self._path, attempt, self._heartbeat_failed)
        self._artifacts = LocalFolder(files, layout.join(self._path, layout.ARTIFACTS))
        self._checkpoint_folder = LocalFolder(files, layout.join(self._path, layout.CHECKPOINTS))
        self.checkpoints = Checkpoints(self._checkpoint_folder, self._around_a_checkpoint, self._papers.saved)
        self._stored_trial = stored_trial
        self._requires: Requires | None = None
        self._resumed: Resumed | None = None
        self._written: dict[str, dict[str, Plain]] = {}
        self._config: Mapping[str, Plain] = spec.stored
        self._unevaluated: dict[str, Exception] = {}
        self._log: logging.Logger | None = None
        self._log_lock = threading.Lock()
        self._record: Record | None = None
        self._store: Store | None = None
        self._commons: SharedData | None = None
        self._result: Plain = None
        self._failure: BaseException | None = None
        self._interrupt: KeyboardInterrupt | None = None

    # from beginning to end

    def run(self, code: Code | None, capture: Literal["tee", "keep"] | None) -> Outcome:
        began = time.perf_counter()
        try:
            self._papers.open()
            output = NOTHING
            if capture is not None:
                output = Capture(TextWriter(self._files, layout.join(self._path, layout.OUTPUT)), capture == "tee")
            variables = self._spec.definition.environment
            environment = _environment(variables) if variables else NOTHING
            with output, importing(self._project), environment:
                try:
                    with _working_directory(self.directory) if self._spec.definition.change_directory else NOTHING:
                        if self._spec.resume_from is not None:
                            self._resume(self._spec.resume_from)
                        with ReturnsOnce():
                            self._keep(self._live(code))
                except BaseException as error:  # the first error counts, not one of closing afterwards
                    self._fail(error)
                finally:
                    self._close()
        except BaseException as error:
            self._fail(error)
        for _ in range(3):  # who presses Ctrl-C while the books are closed gets them closed all the same
            try:
                outcome = self._end(began)
                break
            except KeyboardInterrupt as late:
                self._interrupt = late
        if self._interrupt is not None:
            raise self._interrupt
        return outcome

    def _close(self) -> None:
        """Let go of everything, each whatever becomes of the others."""
        for close in (
            self._seeding.close,
            self._close_commons,
            self._count_artifacts,
            self._artifacts.close,
            self._checkpoint_folder.close,
            self._close_record,
            self._close_log,
        ):
            try:
                close()
            except BaseException as error:
                self._fail(error)

    def _fail(self, error: BaseException) -> None:
        if isinstance(error, KeyboardInterrupt):
            self._interrupt = error
        if self._failure is None:
            self._failure = error

    def _end(self, began: float) -> Outcome:
        if self._failure is not None or self._interrupt is not None:
            self._result = None
        error = None if self._failure is None else error_data(self._failure)
        state: State = "finished" if error is None else "failed"
        try:
            stored_state: State = "interrupted" if self._interrupt is not None else state
            inputs = {name: read for name, read in self._requires.inputs.items() if read} if self._requires else {}
            self._papers.close(stored_state, self._result, error, self._seeding.applied, self._written, inputs)
        except Exception as lost:  # nobody can read how it ended: it has not ended well
            state, self._result = "failed", None
            error = error or error_data(lost)
        row = self._record.last if self._record is not None else None
        return Outcome(
            self._spec.uid,
            state,
            self._attempt,
            time.perf_counter() - began,
            row,
            self._result,
            error,
            artifacts=self._papers.digests,
            inputs=inputs,
        )

    def _resume(self, former: str) -> None:
        """Bring back what there was at the last checkpoint of a former attempt, or say why that cannot be."""
        from machinable.trial.checkpoints import resume  # few trials go on

        found = resume(self._files, former, self._path, self._checkpoint_folder)
        if isinstance(found, str):
            self.log.warning("it cannot go on from the former attempt and begins again: %s", found)
            return
        self._resumed = found
        self.checkpoints.restored(found.facts)
        self._papers.saved(found.checkpoint, found.facts)
        self.record  # noqa: B018 - its rows are there, whether it will be used or not
        self.log.info("it goes on from %s", former)

    def _around_a_checkpoint(self) -> dict[str, Plain]:
        """What there is now, which a trial that goes on from here begins with."""
        rows = self._record.counts() if self._record is not None else {}
        written = self._digests()
        return {
            "rows": rows,
            "artifacts": {name: facts["digest"] for name, facts in written.items()},
            "generators": seeding.states(self._spec.seed),
        }

    def _digests(self) -> dict[str, dict[str, Plain]]:
        if self._store is None and not self._artifacts.is_open and self._resumed is None:
            return {}
        return self.store.digests()

    def _count_artifacts(self) -> None:
        self._written = self._digests()

    def _live(self, code: Code | None) -> Any:
        node: Component | None = None
        try:
            code = code or self._code(self._spec.target)
            if not isinstance(code, type):
                return self._call(code)
            node = self._construct(code, self._spec.definition, self._flags(), None)
            self._go_on(node, NODE)
            self._node = node
            self._describe()
            node.__dict__["__machinable__"].is_started = True
            self._clock.begin()
            result = live(node, self)
            self._check_results()
            node.on_success(result)
        except BaseException as error:
            if self._node is not None:
                self._quietly("on_failure", error)
                self._quietly("on_finish", None, False)
            raise
        try:
            node.on_finish(result, True)
        except BaseException as error:
            self._quietly("on_failure", error)
            raise
        return result

    def _check_results(self) -> None:
        """See that every artifact that was promised is there."""
        missing = [name for name in self._spec.definition.results if not self.store.has(name)]
        if missing:
            raise MissingArtifact(
                f"the promised result {missing[0]!r} was not written",
                given=missing[0],
                details=missing[1:],
                todo="Write it with self.store.write, or take it out of `_results_`.",
            )

    def _call(self, function: Callable[..., Any]) -> Any:
        """A function in place of a component: it is called once, and there are no events."""
        names = check_function(function)
        component = self._construct(Component, self._spec.definition, self._flags(), None, calls=False)
        component.children = self.child_specs()
        component.__dict__["__machinable__"].is_started = True
        self._describe()
        self.seed()
        self._clock.begin()
        with ReturnsOnce():
            return function(**{name: component if name == "component" else getattr(component, name) for name in names})

    def _quietly(self, event: str, *arguments: Any) -> None:
        """An event of the node after a failure, in which further errors change nothing."""
        try:
            getattr(self._node, event)(*arguments)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                self._interrupt = error
            self.log.error("%s raised an exception\n%s", event, error_data(error)["traceback"])

    def _keep(self, result: Any) -> None:
        try:
            self._result = None if result is None else as_plain(result, "result", tuples=True)
        except (WrongType, RecursionError) as error:
            self.log.warning("the result is dropped: %s", _line(error))
        if self._record is not None:
            for scope in self._record.unsaved():
                self.log.warning("a row of the record %r was not saved and is dropped", scope)

    # what is written about it

    def _describe(self) -> None:
        if self._node is not None:
            self._config, self._unevaluated = evaluate_stored(self._node.config, self._spec.stored)
        self._papers.describe(self._config, self._seeding.predicted())

    def before_work(self) -> None:
        """Try again to evaluate what could not be evaluated before `on_start`; random numbers go on, too."""
        if self._resumed is not None:
            seeding.put_back(self._resumed.facts["generators"], self._spec.seed)
        if not self._unevaluated or self._node is None:
            return
        first = self._unevaluated
        self._config, self._unevaluated = evaluate_stored(self._node.config, self._config, first)
        for path, error in self._unevaluated.items():
            self.log.warning("%s stays text in what is stored: %s: %s", path, type(error).__name__, _line(error))
        if len(self._unevaluated) < len(first):
            self._papers.describe(self._config, self._seeding.predicted())

    def _heartbeat_failed(self, error: Exception) -> None:
        self.log.warning("the heartbeat could not be written: %s", _line(error))

    def _close_log(self) -> None:
        if self._log is not None:
            for handler in self._log.handlers:
                handler.close()

    def _close_record(self) -> None:
        if self._record is not None:
            self._record.close()

    def _close_commons(self) -> None:
        if self._commons is not None:
            self._commons.close()

    # its components

    def _flags(self) -> dict[str, Any]:
        return {**self._spec.flags, "ATTEMPT": self._attempt}

    def _construct(
        self,
        cls: type[Component],
        spec: ComponentSpec,
        flags: Mapping[str, Any],
        node: Component | None,
        calls: bool = True,
    ) -> Component:
        part = Part(self, spec, is_child=node is not None)
        all_flags = {**flags, "TUNING": False, "CHILD_ALIAS": {}}
        mixins = {mixin.attribute: partial(load_mixin, mixin, self._project) for mixin in spec.mixins}
        return construct(cls, part, spec, all_flags, node, mixins=mixins, tags=self._spec.tags, calls=calls)

    def _code(self, target: Target) -> Code:
        return self._at_hand.get(target) or load_component(target, self._project)

    def child_specs(self) -> list[ComponentSpec]:
        return child_specs(self._spec.children)

    def construct_child(self, spec: ComponentSpec, node: Component) -> Component:
        cls = self._code(spec.target)
        if not isinstance(cls, type):
            raise InvalidType(
                f"the child {spec.component} is a function", given=spec.component, todo="A child is a class."
            )
        child = self._construct(cls, spec, spec.flags, node)
        self._go_on(child, str(len(node.children)))
        return child

    def _go_on(self, component: Component, who: str) -> None:
        """Let a component restore the checkpoint that it has saved in a former attempt, when it is created."""
        if self._resumed is not None and who in self._resumed.paths:
            component.flags["CHECKPOINT"] = self._resumed.paths[who]
            component.__dict__["__machinable__"].saves = self._resumed.facts["saved"][who]["saves"]

    def first_iteration(self) -> tuple[int, bool] | None:
        if self._resumed is None or self._resumed.facts["iteration"] is None:
            return 0, False
        seeding.put_back(self._resumed.facts["generators"], self._spec.seed)
        if self._resumed.facts["is_last"]:
            return None
        return self._resumed.facts["iteration"], self._resumed.facts["has_begun"]

    def create(self, component: Component) -> None:
        create(component)

    def seed(self) -> None:
        self._seeding.apply()

    def begin_execution(self) -> None:
        self._clock.begin()

    # what they find in `self`

    @property
    def log(self) -> logging.Logger:
        with self._log_lock:  # the heartbeat may be the first to have something to say
            if self._log is None:
                from machinable.trial.log import make_logger  # logging costs 5 ms, and many trials log nothing

                writer = TextWriter(self._files, layout.join(self._path, layout.LOG))
                self._log = make_logger(f"machinable.{self._spec.uid}", writer)
            return self._log

    @property
    def record(self) -> Record:
        if self._record is None:
            restored = self._resumed.rows if self._resumed is not None else {}
            tell = None if self._progress is None else self._tell_row
            self._record = Record(self._rows, self._clock, restored=restored, on_row=tell)
        return self._record

    def _tell_row(self, row: dict[str, Plain]) -> None:
        if self._progress is not None:
            self._progress(row, None)

    def _rows(self, scope: str) -> RowWriter:
        return RowWriter(self._files, layout.join(self._path, layout.scope_file(scope)))

    @property
    def store(self) -> Store:
        if self._store is None:
            from machinable.component.store import Store  # many trials store nothing

            path = layout.join(self._path, layout.ARTIFACTS)
            self._store = Store(self._files, path, self._artifacts, self._is_new, lambda: self.commons)
        return self._store

    @property
    def commons(self) -> SharedData:
        if self._commons is None:
            from machinable.component.shared import SharedData  # few trials share anything

            self._commons = SharedData(
                self._spec, self._files, self._folder, lambda: self._config, lambda: self.log, *(self._locks or ())
            )
        return self._commons

    @property
    def _is_new(self) -> bool:
        return self._attempt == 1 and self._spec.resume_from is None

    @property
    def requires(self) -> Requires:
        if self._requires is None:
            from machinable.component.requirements import Requires  # many trials require nothing

            self._requires = Requires(self._spec.requires, self._files, self)
        return self._requires

    def stored_trial(self, place: str) -> Any:
        if self._stored_trial is None:
            raise NotAvailable(
                "stored trials cannot be looked at here",
                given=place,
                todo="Read its artifacts: .read(name), .frame(name), .path(name).",
            )
        return self._stored_trial(self._files, place)

    def required_component(self, required: Required) -> Component:
        from machinable.trial.required_component import load_instance  # few trials need one

        return load_instance(required, self, self, self._code, self._project)

    @property
    def directory(self) -> str:
        return self._artifacts.open()

    def set_seed(self, seed: int | None) -> None:
        self._seeding.apply(seed)

    def progress(self, i: int, total: int | None) -> None:
        if self._progress is not None:
            self._progress(i, total)

    def save_checkpoint(self, component: Component, path: str | None, timestep: int | None) -> Any:
        saved, name = self.checkpoints.save(component, path, timestep)
        if name is not None:
            self.log.info("saved the checkpoint %s", name)
        return saved

    def last_checkpoint(self) -> str | None:
        raise NotAvailable(
            "on_load is for components that another one requires",
            todo="In a trial of its own, use restore_checkpoint(path).",
        )


def _line(error: Exception) -> str:
    return error_data(error)["message"].partition("\n")[0]


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _working_directory(path: str) -> Iterator[None]:
    before = os.getcwd()
    os.chdir(path)
    try:
        yield
    finally:
        with suppress(FileNotFoundError):  # somebody has removed it meanwhile
            os.chdir(before)
