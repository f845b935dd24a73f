"""`execute`: run a task or a list of tasks, as a call or as a decorator, and the same as a dry run."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any, overload

from machinable.errors import InvalidType, InvalidValue, TrialsFailed
from machinable.events import Event, Listener, checked_listeners
from machinable.execution.dry_run import PlannedOutcome
from machinable.execution.interrupts import Interrupts
from machinable.execution.options import OnBusy, OnFailure, check_options, read_options
from machinable.execution.reuse import Reuse
from machinable.execution.run import Checked, execute_checked, outcomes_of, prepare
from machinable.plan.plan import Plan
from machinable.plan.task import Task
from machinable.project import Project

if TYPE_CHECKING:
    from machinable.execution.resume import Changes

__all__ = ["changes", "dry_run", "execute"]


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
    resume: str | None = None,
    rerun: str | Sequence[str] | bool = (),
    cascade: bool = True,
    reuse: Reuse | None = None,
    on_busy: OnBusy | None = None,
    on_failure: OnFailure | None = None,
    retries: int | None = None,
    retry_delay: float | None = None,
    timeout: float | None = None,
    listeners: Sequence[Listener | Callable[[Event], None]] = (),
) -> Any: ...


def execute(task: Any = None, storage: Any = None, seed: Any = None, engine: Any = None, **options: Any) -> Any:
    """Execute a task, or a list of tasks.

    Args:
        task: A `Task`, what `Task(...)` takes, or a list of these. A single function makes this a decorator: the
            function then runs in place of every component.
        storage: A path, a URL, or `{"storage": …, "code_backup": False}`. By default results stay in memory.
        seed: None, an integer, or an execution id; for a list of tasks also a list with one seed each.
        engine: "local" (default), "dry", a mapping `{"type": …}`, or an engine.
        options: The following keyword arguments.
        project: A `Project` or its path; by default the working directory.
        resume: The id of a stored execution to resume in its own directory; what has finished stays. Without a task
            the stored one is resumed, with a task that one replaces it.
        rerun: Components that run although their results exist: a name, a pattern, a list of these, or True for all.
        cascade: Whether trials that depend on changed results run again, too (default True).
        reuse: True (default): reuse results of requirements; "all": also reuse results of listed components;
            "same-code": only results of the same source code; False: none.
        on_busy: What to do about results that another execution is computing: "wait" (default), "skip" or "fail".
        on_failure: "raise" (default) and "continue" run all trials; "stop" starts none after the first failure.
        retries: Number of further attempts of a failed trial, with the same seed (default 0).
        retry_delay: Seconds to wait before each retry.
        timeout: Seconds that an attempt may take.
        listeners: Functions that are called with each event, or instances of `machinable.events.Listener`.

    Returns:
        The `Execution`; a list of them for a list of tasks; with the engine "dry" the `Plan`, which is printed.

    Raises:
        ConfigurationError, UsageError: Something is wrong. Nothing was started or written.
        StorageError: The storage does not exist or cannot be written.
        Refused: A trial requests more than there is, or the engine cannot enforce a timeout.
        TrialsFailed: Trials failed; `.execution` has all that ran.
        KeyboardInterrupt: The execution was interrupted; everything is written.
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
    listeners: Sequence[Listener | Callable[[Event], None]] = (),
    **options: Any,
) -> Any:
    check_options(options)
    project = project if isinstance(project, Project) else Project(project)
    audience = checked_listeners(listeners)
    if "IPython" in sys.modules:
        from machinable.display.notebook import notebook_listeners  # 2 ms, and most processes are no notebooks

        audience = (*audience, *notebook_listeners())
    is_list = isinstance(task, list)
    tasks = _tasks(task, options.get("resume"))
    seeds = _seeds(seed, len(tasks), is_list)
    done: list[Any] = []
    failed: list[TrialsFailed] = []
    batch: list[Checked] = []
    try:
        for one, own_seed in zip(tasks, seeds, strict=True):
            read = read_options(one, storage, own_seed, engine, project, options, function, audience)
            batch.append(prepare(one, read))
        while batch:
            checked = batch.pop(0)
            with Interrupts() as interrupts, closing(checked.engine):
                try:
                    done.append(execute_checked(checked, interrupts))
                except TrialsFailed as error:
                    if not is_list:
                        raise
                    done.append(error.execution)
                    failed.append(error)
                    if checked.options.policy.on_failure == "stop":
                        break
    finally:
        for checked in batch:  # those that were not reached
            checked.engine.close()
    if failed:
        raise _all_failures(failed, done)
    return done if is_list else done[0]


def _tasks(task: Any, resume: object) -> list[Task | None]:
    if task is None and resume is None:
        raise InvalidValue("there is nothing to execute", todo="Give a task: execute(Task().component(name)).")
    if not isinstance(task, list):
        return [_task(task)]
    if resume is not None:
        raise InvalidValue("resume takes one task, not a list", given=task)
    if not task:
        raise InvalidValue("there is nothing to execute: the list of tasks is empty")
    if None in task:
        raise InvalidValue(f"item {task.index(None)} of the list of tasks is None", given=task)
    return [_task(one) for one in task]


def _task(task: Any) -> Task | None:
    return task if task is None or isinstance(task, Task) else Task(task)


def _seeds(seed: Any, count: int, is_list: bool) -> list[Any]:
    if not is_list or not isinstance(seed, (list, tuple)):
        return [seed] * count
    if len(seed) != count:
        raise InvalidValue(f"{len(seed)} seeds for {count} tasks", given=seed, todo="Give one seed for each task.")
    return list(seed)


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


def changes(
    resume: str, task: Any = None, storage: Any = None, *, project: Project | str | os.PathLike[str] | None = None
) -> Changes:
    """Return what `execute(task, storage, resume=…)` would add to, remove from and keep of a stored execution.

    Nothing is written or run.

    Raises:
        ConfigurationError, UsageError, StorageError, Refused: As `execute`, before anything is started.
    """
    checked = _dry(task, storage, None, project, {"resume": resume})
    assert checked.stored is not None
    return checked.stored.changes


def dry_run(task: Any, storage: Any = None, seed: Any = None, **options: Any) -> tuple[Plan, list[PlannedOutcome]]:
    """Return what `execute` would do: the plan, and what would become of each trial. Nothing is run or written.

    Args:
        task: One task, as for `execute`.
        storage: As for `execute`.
        seed: As for `execute`.
        options: As for `execute`.

    Raises:
        ConfigurationError, UsageError, StorageError, Refused: As `execute`, before anything is started.
    """
    project = options.pop("project", None)
    check_options(options)
    checked = _dry(task, storage, seed, project, options)
    return checked.plan, outcomes_of(checked)


def _dry(task: Any, storage: Any, seed: Any, project: Any, options: dict[str, Any]) -> Checked:
    project = project if isinstance(project, Project) else Project(project)
    one = _task(task)
    return prepare(one, read_options(one, storage, seed, "dry", project, options))
