"""`machinable check`: everything that is wrong with the project, and what is probably not meant."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from contextlib import redirect_stdout
from typing import TYPE_CHECKING

import click

from machinable.cli.output import json_option, told_warnings, write_json

if TYPE_CHECKING:
    from machinable.cli.lints import Hint
    from machinable.config.loader import Workspace
    from machinable.errors import MachinableError
    from machinable.project import Project

__all__ = ["command"]


@click.command("check")
@json_option
def command(as_json: bool) -> int:
    """Find everything that is wrong with the project.

    Every component is resolved alone and with each of its versions, its module is imported, its config methods and
    its Config class are checked. Exit code 2 with errors, 0 with hints only.
    """
    from machinable.cli.lints import misspelt_sections, replaced_entries, scalar_hints, sources_of
    from machinable.errors import MachinableError, MissingFile
    from machinable.project import Project

    project = Project()
    errors: list[MachinableError] = []
    hints: list[Hint] = []
    counts = {"components": 0, "versions": 0}
    try:
        workspace = project.workspace()
    except MachinableError as error:
        if isinstance(error, MissingFile) and error.given == project.path:
            raise
        _note(errors, [error])
        hints += _hints_of_text(project)
    else:
        for source in sources_of(workspace.main.scope.root):
            hints += scalar_hints(source)
        hints += misspelt_sections(workspace.main.scope.root)
        hints += replaced_entries(workspace.main)
        with told_warnings(), redirect_stdout(sys.stderr):  # modules may print when they are imported
            _check_components(project, workspace, errors, hints, counts)
    if as_json:
        write_json(
            {
                **counts,
                "errors": [error.as_data() for error in errors],
                "hints": [hint.as_data() for hint in hints],
            }
        )
    else:
        for one in errors:
            print(f"{one}\n")
        for hint in hints:
            print(hint)
        if hints:
            print()
        print(
            ", ".join(
                _counted(number, what)
                for what, number in (*counts.items(), ("errors", len(errors)), ("hints", len(hints)))
            )
        )
    return 2 if errors else 0


def _counted(number: int, what: str) -> str:
    return f"{number} {what[:-1] if number == 1 else what}"


def _note(errors: list[MachinableError], found: Iterable[MachinableError]) -> None:
    """Takes errors in, each once: with a version, a reference that fails may know other names."""
    from machinable.errors import SeveralErrors

    known = {(error.message, error.at, error.path) for error in errors}
    for error in found:
        for one in error.errors if isinstance(error, SeveralErrors) else (error,):
            if (one.message, one.at, one.path) not in known:
                known.add((one.message, one.at, one.path))
                errors.append(one)


def _hints_of_text(project: Project) -> list[Hint]:
    """Hints about the main file, which cannot be used as a whole."""
    from pathlib import Path

    from machinable.cli.lints import scalar_hints
    from machinable.config.loader import FILE
    from machinable.config.reader import Source

    try:
        text = (Path(project.path) / FILE).read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return []  # which is the error that is told
    return list(scalar_hints(Source(FILE, text)))


def _check_components(
    project: Project, workspace: Workspace, errors: list[MachinableError], hints: list[Hint], counts: dict[str, int]
) -> None:
    from machinable.cli.blocks import version_names
    from machinable.config.resolve import resolve
    from machinable.errors import MachinableError
    from machinable.execution.preflight import preflight
    from machinable.plan.task import Task

    for entry in workspace.main.components:
        counts["components"] += 1
        fine: list[str | None] = []
        try:
            versions = version_names(workspace, entry)
        except MachinableError as error:
            _note(errors, [error])
            continue
        counts["versions"] += len(versions)
        for version in (None, *versions):
            try:
                resolve(workspace, entry, version)
                fine.append(version)
            except MachinableError as error:
                _note(errors, [error])
        if not fine:
            continue
        try:
            preflight(Task().component(entry.name, fine).plan(project, seed=0), {})
        except MachinableError as error:
            _note(errors, _without_bases([error], workspace, hints))


def _without_bases(
    found: Sequence[MachinableError], workspace: Workspace, hints: list[Hint]
) -> Iterable[MachinableError]:
    """The errors but those of entries without a module that others begin with: they need none."""
    from machinable.cli.lints import Hint
    from machinable.errors import ImportFailed, SeveralErrors

    parents = {entry.parent.import_path: entry.parent for entry in workspace.main.components if entry.parent}
    for error in found:
        if isinstance(error, SeveralErrors):
            yield from _without_bases(error.errors, workspace, hints)
            continue
        cause, module = error.__cause__, str(error.given)
        missing = isinstance(cause, ModuleNotFoundError) and f"{module}.".startswith(f"{cause.name}.")
        if isinstance(error, ImportFailed) and missing and module in parents:
            entry = parents[module]
            hints.append(Hint(entry.place, f"{entry.name} has no module and cannot be executed; others begin with it"))
        else:
            yield error
