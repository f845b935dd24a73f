"""`machinable init` and `machinable vendor fetch`: a new project, and the projects that one imports."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from typing import Any, NamedTuple

from machinable.cli.output import message
from machinable.config.includes import ProjectReader
from machinable.config.loader import FILE, declared_imports
from machinable.config.nodes import MappingNode, ProjectScope
from machinable.errors import (
    InvalidValue,
    MachinableError,
    MissingFile,
    Place,
    SeveralErrors,
    UnknownName,
)
from machinable.execution.options import preferences
from machinable.project import ProjectDirectory, find_project
from machinable.storage.credentials import secrets_of, without_credentials

__all__ = ["ImportedProject", "imports_of", "init_command", "vendor_fetch_command"]

PROJECT = """\
# What this project declares. Try
#   machinable execute
#   machinable list
#   machinable execute pi @precise --repeat 3
#   pip install pytest && pytest
components:
  - pi:                       # its code is the class in pi.py
      points: 1000

      # A key with ~ is a version: what it changes when it is requested.
      ~precise:
        points: 100000

tasks:
  accuracy:                   # one trial for each number of points, five times with different seeds
    component: pi
    grid: {points: [100, 1000, 10000]}
    repeat: 5

execution:
  storage: ./results          # where executions are stored; relative to this file
"""

COMPONENT = '''\
"""Estimate pi by throwing points at a square."""

import random

from machinable import Component


class Pi(Component):
    def on_execute(self):
        inside = 0
        for _ in range(self.config.points):
            inside += random.random() ** 2 + random.random() ** 2 < 1
        self.record["pi"] = 4 * inside / self.config.points
        self.record.save()
'''

TEST = '''\
"""Tests of the component, which pytest runs. The fixture run_trial runs one trial, and stores nothing."""

import math


def test_the_estimate_is_near_pi(run_trial):
    trial = run_trial("pi", {"points": 1000})

    assert abs(trial.records.last["pi"] - math.pi) < 0.2


def test_the_same_seed_gives_the_same_estimate(run_trial):
    first, second = (run_trial("pi", {"points": 10}, seed=7) for _ in range(2))

    assert first.records.last["pi"] == second.records.last["pi"]
'''

FIXTURES = '''\
"""The fixtures of the tests."""

from machinable.testing import run_trial, temporary_project

__all__ = ["run_trial", "temporary_project"]
'''

FILES = {
    "machinable.yaml": PROJECT,
    "pi.py": COMPONENT,
    "tests/conftest.py": FIXTURES,
    "tests/test_pi.py": TEST,
    ".gitignore": "results/\n__pycache__/\n.pytest_cache/\nmlflow.db\nmlruns/\nruns/\nwandb/\n",
}

_HELPER = re.compile(r"[A-Za-z0-9+.-]*::")


def init_command(directory: str) -> None:
    """Create a small project that works."""
    try:
        os.makedirs(directory, exist_ok=True)
    except OSError as error:
        raise InvalidValue(
            f"cannot create {directory!r}: {error.strerror}", given=directory, todo="Give the name of a directory."
        ) from None
    files = {os.path.join(directory, name): text for name, text in FILES.items()}
    ignored = os.path.join(directory, ".gitignore")
    for path in files:
        if os.path.lexists(path) and path != ignored:
            todo = "Nothing was written. Use another directory: machinable init DIR"
            raise InvalidValue(f"{path} already exists", given=directory, todo=todo)
    for path, text in files.items():
        if os.path.lexists(path):
            message(f"{path} was left unchanged; add results/ to it")
            continue
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "x", encoding="utf-8", newline="\n") as file:
            file.write(text)
        message(f"wrote {path}")
    where = [] if directory == "." else [f"cd {directory}"]
    message("next: " + " && ".join([*where, "machinable execute"]))


# --- imported projects


class ImportedProject(NamedTuple):
    """An imported project: its name, its source if one is given, and where the import is declared."""

    name: str
    source: str | None
    at: Place


def vendor_fetch_command(names: tuple[str, ...]) -> None:
    """Fetch the imports of the project, and theirs."""
    project = find_project()
    settings: Mapping[str, Any] = preferences(os.environ).get("imports") or {}
    declared = imports_of(project)
    known = [one.name for one in declared]
    for name in names:
        if name not in known:
            raise UnknownName("imported project", name, known, todo=None if known else "Declare it under `+` first.")
    if not declared:
        message("no projects are imported")
    waiting = [(one, project) for one in declared if not names or one.name in names]
    errors: list[MachinableError] = []
    done: set[str] = set()
    while waiting:
        one, importer = waiting.pop(0)
        if one.name in done:
            continue
        done.add(one.name)
        target = os.path.join(project, "vendor", one.name)
        try:
            if os.path.isdir(target):
                message(f"vendor/{one.name} already exists")
            elif settings.get(one.name) is not None:  # its source takes precedence over the one in the file
                _fetch(one._replace(source=str(settings[one.name])), target, project)
            else:
                _fetch(one, target, importer)
            waiting += [(inner, os.path.realpath(target)) for inner in imports_of(project, one.name)]
        except MachinableError as error:
            errors += error.parts
    SeveralErrors.raise_any(errors)


def imports_of(project: str, name: str = "") -> list[ImportedProject]:
    """Return the imports that a project's file declares under `+`; none if there is no file.

    Args:
        project: The executing project's directory.
        name: The name of an imported project; "" for the executing one.
    """
    reader = ProjectReader(ProjectDirectory(project), os.environ)
    path = f"vendor/{name}/{FILE}" if name else FILE
    try:
        root = reader.read(path, ProjectScope(name), kind="project file")
    except MissingFile:
        if name:
            return []
        raise MissingFile(
            f"no {FILE} in {project}", given=project, todo="Go to the directory of your project."
        ) from None
    if not isinstance(root, MappingNode) or "+" not in root:
        SeveralErrors.raise_any(reader.errors)
        return []
    errors: list[MachinableError] = []
    imports = declared_imports(root, errors)
    SeveralErrors.raise_any(errors)
    return [ImportedProject(name, source, place) for name, (source, place) in imports.items()]


def _fetch(one: ImportedProject, target: str, base: str) -> None:
    """Link a directory, which is relative to `base`, or clone a repository."""
    if os.path.lexists(target):
        kind = f"a broken link to {os.readlink(target)!r}" if os.path.islink(target) else "a file"
        raise MissingFile(f"vendor/{one.name} is {kind}", at=one.at, given=one.name, todo="Remove it and fetch again.")
    if not one.source:
        raise InvalidValue(
            f"the imported project {one.name!r} has no source",
            at=one.at,
            given=one.name,
            todo=f"Write `+: {{{one.name}: SOURCE}}` there, or `imports: {{{one.name}: SOURCE}}` in "
            "~/.machinable/settings.yaml; SOURCE is a directory or git+URL.",
        )
    source = os.path.expanduser(one.source)
    directory = os.path.abspath(os.path.join(base, source))
    is_clone = source.startswith("git+")
    if not is_clone and (not os.path.isdir(directory) or directory == target):
        raise MissingFile(
            f"the source of {one.name!r} is not a directory: {directory}",
            at=one.at,
            given=one.source,
            todo="Give a directory, relative to the project that imports it, or git+URL.",
        )
    vendor = os.path.dirname(target)
    if os.path.lexists(vendor) and (os.path.islink(vendor) or not os.path.isdir(vendor)):
        what = f"a link to {os.readlink(vendor)!r}" if os.path.islink(vendor) else "a file"
        raise InvalidValue(
            f"vendor/ is {what}, so nothing is fetched into it",
            at=one.at,
            given="vendor/",
            todo="Replace it with a directory: imported projects are part of the project.",
        )
    os.makedirs(vendor, exist_ok=True)
    if is_clone:
        _clone(source.removeprefix("git+"), target, one)
        return
    # A relative link stays valid when both are moved.
    start = os.path.realpath(vendor)
    link = directory if os.path.isabs(source) else os.path.relpath(os.path.realpath(directory), start)
    os.symlink(link, target, target_is_directory=True)
    message(f"vendor/{one.name} is linked to {directory}")


def _clone(url: str, target: str, one: ImportedProject) -> None:
    """Clone into a temporary directory and rename it, so that an interrupted clone leaves nothing behind."""
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    import git  # takes longer than the rest of the command line, and only clones need it

    shown = without_credentials(url)
    if not url or url.startswith("-") or _HELPER.match(url):  # git would run a program for NAME::
        raise InvalidValue(
            f"{shown!r} is not the URL of a repository",
            at=one.at,
            given=shown,
            todo="Write git+https://…, git+ssh://…, git+file:///… or git+user@host:path.",
        )
    temporary = tempfile.mkdtemp(prefix=f".fetching-{one.name}-", dir=os.path.dirname(target))
    clone = os.path.join(temporary, "clone")
    try:
        # Without the variable, git would wait for a password that cannot be entered.
        git.Repo.clone_from(url, clone, env={"GIT_TERMINAL_PROMPT": "0"}).close()
        os.rename(clone, target)
    except git.GitCommandNotFound as error:
        todo = "Install it, then fetch again."
        raise InvalidValue("git is not installed", at=one.at, given=shown, todo=todo) from error
    except (git.GitError, ValueError) as error:
        # GitPython quotes what git has written.
        text = str(getattr(error, "stderr", "") or error).strip().removeprefix("stderr: '").removesuffix("'")
        for secret in (url, *secrets_of(url)):
            text = text.replace(secret, shown if secret == url else "…")
        lines = text.strip().splitlines()
        raise InvalidValue(
            f"cannot clone {one.name!r} from {shown}",
            # The line as it is in the file could contain a password.
            at=one.at if shown == url else one.at._replace(excerpt=""),
            given=shown,
            details=[line for line in lines if line.startswith(("fatal:", "error:", "ssh:", "remote:"))] or lines[-1:],
            todo="Check the URL, and that git can reach it without asking for a password.",
        ) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    message(f"vendor/{one.name} is cloned from {shown}")
