"""The command that runs a stored trial again, and only where it is known to be exact."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from machinable.cli.words import words_of
from machinable.serialization import Plain, canonical

if TYPE_CHECKING:
    from machinable.results.execution import Execution
    from machinable.results.trial import Trial

__all__ = ["again", "is_required", "seed_word"]

_BESIDES = ("children", "flags", "checkpoint", "resources", "requires")  # of a call in Python; no word says them


def again(execution: Execution, trial: Trial, storage: str | None) -> str | None:
    """What is to be typed to run a trial again: `machinable execute …` with the same words, id and repetition.

    Where no such command gives this trial (it was asked for in Python in a way that has no words, or is a requirement)
    it is `machinable resume`, which runs all that failed again. It is None in memory, where there is nothing to resume,
    and where the code is that of a script, which no command finds.

    Args:
        storage: as it is to be named on the command line; None if that need not be said.
    """
    from machinable.display.progress import is_memory
    from machinable.execution.environment import command_line

    stored = ["--storage", storage] if storage else []
    words = _words(execution, trial)
    if words is not None:
        seed = seed_word(execution.id)
        return command_line(["machinable", "execute", *words, *stored, "--seed", seed])
    if is_memory(execution.storage) or _is_of_a_script(execution):
        return None
    return command_line(["machinable", "resume", str(execution), *stored])


def is_required(execution: Execution, trial: Trial) -> bool:
    """Whether a trial is there because others need it, and not because it was asked for."""
    return any(needed.uid == trial.uid for spec in execution.plan for needed in spec.requires.values())


def seed_word(identifier: str) -> str:
    """An execution id as `--seed` takes it: one of digits would be a number."""
    return f"id:{identifier}" if identifier.isdigit() else identifier


def _is_of_a_script(execution: Execution) -> bool:
    return any(call["component"].startswith("__main__:") for call in execution.data["task"]["components"])


def _words(execution: Execution, trial: Trial) -> list[str] | None:
    """Component, version and `--repeat`; None if they would not make a trial with this uid and these settings."""
    from machinable import ids

    task: Mapping[str, Any] = execution.data.get("task") or {}
    calls = [call for call in task.get("components", ()) if call["component"] == trial.flags.get("NAME")]
    if not calls or any(call.get(what) for call in calls for what in _BESIDES):
        return None
    name, version = str(trial.flags["NAME"]), words_of(trial.version)
    if ":" in name or version is None:  # a class or a function
        return None
    words = [name, *version]
    levels: list[Plain] = []
    number = trial.flags.get("REPEAT_NUMBER")
    if isinstance(number, int):
        levels = [["REPEAT", number]]
        # How many repetitions there are does not count for a seed, so that fewer end with the one that is meant.
        words += ["--repeat", str(number + 1)]
    key = {"component": trial.component, "version": trial.version, "children": [], "levels": levels, "ordinal": 0}
    ((_, uid),) = ids.assign(execution.seed, [canonical(key)], [None])
    return words if uid == trial.uid else None
