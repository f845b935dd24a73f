"""An HTML page about executions: results, settings, failures, code and environment.

It is one file that loads nothing else: it contains its style and script, and no other script can run.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from machinable.display.search import is_search, samples_table, search_charts, search_facts
from machinable.display.summary import (
    Line,
    Side,
    execution_facts,
    short_names,
    side_by_side,
    side_table,
    trials_table,
)
from machinable.display.svg_chart import SIZE, lay_out, stroke
from machinable.display.tables import Table, cell, counted, exact, headline, is_numeric, settings_text
from machinable.errors import InvalidType, InvalidValue, NotAvailable
from machinable.plan.table import flatten
from machinable.results.chart import MAX_SERIES, RowReader, caption, series_names
from machinable.results.contrast import Contrast
from machinable.results.query import is_number
from machinable.results.reader import code_facts
from machinable.results.records import DEFAULT
from machinable.results.repetitions import distinguishing_fields
from machinable.results.trials import STATES as TRIAL_STATES
from machinable.results.trials import Trials
from machinable.units import format_duration

if TYPE_CHECKING:
    from machinable.results.execution import Execution
    from machinable.results.trial import Trial

__all__ = ["report"]

MAX_DRAWN = 2000  # trials whose rows are read
MAX_CHARTS = 60
MAX_ROWS = 5000  # of the table of trials
MAX_FAILURES = 50
MAX_IMAGES = 40
MAX_IMAGE = 2_000_000  # bytes
MAX_ALL_IMAGES = 20_000_000
MAX_SEARCHED = 200  # trials whose images are looked for: each is a request on an object store
MAX_VALUES = 4  # of a setting that differs
MAX_BASELINE = 12  # values that are compared with a baseline

STATES = (*TRIAL_STATES, "partial")
# How the files of images begin; anything else is not shown.
_IMAGES = {
    ".png": ("image/png", b"\x89PNG"),
    ".jpg": ("image/jpeg", b"\xff\xd8"),
    ".jpeg": ("image/jpeg", b"\xff\xd8"),
    ".gif": ("image/gif", b"GIF8"),
    ".svg": ("image/svg+xml", b"<"),
}
# Facts about an execution, by the section that they are in.
_OF_CODE = ("project", "commit", "code backup")
_OF_ENVIRONMENT = ("engine", "host", "platform", "python", "command", "storage")


def report(
    sides: Sequence[Side], written: str, *, contrasts: Sequence[tuple[str, Any]] = (), refresh: int | None = None
) -> str:
    """Return the page, a complete HTML document.

    Args:
        sides: The executions and trials to show, at least one.
        written: The time, as text.
        contrasts: Fields to compare, each with its baseline. Default: the only field in which the trials differ, with
            its first value.
        refresh: The seconds after which a browser loads the page again.
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
        refresh=refresh,
        executions=[_execution(one) for one in executions],
        searches=[_search(one) for one in executions if is_search(one)],
        summary=_table(_summary(lines)),
        **_curves(lines, trials),
        **_images(lines, trials),
        **_contrasts(Trials(trials.values()), contrasts),
        settings=_settings(lines, trials),
        trials=_table(trials_table(listed, [trials[row["execution"], row["uid"]] for row in listed])),
        more_trials=max(0, len(rows) - MAX_ROWS),
        failures=[_failure(trial) for trial in failed[:MAX_FAILURES]],
        more_failures=max(0, len(failed) - MAX_FAILURES),
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
    facts = execution_facts(execution) | {
        "trials": f"{len(states)}: {counts}" if states else "none",
        "trial time": format_duration(sum(seconds)) if seconds else None,
        "code backup": code_facts(data).get("backup"),
        "platform": data.get("platform"),
    }
    return {
        "name": str(execution),
        "facts": {name: fact for name, fact in facts.items() if name not in (*_OF_CODE, *_OF_ENVIRONMENT)},
        "code": {name: facts[name] for name in _OF_CODE},
        "environment": {name: facts[name] for name in _OF_ENVIRONMENT},
        "packages": {name: str(version) for name, version in (data.get("packages") or {}).items()},
        "code_diff": None if diff is None else diff.decode("utf-8", "replace"),
    }


def _search(execution: Execution) -> dict[str, Any]:
    """Return the facts about a search, the course of its best value, and its samples."""
    search = execution.search
    charts = search_charts(search)
    return {
        "name": str(execution),
        "facts": search_facts(execution),
        "charts": [
            {"drawing": lay_out(one, f"best {one.field}"), "caption": f"The best value so far, over {one.x}."}
            for one in charts
        ],
        "samples": _table(samples_table(search, MAX_ROWS)),
    }


def _failure(trial: Trial) -> dict[str, str]:
    error = trial.error or {"type": "unknown"}
    return {
        "trial": f"{trial.component} {trial.uid}",
        "headline": headline(error),
        "settings": settings_text(trial.config.to_dict(evaluate=False, hidden=False)),
        "text": (error.get("traceback") or error.get("message") or "").rstrip(),
    }


# --- results


def _summary(lines: Sequence[Line]) -> Table:
    """Return the figures of each group, with executions only if there are several."""
    table = side_table(lines)
    if len({str(line.side) for line in lines}) > 1:
        return table
    return Table(table.headings[1:], [row[1:] for row in table.rows])


def _names(lines: Sequence[Line]) -> list[str]:
    """Return a short name for each group."""
    columns: dict[str, list[Any]] = {
        "execution": [str(line.side) for line in lines],
        "component": [line.group.component for line in lines],
    }
    for name in dict.fromkeys(name for line in lines for name in line.group.settings):
        columns[name] = [line.group.settings.get(name) for line in lines]
    fields = [name for name, values in columns.items() if len(set(map(repr, values))) > 1]
    if "version" in fields and _are_distinct(columns, shorter := [name for name in fields if name != "version"]):
        fields = shorter  # it says again what the settings say
    names = series_names(fields, list(zip(*(columns[name] for name in fields), strict=True)) or [()] * len(lines))
    is_plain = len(fields) != 1 or fields[0] in ("execution", "component")
    return names if is_plain else [f"{fields[0]}={name}" for name in names]


def _are_distinct(columns: Mapping[str, Sequence[Any]], fields: Sequence[str]) -> bool:
    rows = [repr(row) for row in zip(*(columns[name] for name in fields), strict=True)]
    return len(rows) > 0 and len(set(rows)) == len(rows)


def _curves(lines: Sequence[Line], trials: Mapping[tuple[str, str], Trial]) -> dict[str, Any]:
    """Return charts of all columns of numbers over the rows, with a curve and a band for each group."""
    numbers: dict[str, int] = {}  # of the group of each trial
    drawn: list[Trial] = []
    notes: list[str] = []
    for number, line in enumerate(lines):
        group = [trials[row["execution"], row["uid"]] for row in line.group.rows]
        if number >= MAX_SERIES or (drawn and len(drawn) + len(group) > MAX_DRAWN):
            notes.append(f"Only the first {number} of {len(lines)} groups are drawn.")
            break
        drawn += group
        numbers |= {f"{trial.execution}/{trial.uid}": number for trial in group}
    reader, chosen = RowReader(), Trials(drawn)
    by = ["execution"] if len({str(line.side) for line in lines}) > 1 else []
    charts, used, invisible = [], set(), []
    fields = _columns_with_curves(drawn, reader)
    for field, title in list(fields.items())[:MAX_CHARTS]:
        try:
            found = chosen.chart(field, by=by, kind="curves", reader=reader)
        except InvalidValue:  # no number is finite
            invisible.append(title)
            continue
        except InvalidType:  # some trials have text there
            continue
        places = [numbers[one.trials[0]] for one in found.series]
        used.update(places)
        charts.append(
            {"drawing": lay_out(found, title, places.__getitem__), "caption": caption(found), "notes": found.notes}
        )
    notes += [f"{title}: no finite numbers" for title in invisible]
    if len(fields) > MAX_CHARTS:
        notes.append(f"… and {counted(len(fields) - MAX_CHARTS, 'more column')}")
    legend = [(number, name) for number, name in enumerate(_names(lines)) if number in used]
    return {"charts": charts, "legend": legend if len(lines) > 1 else [], "chart_notes": notes}


def _columns_with_curves(trials: Sequence[Trial], reader: RowReader) -> dict[str, str]:
    """Return the fields that have several numbers in a trial, with the title of each."""
    found: dict[str, str] = {}
    for trial in trials:
        for scope in reader.scopes(trial) if trial.has_begun or trial.status == "reused" else ():
            counts: dict[str, int] = {}
            for row in reader.rows(trial, scope):
                for name, value in row.items():
                    if not name.startswith("_") and is_number(value):
                        counts[name] = counts.get(name, 0) + 1
            for name, count in counts.items():
                if count > 1:  # the tables already show a column that has one value for each trial
                    field, title = (f"{scope}.{name}", f"{scope}: {name}") if scope != DEFAULT else (name, name)
                    found.setdefault(f"records.{field}", title)
    return found


def _images(lines: Sequence[Line], trials: Mapping[tuple[str, str], Trial]) -> dict[str, Any]:
    """Return the images that trials wrote, those of the same name beside each other."""
    found: list[dict[str, Any]] = []
    rows = [(name, row) for line, name in zip(lines, _names(lines), strict=True) for row in line.group.rows]
    left_out = total = 0
    for name, row in rows[:MAX_SEARCHED]:
        trial = trials[row["execution"], row["uid"]]
        for file in trial.files if trial.has_begun or trial.status == "reused" else ():
            kind, beginning = _IMAGES.get(file[file.rfind(".") :].lower(), ("", b""))
            if not kind:
                continue
            content = trial.content(file) if len(found) < MAX_IMAGES else b""
            if not content.lstrip().startswith(beginning) or len(content) > min(MAX_IMAGE, MAX_ALL_IMAGES - total):
                left_out += 1
                continue
            total += len(content)
            source = f"data:{kind};base64,{base64.b64encode(content).decode()}"
            found.append({"file": file, "name": f"{name} {trial.uid}".strip(), "source": source})
    notes = [f"{counted(left_out, 'image')} not shown: too large, too many, or not of the kind of the name"] * bool(
        left_out
    )
    if len(rows) > MAX_SEARCHED:
        notes.append(f"Only images of the first {MAX_SEARCHED} trials are shown.")
    order = {file: number for number, file in enumerate(dict.fromkeys(one["file"] for one in found))}
    return {
        "images": sorted(found, key=lambda one: order[one["file"]]),
        "image_notes": notes if found or left_out else [],
    }


def _contrasts(trials: Trials, asked: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return tables of differences to a baseline, of all columns of numbers."""
    chosen = list(asked) or _only_contrast(trials)
    tables, notes = [], []
    for between, baseline in chosen:
        found: list[tuple[str, Contrast]] = []
        for metric in trials.metrics() if len(trials) else ():
            try:
                found.append((metric, trials.contrast(metric, between, baseline)))
            except NotAvailable as error:
                notes.append(str(error).replace("\n  ", ". "))
                break
            except InvalidValue:
                if asked:
                    raise
        rows = [
            (metric, contrast, row) for metric, contrast in found for row in contrast if row["difference"] is not None
        ]
        if rows:
            table = _table(_contrast_table(between, rows))
            tables.append({"title": f"differences to {between} = {exact(baseline)}", "table": table})
            notes += dict.fromkeys(note for _, contrast, _ in rows for note in contrast.notes())
    return {"contrasts": tables, "contrast_notes": notes}


def _only_contrast(trials: Trials) -> list[tuple[str, Any]]:
    """Return the only field in which the trials differ, with its first value, if its values are repeated."""
    fields = distinguishing_fields(trials)
    if len(fields) != 1:
        return []
    groups = [(value, several) for value, several in trials.group_by(fields[0]) if value is not None]
    if not 2 <= len(groups) <= MAX_BASELINE or min(len(several) for _, several in groups) < 2:
        return []
    return [(fields[0], groups[0][0])]


def _contrast_table(between: str, rows: Sequence[tuple[str, Contrast, Mapping[str, Any]]]) -> Table:
    settings = list(dict.fromkeys(name for _, contrast, _ in rows for name in contrast.settings))
    short = short_names([between, *settings])
    headings = ["metric", *short.values(), "n", "difference", "95 %", "Cohen's d", "p", "p (Holm)", "test"]
    texts = [
        [
            metric.removeprefix("records."),
            *(cell(row.get(name)) for name in short),
            f"{row['n']} / {row['n_baseline']}" if row["design"] == "Welch" else f"{row['n']} pairs",
            _signed(row["difference"]),
            "" if row["low"] is None else f"{_signed(row['low'])} to {_signed(row['high'])}",
            "" if row["d"] is None else f"{row['d']:.2f}",
            *("" if row[name] is None else f"{row[name]:.2g}" for name in ("p", "p_holm")),
            "paired t" if row["design"] == "paired" else "Welch",
        ]
        for metric, _, row in rows
    ]
    return Table(headings, texts)


def _signed(number: float) -> str:
    return f"{number:+.4g}"


# --- settings


def _settings(lines: Sequence[Line], trials: Mapping[tuple[str, str], Trial]) -> list[dict[str, Any]]:
    """Return the configuration of each component: the settings that all of its trials share, and those that differ."""
    configs: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        row = line.group.rows[0]
        config = trials[row["execution"], row["uid"]].config.to_dict(evaluate=False, hidden=False)
        configs.setdefault(line.group.component, []).append(flatten(config))
    found = []
    for component, several in configs.items():
        pairs = {}
        for key in dict.fromkeys(key for one in several for key in one):
            values = list(dict.fromkeys(exact(one[key]) if key in one else "(none)" for one in several))
            more = f", … {len(values)} values" if len(values) > MAX_VALUES else ""
            pairs[key] = " | ".join(values[:MAX_VALUES]) + more
        found.append({"component": component, "pairs": pairs})
    return found
