"""What counts when something is said in several places: the call, the environment, the project, the user, or nobody."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from machinable.errors import InvalidType, InvalidValue, UnknownName
from machinable.units import parse_size

__all__ = [
    "Choice",
    "CodeBackup",
    "StorageChoice",
    "choose",
    "is_development",
    "keeps_cache",
    "storage_choice",
]

_VARIABLES = {
    "storage": "MACHINABLE_STORAGE",
    "engine": "MACHINABLE_ENGINE",
    "seed": "MACHINABLE_SEED",
    "locks": "MACHINABLE_LOCKS",
}
_MODES = ("DEV", "DEFAULT", "DEBUG")


class Choice(NamedTuple):
    """A value and who said it: "call", "environment", "project", "user" or "default"."""

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
    """The value that counts: the first of these that says something.

    Args:
        name: of the setting, as in the `execution:` section.
        call: None where the call says nothing. environment: variables; an empty one says nothing.
        project: the `execution:` section. user: the user's settings file.
    """
    if call is not None:
        return Choice(call, "call")
    variable = environment.get(_VARIABLES.get(name, ""))
    if variable:
        return Choice(variable, "environment")
    if project.get(name) is not None:
        return Choice(project[name], "project")
    if user.get(name) is not None:
        return Choice(user[name], "user")
    return Choice(default, "default")


class CodeBackup(NamedTuple):
    """How the code is backed up.

    Attributes:
        limit: bytes that the files may have together. ignore: patterns as in `.gitignore` of what is left out.
        scan: whether it is looked for secrets.
    """

    limit: int = 100 * 2**20
    ignore: tuple[str, ...] = ()
    scan: bool = True


class StorageChoice(NamedTuple):
    """Where an execution is kept (None: nowhere), who said so, and how the code is backed up (None: not at all)."""

    url: str | None
    source: str
    code_backup: CodeBackup | None


def storage_choice(
    call: Any, environment: Mapping[str, str], project: Mapping[str, Any], user: Mapping[str, Any]
) -> StorageChoice:
    """What a storage argument and everything behind it come to.

    Args:
        call: None, a URL or path, or a mapping with `storage` and `code_backup`.

    Raises:
        InvalidType, UnknownName: it is something else, or has other keys.
        InvalidValue: `MACHINABLE_MODE` or `MACHINABLE_CACHE` has no meaning.
    """
    keeps_cache(environment)  # else it would be told when the trials have run
    given = dict(call) if isinstance(call, Mapping) else {"storage": call}
    for key in given:
        if key not in ("storage", "code_backup"):
            raise UnknownName("key of a storage", key, ["storage", "code_backup"])
    chosen = choose("storage", given.get("storage"), environment, project, user)
    url = chosen.value
    if hasattr(url, "__fspath__"):
        url = url.__fspath__()
    if url is not None and not isinstance(url, str):
        raise InvalidType(
            f"a storage is not {url!r}",
            given=url,
            todo="Give a path, a URL, or {'storage': URL, 'code_backup': False}.",
        )
    backup = choose("code_backup", given.get("code_backup"), {}, project, {}, True).value
    if backup is True and isinstance(project.get("code_backup"), Mapping):
        backup = project["code_backup"]  # it is switched on, and how is said there
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
            f"the limit of code_backup is {limit!r}", given=limit, todo="Write bytes, or a size such as 100MiB or 2GB."
        )
    patterns = [ignore] if isinstance(ignore, str) else ignore
    if not isinstance(patterns, (list, tuple)) or any(not isinstance(one, str) for one in patterns):
        raise InvalidType(
            f"what code_backup is to ignore is {ignore!r}",
            given=ignore,
            todo="Write a list of patterns as in .gitignore: [data/, '*.ckpt'].",
        )
    if not isinstance(scan, bool):
        raise InvalidType(f"whether code_backup is to scan is True or False, not {scan!r}", given=scan)
    return CodeBackup(int(size), tuple(patterns), scan)


def is_development(environment: Mapping[str, str]) -> bool:
    """Whether `MACHINABLE_MODE` is DEV: memory for storage, and no backup of the code.

    Raises:
        InvalidValue: it is none of DEV, DEFAULT and DEBUG.
    """
    mode = environment.get("MACHINABLE_MODE", "")
    if mode and mode.upper() not in _MODES:
        raise InvalidValue(
            f"MACHINABLE_MODE is {mode!r}",
            given=mode,
            known=_MODES,
            todo="It is DEV (nothing is kept), DEFAULT, DEBUG, or not set.",
        )
    return mode.upper() == "DEV"


def keeps_cache(environment: Mapping[str, str]) -> bool:
    """Whether what is read of large executions is kept for the next reader: not if `MACHINABLE_CACHE` is off.

    Raises:
        InvalidValue: it is neither on nor off.
    """
    wanted = environment.get("MACHINABLE_CACHE", "")
    if wanted.lower() not in ("", "on", "off"):
        raise InvalidValue(
            f"MACHINABLE_CACHE is {wanted!r}", given=wanted, known=("on", "off"), todo="It is on, off, or not set."
        )
    return wanted.lower() != "off"
