"""Draw charts with matplotlib, in a style for papers. Needs the extra `plot`; imported when a figure is drawn."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from itertools import pairwise
from typing import Any

from machinable.errors import InvalidValue, NotAvailable, UnknownName, warn
from machinable.results.chart import (
    COLOURS,
    MAX_SERIES,
    Chart,
    Point,
    Series,
    axis_label,
    legend_title,
    number_text,
)
from machinable.results.query import is_number

try:
    import matplotlib.figure
except ImportError as error:
    todo = "Install it: pip install 'machinable-engine[plot]'"
    raise NotAvailable("a figure needs matplotlib", todo=todo) from error

__all__ = ["Figure", "draw", "figure"]

COLUMN = (3.4, 2.3)  # inches: a column of a page with two, and a common ratio
STYLE: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.formatter.limits": (-4, 5),
    "axes.formatter.use_mathtext": True,
    "axes.grid": True,
    "axes.labelsize": 8,
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.constrained_layout.use": True,
    "figure.dpi": 150,
    "font.family": "DejaVu Sans",  # matplotlib contains it, so that a figure does not depend on what is installed
    "font.size": 8,
    "grid.color": "#e3e6ec",
    "grid.linewidth": 0.5,
    "legend.borderaxespad": 0.3,
    "legend.columnspacing": 1.2,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "legend.handlelength": 1.8,
    "legend.handletextpad": 0.5,
    "legend.labelspacing": 0.3,
    "legend.title_fontsize": 7,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.5,
    "pdf.fonttype": 42,  # fonts are embedded as such: publishers refuse the other type
    "savefig.dpi": 300,
    "svg.fonttype": "path",
    "svg.hashsalt": "machinable",  # without one, the ids in a drawing are random
    "xtick.labelsize": 7,
    "xtick.major.width": 0.6,
    "ytick.labelsize": 7,
    "ytick.major.width": 0.6,
}
# The same picture is the same bytes.
METADATA: dict[str, dict[str, Any]] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {}}
_DASHES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1, 1)), (0, (5, 1.5, 1, 1.5)))
_MARKERS = "os^Dv"
Stroke = tuple[Any, Any, str]  # colour, dashes, marker
_HATCHES = ("", "///", "...", "xxx")
_SHORT_NAME, _LONGEST_NAME = 14, 32  # characters in a legend: what fits into the axes, and what is cut
_INSIDE = 4  # names in a legend within the axes
_BY_COLOUR_MAP = len(COLOURS)  # numbers with more values have a colour bar in place of a legend
_WITH_BARS = 12  # points of a curve that are marked, with their intervals as bars
_WITH_NAMES = 7  # values of a setting that are marked on a logarithmic axis
_WITH_NUMBERS = 8  # cells of a heat map in a row that have their number


class Figure(matplotlib.figure.Figure):
    """A figure of matplotlib in a style for papers, which writes the same bytes each time.

    Attributes:
        charts: What it shows, as data.
    """

    charts: Sequence[Chart] = ()

    def savefig(self, fname: Any, **options: Any) -> None:
        """Write the figure, see `matplotlib.figure.Figure.savefig`; fonts are embedded, and no time is written."""
        extension = options.get("format") or os.path.splitext(str(fname))[1][1:].lower()
        with _styled({}):
            super().savefig(fname, **{"metadata": METADATA.get(extension), **options})

    def _repr_png_(self) -> bytes:
        return self.content("png", dpi=160)

    def content(self, extension: str, **options: Any) -> bytes:
        """Return the bytes of a file.

        Args:
            extension: `pdf`, `svg` or `png`.
            options: Of `savefig`.
        """
        buffer = BytesIO()
        self.savefig(buffer, format=extension, **options)
        return buffer.getvalue()


@contextmanager
def _styled(style: Mapping[str, Any]) -> Iterator[None]:
    """Use our style, not that of the user's matplotlibrc, and report characters without a glyph once."""
    import matplotlib.style

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with matplotlib.style.context(["default", STYLE, dict(style)]):
            yield
    lacking = [one for one in caught if "missing from font" in str(one.message)]
    for one in caught:
        if one not in lacking:
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
    if lacking:
        warn("the font lacks characters of the labels; name one that has them: style={'font.family': …}")


def figure(
    charts: Sequence[Chart], size: Sequence[float] | None = None, style: Mapping[str, Any] | None = None
) -> Figure:
    """Return a figure of charts, one below the other.

    Args:
        charts: What to draw.
        size: Width and height in inches. By default one column of a page, with the same height for each chart and space
            for the legend.
        style: Settings of matplotlib (`rcParams`) over ours.

    Raises:
        InvalidValue: There is no such size, or matplotlib refuses a value of the style.
        UnknownName: matplotlib has no such setting.
    """
    width, height = _checked_size(size)
    outer = [chart for chart in charts if _is_outer(_named(chart))]
    is_shared = len({tuple(one.name for one in chart.series) for chart in charts}) == 1 and len(charts) > 1
    with _styled(_checked_style(style)):
        made = Figure(figsize=(width, height or 1))
        made.charts = tuple(charts)
        if height is None:
            rows = _legend_rows(outer[0], width) if outer else 0
            made.set_size_inches(width, sum(_height(chart, width) for chart in charts) + 0.14 * rows)
        places = made.subplots(len(charts), squeeze=False)[:, 0]
        for number, (chart, axes) in enumerate(zip(charts, places, strict=True)):
            draw(
                chart,
                axes,
                with_legend=number == 0 or not is_shared,
                outside=bool(outer) and (is_shared or len(charts) == 1),
            )
    return made


def _height(chart: Chart, width: float) -> float:
    """Return the inches that a chart needs."""
    height = COLUMN[1] / COLUMN[0] * min(width, 5)
    return max(height, 0.6 + 0.17 * len(chart.categories or ())) if _is_horizontal(chart, width) else height


def _checked_style(style: Mapping[str, Any] | None) -> Mapping[str, Any]:
    known = matplotlib.rcParams.validate
    for name, value in (style or {}).items():
        if name not in known:
            raise UnknownName("setting of matplotlib", name, known)
        try:
            known[name](value)
        except (ValueError, TypeError) as error:
            raise InvalidValue(f"style has {name}: {value!r}, and {error}", given=value) from error
    return style or {}


def _checked_size(size: Sequence[float] | None) -> tuple[float, float | None]:
    if size is None:
        return COLUMN[0], None
    is_size = isinstance(size, Sequence) and not isinstance(size, str) and len(size) == 2 and all(map(is_number, size))
    if not is_size or not all(0.5 <= one <= 100 for one in size):
        todo = f"Give width and height in inches, from 0.5 to 100: size={COLUMN}."
        raise InvalidValue(f"{size!r} is not the size of a figure", given=size, todo=todo)
    return size[0], size[1]


def draw(chart: Chart, axes: Any, *, with_legend: bool = True, outside: bool = False) -> None:
    """Draw a chart into axes of matplotlib.

    Args:
        chart: What to draw.
        axes: `matplotlib.axes.Axes`.
        with_legend: Whether to name the series.
        outside: Whether the legend may be above the axes.
    """
    from matplotlib.ticker import MaxNLocator

    if chart.kind == "heatmap":
        _draw_heatmap(chart, axes)
        return
    shown = chart.series if _has_colour_map(chart) else chart.series[:MAX_SERIES]
    strokes = _strokes(chart, axes)
    draw_kind = {"curves": _draw_curves, "bars": _draw_bars, "scatter": _draw_scatter}[chart.kind]
    handles = draw_kind(chart, axes, list(zip(shown, strokes, strict=False)))
    smoothed = f" (smoothed, {chart.smooth:g})" if chart.smooth else ""
    names = chart.settings if chart.kind == "bars" and not chart.x else [chart.x]
    labels = [_text(", ".join(map(axis_label, names))), _text(axis_label(chart.field) + smoothed)]
    ends = [(axes.xaxis, "x"), (axes.yaxis, "y")]
    if chart.kind == "bars" and _is_horizontal(chart, axes.get_figure().get_figwidth()):
        ends.reverse()
    for (axis, direction), label, name in zip(ends, labels, "xy", strict=True):
        axis.set_label_text(label)
        if name in chart.log:
            getattr(axes, f"set_{direction}scale")("log")
            _mark_logarithm(axis, axes.get_xlim() if direction == "x" else axes.get_ylim())
    if chart.categories is None and "x" not in chart.log:
        if all(float(point.x).is_integer() for one in shown for point in one.points):
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
        if chart.kind == "curves":
            axes.margins(x=0.06 if _is_marked(chart) else 0.02)
    if chart.kind == "curves" and "x" in chart.log and _is_marked(chart):
        _mark_values(axes, sorted({point.x for one in shown for point in one.points}))
    if with_legend and (named := _named(chart)):
        _add_legend(chart, axes, handles[: len(named)], outside)


def _mark_logarithm(axis: Any, limits: Sequence[float]) -> None:
    """Mark plain numbers where an axis is shorter than a power of ten."""
    if min(limits) > 0 and max(limits) < 10 * min(limits):
        axis.set_major_formatter(_plain_number)
        axis.set_minor_formatter(_plain_number)
        if math.log10(max(limits) / min(limits)) > 0.6:
            axis.get_minor_locator().set_params(subs=(2, 5))


def _plain_number(value: float, _: object) -> str:
    return number_text(value)


def _mark_values(axes: Any, values: Sequence[float]) -> None:
    """Mark a few values of a setting themselves on a logarithmic axis, if their names do not overlap."""
    positive = [value for value in values if value > 0]
    if 1 < len(positive) <= _WITH_NAMES and min(b / a for a, b in pairwise(positive)) >= 1.5:
        axes.set_xticks(positive, list(map(number_text, positive)))
        axes.set_xticks([], minor=True)


def _named(chart: Chart) -> list[Series]:
    """Return the series that a legend names: those that are drawn, if there is something to distinguish."""
    if chart.kind == "heatmap" or _has_colour_map(chart) or len(chart.series) < 2:
        return []
    return chart.series[:MAX_SERIES]


def _is_outer(named: Sequence[Series]) -> bool:
    return len(named) > _INSIDE or any(len(one.name) > _SHORT_NAME for one in named)


def _legend_columns(named: Sequence[Series], width: float) -> int:
    """Return how many names are beside each other in a width of inches, in rows of similar length."""
    each = _text_width([_cut(one.name) for one in named], STYLE["legend.fontsize"]) + 26  # with a sample of the line
    fitting = max(1, min(len(named), int(width * 72 / each)))
    return math.ceil(len(named) / math.ceil(len(named) / fitting))


def _text_width(texts: Iterable[str], size: float) -> float:
    """Return the width of the longest text in points."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    font = FontProperties(family=matplotlib.rcParams["font.family"], size=size)
    return max((TextPath((0, 0), _text(text), prop=font).get_extents().width for text in texts if text), default=0)


def _legend_rows(chart: Chart, width: float) -> int:
    named = _named(chart)
    more = bool(legend_title(chart)) + (len(chart.series) > len(named))
    return math.ceil(len(named) / _legend_columns(named, width)) + more


def _add_legend(chart: Chart, axes: Any, handles: Sequence[Any], outside: bool) -> None:
    named = _named(chart)
    names = [_text(_cut(one.name)) for one in named]
    title = _text(legend_title(chart)) or None
    if len(chart.series) > len(named):
        title = f"{title or ''} (the first {len(named)} of {len(chart.series)})".strip()
    if not outside:
        axes.legend(handles, names, title=title, loc="best")
        return
    figure = axes.get_figure()
    columns = _legend_columns(named, figure.get_figwidth())
    figure.legend(handles, names, title=title, loc="outside upper center", ncols=columns)


def _text(text: str) -> str:
    """Return text as matplotlib shows it: no formulas, and a label that begins with _ is not hidden."""
    escaped = text.replace("$", r"\$")
    return f" {escaped}" if escaped.startswith("_") else escaped


def _cut(name: str, length: int = _LONGEST_NAME) -> str:
    """Return a long name without its middle, because names often differ at their ends."""
    if len(name) <= length:
        return name
    half = (length - 1) // 2
    return f"{name[:half]}…{name[-half:]}"


# --- colours


def _has_colour_map(chart: Chart) -> bool:
    """Return whether the series are numbers, of which there are too many for separate colours."""
    return (
        chart.kind in ("curves", "scatter")
        and len(chart.series) > _BY_COLOUR_MAP
        and len(chart.settings) == 1
        and all(is_number(one.values[0]) and math.isfinite(one.values[0]) for one in chart.series)
    )


def _strokes(chart: Chart, axes: Any) -> list[Stroke]:
    """Return colour, dashes and marker of each series, and add a colour bar if they are numbers."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LinearSegmentedColormap

    if not _has_colour_map(chart):
        return [
            (
                COLOURS[number % len(COLOURS)],
                _DASHES[number // len(COLOURS) % len(_DASHES)],
                _MARKERS[number % len(_MARKERS)],
            )
            for number in range(len(chart.series))
        ]
    values = [one.values[0] for one in chart.series]
    scale = _scale(values, is_log=min(values) > 0 and max(values) >= 100 * min(values))
    # Even for all kinds of colour vision; the lightest colours are invisible on white.
    dark = LinearSegmentedColormap.from_list("dark", matplotlib.colormaps["viridis"]([i / 255 for i in range(230)]))
    colours = ScalarMappable(scale, dark)
    _add_colour_bar(axes, colours, chart.settings[0])
    return [(colours.to_rgba(value), "-", "o") for value in values]


def _add_colour_bar(axes: Any, colours: Any, field: str) -> None:
    bar = axes.get_figure().colorbar(colours, ax=axes, label=_text(axis_label(field)), pad=0.02)
    bar.outline.set_visible(False)
    if bar.ax.get_yscale() == "log":
        _mark_logarithm(bar.ax.yaxis, bar.ax.get_ylim())


def _scale(values: Sequence[float], *, is_log: bool) -> Any:
    from matplotlib.colors import LogNorm, Normalize

    low, high = min(values), max(values)
    return LogNorm(low, high) if is_log else Normalize(low, high)


# --- kinds


def _is_marked(chart: Chart) -> bool:
    """Return whether the points of curves are marked: those of a few values of a setting."""
    return max(len(one.points) for one in chart.series) <= _WITH_BARS and not chart.x.startswith("_")


def _draw_curves(chart: Chart, axes: Any, shown: Sequence[tuple[Series, Stroke]]) -> list[Any]:
    from matplotlib.transforms import ScaledTranslation

    handles = []
    opacity = min(0.18, 0.8 / len(shown))
    for number, (one, (colour, dashes, marker)) in enumerate(shown):
        x, y = [point.x for point in one.points], [point.y for point in one.points]
        if _is_marked(chart) or len(x) == 1:
            aside = (number - (len(shown) - 1) / 2) * min(3.0, 12.0 / len(shown)) / 72  # so that intervals are visible
            place = axes.transData + ScaledTranslation(aside, 0, axes.get_figure().dpi_scale_trans)
            (line,) = axes.plot(x, y, color=colour, linestyle=dashes, marker=marker, transform=place)
            for point in one.points:
                _draw_interval(axes, point, point.x, colour, transform=place)
            ends = [(point.x, end) for point in one.points for end in (point.y, point.low, point.high)]
            # matplotlib ignores what has another transform
            axes.update_datalim([(at, end) for at, end in ends if end is not None and math.isfinite(end)])
            axes.autoscale_view()
        else:
            (line,) = axes.plot(x, y, color=colour, linestyle=dashes)
            low = [math.nan if point.low is None else point.low for point in one.points]
            high = [math.nan if point.high is None else point.high for point in one.points]
            axes.fill_between(x, low, high, color=colour, alpha=opacity, linewidth=0)
        handles.append(line)
    return handles


def _draw_interval(axes: Any, point: Point, at: float, colour: Any, *, across: bool = False, **more: Any) -> None:
    if point.low is None or point.high is None:
        return
    ends = [[point.y - point.low], [point.high - point.y]]
    look = {"fmt": "none", "ecolor": colour, "elinewidth": 0.8, "capsize": 1.8, **more}
    if across:
        axes.errorbar([point.y], [at], xerr=ends, **look)
    else:
        axes.errorbar([at], [point.y], yerr=ends, **look)


def _is_horizontal(chart: Chart, width: float) -> bool:
    """Return whether the names of bars are too long to be beside each other."""
    if chart.kind != "bars" or not chart.categories:
        return False
    longest = _text_width(map(_cut, chart.categories), STYLE["xtick.labelsize"])
    return (longest + 6) * len(chart.categories) > width * 0.82 * 72


def _draw_bars(chart: Chart, axes: Any, shown: Sequence[tuple[Series, Stroke]]) -> list[Any]:
    names = chart.categories or []
    beside: dict[float, list[int]] = {}
    for number, (one, _) in enumerate(shown):
        for point in one.points:
            beside.setdefault(point.x, []).append(number)
    width = 0.8 / max(map(len, beside.values()))
    across = _is_horizontal(chart, axes.get_figure().get_figwidth())
    handles = []
    for number, (one, (colour, _, _)) in enumerate(shown):
        points = [point for point in one.points if math.isfinite(point.y)]
        places = [
            point.x + (beside[point.x].index(number) - (len(beside[point.x]) - 1) / 2) * width for point in points
        ]
        hatch = _HATCHES[number // len(COLOURS) % len(_HATCHES)]
        bars = (axes.barh if across else axes.bar)(
            places,
            [point.y for point in points],
            width * 0.92,
            color=colour,
            hatch=hatch,
            edgecolor="white",
            linewidth=0,
        )
        handles.append(bars)
        for place, point in zip(places, points, strict=True):
            _draw_interval(axes, point, place, "#222222", across=across)
    axis = axes.yaxis if across else axes.xaxis
    axes.grid(visible=False, axis="y" if across else "x")
    axis.set_ticks(range(len(names)), [_text(_cut(name)) for name in names])
    axis.set_tick_params(length=0)
    if across:
        axes.invert_yaxis()
        axes.margins(y=0.02)
    return handles


def _draw_scatter(chart: Chart, axes: Any, shown: Sequence[tuple[Series, Stroke]]) -> list[Any]:
    many = sum(len(one.points) for one, _ in shown) > 200
    return [
        axes.scatter(
            [point.x for point in one.points],
            [point.y for point in one.points],
            s=6 if many else 14,
            color=colour,
            marker=marker,
            alpha=0.6 if many else 0.85,
            linewidths=0,
        )
        for one, (colour, _, marker) in shown
    ]


def _draw_heatmap(chart: Chart, axes: Any) -> None:
    names = chart.categories or []
    cells = [[math.nan] * len(names) for _ in chart.series]
    for row, one in zip(cells, chart.series, strict=True):
        for point in one.points:
            row[int(point.x)] = point.y if math.isfinite(point.y) else math.nan
    finite = [value for row in cells for value in row if not math.isnan(value) and (value > 0 or "y" not in chart.log)]
    scale = _scale(finite, is_log="y" in chart.log)
    axes.set_facecolor("#d9dce2")  # of cells without a value
    image = axes.imshow(cells, cmap="viridis", norm=scale, aspect="auto", origin="lower", interpolation="nearest")
    _add_colour_bar(axes, image, chart.field)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    _name_columns(axes.xaxis, names, axes.get_figure().get_figwidth() * 0.6)
    step = max(1, math.ceil(9 * len(cells) / (axes.get_figure().get_figheight() * 0.75 * 72)))
    axes.set_yticks(range(0, len(cells), step), [_text(_cut(one.name, 16)) for one in chart.series[::step]])
    axes.yaxis.set_tick_params(length=0)
    axes.set_xlabel(_text(axis_label(chart.x)))
    axes.set_ylabel(_text(axis_label(chart.settings[0])))
    if max(len(names), len(cells)) <= _WITH_NUMBERS:
        for at, row in enumerate(cells):
            for across, value in enumerate(row):
                if value == value:
                    light = "white" if scale(value) < 0.6 else "black"
                    axes.text(across, at, number_text(value), ha="center", va="center", color=light, fontsize=6)


def _name_columns(axis: Any, names: Sequence[str], width: float) -> None:
    """Name the columns of a heat map, upright if the names are long, and only some if there are many."""
    room = width * 72 / max(1, len(names))  # points for each name
    step = max(1, math.ceil(9 / room))
    shown = [_text(_cut(name, 16)) for name in names[::step]]
    rotation = 90 if _text_width(shown, STYLE["xtick.labelsize"]) + 4 > room * step else 0
    axis.set_ticks(range(0, len(names), step), shown, rotation=rotation)
    axis.set_tick_params(length=0)
