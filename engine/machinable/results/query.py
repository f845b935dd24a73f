"""Fields of trials: `status`, `config.data.name`, `flags.REPEAT_NUMBER`, `records.loss.min`."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

from machinable.plan.table import flatten
from machinable.results.lookup import CALL, MISSING, look
from machinable.results.records import DEFAULT
from machinable.results.trial import Trial, column
from machinable.serialization import MARKS, dumps

__all__ = [
    "MISSING",
    "PARTS",
    "Field",
    "default_fields",
    "differing_paths",
    "find_field",
    "has_part",
    "is_number",
    "known_fields",
    "mean",
    "note_text",
    "spread",
    "states",
    "version_text",
]


class Field(NamedTuple):
    """A fact about trials.

    Attributes:
        of: Returns the value of one trial.
        path: Where it is in the cache; see `Reader.column`.
        is_time: Whether the values are times, as ISO-8601 text.
        same: Returns a key that is equal for trials with the same value.
    """

    of: Callable[[Trial], Any]
    path: tuple[str, ...] | None = None
    is_time: bool = False
    same: Callable[[Trial], str | None] | None = None

    def values(self, trials: Sequence[Trial]) -> list[Any]:
        """Return the values of trials."""
        if self.same is not None:
            keys = list(map(self.same, trials))
            known = {key: self.of(trial) for key, trial in dict(zip(keys, trials, strict=True)).items()}
            return [known[key] for key in keys]
        return list(map(self.of, trials)) if self.path is None else column(trials, self.path, MISSING, self.of)


def _present(ask: Callable[[Trial], Any]) -> Callable[[Trial], Any]:
    """Return a function that returns the same, and `MISSING` in place of None."""

    def of(trial: Trial) -> Any:
        value = ask(trial)
        return MISSING if value is None else value

    return of


def _execution_fact(part: str, key: str) -> Callable[[Trial], Any]:
    return _present(lambda trial: (trial.execution.data.get(part) or {}).get(key))


def _error(trial: Trial) -> Mapping[str, Any]:
    """Return the error of a trial; status.json is read only of those that may have one."""
    return (trial.error if trial.status in ("failed", "interrupted") else None) or {}


_CACHED = ("uid", "index", "seed", "component", "module", "identity", "status")  # the cache has them
_SIMPLE: dict[str, Callable[[Trial], Any]] = {
    "execution": lambda trial: str(trial.execution),
    "name": _present(attrgetter("execution.name")),
    **{name: attrgetter(name) for name in _CACHED},
    "version": lambda trial: MISSING if trial.version is None else version_text(trial.version),
    "started": _present(attrgetter("started")),
    "ended": _present(attrgetter("finished")),
    "seconds": _present(attrgetter("seconds")),
    "attempt": lambda trial: trial.attempt or MISSING,
    "host": _present(lambda trial: (trial.host or {}).get("name")),
    "threads": _present(attrgetter("threads")),
    "devices": _present(attrgetter("devices")),
    "note": lambda trial: note_text(trial) or MISSING,
    "engine": _execution_fact("engine", "type"),
    "commit": _execution_fact("code", "commit"),
    "result": _present(attrgetter("result")),
    "error.type": lambda trial: _error(trial).get("type", MISSING),
    "error.message": lambda trial: _error(trial).get("message", MISSING),
}
_TIMES = ("started", "ended")
PARTS = ("config", "flags", "tags", "records", "requires", "error")  # whose fields have a dot
_PARTS = PARTS[:3]
_AGGREGATES = ("first", "min", "max", "mean", "std", "count")
MAX_ASKED = 20  # trials whose folders are listed for the fields in an error


def find_field(field: str) -> Field | None:
    """Return the field with that name, None if there is none.

    `records.loss` and `records.loss.last` are a column of the last row, `first` of the first row; `min`, `max`, `mean`,
    `std` and `count` are over all rows. A column that the default scope lacks is looked for in another scope:
    `records.validation.loss`. `requires.data.…` is a field of the required trial.
    """
    if field in _SIMPLE:
        return Field(_SIMPLE[field], (field,) if field in _CACHED else None, field in _TIMES)
    head, _, rest = field.partition(".")
    if not rest:
        return None
    if head in _PARTS:
        keys = tuple(rest.split("."))
        return Field(lambda trial: trial.value(head, keys, MISSING), (head, *keys))
    if head == "result":
        return Field(lambda trial: _known(look(trial.result, tuple(rest.split(".")))))
    if head == "requires":
        name, _, inner = rest.partition(".")
        if inner.partition(".")[0].isdecimal():  # of a list: `folds.0`
            number, _, inner = inner.partition(".")
            name = f"{name}.{number}"
        return _required_field(name, inner)
    if head == "records":
        name, _, aggregate = rest.rpartition(".")
        if name and aggregate in _AGGREGATES:
            return Field(lambda trial: _aggregate(trial, name, aggregate))
        column = name if name and aggregate == "last" else rest
        return Field(lambda trial: _last(trial, column), None if "." in column else ("records", column))
    return None


def _known(found: Any) -> Any:
    return MISSING if found is CALL else found


def _required_field(name: str, rest: str) -> Field | None:
    if rest in _PLANNED:
        return Field(lambda trial: trial.planned("requires").get(name, {}).get(rest, MISSING))
    field = find_field(rest)
    if field is None:
        return None

    def of(trial: Trial) -> Any:
        required = trial.required(name)
        return MISSING if required is None else field.of(required)

    head = rest.partition(".")[0]

    def result_of(trial: Trial) -> str | None:
        """Return the trial that has computed what is required, whose files are read once for all that read it."""
        required = trial.required(name)
        return None if required is None else required.source or f"{required.execution}/{required.uid}"

    return Field(of, is_time=field.is_time, same=result_of if head in ("result", "records") else None)


def states(trials: Sequence[Trial]) -> list[str]:
    """Return the status of each trial."""
    return Field(_SIMPLE["status"], ("status",)).values(trials)


def note_text(trial: Trial) -> str:
    """Return the notes on a trial, and on its execution, as one text."""
    return "; ".join(line["note"] for line in (*trial.notes, *trial.execution.notes))


def _last(trial: Trial, column: str) -> Any:
    """Return the value of a column in the last row."""
    row = trial.last_row or {}
    if column in row or "." not in column:
        return row.get(column, MISSING)
    return next(reversed(_in_scope(trial, column)), MISSING)


def _in_scope(trial: Trial, name: str) -> list[Any]:
    """Return the values of a column of another scope than the default one, such as `validation.loss`."""
    for scope in trial.records.scopes if trial.has_begun else ():
        column = name[len(scope) + 1 :]
        if name.startswith(f"{scope}.") and column in (records := trial.records(scope)).columns:
            return [row.get(column, MISSING) for row in records]
    return []


def _aggregate(trial: Trial, column: str, aggregate: str) -> Any:
    """Return an aggregate of a column over the rows of a trial."""
    values = [] if trial.last_row is None else [row.get(column, MISSING) for row in trial.records]
    if "." in column and all(value is MISSING for value in values):
        values = _in_scope(trial, column)
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


def is_number(value: Any) -> bool:
    """Return whether a value is a number and not a boolean."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def as_float(number: float) -> float:
    """Return a number as a float: an integer beyond the largest one is infinite."""
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def mean(numbers: Sequence[float]) -> float:
    """Return the arithmetic mean of at least one number; infinities and NaN count."""
    numbers = [as_float(number) for number in numbers]
    try:
        middle = math.fsum(numbers) / len(numbers)
    except (OverflowError, ValueError):  # beyond the largest number, or inf - inf
        middle = sum(numbers) / len(numbers)
    if math.isnan(middle):
        return middle
    return float(min(max(middle, min(numbers)), max(numbers)))  # rounding could move the mean of equal numbers


def spread(numbers: Sequence[float]) -> float:
    """Return the standard deviation of a sample of at least two numbers (n - 1 in the denominator)."""
    middle, numbers = mean(numbers), [as_float(number) for number in numbers]
    return math.sqrt(sum((number - middle) * (number - middle) for number in numbers) / (len(numbers) - 1))


def known_fields(trials: Iterable[Trial]) -> list[str]:
    """Return the names of all fields that at least one trial has."""
    found: dict[str, None] = dict.fromkeys(_SIMPLE)
    for number, trial in enumerate(trials):
        for part in _PARTS:
            if values := trial.value(part, ()):
                found |= dict.fromkeys(flatten(values, part))
        found |= {f"records.{column}": None for column in trial.last_row or ()}
        found |= {f"requires.{name}.{one}": None for name in trial.planned("requires") for one in _OF_REQUIRED}
        if number < MAX_ASKED and trial.has_begun:
            scopes = {scope: trial.records(scope).columns for scope in trial.records.scopes if scope != DEFAULT}
            found |= {f"records.{scope}.{column}": None for scope, columns in scopes.items() for column in columns}
    return list(found)


_PLANNED = ("component", "identity", "uid")  # of a requirement, in the line of the trial that requires it
_OF_REQUIRED = ("component", "identity", "status")


def has_part(trials: Iterable[Trial], field: str) -> bool:
    """Return whether a field that no trial has could be known by now: other fields of its kind are."""
    head = field.partition(".")[0]
    if field in _SIMPLE:
        return False
    if head == "records":
        return any(trial.has_begun and (trial.last_row or trial.records.scopes) for trial in trials)
    return head != "result" or any(trial.result is not None for trial in trials)


def version_text(version: Any) -> str:
    """Return a version as it is written, its elements from left to right; empty for None."""
    elements = version if isinstance(version, tuple) else () if version is None else (version,)
    return " ".join(one if isinstance(one, str) else dumps(one) for one in elements)


def default_fields(trials: Iterable[Trial]) -> list[str]:
    """Return the default fields of a table.

    These are the keys in which planned configurations of one component differ, tags that do not repeat them, the
    numbers of repetitions, and the columns of the last rows that components have written.
    """
    configs: dict[str, list[Any]] = {}
    tags: dict[str, None] = {}
    numbers: dict[str, None] = {}
    has_notes = False
    columns: dict[str, None] = {}
    seen: set[tuple[str, ...]] = set()  # most trials have the same names
    for trial in trials:
        configs.setdefault(trial.component, []).append(trial.planned("config"))
        flags, row = trial.planned("flags"), trial.last_row or {}
        has_notes = has_notes or bool(trial.notes or trial.execution.notes)
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
    return [
        "execution",
        "uid",
        "component",
        "status",
        *differing,
        *tags,
        *numbers,
        *columns,
        *(["note"] if has_notes else []),
    ]


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
