"""`machinable resume`: an execution goes on in its own folder, with its stored task or with another one."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from machinable.cli.output import tell
from machinable.cli.running import run, running_options

if TYPE_CHECKING:
    from machinable.execution.resume import Changes
    from machinable.plan.task import Task
    from machinable.results.execution import Execution
    from machinable.results.trial import Trial

__all__ = ["command"]


@click.command("resume")
@click.argument("identifier", metavar="ID")
@click.argument("component", required=False)
@click.argument("versions", nargs=-1, metavar="[~VERSION | @VERSION | KEY=VALUE]…")
@click.option("--repeat", type=int, metavar="N", help="Run COMPONENT N times, with other seeds.")
@click.option("--yes", is_flag=True, help="Do not ask whether trials shall be added or removed.")
@running_options
def command(
    identifier: str,
    component: str | None,
    versions: tuple[str, ...],
    repeat: int | None,
    yes: bool,
    **options: Any,
) -> int:
    """Go on with the execution ID: what has not finished runs, all else stays as it is.

    What shall run is what is stored. With COMPONENT, as for `execute`, that is what counts: trials that are new run,
    those that it does not have any more stay in their folders and do not count.
    """
    from machinable.cli.again import again

    task = _task(identifier, component, versions, repeat, options["storage"])
    if task is not None and not options["dry"]:
        from machinable.cli.output import told_warnings
        from machinable.execution.execute import changes

        with told_warnings():
            found = changes(identifier, task, options["storage"])
        if not _is_wanted(identifier, found, yes, options["as_json"]):
            tell("nothing was changed")
            return 3

    def run_again(execution: Execution, trial: Trial) -> str | None:
        return again(execution, trial, options["storage"])

    return run({"task": task, "resume": identifier}, run_again, **options)


def _task(
    identifier: str, component: str | None, versions: tuple[str, ...], repeat: int | None, storage: str | None
) -> Task | None:
    """The task that was typed, named as the stored one; None if the stored one counts."""
    from machinable.cli.reading import open_storage
    from machinable.cli.words import version_of
    from machinable.errors import InvalidValue
    from machinable.plan.task import Task

    if component is None:
        if repeat is not None:
            raise InvalidValue(
                "--repeat belongs to a component",
                given=repeat,
                todo="Name it: machinable resume ID COMPONENT --repeat N.",
            )
        return None
    with open_storage(storage) as opened:
        name = opened[identifier].name
    task = Task(name=name).component(component, version_of(versions))
    return task if repeat is None else task.repeat(repeat)


def _is_wanted(identifier: str, changes: Changes, yes: bool, as_json: bool) -> bool:
    """If trials are added or removed, tell it and ask.

    Raises:
        Refused: there is nobody to ask.
    """
    from machinable.errors import Refused

    if yes or not (changes.added or changes.removed):
        return True
    tell(changes.told_of(identifier))
    if as_json or not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise Refused(
            f"{identifier} would have other trials ({changes}), and there is nobody to ask",
            given=identifier,
            todo="To have it so: --yes. To see them first: --dry.",
        )
    return click.confirm(f"Go on with {identifier} like this?", err=True)
