"""Searches by Ray Tune, which are not carried out yet: what is asked for is refused, with the same as versions."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

from machinable.errors import Refused
from machinable.plan.task import Task
from machinable.plan.wish import Tuning

__all__ = ["refuse_tuning"]

SHOWN = 200  # characters of the versions


def refuse_tuning(task: Task) -> None:
    """See that a task wants no search.

    Raises:
        Refused: it does. Where the search is a grid, the message has it as versions.
    """
    if task.tuning is None:
        return
    versions = _versions(task.tuning)
    name = task.calls[0].name if task.calls and isinstance(task.calls[0].name, str) else "NAME"
    raise Refused(
        "this version of machinable does not hand trials to Ray Tune", given=task,
        todo="Give a list of versions to the component, one for each sample." if versions is None else
        f"The same as versions: .component({name!r}, {_shown(versions)})"
        + (f".repeat({task.tuning.num_samples})" if task.tuning.num_samples > 1 else ""),
    )  # fmt: skip


def _versions(tuning: Tuning) -> list[dict[str, Any]] | None:
    """What a grid search goes through; None if anything is drawn."""
    choices = []
    for key, value in tuning.config.items():
        if isinstance(value, Mapping) and value.keys() == {"grid_search"}:
            choices.append([(key, one) for one in value["grid_search"]])
        elif isinstance(value, (bool, int, float, str, type(None))):
            choices.append([(key, value)])
        else:
            return None
    return [dict(one) for one in product(*choices)]


def _shown(versions: list[dict[str, Any]]) -> str:
    text = repr(versions)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}… ({len(versions)} of them)"
