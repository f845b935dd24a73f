"""What the call, the environment, the project and the user say about an execution, checked.

The user's own settings: `~/.machinable/settings.yaml`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, cast

from machinable.config.interpolation import Resolver
from machinable.config.nodes import MappingNode, Source
from machinable.config.reader import read
from machinable.errors import (
    InvalidType,
    InvalidValue,
    MalformedText,
    MissingFile,
    UnknownName,
    did_you_mean,
    near_names,
)
from machinable.execution.scheduler import OnBusy, OnFailure, Policy
from machinable.plan.reserved_keys import checked_count, checked_seconds
from machinable.plan.task import Task
from machinable.project import Project
from machinable.settings import StorageChoice, choose
from machinable.storage.locks import LEASE
from machinable.storage.open import storage_url

__all__ = [
    "OPTIONS",
    "check_options",
    "locks_of",
    "plain_section",
    "policy_of",
    "preferences",
    "reuse_of",
    "url_of",
]

KEYS = ("imports", "storage", "engine")


def preferences(environment: Mapping[str, str], home: str = "~") -> dict[str, Any]:
    """The settings of the user; none if there is no file.

    Raises:
        MalformedText, UnknownName: the file is not YAML, no mapping, or has a key that means nothing.
    """
    path = os.path.join(os.path.expanduser(home), ".machinable", "settings.yaml")
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    tree = read(Source("~/.machinable/settings.yaml", text), environment=environment)
    if tree is None:
        return {}
    if not isinstance(tree, MappingNode):
        raise MalformedText("~/.machinable/settings.yaml: the settings are a mapping", given=tree)
    for key in tree:
        if key not in KEYS:
            raise UnknownName("setting", key, KEYS, at=tree.place(key))
    return Resolver(tree, "settings").copy()


ON_FAILURE = ("raise", "continue", "stop")
ON_BUSY = ("wait", "skip", "fail")
OPTIONS = (
    "resume",
    "rerun",
    "cascade",
    "reuse",
    "on_busy",
    "on_failure",
    "retries",
    "retry_delay",
    "timeout",
)
ARGUMENTS = ("task", "storage", "seed", "engine", "project", *OPTIONS, "listeners")


def check_options(given: Mapping[str, Any]) -> None:
    """See that `execute` takes all of these.

    Raises:
        InvalidType: it does not take one.
    """
    for name in given:
        if name not in OPTIONS:
            raise InvalidType(
                f"execute takes no argument {name!r}",
                given=name,
                known=ARGUMENTS,
                todo=did_you_mean(near) if (near := near_names(name, ARGUMENTS)) else None,
            )


def plain_section(project: Project, task: Task | None) -> Mapping[str, Any]:
    """The `execution:` section; classes and functions do without a project."""
    try:
        workspace = project.workspace()
    except MissingFile:
        if task is not None and any(isinstance(call.name, str) for call in task.components):
            raise
        return {}
    return Resolver(workspace.main.execution, "execution").copy()


def _said(name: str, call: Mapping[str, Any], section: Mapping[str, Any], default: Any) -> Any:
    return choose(name, call.get(name), {}, section, {}, default).value


def _one_of(name: str, value: Any, known: tuple[str, ...]) -> Any:
    if value not in known:
        raise InvalidValue(f"{name} is {value!r}", given=value, known=known, todo=f"It is {' or '.join(known)}.")
    return value


def policy_of(call: Mapping[str, Any], section: Mapping[str, Any]) -> Policy:
    """What counts of the call and the `execution:` section when trials do not end well.

    Raises:
        InvalidValue, ConfigurationError: something has no meaning.
    """
    on_failure = _one_of("on_failure", _said("on_failure", call, section, "raise"), ON_FAILURE)
    on_busy = _one_of("on_busy", _said("on_busy", call, section, "wait"), ON_BUSY)
    timeout = _said("timeout", call, section, None)
    if timeout is not None and not checked_seconds(timeout, "timeout"):
        raise InvalidValue("a timeout of 0 seconds leaves no time at all", given=timeout)
    return Policy(
        cast(OnFailure, on_failure),
        checked_count(_said("retries", call, section, 0), "retries"),
        checked_seconds(_said("retry_delay", call, section, 0.0), "retry_delay"),
        timeout,
        cast(OnBusy, on_busy),
    )


def reuse_of(call: Mapping[str, Any], section: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    """What is said about `reuse`, `rerun` and `cascade`."""
    rerun, cascade = call.get("rerun"), call.get("cascade")
    return _said("reuse", call, section, True), () if rerun is None else rerun, True if cascade is None else cascade


def locks_of(environment: Mapping[str, str], section: Mapping[str, Any]) -> tuple[str | None, float]:
    """What `MACHINABLE_LOCKS` and the `execution:` section say about locks. Workers are given it, too: it is plain.

    Returns:
        The URL of the lock server, None for the storage; the seconds of a lease.

    Raises:
        InvalidType, ConfigurationError: something has no meaning.
    """
    url = choose("locks", None, environment, section, {}).value
    if url == "storage":  # who says so in the environment asks no server that the project names
        url = None
    if url is not None and not isinstance(url, str):
        raise InvalidType(
            f"`locks` is {url!r}", given=url, todo="It is the URL of a lock server, such as redis://host:6379/0."
        )
    lease = checked_seconds(_said("lease", {}, section, LEASE), "execution.lease")
    if lease < 1:
        raise InvalidValue(f"a lease of {lease:g} s is over at once", given=lease, todo="Give a second at least.")
    return url, lease


def url_of(project: Project, choice: StorageChoice) -> str:
    """Where an execution is kept: the URL as it is opened."""
    base = project.path if choice.source == "project" else None
    return storage_url(choice.url, base) if choice.url is not None else "mem://"
