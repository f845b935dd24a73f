"""What counts when something is said in several places: the call, the environment, the project, the user, or nobody."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from machinable.errors import InvalidType, InvalidValue, UnknownName

__all__ = ["Choice", "StorageChoice", "choose", "is_development", "storage_choice"]

_VARIABLES = {"storage": "MACHINABLE_STORAGE", "engine": "MACHINABLE_ENGINE", "seed": "MACHINABLE_SEED"}
_MODES = ("DEV", "DEFAULT", "DEBUG")


class Choice(NamedTuple):
    """A value and who said it: "call", "environment", "project", "user" or "default"."""

    value: Any
    source: str


def choose(
    name: str, call: Any, environment: Mapping[str, str], project: Mapping[str, Any], user: Mapping[str, Any],
    default: Any = None,
) -> Choice:  # fmt: skip
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


class StorageChoice(NamedTuple):
    """Where an execution is kept (None: nowhere), who said so, and whether the code goes with it."""

    url: str | None
    source: str
    code_backup: bool


def storage_choice(
    call: Any, environment: Mapping[str, str], project: Mapping[str, Any], user: Mapping[str, Any]
) -> StorageChoice:
    """What a storage argument and everything behind it come to.

    Args:
        call: None, a URL or path, or a mapping with `storage` and `code_backup`.

    Raises:
        InvalidType, UnknownName: it is something else, or has other keys.
        InvalidValue: `MACHINABLE_MODE` has no meaning.
    """
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
            f"a storage is not {url!r}", given=url,
            todo="Give a path, a URL, or {'storage': URL, 'code_backup': False}.",
        )  # fmt: skip
    backup = choose("code_backup", given.get("code_backup"), {}, project, {}, True).value
    if not isinstance(backup, bool):
        raise InvalidType(f"code_backup takes True or False, not {backup!r}", given=backup)
    if is_development(environment):
        return StorageChoice(None, "environment", False)
    return StorageChoice(url, chosen.source, backup and url is not None)


def is_development(environment: Mapping[str, str]) -> bool:
    """Whether `MACHINABLE_MODE` is DEV: memory for storage, and no backup of the code.

    Raises:
        InvalidValue: it is none of DEV, DEFAULT and DEBUG.
    """
    mode = environment.get("MACHINABLE_MODE", "")
    if mode and mode.upper() not in _MODES:
        raise InvalidValue(
            f"MACHINABLE_MODE is {mode!r}", given=mode, known=_MODES,
            todo="It is DEV (nothing is kept), DEFAULT, DEBUG, or not set.",
        )  # fmt: skip
    return mode.upper() == "DEV"
