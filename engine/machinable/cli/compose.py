"""From the words of a command to its task: a component, a declared task, or a task of a Python module."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from importlib import import_module
from operator import attrgetter
from typing import Any

from machinable.cli.arguments import parse_version
from machinable.component.imports import importing
from machinable.config.resolve import find_component
from machinable.errors import (
    ImportFailed,
    InvalidType,
    InvalidValue,
    MachinableError,
    MissingMember,
    UnknownName,
    listed,
    suggestion,
    warn,
)
from machinable.plan.declared import declared_task
from machinable.plan.plan import Plan
from machinable.plan.spec import ComponentSpec
from machinable.plan.task import Task, laid_over
from machinable.project import Project
from machinable.serialization import dumps

__all__ = ["TypedTask", "compose", "only_target", "task_components"]

_TODO = "Name a Task, or a function without arguments that returns one: package.module:name."


def compose(project: Project, target: str, words: Sequence[str], grids: Sequence[str] = ()) -> Task:
    """Return the task that a command describes.

    Args:
        project: The project.
        target: The name of a component or of a declared task, or `package.module:name`.
        words: Versions and values; they are merged over those of all components of a task.
        grids: The values of `--grid`.

    Raises:
        UnknownName: There is no such component or task.
        MachinableError: The task, a word or a grid is wrong.
    """
    task = _task(project, target)
    if task is None:
        return TypedTask().component(target, parse_version(words, project, [target], grids))
    return TypedTask(laid_over(task, parse_version(words, project, task_components(task), grids)))


class TypedTask(Task):
    """A task of the command line: its plan warns of alternatives that have the same configuration."""

    def plan(self, project: Any = None, seed: object = None, *, storage: str | None = None) -> Plan:
        """Return the plan; see `Task.plan`."""
        plan = super().plan(project, seed, storage=storage)
        listed = [use.definition for use in plan.uses if not use.identity]
        if len({definition.content for definition in listed}) == len(listed):
            return plan
        equal = list(_equal_pairs(listed))
        if equal:
            one, other = equal[0]
            count = f"{len(equal):,} of {len(listed):,} alternatives have" if len(equal) > 1 else "an alternative has"
            warn(
                f"{count} the configuration of an earlier one, so only their seeds differ: {one.component} with "
                f"{_written(one)} and {_written(other)}. To run a configuration several times, use --repeat"
            )
        return plan


def _equal_pairs(listed: Sequence[ComponentSpec]) -> Iterator[tuple[ComponentSpec, ComponentSpec]]:
    """Yield components that have the configuration of an earlier one, after that, but are written in another way."""
    first: dict[str, ComponentSpec] = {}
    for definition in listed:
        earlier = first.setdefault(definition.content, definition)
        if definition.version != earlier.version and "_seed_" not in _written(definition):
            yield earlier, definition


def _written(definition: ComponentSpec) -> str:
    version = definition.version
    elements = version if isinstance(version, (list, tuple)) else [version]
    return " ".join("no version" if one is None else one if isinstance(one, str) else dumps(one) for one in elements)


def only_target(project: Project) -> str:
    """Return what a command runs that names nothing: the only task of a project, or else its only component.

    Raises:
        InvalidValue: There is none, or more than one.
    """
    main = project.workspace().main
    tasks, components = list(main.tasks), [entry.name for entry in main.components]
    found = tasks or components
    if len(found) == 1:
        return found[0]
    what = "tasks" if tasks else "components"
    raise InvalidValue(
        f"the project has {len(found)} {what}, so one has to be named"
        if found
        else "the project declares nothing to run",
        known=[*tasks, *components],
        todo=f"machinable execute {found[0]}; it has {listed(found, 20)}." if found else "Declare a component first.",
    )


def task_components(task: Task) -> list[str]:
    """Return the declared names of the components of a task, each once."""
    return list(dict.fromkeys(one.name for one in task.components if isinstance(one.name, str)))


def _task(project: Project, target: str) -> Task | None:
    """Return the task of that name, or None for a component."""
    if ":" in target:
        return _imported(project, target)
    workspace = project.workspace()
    tasks = workspace.tasks
    if target in tasks:
        return declared_task(workspace, target)
    try:
        find_component(workspace, target)
    except UnknownName as error:
        if tasks and error.given == target:
            known = [*error.known, *tasks]
            raise UnknownName("component or task", target, known, details=error.details) from None
        raise
    return None


def _imported(project: Project, target: str) -> Task:
    module, _, path = target.partition(":")
    if not module or not path:
        raise InvalidValue(f"{target!r} is not module:name", given=target, todo=_TODO)
    with redirect_stdout(sys.stderr), importing(project.path):
        try:
            loaded = import_module(module)
        except (Exception, SystemExit) as error:
            missing = error.name if isinstance(error, ModuleNotFoundError) else None
            is_missing = f"{module}.".startswith(f"{missing}.")
            reason = f"there is no module {missing!r}" if is_missing else f"{type(error).__name__}: {error}"
            todo = "Write it as in an import, from the directory of the project." if is_missing else None
            if module.endswith(".py") or "/" in module:
                todo = f"Write {module.removesuffix('.py').strip('./').replace('/', '.')}:{path}."
            raise ImportFailed(f"{target} cannot be imported: {reason}", given=target, todo=todo) from error
        try:
            found: Any = attrgetter(path)(loaded)
        except AttributeError:
            known = [
                name for name, value in vars(loaded).items() if isinstance(value, Task) or inspect.isfunction(value)
            ]
            todo = suggestion(path, known, _TODO)
            message = f"there is no {path!r} in the module {module!r}"
            raise MissingMember(message, given=target, known=known, todo=todo) from None
        return _called(found, target)


def _called(found: Any, target: str) -> Task:
    """Return a task, or what a function without arguments returns."""
    if isinstance(found, Task):
        return found
    if isinstance(found, type) or not callable(found):
        raise InvalidType(f"{target} is {_kind(found)}, not a Task", given=target, todo=_TODO)
    try:
        inspect.signature(found).bind()
    except TypeError as error:
        message = f"the function {target} cannot be called without arguments: {error}"
        raise InvalidType(message, given=target, todo=_TODO) from None
    try:
        task = found()
    except MachinableError:
        raise
    except Exception as error:
        message = f"the function {target} has failed: {type(error).__name__}: {error}"
        raise InvalidValue(message, given=target, todo="It is called to make the task.") from error
    if not isinstance(task, Task):
        raise InvalidType(f"the function {target} returns {_kind(task)}, not a Task", given=target, todo=_TODO)
    return task


def _kind(value: Any) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else f"an object of type {type(value).__name__}"
