"""An HTML page about executions: facts, means, curves, trials, failures, code and packages.

It is one file that loads nothing else: it contains its style and script, and no other script can run.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from machinable.display.summary import (
    Line,
    Side,
    execution_facts,
    side_by_side,
    side_table,
    trials_table,
)
from machinable.display.tables import Table, counted, headline, is_numeric, settings_text
from machinable.results.query import as_float, is_number
from machinable.results.reader import code_facts
from machinable.results.trials import STATES as TRIAL_STATES
from machinable.units import format_duration

if TYPE_CHECKING:
    from machinable.results.execution import Execution
    from machinable.results.trial import Trial

__all__ = ["Chart", "Curve", "chart", "report", "stroke", "ticks"]

MAX_CURVES = 200  # trials that are drawn, evenly from all groups; more lines cannot be distinguished
MAX_CHARTS = 60
MAX_POINTS = 400  # of one line; more cannot be distinguished
MAX_ROWS = 5000  # of the table of trials
MAX_FAILURES = 50

STATES = (*TRIAL_STATES, "partial")
SIZE = {"width": 560, "height": 300, "left": 64, "right": 12, "top": 16, "bottom": 40}  # of a chart, and its margins

# Colours that are distinguishable with colour blindness (Okabe and Ito, 2008), then the same in dashes.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f")
_DASHES = ("", "6 3", "2 2", "8 3 2 3")

Point = tuple[float, float]


def report(sides: Sequence[Side], written: str) -> str:
    """Return the page, a complete HTML document.

    Args:
        sides: The executions and trials to show, at least one.
        written: The time, as text.
    """
    import jinja2  # only a report needs it
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_template_text),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(states=STATES, stroke=stroke, size=SIZE)
    lines = side_by_side(sides)
    executions = list({str(side.execution): side.execution for side in sides}.values())
    trials = {(str(side.execution), trial.uid): trial for side in sides for trial in side.trials}
    failed = [trial for trial in trials.values() if trial.status == "failed"]
    rows = [row for line in lines for row in line.group.rows]
    listed = rows[:MAX_ROWS]
    script = _template_text("report.js")
    return environment.get_template("report.html.jinja").render(
        title=" · ".join(" ".join(filter(None, (str(one), str(one.name or "")))) for one in executions),
        written=written,
        executions=[_execution(one) for one in executions],
        summary=_table(side_table(lines)),
        trials=_table(trials_table(listed, [trials[row["execution"], row["uid"]] for row in listed])),
        more_trials=max(0, len(rows) - MAX_ROWS),
        failures=[_failure(trial) for trial in failed[:MAX_FAILURES]],
        more_failures=max(0, len(failed) - MAX_FAILURES),
        **_curves(lines, trials),
        style=Markup(_template_text("report.css")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _template_text(name: str) -> str:
    return (Path(__file__).parent / "templates" / name).read_text(encoding="utf-8")


def _table(found: Table) -> dict[str, Any]:
    numeric = [is_numeric([row[i] for row in found.rows]) for i in range(len(found.headings))]
    return {"headings": found.headings, "rows": found.rows, "numeric": numeric}


def _execution(execution: Execution) -> dict[str, Any]:
    data = execution.data
    states = [trial.status for trial in execution.trials]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    seconds = [trial.seconds for trial in execution.trials if trial.seconds is not None]
    diff = execution.code_diff
    more = {
        "trials": f"{len(states)}: {counts}" if states else "none",
        "trial time": format_duration(sum(seconds)) if seconds else None,
        "code backup": code_facts(data).get("backup"),
        "platform": data.get("platform"),
    }
    return {
        "name": str(execution),
        "facts": execution_facts(execution) | more,
        "packages": {name: str(version) for name, version in (data.get("packages") or {}).items()},
        "code_diff": None if diff is None else diff.decode("utf-8", "replace"),
    }


def _failure(trial: Trial) -> dict[str, str]:
    error = trial.error or {"type": "unknown"}
    return {
        "trial": f"{trial.component} {trial.uid}",
        "headline": headline(error),
        "settings": settings_text(trial.config.to_dict(evaluate=False, hidden=False)),
        "text": (error.get("traceback") or error.get("message") or "").rstrip(),
    }


# --- curves


def _curves(lines: Sequence[Line], trials: Mapping[tuple[str, str], Trial]) -> dict[str, Any]:
    """Return charts of all columns of numbers, with a line for each trial in the colour of its group."""
    curves: dict[tuple[str, str], list[Curve]] = {}
    axes: dict[tuple[str, str], str] = {}
    drawn: dict[int, str] = {}
    each = max(1, MAX_CURVES // max(1, len(lines)))
    for group, line in enumerate(lines):
        for row in line.group.rows[:each]:
            trial = trials[row["execution"], row["uid"]]
            for scope in trial.records.scopes:
                for column, axis, points in _columns(trial.records(scope).rows):
                    axes.setdefault((scope, column), axis)
                    drawn[group] = f"{line.side} {line.group.component} {settings_text(line.group.settings)}".rstrip()
                    curves.setdefault((scope, column), []).append(Curve(points, group, f"{drawn[group]} {trial.uid}"))
    # The tables already show a column that has one value per trial.
    columns = [key for key, several in curves.items() if any(len(curve.points) > 1 for curve in several)]
    found = [
        chart(column if scope == "default" else f"{scope}: {column}", axes[scope, column], curves[scope, column])
        for scope, column in columns[:MAX_CHARTS]
    ]
    notes = [f"… and {counted(len(columns) - MAX_CHARTS, 'more column')}"] if len(columns) > MAX_CHARTS else []
    if any(len(line.group.rows) > each for line in lines):
        notes.append(f"Only the first {counted(each, 'trial')} of each group {'is' if each == 1 else 'are'} drawn.")
    return {"charts": found, "legend": list(drawn.items()), "chart_notes": notes}


def _columns(rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str, list[Point]]]:
    """Yield each column of numbers: its name, the name of the horizontal axis, and its points."""
    across = "_iteration" if rows and all(is_number(row.get("_iteration")) for row in rows) else None
    for column in dict.fromkeys(column for row in rows for column in row if not column.startswith("_")):
        values = [row.get(column) for row in rows]
        if any(map(is_number, values)) and all(value is None or is_number(value) for value in values):
            points = [
                (as_float(row[across]) if across else float(index), as_float(value))
                for index, (row, value) in enumerate(zip(rows, values, strict=True))
                if value is not None
            ]
            yield column, "iteration" if across else "row", points


# --- charts


class Curve(NamedTuple):
    """A curve: its points, the number of its group, which determines its stroke, and its name."""

    points: Sequence[Point]
    group: int
    name: str


class Chart(NamedTuple):
    """A chart in coordinates of the page, which the template draws as SVG; without lines if no point is finite.

    A tick is a coordinate and its label. A line is a curve of finite points; a single point is drawn as a dot.
    """

    title: str
    horizontal: str
    lines: list[Curve]
    horizontal_ticks: list[tuple[float, str]]
    vertical_ticks: list[tuple[float, str]]


def stroke(group: int) -> tuple[str, str]:
    """Return colour and dashes of a group."""
    return _COLOURS[group % len(_COLOURS)], _DASHES[group // len(_COLOURS) % len(_DASHES)]


def chart(title: str, horizontal: str, curves: Sequence[Curve]) -> Chart:
    """Lay out a chart of curves; points that are not finite numbers are gaps."""
    finite = [point for curve in curves for point in curve.points if _is_finite(point)]
    if not finite:
        return Chart(title, horizontal, [], [], [])
    across = _Scale([x for x, _ in finite], SIZE["left"], SIZE["width"] - SIZE["right"])
    up = _Scale([y for _, y in finite], SIZE["height"] - SIZE["bottom"], SIZE["top"])
    lines = [
        Curve([(across.place(x), up.place(y)) for x, y in _thinned(list(piece))], curve.group, curve.name)
        for curve in curves
        for is_finite, piece in groupby(curve.points, _is_finite)
        if is_finite
    ]
    return Chart(title, horizontal, lines, across.ticks(6), up.ticks(5))


def _is_finite(point: Point) -> bool:
    return all(map(math.isfinite, point))


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Return round numbers from low to high, about as many as requested."""
    if not high > low:
        return [low]
    rough = (high - low) / about
    if rough <= 0 or math.isinf(high - low):  # too close for numbers between them, or too far apart
        return [low, high]
    power = 10.0 ** math.floor(math.log10(rough))
    if power == 0.0:
        return [low, high]
    step = next((factor * power for factor in (1, 2, 5) if factor * power >= rough), 10 * power)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


class _Scale:
    """Map numbers to coordinates along one axis."""

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        self.low, self.high = min(values), max(values)
        if self.low == self.high:
            pad = abs(self.low) * 0.05 or 0.5
            self.low, self.high = self.low - pad, self.high + pad
        self._start, self._length = start, end - start

    def place(self, value: float) -> float:
        # Halves, because the range may exceed the largest float.
        share = (value / 2 - self.low / 2) / (self.high / 2 - self.low / 2)
        return round(self._start + share * self._length, 1)

    def ticks(self, about: int) -> list[tuple[float, str]]:
        return [(self.place(value), f"{value:.4g}") for value in ticks(self.low, self.high, about)]


def _thinned(points: list[Point]) -> list[Point]:
    """Return the points that determine the shape of a line: the lowest and the highest of each section."""
    if len(points) <= MAX_POINTS:
        return points
    length = 2 * len(points) / MAX_POINTS
    chosen = [points[0]]
    for number in range(MAX_POINTS // 2):
        stretch = points[int(number * length) : int((number + 1) * length)]
        chosen += sorted({min(stretch, key=lambda point: point[1]), max(stretch, key=lambda point: point[1])})
    return [*chosen, points[-1]]
