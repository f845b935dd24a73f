"""What the commands that run trials have in common: their options, progress, the results at the end, the exit code."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, Any, TypeVar

import click

from machinable.cli.output import json_option, storage_option, tell, told_warnings, write_json

if TYPE_CHECKING:
    from machinable.display.progress import Progress
    from machinable.errors import TrialsFailed
    from machinable.events import Listener
    from machinable.execution.dry_run import PlannedOutcome
    from machinable.plan.plan import Plan
    from machinable.results.execution import Execution
    from machinable.results.trial import Trial

__all__ = ["Again", "reading", "run", "running_options"]

_F = TypeVar("_F", bound=Callable[..., Any])
Again = Callable[["Execution", "Trial"], "str | None"]  # the command that runs a trial again

_OPTIONS = (
    storage_option,
    click.option("--engine", metavar="E", help="Where trials run. Default: local."),
    click.option("--dry", is_flag=True, help="Check everything, print what would run and why, run nothing."),
    click.option(
        "--rerun",
        multiple=True,
        metavar="NAME",
        help="Run these components though their results are there; patterns as net.*, several times.",
    ),
    click.option("--no-cascade", is_flag=True, help="With --rerun: what read their results does not run again."),
    click.option(
        "--reuse",
        type=click.Choice(["all", "same-code", "none"]),
        help="all: also results of what is not only required. same-code: only if the code is the same.",
    ),
    click.option(
        "--on-busy",
        type=click.Choice(["wait", "skip", "fail"]),
        help="What somebody else computes at the moment. Default: wait.",
    ),
    click.option("--retries", type=int, metavar="N", help="Further attempts of a trial that failed."),
    click.option("--retry-delay", type=float, metavar="S", help="Seconds before one."),
    click.option("--timeout", type=float, metavar="S", help="Seconds that an attempt may take."),
    click.option(
        "--on-failure",
        type=click.Choice(["raise", "continue", "stop"]),
        help="stop: start no further trial after a failure. continue: failures are no error (exit code 0).",
    ),
    click.option("--quiet", is_flag=True, help="No progress."),
    json_option,
)


def running_options(command: _F) -> _F:
    """Adds what all commands that run trials take."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def run(
    arguments: Mapping[str, Any],
    again: Again,
    *,
    storage: str | None,
    engine: str | None,
    dry: bool,
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Carry an execution out, tell how it goes and what came out; or tell what it would do.

    Args:
        arguments: of `execute`, besides what the options say. again: how to run a trial again.
        storage, engine, dry, quiet, as_json, options: as they come from `running_options`.

    Returns:
        The exit code.
    """
    from machinable.display.progress import Progress
    from machinable.engines import registry
    from machinable.errors import TrialsFailed, UnknownName
    from machinable.execution.execute import execute, rehearse
    from machinable.results.execution import Execution

    if dry and engine is not None and engine.partition(":")[0] not in registry.KNOWN:
        raise UnknownName("engine", engine, registry.KNOWN)
    policy = {"storage": storage, **_policy(options), **arguments}
    if dry and as_json:
        with told_warnings(), _stdout_for(as_json):
            rehearsed = rehearse(**policy)
        write_json(_plan_data(*rehearsed))
        return 0
    progress = Progress()
    failure: TrialsFailed | None = None
    with told_warnings(), _listener(progress, quiet or dry) as listener, _stdout_for(as_json):
        try:
            result = execute(engine="dry" if dry else engine, listeners=[listener], **policy)
        except TrialsFailed as error:
            failure = error
            result = error.execution
        except KeyboardInterrupt:
            result = None
    if result is None:
        return _interrupted(progress, storage, as_json)
    if not isinstance(result, Execution):  # dry by the engine that was chosen somewhere else, and printed
        if as_json:
            write_json(_plan_data(*rehearse(**policy)))
        return 0
    if as_json:
        from machinable.cli.reading import execution_data
        from machinable.display.summary import groups, rows_of

        data = execution_data(result) | {"groups": [group.as_data() for group in groups(rows_of(result.trials))]}
        write_json(data | ({"error": failure.as_data()} if failure else {}))
    else:
        _report(result, again, storage, progress)
    return 1 if failure or progress.counts.get("skipped") else 0


def _policy(options: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `execute` that were said; of the others the project's count."""
    policy = {name: options[name] for name in ("on_busy", "on_failure", "retries", "retry_delay", "timeout")}
    policy["reuse"] = False if options["reuse"] == "none" else options["reuse"]
    policy["rerun"] = list(options["rerun"]) or None
    policy["cascade"] = False if options["no_cascade"] else None
    return {name: value for name, value in policy.items() if value is not None}


def _plan_data(plan: Plan, intentions: Sequence[PlannedOutcome]) -> dict[str, Any]:
    """A plan with what would become of each trial, as plain data."""
    data = plan.as_data()
    data["trials"] = [
        {**trial, "action": one.action, "why": one.why, "source": one.source}
        for trial, one in zip(data["trials"], intentions, strict=True)
    ]
    return data


@contextmanager
def _listener(progress: Progress, quiet: bool) -> Iterator[Listener]:
    """What hears the events: the live display on a terminal, lines elsewhere."""
    from machinable.display.progress import PlainProgress
    from machinable.display.tables import is_terminal

    if quiet:
        yield progress
    elif is_terminal(sys.stderr):
        from machinable.display.live import LiveProgress

        with LiveProgress(progress, sys.stderr) as live:
            yield live
    else:
        yield PlainProgress(progress, tell)


@contextmanager
def _stdout_for(as_json: bool) -> Iterator[None]:
    """With `--json` stdout is for one document, and what components print goes to stderr."""
    if not as_json:
        yield
        return
    with redirect_stdout(sys.stderr):
        yield


def _interrupted(progress: Progress, storage: str | None, as_json: bool) -> int:
    from machinable.display.progress import is_memory

    if as_json:
        write_json({"execution": progress.execution, "storage": progress.storage or None, "status": "interrupted"})
    if progress.execution is None:
        tell("interrupted before anything was started")
    elif is_memory(progress.storage):
        tell(f"interrupted: {progress.execution} was in memory only, nothing was kept; {progress.summary()}")
    else:
        tell(f"interrupted: {progress.execution} lies in {progress.storage}; {progress.summary()}")
        tell(f"next: {reading(storage, 'resume', progress.execution)}")
    return 130


def reading(storage: str | None, *words: str) -> str:
    """A command that is about the same storage."""
    from machinable.execution.environment import command_line

    return command_line(["machinable", *words, *(["--storage", storage] if storage else [])])


def _report(execution: Execution, again: Again, storage: str | None, progress: Progress) -> None:
    """The errors of components first, then the results, where they lie and what can be done with them."""
    from machinable.display.failures import Failed, failure_text
    from machinable.display.progress import is_memory
    from machinable.display.summary import group_table, groups, rows_of
    from machinable.display.tables import write_table
    from machinable.units import format_duration

    rows = rows_of(execution.trials)
    failures = execution.failures
    if failures:
        by_uid = {row["uid"]: row for row in rows}
        failed = [Failed(by_uid[trial.uid], trial.error or {"type": "unknown"}) for trial in failures]
        tell("\n" + failure_text(failed, rows, lambda row: again(execution, execution[row["uid"]])) + "\n")
    write_table(group_table(groups(rows)), sys.stdout)
    name = f" {execution.name}" if execution.name else ""
    trials = f"{len(rows)} trial{'' if len(rows) == 1 else 's'}"
    took = f" in {format_duration(progress.seconds)}" if progress.execution else ""
    print(f"\n{execution}{name}  {execution.status}, {trials}{took}")
    if is_memory(execution.storage):
        place = "memory" if execution.storage.startswith("mem:") else execution.storage
        print(f"storage: {place}, nothing was kept; to keep it: --storage DIRECTORY")
        return
    print(f"storage: {execution.storage}")
    further = [] if execution.status == "finished" else [("resume", str(execution))]
    commands = [reading(storage, *words) for words in (("show", str(execution)), *further, ("list",))]
    print("next: " + "\n      ".join(commands))
