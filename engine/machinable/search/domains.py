"""The values that a search chooses from, such as `loguniform(1e-4, 1e-1)` and `choice(["sgd", "adam"])`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from numbers import Integral, Real
from typing import Any, TypeAlias

from msgspec import Struct

from machinable.errors import InvalidType, InvalidValue
from machinable.factories import check_options
from machinable.serialization import Plain, as_plain, equal_pair, is_hidden

__all__ = [
    "DOMAINS",
    "Choice",
    "Domain",
    "Number",
    "choice",
    "domain_from",
    "grid",
    "lograndint",
    "loguniform",
    "quniform",
    "randint",
    "uniform",
]

_LOGARITHMIC = frozenset({"loguniform", "lograndint"})
_WHOLE = frozenset({"randint", "lograndint"})
_ACCURACY = 1e-9  # relative; samplers that compute in logarithms miss a bound by less


class Number(Struct, frozen=True):
    """Numbers between two bounds, which are possible values.

    Attributes:
        kind: The function that makes it: "uniform", "loguniform", "quniform", "randint" or "lograndint".
        low: The least value.
        high: The greatest value; with a step, the last value is the last step up to it.
        step: The distance between values, or None.
    """

    kind: str
    low: float
    high: float
    step: float | None = None

    def __repr__(self) -> str:
        return f"{self.kind}({', '.join(map(repr, self._bounds))})"

    @property
    def _bounds(self) -> list[float]:
        return [self.low, self.high] if self.step is None else [self.low, self.high, self.step]

    @property
    def is_logarithmic(self) -> bool:
        """Whether equal ratios are equally likely, not equal differences."""
        return self.kind in _LOGARITHMIC

    @property
    def is_whole(self) -> bool:
        """Whether values are whole numbers."""
        return self.kind in _WHOLE

    @property
    def count(self) -> int | None:
        """The number of values, None if they are continuous."""
        if self.is_whole:
            return int(self.high) - int(self.low) + 1
        if self.step is None:
            return None
        return int((_exact(self.high) - _exact(self.low)) / _exact(self.step)) + 1

    def at(self, index: int) -> float:
        """Return the value with a number, from 0; of a domain that is not continuous."""
        if self.is_whole:
            return int(self.low) + index
        assert self.step is not None
        return float(_exact(self.low) + index * _exact(self.step))  # 0.3, where sums of floats give 0.30000000000000004

    def from_unit(self, unit: float) -> float:
        """Return the value at a fraction of the domain, from 0 up to but not including 1; each with its probability."""
        count = self.count
        if not self.is_logarithmic:
            if count is not None:
                return self.at(min(int(unit * count), count - 1))
            value = self.low * (1 - unit) + self.high * unit
        elif self.is_whole:
            low, high = math.log(self.low - 0.5), math.log(self.high + 0.5)
            value = round(math.exp(low + unit * (high - low)))
            return min(max(int(value), int(self.low)), int(self.high))
        else:
            low, high = math.log(self.low), math.log(self.high)
            value = math.exp(low + unit * (high - low))
        return min(max(value, self.low), self.high)

    def read(self, value: Any) -> float | None:
        """Return a value in the type of the domain, without errors of rounding; None if the domain does not have it."""
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            return None
        if not self.low <= value <= self.high:
            if any(math.isclose(value, bound, rel_tol=_ACCURACY, abs_tol=0) for bound in (self.low, self.high)):
                value = min(max(value, self.low), self.high)
            else:
                return None
        if self.is_whole:
            return int(value) if value == int(value) else None
        if self.step is None:
            return float(value)
        index = round((value - self.low) / self.step)
        assert self.count is not None
        near = self.at(min(index, self.count - 1))
        return near if abs(near - value) <= _ACCURACY * self.step else None

    def plain(self) -> Plain:
        """Return the domain as it is written in YAML: `{"uniform": [0, 1]}`."""
        return {self.kind: self._bounds}


class Choice(Struct, frozen=True):
    """One of several values, which may contain domains.

    Attributes:
        kind: The function that makes it: "choice" or "grid".
        options: The values: plain data, domains, and mappings and lists with domains in them.
    """

    kind: str
    options: tuple[Any, ...]

    def __repr__(self) -> str:
        return f"{self.kind}({list(self.options)!r})"

    def plain(self) -> Plain:
        """Return the domain as it is written in YAML: `{"choice": ["sgd", "adam"]}`."""
        return {self.kind: [_plain(option) for option in self.options]}


Domain: TypeAlias = Number | Choice


def uniform(low: float, high: float) -> Number:
    """Choose a number between two bounds, each equally likely.

    Args:
        low: The least value.
        high: The greatest value.

    Raises:
        InvalidType, InvalidValue: The bounds are not finite numbers, or not in order.
    """
    return _number("uniform", low, high)


def loguniform(low: float, high: float) -> Number:
    """Choose a positive number whose logarithm lies between those of two bounds, each equally likely.

    Args:
        low: The least value, greater than 0.
        high: The greatest value.

    Raises:
        InvalidType, InvalidValue: The bounds are not positive numbers, or not in order.
    """
    return _number("loguniform", low, high)


def quniform(low: float, high: float, step: float) -> Number:
    """Choose one of the numbers low, low + step, low + 2 step, … up to `high`, each equally likely.

    Args:
        low: The least value.
        high: The limit, which is a value if a whole number of steps leads to it.
        step: The distance between values, greater than 0.

    Raises:
        InvalidType, InvalidValue: The bounds are not finite numbers or not in order, or the step is not between them.
    """
    return _number("quniform", low, high, step)


def randint(low: int, high: int) -> Number:
    """Choose a whole number, each equally likely; both bounds are possible, as in Python's `random.randint`.

    Args:
        low: The least value.
        high: The greatest value. (That of Ray Tune's and NumPy's `randint` is one less than the bound.)

    Raises:
        InvalidType, InvalidValue: The bounds are not whole numbers, or not in order.
    """
    return _number("randint", low, high)


def lograndint(low: int, high: int) -> Number:
    """Choose a positive whole number, smaller ones more likely, so that equal ratios are; both bounds are possible.

    Args:
        low: The least value, at least 1.
        high: The greatest value.

    Raises:
        InvalidType, InvalidValue: The bounds are not positive whole numbers, or not in order.
    """
    return _number("lograndint", low, high)


def choice(options: Iterable[Any]) -> Choice:
    """Choose one of several values, each equally likely.

    A value may be or contain further domains, which are chosen only if it is:
    `choice([{"name": "sgd", "momentum": uniform(0, 1)}, {"name": "adam"}])`.

    Args:
        options: The values in a list.

    Raises:
        InvalidType, InvalidValue: It is not a list, is empty, or has the same value twice.
        WrongType: A value is not plain data.
    """
    return _choice("choice", options)


def grid(options: Iterable[Any]) -> Choice:
    """Try each of several values: the samplers "grid" and "random" take them in turn, for others it is a choice.

    Args:
        options: The values in a list.

    Raises:
        InvalidType, InvalidValue: It is not a list, is empty, or has the same value twice.
        WrongType: A value is not plain data.
    """
    return _choice("grid", options)


DOMAINS: Mapping[str, Callable[..., Domain]] = {
    "choice": choice,
    "grid": grid,
    "lograndint": lograndint,
    "loguniform": loguniform,
    "quniform": quniform,
    "randint": randint,
    "uniform": uniform,
}


def domain_from(kind: str, arguments: Any) -> Domain:
    """Return the domain that is written as `{kind: arguments}`: arguments in a list, or by name in a mapping.

    Raises:
        InvalidType, InvalidValue: The arguments are wrong.
        WrongType: A value is not plain data.
    """
    function = DOMAINS[kind]
    if isinstance(arguments, Mapping):
        named = dict(arguments)
        check_options(function, f"the domain {kind!r}", named)
        return function(**named)
    if function in (choice, grid):
        return function(arguments)
    if isinstance(arguments, (str, bytes)) or not isinstance(arguments, Iterable):
        todo = f"Write {_usage(kind)}."
        raise InvalidType(f"the bounds of {kind} are not a list but {arguments!r}", given=arguments, todo=todo)
    given = list(arguments)
    if len(given) != _arguments(kind):
        raise InvalidValue(
            f"{kind} takes {_arguments(kind)} numbers, not {len(given)}: {given!r}",
            given=given,
            todo=f"Write {_usage(kind)}.",
        )
    return function(*given)


def _arguments(kind: str) -> int:
    return 3 if kind == "quniform" else 2


def _usage(kind: str) -> str:
    numbers = {"uniform": "0, 1", "quniform": "0, 1, 0.25", "randint": "1, 8", "lograndint": "1, 1024"}
    bounds = numbers.get(kind, "0.0001, 0.1")
    return f"{{{kind}: [{bounds}]}} in YAML, {kind}({bounds}) in Python"


def _number(kind: str, low: Any, high: Any, step: Any = None) -> Number:
    shown = f"{kind}({', '.join(map(repr, (low, high) if step is None else (low, high, step)))})"
    whole = kind in _WHOLE
    names = ("low", "high", "step") if kind == "quniform" else ("low", "high")
    bounds = [_bound(shown, name, value, whole) for name, value in zip(names, (low, high, step), strict=False)]
    low, high = bounds[:2]
    if low >= high:
        swapped = shown.replace(f"{low!r}, {high!r}", f"{high!r}, {low!r}", 1)
        todo = (
            f"Write {swapped}." if low > high else "For a value that does not vary, set it in the version of the task."
        )
        raise InvalidValue(f"the lower bound of {shown} is not less than its upper bound", given=shown, todo=todo)
    if kind in _LOGARITHMIC and low <= 0:
        linear = "randint" if whole else "uniform"
        raise InvalidValue(
            f"the lower bound of {shown} is {low!r}, which has no logarithm",
            given=shown,
            todo=f"Begin with {1 if whole else 'a number greater than 0'}, or write {linear}({low!r}, {high!r}).",
        )
    if kind == "quniform" and not 0 < bounds[2] <= high - low:
        raise InvalidValue(
            f"the step of {shown} is {bounds[2]!r}, which is not between 0 and {high - low!r}",
            given=shown,
            todo="Give a step that is greater than 0 and not greater than the distance of the bounds.",
        )
    return Number(kind, *bounds)


def _bound(shown: str, name: str, value: Any, whole: bool) -> float:
    expected = "a whole number" if whole else "a number"
    if isinstance(value, Integral) and not isinstance(value, bool):
        value = int(value)
    elif isinstance(value, Real) and not isinstance(value, bool) and type(value).__name__ != "bool":
        value = float(value)
        if whole and value.is_integer():
            value = int(value)
    else:
        todo = "Write it without quotes." if _is_number(value) else f"Give {expected}."
        raise InvalidType(f"{name} of {shown} is {value!r}, not {expected}", given=value, todo=todo)
    if isinstance(value, float) and (whole or not math.isfinite(value)):
        what = "a whole number" if whole else "a finite number"
        todo = "For other numbers, write uniform or quniform." if whole else "Give a bound that is a possible value."
        raise InvalidValue(f"{name} of {shown} is {value!r}, not {what}", given=value, todo=todo)
    return value  # type: ignore[no-any-return]


def _is_number(value: Any) -> bool:
    try:
        return isinstance(value, str) and math.isfinite(float(value))
    except ValueError:
        return False


def _choice(kind: str, options: Any) -> Choice:
    if isinstance(options, (str, bytes, Mapping, set, frozenset, Number, Choice)) or not isinstance(options, Iterable):
        raise InvalidType(
            f"the values of {kind} are not a list but {options!r}",
            given=options,
            todo=f"Write the values in order in a list: {kind}([32, 64]).",
        )
    read = tuple(_option(option, f"{kind}[{number}]") for number, option in enumerate(options))
    if not read:
        raise InvalidValue(f"{kind} has no values: its list is empty", given=options, todo="Write at least one value.")
    if (pair := equal_pair([_plain(option) for option in read])) is not None:
        raise InvalidValue(
            f"{kind} has the value {_plain(read[pair[1]])!r} twice",
            given=options,
            todo="Keep one of them; `repeats` runs a sample several times.",
        )
    return Choice(kind, read)


def _option(value: Any, path: str) -> Any:
    """Return a value of a choice with its domains, in any of their spellings."""
    if isinstance(value, (Number, Choice)):
        return value
    if isinstance(value, Mapping):
        if (found := written_domain(value)) is not None:
            return found
        for key in value:
            if is_hidden(key):
                todo = "Set it in the version of the task; what is searched is stored and shown."
                raise InvalidValue(f"{key!r} is a hidden key, which a search cannot choose", path=path, todo=todo)
        if any(True for _ in _domains_in(value)):
            return {as_plain(key, path): _option(item, f"{path}.{key}") for key, item in value.items()}
    elif isinstance(value, (list, tuple)) and any(True for _ in _domains_in(value)):
        return [_option(item, f"{path}[{number}]") for number, item in enumerate(value)]
    return as_plain(value, path)


def written_domain(value: Any) -> Domain | None:
    """Return the domain that a mapping of its name spells, as in YAML, None if it is another value.

    Raises:
        InvalidType, InvalidValue: Its arguments are wrong.
    """
    if not isinstance(value, Mapping) or len(value) != 1:
        return None
    ((kind, arguments),) = value.items()
    if kind == "grid_search":
        kind = "grid"
    if not isinstance(kind, str) or kind not in DOMAINS:
        return None
    return domain_from(kind, arguments)


def _domains_in(value: Any) -> Iterator[Any]:
    if isinstance(value, (Number, Choice)):
        yield value
    elif isinstance(value, Mapping):
        if len(value) == 1 and (set(value) & {*DOMAINS, "grid_search"}):
            yield value
        for item in value.values():
            yield from _domains_in(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _domains_in(item)


def _plain(option: Any) -> Plain:
    if isinstance(option, (Number, Choice)):
        return option.plain()
    if isinstance(option, dict):
        return {key: _plain(item) for key, item in option.items()}
    if isinstance(option, list):
        return [_plain(item) for item in option]
    return option


def _exact(number: float) -> Decimal:
    return Decimal(repr(number))
