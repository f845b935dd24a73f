"""What the reserved keys of a component say about running it: resources, retries, environment, promised results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from machinable.config.resolve import Resolved
from machinable.errors import MalformedText, WrongType
from machinable.plain import Plain
from machinable.plan.resources import parse_resources
from machinable.plan.retries import parse_retries

__all__ = ["parse_environment", "steering"]


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
    declared = parse_resources(reserved.get("_resources_"), f"{name}._resources_")
    return {
        "resources": declared | parse_resources(resources, "resources"),
        "retries": parse_retries(reserved.get("_retries_"), f"{name}._retries_"),
        "environment": parse_environment(reserved.get("_environment_"), f"{name}._environment_"),
        "results": _results(reserved.get("_results_"), f"{name}._results_"),
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
        found[key] = str(text)
    return found


def _results(value: Any, path: str) -> tuple[str, ...]:
    names = [value] if isinstance(value, str) else value or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise WrongType(f"promised results are names of artifacts, not {value!r}", path=path, given=value)
    return tuple(names)
