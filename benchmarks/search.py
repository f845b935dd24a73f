"""Compare searches on three public test functions: `python -m benchmarks.search`, with `--ray` also with Ray Tune.

Each line of the table is a way to search, each column a function and a budget in whole evaluations. A cell is the
median over seeds of the distance between the value of the sample that the search holds for the best one, without
noise, and the minimum. An evaluation has nine iterations, whose values come down to that of the function; what ends
early has used only its iterations. Noise has a seed, so that the mean of three repetitions costs three evaluations.

Branin and Hartmann6 are those of Dixon and Szegö, "The Global Optimization Problem: An Introduction" (1978).
"""

from __future__ import annotations

import argparse
import math
import os
import random
import warnings
from collections.abc import Callable, Iterator
from statistics import fmean, median
from typing import Any, NamedTuple

from machinable.search.domains import Number, uniform
from machinable.search.pruner import make_pruner
from machinable.search.sample import Sample
from machinable.search.sampler import make_sampler
from machinable.search.space import Space, read_space

ITERATIONS = 9
BUDGETS = (30, 90)  # evaluations
SEEDS = range(20)
RAY_SEEDS = range(5)


def branin(values: dict[str, float]) -> float:
    """Return the value of Branin's function, whose minimum is 0.397887."""
    x, y = values["x"], values["y"]
    bend = y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6
    return bend**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10


_ALPHA = (1.0, 1.2, 3.0, 3.2)
_A = ((10, 3, 17, 3.5, 1.7, 8), (0.05, 10, 17, 0.1, 8, 14), (3, 3.5, 1.7, 10, 17, 8), (17, 8, 0.05, 10, 0.1, 14))
_P = (
    (0.1312, 0.1696, 0.5569, 0.0124, 0.8283, 0.5886),
    (0.2329, 0.4135, 0.8307, 0.3736, 0.1004, 0.9991),
    (0.2348, 0.1451, 0.3522, 0.2883, 0.3047, 0.6650),
    (0.4047, 0.8828, 0.8732, 0.5743, 0.1091, 0.0381),
)


def hartmann6(values: dict[str, float]) -> float:
    """Return the value of the function of Hartmann in six dimensions, whose minimum is -3.32237."""
    x = [values[f"x{number}"] for number in range(6)]
    return -sum(
        alpha * math.exp(-sum(a * (v - p) ** 2 for a, v, p in zip(row, x, point, strict=True)))
        for alpha, row, point in zip(_ALPHA, _A, _P, strict=True)
    )


class Function(NamedTuple):
    """A function to minimize: its space, its minimum, how much its noise varies, and how far its iterations begin."""

    name: str
    space: Space
    value: Callable[[dict[str, float]], float]
    minimum: float
    noise: float
    start: float

    def row(self, values: dict[str, float], seed: int, iteration: int) -> float:
        """Return the metric after an iteration of an evaluation with a seed."""
        luck = random.Random(f"{seed} {sorted(values.items())}")
        slow = luck.random() if self.noise else random.Random(repr(sorted(values.items()))).random()
        noise = luck.gauss(0, self.noise) if self.noise else 0.0
        return self.value(values) + noise + self.start * (0.5 + slow) * (1 - iteration / ITERATIONS) ** 2

    def regret(self, values: dict[str, float]) -> float:
        """Return how far a sample is from the minimum."""
        return self.value(values) - self.minimum


_PLANE = read_space({"x": uniform(-5, 10), "y": uniform(0, 15)})
FUNCTIONS = (
    Function("Branin", _PLANE, branin, 0.397887, 0.0, 20.0),
    Function("Hartmann6", read_space({f"x{n}": uniform(0, 1) for n in range(6)}), hartmann6, -3.32237, 0.0, 1.0),
    Function("Branin with noise", _PLANE, branin, 0.397887, 10.0, 20.0),
)


class Search:
    """What every search does: evaluate samples until the budget is used, and hold one for the best.

    Args:
        function: The function.
        budget: The number of whole evaluations.
    """

    def __init__(self, function: Function, budget: int) -> None:
        self.function = function
        self.left = budget * ITERATIONS
        self.best = math.inf
        self.values: dict[str, float] = {}

    def rows(self, values: dict[str, float], seed: int) -> Iterator[tuple[int, float]]:
        """Yield the iterations of an evaluation and their metric, as long as the budget lasts."""
        for iteration in range(1, ITERATIONS + 1):
            if self.left <= 0:
                return
            self.left -= 1
            yield iteration, self.function.row(values, seed, iteration)

    def hold(self, values: dict[str, float], value: float) -> None:
        """Hold a sample for the best one if its value is."""
        if value < self.best:
            self.best, self.values = value, dict(values)


class Part:
    """A sampler or a pruner, which can be replaced by a new one that hears the same, as when a search is resumed."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._calls: list[tuple[str, tuple[Any, ...]]] = []
        self._part = make()

    def __call__(self, name: str, *arguments: Any) -> Any:
        """Call a method."""
        self._calls.append((name, arguments))
        return getattr(self._part, name)(*arguments)

    def resume(self) -> None:
        """Make it again, and repeat all calls."""
        self._part = self._make()
        for name, arguments in self._calls:
            getattr(self._part, name)(*arguments)


def ours(
    sampler: str, prune: str | None = None, repeats: int = 1, is_resumed: bool = False
) -> Callable[[Function, int, int], float]:
    """Return a search by a sampler and a pruner of machinable, which may be resumed after half the budget."""

    def search(function: Function, budget: int, seed: int) -> float:
        run = Search(function, budget)
        chooses = Part(lambda: make_sampler(sampler, function.space, "min", seed))
        prunes = None if prune is None else Part(lambda: make_pruner(prune, "min"))
        number, resumes = 0, is_resumed
        while run.left > 0:
            if resumes and run.left <= budget * ITERATIONS / 2:
                resumes = False
                chooses.resume()
                if prunes is not None:
                    prunes.resume()
            sample = Sample(number, chooses("ask", number) or {})
            last = []
            for repeat in range(repeats):
                value = math.inf
                for iteration, value in run.rows(sample.values, seed * 100 + repeat):
                    if prunes is not None and prunes("judge", number, repeat, iteration, value):
                        break
                last.append((value, iteration))
            mean = fmean(value for value, _ in last)
            if all(iteration == ITERATIONS for _, iteration in last):
                run.hold(sample.values, mean)
            chooses("tell", sample, mean)
            number += 1
        return function.regret(run.values)

    return search


def optuna_alone(sampler: str) -> Callable[[Function, int, int], float]:
    """Return a search by the loop of Optuna."""

    def search(function: Function, budget: int, seed: int) -> float:
        import optuna

        run = Search(function, budget)

        def objective(trial: optuna.Trial) -> float:
            values = {
                name: trial.suggest_float(name, domain.low, domain.high)
                for name, domain in function.space.domains.items()
                if isinstance(domain, Number)
            }
            *_, (_, value) = run.rows(values, seed * 100)
            run.hold(values, value)
            return value

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        study = optuna.create_study(sampler=getattr(optuna.samplers, sampler)(seed=seed))
        study.optimize(objective, n_trials=budget)
        return function.regret(run.values)

    return search


def ray_tune(kind: str) -> Callable[[Function, int, int], float]:
    """Return a search by Ray Tune: at random, with its ASHA, or with its bridge to Optuna."""

    def search(function: Function, budget: int, seed: int) -> float:
        from ray import tune
        from ray.tune.schedulers import ASHAScheduler

        class Evaluation(tune.Trainable):
            def setup(self, config: dict[str, Any]) -> None:
                self.values = config

            def reset_config(self, new_config: dict[str, Any]) -> bool:
                self.values = new_config
                return True

            def step(self) -> dict[str, float]:
                return {"value": function.row(self.values, seed * 100, self.iteration + 1)}

            def save_checkpoint(self, checkpoint_dir: str) -> None: ...

        space = {
            name: tune.uniform(d.low, d.high) for name, d in function.space.domains.items() if isinstance(d, Number)
        }
        options: dict[str, Any] = {"metric": "value", "mode": "min"}
        asha = kind == "asha"
        random.seed(seed)
        config: dict[str, Any] = {"num_samples": budget * (3 if asha else 1), "max_concurrent_trials": 1}
        if kind == "optuna":
            from ray.tune.search.optuna import OptunaSearch

            config["search_alg"] = OptunaSearch(seed=seed, **options)
        else:
            from ray.tune.search.basic_variant import BasicVariantGenerator

            config["search_alg"] = BasicVariantGenerator(max_concurrent=1, random_state=seed)
            del config["max_concurrent_trials"]
        if asha:
            config["scheduler"] = ASHAScheduler(
                time_attr="training_iteration", max_t=ITERATIONS, grace_period=1, reduction_factor=3
            )
        results = tune.Tuner(
            Evaluation,
            param_space=space,
            tune_config=tune.TuneConfig(reuse_actors=True, **options, **config),
            run_config=tune.RunConfig(stop={"training_iteration": ITERATIONS}, verbose=0),
        ).fit()
        run = Search(function, budget)
        for result in results:
            done = result.metrics["training_iteration"]
            run.left -= done
            if done == ITERATIONS:
                run.hold(result.config, result.metrics["value"])
            if run.left <= 0:
                break
        return function.regret(run.values)

    return search


METHODS = {
    "random": ours("random"),
    "TPE": ours("tpe"),
    "ASHA": ours("random", "asha"),
    "TPE, ASHA": ours("tpe", "asha"),
    "TPE, ASHA, resumed": ours("tpe", "asha", is_resumed=True),
    "TPE, mean of 3 repetitions": ours("tpe", repeats=3),
    "Optuna alone, random": optuna_alone("RandomSampler"),
    "Optuna alone, TPE": optuna_alone("TPESampler"),
}
RAY_METHODS = {"Ray Tune, random": ray_tune("random"), "Ray Tune, ASHA": ray_tune("asha")}


def main() -> None:
    """Print the table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ray", action="store_true", help="also measure Ray Tune, which takes minutes")
    with_ray = parser.parse_args().ray
    warnings.simplefilter("ignore")
    columns = [(function, budget) for function in FUNCTIONS for budget in BUDGETS]
    print("| | " + " | ".join(f"{function.name}, {budget}" for function, budget in columns) + " |")
    print("|---|" + "---|" * len(columns))
    if with_ray:
        os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    for name, method in {**METHODS, **(RAY_METHODS if with_ray else {})}.items():
        seeds = RAY_SEEDS if name in RAY_METHODS else SEEDS
        cells = [median(method(function, budget, seed) for seed in seeds) for function, budget in columns]
        print(f"| {name} | " + " | ".join(f"{cell:.2f}" for cell in cells) + " |", flush=True)


if __name__ == "__main__":
    main()
