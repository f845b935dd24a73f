"""What the reserved keys of a component say about running it: resources, retries, environment, promised results."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from machinable.config.resolve import Resolved
from machinable.errors import BadName, MachinableError, MalformedText, WrongType
from machinable.plain import Plain
from machinable.plan.resources import parse_resources
from machinable.plan.retries import parse_retries
from machinable.storage.formats import check_place

__all__ = ["parse_environment", "steering"]

T = TypeVar("T")


def steering(resolved: Resolved, resources: Mapping[str, Plain]) -> dict[str, Any]:
    """The fields of a trial that its reserved keys decide.

    Args:
        resources: those of the task, laid over the declared ones.

    Raises:
        ConfigurationError: one of the keys says something else than it may.
    """
    reserved, name = resolved.reserved, resolved.component
    if not reserved and not resources:
        return {"resources": {}, "retries": None, "environment": {}, "results": ()}

    def said(key: str, parse: Callable[[Any, str], T]) -> T:
        try:
            return parse(reserved.get(key), f"{name}.{key}")
        except MachinableError as error:
            if error.at is None:
                error.at = resolved.reserved_place(key) or resolved.entry.place
            raise

    asked = parse_resources(resources, "resources")
    declared = said("_resources_", parse_resources)
    return {
        # An amount of 0 takes a declared one back.
        "resources": {kind: amount for kind, amount in declared.items() if kind not in resources} | asked,
        "retries": said("_retries_", parse_retries),
        "environment": said("_environment_", parse_environment),
        "results": said("_results_", _results),
    }


def parse_environment(value: Any, path: str) -> dict[str, str]:
    """Variables by name, as texts; one that is null is left out.

    Args:
        value: null or a mapping. path: where it stands, for messages.

    Raises:
        WrongType, MalformedText: it is something else.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise WrongType(f"an environment is a mapping, not {value!r}", path=path, given=value)
    found = {}
    for key, text in value.items():
        if not isinstance(key, str) or not key or "=" in key or "\0" in key:
            raise MalformedText(f"{key!r} cannot be the name of an environment variable", path=path, given=key)
        if text is None:
            continue
        if isinstance(text, (bool, Mapping, list)) or not isinstance(text, (str, int, float)):
            raise WrongType(f"the variable {key} is text, not {type(text).__name__}", path=f"{path}.{key}",
                            todo="Write it in quotes.")  # fmt: skip
        if "\0" in str(text):
            raise MalformedText(f"the variable {key} holds a null character", path=f"{path}.{key}")
        found[key] = str(text)
    return found


def _results(value: Any, path: str) -> tuple[str, ...]:
    names = [value] if isinstance(value, str) else value or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise WrongType(f"promised results are names of artifacts, not {value!r}", path=path, given=value)
    for name in names:
        try:
            check_place(name.removesuffix("/"))  # what is written by path() may have any extension
        except BadName as error:
            raise MalformedText(
                f"{name!r} is promised and can never be written: {error.message}", path=path, given=name,
                details=error.details, todo=error.todo,
            ) from error  # fmt: skip
    return tuple(names)
