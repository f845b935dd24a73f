"""Charts as options of ECharts. Names of users are plain values there, never HTML or code."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from machinable.errors import InvalidValue
from machinable.results.chart import COLOURS, Chart, axis_label, legend_title, thinned
from machinable.results.query import MISSING, find_field, is_number
from machinable.results.tables import format_cell
from machinable.results.trials import Trials

__all__ = ["MAX_PARALLEL", "MAX_TRIALS", "chart_options", "check_number", "line_options", "parallel_options"]

MAX_TRIALS = 3000  # that are drawn at once; each file of rows is read
MAX_PARALLEL = 2000
MAX_LABELS = 90  # characters below an axis; more are written aslant
_MUTED = "#7d8798"
_DASHES = ("solid", "dashed", "dotted", [8, 3, 2, 3])

# The band around a curve is one polygon. With stacked areas it would be wrong on logarithmic axes.
_BAND = """(params, api) => {
  if (params.dataIndexInside > 0) return null;
  const low = [], high = [];
  for (let i = 0; i < params.dataInsideLength; i++) {
    low.push(api.coord([api.value(0, i), api.value(1, i)]));
    high.unshift(api.coord([api.value(0, i), api.value(2, i)]));
  }
  const style = {fill: api.visual("color"), opacity: 0.16};
  return {type: "polygon", silent: true, shape: {points: low.concat(high)}, style};
}"""
_WHISKER = """(params, api) => {
  const [x, low] = api.coord([api.value(0), api.value(1)]), high = api.coord([api.value(0), api.value(2)])[1];
  const shift = api.barLayout({count: COUNT})[NUMBER].offsetCenter, at = x + shift, half = 5;
  const style = {stroke: "#7d8798", lineWidth: 1.5};
  const line = (x1, y1, x2, y2) => ({type: "line", shape: {x1, y1, x2, y2}, style});
  return {type: "group", silent: true, children: [
    line(at, low, at, high), line(at - half, low, at + half, low), line(at - half, high, at + half, high)]};
}"""


def check_number(trials: Trials) -> None:
    """Check that not more trials are drawn than is reasonable.

    Raises:
        InvalidValue: There are more.
    """
    if len(trials) > MAX_TRIALS:
        raise InvalidValue(
            f"these are {len(trials):,} trials, and at most {MAX_TRIALS:,} are drawn",
            given=len(trials),
            todo="Add a condition, such as config.rate<0.3 or execution=last.",
        )


def _axis(name: str, kind: str, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "type": kind,
        "nameLocation": "middle",
        "nameTextStyle": {"color": _MUTED, "fontSize": 12},
        "axisLabel": {"color": _MUTED, "hideOverlap": True},
        "axisLine": {"lineStyle": {"color": _MUTED}},
        "splitLine": {"lineStyle": {"color": _MUTED, "opacity": 0.2}},
        **more,
    }


def _base(names: Sequence[str]) -> dict[str, Any]:
    has_legend = len(names) > 1
    return {
        "animation": False,
        "color": list(COLOURS),
        "textStyle": {"fontFamily": "system-ui, sans-serif"},
        "tooltip": {"confine": True},
        "grid": {"left": 64, "right": 20, "top": 52 if has_legend else 20, "bottom": 48},
        "legend": {
            "show": has_legend,
            "type": "scroll",
            "top": 4,
            "textStyle": {"color": _MUTED},
            "data": list(names),
        },
    }


def _vertical(chart: Chart) -> dict[str, Any]:
    kind = "log" if "y" in chart.log else "value"
    return _axis(axis_label(chart.field), kind, nameGap=48, scale=chart.kind != "bars")


def _style(number: int) -> dict[str, Any]:
    return {
        "itemStyle": {"color": COLOURS[number % len(COLOURS)]},
        "lineStyle": {"type": _DASHES[number // len(COLOURS) % len(_DASHES)], "width": 1.8},
    }


def chart_options(chart: Chart) -> dict[str, Any]:
    """Return the options for a chart of trials."""
    return _KINDS[chart.kind](chart)


def _names(chart: Chart) -> list[str]:
    return [one.name or axis_label(chart.field) for one in chart.series]


def _curves(chart: Chart) -> dict[str, Any]:
    names = _names(chart)
    options = _base(names)
    options["tooltip"] |= {"trigger": "axis", "order": "valueDesc"}
    options["xAxis"] = _axis(axis_label(chart.x), "log" if "x" in chart.log else "value", nameGap=28, scale=True)
    options["yAxis"] = _vertical(chart)
    series: list[dict[str, Any]] = []
    for number, (name, one) in enumerate(zip(names, chart.series, strict=True)):
        points = thinned(one.points)
        line = {"type": "line", "name": name, "showSymbol": len(points) < 3, "data": [[p.x, p.y] for p in points]}
        series.append(line | _style(number) | {"triggerLineEvent": True})
        if band := [[p.x, p.low, p.high] for p in points if p.low is not None and p.high is not None]:
            series.append(_custom(name, number, _BAND, band))
    return options | {"series": series}


def _custom(name: str, number: int, renderer: str, data: list[Any]) -> dict[str, Any]:
    return {
        "type": "custom",
        "name": name,
        ":renderItem": renderer,
        "clip": True,
        "silent": True,
        "z": 1,
        "tooltip": {"show": False},
        "encode": {"x": 0, "y": [1, 2]},
        "itemStyle": {"color": COLOURS[number % len(COLOURS)]},
        "data": data,
    }


def _scatter(chart: Chart) -> dict[str, Any]:
    names = _names(chart)
    options = _base(names)
    options["xAxis"] = _axis(axis_label(chart.x), "log" if "x" in chart.log else "value", nameGap=28, scale=True)
    if chart.categories is not None:
        options["xAxis"] = _axis(axis_label(chart.x), "category", nameGap=28, data=chart.categories)
    options["yAxis"] = _vertical(chart)
    options["series"] = [
        {
            "type": "scatter",
            "name": name,
            "symbolSize": 9,
            "data": [{"value": [point.x, point.y], "name": point.trial or ""} for point in one.points],
            **_style(number),
        }
        for number, (name, one) in enumerate(zip(names, chart.series, strict=True))
    ]
    return options


def _bars(chart: Chart) -> dict[str, Any]:
    if chart.categories is None:  # the bars are the settings themselves
        names, categories = [axis_label(chart.field)], _names(chart)
        columns = [{float(number): one.points[0] for number, one in enumerate(chart.series) if one.points}]
        label = legend_title(chart)
    else:
        names, categories = _names(chart), chart.categories
        columns = [{point.x: point for point in one.points} for one in chart.series]
        label = axis_label(chart.x)
    options = _base(names)
    options["xAxis"] = _axis(label, "category", nameGap=28, data=categories)
    if len(categories) * max(map(len, categories)) > MAX_LABELS:
        options["xAxis"]["axisLabel"] |= {"rotate": 28, "interval": 0, "width": 190, "overflow": "truncate"}
        options["grid"] |= {"bottom": 110, "left": 110}
        options["xAxis"]["nameGap"] = 92
    options["yAxis"] = _vertical(chart)
    series: list[dict[str, Any]] = []
    for number, (name, points) in enumerate(zip(names, columns, strict=True)):
        values = [points[float(at)].y if at in points else None for at in range(len(categories))]
        series.append({"type": "bar", "name": name, "data": values, "barMaxWidth": 60, **_style(number)})
    for number, (name, points) in enumerate(zip(names, columns, strict=True)):
        whiskers = [[at, one.low, one.high] for at, one in points.items() if one.low is not None]
        if whiskers:
            script = _WHISKER.replace("COUNT", str(len(names))).replace("NUMBER", str(number))
            series.append(_custom(name, number, script, whiskers) | {"z": 3})
    return options | {"series": series}


def _heatmap(chart: Chart) -> dict[str, Any]:
    values = [point.y for one in chart.series for point in one.points]
    options = _base([])
    options["grid"] |= {"left": 90, "right": 90}
    options["xAxis"] = _axis(axis_label(chart.x), "category", nameGap=28, data=chart.categories)
    options["yAxis"] = _axis(legend_title(chart), "category", nameGap=70, data=_names(chart))
    options["visualMap"] = {
        "min": min(values),
        "max": max(values),
        "calculable": True,
        "precision": 4,
        "right": 0,
        "top": "center",
        "textStyle": {"color": _MUTED},
        "inRange": {"color": ["#440154", "#3b528b", "#21918c", "#5ec962", "#fde725"]},
    }
    cells = [[point.x, row, point.y] for row, one in enumerate(chart.series) for point in one.points]
    options["series"] = [{"type": "heatmap", "name": axis_label(chart.field), "data": cells}]
    return options


_KINDS: Mapping[str, Callable[[Chart], dict[str, Any]]] = {
    "curves": _curves,
    "scatter": _scatter,
    "bars": _bars,
    "heatmap": _heatmap,
}


def line_options(name: str, points: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """Return the options for a small chart of one column of the rows of a trial."""
    options = _base([])
    options["grid"] = {"left": 56, "right": 14, "top": 14, "bottom": 26}
    options["tooltip"] |= {"trigger": "axis"}
    options["xAxis"] = _axis("", "value", scale=True)
    options["yAxis"] = _axis("", "value", scale=True)
    data = [list(point) for point in points]
    options["series"] = [{"type": "line", "name": name, "showSymbol": len(data) < 3, "data": data, **_style(0)}]
    return options


def parallel_options(trials: Trials, fields: Sequence[str]) -> dict[str, Any]:
    """Return one axis for each field, and one line for each trial that has them all.

    The lines have the colour of their value of the last field, if it has numbers.

    Raises:
        UnknownName: There is no such field.
        InvalidValue: There are fewer than two fields, or too many trials.
    """
    if len(fields) < 2:
        raise InvalidValue("parallel coordinates need two fields", given=list(fields), todo="Choose more columns.")
    if len(trials) > MAX_PARALLEL:
        raise InvalidValue(
            f"these are {len(trials):,} trials, and at most {MAX_PARALLEL:,} lines are drawn",
            given=len(trials),
            todo="Add a condition, such as config.rate<0.3.",
        )
    trials.columns(*fields)
    columns = [_column(trials, name) for name in fields]
    axes = [
        _parallel_axis(number, name, values) for number, (name, values) in enumerate(zip(fields, columns, strict=True))
    ]
    lines = []
    for row in zip(trials, *columns, strict=True):
        trial, *values = row
        if all(value is not None for value in values):
            pairs = zip(axes, values, strict=True)
            shown = [value if axis["type"] == "value" else format_cell(value) for axis, value in pairs]
            lines.append({"value": shown, "name": f"{trial.execution}/{trial.uid}"})
    if not lines:
        raise InvalidValue("no trial has all of these fields", given=list(fields), todo="Choose other columns.")
    options = _base([])
    options["parallelAxis"] = axes
    options["parallel"] = {"left": 60, "right": 90, "top": 40, "bottom": 30}
    if axes[-1]["type"] == "value":
        last = [line["value"][-1] for line in lines]
        options["visualMap"] = {
            "show": False,
            "dimension": len(fields) - 1,
            "min": min(last),
            "max": max(last),
            "inRange": {"color": ["#0072b2", "#8a94a6", "#d55e00"]},
        }
    options["series"] = [
        {
            "type": "parallel",
            "data": lines,
            "lineStyle": {"width": 1.5, "opacity": 0.7 if len(lines) < 200 else 0.25},
        }
    ]
    return options


def _column(trials: Trials, name: str) -> list[Any]:
    field = find_field(name)
    assert field is not None
    found = [None if value is MISSING else value for value in field.values(list(trials))]
    # Infinity has no place on an axis.
    return [None if isinstance(value, float) and not math.isfinite(value) else value for value in found]


def _parallel_axis(number: int, name: str, values: Sequence[Any]) -> dict[str, Any]:
    given = [value for value in values if value is not None]
    axis = {
        "dim": number,
        "name": axis_label(name),
        "nameTextStyle": {"color": _MUTED, "fontSize": 12},
        "axisLabel": {"color": _MUTED},
        "axisLine": {"lineStyle": {"color": _MUTED}},
    }
    if given and all(map(is_number, given)):
        return axis | {"type": "value", "scale": True}
    return axis | {"type": "category", "data": list(dict.fromkeys(map(format_cell, given)))}
