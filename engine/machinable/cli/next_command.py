"""Commands to run next: on the same storage, or to run a stored trial again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from machinable import ids
from machinable.cli.arguments import format_version
from machinable.display.progress import is_memory
from machinable.execution.environment import command_line
from machinable.serialization import Plain, canonical

if TYPE_CHECKING:
    from machinable.results.execution import Execution
    from machinable.results.trial import Trial

__all__ = ["command_on", "is_required", "rerun_command", "seed_word"]

# Arguments of a component request in Python that no command line can give.
_PYTHON_ONLY = ("children", "flags", "checkpoint", "resources", "requires")


def command_on(storage: str | None, *words: str) -> str:
    """Return a command on the same storage."""
    return command_line(["machinable", *words, *(["--storage", storage] if storage else [])])


def seed_word(identifier: str) -> str:
    """Return an execution id as `--seed` takes it: digits alone would be a number."""
    return f"id:{identifier}" if identifier.isdigit() else identifier


def is_required(execution: Execution, trial: Trial) -> bool:
    """Return whether other trials require this one, rather than the task listing it."""
    return any(needed.uid == trial.uid for spec in execution.plan for needed in spec.requires.values())


def rerun_command(execution: Execution, trial: Trial, storage: str | None) -> str | None:
    """Return the command that runs a stored trial again.

    It is `machinable execute …` with the same words, id and repetition if that gives exactly this trial. Otherwise
    (the trial is required by others, or comes from Python in a way that has no words) it is `machinable resume`, which
    runs everything that failed again.

    Args:
        execution: The execution.
        trial: One of its trials.
        storage: The storage as the command line names it; None if it need not be named.

    Returns:
        The command; None for an execution in memory, which cannot be resumed, and for code of a script, which no
        command finds.
    """
    options = ["--storage", storage] if storage else []
    words = _execute_words(execution, trial)
    if words is not None:
        return command_line(["machinable", "execute", *words, *options, "--seed", seed_word(execution.id)])
    if is_memory(execution.storage) or _is_from_script(execution):
        return None
    return command_line(["machinable", "resume", str(execution), *options])


def _is_from_script(execution: Execution) -> bool:
    return any(call["component"].startswith("__main__:") for call in execution.data["task"]["components"])


def _execute_words(execution: Execution, trial: Trial) -> list[str] | None:
    """Return component, version and `--repeat`; None if they would not make a trial with this uid and settings."""
    task: Mapping[str, Any] = execution.data.get("task") or {}
    requests = [one for one in task.get("components", ()) if one["component"] == trial.flags.get("NAME")]
    if not requests or any(one.get(what) for one in requests for what in _PYTHON_ONLY):
        return None
    name, version = str(trial.flags["NAME"]), format_version(trial.version)
    if ":" in name or version is None:  # a class or a function
        return None
    words = [name, *version]
    levels: list[Plain] = []
    number = trial.flags.get("REPEAT_NUMBER")
    if isinstance(number, int):
        levels = [["REPEAT", number]]
        # The number of repetitions does not change a seed, so that fewer end with the wanted one.
        words += ["--repeat", str(number + 1)]
    key = {"component": trial.component, "version": trial.version, "children": [], "levels": levels, "ordinal": 0}
    ((_, uid),) = ids.assign(execution.seed, [canonical(key)], [None])
    return words if uid == trial.uid else None
