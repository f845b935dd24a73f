"""`machinable execute`: run a component, tell how it goes, and say what came out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from machinable.cli.running import run, running_options

if TYPE_CHECKING:
    from machinable.results.execution import Execution
    from machinable.results.trial import Trial

__all__ = ["command"]


@click.command("execute")
@click.argument("component")
@click.argument("versions", nargs=-1, metavar="[~VERSION | @VERSION | KEY=VALUE]…")
@click.option("--repeat", type=int, metavar="N", help="Run it N times, with other seeds.")
@click.option("--seed", metavar="S", help="A number, or the id of an execution (id:123456 if it is all digits).")
@click.option("--name", metavar="N", help="Name the execution.")
@running_options
def command(
    component: str,
    versions: tuple[str, ...],
    repeat: int | None,
    seed: str | None,
    name: str | None,
    **options: Any,
) -> int:
    """Run COMPONENT and keep what comes out.

    Versions and values are merged from left to right. A value is YAML: rate=1e-3, layers=[64,64], data.name=mnist.
    @name is the same as ~name, which some shells expand.
    """
    from machinable.cli.words import shown_words, version_of
    from machinable.ids import seed_of_text
    from machinable.plan.task import Task

    task = Task(name=name).component(component, version_of(versions))
    if repeat is not None:
        task.repeat(repeat)
    words = ["machinable", "execute", component, *shown_words(versions)]
    further = [("--engine", options["engine"]), ("--name", name), ("--storage", options["storage"])]
    besides = [part for option, value in further if value for part in (option, value)]

    def again(execution: Execution, trial: Trial) -> str | None:
        return _again(execution, trial, words, besides, options["storage"])

    return run({"task": task, "seed": None if seed is None else seed_of_text(seed)}, again, **options)


def _again(execution: Execution, trial: Trial, words: list[str], besides: list[str], storage: str | None) -> str | None:
    """What was typed, with this id; of repetitions those up to the one that is meant. For a requirement: `resume`."""
    from machinable.cli.again import again, is_required, seed_word
    from machinable.execution.environment import command_line

    if is_required(execution, trial):
        return again(execution, trial, storage)
    number = trial.flags.get("REPEAT_NUMBER")
    # The number of repetitions does not count for a seed, so that fewer end with the one that is meant.
    repeat = ["--repeat", str(number + 1)] if isinstance(number, int) else []
    return command_line([*words, *repeat, *besides, "--seed", seed_word(execution.id)])
