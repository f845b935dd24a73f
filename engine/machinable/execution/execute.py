"""Carries out tasks: plans them, checks them, makes their folders, runs them, and gives back what can be read."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast, overload

from machinable import ids
from machinable.config.references import Resolver
from machinable.config.source import Section
from machinable.display.notebook import notebook_listeners
from machinable.engines import registry
from machinable.engines.dry import DryEngine
from machinable.engines.protocol import Engine, Work
from machinable.engines.reports import OnProgress
from machinable.errors import (
    InvalidType,
    InvalidValue,
    MalformedText,
    MissingFile,
    Refused,
    TrialsFailed,
    near_names,
)
from machinable.events import Listener, checked_listeners
from machinable.execution.alarm import check_alarm, with_alarm
from machinable.execution.capacity import Capacity, host_capacity
from machinable.execution.failures import trials_failed
from machinable.execution.folder import backed_up, begin
from machinable.execution.host import now
from machinable.execution.preferences import preferences
from machinable.execution.preflight import preflight
from machinable.execution.scheduler import OnFailure, Policy, Scheduler
from machinable.execution.spool import Spool
from machinable.execution.work import HereWork, WorkerWork, check_importable
from machinable.plan.expand import live_code
from machinable.plan.plan import Plan
from machinable.plan.retries import checked_count, checked_seconds
from machinable.plan.task import Task
from machinable.project import Project
from machinable.results.execution import Execution
from machinable.settings import choose, storage_choice
from machinable.storage.files import Files
from machinable.storage.opener import open_files, storage_url

__all__ = ["execute"]

_POLICIES = ("raise", "continue", "stop")
_POLICY = ("on_failure", "retries", "retry_delay", "timeout")
_LATER = ("threads", "reuse", "on_busy", "locks", "lease")
_ARGUMENTS = ("task", "storage", "seed", "engine", "project", "listeners", *_POLICY)


@overload
def execute(task: Callable[..., Any]) -> Callable[..., Any]: ...


@overload
def execute(
    task: Any = None,
    storage: Any = None,
    seed: Any = None,
    engine: Any = None,
    *,
    project: Project | str | os.PathLike[str] | None = None,
    on_failure: OnFailure | None = None,
    retries: int | None = None,
    retry_delay: float | None = None,
    timeout: float | None = None,
    listeners: Sequence[Listener] = (),
) -> Any: ...


def execute(task: Any = None, storage: Any = None, seed: Any = None, engine: Any = None, **options: Any) -> Any:
    """Execute a task, or a list of tasks.

    Args:
        task: a `Task`, what `Task(...)` takes, or a list of such. A function alone makes this a decorator: the
            function becomes the component of every trial.
        storage: a path, a URL, or `{"storage": …, "code_backup": False}`; default: memory, nothing is kept.
        seed: None, an int, or an execution id; for a list of tasks also a list with one for each.
        engine: "local" (default), "dry", a mapping `{"type": …}`, or an engine.
        project: a `Project` or its path; default: the working directory.
        on_failure: "raise" (default) and "continue" run all trials; "stop" starts none after the first failure.
        retries: further attempts of a trial that failed (default 0), with the same seed.
        retry_delay: seconds before one. timeout: seconds that an attempt may take.
        listeners: functions that are called with each event.

    Returns:
        The `Execution`; for a list of tasks a list; with the engine "dry" the `Plan`, which is printed.

    Raises:
        ConfigurationError, UsageError: nothing has been started or written.
        StorageError: the storage is not there or cannot be written.
        Refused: a trial asks for more than there is, or a timeout cannot be kept here.
        TrialsFailed: trials failed; `.execution` has all that ran.
        KeyboardInterrupt: everything has been written that was there to write.
    """
    is_function = callable(task) and not isinstance(task, type)
    if is_function and storage is None and seed is None and engine is None and not options:
        return _decorated(task)
    if is_function:
        raise InvalidType(
            f"execute takes the function {getattr(task, '__qualname__', task)} alone, as a decorator", given=task,
            todo="To run it as a component: execute(Task(function), …).",
        )  # fmt: skip
    return _execute(task, storage, seed, engine, None, **options)


def _decorated(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function, assigned=("__module__", "__name__", "__qualname__", "__doc__"))
    def run(task: Any = None, storage: Any = None, seed: Any = None, engine: Any = None, **options: Any) -> Any:
        return _execute(task, storage, seed, engine, function, **options)

    return run


def _execute(
    task: Any,
    storage: Any,
    seed: Any,
    engine: Any,
    function: Callable[..., Any] | None,
    *,
    project: Project | str | os.PathLike[str] | None = None,
    listeners: Sequence[Listener] = (),
    **policy: Any,
) -> Any:
    for name in policy:
        if name not in _POLICY:
            raise InvalidType(
                f"execute takes no argument {name!r}", given=name, known=_ARGUMENTS,
                todo=f"Did you mean {near[0]!r}?" if (near := near_names(name, _ARGUMENTS)) else None,
            )  # fmt: skip
    where = project if isinstance(project, Project) else Project(project)
    heard: tuple[Listener, ...] = (*checked_listeners(listeners), *notebook_listeners())
    if task is None:
        raise InvalidValue("there is nothing to execute", todo="Give a task: execute(Task().component(name)).")
    several = isinstance(task, list)
    tasks = [one if isinstance(one, Task) else Task(one) for one in (task if several else [task])]
    if not tasks:
        raise InvalidValue("there is nothing to execute: the list of tasks is empty")
    seeds = _seeds(seed, len(tasks), several)
    batch = [_Run(one, where, storage, given, engine, function, heard, policy) for one, given in zip(tasks, seeds, strict=True)]  # noqa: E501  # fmt: skip
    done: list[Any] = []
    failed: list[TrialsFailed] = []
    for run in batch:
        try:
            done.append(run.execute())
        except TrialsFailed as error:
            if not several:
                raise
            done.append(error.execution)
            failed.append(error)
            if run.policy.on_failure == "stop":
                break
        finally:
            run.close()
    if failed:
        first = failed[0]
        raise TrialsFailed(
            first.message if len(failed) == 1 else f"{len(failed)} executions have failed trials: {first.message}, …",
            details=[line for error in failed for line in error.details], todo=first.todo,
            execution=first.execution, executions=done,
        ) from first.__cause__  # fmt: skip
    return done if several else done[0]


def _seeds(seed: Any, count: int, several: bool) -> list[Any]:
    if not several or not isinstance(seed, (list, tuple)):
        return [seed] * count
    if len(seed) != count:
        raise InvalidValue(f"{len(seed)} seeds are given for {count} tasks", given=seed, todo="Give one for each task.")
    return list(seed)


class _Run:
    """One task on its way: planned and checked when it is made, carried out by `execute`."""

    def __init__(
        self,
        task: Task,
        project: Project,
        storage: Any,
        seed: Any,
        engine: Any,
        function: Callable[..., Any] | None,
        listeners: Sequence[Listener],
        policy: Mapping[str, Any],
    ) -> None:
        section = _plain_section(project, task)
        user = preferences(os.environ)
        given = choose("seed", seed, os.environ, section, user)
        seed = ids.seed_of_text(given.value) if given.source == "environment" else given.value
        self.engine: Engine = registry.make(choose("engine", engine, os.environ, section, user, "local").value)
        self.policy = _policy(policy, section)
        self.storage = storage_choice(storage, os.environ, section, user)
        self.function = function
        self.listeners = listeners
        live = live_code(task.wish)
        plan = task.plan(project, seed)
        if not len(plan):
            raise InvalidValue("the task has no trials", given=repr(task), todo="Add one: .component(name).")
        self.plan: Plan = preflight(plan, live, function)
        self.capacity = Capacity(host_capacity(section.get("resources")))
        self.capacity.refuse(self.plan)
        if self.policy.timeout is not None and not hasattr(self.engine, "end"):
            if self.engine.reach != "process":
                raise Refused(
                    f"the engine {self.engine.name!r} cannot end a trial whose time is over",
                    todo="Leave out the timeout, or use engine='processes'.",
                )
            check_alarm()
        self.live = live
        self.place = None if self.engine.reach == "process" else check_importable(live, function)
        base = project.path if self.storage.source == "project" else None
        url = storage_url(self.storage.url, base) if self.storage.url is not None else "mem://"
        self.url = url

    def execute(self) -> Execution | Plan:
        if isinstance(self.engine, DryEngine):
            print(self.plan)
            return self.plan
        files = open_files(self.url, create=True)
        if self.engine.reach == "anywhere" and files.reach != "anywhere":
            raise Refused(
                f"the engine {self.engine.name!r} has workers on other hosts, which do not reach {files.url}",
                given=files.url, todo="Give a storage that is reached from anywhere, such as s3://bucket/folder.",
            )  # fmt: skip
        code = backed_up(self.plan.project, files, self.storage.code_backup)
        engine = {"type": self.engine.name, "slots": self.engine.slots}
        folder, _ = begin(files, self.plan, engine, code, now())
        work, where = self._work(files, folder)
        if self.policy.timeout is not None and not hasattr(self.engine, "end"):
            work = with_alarm(work, self.policy.timeout)
        scheduler = Scheduler(self.plan, where, work, files, folder, self.listeners, self.policy, self.capacity)
        execution = Execution(files, folder, plan=self.plan, trust=True)
        try:
            scheduler.run()
        except KeyboardInterrupt as interrupt:
            interrupt.add_note(f"execution {folder} in {files.url}") if hasattr(interrupt, "add_note") else None
            raise
        finally:
            if isinstance(where, Spool):
                where.close()
        if scheduler.failures and self.policy.on_failure != "continue":
            raise trials_failed(scheduler, execution)
        return execution

    def _work(self, files: Files, folder: str) -> tuple[Work, Engine]:
        """What is done for a trial, and where: workers that do not reach the storage have it spooled."""
        if self.engine.reach == "process":
            work = HereWork(
                files, folder, self.plan.project, self.live, self.function, on_progress=self._progress_listener()
            )
            return work, self.engine
        if hasattr(self.engine, "on_progress"):
            self.engine.on_progress = self._progress_listener()
        if files.reach != "process":
            return WorkerWork(self.url, folder, self.plan.project, self.place), self.engine
        spool = Spool(self.engine, files, folder)
        return WorkerWork(spool.directory, folder, self.plan.project, self.place), spool

    def _progress_listener(self) -> OnProgress | None:
        """What is told how far trials say they are: all listeners with a method `on_progress`."""
        told = [tell for one in self.listeners if callable(tell := getattr(one, "on_progress", None))]
        if not told:
            return None

        def on_progress(uid: str, i: int, total: int | None) -> None:
            for tell in told:
                tell(uid, i, total)

        return on_progress

    def close(self) -> None:
        self.engine.close()


def _plain_section(project: Project, task: Task) -> Mapping[str, Any]:
    """The `execution:` section; classes and functions do without a project."""
    try:
        workspace = project.workspace()
    except MissingFile:
        if any(isinstance(call.name, str) for call in task.calls):
            raise
        return {}
    declared = workspace.main.execution
    for key in _LATER:
        if declared.get(key) is not None:
            raise MalformedText(
                f"`{key}` is not supported by this version of machinable", path="execution",
                at=declared.place(key) if isinstance(declared, Section) else None, todo="Leave it out.",
            )  # fmt: skip
    return Resolver(declared, "execution").copy()


def _policy(call: Mapping[str, Any], section: Mapping[str, Any]) -> Policy:
    """What counts of the call and the `execution:` section."""

    def said(name: str, default: Any) -> Any:
        return choose(name, call.get(name), {}, section, {}, default).value

    on_failure, timeout = said("on_failure", "raise"), said("timeout", None)
    if on_failure not in _POLICIES:
        raise InvalidValue(
            f"on_failure is {on_failure!r}", given=on_failure, known=_POLICIES, todo=f"It is {' or '.join(_POLICIES)}."
        )
    if timeout is not None and not checked_seconds(timeout, "timeout"):
        raise InvalidValue("a timeout of 0 seconds leaves no time at all", given=timeout)
    return Policy(
        cast(OnFailure, on_failure), checked_count(said("retries", 0), "retries"),
        checked_seconds(said("retry_delay", 0.0), "retry_delay"), timeout,
    )  # fmt: skip
