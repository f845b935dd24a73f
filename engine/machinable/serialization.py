"""Plain data, such as configurations, rows and results, and its JSON.

Plain data are None, bool, int, float, text, dates, times and durations, lists and mappings of these, and tuples where
the caller allows them.
Canonical JSON is that of Python's standard library with four substitutions, undone when reading:

    a tuple                                 {"__tuple__": [...]}
    a date or a time                        {"__date__": "2026-01-31"}
    a duration, in microseconds             {"__timedelta__": 1500000}
    a mapping with a key that is not text   {"__map__": [[key, value], ...]}
"""

from __future__ import annotations

import datetime
import gc
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import is_
from typing import Any, TypeAlias

from machinable.errors import WrongType

__all__ = [
    "MARKS",
    "MAX_DEPTH",
    "MAX_INT",
    "Plain",
    "as_plain",
    "canonical",
    "compact",
    "decode",
    "dumps",
    "encode",
    "equal_pair",
    "is_hidden",
    "is_too_deep",
    "loads",
    "parse",
    "too_deep",
    "without_collections",
    "without_hidden",
]

Plain: TypeAlias = Any  # mypy does not handle the recursive type

MAX_DEPTH = 200  # levels of nesting; recursion this deep fits on the stack of every Python
_DEPTH_OF_LINES = 8  # levels of a line or a file around a value
MAX_INT = 10**4300  # Python converts no longer numbers from or to text

_SCALARS = frozenset({type(None), bool, int, float, str})
_DATES = (datetime.date, datetime.time)  # a datetime is a date
_CLOCKS = (datetime.time, datetime.datetime)
_TIMES = (*_DATES, datetime.timedelta)
MARKS = frozenset({"__tuple__", "__date__", "__timedelta__", "__map__"})
_EXACT_DATES = frozenset({datetime.date, datetime.time, datetime.datetime})
_MICROSECOND = datetime.timedelta(microseconds=1)
_MISSING = frozenset({"NaTType", "NAType"})  # of pandas
_TOO_FINE = frozenset({"ns", "ps", "fs", "as"})  # units of times of numpy


def as_plain(value: Any, path: str = "", *, tuples: bool = False) -> Plain:
    """Return the value as plain data that shares nothing mutable with it, and that is equal after storing it.

    Without importing these libraries, scalars of numpy become numbers, dates and durations, arrays lists, missing
    values of pandas None. Nanoseconds are cut, and time zones become their offset. Subclasses of text, numbers and
    dates become their base class, tuples become lists unless `tuples`.

    Raises:
        WrongType: A part of it is not plain, or nested too deeply; the error has its key path, below `path`.
    """
    return _as_plain(value, path, tuples, MAX_DEPTH)


def _as_plain(value: Any, path: str, tuples: bool, depth: int) -> Plain:
    kind = type(value)
    if kind in _SCALARS:
        if kind is int and not -MAX_INT < value < MAX_INT:
            raise _not_plain("a number of more than 4300 digits", None, path)  # it has no text
        return value
    if depth < 0:
        shown = path if len(path) <= 60 else path[:57] + "..."
        message = f"a value is nested deeper than {MAX_DEPTH} levels, or contains itself"
        raise WrongType(message, path=shown or None, todo="Nest less deeply.")
    if kind is dict or isinstance(value, Mapping):  # isinstance of an abstract class is slow
        result = {_key(k, path): _as_plain(value[k], _below(path, k), tuples, depth - 1) for k in value}
        if len(result) < len(value):
            raise _not_plain("a mapping with keys that become equal as plain data", value, path)
        return result
    if isinstance(value, (list, tuple)):
        items = [_as_plain(v, f"{path}[{i}]", tuples, depth - 1) for i, v in enumerate(value)]
        return tuple(items) if tuples and isinstance(value, tuple) else items
    if isinstance(value, _TIMES):
        return _time(value)
    library = kind.__module__.partition(".")[0]
    if library == "numpy" and hasattr(value, "tolist"):
        return _from_numpy(value, path, tuples, depth - 1)
    if library == "pandas" and kind.__name__ in _MISSING:
        return None
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return _as_plain(int(value), path, tuples, depth)
    if isinstance(value, float):
        return float(value)
    raise _not_plain(_short(value), value, path)


def _not_plain(what: str, value: object, path: str) -> WrongType:
    return WrongType(
        f"{what} is not plain data",
        path=path or None,
        given=value,
        todo=_advice(value)
        or "Use None, bool, int, float, text, dates, durations, lists or mappings; numpy values are converted.",
    )


def _advice(value: object) -> str | None:
    """Return how to write a value that is usual and not plain data."""
    kinds = {kind.__module__.partition(".")[0] + "." + kind.__name__: kind for kind in type(value).__mro__}
    return next((f"Write {advice}." for name, advice in _INSTEAD.items() if name in kinds), None)


_INSTEAD = {
    "pathlib.PurePath": "the path as text: str(path)",
    "enum.Enum": "the value or the name of the member: member.value, member.name",
    "decimal.Decimal": "a number or text: float(value), str(value)",
    "fractions.Fraction": "a number or text: float(value), str(value)",
    "uuid.UUID": "it as text: str(value)",
    "builtins.set": "a list: sorted(value)",
    "builtins.frozenset": "a list: sorted(value)",
    "builtins.range": "a list: list(value)",
    "collections.deque": "a list: list(value)",
    "builtins.bytes": "text, value.hex(), or store bytes as an artifact: store.write('name.bin', value)",
    "builtins.complex": "two numbers: value.real, value.imag",
    "numpy.longdouble": "a float: float(value)",
    "pandas.Series": "a list: value.tolist()",
    "pandas.DataFrame": "it as an artifact: store.write('name.parquet', value)",
    "machinable.Number": "it in the space of a search: task.tune(space={'rate': uniform(0, 1)}, …)",
    "machinable.Choice": "it in the space of a search, task.tune(space={'size': choice([32, 64])}, …). For a trial of "
    "each value, give a version: grid(size=[32, 64])",
    "polars.DataFrame": "it as an artifact: store.write('name.parquet', value)",
    "torch.Tensor": "a number or a list: value.item(), value.tolist()",
}


def _time(value: Any) -> datetime.date | datetime.time | datetime.timedelta | None:
    """Return a value of `datetime` as it is read again: without subclass, rules of a time zone, or nanoseconds."""
    if value != value:  # pandas calls a missing date NaT, which is a datetime
        return None
    if isinstance(value, datetime.timedelta):
        return datetime.timedelta(value.days, value.seconds, value.microseconds)
    if isinstance(value, _CLOCKS):
        offset = value.utcoffset()
        zone = None if offset is None else datetime.timezone(offset)
        clock = datetime.time(value.hour, value.minute, value.second, value.microsecond, zone)
        if isinstance(value, datetime.time):
            return clock
    date = datetime.date(value.year, value.month, value.day)
    return datetime.datetime.combine(date, clock) if isinstance(value, datetime.datetime) else date


def _from_numpy(value: Any, path: str, tuples: bool, depth: int) -> Plain:
    if value.dtype.names:  # a structured array or one of its rows
        parts = list(value) if value.ndim else tuple(value[name] for name in value.dtype.names)
        return _as_plain(parts, path, tuples, depth)
    if value.dtype.kind not in "mM":
        plain = value.tolist()
        if type(plain) is type(value):  # a number of a precision that Python lacks
            raise _not_plain(_short(value), value, path)
        return _as_plain(plain, path, tuples, depth)
    unit = value.dtype.name.partition("[")[2].rstrip("]").lstrip("0123456789")
    if unit in _TOO_FINE:
        value = value.astype(f"{value.dtype.kind}8[us]")
    if any(type(one) is int for one in value.ravel().tolist()):
        raise _not_plain(_short(value), value, path)  # Python has years from 1 to 9999, and durations without months
    return value.tolist()


def _key(key: Any, path: str) -> Any:
    if isinstance(key, tuple):
        raise WrongType(
            f"the key {_short(key)} is not plain data", path=path or None, given=key, todo="Use text as key."
        )
    plain = _as_plain(key, path, False, 0)
    if isinstance(plain, (dict, list)):
        raise _not_plain(f"the key {_short(key)}", key, path)
    return plain


def _below(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)


def _short(value: object) -> str:
    try:
        text = " ".join(repr(value).split())
    except Exception:  # a broken __repr__ must not hide the message
        text = "a value"
    return f"{text if len(text) <= 60 else text[:57] + '...'} of type {type(value).__name__}"


def encode(value: Plain) -> Any:
    """Return plain data with the four substitutions, ready for `json`."""
    kind = type(value)
    if kind in _SCALARS:
        return value
    if kind is dict:
        result = {}
        for key, item in value.items():
            if type(key) is not str:
                return _encode_pairs(value)
            result[key] = item if type(item) in _SCALARS else encode(item)
        return _encode_pairs(value) if len(result) == 1 and not MARKS.isdisjoint(result) else result
    if kind is list:
        return [item if type(item) in _SCALARS else encode(item) for item in value]
    if kind is tuple:
        return {"__tuple__": [encode(item) for item in value]}
    if kind is datetime.timedelta:
        return {"__timedelta__": value // _MICROSECOND}
    if kind in _EXACT_DATES:
        return {"__date__": value.isoformat()}
    return encode(as_plain(value, tuples=True))


def _encode_pairs(value: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the substitute of a mapping with keys that are not text, or that resembles a substitution."""
    pairs = [[encode(key), encode(item)] for key, item in value.items()]
    return {"__map__": sorted(pairs, key=lambda pair: _dump_sorted(pair[0]))}


def decode(value: Any) -> Plain:
    """Return plain data from the output of `encode`; a mapping that only resembles a substitution stays as it is."""
    if type(value) is dict:
        if len(value) == 1:
            ((mark, inside),) = value.items()
            if mark in _DECODERS:
                kind, substituted = _DECODERS[mark]
                if type(inside) is kind:
                    try:
                        return substituted(inside)
                    except (ValueError, TypeError, OverflowError):  # another program wrote it
                        pass
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


_DECODERS: dict[str, tuple[type, Callable[[Any], Any]]] = {
    "__tuple__": (list, lambda items: tuple(decode(v) for v in items)),
    "__date__": (str, _date),
    "__timedelta__": (int, lambda number: number * _MICROSECOND),
    "__map__": (list, lambda pairs: {decode(k): decode(v) for k, v in pairs}),
}


_text = json.encoder.encode_basestring_ascii


def _encoder(sort_keys: bool, between: str, after_key: str) -> Callable[[Any], str]:
    """Return `json.JSONEncoder(…).encode` without its preparations, which take half of the time."""
    make: Any = json.encoder.c_make_encoder  # type: ignore[attr-defined]
    in_pieces = make(None, encode, _text, None, after_key, between, sort_keys, False, True)
    return lambda value: "".join(in_pieces(value, 0))


_dump_sorted = _encoder(True, ",", ":")
_dump = _encoder(False, ", ", ": ")
_dump_compact = _encoder(False, ",", ":")


def canonical(value: Plain) -> str:
    """Return the canonical JSON of a value: keys sorted, no blanks, ASCII. Identities and seeds depend on it."""
    if type(value) is str:
        return _text(value)  # a third of all calls
    return _dump_sorted(encode(value))


def dumps(value: Plain) -> str:
    """Return the value as one line of JSON with `NaN` and infinities as Python writes them."""
    return _dump(encode(value))


def compact(value: Plain) -> str:
    """Return the value as `dumps` does, without blanks."""
    return _dump_compact(encode(value))


def loads(text: str | bytes) -> Plain:
    """Return the value that `dumps` wrote.

    Raises:
        ValueError: The text is not JSON, or nested too deeply.
    """
    return decode(parse(text))


def parse(text: str | bytes) -> Any:
    """Return the value that `dumps` wrote, with its substitutions; see `loads`."""
    try:
        value = json.loads(text)
    except RecursionError:
        raise too_deep() from None
    brackets = (text.count(b"{") + text.count(b"[")) if isinstance(text, bytes) else (text.count("{") + text.count("["))
    if brackets > MAX_DEPTH and is_too_deep(value):
        raise too_deep()
    return value


def is_too_deep(value: Any) -> bool:
    """Return whether an encoded value is nested more deeply than what `as_plain` returns, in a line of a file."""
    level = [value]
    for _ in range(MAX_DEPTH + _DEPTH_OF_LINES):
        level = [item for one in level for item in _inside(one) if type(item) is dict or type(item) is list]
        if not level:
            return False
    return True


def _inside(value: Any) -> Iterable[Any]:
    """Return what a list or mapping contains once it is decoded."""
    if type(value) is dict:
        if len(value) == 1:
            ((mark, inside),) = value.items()
            if mark == "__tuple__" and type(inside) is list:
                return inside
            if mark == "__map__" and type(inside) is list and all(type(pair) is list for pair in inside):
                return [item for pair in inside for item in pair]
        return value.values()
    return value  # type: ignore[no-any-return]


def too_deep() -> ValueError:
    """Return the error for a value that is nested too deeply."""
    return ValueError(f"lists and mappings are nested deeper than {MAX_DEPTH} levels")


def equal_pair(values: Sequence[Plain]) -> tuple[int, int] | None:
    """Return the positions of the first value that is equal to an earlier one, the earlier one first."""
    known: dict[str, int] = {}
    for number, value in enumerate(values):
        earlier = known.setdefault(canonical(value), number)
        if earlier != number:
            return earlier, number
    return None


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
