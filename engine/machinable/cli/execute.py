"""`machinable execute`: run a component, tell how it goes, and say what came out."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, Any

import click

from machinable.cli.output import json_option, storage_option, tell, told_warnings, write_json

if TYPE_CHECKING:
    from machinable.display.progress import Progress
    from machinable.events import Listener
    from machinable.results.execution import Execution

__all__ = ["command"]


@click.command("execute")
@click.argument("component")
@click.argument("versions", nargs=-1, metavar="[~VERSION | @VERSION | KEY=VALUE]…")
@click.option("--repeat", type=int, metavar="N", help="Run it N times, with other seeds.")
@storage_option
@click.option("--engine", metavar="E", help="Where trials run. Default: local.")
@click.option("--seed", metavar="S", help="A number, or the id of an execution (id:123456 if it is all digits).")
@click.option("--name", metavar="N", help="Name the execution.")
@click.option("--dry", is_flag=True, help="Check everything, print the plan, run nothing.")
@click.option(
    "--on-failure", type=click.Choice(["raise", "continue", "stop"]),
    help="stop: start no further trial after a failure. continue: failures are no error (exit code 0).",
)  # fmt: skip
@click.option("--quiet", is_flag=True, help="No progress.")
@json_option
def command(
    component: str,
    versions: tuple[str, ...],
    repeat: int | None,
    storage: str | None,
    engine: str | None,
    seed: str | None,
    name: str | None,
    dry: bool,
    on_failure: Any,
    quiet: bool,
    as_json: bool,
) -> int:
    """Run COMPONENT and keep what comes out.

    Versions and values are merged from left to right. A value is YAML: rate=1e-3, layers=[64,64], data.name=mnist.
    @name is the same as ~name, which some shells expand.
    """
    from machinable.cli.words import version_of
    from machinable.display.progress import Progress
    from machinable.engines import registry
    from machinable.errors import TrialsFailed, UnknownName
    from machinable.execution.execute import execute
    from machinable.ids import seed_of_text
    from machinable.plan.plan import Plan
    from machinable.plan.task import Task

    if dry and engine is not None and engine.partition(":")[0] not in registry.KNOWN:
        raise UnknownName("engine", engine, registry.KNOWN)
    task = Task(name=name).component(component, version_of(versions))
    if repeat is not None:
        task.repeat(repeat)
    progress = Progress()
    with told_warnings(), _listener(progress, quiet or dry) as listener, _stdout_for(as_json):
        try:
            result = execute(
                task, storage=storage, seed=None if seed is None else seed_of_text(seed),
                engine="dry" if dry else engine,
                on_failure=on_failure, listeners=[listener],
            )  # fmt: skip
        except TrialsFailed as error:
            failure: TrialsFailed | None = error
            result = error.execution
        except KeyboardInterrupt:
            result = None
        else:
            failure = None
    if result is None:
        return _interrupted(progress, as_json)
    if isinstance(result, Plan):  # asked for by --dry, --engine, the environment or the project
        if as_json:
            write_json(result.as_data())
        return 0
    again = _Again(component, versions, repeat, storage, engine, name)
    if as_json:
        from machinable.cli.reading import execution_data
        from machinable.display.outcomes import groups

        data = execution_data(result) | {"groups": [group.as_data() for group in groups(result.trials.rows())]}
        write_json(data | ({"error": failure.as_data()} if failure else {}))
    else:
        _report(result, again, progress)
    return failure.exit_code if failure else 0


@contextmanager
def _listener(progress: Progress, quiet: bool) -> Iterator[Listener]:
    """What hears the events: the live display on a terminal, lines elsewhere."""
    from machinable.display.progress import PlainProgress
    from machinable.display.terminal import is_terminal

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


def _interrupted(progress: Progress, as_json: bool) -> int:
    from machinable.display.progress import is_memory

    where = f"in {progress.storage}" if not is_memory(progress.storage) else "in memory only, nothing was kept"
    if progress.execution is None:
        text = "interrupted before anything was started"
    else:
        text = f"interrupted: {progress.execution} lies {where}; {progress.summary()}"
    if as_json:
        write_json({"execution": progress.execution, "storage": progress.storage or None, "status": "interrupted"})
    tell(text)
    return 130


class _Again:
    """What was typed, to be typed again."""

    def __init__(
        self, component: str, versions: Sequence[str], repeat: int | None, storage: str | None, engine: str | None,
        name: str | None,
    ) -> None:  # fmt: skip
        self.component = component
        self.versions = versions
        self.repeat = repeat
        self.storage = storage
        self.options = [part for option, given in (("--engine", engine), ("--name", name)) if given for part in (option, given)]  # noqa: E501  # fmt: skip

    def reading(self, *words: str) -> str:
        """A command that reads from the same storage."""
        from machinable.execution.host import command_line

        stored = ["--storage", self.storage] if self.storage else []
        return command_line(["machinable", *words, *stored])

    def execute(self, identifier: str, number: int) -> str:
        """The command that runs the same again; of repetitions those up to that number."""
        from machinable.cli.words import shown_words
        from machinable.execution.host import command_line

        words = ["machinable", "execute", self.component, *shown_words(self.versions)]
        if self.repeat is not None:
            # The number of repetitions does not count for a seed, so that fewer end with the one that is meant.
            words += ["--repeat", str(number + 1)]
        words += self.options
        if self.storage:
            words += ["--storage", self.storage]
        return command_line([*words, "--seed", f"id:{identifier}" if identifier.isdigit() else identifier])


def _report(execution: Execution, again: _Again, progress: Progress) -> None:
    """The errors of components first, then the results, where they lie and what can be done with them."""
    from machinable.display.outcomes import Failed, failure_text, group_table, groups
    from machinable.display.progress import duration, is_memory
    from machinable.display.tables import write_table

    rows = execution.trials.rows()
    failures = execution.failures
    if failures:
        by_uid = {row["uid"]: row for row in rows}
        failed = [Failed(by_uid[trial.uid], trial.error or {"type": "unknown"}) for trial in failures]
        number = failures[0].flags.get("REPEAT_NUMBER", 0)
        tell("\n" + failure_text(failed, rows, again.execute(execution.id, number)) + "\n")
    write_table(group_table(groups(rows)), sys.stdout)
    name = f" {execution.name}" if execution.name else ""
    trials = f"{len(rows)} trial{'' if len(rows) == 1 else 's'}"
    print(f"\n{execution}{name}  {progress.status}, {trials} in {duration(progress.seconds)}")
    if is_memory(progress.storage):
        print("storage: memory, nothing was kept; to keep it: --storage DIRECTORY")
    else:
        print(f"storage: {progress.storage}")
        print(f"next: {again.reading('show', str(execution))}")
        print(f"      {again.reading('list')}")
