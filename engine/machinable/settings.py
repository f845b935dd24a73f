"""Precedence of settings: the call, the environment, the project, the user, the default."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from machinable.errors import InvalidType, InvalidValue, UnknownName
from machinable.units import parse_size

__all__ = [
    "Choice",
    "CodeBackup",
    "StorageChoice",
    "absolute_path",
    "choose",
    "is_development",
    "storage_choice",
    "uses_cache",
]

_VARIABLES = {
    "storage": "MACHINABLE_STORAGE",
    "engine": "MACHINABLE_ENGINE",
    "seed": "MACHINABLE_SEED",
    "locks": "MACHINABLE_LOCKS",
}


class Choice(NamedTuple):
    """A value and its source: "call", "environment", "project", "user" or "default"."""

    value: Any
    source: str


def choose(
    name: str,
    call: Any,
    environment: Mapping[str, str],
    project: Mapping[str, Any],
    user: Mapping[str, Any],
    default: Any = None,
) -> Choice:
    """Return the value of a setting from the first source that has one; an empty variable is ignored."""
    variable = environment.get(_VARIABLES.get(name, "")) or None
    values = {"call": call, "environment": variable, "project": project.get(name), "user": user.get(name)}
    return next(
        (Choice(value, source) for source, value in values.items() if value is not None), Choice(default, "default")
    )


class CodeBackup(NamedTuple):
    """Options of the code backup.

    Attributes:
        limit: The largest size of all files together, in bytes.
        ignore: Patterns as in `.gitignore` of files to leave out.
        scan: Whether to scan for secrets.
    """

    limit: int = 100 * 2**20
    ignore: tuple[str, ...] = ()
    scan: bool = True


class StorageChoice(NamedTuple):
    """The storage of an execution.

    Attributes:
        url: The storage; None for memory.
        source: The source of the setting.
        code_backup: Options of the code backup; None without a backup.
    """

    url: str | None
    source: str
    code_backup: CodeBackup | None


def storage_choice(
    call: Any, environment: Mapping[str, str], project: Mapping[str, Any], user: Mapping[str, Any]
) -> StorageChoice:
    """Return the storage of an execution.

    The argument of the call is None, a URL or path, or a mapping with `storage` and `code_backup`.

    Raises:
        InvalidType, UnknownName: The argument is of another type, or has other keys.
        InvalidValue: `MACHINABLE_MODE` or `MACHINABLE_CACHE` has an unknown value.
    """
    uses_cache(environment)  # otherwise an invalid value would be reported only after the trials
    given = dict(call) if isinstance(call, Mapping) else {"storage": call}
    for key in given:
        if key not in ("storage", "code_backup"):
            raise UnknownName("key of a storage", key, ["storage", "code_backup"])
    chosen = choose("storage", given.get("storage"), environment, project, user)
    url = os.fspath(chosen.value) if isinstance(chosen.value, os.PathLike) else chosen.value
    if url is not None and not isinstance(url, str):
        raise InvalidType(
            f"not a storage: {url!r}",
            given=url,
            todo="Give a path, a URL, or {'storage': URL, 'code_backup': False}.",
        )
    backup = choose("code_backup", given.get("code_backup"), {}, project, {}, True).value
    if backup is True and isinstance(project.get("code_backup"), Mapping):
        backup = project["code_backup"]  # switched on here, with the options of the project
    checked = _code_backup(backup)
    if is_development(environment):
        return StorageChoice(None, "environment", None)
    return StorageChoice(url, chosen.source, checked if url is not None else None)


def _code_backup(given: Any) -> CodeBackup | None:
    if isinstance(given, bool):
        return CodeBackup() if given else None
    if not isinstance(given, Mapping):
        raise InvalidType(
            f"code_backup takes True, False or options, not {given!r}",
            given=given,
            todo="Options are a mapping with `limit`, `ignore` and `scan`.",
        )
    for key in given:
        if key not in CodeBackup._fields:
            raise UnknownName("option of code_backup", key, CodeBackup._fields)
    options = CodeBackup()._asdict() | {key: value for key, value in given.items() if value is not None}
    limit, ignore, scan = options["limit"], options["ignore"], options["scan"]
    size = parse_size(limit) if isinstance(limit, str) else limit
    if isinstance(size, bool) or not isinstance(size, (int, float)) or not 0 < size < float("inf"):
        raise InvalidValue(
            f"invalid limit of code_backup: {limit!r}", given=limit, todo="Give bytes, or a size such as 100MiB or 2GB."
        )
    patterns = [ignore] if isinstance(ignore, str) else ignore
    if not isinstance(patterns, (list, tuple)) or any(not isinstance(one, str) for one in patterns):
        raise InvalidType(
            f"`ignore` of code_backup takes a list of patterns, not {ignore!r}",
            given=ignore,
            todo="Write a list of patterns as in .gitignore: [data/, '*.ckpt'].",
        )
    if not isinstance(scan, bool):
        raise InvalidType(f"`scan` of code_backup takes True or False, not {scan!r}", given=scan)
    return CodeBackup(int(size), tuple(patterns), scan)


def is_development(environment: Mapping[str, str]) -> bool:
    """Return whether `MACHINABLE_MODE` is DEV: results stay in memory and the code is not backed up.

    Raises:
        InvalidValue: The mode is none of DEV, DEFAULT and DEBUG.
    """
    return _switch(environment, "MACHINABLE_MODE", ("DEV", "DEFAULT", "DEBUG")) == "DEV"


def uses_cache(environment: Mapping[str, str]) -> bool:
    """Return whether readers cache large executions, which `MACHINABLE_CACHE=off` disables.

    Raises:
        InvalidValue: The value is neither on nor off.
    """
    return _switch(environment, "MACHINABLE_CACHE", ("on", "off")) != "OFF"


def _switch(environment: Mapping[str, str], variable: str, known: tuple[str, ...]) -> str:
    given = environment.get(variable, "")
    if given and given.upper() not in map(str.upper, known):
        raise InvalidValue(
            f"{variable} is {given!r}", given=given, known=known, todo=f"Set {' or '.join(known)}, or unset it."
        )
    return given.upper()


def absolute_path(path: str) -> str:
    """Return a path independent of the working directory.

    Raises:
        InvalidValue: It starts from the working directory, and that no longer exists.
    """
    try:
        return os.path.abspath(path)
    except FileNotFoundError:
        raise InvalidValue(
            f"the working directory no longer exists, so {path!r} means nothing",
            given=path,
            todo="Go to another directory: cd DIRECTORY",
        ) from None
