"""Plain data, such as configurations, rows and results, and its JSON.

Plain data are None, bool, int, float, text, dates and times, lists and mappings of these, and tuples where the caller
allows them.
Canonical JSON is that of Python's standard library with three substitutions, undone when reading:

    a tuple                                 {"__tuple__": [...]}
    a date or a time                        {"__date__": "2026-01-31"}
    a mapping with a key that is not text   {"__map__": [[key, value], ...]}
"""

from __future__ import annotations

import datetime
import gc
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from operator import is_
from typing import Any, TypeAlias

from machinable.errors import WrongType

__all__ = [
    "Plain",
    "as_plain",
    "canonical",
    "decode",
    "dumps",
    "encode",
    "is_hidden",
    "loads",
    "without_collections",
    "without_hidden",
]

Plain: TypeAlias = Any  # mypy does not handle the recursive type

_SCALARS = frozenset({type(None), bool, int, float, str})
_DATES = (datetime.date, datetime.time)  # a datetime is a date
_MARKS = frozenset({"__tuple__", "__date__", "__map__"})


def as_plain(value: Any, path: str = "", *, tuples: bool = False) -> Plain:
    """Return the value as plain data that shares nothing mutable with it.

    Scalars of numpy become numbers and arrays lists (without importing numpy), subclasses of text and numbers become
    their base class, tuples become lists unless `tuples`.

    Raises:
        WrongType: A part of it is not plain; the error has its key path, below `path`.
    """
    kind = type(value)
    if kind in _SCALARS:
        return value
    if kind is dict or isinstance(value, Mapping):  # isinstance of an abstract class is slow
        return {_key(k, path): as_plain(value[k], _below(path, k), tuples=tuples) for k in value}
    if isinstance(value, (list, tuple)):
        items = [as_plain(v, f"{path}[{i}]", tuples=tuples) for i, v in enumerate(value)]
        return tuple(items) if tuples and isinstance(value, tuple) else items
    if isinstance(value, _DATES):
        return value
    if kind.__module__.partition(".")[0] == "numpy" and hasattr(value, "tolist"):
        return as_plain(value.tolist(), path, tuples=tuples)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    raise WrongType(
        f"{_short(value)} is not plain data",
        path=path or None,
        given=value,
        todo="Use None, bool, int, float, text, dates, lists or mappings; numpy values are converted.",
    )


def _key(key: Any, path: str) -> Any:
    if type(key) in _SCALARS or isinstance(key, _DATES):
        return key
    if isinstance(key, tuple):
        raise WrongType(f"the key {key!r} is not plain data", path=path or None, given=key, todo="Use text as key.")
    return as_plain(key, path)


def _below(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)


def _short(value: object) -> str:
    try:
        text = repr(value)
    except Exception:  # a broken __repr__ must not hide the message
        text = "a value"
    return f"{text if len(text) <= 60 else text[:57] + '...'} of type {type(value).__name__}"


def encode(value: Plain) -> Any:
    """Return plain data with the three substitutions, ready for `json`."""
    kind = type(value)
    if kind in _SCALARS:
        return value
    if kind is dict:
        result = {}
        for key, item in value.items():
            if type(key) is not str:
                return _encode_pairs(value)
            result[key] = item if type(item) in _SCALARS else encode(item)
        return _encode_pairs(value) if len(result) == 1 and not _MARKS.isdisjoint(result) else result
    if kind is list:
        return [item if type(item) in _SCALARS else encode(item) for item in value]
    if kind is tuple:
        return {"__tuple__": [encode(item) for item in value]}
    if isinstance(value, _DATES):
        return {"__date__": value.isoformat()}
    return encode(as_plain(value, tuples=True))


def _encode_pairs(value: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the substitute of a mapping with keys that are not text, or that resembles a substitution."""
    pairs = [[encode(key), encode(item)] for key, item in value.items()]
    return {"__map__": sorted(pairs, key=lambda pair: _dump_sorted(pair[0]))}


def decode(value: Any) -> Plain:
    """Return plain data from the output of `encode`."""
    if type(value) is dict:
        if len(value) == 1:
            ((mark, inside),) = value.items()
            if mark == "__tuple__" and type(inside) is list:
                return tuple(decode(v) for v in inside)
            if mark == "__date__" and type(inside) is str:
                return _date(inside)
            if mark == "__map__" and type(inside) is list:
                return {decode(k): decode(v) for k, v in inside}
        return {k: decode(v) for k, v in value.items()}
    if type(value) is list:
        return [decode(v) for v in value]
    return value


def _date(text: str) -> datetime.date | datetime.time:
    if ":" not in text:
        return datetime.date.fromisoformat(text)
    if "-" in text[:8]:
        return datetime.datetime.fromisoformat(text)
    return datetime.time.fromisoformat(text)


_text = json.encoder.encode_basestring_ascii


def _encoder(sort_keys: bool, between: str, after_key: str) -> Callable[[Any], str]:
    """Return `json.JSONEncoder(…).encode` without its preparations, which take half of the time."""
    make: Any = json.encoder.c_make_encoder  # type: ignore[attr-defined]
    in_pieces = make(None, encode, _text, None, after_key, between, sort_keys, False, True)
    return lambda value: "".join(in_pieces(value, 0))


_dump_sorted = _encoder(True, ",", ":")
_dump = _encoder(False, ", ", ": ")


def canonical(value: Plain) -> str:
    """Return the canonical JSON of a value: keys sorted, no blanks, ASCII. Identities and seeds depend on it."""
    if type(value) is str:
        return _text(value)  # a third of all calls
    return _dump_sorted(encode(value))


def dumps(value: Plain) -> str:
    """Return the value as one line of JSON with `NaN` and infinities as Python writes them."""
    return _dump(encode(value))


def loads(text: str | bytes) -> Plain:
    """Return the value that `dumps` wrote.

    Raises:
        ValueError: The text is not JSON.
    """
    return decode(json.loads(text))


def is_hidden(key: object) -> bool:
    """Return whether a key is never printed, stored or compared: it begins but does not end with an underscore."""
    return type(key) is str and key[:1] == "_" and key[-1:] != "_"


def without_hidden(value: Plain) -> Plain:
    """Return the value without hidden keys at any depth; the value itself if there are none."""
    kind = type(value)
    if kind is dict:
        result = {
            k: v if type(v) in _SCALARS else without_hidden(v)
            for k, v in value.items()
            if not (type(k) is str and k[:1] == "_" and k[-1:] != "_")
        }
        same = len(result) == len(value) and all(map(is_, result.values(), value.values()))
        return value if same else result
    if kind is list:
        items = [v if type(v) in _SCALARS else without_hidden(v) for v in value]
        return value if all(map(is_, items, value)) else items
    return value


@contextmanager
def without_collections() -> Iterator[None]:
    """Pause the garbage collector, which takes a fifth of the time while much plain data is created."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
