"""What pictures of trials show, as plain data: curves with bands, bars, points, and the cells of heat maps."""

from __future__ import annotations

import math
import os
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from machinable.errors import InvalidType, InvalidValue, UnknownName, listed
from machinable.plan.table import short_text
from machinable.results.conditions import comparable, in_order
from machinable.results.query import as_float, find_field, is_number, known_fields, mean, spread, states
from machinable.results.records import DEFAULT
from machinable.results.repetitions import (
    Measured,
    distinguishing_fields,
    measured_by,
    repetition_key,
    separate_values,
)
from machinable.results.summary import t_interval
from machinable.results.tables import format_cell, short_headings
from machinable.results.trial import Trial

__all__ = [
    "BANDS",
    "COLOURS",
    "KINDS",
    "MAX_SERIES",
    "Chart",
    "Point",
    "RowReader",
    "Series",
    "axis_label",
    "caption",
    "chart",
    "legend_title",
    "number_text",
    "series_names",
    "thinned",
]

KINDS = ("curves", "bars", "scatter", "heatmap")
BANDS = ("95%", "sd", "range", "none")
AXES = ("", "x", "y", "xy")
# Distinguishable with colour blindness (M. Okabe and K. Ito, Color Universal Design, 2008), and then in dashes.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f")
MAX_SERIES = 4 * len(COLOURS)  # that are drawn: more cannot be distinguished
_PLAIN = ("execution", "component", "module")  # whose values need no name before them
MAX_POINTS = 1000  # of a curve; more cannot be distinguished
MAX_CATEGORIES = 60  # on an axis
LONG_NAME = 24  # characters
MAX_REQUESTS = 16  # at the same time
TIME = "_timestamp"  # the column with the time of each row
SETTINGS = ("config", "flags", "tags", "requires")  # what a trial is given: a curve can go over its values

Columns = Callable[[Sequence[str]], Mapping[str, list[Any]]]
Counted = Callable[[str], tuple[Mapping[Trial, Measured], Mapping[Trial, str]]]


class Point(NamedTuple):
    """A point of a curve, the end of a bar, a dot, or a cell.

    Attributes:
        x: The position; the number of the category on an axis of categories.
        y: The mean of the values.
        low: The lower end of the interval, None without one.
        high: Its upper end.
        n: The number of values.
        trial: The trial, as `ID/UID`, if it is one.
    """

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    n: int = 1
    trial: str | None = None


class Series(NamedTuple):
    """What has one colour, or is one row of a heat map.

    Attributes:
        name: A short name, which no other has.
        values: The values of the settings of the chart.
        points: The points, in the order of x.
        trials: The trials that it is about, as `ID/UID`.
    """

    name: str
    values: tuple[Any, ...]
    points: list[Point]
    trials: list[str]


class Chart(NamedTuple):
    """A picture as plain data.

    Attributes:
        kind: `curves`, `bars`, `scatter` or `heatmap`.
        field: The field of the vertical axis, of a heat map that of the colours.
        x: The field or the column of the horizontal axis; empty if the bars are the settings themselves.
        settings: The fields that distinguish the series, of which one is the vertical axis of a heat map.
        categories: The names on the horizontal axis, None if it has numbers.
        series: The series.
        band: What the intervals are, see `BANDS`.
        smooth: The weight of the smoothing.
        log: The axes that are logarithmic: `x`, `y` or `xy`.
        notes: What a reader must know, such as what was left out.
    """

    kind: str
    field: str
    x: str
    settings: list[str]
    categories: list[str] | None
    series: list[Series]
    band: str
    smooth: float
    log: str
    notes: list[str]

    def as_data(self) -> dict[str, Any]:
        """Return the chart for programs."""
        series = [one._asdict() | {"points": [point._asdict() for point in one.points]} for one in self.series]
        return self._asdict() | {"series": series}


class RowReader:
    """The rows of trials, each file read once."""

    def __init__(self) -> None:
        self._rows: dict[tuple[Trial, str], list[dict[str, Any]]] = {}
        self._scopes: dict[Trial, list[str]] = {}

    def prefetch(self, trials: Iterable[Trial], name: str) -> None:
        """Read the rows that have a column, those of a remote storage at the same time."""
        remote = [trial for trial in trials if trial.execution.files.reach == "anywhere"]
        if remote:
            from concurrent.futures import ThreadPoolExecutor  # 10 ms, and only for object stores

            with ThreadPoolExecutor(MAX_REQUESTS) as pool:
                list(pool.map(lambda trial: self.column(trial, name), remote))

    def rows(self, trial: Trial, scope: str = DEFAULT) -> list[dict[str, Any]]:
        """Return the rows of a scope; none if there are none."""
        if (trial, scope) not in self._rows:
            self._rows[trial, scope] = trial.records(scope).rows
        return self._rows[trial, scope]

    def scopes(self, trial: Trial) -> list[str]:
        """Return the scopes of a trial."""
        if trial not in self._scopes:
            self._scopes[trial] = trial.records.scopes
        return self._scopes[trial]

    def column(self, trial: Trial, name: str) -> tuple[str, str] | None:
        """Return scope and name of a column, such as `loss` or `validation.loss`; None if no row has it."""
        if any(name in row for row in self.rows(trial)):
            return DEFAULT, name
        if "." in name:
            for scope in self.scopes(trial):
                inner = name[len(scope) + 1 :]
                if name.startswith(f"{scope}.") and any(inner in row for row in self.rows(trial, scope)):
                    return scope, inner
        return None


class _Sample(NamedTuple):
    """The values of one trial."""

    trial: Trial
    values: Mapping[float, float]  # by x


class _Group(NamedTuple):
    """Trials that are pooled, or that have one colour."""

    values: tuple[Any, ...]
    samples: list[_Sample]


def chart(
    trials: Sequence[Trial],
    metric: str,
    x: str | None,
    by: Sequence[str],
    columns: Columns,
    counted: Counted,
    *,
    kind: str | None = None,
    band: str | None = "95%",
    smooth: float = 0.0,
    log: str = "",
    reader: RowReader | None = None,
) -> Chart:
    """Return a picture of trials, see `Trials.chart`.

    Args:
        trials: The trials.
        metric: The field of the vertical axis.
        x: The field or the column of the horizontal axis.
        by: The fields whose values are distinguished.
        columns: Returns the values of fields, and raises for unknown ones.
        counted: Returns the numbers of the trials that count, and why others do not.
        kind: One of `KINDS`.
        band: One of `BANDS`.
        smooth: The weight of the smoothing.
        log: The logarithmic axes.
        reader: What has read rows already.
    """
    band = "none" if band is None else band
    for name, given, known in (("kind", kind, KINDS), ("band", band, BANDS), ("axes", log, AXES)):
        if given is not None and given not in known:
            raise UnknownName(name, given, filter(None, known))
    if not is_number(smooth) or not 0 <= smooth < 1:
        todo = "0 is no smoothing, 0.9 much: each point is so much of the smoothed one before."
        raise InvalidValue(f"smooth is {smooth!r}, and it is a number from 0 up to 1", given=smooth, todo=todo)
    if not len(trials):
        raise InvalidValue("there are no trials to draw", given=0, todo="Choose others: where('status=finished').")
    asked = _Asked(trials, metric, x, list(dict.fromkeys(by)), columns, counted, band, float(smooth), log)
    return asked.chart(kind, RowReader() if reader is None else reader)


class _Asked(NamedTuple):
    """The arguments of `chart`."""

    trials: Sequence[Trial]
    metric: str
    x: str | None
    by: list[str]
    columns: Columns
    counted: Counted
    band: str
    smooth: float
    log: str

    def chart(self, kind: str | None, reader: RowReader) -> Chart:
        """Return the chart of that kind, by default of the one that suits the fields."""
        column = self.metric.removeprefix("records.") if self.metric.startswith("records.") else None
        if kind in (None, "curves") and column and (found := self._curves_over_rows(kind, column, reader)):
            return found
        if self.x is None:
            if kind == "curves":
                todo = f"Name the horizontal axis, a field: x='config.…', or choose bars. {self.metric} has no rows."
                raise InvalidValue(f"{self.metric} is one value of each trial", given=self.metric, todo=todo)
            if kind in ("scatter", "heatmap"):
                raise InvalidValue(f"a {kind} needs a horizontal axis", given=kind, todo="Name a field: x='config.…'.")
        return self._over_fields(kind)

    # --- curves over rows

    def _curves_over_rows(self, kind: str | None, column: str, reader: RowReader) -> Chart | None:
        """Return curves over a column of the rows; None if the fields are no columns."""
        notes: list[str] = []
        drawn = self._with_rows(reader, column, notes)
        found = {trial: place for trial in drawn if (place := reader.column(trial, column))}
        if not found:
            return None
        rows = {trial: reader.rows(trial, scope) for trial, (scope, _) in found.items()}
        across = self._column_of_rows(kind, rows, {scope for scope, _ in found.values()})
        if across is None:
            return None
        samples = []
        for trial, (_, name) in found.items():
            _check_numbers(self.metric, trial, (row.get(name) for row in rows[trial]))
            _check_numbers(across, trial, (row.get(across) for row in rows[trial]))
            places = [row.get(across) if across in row else number for number, row in enumerate(rows[trial])]
            if across == TIME:  # times of day are never alike
                start = next((place for place in places if place is not None), 0)
                places = [None if place is None else place - start for place in places]
            values = _averaged(zip(places, (row.get(name) for row in rows[trial]), strict=True))
            samples.append(_Sample(trial, _smoothed(values, self.smooth)))
        if len(samples) < len(drawn):
            notes.append(f"left out: {len(drawn) - len(samples)} without {self.metric}")
        settings, groups = self._groups(samples)
        return self._finished("curves", across, settings, None, groups, notes)

    def _with_rows(self, reader: RowReader, column: str, notes: list[str]) -> list[Trial]:
        """Return the trials that may have rows: of equal computations the first, failed ones only if all are."""
        by_identity: dict[Any, Trial] = {}
        failed: dict[Any, Trial] = {}
        for trial, state in zip(self.trials, states(self.trials), strict=True):
            if state == "reused" or trial.has_begun:
                (failed if state == "failed" else by_identity).setdefault(trial.identity or id(trial), trial)
        if failed and by_identity:
            notes.append(f"left out: {len(failed)} failed")
        found = list((by_identity or failed).values())
        reader.prefetch(found, column)
        return found

    def _column_of_rows(
        self, kind: str | None, rows: Mapping[Trial, list[dict[str, Any]]], scopes: set[str]
    ) -> str | None:
        """Return the column of the horizontal axis, None if it is none of the rows."""
        if self.x is None:
            if kind is None and max(map(len, rows.values())) < 2:
                return None
            is_iterated = all("_iteration" in row for several in rows.values() for row in several)
            return "_iteration" if is_iterated else "row"
        if kind is None and self.x.startswith("records."):
            return None  # each trial's last values of both
        name = self.x.removeprefix("records.")
        names = [name, *(name[len(scope) + 1 :] for scope in scopes if name.startswith(f"{scope}."))]
        known = dict.fromkeys(column for several in rows.values() for row in several for column in row)
        found = next((one for one in names if one in known), None)
        if found is None and find_field(self.x) is None:
            raise UnknownName("field", self.x, [*known, *known_fields(self.trials)])
        return found

    # --- fields of trials

    def _over_fields(self, kind: str | None) -> Chart:
        values = None if self.x is None else self.columns([self.x])[self.x]
        counted, others = self.counted(self.metric)
        reasons = Counter(others.values())
        if not counted:
            counts = Counter(states(self.trials))
            todo = "Of the trials are " + ", ".join(f"{number} {state}" for state, number in counts.items()) + "."
            raise InvalidValue(f"no trial has finished with a value of {self.metric}", given=self.metric, todo=todo)
        by_trial = dict(zip(self.trials, values or [None] * len(self.trials), strict=True))
        if self.x is not None:
            reasons[f"without {self.x}"] = sum(by_trial[trial] is None for trial in counted)
            counted = {trial: one for trial, one in counted.items() if by_trial[trial] is not None}
        notes = [f"left out: {', '.join(f'{number} {why}' for why, number in reasons.items() if number)}"] * any(
            reasons.values()
        )
        kind = kind or self._suitable([by_trial[trial] for trial in counted])
        categories = None
        if kind in ("bars", "heatmap") and self.x is not None:
            categories, places = _categories(self.x, {trial: by_trial[trial] for trial in counted})
        else:
            for trial in counted:
                _check_numbers(self.x or "", trial, [by_trial[trial]])
            places = {trial: as_float(by_trial[trial] or 0) for trial in counted}
        samples = [_Sample(trial, {places[trial]: as_float(one.value)}) for trial, one in counted.items()]
        if kind == "scatter":
            return self._finished(kind, self.x or "", self.by, None, self._plain_groups(samples), notes)
        settings, groups = self._groups(samples)
        if kind == "heatmap" and len(settings) != 1:
            self._refuse_heatmap(settings)
        if kind == "bars" and self.x is None:
            return self._bars_of_settings(settings, groups, notes)
        return self._finished(kind, self.x or "", settings, categories, groups, notes)

    def _suitable(self, values: Sequence[Any]) -> str:
        if self.x is None or not all(map(is_number, values)):
            return "bars"
        return "curves" if self.x.partition(".")[0] in SETTINGS else "scatter"

    def _refuse_heatmap(self, settings: list[str]) -> None:
        if not self.by:
            raise InvalidValue("a heatmap needs a vertical axis", given=self.by, todo="Name a field: by='config.…'.")
        others = listed([name for name in settings if name != self.by[0]])
        raise InvalidValue(
            f"a heatmap shows two settings, and the trials differ in more: {others}",
            given=settings,
            todo="Choose the trials to show: where('config.…=…').",
        )

    def _bars_of_settings(self, settings: list[str], groups: Sequence[_Group], notes: list[str]) -> Chart:
        """Return a bar for each group, named on the horizontal axis."""
        names = series_names(settings, [group.values for group in groups])
        if len(names) > MAX_CATEGORIES:
            _refuse_categories(listed(settings), len(names))
        points = [
            point._replace(x=float(number))
            for number, group in enumerate(groups)
            for point in pooled(group.samples, self.band)
        ]
        trials = [_name(one.trial) for group in groups for one in group.samples]
        return self._checked("bars", "", settings, names, [Series("", (), points, trials)], notes)

    # --- groups

    def _plain_groups(self, samples: Sequence[_Sample]) -> list[_Group]:
        """Return the samples by the values of `by`."""
        return [group for _, group in self._by_key(samples, self.by, lambda trial: "")]

    def _groups(self, samples: Sequence[_Sample]) -> tuple[list[str], list[_Group]]:
        """Return sets of repetitions, and the fields that distinguish them.

        Trials with equal values of `by` that are not repetitions are in separate groups, with further fields.
        """
        x = self.x if self.x is not None and find_field(self.x) is not None else None
        ignored = {x, "version" if x and x.startswith("config.") else None}
        names = self.by

        def grouped() -> list[tuple[tuple[Any, ...], _Group]]:
            return self._by_key(samples, names, lambda trial: repetition_key(trial, x))

        found = grouped()
        if x is not None and (within := self._differing_within(x, [group for _, group in found], ignored)):
            names = [*names, *within]
            found = grouped()
            self._differing_within(x, [group for _, group in found], {*ignored, *names})
        if len(found) > len({key[:-1] for key, _ in found}):
            first = [group.samples[0].trial for _, group in found]
            further = [name for name in distinguishing_fields(first) if name not in {*ignored, *names}]
            columns = [self._values(name, first) for name in further]
            found = [
                (key, group._replace(values=(*group.values, *(column[number] for column in columns))))
                for number, (key, group) in enumerate(found)
            ]
            names = [*names, *further]
        return names, [group for _, group in found]

    def _differing_within(self, x: str, groups: Sequence[_Group], ignored: Container[str | None]) -> list[str]:
        """Return the fields in which trials of one group at the same x differ, so that they are not repetitions."""
        fields: dict[str, None] = {}
        for group in groups:
            places: dict[float, dict[str, Trial]] = {}
            for sample in group.samples:
                # Without a field of that name, it ignores only versions: those with the same configuration repeat it.
                key = repetition_key(sample.trial, "config.")
                for place in sample.values:
                    places.setdefault(place, {}).setdefault(key, sample.trial)
            for several in places.values():
                if len(several) > 1:
                    found = [name for name in distinguishing_fields(several.values()) if name not in ignored]
                    if not found:
                        uids = listed([trial.uid for trial in several.values()])
                        raise InvalidValue(
                            f"the trials {uids} have the same {x} and are not repetitions: children differ",
                            given=x,
                            todo="Choose the trials to show with where(…).",
                        )
                    fields |= dict.fromkeys(found)
        return list(fields)

    def _by_key(
        self, samples: Sequence[_Sample], names: Sequence[str], key: Callable[[Trial], str]
    ) -> list[tuple[tuple[Any, ...], _Group]]:
        """Return the groups with equal values of fields and equal keys, with both."""
        trials = [sample.trial for sample in samples]
        values = list(zip(*(self._values(name, trials) for name in names), strict=True)) or [()] * len(trials)
        groups: dict[tuple[Any, ...], _Group] = {}
        for sample, own in zip(samples, values, strict=True):
            place = (*map(comparable, own), key(sample.trial))
            groups.setdefault(place, _Group(own, [])).samples.append(sample)
        return list(groups.items())

    def _values(self, name: str, trials: Sequence[Trial]) -> list[Any]:
        """Return the values of a field of some of the trials."""
        all_values = dict(zip(self.trials, self.columns([name])[name], strict=True))
        return [all_values[trial] for trial in trials]

    # --- results

    def _finished(
        self,
        kind: str,
        x: str,
        settings: list[str],
        categories: list[str] | None,
        groups: Sequence[_Group],
        notes: list[str],
    ) -> Chart:
        """Return the chart of groups, in the order of their numbers, else in that of their first trials."""
        groups = [groups[number] for number in _in_order([group.values for group in groups])]
        names = series_names(settings, [group.values for group in groups])
        series = []
        for name, group in zip(names, groups, strict=True):
            if kind == "scatter":
                points = [
                    Point(x, y, trial=_name(sample.trial)) for sample in group.samples for x, y in sample.values.items()
                ]
            else:
                points = pooled(group.samples, self.band)
            series.append(Series(name, group.values, points, [_name(sample.trial) for sample in group.samples]))
            counts = {point.n for point in points}
            if kind == "curves" and len(counts) > 1:
                of = f"{name}: " if name else ""
                notes.append(f"{of}the mean is over {min(counts)} to {max(counts)} values along the curve")
        return self._checked(kind, x, settings, categories, series, notes)

    def _checked(
        self,
        kind: str,
        x: str,
        settings: list[str],
        categories: list[str] | None,
        series: list[Series],
        notes: list[str],
    ) -> Chart:
        """Return the chart, after what cannot be seen in it is noted."""
        points = [point for one in series for point in one.points]
        if not any(math.isfinite(point.y) for point in points):
            todo = "Choose another field, or other trials."
            raise InvalidValue(f"{self.metric} has no finite number in these trials", given=self.metric, todo=todo)
        if missing := sum(not math.isfinite(point.y) for point in points):
            notes.append(f"{missing} of {len(points)} points are not finite numbers, and not drawn")
        if "x" in self.log and categories is not None:
            raise InvalidValue(f"{x or listed(settings)} has names, which have no logarithm", given=self.log)
        for axis, values in (("x", [point.x for point in points]), ("y", [point.y for point in points])):
            if axis in self.log and (low := sum(value <= 0 for value in values)):
                what = f"{low} of {len(points)} points are not positive"
                if low == len(points):
                    todo = "Leave out the logarithm of this axis."
                    raise InvalidValue(f"{what}, and the axis {axis} is logarithmic", given=self.log, todo=todo)
                notes.append(f"{what}, and not drawn on the logarithmic axis {axis}")
        if kind in ("curves", "bars") and self.band != "none" and all(point.low is None for point in points):
            notes.append("no intervals: there are no repetitions")
        return Chart(kind, self.metric, x, list(settings), categories, series, self.band, self.smooth, self.log, notes)


def _name(trial: Trial) -> str:
    return f"{trial.execution}/{trial.uid}"


def _check_numbers(field: str, trial: Trial, values: Iterable[Any]) -> None:
    wrong = next((value for value in values if value is not None and not isinstance(value, (int, float))), None)
    if wrong is not None:
        raise InvalidType(
            f"{field} is {format_cell(wrong)!r} in the trial {trial.uid}, which is not a number",
            given=wrong,
            todo="Draw fields with numbers; text can be the horizontal axis of bars, or distinguish colours as by=.",
        )


def _in_order(values: Sequence[tuple[Any, ...]]) -> list[int]:
    """Return the positions of tuples: columns of numbers in their order, others in that of appearance."""
    ranks = []
    for column in zip(*values, strict=True):
        are_numbers = all(map(is_number, column))
        ordered = [column[number] for number in in_order(column)] if are_numbers else list(column)
        places = {comparable(value): number for number, value in reversed(list(enumerate(ordered)))}
        ranks.append([places[comparable(value)] for value in column])
    return sorted(range(len(values)), key=lambda number: tuple(rank[number] for rank in ranks))


def _categories(field: str, values: Mapping[Trial, Any]) -> tuple[list[str], dict[Trial, float]]:
    """Return the names on an axis, and the place of each trial."""
    distinct = {comparable(value): value for value in values.values()}
    ordered = list(distinct.values())
    ordered = [ordered[number] for number in _in_order([(value,) for value in ordered])]
    if len(ordered) > MAX_CATEGORIES:
        _refuse_categories(field, len(ordered))
    places = {comparable(value): float(number) for number, value in enumerate(ordered)}
    names = series_names([field], [(value,) for value in ordered])
    return names, {trial: places[comparable(value)] for trial, value in values.items()}


def _refuse_categories(fields: str, number: int) -> None:
    raise InvalidValue(
        f"{fields} has {number:,} different values, and at most {MAX_CATEGORIES} names fit on an axis",
        given=number,
        todo="Choose trials with where(…), or another field.",
    )


def series_names(settings: Sequence[str], values: Sequence[tuple[Any, ...]]) -> list[str]:
    """Return a short name for each tuple of the values of settings, such as `mlp, rate=0.1`."""
    columns = []
    short = short_headings(settings)
    for setting, name, column in zip(settings, short, zip(*values, strict=True), strict=True):
        texts = ["(none)" if value is None else short_text(value) for value in column]
        if setting in _PLAIN:
            texts = _short_texts(texts)
        texts = _without_beginning(texts)
        if setting.rpartition(".")[2] == "identity":
            texts = [text[:8] for text in texts]
        is_plain = len(settings) == 1 or setting in _PLAIN
        columns.append(texts if is_plain else [f"{name}={text}" for text in texts])
    names = [", ".join(parts) for parts in zip(*columns, strict=True)] if columns else [""] * len(values)
    total, seen = Counter(names), Counter[str]()
    for number, name in enumerate(names):
        if total[name] > 1:  # they differ in what is no field, such as children
            seen[name] += 1
            names[number] = f"{name} ({seen[name]})".strip()
    return names


def _short_texts(names: Sequence[str]) -> list[str]:
    """Return names shortened to the last parts that distinguish them."""
    distinct = list(dict.fromkeys(names))
    short = dict(zip(distinct, short_headings(distinct), strict=True))
    return [short[name] for name in names]


_SEPARATED = re.compile(r"[^\W_]+[\W_]*")


def _without_beginning(texts: Sequence[str]) -> list[str]:
    """Return long texts without the words with which all of them begin, but the last of these."""
    beginning = os.path.commonprefix(texts)  # noqa: RUF071 - of characters, not of paths
    words = _SEPARATED.findall(beginning) if max(map(len, texts)) > LONG_NAME else []
    common = sum(map(len, words[:-1]))
    return [f"…{text[common:]}" for text in texts] if common > 1 and len(set(texts)) > 1 else list(texts)


def axis_label(field: str) -> str:
    """Return the name of a field or a column on an axis: `rate` for `config.rate`, `iteration` for `_iteration`."""
    if field == TIME:
        return "seconds since the first row"
    head, _, rest = field.partition(".")
    return (rest if rest and head in ("records", *SETTINGS) else field).lstrip("_").replace("_", " ")


def legend_title(chart: Chart) -> str:
    """Return the heading of the names of series: their setting, if there is only one and the names do not say it."""
    if len(chart.settings) != 1 or chart.settings[0] in _PLAIN:
        return ""
    return axis_label(short_headings(chart.settings)[0])


_INTERVALS = {"95%": "95 % interval", "sd": "standard deviation", "range": "range from minimum to maximum"}


def caption(chart: Chart) -> str:
    """Return a sentence that says what is drawn: `Mean and 95 % interval of accuracy by iteration, n = 5.`."""
    points = [point for one in chart.series for point in one.points]
    counts = sorted({point.n for point in points})
    what = axis_label(chart.field) + (f" (smoothed, {chart.smooth:g})" if chart.smooth else "")
    across = [axis_label(name) for name in (chart.x, *(chart.settings if chart.kind == "heatmap" else ())) if name]
    over = f" by {' and '.join(across)}" if across else ""
    if chart.kind == "scatter":
        return f"{what[:1].upper()}{what[1:]}{over}, n = {len(points)}."
    if counts[-1] == 1:
        return f"{what[:1].upper()}{what[1:]}{over}, single trials."
    interval = f" and {_INTERVALS[chart.band]}" if chart.band != "none" and chart.kind != "heatmap" else ""
    number = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"Mean{interval} of {what}{over}, n = {number}."


def number_text(value: float) -> str:
    """Return a number for a label, with 4 significant digits."""
    return f"{value:.4g}"


# --- values of repetitions


def _averaged(pairs: Iterable[tuple[Any, Any]]) -> dict[float, float]:
    """Return the value at each x, in order; the mean of several at the same x."""
    found: dict[float, list[float]] = {}
    for x, y in pairs:
        if x is not None and y is not None and math.isfinite(place := as_float(x)):
            found.setdefault(place, []).append(as_float(y))
    return {x: found[x][0] if len(found[x]) == 1 else mean(found[x]) for x in sorted(found)}


def _smoothed(values: Mapping[float, float], weight: float) -> Mapping[float, float]:
    """Return the exponential moving average, without the bias to the first value; NaN stays and does not count."""
    if not weight:
        return values
    smoothed: dict[float, float] = {}
    total = share = 0.0
    for x, y in values.items():
        if not math.isfinite(y):
            smoothed[x] = y
            continue
        total = weight * total + (1 - weight) * y
        share = weight * share + (1 - weight)
        smoothed[x] = total / share
    return smoothed


class _Line:
    """The values of one trial along x, with values between them on straight lines."""

    def __init__(self, values: Mapping[float, float]) -> None:
        self._values = values

    @cached_property
    def places(self) -> list[float]:
        return list(self._values)

    def has_gaps(self, places: Sequence[float]) -> bool:
        """Return whether it lacks one of the places, in order, between its first and its last."""
        first, last = bisect_left(places, self.places[0]), bisect_left(places, self.places[-1])
        return last - first + 1 != len(self.places)

    def at(self, x: float) -> float | None:
        """Return the value at x, None before its first and behind its last place."""
        if x in self._values:
            return self._values[x]
        after = bisect_left(self.places, x)
        if after in (0, len(self.places)):
            return None
        left, right = self.places[after - 1], self.places[after]
        share = (x - left) / (right - left)
        return (1 - share) * self._values[left] + share * self._values[right]


def pooled(samples: Sequence[_Sample], band: str) -> list[Point]:
    """Return the mean of the trials at each x, with the interval.

    Where trials were measured at different x, those in between are on straight lines; a trial counts from its first x
    to its last one.
    """
    lines = [(measured_by(one.trial, 0.0), _Line(one.values)) for one in samples if one.values]
    places = sorted({x for one in samples for x in one.values})
    if len(places) > MAX_POINTS and any(line.has_gaps(places) for _, line in lines):
        step = len(places) / MAX_POINTS
        places = [*dict.fromkeys([*(places[int(number * step)] for number in range(MAX_POINTS)), places[-1]])]
    points = []
    for x in places:
        found = [(one, value) for one, line in lines if (value := line.at(x)) is not None]
        values = [found[0][1]] if len(found) == 1 else separate_values([one._replace(value=y) for one, y in found])
        points.append(_point(x, values, band))
    if len(samples) == 1:
        points = [point._replace(trial=_name(samples[0].trial)) for point in points]
    return thinned(points)


def _point(x: float, values: Sequence[float], band: str) -> Point:
    n = len(values)
    middle = mean(values)
    low = high = None
    if n > 1 and band != "none" and math.isfinite(middle):
        if band == "range":
            low, high = min(values), max(values)
        else:
            deviation = spread(values)
            low, high = t_interval(middle, deviation, n) if band == "95%" else (middle - deviation, middle + deviation)
    return Point(x, middle, low, high, n)


def thinned(points: list[Point], limit: int = MAX_POINTS) -> list[Point]:
    """Return the points that determine the shape of a line: the lowest and the highest of each section."""
    if len(points) <= limit:
        return points
    length = 2 * len(points) / limit
    chosen = [points[0]]
    for number in range(limit // 2):
        section = points[int(number * length) : int((number + 1) * length)]
        low, high = min(section, key=lambda point: point.y), max(section, key=lambda point: point.y)
        chosen += [low] if low is high else sorted((low, high), key=lambda point: point.x)
    return [*chosen, points[-1]]
