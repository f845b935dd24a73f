"""`execute`: run a task or a list of tasks, as a call or as a decorator."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, TypedDict, overload

from machinable import ids
from machinable.errors import InvalidType, InvalidValue, TrialsFailed
from machinable.events import Event, Listener, checked_listeners
from machinable.execution.display import Display
from machinable.execution.interrupts import Interrupts
from machinable.execution.options import OnBusy, OnFailure, read_options
from machinable.execution.preflight import Checked, prepare
from machinable.execution.reuse import Reuse
from machinable.execution.run import execute_checked
from machinable.listeners.registry import make
from machinable.plan.declared import task_of
from machinable.plan.plan import Plan
from machinable.plan.task import Task
from machinable.project import Project

__all__ = ["execute"]


if TYPE_CHECKING:
    from typing_extensions import Unpack

    from machinable.plan.plan import Plan
    from machinable.results.execution import Execution

    One: TypeAlias = Task | Plan | str | type[Any] | tuple[Any, ...] | None

    class Options(TypedDict, total=False):
        """The keyword arguments of `execute`."""

        project: Project | str | os.PathLike[str] | None
        resume: str | None
        rerun: str | Sequence[str] | bool
        cascade: bool
        reuse: Reuse | None
        on_busy: OnBusy | None
        on_failure: OnFailure | None
        retries: int | None
        retry_delay: float | None
        timeout: float | None
        listeners: Sequence[Listener | Callable[[Event], None] | str | dict[str, Any]]
        progress: bool | None

    class Decorated(Protocol):
        """A function that executes tasks as `execute` does, itself in place of each component."""

        @overload
        def __call__(
            self, task: One = ..., storage: Any = ..., seed: Any = ..., *, engine: Literal["dry"], **_: Unpack[Options]
        ) -> Plan: ...
        @overload
        def __call__(
            self, task: list[Any], storage: Any = ..., seed: Any = ..., *, engine: Literal["dry"], **_: Unpack[Options]
        ) -> list[Plan]: ...
        @overload
        def __call__(
            self, task: One = ..., storage: Any = ..., seed: Any = ..., engine: Any = ..., **more: Unpack[Options]
        ) -> Execution: ...
        @overload
        def __call__(
            self, task: list[Any], storage: Any = ..., seed: Any = ..., engine: Any = ..., **more: Unpack[Options]
        ) -> list[Execution]: ...


@overload
def execute(
    task: One = None, storage: Any = None, seed: Any = None, *, engine: Literal["dry"], **options: Unpack[Options]
) -> Plan: ...


@overload
def execute(
    task: list[Any], storage: Any = None, seed: Any = None, *, engine: Literal["dry"], **options: Unpack[Options]
) -> list[Plan]: ...


@overload
def execute(
    task: One = None, storage: Any = None, seed: Any = None, engine: Any = None, **options: Unpack[Options]
) -> Execution: ...


@overload
def execute(
    task: list[Any], storage: Any = None, seed: Any = None, engine: Any = None, **options: Unpack[Options]
) -> list[Execution]: ...


@overload
def execute(task: Callable[..., Any]) -> Decorated: ...


def execute(task: Any = None, storage: Any = None, seed: Any = None, engine: Any = None, **options: Any) -> Any:
    """Execute a task, or a list of tasks.

    Args:
        task: A `Task`, anything that `Task(...)` takes, a `Plan`, whose id and seeds are used, or a list of these. A
            function makes this a decorator: the function then runs instead of every component.
        storage: A path, a URL, or `{"storage": …, "code_backup": False}`. By default, results stay in memory.
        seed: None, an integer, an execution id, or "content": trials take their seeds from their content, as
            requirements do. For a list of tasks also a list of seeds.
        engine: "local" (default), "dry", a mapping `{"type": …}`, or an engine.
        options: The following keyword arguments.
        project: A `Project` or its path; by default the working directory.
        resume: The id of a stored execution to resume in its own folder; finished trials stay. Without a task,
            the stored one is resumed; a given task replaces it.
        rerun: Components to run even if their results exist: a name, a pattern, a list of these, or True for all.
        cascade: Whether trials that depend on changed results also run again (default True).
        reuse: True (default): reuse results of requirements; "all": also reuse results of listed components;
            "same-code": only results of the same source code; False: none.
        on_busy: What to do about results that another execution is computing: "wait" (default), "skip" or "fail".
        on_failure: "raise" (default) and "continue" run all trials; "stop" starts none after the first failure.
        retries: Number of further attempts of a failed trial, with the same seed (default 0).
        retry_delay: Seconds to wait before each retry.
        timeout: Time limit of an attempt in seconds.
        listeners: Functions that are called with each event, instances of `machinable.events.Listener`, or names and
            mappings as in settings, such as "webhook"; in addition to those of the settings.

        progress: False is silent. By default, progress, results and next commands are shown on stderr: live on a
            terminal, one line for each trial elsewhere, one line in a notebook.

    Returns:
        The `Execution`; a list of them for a list of tasks; with the engine "dry" the `Plan`, which is printed.

    Raises:
        ConfigurationError, UsageError: Something is wrong. Nothing was started or written.
        StorageError: The storage does not exist or cannot be written.
        Refused: A trial requests unavailable resources, or the engine cannot enforce a timeout.
        TrialsFailed: Trials failed; `.execution` is the execution.
        KeyboardInterrupt: The execution was interrupted; everything is written.
        SystemExit: The same, by SIGTERM (code 143) or SIGHUP (129).
    """
    is_function = callable(task) and not isinstance(task, type)
    if is_function and storage is None and seed is None and engine is None and not options:
        return _decorated(task)
    if is_function:
        raise InvalidType(
            f"execute takes the function {getattr(task, '__qualname__', task)} alone, as a decorator",
            given=task,
            todo="To run it as a component: execute(Task(function), …).",
        )
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
    listeners: Sequence[Listener | Callable[[Event], None] | str | dict[str, Any]] = (),
    progress: bool | None = None,
    **options: Any,
) -> Any:
    plans = [one if isinstance(one, Plan) else None for one in (task if isinstance(task, list) else [task])]
    if project is None:
        project = next((plan.project for plan in plans if plan is not None), None)
    project = project if isinstance(project, Project) else Project(project)
    given: Any = listeners
    if isinstance(given, (list, tuple)):
        given = [make(one, project.path) if isinstance(one, (str, dict)) else one for one in given]
    audience = checked_listeners(given)
    tasks = _tasks(task, options.get("resume"), project)
    seeds = seed if isinstance(task, list) and isinstance(seed, (list, tuple)) else [seed] * len(tasks)
    if len(seeds) != len(tasks):
        raise InvalidValue(
            f"{len(seeds)} seeds for {len(tasks)} tasks", given=seed, todo="Give one seed for each task."
        )
    done: list[Any] = []
    failed: list[TrialsFailed] = []
    batch: list[tuple[Checked, Display]] = []
    try:
        for one, plan, own_seed in zip(tasks, plans, seeds, strict=True):
            own_seed = own_seed if plan is None else _seed_of_plan(plan, own_seed)
            display = Display(progress)
            heard = (*display.listeners, *audience)  # those that send something somewhere may take a while
            read = read_options(one, storage, own_seed, engine, project, options, function, heard)
            display.storage = read.storage
            batch.append((prepare(one, read, plan), display))
        while batch:
            checked, display = batch.pop(0)
            with Interrupts() as interrupts, closing(checked.engine), display:
                try:
                    done.append(display.ended(execute_checked(checked, interrupts)))
                except TrialsFailed as error:
                    if not isinstance(task, list):
                        raise
                    done.append(display.ended(error.execution))
                    failed.append(error)
                    if checked.options.policy.on_failure == "stop":
                        break
    finally:
        for checked, _ in batch:  # those that were not reached
            checked.engine.close()
    if failed:
        raise _all_failures(failed, done)
    return done if isinstance(task, list) else done[0]


def _seed_of_plan(plan: Plan, seed: object) -> str:
    if seed is not None and ids.seed_of(seed) != plan.seed:
        raise InvalidValue(
            f"the plan has the id {plan.id}, and not the seed {seed!r}",
            given=seed,
            todo="Leave out the seed, or plan the task with it: task.plan(seed=…).",
        )
    return plan.seed_text


def _tasks(task: Any, resume: object, project: Project) -> list[Task | None]:
    if task is None and resume is None:
        raise InvalidValue("there is nothing to execute", todo="Give a task: execute(Task().component(name)).")
    tasks = task if isinstance(task, list) else [task]
    if isinstance(task, list):
        if resume is not None:
            raise InvalidValue("resume takes one task, not a list", given=task)
        if not task:
            raise InvalidValue("there is nothing to execute: the list of tasks is empty")
        if None in task:
            raise InvalidValue(f"item {task.index(None)} of the list of tasks is None", given=task)
    return [None if one is None else task_of(one, project) for one in tasks]


def _all_failures(failed: Sequence[TrialsFailed], executions: Sequence[Any]) -> TrialsFailed:
    first = failed[0]
    error = TrialsFailed(
        first.message if len(failed) == 1 else f"{len(failed)} executions have failed trials: {first.message}, …",
        details=[line for one in failed for line in one.details],
        todo=first.todo,
        execution=first.execution,
        executions=list(executions),
    )
    error.__cause__ = first.__cause__
    return error
