"""Look up values in stored plans and events by key paths."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from machinable.serialization import decode

if TYPE_CHECKING:
    from machinable.results.cache import CachedExecution

__all__ = ["CALL", "MISSING", "UNKNOWN", "column", "has_call", "look", "look_in", "value_or"]

UNKNOWN: Any = object()  # in a column: a value that is in the trial's own files
MISSING: Any = object()  # where there is no value
CALL: Any = object()  # on the way to a value there is the call of a config method


def column(cached: CachedExecution, path: tuple[str, ...], default: Any) -> list[Any]:
    """Return a value of all trials of a cached execution; see `Reader.column`."""
    part, *keys = path
    if not keys:
        default = UNKNOWN

    def last_row(value: Any, left: tuple[str, ...]) -> Any:
        # With `record` and the column left, the event has no row; with the column, the row is None or lacks it.
        return value if not left else default if len(left) == 1 else UNKNOWN

    def state(value: Any, left: tuple[str, ...]) -> Any:
        return UNKNOWN if left or value == "started" else value

    def planned(value: Any, left: tuple[str, ...]) -> Any:
        found = look(value, left)
        return UNKNOWN if part == "config" and (found is CALL or has_call(found)) else value_or(found, default)

    def tag(value: Any, left: tuple[str, ...]) -> Any:
        return default if left else value_or(look_in(part, value, tuple(keys)), default)

    if part == "records":
        return cached.trials.find(("event", "record", *keys), last_row)
    if part == "status":
        return cached.trials.find(("event", "event"), state)
    if part == "tags":
        return cached.trials.find(("plan", part), tag)
    return cached.trials.find(("plan", *path), planned)


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
