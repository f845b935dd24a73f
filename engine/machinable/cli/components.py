"""`machinable components`: the components, tasks and mixins of a project, and of the projects that it imports."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from machinable.cli.config import version_names
from machinable.cli.output import message, write_json
from machinable.config.inheritance import class_of
from machinable.config.tasks import TaskEntry
from machinable.display.tables import Table, write_table
from machinable.errors import MachinableError
from machinable.project import Project

if TYPE_CHECKING:
    from machinable.config.loader import Document, Workspace
    from machinable.config.registry import Entry

__all__ = ["components_command"]


def components_command(wide: bool, as_json: bool) -> None:
    """List what the project declares, with the first line of its docstrings. No module is imported for it."""
    project = Project()
    workspace = project.workspace()
    found = list(_declared(workspace, workspace.main, project.path))
    for name in workspace.main.imports:
        document = workspace.imported(workspace.main, name)
        if document is not None:
            found += _declared(workspace, document, project.path, f"+.{name}.")
    if as_json:
        write_json(
            {kind: [one for one in found if one["kind"] == kind[:-1]] for kind in ("components", "tasks", "mixins")}
        )
    elif found:
        headings = ["name", "kind", "versions", "declared at", "about"]
        rows = [[one["name"], one["kind"], " ".join(one["versions"]), str(one["at"]), one["about"]] for one in found]
        write_table(Table(headings, rows), wide=wide)
    else:
        message(f"{workspace.main.file} declares no components; for hints: machinable check")


def _declared(workspace: Workspace, document: Document, project: str, prefix: str = "") -> Iterator[Mapping[str, Any]]:
    """Yield the components, tasks and mixins of a project file, whose names get a prefix."""
    for entry in document.components:
        about = _docstring(project, entry.import_path, class_of(entry))
        yield _row(prefix + entry.name, "component", _versions(workspace, entry), entry, about)
    for task in document.tasks.values():
        yield _row(prefix + task.name, "task", [], task, _contents(task))
    for entry in document.mixins:
        yield _row(prefix + entry.name, "mixin", [], entry, _docstring(project, entry.import_path, class_of(entry)))


def _row(name: str, kind: str, versions: list[str], entry: Entry | TaskEntry, about: str) -> dict[str, Any]:
    at = str(entry.place) if entry.place else None
    return {"name": name, "kind": kind, "versions": versions, "at": at, "about": about}


def _versions(workspace: Workspace, entry: Entry) -> list[str]:
    try:
        return version_names(workspace, entry)
    except MachinableError:  # reported by `check`
        return []


def _contents(task: TaskEntry) -> str:
    """Return the components of a task and what multiplies them, as written."""
    text = ", ".join(task.components)
    return " ".join([text, *(f"{key}" for key in ("each", "grid", "repeat", "levels", "tune") if task.body.get(key))])


def _docstring(project: str, module: str, name: str | None) -> str:
    """Return the first line of the docstring of a class, else that of its module; empty if there is none."""
    path = os.path.join(project, *module.split("."))
    for file in (f"{path}.py", os.path.join(path, "__init__.py")):
        with suppress(OSError, SyntaxError, ValueError, RecursionError), open(file, "rb") as opened:
            tree = ast.parse(opened.read())
            classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
            chosen = [node for node in classes if node.name == name] or [node for node in classes if node.bases]
            texts = [*(ast.get_docstring(node) for node in chosen[-1:]), ast.get_docstring(tree)]
            return next((text.strip().splitlines()[0] for text in texts if text and text.strip()), "")
    return ""
