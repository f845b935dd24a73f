"""How often a component is tried again: `_retries_: 3`, or `{count: 3, delay: 10, on: [TimeoutError]}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from machinable.errors import MalformedText, UnknownName, WrongType
from machinable.plan.spec import Retries

__all__ = ["checked_count", "checked_seconds", "parse_retries"]


def parse_retries(value: Any, path: str) -> Retries | None:
    """The rule that `_retries_` states; None where it says nothing.

    Raises:
        WrongType, MalformedText, UnknownName: it says something else.
    """
    if value is None:
        return None
    if not isinstance(value, Mapping):
        return Retries(checked_count(value, path))
    value = {"on" if key is True else key: item for key, item in value.items()}  # YAML 1.1 reads the key `on` as true
    for key in value:
        if key not in ("count", "delay", "on"):
            raise UnknownName("part of `_retries_`", key, ["count", "delay", "on"], path=path)
    names = value.get("on") or []
    if isinstance(names, str):
        names = [names]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise WrongType(f"`on` takes names of errors, not {names!r}", path=f"{path}.on", given=names)
    count = checked_count(value.get("count", 1), f"{path}.count")
    return Retries(count, checked_seconds(value.get("delay", 0.0), f"{path}.delay"), tuple(names))


def checked_count(value: Any, path: str) -> int:
    """A number of retries, 0 or more.

    Raises:
        WrongType, MalformedText: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise WrongType(f"a number of retries is a whole number, not {value!r}", path=path, given=value)
    if value < 0:
        raise MalformedText(f"a number of retries is not below zero: {value}", path=path, given=value)
    return value


def checked_seconds(value: Any, path: str) -> float:
    """A duration in seconds, 0 or more.

    Raises:
        WrongType, MalformedText: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise WrongType(f"a duration is a number of seconds, not {value!r}", path=path, given=value)
    if not 0 <= value < float("inf"):
        raise MalformedText(f"a duration is not below zero, nor endless: {value!r}", path=path, given=value)
    return float(value)
