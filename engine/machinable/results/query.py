"""Fields of trials: `status`, `config.data.name`, `flags.REPEAT_NUMBER`, `records.loss.min`."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

from machinable.plan.table import flatten
from machinable.results.lookup import MISSING
from machinable.results.trial import Trial, column
from machinable.serialization import MARKS

__all__ = [
    "MISSING",
    "PARTS",
    "Field",
    "default_fields",
    "differing_paths",
    "find_field",
    "known_fields",
    "mean",
    "spread",
    "states",
]


class Field(NamedTuple):
    """A fact about trials.

    Attributes:
        of: Returns the value of one trial.
        path: Where it is in the cache; see `Reader.column`.
    """

    of: Callable[[Trial], Any]
    path: tuple[str, ...] | None = None

    def values(self, trials: Sequence[Trial]) -> list[Any]:
        """Return the values of trials."""
        return list(map(self.of, trials)) if self.path is None else column(trials, self.path, MISSING, self.of)


_CACHED = ("uid", "index", "seed", "component", "module", "identity", "status")  # the cache has them
_SIMPLE: dict[str, Callable[[Trial], Any]] = {
    "execution": lambda trial: str(trial.execution),
    "name": attrgetter("execution.name"),
    **{name: attrgetter(name) for name in _CACHED},
}
PARTS = ("config", "flags", "tags", "records")  # whose fields have a dot
_PARTS = PARTS[:3]
_AGGREGATES = ("first", "min", "max", "mean", "std", "count")


def find_field(field: str) -> Field | None:
    """Return the field with that name, None if there is none.

    `records.loss` and `records.loss.last` are a column of the last row, `first` of the first row; `min`, `max`, `mean`,
    `std` and `count` are over all rows of the default scope.
    """
    if field in _SIMPLE:
        return Field(_SIMPLE[field], (field,) if field in _CACHED else None)
    head, _, rest = field.partition(".")
    if not rest:
        return None
    if head in _PARTS:
        keys = tuple(rest.split("."))
        return Field(lambda trial: trial.value(head, keys, MISSING), (head, *keys))
    if head == "records":
        name, _, aggregate = rest.rpartition(".")
        if name and aggregate in _AGGREGATES:
            return Field(lambda trial: _aggregate(trial, name, aggregate))
        column = name if name and aggregate == "last" else rest
        return Field(lambda trial: (trial.last_row or {}).get(column, MISSING), ("records", column))
    return None


def states(trials: Sequence[Trial]) -> list[str]:
    """Return the status of each trial."""
    return Field(_SIMPLE["status"], ("status",)).values(trials)


def _aggregate(trial: Trial, column: str, aggregate: str) -> Any:
    """Return an aggregate of a column over the rows of a trial."""
    values = [] if trial.last_row is None else [row.get(column, MISSING) for row in trial.records]
    if aggregate == "first":
        return values[0] if values else MISSING
    if aggregate == "count":
        return sum(value is not MISSING for value in values) or MISSING
    numbers = [value for value in values if isinstance(value, (int, float))]
    if not numbers:
        return MISSING
    if aggregate == "mean":
        return mean(numbers)
    if aggregate == "std":
        return spread(numbers) if len(numbers) > 1 else None
    # A NaN is neither smaller nor larger, so the result would depend on its position.
    real = [number for number in numbers if number == number]
    return (min if aggregate == "min" else max)(real) if real else numbers[0]


def mean(numbers: Sequence[float]) -> float:
    """Return the arithmetic mean of at least one number; infinities and NaN count."""
    try:
        middle = math.fsum(numbers) / len(numbers)
    except (OverflowError, ValueError):  # beyond the largest number, or inf - inf
        middle = sum(map(float, numbers)) / len(numbers)
    if math.isnan(middle):
        return middle
    return float(min(max(middle, min(numbers)), max(numbers)))  # rounding could move the mean of equal numbers


def spread(numbers: Sequence[float]) -> float:
    """Return the standard deviation of a sample of at least two numbers (n - 1 in the denominator)."""
    middle = mean(numbers)
    return math.sqrt(sum((number - middle) * (number - middle) for number in numbers) / (len(numbers) - 1))


def known_fields(trials: Iterable[Trial]) -> list[str]:
    """Return the names of all fields that at least one trial has."""
    found: dict[str, None] = dict.fromkeys(_SIMPLE)
    for trial in trials:
        for part in _PARTS:
            if values := trial.value(part, ()):
                found |= dict.fromkeys(flatten(values, part))
        found |= {f"records.{column}": None for column in trial.last_row or ()}
    return list(found)


def default_fields(trials: Iterable[Trial]) -> list[str]:
    """Return the default fields of a table.

    These are the keys in which planned configurations of one component differ, tags that do not repeat them, the
    numbers of repetitions, and the columns of the last rows that components have written.
    """
    configs: dict[str, list[Any]] = {}
    tags: dict[str, None] = {}
    numbers: dict[str, None] = {}
    columns: dict[str, None] = {}
    seen: set[tuple[str, ...]] = set()  # most trials have the same names
    for trial in trials:
        configs.setdefault(trial.component, []).append(trial.planned("config"))
        flags, row = trial.planned("flags"), trial.last_row or {}
        for name in trial.tags:
            if trial.value("tags", (name,)) != trial.value("config", tuple(name.split("."))):
                tags[f"tags.{name}"] = None
        if (names := tuple(flags)) not in seen:
            seen.add(names)
            levels = filter(None, map(_LEVEL.fullmatch, names))
            numbers |= {f"flags.{level[0]}": None for level in levels if f"{level[1]}_SEED{level[2]}" in flags}
        if (names := tuple(row)) not in seen:
            seen.add(names)
            columns |= {f"records.{column}": None for column in names if not column.startswith("_")}
    differing = dict.fromkeys(path for several in configs.values() for path in differing_paths(several, "config"))
    return ["execution", "uid", "component", "status", *differing, *tags, *numbers, *columns]


_LEVEL = re.compile(r"(\w+)_NUMBER((?:_[0-9]+)?)")


def differing_paths(mappings: list[dict[str, Any]], path: str) -> Iterator[str]:
    """Yield the paths at which stored mappings differ, each behind `path`."""
    for key in dict.fromkeys(key for keys in dict.fromkeys(map(tuple, mappings)) for key in keys):
        values = [mapping.get(key, MISSING) for mapping in mappings]
        first = values[0]
        if all(value is MISSING or (type(value) is dict and MARKS.isdisjoint(value)) for value in values):
            yield from differing_paths([{} if value is MISSING else value for value in values], f"{path}.{key}")
        elif any(
            type(value) is not type(first) or (value != first and not (value != value and first != first))
            for value in values
        ):
            yield f"{path}.{key}"
