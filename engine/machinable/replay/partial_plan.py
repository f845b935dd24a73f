"""Plans of which only some trials run again: those that are asked for, or samples of a search without the search."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from machinable.errors import NotStored
from machinable.plan.plan import Plan, Row
from machinable.plan.samples import Samples, as_sample
from machinable.plan.spec import Requirement, TrialSpec
from machinable.project import Project
from machinable.replay.restore_code import is_search
from machinable.results.execution import Execution
from machinable.serialization import Plain

__all__ = ["Part", "part", "part_with", "samples_in"]


@dataclass(frozen=True, eq=False, repr=False)
class Part(Plan):
    """A plan with some of its trials: these are walked through, by number there are all."""

    kept: Collection[str] = ()

    def __len__(self) -> int:
        return len(self.kept)

    def __iter__(self) -> Iterator[TrialSpec]:
        for index in range(len(self.rows)):
            if self.rows[index].uid in self.kept:
                yield self._spec(index)

    def __getitem__(self, index: Any) -> Any:
        return super().__getitem__(index) if isinstance(index, slice) else self._spec(index)


def part(plan: Plan, uids: Sequence[str]) -> Part:
    """The plan, of which only these trials and what they require are walked through.

    Raises:
        NotStored: one of them is not in it.
    """
    specs = {spec.uid: spec for spec in plan}
    kept: set[str] = set()
    waiting = list(uids)
    while waiting:
        uid = waiting.pop()
        if uid not in specs:
            raise _another_plan(uid)
        if uid not in kept:
            kept.add(uid)
            waiting += [needed.uid for needed in specs[uid].requires.values()]
    if isinstance(plan, Part):
        return replace(plan, kept=frozenset(kept))
    facts = {field.name: getattr(plan, field.name) for field in fields(plan)}
    return Part(**facts, kept=frozenset(kept))


def _another_plan(uid: str) -> NotStored:
    return NotStored(
        f"the trial {uid} is not in the plan that the restored code makes of the task",
        given=uid,
        todo="The code, or the version of machinable, makes another plan than it made then.",
    )


# --- samples


@dataclass(frozen=True, eq=False, repr=False)
class _Sampled(Part):
    """A plan of samples, after all that the task requires: their flags, and how far they go, are as stored."""

    samples: Sequence[Mapping[str, Any]] = ()

    def _spec(self, index: int, requires: Mapping[str, Requirement] | None = None) -> TrialSpec:
        spec = super()._spec(index, requires)
        number = index - (len(self.rows) - len(self.samples))
        if number < 0:
            return replace(spec, flags={**spec.flags, "TOTAL": len(self.rows) - len(self.samples)})
        stored = self.samples[number]
        spec = as_sample(spec, stored["sample"], stored["index"], stored["total"])
        return replace(spec, iterations=stored["iterations"])


def samples_in(execution: Execution, uids: Collection[str]) -> list[dict[str, Plain]] | None:
    """The samples of a search as `part_with` wants them, in the order in which they were drawn; None if it was none.

    Args:
        uids: of those that run again.
    """
    if not is_search(execution):
        return None
    return [
        {
            "uid": trial.uid,
            "sample": trial.sample,
            "index": trial.flags["INDEX"],
            "total": trial.flags["TOTAL"],
            "iterations": trial.iterations if trial.uid in uids else None,
        }
        for trial in execution.trials
        if trial.sample is not None
    ]


def part_with(plan: Plan, project: Project, samples: Sequence[Mapping[str, Any]], uids: Collection[str]) -> Part:
    """What runs of a search, without the search: samples as trials of the plan, and what they require.

    Args:
        plan: of the task that was tuned. samples: all of them, as `samples_in` gives them. uids: what is to run.

    Raises:
        NotStored: one of them does not come out as it was. ConfigurationError: a component takes other values now.
    """
    made = Samples(plan, project)
    origins = {origin.uid: origin for origin in made.origins}
    uses = list(plan.uses)
    rows: list[Row] = []
    kept = []
    for stored in samples:
        sample = stored["sample"]
        if sample["of"] not in origins:
            raise _another_plan(stored["uid"])
        row = made.row(len(uses), origins[sample["of"]], sample["number"])
        if stored["uid"] in uids:
            uses.append(made.use(origins[sample["of"]], sample["values"]))
            rows.append(row)
            kept.append(stored)
    facts = {field.name: getattr(made.required, field.name) for field in fields(Plan)}
    facts |= {"uses": tuple(uses), "rows": (*made.required.rows, *rows)}
    whole = _Sampled(**facts, kept=frozenset(row.uid for row in facts["rows"]), samples=kept)
    return part(whole, list(uids))
