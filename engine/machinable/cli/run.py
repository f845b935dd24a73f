"""`machinable execute` and `machinable resume`: run trials, show progress, results and next commands."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, redirect_stdout
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from machinable.cli.arguments import parse_version, placed_on_command_line
from machinable.cli.background import announcements, run_in_background
from machinable.cli.compose import compose, only_target
from machinable.cli.output import execution_data, failures_report, message, write_json
from machinable.cli.search import SEARCH_OPTIONS, check_words, with_search
from machinable.cli.targets import open_storage
from machinable.cli.values import place_of_word
from machinable.display.progress import Progress
from machinable.display.summary import groups, rows_of
from machinable.display.terminal import echo
from machinable.engines import registry
from machinable.errors import InvalidValue, Place, Refused, TrialsFailed, UnknownName
from machinable.execution.ending import SAVE_ON_COMMAND_LINE, open_progress, show_ending, show_interrupt
from machinable.execution.environment import command_on
from machinable.execution.execute import execute
from machinable.execution.stop import request_stop
from machinable.ids import is_folder_name, seed_of_text
from machinable.plan.declared import Project
from machinable.results.execution import Execution

if TYPE_CHECKING:
    from machinable.execution.dry_run import PlannedOutcome
    from machinable.execution.resume import Changes
    from machinable.plan.plan import Plan
    from machinable.plan.task import Task

__all__ = ["execute_command", "resume_command", "stop_command"]

STOP_TIMEOUT = 30.0  # seconds that `stop` waits for the end
STOP_INTERVAL = 0.5  # seconds between two looks


def execute_command(component: str | None, seed: str | None, name: str | None, **options: Any) -> int:
    """Run a component or a task; `options` are those of `_composed` and of `_run`."""
    detach = options.pop("detach")
    if component is None or component[:1] in ("~", "@") or "=" in component:  # a version or a value
        options["versions"] = (*([] if component is None else [component]), *options["versions"])
        component = only_target(Project())
    with _composed(component, name, options) as task:
        if detach and task is not None:
            return run_in_background({**options, "storage": options["storage"] or task.settings.get("storage")})
        return _run({"task": task, "seed": None if seed is None else seed_of_text(seed)}, **options)


def resume_command(identifier: str, component: str | None, yes: bool, **options: Any) -> int:
    """Continue an execution with its stored task or a given one; `options` are those of `_composed` and of `_run`."""
    if options.pop("detach"):
        return run_in_background(options)
    storage = options["storage"]
    name = None
    if component is not None or not is_folder_name(identifier):
        with open_storage(storage) as opened:
            execution = opened.find(identifier)
            identifier, name = str(execution), execution.name
    with _composed(component, name, options) as task:
        if task is not None and not options["dry"]:
            from machinable.execution.dry_run import changes

            found = changes(identifier, task, storage)
            if not _is_confirmed(identifier, found, yes, options["as_json"]):
                message("nothing was changed")
                return 3
        return _run({"task": task, "resume": identifier}, **options)


def stop_command(identifier: str, storage: str | None, as_json: bool) -> int:
    """Ask a running execution to stop, and wait for its end for some time; return exit code 1 if it still runs."""
    with open_storage(storage) as opened:
        execution = opened.find(identifier)
        request_stop(execution)
        until = time.monotonic() + STOP_TIMEOUT
        while (status := execution.status) == "running" and time.monotonic() < until:
            time.sleep(STOP_INTERVAL)
            execution.refresh()
    if as_json:
        write_json({"execution": str(execution), "status": status})
    elif status == "running":
        message(f"{execution} was asked to stop, and has not ended yet")
        message(f"next: {command_on(storage, 'show', str(execution))}")
    else:
        echo(f"{execution} has stopped: {status}")
        if status != "finished":
            echo(f"next: {command_on(storage, 'resume', str(execution))}")
    return 1 if status == "running" else 0


@contextmanager
def _composed(target: str | None, name: str | None, options: dict[str, Any]) -> Iterator[Task | None]:
    """Return the task that the command line describes, and take what describes it out of `options`.

    Errors in it name the command line as their place. There is no task without a `target`.
    """
    words, grids, of = options.pop("versions"), options.pop("grid"), options.pop("of")
    levels = {level: options.pop(level) for level in ("repeat", "split")}
    search = {option: options.pop(option) for option in SEARCH_OPTIONS}
    if target is None:
        for option, value in {**levels, **search, "grid": grids or None, "of": of or None}.items():
            if value not in (None, ()):
                option = option.replace("_", "-")
                shown = {"grid": "KEY=VALUE,VALUE", "of": "NAME KEY=VALUE", "tune": "KEY=DOMAIN"}.get(option, "N")
                todo = f"Name one: machinable resume ID COMPONENT --{option} {shown}."
                raise InvalidValue(f"--{option} needs a component or a task", given=value, todo=todo)
        yield None
        return
    line = [*words, *(part for grid in grids for part in ("--grid", grid))]
    of_each: dict[str, list[str]] = {}
    for other, word in of:
        of_each.setdefault(other, []).append(word)
    starts = {}
    for other, own in of_each.items():
        starts[other] = len(line) + 2
        line += ["--of", other, *own]
    with placed_on_command_line(line):
        task = compose(Project(), target, words, grids)
        for other, own in of_each.items():
            place = partial(_place_after, line, starts[other])
            task.version(parse_version(own, Project(), [other], place=place, is_of=True), of=other)
        for level, k in levels.items():
            if k is not None:
                getattr(task, level)(k)
        if any(value not in (None, ()) for value in search.values()):
            task = with_search(task, search)
        check_words(task, words, line)
        yield task if name is None else task.named(name)


def _place_after(line: Sequence[str], start: int, number: int) -> Place:
    return place_of_word(line, start + number)


def _is_confirmed(identifier: str, found: Changes, yes: bool, as_json: bool) -> bool:
    """Show which trials would be added and dropped, and ask for confirmation."""
    if yes or not (found.added or found.removed):
        return True
    message(found.summary(identifier))
    if as_json or not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise Refused(
            f"{identifier} would get different trials ({found}): confirmation needed, but stdin is not a terminal",
            given=identifier,
            todo="--yes to apply, --dry to preview.",
        )
    return click.confirm(f"Resume {identifier} with these trials?", err=True)


def _run(
    arguments: Mapping[str, Any],
    *,
    storage: str | None,
    engine: str | None,
    dry: bool,
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Run an execution, report how it goes, or what it would do, and return the exit code.

    `arguments` are those of `execute` besides the options of commands that run trials.
    """
    if dry and engine is not None and engine.partition(":")[0] not in registry.KNOWN:
        raise UnknownName("engine", engine, registry.KNOWN)
    arguments = {"storage": storage, **_given(options), **arguments}
    if dry and as_json:
        from machinable.execution.dry_run import dry_run  # 2 ms, and most commands run trials

        with redirect_stdout(sys.stderr):
            planned = dry_run(**arguments)
        write_json(_plan_data(*planned))
        return 0
    failure: TrialsFailed | None = None
    interrupted = 130
    # With --json, stdout takes one document, so what components print goes to stderr.
    stdout = redirect_stdout(sys.stderr) if as_json else nullcontext()
    with _progress(quiet or dry) as progress, stdout:
        try:
            listeners = [progress, *announcements()]
            result = execute(engine="dry" if dry else engine, listeners=listeners, progress=False, **arguments)
        except TrialsFailed as error:
            failure = error
            result = error.execution
        except KeyboardInterrupt:
            result = None
        except SystemExit as terminated:  # 143 after SIGTERM, 129 after SIGHUP
            result, interrupted = None, int(terminated.code or 0)
    if storage is None and arguments["task"] is not None and "storage" in arguments["task"].settings:
        storage = progress.storage or None  # which the next commands would not find without its name
    if result is None:
        if as_json:
            data = {"execution": progress.execution, "storage": progress.storage or None, "status": "interrupted"}
            write_json(data)
        show_interrupt(progress, storage)
        return interrupted
    if not isinstance(result, Execution):  # the project or the user chose the dry engine, which printed the plan
        if as_json:
            from machinable.execution.dry_run import dry_run

            write_json(_plan_data(*dry_run(**arguments)))
        return 0
    if as_json:
        data = execution_data(result) | {"groups": [group.as_data() for group in groups(rows_of(result.trials))]}
        write_json(data | ({"error": failure.as_data()} if failure else {}))
    else:
        _report(result, storage, _again(engine, options["timeout"]), progress)
    return 1 if failure or progress.counts.get("skipped") else 0


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of `execute` whose options were given; the project's settings decide the others."""
    given = {name: options[name] for name in ("on_busy", "on_failure", "retries", "retry_delay", "timeout")}
    given["reuse"] = False if options["reuse"] == "none" else options["reuse"]
    given["rerun"] = list(options["rerun"]) or None
    given["cascade"] = False if options["no_cascade"] else None
    return {name: value for name, value in given.items() if value is not None}


def _plan_data(plan: Plan, outcomes: Sequence[PlannedOutcome]) -> dict[str, Any]:
    """Return a plan, with what would happen to each trial, as plain data."""
    data = plan.as_data()
    data["trials"] = [
        {**trial, "action": one.action, "why": one.why, "source": one.source}
        for trial, one in zip(data["trials"], outcomes, strict=True)
    ]
    return data


def _progress(quiet: bool) -> AbstractContextManager[Progress]:
    return nullcontext(Progress()) if quiet else open_progress(SAVE_ON_COMMAND_LINE)


def _again(engine: str | None, timeout: float | None) -> list[str]:
    """Return the options under which a failure happens again."""
    return [*(["--engine", engine] if engine else []), *([] if timeout is None else ["--timeout", f"{timeout:g}s"])]


def _report(execution: Execution, storage: str | None, again: Sequence[str], progress: Progress) -> None:
    """Show failures first, then the results, where they are stored and what to do next."""
    rows = rows_of(execution.trials)
    if failures := failures_report(execution, rows, storage, again):
        message(f"\n{failures}\n")
    show_ending(execution, rows, progress, storage, SAVE_ON_COMMAND_LINE)
