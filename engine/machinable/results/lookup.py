"""Look up values in stored plans and events by key paths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from machinable.serialization import decode

__all__ = ["CALL", "MISSING", "UNKNOWN", "has_call", "is_mutable", "look", "look_in", "value_or"]

UNKNOWN: Any = object()  # in a column: a value that is in the trial's own files
MISSING: Any = object()  # where there is no value
CALL: Any = object()  # on the way to a value there is the call of a config method


_MUTABLE = frozenset({dict, list, tuple})


def value_or(found: Any, default: Any) -> Any:
    """Return what `look` has found, decoded, or the default."""
    if found is MISSING or found is CALL:
        return default
    return decode(found) if type(found) is dict or type(found) is list else found


def look_in(part: str, values: dict[str, Any], keys: tuple[str, ...]) -> Any:
    """Look into `config`, `flags` or `tags`."""
    if part == "tags" and (name := ".".join(keys)) in values:  # tags are not nested: `data.noise` is one name
        keys = (name,)
    return look(values, keys)


def look(value: Any, keys: tuple[str, ...]) -> Any:
    """Return the value at a key path, `MISSING`, or `CALL` if it is within what a config method returns."""
    for key in keys:
        kind = type(value)
        if kind is dict and key in value:
            value = value[key]
        elif kind is dict:
            whole = decode(value)
            if type(whole) is dict:
                value = {str(k): v for k, v in whole.items()}.get(key, MISSING)
            else:  # a tuple
                value = _element(whole, key)
        elif kind is str and has_call(value):
            return CALL
        else:
            value = _element(value, key)
        if value is MISSING:
            return value
    return value


def _element(value: Any, key: str) -> Any:
    if isinstance(value, (list, tuple)) and key.isdecimal() and int(key) < len(value):
        return value[int(key)]
    return MISSING


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
