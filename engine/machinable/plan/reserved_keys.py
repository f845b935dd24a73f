"""The reserved keys that say how a component runs: `_resources_`, `_retries_`, `_checkpoints_` and others."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from sys import float_info
from typing import Any, TypeVar

from machinable.config.resolved import Resolved
from machinable.errors import BadName, MachinableError, MalformedText, UnknownName, WrongType
from machinable.plan.spec import CheckpointPolicy, Retries
from machinable.serialization import Plain
from machinable.storage.formats.registry import check_place
from machinable.units import parse_size

__all__ = [
    "PARTS",
    "checked_count",
    "checked_seconds",
    "parse_checkpoints",
    "parse_declared_resources",
    "parse_environment",
    "parse_resources",
    "parse_retries",
    "reserved_fields",
]


def parse_resources(value: Any, path: str) -> dict[str, float]:
    """Return resources by name, `memory` in bytes, from numbers or texts such as `4GiB` and `500MB`.

    Raises:
        WrongType, MalformedText: The value or an amount is wrong; `path` says where it is.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise WrongType(f"resources are a mapping, not {value!r}", path=path, given=value, todo="Write {cpus: 2}.")
    result = {}
    for name, amount in value.items():
        if name == "memory" and isinstance(amount, str):
            size = parse_size(amount)
            if size is None:
                raise MalformedText(
                    f"{amount!r} is not a size of memory",
                    path=f"{path}.{name}",
                    given=amount,
                    todo="Write bytes or a size such as 4GiB or 500MB.",
                )
            amount = size
        if _checked_number(amount, f"{path}.{name}", f"an amount of {name}", "a number"):
            result[str(name)] = amount
    gpus = result.get("gpus", 0)
    if gpus > 1 and gpus != int(gpus):
        raise MalformedText(
            f"{gpus:g} gpus are neither whole devices nor a part of one",
            path=f"{path}.gpus",
            given=gpus,
            todo="Write a whole number, or a fraction below 1 to share a device.",
        )
    return result


PARTS: Mapping[str, tuple[str, ...]] = {  # of reserved keys with a fixed set of them; resources can have other names
    "_resources_": ("cpus", "gpus", "memory"),
    "_retries_": ("count", "delay", "on", "from"),
    "_checkpoints_": ("keep", "every"),
}
_LIMIT = re.compile(r"[^\W\d]\w*", re.ASCII)
_MAX_UNITS = 10_000


def parse_declared_resources(value: Any, path: str) -> tuple[dict[str, float], dict[str, int]]:
    """Return the resources of a host, and the limits that executions share: `{license: {total: 3, shared: true}}`.

    Raises:
        WrongType, MalformedText, UnknownName: The value or a part of it is wrong; `path` says where it is.
    """
    if not isinstance(value, Mapping):
        return parse_resources(value, path), {}
    amounts, shared = {}, {}
    for name, given in value.items():
        at = f"{path}.{name}"
        if not isinstance(given, Mapping):
            amounts[name] = given
            continue
        for part in given:
            if part not in ("total", "shared"):
                raise UnknownName("part of a resource", part, ["total", "shared"], path=at)
        if "total" not in given:
            raise MalformedText(f"{name} has no `total`", path=at, todo=f"Write {name}: {{total: 3, shared: true}}.")
        if not isinstance(given.get("shared", False), bool):
            raise WrongType("`shared` is true or false", path=f"{at}.shared", given=given["shared"])
        if not given.get("shared"):
            amounts[name] = given["total"]
            continue
        if name in PARTS["_resources_"]:
            raise MalformedText(f"{name} belong to a host, so executions cannot share a limit of them", path=at)
        if not isinstance(name, str) or not _LIMIT.fullmatch(name):
            raise MalformedText(
                f"{name!r} cannot be the name of a shared limit", path=at, given=name, todo="Use letters, digits and _."
            )
        total = _checked_number(given["total"], f"{at}.total", "the total of a shared limit", "a whole number", (int,))
        if not 1 <= total <= _MAX_UNITS:
            raise MalformedText(f"a shared limit has 1 to {_MAX_UNITS} units, not {total}", path=f"{at}.total")
        shared[name] = int(total)
    return parse_resources(amounts, path), shared


def parse_retries(value: Any, path: str) -> Retries | None:
    """Return the retries in `_retries_`: `3`, or `{count: 3, delay: 10, on: [TimeoutError]}`.

    Raises:
        WrongType, MalformedText, UnknownName: The value or a part of it is wrong; `path` says where it is.
    """
    if value is None:
        return None
    if not isinstance(value, Mapping):
        return Retries(checked_count(value, path))
    value = {"on" if key is True else key: item for key, item in value.items()}  # YAML 1.1 reads the key `on` as true
    _check_parts("_retries_", value, PARTS["_retries_"], path)
    names = value.get("on") or []
    if isinstance(names, str):
        names = [names]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise WrongType(f"`on` takes names of errors, not {names!r}", path=f"{path}.on", given=names)
    start = value.get("from", "checkpoint")
    if start not in ("checkpoint", "start"):
        raise WrongType(
            f"`from` is where a retry begins: checkpoint or start, not {start!r}", path=f"{path}.from", given=start
        )
    count = checked_count(value.get("count", 1), f"{path}.count")
    delay = checked_seconds(value.get("delay", 0.0), f"{path}.delay")
    return Retries(count, delay, tuple(names), restart=start == "start")


def parse_checkpoints(value: Any, path: str) -> CheckpointPolicy:
    """Return what `_checkpoints_` says, such as `{keep: 3, every: 10}`, or the default for None.

    Raises:
        WrongType, MalformedText, UnknownName: The value or a part of it is wrong; `path` says where it is.
    """
    default = CheckpointPolicy()
    if value is None:
        return default
    if not isinstance(value, Mapping):
        raise WrongType(
            f"`_checkpoints_` is a mapping, not {value!r}", path=path, given=value, todo="Write {keep: 3, every: 10}."
        )
    _check_parts("_checkpoints_", value, PARTS["_checkpoints_"], path)

    def number(key: str, what: str) -> int:
        found = int(_checked_number(value[key], f"{path}.{key}", what, "a whole number", (int,)))
        if found == 0:
            raise MalformedText(
                f"{what} is at least 1", path=f"{path}.{key}", given=0, todo=f"For the default, leave out `{key}`."
            )
        return found

    is_given = {key for key in PARTS["_checkpoints_"] if value.get(key) is not None}
    keep = None if value.get("keep") == "all" else default.keep
    if "keep" in is_given and keep is not None:
        keep = number("keep", "the number of checkpoints to keep")
    return CheckpointPolicy(keep, number("every", "the number of iterations") if "every" in is_given else None)


def _check_parts(key: str, value: Mapping[Any, Any], known: Sequence[str], path: str) -> None:
    for part in value:
        if part not in known:
            other = next((one for one, parts in PARTS.items() if part in parts), None)
            todo = f"It is a part of `{other}`: write {other}: {{{part}: …}}." if other is not None else None
            raise UnknownName(f"part of `{key}`", part, known, path=path, todo=todo)


def checked_count(value: Any, path: str) -> int:
    """Return a number of retries, 0 or more; errors name its `path`."""
    return int(_checked_number(value, path, "a number of retries", "a whole number", (int,)))


def checked_seconds(value: Any, path: str) -> float:
    """Return a duration in seconds, 0 or more; errors name its `path`."""
    return float(_checked_number(value, path, "a duration", "a number of seconds"))


def _checked_number(
    value: Any, path: str, what: str, expected: str, types: tuple[type[float], ...] = (int, float)
) -> float:
    todo = f"Write {expected} of at least 0."
    if isinstance(value, bool) or not isinstance(value, types):
        raise WrongType(f"{what} is {expected}, not {value!r}", path=path, given=value, todo=todo)
    if not 0 <= value <= float_info.max:
        raise MalformedText(f"{what} cannot be negative or infinite: {value!r}", path=path, given=value, todo=todo)
    return value


T = TypeVar("T")


def reserved_fields(resolved: Resolved, resources: Mapping[str, Plain]) -> dict[str, Any]:
    """Return the fields of a `ComponentSpec` that its reserved keys and the resources of the task determine.

    Raises:
        ConfigurationError: One of the keys is wrong.
    """
    reserved, name = resolved.reserved, resolved.component
    if not reserved and not resources:
        return {}

    def declared(key: str, parse: Callable[[Any, str], T]) -> T:
        try:
            return parse(reserved.get(key), f"{name}.{key}")
        except MachinableError as problem:
            error = problem
            if key in resolved.shown:
                error = MalformedText(
                    f"`{key}` has a value that is made from a hidden one and that it does not take",
                    path=f"{name}.{key}",
                    details=[f"it is written as {resolved.shown[key]!r}"],
                    todo="Its value is not shown, because it may be a secret.",
                )
            if error.at is None:
                error.at = resolved.reserved_place(key) or resolved.entry.place
            raise error from None

    asked = parse_resources(resources, "resources")
    amounts = declared("_resources_", parse_resources)
    return {
        # An amount of 0 removes a declared one.
        "resources": {kind: amount for kind, amount in amounts.items() if kind not in resources} | asked,
        "retries": declared("_retries_", parse_retries),
        "checkpoints": declared("_checkpoints_", parse_checkpoints),
        "environment": declared("_environment_", parse_environment),
        "results": declared("_results_", _results),
    }


def parse_environment(value: Any, path: str) -> dict[str, str]:
    """Return environment variables by name, as text, without those that are None.

    Raises:
        WrongType, MalformedText: The value, a name or a text is wrong; `path` says where it is.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise WrongType(f"an environment is a mapping, not {value!r}", path=path, given=value)
    variables = {}
    for key, text in value.items():
        if not isinstance(key, str) or not key or "=" in key or "\0" in key:
            raise MalformedText(f"{key!r} cannot be the name of an environment variable", path=path, given=key)
        if text is None:
            continue
        if isinstance(text, (bool, Mapping, list)) or not isinstance(text, (str, int, float)):
            raise WrongType(
                f"the variable {key} is text, not {type(text).__name__}",
                path=f"{path}.{key}",
                todo="Write it in quotes.",
            )
        if "\0" in str(text):
            raise MalformedText(f"the variable {key} holds a null character", path=f"{path}.{key}")
        variables[key] = str(text)
    return variables


def _results(value: Any, path: str) -> tuple[str, ...]:
    names = [value] if isinstance(value, str) else value or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise WrongType(f"`_results_` takes names of artifacts, not {value!r}", path=path, given=value)
    for name in names:
        try:
            check_place(name)  # files written through path() may have any extension
        except BadName as error:
            raise MalformedText(
                f"{name!r} cannot be the name of a promised artifact: {error.message}",
                path=path,
                given=name,
                details=error.details,
                todo=error.todo,
            ) from error
    return tuple(names)
