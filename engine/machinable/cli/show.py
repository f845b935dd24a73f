"""`machinable show`: one execution, or one of its trials."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from machinable.cli.output import json_option, storage_option, tell, write_json

if TYPE_CHECKING:
    from machinable.results.execution import Execution
    from machinable.results.trial import Trial

__all__ = ["command"]

TAIL = 10  # rows of a record
LOOKED_AT = 1_000  # trials whose requirements are compared with what is there now


@click.command("show")
@click.argument("identifier", metavar="ID")
@storage_option
@click.option("--trial", "uid", metavar="UID", help="One trial; the beginning of its uid is enough.")
@click.option("--log", is_flag=True, help="What the logger wrote.")
@click.option("--output", is_flag=True, help="What was printed to stdout and stderr.")
@json_option
def command(identifier: str, storage: str | None, uid: str | None, log: bool, output: bool, as_json: bool) -> None:
    """Show the execution ID, or one of its trials."""
    from machinable.cli.reading import execution_data, open_storage, trial_data
    from machinable.cli.targets import trial_of

    with open_storage(storage) as opened:
        execution = opened[identifier]
        trials = [trial_of(execution, uid)] if uid is not None else list(execution.trials)
        if log or output:
            _texts(trials, log, output, as_json)
        elif uid is None and as_json:
            write_json(execution_data(execution) | {"data": execution.data})
        elif uid is None:
            _show_execution(execution, storage)
        elif as_json:
            trial = trials[0]
            write_json(
                trial_data(trial)
                | {
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
            )
        else:
            _show_trial(execution, trials[0])


def _texts(trials: list[Trial], log: bool, output: bool, as_json: bool) -> None:
    """Logs and outputs, of several trials with a line in front of each."""
    found = [
        {"uid": trial.uid, "component": trial.component}
        | ({"log": trial.log} if log else {})
        | ({"output": trial.output} if output else {})
        for trial in trials
    ]
    if as_json:
        write_json({"trials": found})
        return
    several = len(found) > 1 or (log and output)
    for one in found:
        for what in ("log", "output"):
            text = one.get(what)
            if text is None:
                continue
            if several:
                print(f"==> {one['component']} {one['uid']} {what}")
            sys.stdout.write(text if text.endswith("\n") or not text else text + "\n")
            if not text:
                tell(f"the {what} of {one['uid']} is empty")


def _facts(pairs: dict[str, Any]) -> None:
    width = max(map(len, pairs)) + 2
    for name, value in pairs.items():
        if value not in (None, ""):
            print(f"{name:<{width}}{value}")


def _cell(field: str, value: Any) -> str:
    from machinable.display.tables import cell, exact

    return exact(value) if field.startswith("config.") and value is not None else cell(value)


def _show_execution(execution: Execution, storage: str | None) -> None:
    from machinable.cli.again import again
    from machinable.cli.listing import moment
    from machinable.display.failures import Failed, failure_text
    from machinable.display.summary import group_table, groups, rows_of, short_names
    from machinable.display.tables import cell, table_of, write_table

    data = execution.data
    code, host, engine = (data.get(part) or {} for part in ("code", "host", "engine"))
    commit = (
        f"{code['commit'][:10]} on {code.get('branch') or 'no branch'}{', changed' if code.get('dirty') else ''}"
        if code.get("commit")
        else None
    )
    _facts(
        {
            "execution": f"{execution}  {execution.name or ''}".rstrip(),
            "status": execution.status,
            "started": f"{moment(execution.started)} UTC",
            "seed": execution.seed,
            "storage": execution.storage,
            "project": data.get("project"),
            "engine": engine.get("type"),
            "commit": commit,
            "host": " ".join(str(part) for part in (host.get("user"), "on", host.get("name")) if part),
            "command": host.get("command"),
            "python": data.get("python"),
            "stale": _stale(execution),
        }
    )
    rows = rows_of(execution.trials)
    if not rows:
        return
    print()
    fields = [field for field in rows[0] if field != "execution"]
    names = short_names(fields)
    table = []
    notes: list[str] = []
    for row, trial in zip(rows, execution.trials, strict=True):
        cells = {names[field]: _cell(field, row[field]) for field in fields if not field.startswith("records.")}
        cells["seconds "] = cell(trial.seconds)  # a name that no key can have
        cells |= {names[field]: _cell(field, row[field]) for field in fields if field.startswith("records.")}
        notes.append(_note(trial))
        table.append(cells | {"note ": notes[-1]})
    if not any(notes):
        for cells in table:
            del cells["note "]
    write_table(table_of(table, {"seconds ": "seconds", "note ": "note"}), sys.stdout)
    found = groups(rows)
    if len(found) < len(rows):
        print()
        write_table(group_table(found), sys.stdout)
    failures = execution.failures
    if failures:
        by_uid = {row["uid"]: row for row in rows}
        print()
        failed = [Failed(by_uid[trial.uid], trial.error or {"type": "unknown"}) for trial in failures]
        print(failure_text(failed, rows, lambda row: again(execution, execution[row["uid"]], storage)))


def _requirements(execution: Execution, trial: Trial) -> dict[str, dict[str, Any]]:
    """What a trial requires, by name: component, the artifact if it is only one, and where the result lies."""
    return {
        name: {
            "component": needed["component"] + (f":{needed['artifact']}" if needed.get("artifact") else ""),
            "result": execution[needed["uid"]].source or f"{execution}/{needed['uid']}",
            "identity": needed["identity"][:8],
        }
        for name, needed in trial.planned("requires").items()
    }


def _tags(trial: Trial) -> dict[str, Any]:
    """Its tags but for those that repeat its configuration, which is shown anyhow."""
    return {name: value for name, value in trial.tags.items() if trial.value("config", tuple(name.split("."))) != value}


def _note(trial: Trial) -> str:
    """Why a trial did not run."""
    return f"from {trial.source}" if trial.source else f"because of {trial.because}" if trial.because else ""


def _stale(execution: Execution) -> str | None:
    """How many trials have read what is another thing by now; where many would have to be looked at, nothing."""
    reading = [trial for trial in execution.trials if trial.planned("requires")]
    found = [(trial, what) for trial in reading if (what := trial.stale)] if len(reading) <= LOOKED_AT else []
    if not found:
        return None
    trial, what = found[0]
    count = "1 trial:" if len(found) == 1 else f"{len(found)} trials, such as"
    return f"{count} {trial.component} {trial.uid}: {what} has changed since it was read"


def _show_trial(execution: Execution, trial: Trial) -> None:
    from machinable.cli.listing import moment
    from machinable.cli.yaml_text import yaml_text
    from machinable.display.tables import Table, cell, settings_text, table_lines, table_of, version_text, write_table
    from machinable.units import format_duration

    _facts(
        {
            "trial": f"{trial.uid}  {trial.index + 1} of {len(execution)} in {execution}",
            "component": trial.component,
            "version": None if trial.version is None else version_text(trial.version),
            "status": f"{trial.status} {_note(trial)}".rstrip(),
            "identity": trial.identity[:8],
            "stale": f"{stale} has changed since it was read" if (stale := trial.stale) else None,
            "tags": settings_text(_tags(trial)),
            "started": f"{moment(trial.started)} UTC" if trial.started else None,
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
        first = f", the last {TAIL}" if len(rows) > TAIL else ""
        print(f"\nrecords {scope}: {len(rows)} row{'' if len(rows) == 1 else 's'}{first}")
        own = [
            {key: cell(value) for key, value in row.items() if key == "_iteration" or key[:1] != "_"} for row in rows
        ]
        write_table(table_of(own[-TAIL:]), sys.stdout)
    if files := trial.files:
        print("\nfiles")
        print("".join(f"  {name}\n" for name in files), end="")
    error = trial.error
    if trial.status == "failed" and error is not None:
        print(f"\n{(error.get('traceback') or '{type}: {message}'.format(**error)).rstrip()}")
