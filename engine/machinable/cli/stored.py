"""The storage that a command reads."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from machinable.config.interpolation import Resolver
from machinable.errors import InvalidValue, MissingFile
from machinable.project import Project
from machinable.results.storage import Storage
from machinable.settings import storage_choice
from machinable.storage.open import storage_url

__all__ = ["execution_section", "open_storage"]


def open_storage(given: str | None) -> Storage:
    """Open the storage named on the command line, else by the environment, the project or the user's settings.

    Raises:
        InvalidValue: No storage is named.
        StorageUnavailable: The storage does not exist.
        ConfigurationError: The settings are wrong.
    """
    if given is not None:
        return Storage(given)
    section: Mapping[str, Any] = {}
    user: Mapping[str, Any] = {}
    directory = os.getcwd()
    if not os.environ.get("MACHINABLE_STORAGE"):
        from machinable.execution.options import preferences  # 20 ms, which completion can save

        section, user = execution_section(Project(directory)), preferences(os.environ)
    chosen = storage_choice(None, os.environ, section, user)
    if chosen.url is None:
        raise InvalidValue(
            "no storage is given",
            details=["MACHINABLE_MODE is DEV, which stores nothing"] if chosen.source == "environment" else [],
            todo="Name one: --storage DIRECTORY, MACHINABLE_STORAGE=DIRECTORY, "
            "or `execution: {storage: DIRECTORY}` in machinable.yaml.",
        )
    return Storage(storage_url(chosen.url, directory if chosen.source == "project" else None))


def execution_section(project: Project) -> Mapping[str, Any]:
    """Return the `execution:` section of a project; empty if there is no project."""
    try:
        workspace = project.workspace()
    except MissingFile as error:
        if error.given != project.path:
            raise
        return {}
    return Resolver(workspace.main.execution, "execution").copy()
