"""Conformance tests for samplers of searches. Derive from `SamplerConformance` and define `make`.

from machinable.testing import SamplerConformance

class TestMySampler(SamplerConformance):
    def make(self, space, mode, seed):
        return MySampler(space.domains, seed)
"""

from __future__ import annotations

import json
import math
from typing import Any, ClassVar

import pytest

from machinable.search.domains import choice, lograndint, loguniform, quniform, randint, uniform
from machinable.search.sample import Mode, Sample
from machinable.search.sampler import Sampler, make_sampler
from machinable.search.space import Space, read_space

__all__ = ["SamplerConformance"]

_WORST = {"min": math.inf, "max": -math.inf}


class SamplerConformance:
    """What a search relies on.

    Attributes:
        space: The space that is searched, as for `Task.tune`; a search of the default one never ends.
        samples: How many samples a test asks for at most.
        is_seeded: Whether `make` uses its seed.
    """

    space: ClassVar[Any] = {
        "rate": loguniform(1e-4, 1e-1),
        "data": {"noise": uniform(0, 1), "size": quniform(0.1, 0.7, 0.1)},
        "depth": randint(1, 8),
        "width": lograndint(1, 512),
        "optimizer": choice([{"name": "sgd", "momentum": uniform(0, 1)}, {"name": "adam"}]),
        "~": choice(["~small", "~large", None]),
    }
    samples: ClassVar[int] = 16
    is_seeded: ClassVar[bool] = True

    def make(self, space: Space, mode: Mode, seed: int) -> Any:
        """Return a new sampler as it is given to `Task.tune`: a name, or an object.

        Args:
            space: The space; `space.domains` has its domains by key.
            mode: Whether less ("min") or more ("max") is better.
            seed: The seed.
        """
        raise NotImplementedError

    def _new(self, mode: Mode = "min", seed: int = 1) -> Sampler:
        space = read_space(self.space)
        return make_sampler(self.make(space, mode, seed), space, mode, seed, self.samples)

    def _value(self, sample: Sample, mode: Mode = "min") -> float | None:
        """Return a value that depends on the sample: some samples fail, some are NaN or infinite."""
        if sample.number % 7 == 3:
            return None
        if sample.number % 7 == 5:
            return math.nan
        if sample.number % 11 == 10:
            return _WORST[mode]
        return math.sin(len(json.dumps(sample.values))) + sample.number / 100

    def _asked(self, sampler: Sampler, number: int) -> Sample | None:
        values = sampler.ask(number)
        return None if values is None else Sample(number, values)

    def _search(self, sampler: Sampler, mode: Mode = "min") -> list[Sample]:
        """Search one sample after the other, and return all."""
        found: list[Sample] = []
        while len(found) < self.samples and (sample := self._asked(sampler, len(found))) is not None:
            found.append(sample)
            sampler.tell(sample, self._value(sample, mode))
        return found

    # tests

    def test_samples_are_in_the_space_and_can_be_stored(self) -> None:
        space = read_space(self.space)

        found = self._search(self._new())

        assert found
        for sample in found:
            assert space.read(json.loads(json.dumps(sample.values))) == sample.values

    @pytest.mark.parametrize("mode", ["min", "max"])
    def test_the_same_seed_and_results_give_the_same_samples(self, mode: Mode) -> None:
        assert self._search(self._new(mode), mode) == self._search(self._new(mode), mode)

    def test_another_seed_gives_other_samples(self) -> None:
        if self.is_seeded:
            assert self._search(self._new(seed=1)) != self._search(self._new(seed=2))

    @pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf, 0.0])
    def test_a_search_goes_on_whatever_the_results_are(self, value: float | None) -> None:
        expected = len(self._search(self._new()))
        sampler = self._new()
        for number in range(expected):
            sample = self._asked(sampler, number)
            assert sample is not None
            sampler.tell(sample, value)

    def test_results_may_arrive_late_and_in_any_order(self) -> None:
        found = [self._parallel(self._new()) for _ in range(2)]

        assert found[0] == found[1]
        assert [sample.number for sample in found[0]] == list(range(len(found[0])))

    def _parallel(self, sampler: Sampler) -> list[Sample]:
        """Search four samples at a time, of which the last one ends first."""
        found: list[Sample] = []
        running: list[Sample] = []
        while len(found) < self.samples:
            sample = self._asked(sampler, len(found))
            if sample is None:
                break
            found.append(sample)
            running.append(sample)
            if len(running) == 4:
                ended = running.pop()
                sampler.tell(ended, self._value(ended))
        for ended in running:
            sampler.tell(ended, self._value(ended))
        return found

    def test_stored_samples_and_results_restore_the_state_of_a_search(self) -> None:
        whole = self._search(self._new())
        sampler = self._new()
        for number, sample in enumerate(whole[: len(whole) // 2]):
            sampler.ask(number)
            sampler.tell(sample, self._value(sample))

        rest = []
        for number in range(len(whole) // 2, len(whole)):
            sample = Sample(number, sampler.ask(number) or {})
            rest.append(sample)
            sampler.tell(sample, self._value(sample))

        assert rest == whole[len(whole) // 2 :]

    def test_a_stored_sample_may_differ_from_what_the_sampler_answers(self) -> None:
        space = read_space(self.space)
        stored = self._search(self._new(seed=2))
        sampler = self._new()
        for number, sample in enumerate(stored[:-1]):
            sampler.ask(number)
            sampler.tell(sample, self._value(sample))

        values = sampler.ask(len(stored) - 1)

        assert values is None or space.read(values) == values

    def test_a_search_that_has_ended_stays_ended(self) -> None:
        sampler = self._new()
        found = self._search(sampler)
        if len(found) < self.samples:
            assert sampler.ask(len(found)) is None
            assert sampler.ask(len(found) + 1) is None
