"""Filter, sort, group, tabulate and summarise trials of one or several executions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from itertools import compress
from typing import TYPE_CHECKING, Any, overload

from machinable.errors import InvalidType, UnknownName
from machinable.plan.table import html_table, text_table
from machinable.results.conditions import STATES, Condition, comparable, in_order, order, parse, satisfied
from machinable.results.contrast import Contrast, contrast
from machinable.results.query import (
    MISSING,
    PARTS,
    Field,
    default_fields,
    find_field,
    has_part,
    is_number,
    known_fields,
    states,
)
from machinable.results.repetitions import (
    Measured,
    distinguishing_fields,
    measured_by,
    repetition_key,
    separate_values,
)
from machinable.results.summary import INTERVALS, Summary, figures
from machinable.results.tables import Tabular, format_cell
from machinable.results.trial import Trial

if TYPE_CHECKING:
    from machinable.results.chart import Chart, RowReader

__all__ = ["STATES", "Trials"]

MAX_LISTED = 40  # trials in a table
FAILED = "failed"


class Trials(Tabular, Sequence[Trial]):
    """Trials in the order of their plans, which are read on first use.

    A *field* names a fact about a trial, such as `status`, `config.data.name` or `records.loss.min`; docs/results.md
    lists them. Where a trial has no such fact, it is missing: it satisfies no condition but `!=`, is sorted last, and
    is None in tables. A field that no trial has is an error with near names.
    """

    def __init__(
        self, trials: Iterable[Trial] | Callable[[], Iterable[Trial]] = (), fields: Sequence[str] = ()
    ) -> None:
        self._given = trials
        self._fields = tuple(fields)

    @cached_property
    def _trials(self) -> list[Trial]:
        return list(self._given() if callable(self._given) else self._given)

    @cached_property
    def _repetition_keys(self) -> list[str]:
        """The key of each trial, which summaries of several fields share, because it takes most of their time."""
        return list(map(repetition_key, self._trials))

    def _like(self, trials: Iterable[Trial]) -> Trials:
        """Return other trials with the same columns."""
        return Trials(trials, self._fields)

    def __len__(self) -> int:
        return len(self._trials)

    @overload
    def __getitem__(self, index: int) -> Trial: ...

    @overload
    def __getitem__(self, index: slice) -> Trials: ...

    def __getitem__(self, index: int | slice) -> Trial | Trials:
        return self._like(self._trials[index]) if isinstance(index, slice) else self._trials[index]

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
        fields = self._fields or default_fields(self._trials)
        columns = Trials(self._trials[:MAX_LISTED])._values_of(fields, known=not self._fields)
        return [*columns], [[format_cell(value) for value in row] for row in zip(*columns.values(), strict=True)]

    def _more(self) -> list[str]:
        return [f"… and {len(self) - MAX_LISTED:,} more"] if len(self) > MAX_LISTED else []

    def where(self, *tests: str | Callable[[Trial], Any], **conditions: Any) -> Trials:
        """Return the trials that satisfy all conditions, such as `where("config.rate<0.3 and status=finished")`.

        Args:
            tests: Conditions as text, several of them joined by `and`: a field, one of `= != < <= > >= ~ in`, and a
                value in YAML. Or functions that are called with each trial that meets the conditions.
            conditions: For each field a value, a list, set or tuple of allowed values, or a function that is called
                with the value. `component` is the canonical name or the name in the task; for `identity`, the first 8
                characters are enough.

        Raises:
            InvalidValue: A condition does not parse.
            UnknownName: No trial has such a field, or there is no such status.
            InvalidType: Values cannot be compared, or a test is neither text nor a function.
        """
        functions: list[Callable[[Trial], Any]] = []
        asked: list[Condition] = []
        for test in tests:
            if isinstance(test, str):
                asked += parse(test)
            elif callable(test):
                functions.append(test)
            else:
                todo = "Write the condition as text: where('status=finished'), or pass a function of a trial."
                raise InvalidType(f"{test!r} is not a condition", given=test, todo=todo)
        asked += [_condition(name, expected) for name, expected in conditions.items()]
        return self._like(trial for trial in self.matching(asked) if all(test(trial) for test in functions))

    def matching(self, conditions: Iterable[Condition]) -> Trials:
        """Return the trials that satisfy all conditions, see `where`."""
        chosen = self._trials
        for condition in conditions:
            chosen = list(compress(chosen, self._satisfied(condition, chosen)))
        return self._like(chosen)

    def _satisfied(self, condition: Condition, trials: Sequence[Trial]) -> list[bool]:
        field = self._field(condition.field)
        values = field.values(trials)
        if all(value is MISSING for value in values):
            self._check(condition.field, field)
        meets = satisfied(condition, values, is_time=field.is_time)
        if condition.field == "component":  # or the name that the task used
            names = satisfied(condition, self._field("flags.NAME").values(trials))
            both = zip(meets, names, strict=True)
            return [one and other if condition.operator == "!=" else one or other for one, other in both]
        return meets

    def sort(self, field: str, descending: bool = False) -> Trials:
        """Return the trials in the order of a field.

        Equal values keep their order. Numbers come before text; NaN and missing values are last, also if `descending`.

        Raises:
            UnknownName: No trial has such a field.
        """
        (values,) = self._values_of([field]).values()
        return self._like(self._trials[number] for number in in_order(values, descending))

    def first(self, n: int) -> Trials:
        """Return the first `n` trials, or all if there are fewer."""
        return self[: max(0, n)]

    def best(self, field: str, mode: str = "max") -> Trial | None:
        """Return the trial with the largest value of a field, the first of equal ones; None if no trial has a number.

        Args:
            field: A field with numbers, such as `records.accuracy.max`. NaN is ignored.
            mode: `max`, or `min` for the smallest.

        Raises:
            UnknownName: No trial has such a field, or there is no such mode.
        """
        if mode not in ("max", "min"):
            raise UnknownName("mode", mode, ("max", "min"))
        (values,) = self._values_of([field]).values()
        numbers = [i for i, value in enumerate(values) if (order(value) or (None,))[0] == 1]
        found = (max if mode == "max" else min)(numbers, key=lambda i: values[i], default=None)
        return None if found is None else self._trials[found]

    def group_by(self, *fields: str) -> list[tuple[Any, Trials]]:
        """Return the groups with equal values of fields, in the order of their first trials.

        Args:
            fields: One field or several.

        Returns:
            For each group its value, or the tuple of its values if there are several fields, and its trials. The value
            is None for trials that lack the field.

        Raises:
            UnknownName: No trial has such a field.
        """
        if not fields:
            raise InvalidType("group_by needs a field", todo="Name one or several: group_by('config.rate').")
        columns = self._values_of(fields)
        groups: dict[Any, tuple[Any, list[Trial]]] = {}
        for trial, key in zip(self._trials, zip(*(columns[name] for name in fields), strict=True), strict=True):
            value = key[0] if len(fields) == 1 else key
            groups.setdefault(tuple(map(comparable, key)), (value, []))[1].append(trial)
        return [(value, self._like(trials)) for value, trials in groups.values()]

    def columns(self, *fields: str) -> Trials:
        """Return the same trials; their tables and rows have these fields.

        Args:
            fields: By default `execution`, `uid`, `component`, `status`, the keys in which configurations of a
                component differ, tags, the numbers of repetitions, and the columns of the last rows.

        Raises:
            UnknownName: There is no such field. One that no trial has is an error when values are read.
        """
        for name in fields:
            self._field(name)
        return Trials(self._trials, fields)

    def _by_column(self) -> dict[str, list[Any]]:
        return self._values_of(self._fields or default_fields(self._trials), known=not self._fields)

    def metrics(self) -> list[str]:
        """Return the fields of last rows in which all values are numbers, such as `records.loss`."""
        names = [name for name in default_fields(self._trials) if name.startswith("records.")]
        columns = self._values_of(names, known=True)
        return [name for name, values in columns.items() if all(value is None or is_number(value) for value in values)]

    def summary(
        self, metric: str, by: str | Iterable[str] | None = None, *, interval: str = "t", seed: int = 0
    ) -> Summary:
        """Return number, mean, deviation and 95 % interval of a field for each set of repetitions.

        Repetitions are trials that differ in their seeds only. Finished and reused ones count, those with the same
        identity once. If there are several repeats of several folds, the mean over the folds of each is one value.

        Args:
            metric: A field with numbers, such as `records.accuracy`.
            by: A field or several, which are the first columns. Trials with equal values that are not repetitions are
                in separate rows, with further columns for what distinguishes them. Rows are in the order of their first
                trials; trials without any of these fields count only if they have numbers or failed.
            interval: `t` (Student), or `bootstrap` (bias-corrected and accelerated), which needs scipy.
            seed: Of the bootstrap.

        Raises:
            UnknownName: No trial has such a field, or there is no such interval.
            InvalidType: A value is not a number.
            NotAvailable: scipy is needed and not installed.
        """
        if interval not in INTERVALS:
            raise UnknownName("interval", interval, INTERVALS)
        names = [by] if isinstance(by, str) else list(dict.fromkeys(by or ()))
        keys = list(zip(*self._values_of(names).values(), strict=True)) if names else [()] * len(self)
        groups: dict[Any, tuple[Trial, tuple[Any, ...], list[Measured], list[Trial]]] = {}
        counted, others = self._measured(metric)
        for trial, key, repetition in zip(self._trials, keys, self._repetition_keys, strict=True):
            group = (*map(comparable, key), repetition)
            _, _, numbers, failures = groups.setdefault(group, (trial, key, [], []))
            if trial in counted:
                numbers.append(counted[trial])
            elif others[trial] == FAILED:
                failures.append(trial)
        shown = [
            one for one in groups.values() if one[2] or one[3] or (names and any(value is not None for value in one[1]))
        ]
        further = []
        if len(shown) > len({tuple(map(comparable, key)) for _, key, _, _ in shown}):
            further = [name for name in distinguishing_fields(one[0] for one in shown) if name not in names]
        settings = Trials(one[0] for one in shown)._values_of(further, known=True)
        rows = [
            dict(zip(names, key, strict=True))
            | {name: values[number] for name, values in settings.items()}
            | figures(separate_values(numbers), len(failures), interval, seed)
            for number, (_, key, numbers, failures) in enumerate(shown)
        ]
        return Summary(metric, [*names, *further], rows)

    def contrast(self, metric: str, between: str, baseline: Any) -> Contrast:
        """Compare the values of a field with a baseline: difference, interval, effect sizes and tests.

        Trials are paired where two of them have the same `PAIRED_SEED`, or the same numbers of repetition in one
        execution; see `Contrast`. Trials that also differ in other settings are compared separately.

        Args:
            metric: A field with numbers, such as `records.accuracy`.
            between: The field whose values are compared, such as `config.rate`.
            baseline: The value that the others are compared with.

        Raises:
            UnknownName: No trial has such a field, or none has the baseline.
            InvalidValue: Trials with one value of the field are not repetitions.
            NotAvailable: scipy is not installed.
        """
        (values,) = self._values_of([between]).values()
        return contrast(
            metric, between, baseline, list(zip(self._trials, values, strict=True)), *self._measured(metric)
        )

    def chart(
        self,
        metric: str,
        x: str | None = None,
        by: str | Iterable[str] | None = None,
        *,
        kind: str | None = None,
        band: str | None = "95%",
        smooth: float = 0.0,
        log: str = "",
        reader: RowReader | None = None,
    ) -> Chart:
        """Return what a picture of a field shows, as plain data: series of points with intervals.

        Only repetitions are pooled, as in `summary`; what else distinguishes trials gets separate series. Curves are
        means over the rows of all trials that have some, also while they run; failed trials are left out unless there
        are only failed ones. Everything else shows finished and reused trials.

        Args:
            metric: The field of the vertical axis, or of the colours of a heat map, such as `records.accuracy`.
            x: The horizontal axis: a column of the rows, such as `_iteration` or `_timestamp` (seconds since the first
                row), or a field. Default: the iteration if the metric is a column with several rows, else a bar for
                each setting.
            by: The fields whose values have separate colours, or are the vertical axis of a heat map. Default: what
                distinguishes the trials.
            kind: `curves`, `bars`, `scatter` or `heatmap`. Default: curves over rows and over numbers among the
                settings, scatter over other numbers, else bars.
            band: The interval around a mean: `95%` (Student's t), `sd`, `range` (minimum and maximum) or `none`.
            smooth: The weight of an exponential moving average along each curve over rows, from 0 to below 1.
            log: The logarithmic axes: `x`, `y` or `xy`.
            reader: What has read rows already, for several charts of the same trials.

        Raises:
            UnknownName: No trial has such a field, or there is no such kind, band or axis.
            InvalidType: A value is not a number.
            InvalidValue: There is nothing to draw.
        """
        from machinable.results.chart import chart  # tables do without it

        fields = [by] if isinstance(by, str) else list(by or ())
        return chart(
            self._trials,
            metric,
            x,
            fields,
            self._values_of,
            self._measured,
            kind=kind,
            band=band,
            smooth=smooth,
            log=log,
            reader=reader,
        )

    def plot(
        self,
        metric: str | Iterable[str],
        x: str | None = None,
        by: str | Iterable[str] | None = None,
        *,
        kind: str | None = None,
        band: str | None = "95%",
        smooth: float = 0.0,
        log: str = "",
        size: Sequence[float] | None = None,
        style: Mapping[str, Any] | None = None,
        axes: Any = None,
    ) -> Any:
        """Return a matplotlib Figure: curves with bands, bars with intervals, scatter or a heat map.

        It suits a column of a paper: colours that are distinguishable with colour blindness, and fonts that are
        embedded in PDF files. `figure.savefig` writes the same bytes each time.

        Args:
            metric: The field of the vertical axis, or of the colours of a heat map; several are drawn one below the
                other.
            x: See `chart`, as are `by`, `kind`, `band`, `smooth` and `log`.
            by: The fields whose values have separate colours.
            kind: `curves`, `bars`, `scatter` or `heatmap`.
            band: The interval around a mean.
            smooth: The weight of the smoothing.
            log: The logarithmic axes.
            size: Width and height in inches. Default: a column of 3.4 inches.
            style: Settings of matplotlib (`rcParams`) over ours, such as `{"font.family": "serif"}`.
            axes: Axes of a figure that exists, into which one metric is drawn; that figure is returned.

        Raises:
            NotAvailable: matplotlib is not installed.
            UnknownName: No trial has such a field, or there is no such kind, band or axis.
            InvalidType: A value is not a number.
            InvalidValue: There is nothing to draw, or there is no such size.
        """
        from machinable.results.chart import RowReader
        from machinable.results.figure import draw, figure  # imports matplotlib

        reader = RowReader()
        fields = [metric] if isinstance(metric, str) else list(metric)
        charts = [self.chart(one, x, by, kind=kind, band=band, smooth=smooth, log=log, reader=reader) for one in fields]
        if axes is None:
            return figure(charts, size, style)
        if len(charts) != 1 or size is not None or style is not None:
            todo = "Give one metric, and set size and style where the figure is created."
            raise InvalidType("axes take one metric, without size and style", given=metric, todo=todo)
        draw(charts[0], axes)
        return axes.get_figure()

    def _measured(self, metric: str) -> tuple[dict[Trial, Measured], dict[Trial, str]]:
        """Return the numbers of the trials that count, and why the others do not.

        Of trials with the same identity, such as those that reuse a result, the first counts.
        """
        (values,) = self._values_of([metric]).values()
        counted: dict[Trial, Measured] = {}
        others: dict[Trial, str] = {}
        known = set()
        for trial, state, value in zip(self._trials, states(self._trials), values, strict=True):
            if state == "failed":
                others[trial] = FAILED
            elif state not in ("finished", "reused") or value is None:
                others[trial] = "without a value"
            elif not isinstance(value, (int, float)):
                raise InvalidType(
                    f"{metric} is {value!r} in the trial {trial.uid}, which is not a number",
                    given=value,
                    todo="Summarise a field with numbers; pass the fields that make groups as by=.",
                )
            elif trial.identity and trial.identity in known:
                others[trial] = "the same computation as another trial"
            else:
                known.add(trial.identity)
                counted[trial] = measured_by(trial, value)
        return counted, others

    def _field(self, name: str) -> Field:
        field = find_field(name) if isinstance(name, str) else None
        if field is None:
            todo = None
            if isinstance(name, str) and not name.startswith("_") and name not in PARTS and hasattr(Trial, name):
                todo = f"It is an attribute of trials and not a field: where(lambda trial: trial.{name} …)."
            raise UnknownName("field", name, known_fields(self._trials), todo=todo)
        return field

    def _check(self, name: str, field: Field) -> None:
        """Check that a trial has a field, unless no trial could have it yet."""
        trials = self._trials
        if trials and all(value is MISSING for value in field.values(trials)) and has_part(trials, name):
            raise UnknownName("field", name, known_fields(trials))

    def _values_of(self, fields: Sequence[str], *, known: bool = False) -> dict[str, list[Any]]:
        """Return the values of fields, None where one is missing."""
        columns = {}
        for name in fields:
            field = self._field(name)
            values = field.values(self._trials)
            if MISSING in values:
                if not known:
                    self._check(name, field)
                values = [None if value is MISSING else value for value in values]
            columns[name] = values
        return columns


def _condition(field: str, expected: Any) -> Condition:
    """Return the condition of a keyword."""
    if callable(expected):
        return Condition(field, "call", expected)
    if isinstance(expected, (list, tuple, set, frozenset)):
        return Condition(field, "in", list(expected))
    return Condition(field, "=", expected)
