"""A page about executions, for people who would rather look than read: tables, curves, failures, code and packages.

Curves as SVG: lines with axes, ticks and colours, in a text that any browser shows.
A page of HTML that stands alone: its style and a few lines of script are in it, and it asks for nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

from machinable.display.summary import Line, Side, short_names, side_by_side, side_table
from machinable.display.tables import Table, cell, exact, settings_text
from machinable.units import format_duration

if TYPE_CHECKING:
    from machinable.results.execution import Execution
    from machinable.results.trial import Trial

__all__ = [
    "Curve",
    "chart",
    "colour",
    "details",
    "facts",
    "page",
    "preformatted",
    "report",
    "section",
    "table",
    "ticks",
]

WIDTH, HEIGHT = 560, 300
LEFT, RIGHT, TOP, BOTTOM = 64, 12, 28, 40
POINTS = 400  # of one line that are drawn; more cannot be seen

# Colours that people with colour blindness can tell apart too (Okabe and Ito, 2008), then the same again in dashes.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f")
_DASHES = ("", "6 3", "2 2", "8 3 2 3")


class Curve(NamedTuple):
    """A line: its points, the number of its group, which decides its colour, and what it is called."""

    points: Sequence[tuple[float, float]]
    group: int
    name: str


def colour(group: int) -> tuple[str, str]:
    """Colour and dashes of a group."""
    return _COLOURS[group % len(_COLOURS)], _DASHES[group // len(_COLOURS) % len(_DASHES)]


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers from low to high, about that many."""
    if not high > low:
        return [low]
    rough = (high - low) / about
    if rough <= 0 or math.isinf(high - low):  # too near for numbers between them, or too far
        return [low, high]
    power = 10.0 ** math.floor(math.log10(rough))
    if power == 0.0:
        return [low, high]
    step = next((factor * power for factor in (1, 2, 5) if factor * power >= rough), 10 * power)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def chart(title: str, horizontal: str, curves: Sequence[Curve]) -> str:
    """A chart of curves; points that are no finite numbers are gaps.

    Args:
        title: above it. horizontal: what the first numbers of the points are.
    """
    finite = [point for curve in curves for point in curve.points if all(map(math.isfinite, point))]
    if not finite:
        return f'<figure><figcaption>{escape(title)}</figcaption><p class="empty">no finite numbers</p></figure>'
    across = _Scale([x for x, _ in finite], LEFT, WIDTH - RIGHT)
    up = _Scale([y for _, y in finite], HEIGHT - BOTTOM, TOP)
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">',
        f'<text x="{LEFT}" y="16" class="title">{escape(title)}</text>',
        *_axes(across, up, horizontal),
        *(line for curve in curves for line in _line(curve, across, up)),
        "</svg>",
    ]
    return "<figure>" + "\n".join(parts) + "</figure>"


class _Scale:
    """From numbers to places on the page."""

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        self.low, self.high = min(values), max(values)
        if self.low == self.high:
            pad = abs(self.low) * 0.05 or 0.5
            self.low, self.high = self.low - pad, self.high + pad
        self._start, self._length = start, end - start

    def place(self, value: float) -> float:
        share = (value / 2 - self.low / 2) / (
            self.high / 2 - self.low / 2
        )  # halves: the range may be beyond all floats
        return self._start + share * self._length


def _axes(across: _Scale, up: _Scale, horizontal: str) -> Iterator[str]:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    for value in ticks(up.low, up.high):
        y = up.place(value)
        yield f'<line x1="{LEFT}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}" class="grid"/>'
        yield f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_number(value)}</text>'
    for value in ticks(across.low, across.high, 6):
        x = across.place(value)
        yield f'<line x1="{x:.1f}" y1="{bottom}" x2="{x:.1f}" y2="{bottom + 4}" class="axis"/>'
        yield f'<text x="{x:.1f}" y="{bottom + 17}" text-anchor="middle">{_number(value)}</text>'
    yield f'<path d="M{LEFT} {TOP}V{bottom}H{right}" class="axis"/>'
    yield f'<text x="{(LEFT + right) / 2:.1f}" y="{HEIGHT - 6}" text-anchor="middle">{escape(horizontal)}</text>'


def _number(value: float) -> str:
    return f"{value:.4g}"


def _line(curve: Curve, across: _Scale, up: _Scale) -> Iterator[str]:
    stroke, dashes = colour(curve.group)
    style = f'stroke="{stroke}"' + (f' stroke-dasharray="{dashes}"' if dashes else "")
    title = f"<title>{escape(curve.name)}</title>"
    for piece in _pieces(curve.points):
        places = [(across.place(x), up.place(y)) for x, y in _thinned(piece)]
        if len(places) == 1:
            yield f'<circle cx="{places[0][0]:.1f}" cy="{places[0][1]:.1f}" r="3" fill="{stroke}">{title}</circle>'
        else:
            shown = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
            yield f'<polyline points="{shown}" class="curve" {style}>{title}</polyline>'


def _pieces(points: Iterable[tuple[float, float]]) -> Iterator[list[tuple[float, float]]]:
    """Runs of points that are finite numbers."""
    piece: list[tuple[float, float]] = []
    for point in points:
        if all(map(math.isfinite, point)):
            piece.append(point)
        elif piece:
            yield piece
            piece = []
    if piece:
        yield piece


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Of many points those that decide what a line looks like: the lowest and the highest of each stretch."""
    if len(points) <= POINTS:
        return points
    length = 2 * len(points) / POINTS
    kept = [points[0]]
    for number in range(POINTS // 2):
        stretch = points[int(number * length) : int((number + 1) * length)]
        ends = {min(stretch, key=lambda point: point[1]), max(stretch, key=lambda point: point[1])}
        kept += sorted(ends)
    return [*kept, points[-1]]


STYLE = """\
:root { color-scheme: light dark; --faint: color-mix(in srgb, currentColor 18%, transparent); }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; } h3 { font-size: 1rem; }
table { border-collapse: collapse; display: block; max-width: 100%; overflow-x: auto; }
th, td { border-bottom: 1px solid var(--faint); padding: .25rem .7rem; text-align: left; vertical-align: top; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
table.sortable th { cursor: pointer; } th[data-order="1"]::after { content: " ▲"; }
th[data-order="-1"]::after { content: " ▼"; }
code, pre, .mono { font-family: ui-monospace, monospace; font-size: .9em; }
pre { background: var(--faint); overflow-x: auto; padding: .7rem; }
.charts { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(24rem, 1fr)); }
figure { margin: 0; } svg { height: auto; width: 100%; }
svg text { fill: currentColor; font-size: 12px; } svg .title { font-weight: 600; font-size: 13px; }
svg .grid { stroke: var(--faint); } svg .axis { fill: none; stroke: currentColor; }
svg .curve { fill: none; stroke-opacity: .8; stroke-width: 1.6; }
.legend { display: flex; flex-wrap: wrap; gap: .3rem 1.4rem; list-style: none; padding: 0; }
.legend svg { height: 10px; vertical-align: middle; width: 28px; }
.finished, .reused { color: #14833b; } .failed, .blocked { color: #c9302c; } .running { color: #0072b2; }
.interrupted, .pending, .skipped, .partial { color: #b36b00; }
"""

# A click on a heading sorts by its column, another one backwards; numbers as numbers, empty cells last.
SCRIPT = """\
document.querySelectorAll("table.sortable").forEach(table => {
  const body = table.tBodies[0];
  const key = (row, i) => row.cells[i].textContent;
  table.querySelectorAll("th").forEach((head, i) => head.addEventListener("click", () => {
    const order = head.dataset.order === "1" ? -1 : 1;
    table.querySelectorAll("th").forEach(other => delete other.dataset.order);
    head.dataset.order = order;
    const compare = (a, b) => {
      const x = key(a, i), y = key(b, i);
      if (!x || !y) return (x ? 0 : 1) - (y ? 0 : 1);
      const m = parseFloat(x), n = parseFloat(y);
      return order * (head.className === "number" && !isNaN(m - n) ? m - n : x.localeCompare(y));
    };
    [...body.rows].sort(compare).forEach(row => body.append(row));
  }));
});
"""


def page(title: str, parts: Iterable[str]) -> str:
    """A whole page. The parts are HTML; nothing but our own script can run in it.

    Args:
        title: text.
    """
    allowed = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{allowed}'"
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title>",
            f"<style>\n{STYLE}</style>",
            "</head>",
            "<body>",
            f"<h1>{escape(title)}</h1>",
            *parts,
            f"<script>{SCRIPT}</script>",
            "</body>",
            "</html>",
            "",
        ]
    )


def section(heading: str, *parts: str) -> str:
    """A heading, which is text, and HTML below it."""
    return f"<section><h2>{escape(heading)}</h2>{''.join(parts)}</section>"


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, numeric: Sequence[bool], sortable: bool) -> str:
    """A table of texts.

    Args:
        numeric: which columns are numbers. sortable: whether a click on a heading sorts.
    """
    kinds = [' class="number"' if one else "" for one in numeric]
    head = "".join(f"<th{kind}>{escape(text)}</th>" for text, kind in zip(headings, kinds, strict=True))
    body = "".join(
        "<tr>" + "".join(_cell(text, kind) for text, kind in zip(row, kinds, strict=True)) + "</tr>\n" for row in rows
    )
    return (
        f"<table{' class=sortable' if sortable else ''}><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table>"
    )


_STATES = frozenset(
    {"finished", "failed", "interrupted", "pending", "running", "reused", "blocked", "skipped", "partial"}
)


def _cell(text: str, kind: str) -> str:
    return f'<td class="{text}">{text}</td>' if text in _STATES else f"<td{kind}>{escape(text)}</td>"


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Names and values, a line each; those without a value are left out."""
    rows = "".join(f"<tr><th>{escape(name)}</th>{_cell(value, '')}</tr>" for name, value in pairs if value)
    return f"<table><tbody>{rows}</tbody></table>"


def preformatted(text: str) -> str:
    """A text as it is."""
    return f"<pre>{escape(text)}</pre>"


def details(summary: str, inside: str) -> str:
    """HTML that is shown when somebody asks for it."""
    return f"<details><summary>{escape(summary)}</summary>{inside}</details>"


CURVES = 200  # trials, as evenly from the groups as can be; more lines cannot be told apart
CHARTS = 60
ROWS = 5000  # of the table of trials
FAILURES = 50

_NUMBER = re.compile(r"[-+]?(?:[0-9.]+(?:e[-+]?[0-9]+)?|nan|inf)(?: ± .*)?")


def report(executions: Sequence[Execution], sides: Sequence[Side], written: str) -> str:
    """The page, a whole document of HTML.

    Args:
        executions: those that it is about, at least one. sides: the trials that are shown, of each or chosen ones.
        written: the time, as text.
    """
    lines = side_by_side(sides)
    trials = {(side.execution, trial.uid): trial for side in sides for trial in side.trials}
    names = [" ".join(filter(None, (str(execution), execution.name))) for execution in executions]
    return page(
        " · ".join(names),
        [
            *(_execution(execution) for execution in executions),
            section("Summary", _table(side_table(lines), sortable=False)),
            *_curves(lines, trials),
            section("Trials", *_trials(lines, trials)),
            *_failures(list(trials.values())),
            section("Environment", *(_environment(execution) for execution in executions)),
            f"<p><small>written {escape(written)}</small></p>",
        ],
    )


def _table(found: Table, *, sortable: bool) -> str:
    numeric = [_is_numeric([row[i] for row in found.rows]) for i in range(len(found.headings))]
    return table(found.headings, found.rows, numeric=numeric, sortable=sortable)


def _is_numeric(cells: Sequence[str]) -> bool:
    filled = [text for text in cells if text]
    return bool(filled) and all(map(_NUMBER.fullmatch, filled))


def _execution(execution: Execution) -> str:
    data = execution.data
    code, host, engine = (data.get(part) or {} for part in ("code", "host", "engine"))
    states = [trial.status for trial in execution.trials]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    return section(
        str(execution),
        facts(
            [
                ("status", execution.status),
                ("trials", f"{len(states)}: {counts}" if states else "none"),
                ("started", f"{execution.started[:19].replace('T', ' ')} UTC"),
                ("seed", str(execution.seed)),
                ("storage", execution.storage),
                ("project", data.get("project") or ""),
                ("engine", engine.get("type") or ""),
                ("host", " ".join(str(part) for part in (host.get("user"), "on", host.get("name")) if part)),
                ("command", host.get("command") or ""),
                ("commit", _commit(code)),
                ("code backup", code.get("backup") or ""),
            ]
        ),
    )


def _commit(code: Mapping[str, Any]) -> str:
    if not code.get("commit"):
        return ""
    changed = ", with changes that are not committed" if code.get("dirty") else ""
    return f"{code['commit']} on {code.get('branch') or 'no branch'}{changed}"


def _called(line: Line) -> str:
    """A group as a legend calls it."""
    return " ".join(
        filter(
            None, (line.side.execution, line.side.trial or "", line.group.component, settings_text(line.group.settings))
        )
    )


# --- trials


def _trials(lines: Sequence[Line], trials: Mapping[tuple[str, str], Trial]) -> Iterator[str]:
    rows = [row for line in lines for row in line.rows]
    if not rows:
        yield "<p>none</p>"
        return
    fields = [field for field in rows[0] if not field.startswith("tags.")]  # they have a column of their own
    names = short_names(fields)
    headings = [*(names[field] for field in fields), "seconds", "tags"]
    cells = []
    for row in rows[:ROWS]:
        trial = trials[row["execution"], row["uid"]]
        shown = [_shown(field, row[field]) for field in fields]
        cells.append([*shown, cell(trial.seconds), settings_text(trial.tags)])
    kept = [i for i in range(len(headings)) if headings[i] != "tags" or any(row[i] for row in cells)]
    yield _table(Table([headings[i] for i in kept], [[row[i] for i in kept] for row in cells]), sortable=True)
    if len(rows) > ROWS:
        yield f"<p>… and {len(rows) - ROWS:,} more trials</p>"


def _shown(field: str, value: Any) -> str:
    return exact(value) if field.startswith("config.") and value is not None else cell(value)


# --- curves


def _curves(lines: Sequence[Line], trials: Mapping[tuple[str, str], Trial]) -> Iterator[str]:
    """Charts of all columns of numbers, with a line for each trial in the colour of its group."""
    found: dict[tuple[str, str], list[Curve]] = {}
    axes: dict[tuple[str, str], str] = {}
    drawn: set[int] = set()
    each = max(1, CURVES // max(1, len(lines)))
    for number, line in enumerate(lines):
        for row in line.rows[:each]:
            trial = trials[row["execution"], row["uid"]]
            for scope in trial.records.scopes:
                for column, axis, points in _columns(trial.records(scope).rows):
                    axes.setdefault((scope, column), axis)
                    curve = Curve(points, number, f"{_called(line)} {trial.uid}")
                    found.setdefault((scope, column), []).append(curve)
                    drawn.add(number)
    # A column with one value a trial is in the tables already.
    charts = {key: curves for key, curves in found.items() if any(len(curve.points) > 1 for curve in curves)}
    if not charts:
        return
    shown = [
        chart(column if scope == "default" else f"{scope}: {column}", axes[scope, column], curves)
        for (scope, column), curves in list(charts.items())[:CHARTS]
    ]
    legend = "".join(
        f"<li>{_sample(number)} {escape(_called(line))}</li>" for number, line in enumerate(lines) if number in drawn
    )
    more = f"<p>… and {len(charts) - CHARTS} more columns</p>" if len(charts) > CHARTS else ""
    if any(len(line.rows) > each for line in lines):
        more += f"<p>The first {each} trials of each group are drawn.</p>"
    yield section("Curves", f'<ul class="legend">{legend}</ul><div class="charts">', *shown, "</div>", more)


def _sample(group: int) -> str:
    stroke, dashes = colour(group)
    line = f'<path d="M0 5H28" stroke="{stroke}" stroke-dasharray="{dashes}" stroke-width="3"/>'
    return f'<svg viewBox="0 0 28 10">{line}</svg>'


def _columns(rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str, list[tuple[float, float]]]]:
    """Each column of numbers, what is across, and its points."""
    across = "_iteration" if rows and all(_is_number(row.get("_iteration")) for row in rows) else None
    for column in dict.fromkeys(column for row in rows for column in row if not column.startswith("_")):
        values = [row.get(column) for row in rows]
        if any(map(_is_number, values)) and all(value is None or _is_number(value) for value in values):
            points = [
                (float(row[across]) if across else float(index), _float(value))
                for index, (row, value) in enumerate(zip(rows, values, strict=True))
                if value is not None
            ]
            yield column, "iteration" if across else "row", points


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # a whole number beyond all floats
        return float("inf")


# --- failures and environment


def _failures(trials: Sequence[Trial]) -> Iterator[str]:
    failed = [trial for trial in trials if trial.status == "failed"]
    parts = []
    for trial in failed[:FAILURES]:
        error = trial.error or {"type": "unknown"}
        headline = f"{trial.component} {trial.uid}: {error.get('type')}: {(error.get('message') or '').strip()}"
        parts.append(f"<h3>{escape(headline.partition(chr(10))[0])}</h3>")
        config = trial.config.to_dict(evaluate=False, hidden=False)
        parts.append(f'<p class="mono">{escape(settings_text(config))}</p>' if config else "")
        parts.append(preformatted((error.get("traceback") or error.get("message") or "").rstrip()))
    if len(failed) > FAILURES:
        parts.append(f"<p>… and {len(failed) - FAILURES:,} more</p>")
    if parts:
        yield section("Failures", *parts)


def _environment(execution: Execution) -> str:
    data = execution.data
    packages = data.get("packages") or {}
    diff = execution.code_diff
    seconds = [trial.seconds for trial in execution.trials if trial.seconds is not None]
    parts = [
        f"<h3>{escape(str(execution))}</h3>",
        facts(
            [
                ("python", data.get("python") or ""),
                ("platform", data.get("platform") or ""),
                ("all trials together", format_duration(sum(seconds)) if seconds else ""),
            ]
        ),
        details(f"{len(packages)} packages", facts((name, str(version)) for name, version in packages.items())),
    ]
    if diff is not None:
        parts.append(details("changes that were not committed", preformatted(diff.decode("utf-8", "replace"))))
    return "".join(parts)
