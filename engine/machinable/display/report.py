"""A page about executions, for people who would rather look than read: tables, curves, failures, code and packages."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from machinable.display.chart import Curve, chart, colour
from machinable.display.outcomes import short_names
from machinable.display.page import details, facts, page, preformatted, section, table
from machinable.display.progress import duration
from machinable.display.side_by_side import Line, Side, side_by_side, side_table
from machinable.display.tables import Table, cell, exact, settings_text

if TYPE_CHECKING:
    from machinable.results.execution import Execution
    from machinable.results.trial import Trial

__all__ = ["report"]

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
    return section(str(execution), facts([
        ("status", execution.status), ("trials", f"{len(states)}: {counts}" if states else "none"),
        ("started", f"{execution.started[:19].replace('T', ' ')} UTC"), ("seed", str(execution.seed)),
        ("storage", execution.storage), ("project", data.get("project") or ""), ("engine", engine.get("type") or ""),
        ("host", " ".join(str(part) for part in (host.get("user"), "on", host.get("name")) if part)),
        ("command", host.get("command") or ""), ("commit", _commit(code)), ("code backup", code.get("backup") or ""),
    ]))  # fmt: skip


def _commit(code: Mapping[str, Any]) -> str:
    if not code.get("commit"):
        return ""
    changed = ", with changes that are not committed" if code.get("dirty") else ""
    return f"{code['commit']} on {code.get('branch') or 'no branch'}{changed}"


def _called(line: Line) -> str:
    """A group as a legend calls it."""
    return " ".join(filter(None, (
        line.side.execution, line.side.trial or "", line.group.component, settings_text(line.group.settings)
    )))  # fmt: skip


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
        facts([
            ("python", data.get("python") or ""), ("platform", data.get("platform") or ""),
            ("all trials together", duration(sum(seconds)) if seconds else ""),
        ]),
        details(f"{len(packages)} packages", facts((name, str(version)) for name, version in packages.items())),
    ]  # fmt: skip
    if diff is not None:
        parts.append(details("changes that were not committed", preformatted(diff.decode("utf-8", "replace"))))
    return "".join(parts)
