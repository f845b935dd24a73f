"""The plan of a search, which grows by the trials of each sample."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import product
from math import prod
from typing import Any, Protocol, cast

from msgspec.structs import replace

from machinable import ids
from machinable.plan.identity import KeyParts, trial_keys
from machinable.plan.plan import Plan, Row, Use
from machinable.plan.search import SearchRequest
from machinable.plan.spec import Requirement, TrialSpec
from machinable.serialization import Plain

__all__ = ["SearchPlan", "UsePlanner", "sample_version"]


class UsePlanner(Protocol):
    """Plans the uses of samples; the parts of the keys and the chosen seeds are as numerous as the uses."""

    uses: list[Use]
    keys: list[KeyParts | str]
    chosen: list[int | None]

    def add_sample(self, values: Mapping[str, Plain]) -> None:
        """Add the use of a sample, after those that it requires.

        Raises:
            ConfigurationError: The values make no configuration.
        """


class SearchPlan(Plan):
    """The plan of a search: it grows by the trials of each sample.

    Attributes:
        base: The component as it is without a sample.
        samples: The indices of the trials of each sample.
        sample_of: The sample of each trial, by uid; requirements belong to none.
        chosen: The uids of the only trials that run, with what they require; None for all.
        repeated: What the search did before, as lines of a ledger, if it is repeated; None if it goes on by itself.
    """

    base: Use
    uses: list[Use]  # type: ignore[assignment]
    rows: list[Row]  # type: ignore[assignment]

    def begin(self, planner: UsePlanner, base: Use) -> SearchPlan:
        """Take what plans the uses of samples."""
        self.base = base
        self.uses, self.rows = planner.uses, []
        self.samples: list[range] = []
        self.sample_of: dict[str, int] = {}
        self.chosen: Collection[str] | None = None
        self.repeated: Sequence[Mapping[str, Any]] | None = None
        self._planner = planner
        self.unwritten = range(0)  # the indices of trials that are not in the stored plan
        self._placed = 0  # uses that have trials
        self._uids: set[str] = set()
        self._known: dict[int, Mapping[str, Requirement]] = {}
        self._required: dict[int, TrialSpec] = {}
        return self

    @property
    def search(self) -> SearchRequest:
        """What is searched for."""
        assert self.request.search is not None
        return self.request.search

    @property
    def repeats(self) -> int:
        """The number of trials of one sample."""
        return prod(level.total for level in self.request.levels)

    @property
    def expected(self) -> int:
        """The number of trials that the plan will have, if its end is known; at least those that it has."""
        return len(self.rows) + max(0, (self.search.samples or 0) - len(self.samples)) * self.repeats

    @property
    def to_run(self) -> int:
        """The number of trials that will have run, if that is known."""
        return self.expected if self.repeated is None else sum(1 for _ in self)

    def plan_sample(self, values: Mapping[str, Plain]) -> range:
        """Plan the uses of a sample, whose trials are added by `add`, and return the numbers of those that are new.

        Args:
            values: The values of the sample, by path; "~" for a version.

        Raises:
            ConfigurationError: The values make no configuration.
        """
        self._planner.add_sample(values)
        return range(self._placed, len(self.uses))

    def drop(self) -> None:
        """Drop the sample that was planned last; what it requires stays for others."""
        for facts in (self.uses, self._planner.keys, self._planner.chosen):
            facts.pop()

    def add(self) -> None:
        """Add the trials of the sample that was planned last, and of what it is the first to require."""
        levels, first, last = self.request.levels, self._placed, len(self.uses) - 1
        rows: list[tuple[int, tuple[int, ...]]] = [(number, ()) for number in range(first, last)]
        rows += [(last, numbers[::-1]) for numbers in product(*(range(level.total) for level in reversed(levels)))]
        keys = trial_keys(self._planner.keys, rows, [level.label for level in levels])
        # Paired: each repetition has the same seed in every sample.
        chosen: list[int | None] = []
        for use, numbers in rows:
            seed = self._planner.chosen[use]
            chosen.append(self._paired_seed(numbers) if seed is None else seed)
        drawn = ids.assign(self.seed, list(keys), chosen, self._uids)
        begin = len(self.rows)
        self.rows += [Row(use, numbers, *one) for (use, numbers), one in zip(rows, drawn, strict=True)]
        self._placed = last + 1
        for number in range(first, last + 1):
            self._connect(number, begin + number - first)
        added = range(begin + last - first, len(self.rows))
        self.sample_of |= {self.rows[at].uid: len(self.samples) for at in added}
        self.samples.append(added)
        self.unwritten = range(self.unwritten.start if self.unwritten else begin, len(self.rows))

    def __iter__(self) -> Iterator[TrialSpec]:
        if self.chosen is None:
            return super().__iter__()
        waiting, kept = list(self.chosen), set[str]()
        required = {row.uid: self._known[row.use] for row in self.rows}
        while waiting:
            uid = waiting.pop()
            if uid not in kept:
                kept.add(uid)
                waiting += [needed.uid for needed in required[uid].values()]
        return (self._spec(index) for index, row in enumerate(self.rows) if row.uid in kept)

    def refuse(self) -> None:
        """Count a sample whose values make no configuration, and which has no trials."""
        self.samples.append(range(0))

    def uids(self, sample: int) -> list[str]:
        """Return the uids of the trials of a sample."""
        return [self.rows[at].uid for at in self.samples[sample]]

    def _connect(self, number: int, index: int) -> None:
        use = self.uses[number]
        self._known[number] = {
            name: Requirement(
                self.uses[needed.use].component,
                self._required[needed.use].uid,
                needed.identity,
                needed.artifact,
                spec=self._required[needed.use],
            )
            for name, needed in use.requires.items()
        }
        if use.identity:
            spec = self._spec(index, {})
            self._required[number] = replace(spec, definition=replace(spec.definition, origins={}))

    @property
    def _requirements(self) -> Mapping[int, Mapping[str, Requirement]]:  # type: ignore[override]
        return self._known

    def _spec(self, index: int, requires: Mapping[str, Requirement] | None = None) -> TrialSpec:
        spec = super()._spec(index, requires)
        flags = cast("dict[str, Plain]", spec.flags)
        flags["TOTAL"] = self.expected
        sample = self.sample_of.get(spec.uid)
        if sample is not None:
            flags["SAMPLE"] = sample
        return spec


def sample_version(version: Any, values: Mapping[str, Plain]) -> tuple[Any, ...]:
    """Return the version of a component with the values of a sample merged over it."""
    below = version if isinstance(version, tuple) else () if version is None else (version,)
    named = values.get("~")
    keys = {path: value for path, value in values.items() if path != "~"}
    return (*below, *(() if named is None else (named,)), *((keys,) if keys else ()))
