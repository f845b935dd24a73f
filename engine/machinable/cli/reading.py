"""The storage that a reading command means, and what is stored as plain data."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from machinable.errors import InvalidValue, MissingFile
from machinable.serialization import decode

if TYPE_CHECKING:
    from machinable.project import Project
    from machinable.results.execution import Execution
    from machinable.results.storage import Storage
    from machinable.results.trial import Trial

__all__ = ["execution_data", "execution_section", "open_storage", "trial_data"]


def open_storage(given: str | None) -> Storage:
    """The storage that was named on the command line, else in the environment, the project or the user's settings.

    Raises:
        InvalidValue: nobody names one. StorageUnavailable: it is not there. ConfigurationError: the settings are wrong.
    """
    from machinable.results.storage import Storage

    if given is not None:
        return Storage(given)
    from machinable.settings import storage_choice

    section: Mapping[str, Any] = {}
    user: Mapping[str, Any] = {}
    directory = os.getcwd()
    if not os.environ.get("MACHINABLE_STORAGE"):
        from machinable.execution.options import preferences
        from machinable.project import Project

        section, user = execution_section(Project(directory)), preferences(os.environ)
    chosen = storage_choice(None, os.environ, section, user)
    if chosen.url is None:
        raise InvalidValue(
            "no storage is named",
            details=["MACHINABLE_MODE is DEV, which keeps nothing"] if chosen.source == "environment" else [],
            todo="Name one: --storage DIRECTORY, MACHINABLE_STORAGE=DIRECTORY, "
            "or `execution: {storage: DIRECTORY}` in machinable.yaml.",
        )
    from machinable.storage.open import storage_url

    return Storage(storage_url(chosen.url, directory if chosen.source == "project" else None))


def execution_section(project: Project) -> Mapping[str, Any]:
    """The `execution:` section of a project; empty where there is no project."""
    from machinable.config.interpolation import Resolver

    try:
        workspace = project.workspace()
    except MissingFile as error:
        if error.given != project.path:
            raise
        return {}
    return Resolver(workspace.main.execution, "execution").copy()


def execution_data(execution: Execution) -> dict[str, Any]:
    """An execution with its trials as plain data."""
    return {
        "execution": str(execution),
        "id": execution.id,
        "seed": execution.seed,
        "name": execution.name,
        "started": execution.started,
        "status": execution.status,
        "storage": execution.storage,
        "trials": [trial_data(trial) for trial in execution.trials],
    }


def trial_data(trial: Trial) -> dict[str, Any]:
    """A trial with its last row as plain data."""
    return {
        "uid": trial.uid,
        "index": trial.index,
        "component": trial.component,
        "version": trial.version,
        "config": decode(trial.planned("config")),
        "flags": trial.flags,
        "tags": trial.tags,
        "seed": trial.seed,
        "identity": trial.identity,
        "status": trial.status,
        "source": trial.source,
        "because": trial.because,
        "seconds": trial.seconds,
        "record": trial.last_row,
        "error": trial.error if trial.status == "failed" else None,
    }
