"""Conformance of the samplers: ours, those of Optuna, and a minimal one of a user."""

from __future__ import annotations

import random
from typing import Any

import optuna
import pytest

import machinable as ml
from machinable.errors import MachinableError
from machinable.search.domains import Choice
from machinable.search.sample import Mode, Sample
from machinable.search.space import Space
from machinable.testing.sampler import SamplerConformance


class TestRandom(SamplerConformance):
    def make(self, space: Space, mode: Mode, seed: int) -> Any:
        return "random"


class TestGrid(SamplerConformance):
    space = {"depth": ml.randint(1, 3), "kind": ml.choice([{"a": 1}, {"b": ml.quniform(0, 1, 0.5)}]), "g": ml.grid([1])}
    is_seeded = False

    def make(self, space: Space, mode: Mode, seed: int) -> Any:
        return "grid"


class TestTPE(SamplerConformance):
    def make(self, space: Space, mode: Mode, seed: int) -> Any:
        return "tpe"


class TestCMAES(SamplerConformance):
    def make(self, space: Space, mode: Mode, seed: int) -> Any:
        return "cmaes"


class TestGaussianProcess(SamplerConformance):
    def make(self, space: Space, mode: Mode, seed: int) -> Any:
        pytest.importorskip("torch")
        return "gp"


class TestObjectOfOptuna(SamplerConformance):
    def make(self, space: Space, mode: Mode, seed: int) -> Any:
        return optuna.samplers.NSGAIISampler(population_size=4, seed=seed)


class Climber:
    """Change one setting of the best sample so far, which is all that a sampler of a user must be able to do."""

    def __init__(self, space: Space, mode: Mode, seed: int) -> None:
        self.space, self.draw, self.best = space, random.Random(seed), float("inf")
        self.sign = 1 if mode == "min" else -1
        self.picks: dict[str, float] = {}

    def ask(self) -> dict[str, Any]:
        changed = self.draw.choice(list(self.space.settings))

        def pick(name: str, domain: Any) -> Any:
            unit = self.draw.random()
            if name in self.picks and name != changed:
                return self.picks[name]
            return int(unit * len(domain.options)) if isinstance(domain, Choice) else domain.from_unit(unit)

        return self.space.draw(pick)

    def tell(self, sample: Sample, value: float | None) -> None:
        if value is not None and self.sign * value < self.best:
            self.best, self.picks = self.sign * value, self.space.picks(sample.values)


class TestObjectOfUser(SamplerConformance):
    def make(self, space: Space, mode: Mode, seed: int) -> Any:
        return Climber(space, mode, seed)


class Unseeded:
    """A sampler that breaks each promise."""

    asked = 0

    def ask(self, number: int) -> dict[str, Any] | None:
        Unseeded.asked += 1
        return {"a": Unseeded.asked / 1000 if number != 7 else 2.0} if Unseeded.asked % 10 else None

    def tell(self, sample: Sample, value: float | None) -> None:
        assert value is not None


class OfUnseeded(SamplerConformance):
    space = {"a": ml.uniform(0, 1)}

    def make(self, space: Space, mode: Mode, seed: int) -> Any:
        return Unseeded()


@pytest.mark.parametrize(
    "test",
    [
        lambda kit: kit.test_samples_are_in_the_space_and_can_be_stored(),
        lambda kit: kit.test_the_same_seed_and_results_give_the_same_samples("min"),
        lambda kit: kit.test_a_search_goes_on_whatever_the_results_are(None),
        lambda kit: kit.test_results_may_arrive_late_and_in_any_order(),
        lambda kit: kit.test_stored_samples_and_results_restore_the_state_of_a_search(),
    ],
)
def test_a_sampler_that_breaks_a_promise_does_not_conform(test: Any) -> None:
    with pytest.raises((AssertionError, MachinableError)):
        test(OfUnseeded())
