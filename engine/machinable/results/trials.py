"""Filter, tabulate and summarise trials of one or several executions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import compress
from typing import Any, overload

from machinable.errors import InvalidType, UnknownName
from machinable.plan.table import text_table
from machinable.results.query import MISSING, PARTS, Field, default_fields, find_field, known_fields, states
from machinable.results.records import data_frame
from machinable.results.summary import Summary, figures, format_cell, html_table
from machinable.results.trial import Trial
from machinable.serialization import canonical

__all__ = ["STATES", "Trials"]

STATES = ("pending", "running", "finished", "reused", "failed", "interrupted", "blocked", "skipped", "unneeded")
MAX_LISTED = 40  # trials in a table
MIN_PREFIX = 8  # characters of an identity, as many as are printed


class Trials(Sequence[Trial]):
    """Trials in the order of their plans.

    A *field* names a fact about a trial: `execution` (the name of the folder), `name` (of the execution), `uid`,
    `index`, `seed`, `component`, `module`, `identity`, `status`, `config.…`, `flags.…`, `tags.…`, and of its records
    `records.loss.last` (or `records.loss`), `first`, `min`, `max`, `mean`, `std`, `count`. All but the last six are
    read from plan and ledger, without opening the folders of the trials.
    """

    def __init__(self, trials: Iterable[Trial] = ()) -> None:
        self._trials = list(trials)

    def __len__(self) -> int:
        return len(self._trials)

    @overload
    def __getitem__(self, index: int) -> Trial: ...

    @overload
    def __getitem__(self, index: slice) -> Trials: ...

    def __getitem__(self, index: int | slice) -> Trial | Trials:
        return Trials(self._trials[index]) if isinstance(index, slice) else self._trials[index]

    def __repr__(self) -> str:
        found = states(self._trials)
        counts = [f"{found.count(state)} {state}" for state in STATES if state in found]
        return f"<Trials: {', '.join(counts) or 'none'}>"

    def __str__(self) -> str:
        headings, rows = self._cells()
        return "\n".join([*text_table(headings, rows), *self._more()])

    def _repr_html_(self) -> str:
        return html_table(*self._cells()) + "".join(f"<p>{line}</p>" for line in self._more())

    def _cells(self) -> tuple[list[str], list[list[str]]]:
        columns = Trials(self._trials[:MAX_LISTED])._columns(default_fields(self._trials), known=True)
        return [*columns], [[format_cell(value) for value in row] for row in zip(*columns.values(), strict=True)]

    def _more(self) -> list[str]:
        return [f"… and {len(self) - MAX_LISTED:,} more"] if len(self) > MAX_LISTED else []

    def where(self, *tests: Callable[[Trial], Any], **conditions: Any) -> Trials:
        """Return the trials that match, such as `where(status="finished", **{"config.data.name": "mnist"})`.

        Args:
            tests: Functions that are called with each trial that meets the conditions, such as `lambda trial:
                trial.seconds > 60`. They read the files of each trial, and conditions nearly never do.
            conditions: For each field a value, a list, set or tuple of allowed values, or a function that is called
                with the value. `component` is the canonical name or the name in the task; for `identity`, the first 8
                characters are enough. A trial that lacks a field does not match.

        Raises:
            UnknownName: No trial has such a field, or there is no such status.
            InvalidType: A test is not a function.
        """
        for test in tests:
            if not callable(test):
                todo = "Name the field: where(status='finished'), or pass a function: where(lambda trial: …)."
                raise InvalidType(f"{test!r} is not a function of a trial", given=test, todo=todo)
        chosen = self._trials
        for name, expected in conditions.items():
            field, matches = self._field(name), _test(name, expected)
            values = field.values(chosen)
            if all(value is MISSING for value in values):
                self._check(name, field)
            meets = [value is not MISSING and matches(value) for value in values]
            if name == "component" and not all(meets):
                names = self._field("flags.NAME").values(chosen)
                meets = [
                    is_met or (value is not MISSING and matches(value))
                    for is_met, value in zip(meets, names, strict=True)
                ]
            chosen = list(compress(chosen, meets))
        return Trials(trial for trial in chosen if all(test(trial) for test in tests))

    def rows(self, *fields: str) -> list[dict[str, Any]]:
        """Return a mapping from fields to values for each trial; None where a trial lacks a field.

        Args:
            fields: By default `execution`, `uid`, `component`, `status`, the keys in which configurations of a
                component differ, the numbers of repetitions, and the columns of the last rows.

        Raises:
            UnknownName: No trial has such a field.
        """
        columns = self._columns(fields)
        return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]

    def frame(self, *fields: str) -> Any:
        """Return a pandas DataFrame with a row for each trial and a column for each field; see `rows`.

        Raises:
            UnknownName: No trial has such a field.
            NotAvailable: pandas is not installed.
        """
        return data_frame(self._columns(fields))

    def summary(self, field: str, by: str | Iterable[str] | None = None) -> Summary:
        """Return count, mean, spread and 95 % interval of a field over the finished and reused trials of each group.

        Args:
            field: A field with numbers, such as `records.accuracy.last`.
            by: The field or fields whose equal values define a group; None gives one group. Groups are in the order of
                their first trials. Trials without any of these fields count only if they have numbers or failed.

        Raises:
            UnknownName: No trial has such a field.
            InvalidType: A value is not a number.
        """
        names = [by] if isinstance(by, str) else list(by or ())
        (values,) = self._columns([field]).values()
        keys = list(zip(*self._columns(names).values(), strict=True)) if names else [()] * len(self)
        groups: dict[Any, tuple[tuple[Any, ...], list[float], list[str]]] = {}
        for trial, state, key, value in zip(self._trials, states(self._trials), keys, values, strict=True):
            _, numbers, failed = groups.setdefault(tuple(map(_comparable, key)), (key, [], []))
            if state == "failed":
                failed.append(trial.uid)
            elif state in ("finished", "reused") and value is not None:
                if not isinstance(value, (int, float)):
                    raise InvalidType(
                        f"{field} is {value!r} in the trial {trial.uid}, which is not a number",
                        given=value,
                        todo="Summarise a field with numbers; pass the fields that make groups as by=.",
                    )
                numbers.append(value)
        rows = [
            dict(zip(names, key, strict=True)) | figures(numbers, len(failed))
            for key, numbers, failed in groups.values()
            if numbers or failed or not names or any(value is not None for value in key)
        ]
        return Summary(field, names, rows)

    def _field(self, name: str) -> Field:
        field = find_field(name)
        if field is None:
            todo = None
            if not name.startswith("_") and name not in PARTS and hasattr(Trial, name):
                todo = f"It is an attribute of trials and not a field: where(lambda trial: trial.{name} …)."
            raise UnknownName("field", name, known_fields(self._trials), todo=todo)
        return field

    def _check(self, name: str, field: Field) -> None:
        if self._trials and all(value is MISSING for value in field.values(self._trials)):
            raise UnknownName("field", name, known_fields(self._trials))

    def _columns(self, fields: Sequence[str], *, known: bool = False) -> dict[str, list[Any]]:
        """Return the values of fields, by default of those that distinguish the trials; None where one is missing."""
        columns = {}
        for name in fields or default_fields(self._trials):
            field = self._field(name)
            values = field.values(self._trials)
            if MISSING in values:
                if fields and not known:
                    self._check(name, field)
                values = [None if value is MISSING else value for value in values]
            columns[name] = values
        return columns


def _test(field: str, expected: Any) -> Callable[[Any], bool]:
    """Return a function that tests the value of a field.

    Raises:
        UnknownName: There is no such status.
    """
    if callable(expected):
        return lambda value: bool(expected(value))
    allowed = list(expected) if isinstance(expected, (list, tuple, set, frozenset)) else [expected]
    texts = tuple(one for one in allowed if isinstance(one, str))
    if field == "identity":
        prefixes = tuple(text for text in texts if len(text) >= MIN_PREFIX)
        return lambda value: bool(value.startswith(prefixes))
    if field == "status":
        for state in texts:
            if state not in STATES:
                raise UnknownName("status", state, STATES)
    if len(texts) == len(allowed):
        return lambda value: value in texts
    if len(allowed) == 1:
        return lambda value: _same(value, allowed[0])
    return lambda value: any(_same(value, one) for one in allowed)


def _same(one: Any, other: Any) -> bool:
    """Compare values: 1 equals 1.0 but not True, and NaN equals NaN."""
    if isinstance(one, bool) is not isinstance(other, bool):
        return False
    return bool(one == other) or bool(one != one and other != other)


def _comparable(value: Any) -> Any:
    """Return a hashable value that is equal for the same values."""
    if isinstance(value, bool) or value != value or isinstance(value, (list, tuple, dict)):
        return canonical(value), type(value).__name__
    return value
