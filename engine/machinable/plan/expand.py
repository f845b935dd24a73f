"""From a task to its plan: which trials there are, in which order, with which seeds and names."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from itertools import product
from typing import Any, NamedTuple

from machinable import ids
from machinable.config.document import Workspace
from machinable.config.versions import expand_lists
from machinable.errors import MissingFile, SeveralErrors
from machinable.plain import without_collections
from machinable.plan.graph import Order
from machinable.plan.keys import trial_keys
from machinable.plan.plan import Plan, Row
from machinable.plan.spec import Target
from machinable.plan.uses import Uses, target_of
from machinable.plan.wish import Call, Wish
from machinable.project import Project

__all__ = ["Arranged", "arrange", "expand", "live_code"]


class Arranged(NamedTuple):
    """A task whose components are resolved, before any seed is known.

    Attributes:
        listed: what each listed component of one round was asked for as: the call, a version, those of the children.
        per_round: the numbers of their uses. rows: the use of each trial and its number in each level. keys: of each.
    """

    workspace: Workspace
    uses: Uses
    listed: list[tuple[Call, Any, Sequence[Any]]]
    per_round: list[int]
    rows: list[tuple[int, tuple[int, ...]]]
    keys: list[str]


def arrange(wish: Wish, project: Project) -> Arranged:
    """The uses and trials of a task in a project.

    Raises:
        ConfigurationError: the project or a configuration is wrong; everything that is wrong, together.
    """
    try:
        workspace = project.workspace()
    except MissingFile:
        if not wish.calls or any(isinstance(name, str) for name in wish.names()):
            raise
        workspace = Workspace.empty()  # classes and functions need no declarations
    uses = Uses(workspace, wish)
    listed: list[tuple[Call, Any, Sequence[Any]]] = []
    for call in wish.calls:
        child_versions = [expand_lists(child.version) for child in call.children]
        listed += [(call, version, inner) for version, *inner in product(expand_lists(call.version), *child_versions)]
    per_round = [uses.add(*one) for one in listed]
    SeveralErrors.raise_any(uses.errors)
    rows = _rows(uses, per_round, wish)
    return Arranged(workspace, uses, listed, per_round, rows, list(trial_keys(uses.keys, rows, wish.levels)))


def expand(wish: Wish, project: Project | str | os.PathLike[str] | None, seed: object) -> Plan:
    """The plan of a task; see `Task.plan`."""
    execution_seed = ids.seed_of(seed)
    where = project if isinstance(project, Project) else Project(project)
    with without_collections():
        workspace, uses, _, _, rows, keys = arrange(wish, where)
        assigned = ids.assign(execution_seed, keys, [uses.chosen[use] for use, _ in rows])
    for text in uses.warnings:
        warnings.warn(text, UserWarning, stacklevel=3)
    return Plan(
        id=ids.encode(execution_seed),
        seed=execution_seed,
        name=wish.name,
        project=where.path,
        project_name=workspace.main.name or os.path.basename(where.path) or "project",
        wish=wish,
        warnings=tuple(uses.warnings),
        uses=tuple(uses.uses),
        rows=tuple(Row(use, numbers, *drawn) for (use, numbers), drawn in zip(rows, assigned, strict=True)),
        levels=tuple(wish.levels),
        level_seeds=tuple(ids.level_seed(execution_seed, level.label) for level in wish.levels),
    )


def _rows(uses: Uses, per_round: list[int], wish: Wish) -> list[tuple[int, tuple[int, ...]]]:
    """The use of each trial and its number in each level; what is required stands before the first that needs it."""
    order = Order(lambda use: [needed.use for needed in uses.uses[use].requires.values()])
    rows: list[tuple[int, tuple[int, ...]]] = []
    for numbers in product(*(range(level.total) for level in reversed(wish.levels))):
        for use in per_round:
            if uses.uses[use].requires:
                rows += [(needed, ()) for needed in order.visit(use) if needed != use]
            rows.append((use, numbers[::-1]))
    return rows


def live_code(wish: Wish) -> dict[Target, Any]:
    """The classes and functions that a task was given, by where they are to be found."""
    return {target_of(name): name for name in wish.names() if not isinstance(name, str)}
