"""`machinable list`, `machinable show` and `machinable report`: what a storage holds."""

from __future__ import annotations

import os
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

from machinable.cli.arguments import parse_target, parse_targets
from machinable.cli.config import yaml_text
from machinable.cli.next_command import rerun_command
from machinable.cli.output import execution_data, message, trial_data, write_json
from machinable.cli.stored import open_storage
from machinable.display.failures import Failed, failure_text
from machinable.display.html_report import report
from machinable.display.summary import group_table, groups, rows_of, short_names, side_by_side
from machinable.display.tables import (
    Table,
    cell,
    counted,
    exact,
    settings_text,
    table_lines,
    table_of,
    version_text,
    write_table,
)
from machinable.errors import ArtifactExists, InvalidValue
from machinable.execution.environment import now
from machinable.units import format_duration

if TYPE_CHECKING:
    from machinable.results.execution import Execution
    from machinable.results.trial import Trial

__all__ = ["list_command", "report_command", "show_command"]

STATES_IF_ANY = ("reused", "blocked", "skipped", "interrupted", "pending", "running")  # have a column where they occur
MAX_ROWS = 10  # of a record
MAX_COMPARED = 1_000  # trials whose requirements are compared with what is stored now


# --- list


def list_command(storage: str | None, limit: int | None, as_json: bool) -> None:
    """List the executions in a storage, newest first."""
    with open_storage(storage) as opened:
        executions = opened.executions
        listed = [_list_entry(execution) for execution in executions[:limit]]
        if as_json:
            write_json({"storage": opened.url, "total": len(executions), "executions": listed})
            return
        if not listed:
            message(f"no executions in {opened.url}")
            return
    shown = [state for state in STATES_IF_ANY if any(entry["states"].get(state) for entry in listed)]
    rows = [
        {
            "execution": entry["execution"],
            "started": _time_text(entry["started"]),
            "status": entry["status"],
            "trials": entry["trials"],
            "finished": entry["finished"],
            "failed": entry["failed"],
            **{state: entry["states"].get(state, 0) for state in shown},
            "name": entry["name"],
            "components": ", ".join(entry["components"]),
        }
        for entry in listed
    ]
    write_table(table_of(rows, {"started": "started (UTC)"}), sys.stdout)
    if len(executions) > len(listed):
        message(f"and {len(executions) - len(listed)} older")


def _list_entry(execution: Execution) -> dict[str, Any]:
    trials = execution.trials.rows("status", "component")
    states = [trial["status"] for trial in trials]
    return {
        "execution": str(execution),
        "id": execution.id,
        "seed": execution.seed,
        "started": execution.started,
        "status": execution.status,
        "trials": len(states),
        "finished": states.count("finished"),
        "failed": states.count("failed"),
        "name": execution.name,
        "states": dict(Counter(states)),
        "components": list(dict.fromkeys(trial["component"] for trial in trials)),
    }


def _time_text(time: str | None) -> str:
    """Return a stored time for people: `2026-01-31 09:15:02`."""
    return (time or "")[:19].replace("T", " ")


# --- show


def show_command(identifier: str, storage: str | None, uid: str | None, log: bool, output: bool, as_json: bool) -> None:
    """Show an execution or one of its trials."""
    with open_storage(storage) as opened:
        target = parse_target(opened, identifier, uid)
        execution, trial = target
        if log or output:
            _show_texts(target.trials, log, output, as_json)
        elif trial is None and as_json:
            write_json(execution_data(execution) | {"data": execution.data})
        elif trial is None:
            _show_execution(execution, storage)
        elif as_json:
            write_json(_full_trial_data(execution, trial))
        else:
            _show_trial(execution, trial)


def _full_trial_data(execution: Execution, trial: Trial) -> dict[str, Any]:
    return trial_data(trial) | {
        "execution": str(execution),
        "config": trial.config.to_dict(evaluate=False, hidden=False),
        "records": {scope: list(trial.records(scope)) for scope in trial.records.scopes},
        "files": trial.files,
        "result": trial.result,
        "started": trial.started,
        "finished": trial.finished,
        "attempt": trial.attempt,
        "host": trial.host,
        "checkpoint": trial.checkpoint,
        "threads": trial.threads,
        "stale": trial.stale,
        "requires": _requirements(execution, trial),
    }


def _show_texts(trials: list[Trial], log: bool, output: bool, as_json: bool) -> None:
    """Show logs and outputs, those of several trials with a heading each."""
    texts = [
        {"uid": trial.uid, "component": trial.component}
        | ({"log": trial.log} if log else {})
        | ({"output": trial.output} if output else {})
        for trial in trials
    ]
    if as_json:
        write_json({"trials": texts})
        return
    has_headings = len(texts) > 1 or (log and output)
    for one in texts:
        for what in ("log", "output"):
            text = one.get(what)
            if text is None:
                continue
            if has_headings:
                print(f"==> {one['component']} {one['uid']} {what}")
            sys.stdout.write(text if text.endswith("\n") or not text else text + "\n")
            if not text:
                message(f"the {what} of {one['uid']} is empty")


def _show_facts(pairs: dict[str, Any]) -> None:
    width = max(map(len, pairs)) + 2
    for name, value in pairs.items():
        if value not in (None, ""):
            print(f"{name:<{width}}{value}")


def _show_execution(execution: Execution, storage: str | None) -> None:
    data = execution.data
    code, host, engine = (data.get(part) or {} for part in ("code", "host", "engine"))
    commit = (
        f"{code['commit'][:10]} on {code.get('branch') or 'no branch'}{', changed' if code.get('dirty') else ''}"
        if code.get("commit")
        else None
    )
    _show_facts(
        {
            "execution": f"{execution}  {execution.name or ''}".rstrip(),
            "status": execution.status,
            "started": f"{_time_text(execution.started)} UTC",
            "seed": execution.seed,
            "storage": execution.storage,
            "project": data.get("project"),
            "engine": engine.get("type"),
            "commit": commit,
            "host": " ".join(str(part) for part in (host.get("user"), "on", host.get("name")) if part),
            "command": host.get("command"),
            "python": data.get("python"),
            "stale": _stale_text(execution),
        }
    )
    rows = rows_of(execution.trials)
    if not rows:
        return
    print()
    write_table(_trials_table(execution, rows), sys.stdout)
    found = groups(rows)
    if len(found) < len(rows):
        print()
        write_table(group_table(found), sys.stdout)
    failures = execution.failures
    if failures:
        by_uid = {row["uid"]: row for row in rows}
        print()
        failed = [Failed(by_uid[trial.uid], trial.error or {"type": "unknown"}) for trial in failures]
        print(failure_text(failed, rows, lambda row: rerun_command(execution, execution[row["uid"]], storage)))


def _trials_table(execution: Execution, rows: list[dict[str, Any]]) -> Table:
    """Return a table of all trials: settings, seconds, last row, and why a trial did not run."""
    fields = [field for field in rows[0] if field != "execution"]
    names = short_names(fields)
    records = [field for field in fields if field.startswith("records.")]
    notes = [_note(trial) for trial in execution.trials]
    table = []
    for row, trial, note in zip(rows, execution.trials, notes, strict=True):
        cells = {names[field]: _cell(field, row[field]) for field in fields if field not in records}
        cells["seconds "] = cell(trial.seconds)  # a name that no key can have
        cells |= {names[field]: _cell(field, row[field]) for field in records}
        table.append(cells | ({"note ": note} if any(notes) else {}))
    return table_of(table, {"seconds ": "seconds", "note ": "note"})


def _cell(field: str, value: Any) -> str:
    return exact(value) if field.startswith("config.") and value is not None else cell(value)


def _note(trial: Trial) -> str:
    """Return why a trial did not run."""
    return f"from {trial.source}" if trial.source else f"because of {trial.because}" if trial.because else ""


def _stale_text(execution: Execution) -> str | None:
    """Return how many trials read results that have changed since; nothing where too many would be compared."""
    readers = [trial for trial in execution.trials if trial.planned("requires")]
    found = [(trial, what) for trial in readers if (what := trial.stale)] if len(readers) <= MAX_COMPARED else []
    if not found:
        return None
    trial, what = found[0]
    count = "1 trial:" if len(found) == 1 else f"{len(found)} trials, such as"
    return f"{count} {trial.component} {trial.uid}: {what} has changed since it was read"


def _requirements(execution: Execution, trial: Trial) -> dict[str, dict[str, Any]]:
    """Return what a trial requires, by name: the component, with the artifact if it is only one, and the result."""
    return {
        name: {
            "component": needed["component"] + (f":{needed['artifact']}" if needed.get("artifact") else ""),
            "result": execution[needed["uid"]].source or f"{execution}/{needed['uid']}",
            "identity": needed["identity"][:8],
        }
        for name, needed in trial.planned("requires").items()
    }


def _tags(trial: Trial) -> dict[str, Any]:
    """Return a trial's tags, except those that repeat its configuration, which is shown anyway."""
    return {name: value for name, value in trial.tags.items() if trial.value("config", tuple(name.split("."))) != value}


def _show_trial(execution: Execution, trial: Trial) -> None:
    _show_facts(
        {
            "trial": f"{trial.uid}  {trial.index + 1} of {len(execution)} in {execution}",
            "component": trial.component,
            "version": None if trial.version is None else version_text(trial.version),
            "status": f"{trial.status} {_note(trial)}".rstrip(),
            "identity": trial.identity[:8],
            "stale": f"{stale} has changed since it was read" if (stale := trial.stale) else None,
            "tags": settings_text(_tags(trial)),
            "started": f"{_time_text(trial.started)} UTC" if trial.started else None,
            "took": format_duration(trial.seconds) if trial.seconds is not None else None,
            "seed": trial.seed,
            "threads": trial.threads,
            "attempt": trial.attempt if trial.attempt > 1 else None,
            "result": cell(trial.result),
        }
    )
    if needed := _requirements(execution, trial):
        print("\nrequires")
        lines = table_lines(Table([""] * 4, [[f"  {name}", *one.values()] for name, one in needed.items()]))
        print(*lines[1:], sep="\n")
    print("\nconfig")
    text = yaml_text(trial.config.to_dict(evaluate=False, hidden=False))
    print("".join(f"  {line}\n" for line in text.splitlines()), end="")
    for scope in trial.records.scopes:
        rows = trial.records(scope).rows
        last = f", the last {MAX_ROWS}" if len(rows) > MAX_ROWS else ""
        print(f"\nrecords {scope}: {counted(len(rows), 'row')}{last}")
        own = [
            {key: cell(value) for key, value in row.items() if key == "_iteration" or key[:1] != "_"} for row in rows
        ]
        write_table(table_of(own[-MAX_ROWS:]), sys.stdout)
    if files := trial.files:
        print("\nfiles")
        print("".join(f"  {name}\n" for name in files), end="")
    error = trial.error
    if trial.status == "failed" and error is not None:
        print(f"\n{(error.get('traceback') or '{type}: {message}'.format(**error)).rstrip()}")


# --- report


def report_command(
    identifiers: tuple[str, ...], storage: str | None, file: str | None, yes: bool, as_json: bool
) -> None:
    """Write an HTML page about executions or trials, or its data as JSON."""
    if as_json and file == "-":
        raise InvalidValue("stdout cannot take both the page and JSON", given=file, todo="Name a file: --to FILE.")
    with open_storage(storage) as opened:
        targets = parse_targets(opened, identifiers)
        sides = [one.side for one in targets]
        executions = list({str(one.execution): one.execution for one in targets}.values())
        if as_json:
            write_json(
                {
                    "storage": opened.url,
                    "executions": [execution_data(execution) | {"data": execution.data} for execution in executions],
                    "groups": [line.as_data() for line in side_by_side(sides)],
                }
            )
            if file is None:
                return
        path = file or f"report-{executions[0]}.html"
        if path != "-":
            _check_free(path, yes)
        text = report(executions, sides, f"{_time_text(now())} UTC")
    if path == "-":
        sys.stdout.write(text)
        return
    try:
        with open(path, "w", encoding="utf-8", errors="backslashreplace") as page:
            page.write(text)
    except OSError as error:
        raise InvalidValue(
            f"cannot write {path}: {error.strerror}", given=path, todo="Name another file: --to FILE."
        ) from error
    message(f"wrote {path}")


def _check_free(path: str, yes: bool) -> None:
    if os.path.lexists(path) and not (yes and os.path.isfile(path)):
        replace = "Replace it with --yes, or name another file: --to FILE."
        raise ArtifactExists(
            f"{path} already exists",
            given=path,
            todo=replace if os.path.isfile(path) else "Name another file: --to FILE.",
        )
