"""The trials of a search: those that a tuned task lists are not run themselves, but with values that are sampled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any

from machinable import ids
from machinable.errors import Refused, SeveralErrors
from machinable.plan.identity import sample_key, visible_elements
from machinable.plan.plan import Plan, Row, Use
from machinable.plan.planner import arrange
from machinable.plan.spec import TrialSpec
from machinable.project import Project
from machinable.serialization import Plain, as_plain

__all__ = ["Samples", "as_sample", "expected_samples", "grid_of", "without_origins"]


def without_origins(plan: Plan) -> Plan:
    """What of the plan of a tuned task runs as it is: the requirements. The others are searched."""
    return replace(plan, rows=tuple(row for row in plan.rows if plan.uses[row.use].identity))


def expected_samples(config: Mapping[str, Any], num_samples: int) -> int:
    """How many samples there are of each trial, if Ray Tune is left to itself: all of a grid, so often."""
    return num_samples * prod(len(values) for values in _grids(config))


def grid_of(value: object) -> Sequence[Any] | None:
    """The values that are gone through, for what Ray Tune calls a grid search; None for anything else."""
    if isinstance(value, Mapping) and value.keys() == {"grid_search"} and isinstance(value["grid_search"], list):
        return value["grid_search"]
    return None


def _grids(value: object) -> list[Sequence[Any]]:
    grid = grid_of(value)
    if grid is not None:
        return [grid]
    return [one for inner in value.values() for one in _grids(inner)] if isinstance(value, Mapping) else []


class Samples:
    """Makes trials of what is sampled.

    Args:
        plan: of a tuned task. project: the one that it was planned in.

    Attributes:
        origins: the trials whose configurations are searched. required: the plan of what they require.
    """

    def __init__(self, plan: Plan, project: Project) -> None:
        self.origins = [spec for spec in plan if not spec.is_requirement]
        self.required = without_origins(plan)
        self._plan = plan
        self._arranged = arrange(plan.wish, project)
        self._seeds = {row.seed for row in plan.rows}
        self._uids = {row.uid for row in plan.rows}
        self._drawn: dict[tuple[str, int], tuple[int, str]] = {}

    @property
    def warnings(self) -> list[str]:
        """What may be a mistake in what is sampled."""
        return [text for text in self._arranged.uses.warnings if text not in self._plan.warnings]

    def use(self, origin: TrialSpec, values: Mapping[str, Any]) -> Use:
        """The component of a trial with other values on top of its configuration.

        Raises:
            ConfigurationError: it does not take them. Refused: it would require something else with them.
        """
        uses = self._arranged.uses
        number = self._arranged.rows[origin.index][0]
        call, version, inner = self._arranged.listed[self._arranged.per_round.index(number)]
        try:
            added = uses.add(call, version, inner, as_plain(values, "config of Task.tune", tuples=True))
            SeveralErrors.raise_any(uses.errors)
            use = uses.uses[added]
            for name, needed in use.requires.items():
                if needed.use >= len(self._plan.uses):
                    raise Refused(
                        f"with what is sampled, {origin.component} requires another {name}",
                        given=dict(values),
                        todo="Take values that its requirements do not refer to: what is required runs before the search.",  # noqa: E501
                    )
            return use
        finally:  # the next one finds everything as it was
            for kept in (uses.uses, uses.keys, uses.chosen):
                del kept[len(self._plan.uses) :]

    def trial(
        self, use: Use, origin: TrialSpec, number: int, values: Mapping[str, Any], index: int, total: int
    ) -> TrialSpec:
        """One sample as a trial of its own.

        Args:
            use: what `use` gives. number: of the sample, from 0. index: its place in the plan. total: of all trials.
        """
        uses = (*self._plan.uses, use)
        alone = replace(self.required, uses=uses, rows=(*self.required.rows, self.row(len(uses) - 1, origin, number)))
        sample: dict[str, Plain] = {
            "of": origin.uid,
            "number": number,
            "values": visible_elements([as_plain(values)]) or {},
        }
        return replace(as_sample(alone[-1], sample, index, total), index=index)

    def row(self, use: int, origin: TrialSpec, number: int) -> Row:
        """One sample as a row of a plan that has such a use. Ask for those before it first: no two share a seed."""
        before, after = self._plan.rows[origin.index], (origin.uid, number)
        if after not in self._drawn:
            parts = self._arranged.uses.keys[before.use]
            assert not isinstance(parts, str)
            key = sample_key(self._arranged.keys[origin.index], parts, number)
            chosen = self._arranged.uses.chosen[before.use]
            self._drawn[after] = ids.assign_one(self._plan.seed, key, chosen, self._seeds, self._uids)
        return Row(use, before.numbers, *self._drawn[after])


def as_sample(spec: TrialSpec, sample: Mapping[str, Plain], index: int, total: int) -> TrialSpec:
    """The trial of a plan as that sample; `index` and `total` are what its flags say."""
    flags = {**spec.flags, "INDEX": index, "TOTAL": total, "TUNING": True}
    return replace(spec, flags=flags, sample=sample)
