"""`machinable list`, `machinable show`, `machinable tail` and `machinable report`: show the content of a storage."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import compress
from typing import TYPE_CHECKING, Any

from machinable.cli.output import execution_data, failures_report, message, replace_file, trial_data, write_json
from machinable.cli.targets import open_storage, parse_target, parse_targets
from machinable.display.search import LISTED, is_search, samples_table
from machinable.display.summary import (
    Side,
    execution_facts,
    group_table,
    groups,
    rows_of,
    side_by_side,
    trial_reason,
    trials_table,
)
from machinable.display.tables import (
    Table,
    cell,
    counted,
    printable,
    settings_text,
    table_lines,
    table_of,
    write_table,
)
from machinable.display.terminal import echo
from machinable.errors import ArtifactExists, InvalidValue, UnknownName
from machinable.results.conditions import Condition, is_condition, parse, satisfied
from machinable.results.execution import EXECUTION_STATES, Execution
from machinable.results.listing import prefetch
from machinable.results.lookup import MISSING
from machinable.results.query import version_text
from machinable.results.reader import LeavingOut
from machinable.results.tables import sorted_rows
from machinable.results.trials import Trials
from machinable.units import format_duration, format_time, utc_now

if TYPE_CHECKING:
    from machinable.results.storage import Storage
    from machinable.results.tail import News
    from machinable.results.trial import Trial

__all__ = ["follow", "list_command", "report_command", "show_command", "tail_command"]

# Columns only if they occur
STATES_IF_ANY = ("reused", "unneeded", "pruned", "blocked", "skipped", "interrupted", "pending", "running")
MAX_ROWS = 10  # of a record
POLL_INTERVAL = 1.0  # seconds between two reads of files on this host
REMOTE_POLL_INTERVAL = 5.0  # elsewhere: new parts arrive every 10 s, and each read is a request
REPORT_INTERVAL = 5.0  # seconds between two pages of --watch
REMOTE_REPORT_INTERVAL = 30.0
MAX_COMPARED = 1_000  # trials whose requirements are compared with what is stored now


# --- list


def list_command(
    storage: str | tuple[str, ...] | None,
    conditions: tuple[str, ...],
    sort: str | None,
    descending: bool,
    limit: int | None,
    wide: bool,
    as_json: bool,
) -> None:
    """List the executions in a storage, newest first."""
    asked = [condition for text in conditions for condition in parse(text)]
    with open_storage(storage) as opened:
        # With conditions or an order, the newest are not those to show.
        executions, total = opened.newest(None if asked or sort else limit)
        prefetch(executions, Execution.load)
        listed = []
        for execution in executions:
            with LeavingOut(execution.files, str(execution)):
                listed.append((execution, _list_entry(execution)))
        entries = _selected(listed, asked)
        if sort is not None:
            if sort not in SORTABLE:
                raise UnknownName("column", sort, SORTABLE)
            entries = sorted_rows(entries, sort, descending)
        if asked or sort:
            total, entries = len(entries), entries[:limit]
        if as_json:
            write_json({"storage": opened.url, "total": total, "executions": entries})
            return
        if not entries:
            message(f"no executions in {opened.url}{' satisfy the conditions' if listed else ''}")
            if not executions and (hint := opened.hint()):
                message(hint)
            return
    shown = [state for state in STATES_IF_ANY if any(entry["states"].get(state) for entry in entries)]
    columns = ("execution", "started", "status", "trials", "finished", "failed", *shown, "name", "components")
    for entry in entries:
        entry |= dict.fromkeys(shown, 0) | entry["states"]
        entry |= {"started": format_time(entry["started"]), "components": ", ".join(entry["components"])}
    write_table(table_of([{column: entry[column] for column in columns} for entry in entries]), wide=wide)
    if total > len(entries):
        message(f"and {total - len(entries)} {'more' if asked or sort else 'older'}")


SORTABLE = ("execution", "id", "name", "started", "status", "trials", "finished", "failed", "seed")


def _selected(listed: Sequence[tuple[Execution, dict[str, Any]]], asked: Sequence[Condition]) -> list[dict[str, Any]]:
    """Return the entries of executions that satisfy conditions, those on trials by at least one of them."""
    own = [condition for condition in asked if condition.field in SORTABLE]
    others = [condition for condition in asked if condition.field not in SORTABLE]
    for condition in own:
        values = [MISSING if entry[condition.field] is None else entry[condition.field] for _, entry in listed]
        if condition.field == "status":
            _check_states(condition)
        is_time = condition.field == "started"
        meets = satisfied(condition._replace(field=f"the {condition.field}"), values, is_time=is_time)
        listed = list(compress(listed, meets))
    if others:
        having = Trials(trial for execution, _ in listed for trial in execution).matching(others)
        names = {str(trial.execution) for trial in having}
        listed = [(execution, entry) for execution, entry in listed if str(execution) in names]
    return [entry for _, entry in listed]


def _check_states(condition: Condition) -> None:
    values = condition.value if condition.operator == "in" else [condition.value]
    for value in values if condition.operator in ("=", "!=", "in") else ():
        if value not in EXECUTION_STATES:
            raise UnknownName("status", value, EXECUTION_STATES)


def _list_entry(execution: Execution) -> dict[str, Any]:
    trials = execution.trials.columns("status", "component").rows()
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


# --- show


def show_command(
    identifier: str,
    storage: str | tuple[str, ...] | None,
    uid: str | None,
    log: bool,
    output: bool,
    wide: bool,
    as_json: bool,
) -> None:
    """Show an execution or one of its trials."""
    with open_storage(storage) as opened:
        target = _shown(opened, identifier, uid)
        execution, trial, chosen = target
        if log or output:
            _show_texts(target.trials, log, output, as_json)
        elif chosen is not None and as_json:
            write_json({"trials": [{"execution": str(one.execution)} | trial_data(one) for one in chosen]})
        elif chosen is not None:
            write_table(trials_table(rows_of(Trials(chosen)), chosen), wide=wide)
        elif trial is None and as_json:
            write_json(execution_data(execution) | {"waiting": execution.waiting, "data": execution.data})
        elif trial is None:
            _show_execution(execution, execution.storage if isinstance(storage, tuple) else storage, wide)
        elif as_json:
            write_json(_full_trial_data(execution, trial))
        else:
            _show_trial(execution, trial, wide)


def _shown(storage: Storage, identifier: str, uid: str | None) -> Side:
    """Return what is to be shown; of several trials that satisfy conditions, the execution is that of the first."""
    if not is_condition(identifier):
        return parse_target(storage, identifier, uid)
    if uid is not None:
        todo = f"Write {identifier!r} and uid={uid} as one condition, joined by and."
        raise InvalidValue("--trial needs the id of an execution, not a condition", given=uid, todo=todo)
    sides = parse_targets(storage, [identifier])
    trials = [trial for side in sides for trial in side.trials]
    return Side(sides[0].execution, trials[0]) if len(trials) == 1 else Side(sides[0].execution, chosen=trials)


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
        "devices": trial.devices,
        "stale": trial.stale,
        "requires": _requirements(execution, trial),
    }


def _show_texts(trials: list[Trial], log: bool, output: bool, as_json: bool) -> None:
    """Show logs and outputs, those of several trials with a heading each."""
    chosen = [what for what, is_chosen in (("log", log), ("output", output)) if is_chosen]
    if as_json:
        texts = [{what: getattr(trial, what) for what in ("uid", "component", *chosen)} for trial in trials]
        write_json({"trials": texts})
        return
    for trial in trials:
        for what in chosen:
            text = getattr(trial, what)
            if len(trials) > 1 or len(chosen) > 1:
                echo(f"==> {trial.component} {trial.uid} {what}")
            echo(text, end="" if text.endswith("\n") or not text else "\n")
            if not text:
                message(f"the {what} of {trial.uid} is empty")


def _show_facts(pairs: dict[str, Any]) -> None:
    width = max(map(len, pairs)) + 2
    for name, value in pairs.items():
        if value not in (None, ""):
            echo(f"{name:<{width}}" + str(value).replace("\n", "\n" + " " * width))


def _show_execution(execution: Execution, storage: str | None, wide: bool) -> None:
    name = f"{execution}  {execution.name or ''}".rstrip()
    waiting = [f"{execution[uid].component} {uid} for {because}" for uid, because in execution.waiting.items()]
    notes = {f"note {format_time(line['time'])}": line["note"] for line in execution.notes}
    facts = {"waiting": "\n".join(waiting), "stale": _stale_text(execution), **notes}
    _show_facts({"execution": name, **execution_facts(execution), **facts})
    rows = rows_of(execution.trials)
    if not rows:
        return
    echo()
    if is_search(execution):
        count = len(execution.search.samples)
        write_table(samples_table(execution.search), wide=wide)
        if count > LISTED:
            echo(f"… and {count - LISTED} more")
    else:
        write_table(trials_table(rows, execution.trials), wide=wide)
        found = groups(rows)
        if len(found) < len(rows):
            echo()
            write_table(group_table(found), wide=wide)
    if failures := failures_report(execution, rows, storage):
        echo(f"\n{failures}")


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
    """Return the requirements of a trial by name: the component, the artifact if it is only one, and the result."""
    return {
        name: {
            "component": needed["component"] + (f":{needed['artifact']}" if needed.get("artifact") else ""),
            "result": execution[needed["uid"]].source or f"{execution}/{needed['uid']}",
            "identity": needed["identity"][:8],
        }
        for name, needed in trial.planned("requires").items()
    }


def _show_trial(execution: Execution, trial: Trial, wide: bool) -> None:
    # Tags that repeat the configuration are shown with it.
    tags = {name: tag for name, tag in trial.tags.items() if trial.value("config", tuple(name.split("."))) != tag}
    _show_facts(
        {
            "trial": f"{trial.uid}  {trial.index + 1} of {len(execution)} in {execution}",
            "component": trial.component,
            "version": None if trial.version is None else version_text(trial.version),
            "status": f"{trial.status} {trial_reason(trial)}".rstrip(),
            "identity": trial.identity[:8],
            "stale": f"{stale} has changed since it was read" if (stale := trial.stale) else None,
            "tags": settings_text(tags),
            "started": format_time(trial.started) if trial.started else None,
            "took": format_duration(trial.seconds) if trial.seconds is not None else None,
            "seed": trial.seed,
            "threads": trial.threads,
            "devices": ", ".join(trial.devices) if trial.devices else None,
            "attempt": trial.attempt if trial.attempt > 1 else None,
            "result": cell(trial.result),
            **{f"note {format_time(line['time'])}": line["note"] for line in trial.notes},
        }
    )
    if needed := _requirements(execution, trial):
        echo("\nrequires")
        lines = table_lines(Table([""] * 4, [[f"  {name}", *one.values()] for name, one in needed.items()]))
        echo("\n".join(lines[1:]))
    echo("\nconfig")
    from machinable.cli.yaml_text import yaml_text  # 15 ms with yaml

    text = yaml_text(trial.config.to_dict(evaluate=False, hidden=False))
    echo("".join(f"  {line}\n" for line in text.splitlines()), end="")
    for scope in trial.records.scopes:
        rows = trial.records(scope).rows
        last = f", the last {MAX_ROWS}" if len(rows) > MAX_ROWS else ""
        echo(f"\nrecords {scope}: {counted(len(rows), 'row')}{last}")
        write_table(table_of([_measured(row) for row in rows[-MAX_ROWS:]]), wide=wide)
    if files := trial.files:
        echo("\nfiles")
        echo("".join(f"  {name}\n" for name in files), end="")
    error = trial.error
    if trial.status == "failed" and error is not None:
        echo(f"\n{(error.get('traceback') or '{type}: {message}'.format(**error)).rstrip()}")


# --- tail


def tail_command(
    identifier: str, storage: str | None, uid: str | None, number: int, follows: bool, as_json: bool
) -> None:
    """Show the latest rows, log lines, output and events of an execution."""
    with open_storage(storage) as opened:
        execution, trial, _ = parse_target(opened, identifier, uid)
        follow(execution, None if trial is None else trial.uid, number, as_json, follows)


def follow(execution: Execution, uid: str | None, number: int, as_json: bool, follows: bool) -> None:
    """Write the last `number` lines, and new ones until the execution ends if it `follows`."""
    from machinable.results.tail import Follower  # with locks

    follower = Follower(execution, uid)
    components = {trial.uid: trial.component for trial in execution.trials}

    def write(number: int | None = None) -> None:
        # For people, the last line reports on the execution as a whole.
        found = [news for news in follower.news(number) if as_json or news.uid is not None]
        for news in found if number is None else found[max(0, len(found) - number) :]:
            component = components.get(news.uid or "")
            if as_json:
                write_json(_news_data(news, component))
            else:
                echo((f"{component} {news.uid} " if uid is None else "") + _news_text(news))
        sys.stdout.flush()

    write(number)
    interval = REMOTE_POLL_INTERVAL if follower.is_remote else POLL_INTERVAL
    while follows and follower.status is None and not (uid is not None and follower.has_ended(uid)):
        time.sleep(interval)
        write()
    running = "running" if follower.status is None else "interrupted"
    counts = Counter(running if state == "started" else state for state in follower.states.values())
    if pending := max(0, len(components) - sum(counts.values())):
        counts["pending"] = pending
    status = follower.status or "running"
    if as_json:
        write_json({"event": "tail", "execution": str(execution), "status": status, "trials": dict(counts)})
        sys.stdout.flush()
    else:
        shown = ", ".join(f"{count} {state}" for state, count in counts.items())
        message(f"{execution}: {status}; {shown or 'no trials'}")


def _news_data(news: News, component: str | None) -> dict[str, Any]:
    if news.kind == "event":
        return {**news.data, **({"component": component} if news.uid else {})}
    what = {"scope": news.scope, "row": news.data} if news.kind == "row" else {"line": news.data}
    return {"event": news.kind, "uid": news.uid, "component": component} | what


def _news_text(news: News) -> str:
    if news.kind == "event":
        attempt = [f"(attempt {news.data['attempt']})"] if news.data.get("attempt", 1) > 1 else []
        from machinable.display.progress import details

        return " ".join([news.data["event"], *attempt, *details(news.data | {"will_retry": False})])
    if news.kind == "row":
        scope = "" if news.scope == "default" else f" {news.scope}"
        return f"row{scope} {' '.join(f'{key}={value}' for key, value in _measured(news.data).items())}"
    return f"{news.kind} {printable(news.data.expandtabs())}".rstrip()


def _measured(row: Mapping[str, Any]) -> dict[str, str]:
    """Return the number of the iteration and the measurements as texts."""
    return {key: cell(value) for key, value in row.items() if key == "_iteration" or key[:1] != "_"}


# --- report


def report_command(
    identifiers: tuple[str, ...],
    storage: str | tuple[str, ...] | None,
    file: str | None,
    contrasts: tuple[str, ...],
    watches: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Write an HTML page about executions or trials, or its data as JSON; with `watches` until they have ended."""
    if as_json and file == "-":
        raise InvalidValue("stdout cannot take both the page and JSON", given=file, todo="Name a file: --to FILE.")
    if watches and file == "-":
        raise InvalidValue("--watch needs a file", given=file, todo="Name one: --to FILE.")
    compared = [_baseline(text) for text in contrasts]
    path = file
    may_replace = yes
    while True:
        with open_storage(storage) as opened:
            sides = parse_targets(opened, identifiers)
            executions = list({str(side.execution): side.execution for side in sides}.values())
            if as_json:
                write_json(
                    {
                        "storage": opened.url,
                        "executions": [execution_data(one) | {"data": one.data} for one in executions],
                        "groups": [line.as_data() for line in side_by_side(sides)],
                    }
                )
                if file is None:
                    return
                as_json = False
            path = path or f"report-{executions[0]}.html"
            _check_page(path, may_replace)
            is_running = watches and any(execution.status == "running" for execution in executions)
            interval = _interval(executions)
            refresh = int(interval) if is_running else None
            from machinable.display.html_report import report  # no other command needs it

            text = report(sides, format_time(utc_now()), contrasts=compared, refresh=refresh)
        if path == "-":
            echo(text, end="")
            return
        replace_file(path, text.encode("utf-8", "backslashreplace"), "Name another file: --to FILE.")
        if not is_running:
            break
        if not may_replace or yes:
            message(f"wrote {path}, and again every {interval:g} s while it runs")
        may_replace, yes = True, False
        time.sleep(interval)
    message(f"wrote {path}")


def _interval(executions: Sequence[Execution]) -> float:
    """Return the seconds between two pages: each reads what has changed, on an object store with requests."""
    is_remote = any(execution.files.reach == "anywhere" for execution in executions)
    return REMOTE_REPORT_INTERVAL if is_remote else REPORT_INTERVAL


def _check_page(path: str, may_replace: bool) -> None:
    """Check that a page is not written over something else."""
    if path != "-" and os.path.lexists(path) and not (may_replace and os.path.isfile(path)):
        other = "name another file: --to FILE."
        todo = f"Replace it with --yes, or {other}" if os.path.isfile(path) else other.capitalize()
        raise ArtifactExists(f"{path} already exists", given=path, todo=todo)


def _baseline(text: str) -> tuple[str, Any]:
    """Return field and value of `--contrast config.rate=0.1`."""
    conditions = parse(text) if is_condition(text) else []
    if len(conditions) != 1 or conditions[0].operator != "=":
        todo = "Name a field and the value that others are compared with: --contrast config.rate=0.1."
        raise InvalidValue(f"--contrast {text!r} is not a baseline", given=text, todo=todo)
    return conditions[0].field, conditions[0].value
