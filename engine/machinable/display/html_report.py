"""A page about executions for a browser: facts, means, curves, trials, failures, code and packages.

It is one file that loads nothing else: its style and script are in it, and nothing but that script can run.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from machinable.display import charts
from machinable.display.charts import Chart, Curve, chart
from machinable.display.summary import Line, Side, short_names, side_by_side, side_table
from machinable.display.tables import Table, cell, counted, exact, headline, is_numeric, settings_text
from machinable.units import format_duration

if TYPE_CHECKING:
    import jinja2

    from machinable.results.execution import Execution
    from machinable.results.trial import Trial

__all__ = ["report"]

MAX_CURVES = 200  # trials that are drawn, evenly from all groups; more lines cannot be distinguished
MAX_CHARTS = 60
MAX_ROWS = 5000  # of the table of trials
MAX_FAILURES = 50

STATES = ("finished", "failed", "interrupted", "pending", "running", "reused", "blocked", "skipped", "partial")


def report(executions: Sequence[Execution], sides: Sequence[Side], written: str) -> str:
    """Return the page, a whole HTML document.

    Args:
        executions: The executions that it is about, at least one.
        sides: The trials that are shown, all of an execution or chosen ones.
        written: The time, as text.
    """
    from markupsafe import Markup  # comes with jinja2

    lines = side_by_side(sides)
    trials = {(side.execution, trial.uid): trial for side in sides for trial in side.trials}
    failed = [trial for trial in trials.values() if trial.status == "failed"]
    rows = [row for line in lines for row in line.rows]
    environment = _environment()
    script = _template_text("report.js")
    return environment.get_template("report.html.jinja").render(
        title=" · ".join(" ".join(filter(None, (str(one), one.name))) for one in executions),
        written=written,
        executions=[_execution(one) for one in executions],
        summary=_table(side_table(lines)),
        trials=_table(_trials(rows[:MAX_ROWS], trials)),
        more_trials=max(0, len(rows) - MAX_ROWS),
        failures=[_failure(trial) for trial in failed[:MAX_FAILURES]],
        more_failures=max(0, len(failed) - MAX_FAILURES),
        **_curves(lines, trials),
        style=Markup(_template_text("report.css")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


@cache
def _environment() -> jinja2.Environment:
    import jinja2  # only a report needs it

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_template_text),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    sides = {"left": charts.LEFT, "right": charts.RIGHT, "top": charts.TOP, "bottom": charts.BOTTOM}
    size = {"width": charts.WIDTH, "height": charts.HEIGHT, **sides}
    environment.globals.update(states=STATES, stroke=charts.stroke, size=size)
    return environment


def _template_text(name: str) -> str:
    return (Path(__file__).parent / "templates" / name).read_text(encoding="utf-8")


def _table(found: Table) -> dict[str, Any]:
    numeric = [is_numeric([row[i] for row in found.rows]) for i in range(len(found.headings))]
    return {"headings": found.headings, "rows": found.rows, "numeric": numeric}


# --- executions


def _execution(execution: Execution) -> dict[str, Any]:
    data = execution.data
    code, host, engine = (data.get(part) or {} for part in ("code", "host", "engine"))
    states = [trial.status for trial in execution.trials]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    seconds = [trial.seconds for trial in execution.trials if trial.seconds is not None]
    diff = execution.code_diff
    return {
        "name": str(execution),
        "facts": [
            ("status", execution.status),
            ("trials", f"{len(states)}: {counts}" if states else "none"),
            ("started", f"{execution.started[:19].replace('T', ' ')} UTC"),
            ("seed", str(execution.seed)),
            ("storage", execution.storage),
            ("project", data.get("project")),
            ("engine", engine.get("type")),
            ("host", " ".join(str(part) for part in (host.get("user"), "on", host.get("name")) if part)),
            ("command", host.get("command")),
            ("commit", _commit(code)),
            ("code backup", code.get("backup")),
        ],
        "environment": [
            ("python", data.get("python")),
            ("platform", data.get("platform")),
            ("trial time", format_duration(sum(seconds)) if seconds else None),
        ],
        "packages": [(name, str(version)) for name, version in (data.get("packages") or {}).items()],
        "code_diff": None if diff is None else diff.decode("utf-8", "replace"),
    }


def _commit(code: Mapping[str, Any]) -> str | None:
    if not code.get("commit"):
        return None
    changed = ", with uncommitted changes" if code.get("dirty") else ""
    return f"{code['commit']} on {code.get('branch') or 'no branch'}{changed}"


# --- trials


def _trials(rows: Sequence[Mapping[str, Any]], trials: Mapping[tuple[str, str], Trial]) -> Table:
    """Return a row for each trial, with tags in one column if any trial has them."""
    fields = [field for field in (rows[0] if rows else ()) if not field.startswith("tags.")]
    names = short_names(fields)
    tags = [settings_text(trials[row["execution"], row["uid"]].tags) for row in rows]
    extra = ["tags"] if any(tags) else []
    return Table(
        [*(names[field] for field in fields), "seconds", *extra],
        [
            [
                *(_cell(field, row[field]) for field in fields),
                cell(trials[row["execution"], row["uid"]].seconds),
                *([text] if extra else []),
            ]
            for row, text in zip(rows, tags, strict=True)
        ],
    )


def _cell(field: str, value: Any) -> str:
    return exact(value) if field.startswith("config.") and value is not None else cell(value)


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
        for row in line.rows[:each]:
            trial = trials[row["execution"], row["uid"]]
            for scope in trial.records.scopes:
                for column, axis, points in _columns(trial.records(scope).rows):
                    axes.setdefault((scope, column), axis)
                    drawn[group] = _group_name(line)
                    curves.setdefault((scope, column), []).append(Curve(points, group, f"{drawn[group]} {trial.uid}"))
    # The tables already show a column that has one value per trial.
    columns = [key for key, several in curves.items() if any(len(curve.points) > 1 for curve in several)]
    found: list[Chart] = [
        chart(column if scope == "default" else f"{scope}: {column}", axes[scope, column], curves[scope, column])
        for scope, column in columns[:MAX_CHARTS]
    ]
    notes = [f"… and {counted(len(columns) - MAX_CHARTS, 'more column')}"] if len(columns) > MAX_CHARTS else []
    if any(len(line.rows) > each for line in lines):
        notes.append(f"Only the first {counted(each, 'trial')} of each group {'is' if each == 1 else 'are'} drawn.")
    return {"charts": found, "legend": list(drawn.items()), "chart_notes": notes}


def _group_name(line: Line) -> str:
    parts = (line.side.execution, line.side.trial, line.group.component, settings_text(line.group.settings))
    return " ".join(filter(None, parts))


def _columns(rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str, list[tuple[float, float]]]]:
    """Yield each column of numbers: its name, the name of the horizontal axis, and its points."""
    across = "_iteration" if rows and all(_is_number(row.get("_iteration")) for row in rows) else None
    for column in dict.fromkeys(column for row in rows for column in row if not column.startswith("_")):
        values = [row.get(column) for row in rows]
        if any(map(_is_number, values)) and all(value is None or _is_number(value) for value in values):
            points = [
                (float(row[across]) if across else float(index), _to_float(value))
                for index, (row, value) in enumerate(zip(rows, values, strict=True))
                if value is not None
            ]
            yield column, "iteration" if across else "row", points


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _to_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # an integer beyond the largest float
        return float("inf")
