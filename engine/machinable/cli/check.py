"""`machinable check`: every error in the project, and hints about probable mistakes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

from machinable.cli.config import version_names
from machinable.cli.hints import Hint, carried_hints, replaced_entries, scalar_hints, section_hints, sources_of
from machinable.cli.output import write_json
from machinable.component.config_methods import missing_method
from machinable.component.imports import load_component
from machinable.config.method_calls import calls_in
from machinable.config.resolve import resolve
from machinable.display.tables import counted
from machinable.display.terminal import echo
from machinable.errors import ImportFailed, MachinableError, MissingFile, SeveralErrors
from machinable.execution.options import (
    check_settings,
    engine_errors,
    load_listeners,
    named_listeners,
    preferences,
    section_errors,
)
from machinable.execution.preflight import begin_search, preflight
from machinable.plan.declared import declared_task
from machinable.plan.search_plan import SearchPlan
from machinable.plan.spec import Target
from machinable.plan.task import Task
from machinable.project import Project

if TYPE_CHECKING:
    from machinable.config.loader import Workspace
    from machinable.config.registry import Entry
    from machinable.config.resolved import Resolved

__all__ = ["check_command"]


def check_command(no_import: bool, as_json: bool) -> int:
    """Report every error in the project, or without imports in its files only; return exit code 2 if there are any."""
    project = Project()
    found: list[MachinableError] = []
    hints: list[Hint] = []
    counts = {"component": 0, "version": 0}
    try:
        workspace = project.workspace()
    except MachinableError as error:
        if isinstance(error, MissingFile) and error.given == project.path:
            raise
        found.append(error)
    else:
        found += workspace.errors
        for source in sources_of(workspace.main.scope.root):
            hints += scalar_hints(source)
        hints += section_hints(workspace.main.scope.root)
        found += section_errors(workspace.main.execution)
        hints += replaced_entries(workspace.main)
        with redirect_stdout(sys.stderr):  # modules may print when they are imported
            for entry in workspace.main.components:
                counts["component"] += 1
                found += _check_entry(project, entry, hints, counts, imports=not no_import)
            for name in workspace.main.tasks:
                counts["task"] = counts.get("task", 0) + 1
                found += _check_task(project, name, imports=not no_import)
            if not no_import:
                found += engine_errors(workspace.main.execution)
                found += _check_listeners(project)
    # Each once: with a version, a reference that fails may suggest other names.
    each = [one for error in found for one in (error.parts)]
    errors = list({(one.message, one.at, one.path): one for one in reversed(each)}.values())[::-1]
    if as_json:
        write_json(
            {
                "components": counts["component"],
                "versions": counts["version"],
                "tasks": counts.get("task", 0),
                "errors": [error.as_data() for error in errors],
                "hints": [hint.as_data() for hint in hints],
            }
        )
        return 2 if errors else 0
    for one in errors:
        echo(f"{one}\n")
    for hint in hints:
        echo(hint)
    if hints:
        echo()
    totals = counts | {"error": len(errors), "hint": len(hints)}
    echo(", ".join(counted(number, what) for what, number in totals.items()))
    return 2 if errors else 0


def _check_listeners(project: Project) -> Iterable[MachinableError]:
    """Return the errors of the listeners that the project and the user name."""
    try:
        load_listeners(named_listeners(project, preferences(os.environ), os.environ), project.path)
    except MachinableError as error:
        return error.parts
    return ()


def _check_entry(
    project: Project, entry: Entry, hints: list[Hint], counts: dict[str, int], *, imports: bool
) -> Iterator[MachinableError]:
    """Yield the errors of a component alone and with each of its versions; add hints, and count versions."""
    workspace = project.workspace()
    try:
        versions = version_names(workspace, entry)
    except MachinableError as error:
        yield error
        return
    counts["version"] += len(versions)
    valid: dict[str | None, Resolved] = {}
    for version in (None, *versions):
        try:
            valid[version] = resolve(workspace, entry, version)
        except MachinableError as error:
            yield error
    if not valid:
        return
    hints += dict.fromkeys(hint for resolved in valid.values() for hint in carried_hints(resolved))
    try:
        plan = Task().component(entry.name, list(valid)).plan(project, seed=0)
        if imports:
            preflight(plan, {})
            hints += _call_hints(project, valid.values())
    except MachinableError as error:
        yield from _without_bases([error], workspace, hints)


def _check_task(project: Project, name: str, *, imports: bool) -> Iterator[MachinableError]:
    """Yield the errors of a declared task: in what it declares, in its trials, and in its settings."""
    try:
        task = declared_task(project.workspace(), name)
        plan = task.plan(project, seed=0)
        check_settings(task)
        if imports:
            yield from engine_errors(task.settings)
            if isinstance(plan, SearchPlan):
                begin_search(plan, {})
            preflight(plan, {})
    except MachinableError as error:
        yield error


def _call_hints(project: Project, uses: Iterable[Resolved]) -> Iterable[Hint]:
    """Find text that is probably meant to call a config method, each place once."""
    found: dict[Hint, None] = {}
    for resolved in uses:
        cls: Any = load_component(Target(resolved.module, resolved.class_name), project.path)
        for path, text in calls_in(resolved.stored):
            if isinstance(cls, type) and (method := missing_method(cls, text)) is not None:
                message = f"{text!r} is text, because {cls.__module__}.{cls.__qualname__} has no method {method}"
                found[Hint(resolved.place(path), message)] = None
    return found


def _without_bases(
    found: Sequence[MachinableError], workspace: Workspace, hints: list[Hint]
) -> Iterable[MachinableError]:
    """Return the errors except those of entries without a module that others inherit from: they need none."""
    parents = {entry.parent.import_path: entry.parent for entry in workspace.main.components if entry.parent}
    for error in found:
        if isinstance(error, SeveralErrors):
            yield from _without_bases(error.errors, workspace, hints)
            continue
        cause, module = error.__cause__, str(error.given)
        missing = isinstance(cause, ModuleNotFoundError) and f"{module}.".startswith(f"{cause.name}.")
        if isinstance(error, ImportFailed) and missing and module in parents:
            entry = parents[module]
            text = f"{entry.name} has no module and cannot be executed; other components inherit from it"
            hints.append(Hint(entry.place, text))
        else:
            yield error
