"""Results of trials, grouped by settings, with mean and deviation, for one or several executions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from machinable.display.tables import Table, cell, exact
from machinable.results.query import default_fields, differing_paths, is_number, version_text
from machinable.results.repetitions import Measured, measured, separate_values
from machinable.results.summary import figures
from machinable.results.trial import Trial
from machinable.results.trials import Trials
from machinable.serialization import Plain, canonical, decode
from machinable.units import format_time

if TYPE_CHECKING:
    from machinable.results.execution import Execution

__all__ = [
    "SUCCESSFUL",
    "Group",
    "Line",
    "Side",
    "commit_text",
    "execution_facts",
    "group_table",
    "groups",
    "interval_texts",
    "rows_of",
    "settings_of",
    "short_names",
    "side_by_side",
    "side_table",
    "trial_note",
    "trial_reason",
    "trials_table",
]


Row = Mapping[str, Any]  # of a trial: `component`, `status`, `config.…`, `flags.…`, `records.…`
SUCCESSFUL = ("finished", "reused")


class Group(NamedTuple):
    """Trials of one component and configuration."""

    component: str
    settings: dict[str, Plain]  # those that differ between groups
    n: int  # trials that have a result, reused ones included
    ended: dict[str, int]  # the number of other trials by status
    figures: dict[str, dict[str, Any]]  # of columns of numbers, see `Summary`
    rows: list[Row]

    def as_data(self) -> dict[str, Plain]:
        """Return the group for programs."""
        figures = {
            column: {name: found[name] for name in ("n", "mean", "sd", "low", "high")}
            for column, found in self.figures.items()
        }
        facts = {"component": self.component, "config": self.settings, "n": self.n, "others": self.ended}
        return {**facts, "records": figures}


def rows_of(trials: Trials, *fields: str) -> list[dict[str, Any]]:
    """Return the rows of trials with everything in which trials of one component differ apart from their seeds.

    That is, beside the fields: `requires.NAME` and `children.NUMBER.…` where requirements or children differ, and
    `version` where nothing else tells trials apart whose versions are not the same.
    """
    rows = _with_planned_tags(trials.columns(*fields).rows(), trials)
    parts: dict[str, Sequence[dict[str, Any]]] = {
        "requires": _requirements(trials),
        "children": list(map(_children, trials)),
    }
    for part, values in parts.items():
        by_component: dict[str, list[dict[str, Any]]] = {}
        for trial, value in zip(trials, values, strict=True):
            by_component.setdefault(trial.component, []).append(value)
        paths = dict.fromkeys(path for several in by_component.values() for path in differing_paths(several, part))
        for row, value in zip(rows, values, strict=True):
            row |= {path: _value_at(value, path.split(".")[1:]) for path in paths}
    versions: dict[str, set[str]] = {}
    texts = [version_text(trial.version) for trial in trials]
    for row, text in zip(rows, texts, strict=True):
        versions.setdefault(_group_key(row), set()).add(text)
    if any(len(found) > 1 for found in versions.values()):
        for row, text in zip(rows, texts, strict=True):
            row["version"] = text
    columns = [key for key in (rows[0] if rows else ()) if not key.startswith("records.")]
    return [{key: row[key] for key in columns} | row for row in rows]  # figures last


def _with_planned_tags(rows: list[dict[str, Any]], trials: Trials) -> list[dict[str, Any]]:
    """Return rows in which tags that were added later are `added.NAME`, so that they do not separate repetitions."""
    added = {f"tags.{name}" for trial in trials for name in trial.added_tags}.intersection(rows[0] if rows else ())
    if not added:
        return rows
    planned: list[Mapping[str, Any]] = [decode(trial.planned("tags")) for trial in trials]
    kept = [field for field in added if any(field[len("tags.") :] in tags for tags in planned)]
    return [
        {f"added.{field[len('tags.') :]}" if field in added else field: value for field, value in row.items()}
        | {field: tags.get(field[len("tags.") :]) for field in kept}
        for row, tags in zip(rows, planned, strict=True)
    ]


def _requirements(trials: Trials) -> list[dict[str, Any]]:
    """Return the requirements of each trial as text, with the identity where a component has several."""
    needs = [trial.planned("requires") for trial in trials]
    identities: dict[str, set[str]] = {}  # by component
    for one in (one for needed in needs for one in needed.values()):
        identities.setdefault(one["component"], set()).add(one["identity"])

    def text(one: Mapping[str, Any]) -> str:
        name = one["component"]
        return name if len(identities[name]) == 1 else f"{name} {one['identity'][:8]}"

    return [{name: text(one) for name, one in needed.items()} for needed in needs]


def _children(trial: Trial) -> dict[str, Any]:
    """Return the component and the configuration of each child by its number."""
    children: Any = trial.planned("children")  # a list
    return {str(number): {"component": child["component"]} | child["config"] for number, child in enumerate(children)}


def _value_at(value: Any, keys: Sequence[str]) -> Any:
    """Return the value at a key path, None if there is none."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def settings_of(row: Row, part: str = "config") -> dict[str, Any]:
    """Return the values of a row in a part (`config`, `flags`, `records`), without its name."""
    return {key[len(part) + 1 :]: value for key, value in row.items() if key.startswith(f"{part}.")}


def groups(rows: Sequence[Row]) -> list[Group]:
    """Return the groups in the order of their first trials."""
    members: dict[str, list[Row]] = {}
    for row in rows:
        members.setdefault(_group_key(row), []).append(row)
    columns = [key for key in (rows[0] if rows else ()) if key.startswith("records.")]
    columns = [key for key in columns if all(row[key] is None or is_number(row[key]) for row in rows)]
    result = []
    for group in members.values():
        finished = [row for row in group if row["status"] in SUCCESSFUL]
        others = Counter(row["status"] for row in group if row["status"] not in SUCCESSFUL)
        found = {}
        for key in columns:
            if values := [_measured(row, row[key]) for row in finished if row[key] is not None]:
                found[key.removeprefix("records.")] = figures(separate_values(values), 0)
        settings = _group_settings(group[0])
        result.append(Group(group[0]["component"], settings, len(finished), dict(others), found, group))
    return result


def _measured(row: Row, value: float) -> Measured:
    """Return a value of a row with its repetition."""
    numbers = {name: number for name, number in settings_of(row, "flags").items() if number is not None}
    return measured(value, str(row.get("execution")), numbers)


def _group_key(row: Row) -> str:
    """Return a text that is equal for trials of one group."""
    return canonical([row["component"], _group_settings(row)])


def _group_settings(row: Row) -> dict[str, Any]:
    """Return everything that the trials of a group share: configuration, requirements, children, version and tags."""
    result = settings_of(row)
    for part in ("requires", "tags"):
        result |= {name if name not in result else f"{part}.{name}": v for name, v in settings_of(row, part).items()}
    result |= {f"children.{path}": value for path, value in settings_of(row, "children").items()}
    if "version" in row:
        result["version" if "version" not in result else "component version"] = row["version"]
    return result


def group_table(found: Sequence[Group], *, intervals: bool = False) -> Table:
    """Return the groups as a table: component, settings that differ between groups, n, other states, and figures."""
    keys = dict.fromkeys(key for group in found for key in group.settings)
    settings = [key for key in keys if len({canonical(group.settings.get(key)) for group in found}) > 1]
    ended = list(dict.fromkeys(how for group in found for how in group.ended))
    columns = list(dict.fromkeys(column for group in found for column in group.figures))
    taken = ["component", "n", *ended, *settings, *columns]
    headings: list[str] = []
    cells: list[list[str]] = [[] for _ in found]
    for column in columns:
        figures = [group.figures.get(column, {}) for group in found]
        has_deviation = any(one.get("sd") is not None for one in figures)
        has_interval = intervals and has_deviation
        name = column if taken.count(column) == 1 else f"records.{column}"
        headings += [f"{name} ± sd" if has_deviation else name, *([f"{name} 95 %"] if has_interval else [])]
        for texts, one in zip(cells, figures, strict=True):
            texts += interval_texts(one)[: 2 if has_interval else 1]
    rows = [
        [
            group.component,
            *("" if group.settings.get(key) is None else exact(group.settings[key]) for key in settings),
            str(group.n),
            *(str(group.ended.get(how, 0)) for how in ended),
            *texts,
        ]
        for group, texts in zip(found, cells, strict=True)
    ]
    names = [key if taken.count(key) == 1 else _full_name(key, found[0].rows) for key in settings]
    return Table(["component", *names, "n", *ended, *headings], rows)


def _full_name(setting: str, rows: Sequence[Row]) -> str:
    """Return the name of a setting whose short one is that of another column."""
    names = (f"{part}.{setting}" for part in ("config", "requires", "tags"))
    return next((name for name in names if any(name in row for row in rows)), setting)


def interval_texts(figures: Mapping[str, Any]) -> list[str]:
    """Return mean and deviation, and the interval of the mean, as two texts; empty ones for undefined figures."""
    middle, deviation, low, high = (figures.get(name) for name in ("mean", "sd", "low", "high"))
    if middle is None:
        return ["", ""]
    if deviation is None:
        return [cell(float(middle)), ""]
    return [f"{middle:.6g} ± {deviation:.2g}", f"{low:.6g} to {high:.6g}"]


def short_names(fields: Iterable[str]) -> dict[str, str]:
    """Return the shortest unique name of each field, such as `rate` for `config.rate`."""
    fields = list(fields)
    short = {field: field.partition(".")[2] or field for field in fields}
    taken = list(short.values())
    return {field: name if taken.count(name) == 1 else field for field, name in short.items()}


def trials_table(rows: Sequence[Row], trials: Iterable[Trial]) -> Table:
    """Return the rows with seconds and why a trial did not run, and with executions only if there are several."""
    fields = list(rows[0]) if rows else []
    if len({row["execution"] for row in rows}) < 2:
        fields = [field for field in fields if field != "execution"]
    fields = [field for field in fields if field != "note"]  # it is in the last column
    records = [field for field in fields if field.startswith("records.")]
    settings = [field for field in fields if field not in records]
    names = short_names([*fields, "seconds"])

    def text(field: str, value: Any) -> str:
        return exact(value) if field.startswith("config.") and value is not None else cell(value)

    headings = [*(names[field] for field in settings), "seconds", *(names[field] for field in records), "note"]
    cells = [
        [
            *(text(field, row[field]) for field in settings),
            cell(trial.seconds),
            *(text(field, row[field]) for field in records),
            trial_note(trial),
        ]
        for row, trial in zip(rows, trials, strict=True)
    ]
    shown = len(headings) if any(texts[-1] for texts in cells) else -1  # without an empty column of notes
    return Table(headings[:shown], [texts[:shown] for texts in cells])


def trial_note(trial: Trial) -> str:
    """Return why a trial did not run or was pruned, and the notes that were added to it."""
    return "; ".join(filter(None, (trial_reason(trial), *(line["note"] for line in trial.notes))))


def trial_reason(trial: Trial) -> str:
    """Return why a trial did not run or was pruned, and nothing if it ran to its end."""
    if trial.source:
        return f"from {trial.source}"
    because = trial.because or ""
    return f"because of {because}" if because and trial.status != "pruned" else because


def execution_facts(execution: Execution) -> dict[str, Any]:
    """Return the facts about an execution as a whole, by name; some values are None or empty."""
    data = execution.data
    code, host, engine = (data.get(part) or {} for part in ("code", "host", "engine"))
    searched: dict[str, Any] = {}
    if (data.get("task") or {}).get("search"):
        from machinable.display.search import search_facts  # few executions are searches

        searched = search_facts(execution)
    return {
        "status": execution.status,
        **searched,
        "started": format_time(execution.started),
        "seed": execution.seed,
        "storage": execution.storage,
        "project": data.get("project"),
        "engine": engine.get("type"),
        "commit": commit_text(code),
        "host": " ".join(str(part) for part in (host.get("user"), "on", host.get("name")) if part),
        "command": host.get("command"),
        "python": data.get("python"),
    }


def commit_text(code: Mapping[str, Any]) -> str | None:
    """Return the commit of the code, its branch, and whether it was changed; None if it is unknown."""
    if not code.get("commit"):
        return None
    changed = ", with uncommitted changes" if code.get("dirty") else ""
    return f"{code['commit']} on {code.get('branch') or 'no branch'}{changed}"


# --- side by side


class Side(NamedTuple):
    """One side of a comparison: an execution, one of its trials, or those that satisfy conditions."""

    execution: Execution
    trial: Trial | None = None
    chosen: Sequence[Trial] | None = None

    @property
    def trials(self) -> list[Trial]:
        """The trial, or all trials of the execution."""
        if self.trial is not None:
            return [self.trial]
        return list(self.execution.trials if self.chosen is None else self.chosen)

    def __str__(self) -> str:
        return str(self.execution) if self.trial is None else f"{self.execution}/{self.trial.uid}"


class Line(NamedTuple):
    """A group of one side."""

    side: Side
    group: Group

    def as_data(self) -> dict[str, Plain]:
        """Return the line for programs."""
        trial = self.side.trial.uid if self.side.trial else None
        uids = [row["uid"] for row in self.group.rows]
        return {"execution": str(self.side.execution), "trial": trial} | self.group.as_data() | {"uids": uids}


def side_by_side(sides: Sequence[Side], fields: Iterable[str] = ()) -> list[Line]:
    """Return the groups of each side, with the settings that differ between them.

    Args:
        sides: What is compared.
        fields: The fields to compare, such as `records.loss.min`. Default: the last rows.
    """
    trials = Trials({(str(side.execution), trial.uid): trial for side in sides for trial in side.trials}.values())
    if not len(trials):
        return []
    names = default_fields(trials)
    if chosen := list(dict.fromkeys(fields)):
        trials.columns(*chosen).rows()  # raises where no trial has a field
        names = [name for name in names if not name.startswith("records.") and name not in chosen] + chosen
    rows = {(row["execution"], row["uid"]): row for row in rows_of(trials, *names)}
    found = []
    for side in sides:
        own = [rows[str(side.execution), trial.uid] for trial in side.trials]
        found += [Line(side, group) for group in groups(own)]
    return found


def side_table(lines: Sequence[Line]) -> Table:
    """Return the lines as a table, each with its execution, and with the trial if one was chosen."""
    table = group_table([line.group for line in lines], intervals=True)
    has_trials = any(line.side.trial for line in lines)
    rows = [
        [str(line.side.execution), *([line.side.trial.uid if line.side.trial else ""] if has_trials else []), *row]
        for line, row in zip(lines, table.rows, strict=True)
    ]
    return Table(["execution", *(["trial"] if has_trials else []), *table.headings], rows)
