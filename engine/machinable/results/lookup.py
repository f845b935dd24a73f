"""Look up values in stored plans and events by key paths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from machinable.serialization import decode

__all__ = ["CALL", "MISSING", "UNKNOWN", "has_call", "is_mutable", "look", "look_in", "value_or"]

UNKNOWN: Any = object()  # in a column: a value that is in the trial's own files
MISSING: Any = object()  # where there is no value
CALL: Any = object()  # the value is inside the result of a config method


_MUTABLE = frozenset({dict, list, tuple})


def value_or(found: Any, default: Any) -> Any:
    """Return the value that `look` has found, decoded, or the default."""
    if found is MISSING or found is CALL:
        return default
    return decode(found) if type(found) is dict or type(found) is list else found


def look_in(part: str, values: dict[str, Any], keys: tuple[str, ...]) -> Any:
    """Look up a value in `config`, `flags` or `tags`."""
    if part == "tags" and (name := ".".join(keys)) in values:  # tags are not nested: `data.noise` is one name
        keys = (name,)
    return look(values, keys)


def look(value: Any, keys: tuple[str, ...]) -> Any:
    """Return the value at a key path, `MISSING`, or `CALL` if it is within the result of a config method."""
    for key in keys:
        if type(value) is dict:
            if key in value:
                value = value[key]
                continue
            value = decode(value)
            if type(value) is dict:
                value = {str(name): item for name, item in value.items()}
        if isinstance(value, (list, tuple)) and key.isdecimal() and int(key) < len(value):
            value = value[int(key)]
        elif type(value) is dict and key in value:
            value = value[key]
        else:
            return CALL if type(value) is str and has_call(value) else MISSING
    return value


def has_call(value: Any) -> bool:
    """Return whether a value is or contains the call of a config method."""
    kind = type(value)
    if kind is str:
        if value[-1:] != ")":
            return False
        from machinable.config.method_calls import is_call  # most plans have no calls, and its parser is not needed

        return is_call(value)
    if kind is dict:
        return any(map(has_call, value.values()))
    return kind is list and any(map(has_call, value))


def is_mutable(values: Sequence[Any]) -> bool:
    """Return whether some of the values are mutable."""
    return not _MUTABLE.isdisjoint(map(type, values))
