"""Fixtures for tests of components, which a `conftest.py` imports.

They are no plugin that pytest finds by an entry point: it would rewrite the assertions of the whole package.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from machinable.results.execution import Execution
    from machinable.results.trial import Trial

__all__ = ["RunTrial", "TemporaryProject", "run_trial", "temporary_project"]

FILE = "machinable.yaml"


class RunTrial:
    """Run one trial of a component in memory and in this process."""

    def __call__(
        self,
        component: Any,
        version: Any = None,
        *,
        seed: Any = 1,
        storage: Any = "mem://",
        on_failure: str = "raise",
        engine: Any = "local",
        timeout: float | None = None,
        **options: Any,
    ) -> Trial:
        """Run it.

        Args:
            component: A name in machinable.yaml, a class or a function.
            version: A version, a mapping with values, or a tuple of several.
            seed: The seed of the execution; it is the same in each run of the tests.
            storage: Where it is stored.
            on_failure: "continue" returns a trial that has failed.
            engine: Where it runs.
            timeout: Its time limit in seconds.
            options: Further arguments of `Task.component`, such as `requires`.

        Returns:
            The trial, with its rows, artifacts, output and log.

        Raises:
            TrialsFailed: It has failed, with the error of the component as the cause.
            MachinableError: Something is wrong before it runs.
        """
        from machinable.errors import InvalidValue
        from machinable.execution.execute import execute
        from machinable.plan.task import Task

        task = Task().component(component, version, **options)
        plan = task.plan(os.getcwd(), seed)
        if (number := sum(not use.definition.is_requirement for use in plan.uses)) != 1:
            raise InvalidValue(
                f"run_trial runs one trial, and these versions are {number}",
                given=version,
                todo="Call it for each of them, or use machinable.execute.",
            )
        how: Any = {"timeout": timeout, "on_failure": on_failure, "project": os.getcwd(), "progress": False}
        execution: Execution = execute(task, storage, seed, engine, **how)
        return next(trial for trial, spec in zip(execution, plan, strict=True) if not spec.definition.is_requirement)


TemporaryProject = Callable[[Mapping[str, str]], Path]


@pytest.fixture
def run_trial(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> RunTrial:
    """Return a function that runs one trial of a component of the project that the test belongs to.

    That is the one of `temporary_project` if the test uses it, and otherwise the nearest directory above the test with
    a machinable.yaml, which is the working directory during the test.
    """
    monkeypatch.setenv("MACHINABLE_LISTENERS", "off")
    if "temporary_project" in request.fixturenames:
        request.getfixturevalue("temporary_project")
    elif (directory := _project_of(request.path)) is not None:
        monkeypatch.chdir(directory)
    return RunTrial()


@pytest.fixture
def temporary_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TemporaryProject]:
    """Return a function that writes files, by their paths in it, into a new project, and returns its directory.

    It is the working directory during the test. Its modules are unloaded afterwards.
    """
    directory = tmp_path / "project"
    directory.mkdir()
    monkeypatch.chdir(directory)

    def write(files: Mapping[str, str]) -> Path:
        for name, text in files.items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return directory

    yield write
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None) or "").startswith(f"{directory}{os.sep}"):
            del sys.modules[name]


def _project_of(test: Path) -> Path | None:
    return next((directory for directory in test.parents if (directory / FILE).exists()), None)
