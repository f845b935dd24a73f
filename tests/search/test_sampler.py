"""Samplers: what each answers, that it answers the same again, and what is refused."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import optuna
import pytest

import machinable as ml
from machinable.errors import ImportFailed, InvalidType, InvalidValue, MachinableError, UnknownName
from machinable.search.sample import Sample
from machinable.search.sampler import make_sampler
from machinable.search.space import read_space

SPACE = read_space({"rate": ml.loguniform(1e-4, 1e-1), "size": ml.randint(1, 8), "kind": ml.choice(["a", "b"])})


class Halving:
    """Go to the middle of what is left, a minimal sampler."""

    def __init__(self, low: float = 1e-4, high: float = 1e-1) -> None:
        self.low, self.high = low, high
        self.heard: list[tuple[int, float | None]] = []

    def ask(self) -> dict[str, Any] | None:
        return {"rate": (self.low + self.high) / 2, "size": 3, "kind": "a"} if len(self.heard) < 4 else None

    def tell(self, sample: Sample, value: float | None) -> None:
        self.heard.append((sample.number, value))
        self.high = sample.values["rate"]


def test_a_random_sample_depends_only_on_the_seed_and_its_number() -> None:
    sampler = make_sampler(None, SPACE, "min", 7)
    first = [sampler.ask(number) for number in range(100)]

    assert make_sampler("random", SPACE, "max", 7).ask(99) == first[99]
    assert make_sampler("random", SPACE, "min", 8).ask(99) != first[99]
    assert len({repr(values) for values in first}) == 100


def test_random_takes_the_values_of_grids_in_turn() -> None:
    space = read_space({"rate": ml.uniform(0, 1), "a": ml.grid([1, 2]), "b": ml.grid(["x", "y"])})
    sampler = make_sampler("random", space, "min", 7)

    samples = [sampler.ask(number) or {} for number in range(8)]

    assert [(values["a"], values["b"]) for values in samples] == [(1, "x"), (1, "y"), (2, "x"), (2, "y")] * 2
    assert len({values["rate"] for values in samples}) == 8
    assert space.grid_size == 4


def test_random_ends_with_the_last_combination_of_grids_alone() -> None:
    sampler = make_sampler("random", read_space({"a": {"grid_search": [1, 2]}, "b": ml.grid([3, 4])}), "min", 7)

    samples = [sampler.ask(number) for number in range(5)]

    assert samples == [{"a": 1, "b": 3}, {"a": 1, "b": 4}, {"a": 2, "b": 3}, {"a": 2, "b": 4}, None]


def test_a_grid_is_the_product_of_all_values() -> None:
    sampler = make_sampler("grid", read_space({"a": ml.randint(1, 2), "b": ml.choice(["x", "y"])}), "min", 7)

    assert [sampler.ask(number) for number in range(5)] == [
        {"a": 1, "b": "x"}, {"a": 1, "b": "y"}, {"a": 2, "b": "x"}, {"a": 2, "b": "y"}, None
    ]  # fmt: skip


def test_a_grid_of_continuous_domains_is_refused() -> None:
    with pytest.raises(InvalidValue) as raised:
        make_sampler("grid", SPACE, "min", 7)

    assert str(raised.value) == (
        "a grid has no values for continuous domains: rate: loguniform(0.0001, 0.1)\n"
        '  Write quniform(low, high, step) or grid([…]), or choose the sampler "random".'
    )


def test_optuna_finds_the_valley_that_it_is_shown() -> None:
    space = read_space({"x": ml.uniform(-1, 1), "y": ml.quniform(-1, 1, 0.1)})
    sampler = make_sampler("tpe", space, "max", 1, 60)
    values = []
    for number in range(60):
        asked = sampler.ask(number) or {}
        values.append(-abs(asked["x"] - 0.3) - abs(asked["y"] + 0.5))
        sampler.tell(Sample(number, asked), values[-1])

    assert sum(values[40:]) > sum(values[:20]) * 0.6


def test_an_optuna_sampler_with_options_and_an_object_answer_as_in_optuna_alone() -> None:
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=3, n_startup_trials=2))
    given = [
        make_sampler({"tpe": {"seed": 3, "n_startup_trials": 2}}, SPACE, "min", 9),
        make_sampler(optuna.samplers.TPESampler(seed=3, n_startup_trials=2), SPACE, "min", 9),
    ]
    for number in range(8):
        trial = study.ask()
        expected = {
            "rate": trial.suggest_float("rate", 1e-4, 1e-1, log=True),
            "size": trial.suggest_int("size", 1, 8),
            "kind": "ab"[trial.suggest_categorical("kind", (0, 1))],
        }
        study.tell(trial, expected["rate"])
        for sampler in given:
            assert sampler.ask(number) == expected
            sampler.tell(Sample(number, expected), expected["rate"])


def test_a_stored_sample_counts_in_place_of_what_the_sampler_answers() -> None:
    """A stored sample of conditional settings, replayed on a sampler with another seed."""
    space = read_space({"a": ml.choice([{"b": ml.uniform(0, 1)}, {"c": ml.quniform(0, 1, 0.25)}])})
    sampler = make_sampler("tpe", space, "min", 1)
    for number in range(30):
        sampler.ask(number)
        values = {"a": {"c": 0.25}} if number % 2 else {"a": {"b": 0.5}}
        sampler.tell(Sample(number, values), float(number % 2 == 0))

    later = []
    for number in range(30, 40):
        later.append(sampler.ask(number) or {})
        sampler.tell(Sample(number, later[-1]), 1.0)

    assert all("c" in values["a"] for values in later)


def test_a_minimal_object_is_a_sampler() -> None:
    given = Halving()
    sampler = make_sampler(given, SPACE, "min", 1)
    for number in range(4):
        sampler.tell(Sample(number, sampler.ask(number) or {}), None if number == 1 else math.inf)

    assert sampler.ask(4) is None
    assert given.heard == [(0, math.inf), (1, None), (2, math.inf), (3, math.inf)]


def answering(answer: Any) -> Any:
    class Broken:
        def ask(self, number: int) -> Any:
            return answer() if callable(answer) else answer

        def tell(self, sample: Sample, value: float | None) -> None:
            raise RuntimeError("full")

    return Broken()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (3, "the sampler Broken answers 3 for sample 4, which is not in the space\n"
            "  3 is not a mapping from keys to values\n"),
        ({"rate": 0.01, "size": 3}, "'kind' has no value"),
        ({"rate": 7, "size": 3, "kind": "a"}, "rate = 7 is not in loguniform(0.0001, 0.1)"),
        ({"rate": 0.01, "size": 2.5, "kind": "a"}, "size = 2.5 is not in randint(1, 8)"),
        ({"rate": 0.01, "size": 2, "kind": "c"}, "kind = 'c' is not in choice(['a', 'b'])"),
        ({"rate": 0.01, "size": 2, "kind": "a", "sise": 1}, "no key of the space named 'sise'"),
        (lambda: 1 / 0, "the sampler Broken raises ZeroDivisionError when asked for sample 4: division by zero"),
    ],
)  # fmt: skip
def test_nonsense_of_a_sampler_is_one_error_that_names_it(answer: Any, message: str) -> None:
    with pytest.raises(InvalidValue) as raised:
        make_sampler(answering(answer), SPACE, "min", 1).ask(4)

    assert "Broken" in raised.value.message
    assert "sample 4" in raised.value.message
    assert message in str(raised.value)


def test_an_error_of_tell_names_the_sampler_and_the_sample() -> None:
    with pytest.raises(InvalidValue, match=r"Broken raises RuntimeError when given the result 1.0 of sample 4: full"):
        make_sampler(answering(None), SPACE, "min", 1).tell(Sample(4, {}), 1.0)


class WithoutTell:
    def ask(self) -> None: ...


class WithOtherArguments:
    def ask(self, space: object, rng: object) -> None: ...

    def tell(self, sample: Sample) -> None: ...


@pytest.mark.parametrize(
    ("sampler", "error", "message"),
    [
        ("tep", UnknownName, "no sampler named 'tep'\n  Did you mean 'tpe'"),
        ("bruteforce", UnknownName, "no sampler named 'bruteforce'"),
        ({"tpe": {"n_startup": 3}}, InvalidValue, "the sampler 'tpe' takes no n_startup\n  Did you mean 'n_startup_tr"),
        ({"random": {"seed": 3}}, InvalidValue, "the sampler 'random' takes no options: seed"),
        ({"tpe": 3}, InvalidType, "the sampler {'tpe': 3} is not a name with options"),
        ({"tpe": {}, "random": {}}, InvalidValue, "is not a name with options"),
        (Halving, InvalidType, "the sampler Halving is a class, not an object\n  Write Halving(…)."),
        (optuna.samplers.TPESampler, InvalidType, "the sampler TPESampler is a class"),
        (optuna.samplers.GridSampler({"a": [1]}), InvalidValue, "GridSampler works only in the loop of Optuna"),
        (3, InvalidType, "the sampler 3 has no ask and no tell"),
        (WithoutTell(), InvalidType, "has no tell"),
        (WithOtherArguments(), InvalidType, "ask of the sampler WithOtherArguments takes other arguments"),
    ],
)
def test_a_wrong_sampler_is_refused(sampler: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as raised:
        make_sampler(sampler, SPACE, "min", 1)

    assert message in str(raised.value)


@pytest.mark.parametrize("samples", [0, -1, 1.5, True, "10"])
def test_a_wrong_number_of_samples_is_refused(samples: Any) -> None:
    with pytest.raises(InvalidValue, match="a search has a number of samples, not"):
        make_sampler("random", SPACE, "min", 1, samples)


@pytest.mark.parametrize("mode", ["minimal", None, True, -1, ""])
def test_a_wrong_direction_is_refused(mode: Any) -> None:
    with pytest.raises(InvalidValue, match="is not a direction of a search"):
        make_sampler("random", SPACE, mode, 1)


def test_a_missing_library_is_an_error_that_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cmaes", None)
    with pytest.raises(ImportFailed) as raised:
        make_sampler("cmaes", SPACE, "min", 1)
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ImportFailed) as other:
        make_sampler("tpe", SPACE, "min", 1)

    assert raised.value.message == "the sampler 'cmaes' needs cmaes, which is not installed"
    assert raised.value.todo == "Install it: pip install 'machinable-engine[tune]'"
    assert str(other.value) == (
        "the sampler 'tpe' needs Optuna, which is not installed\n"
        "  Install it: pip install 'machinable-engine[tune]'; without it: random, grid."
    )


def test_random_search_does_not_import_optuna() -> None:
    program = """
import sys, machinable as ml
from machinable.search.pruner import make_pruner
from machinable.search.sampler import make_sampler
from machinable.search.space import read_space
make_sampler("random", read_space({"a": ml.uniform(0, 1)}), "min", 1).ask(0)
make_pruner("asha", "min")
print({"optuna", "pandas", "sklearn"} & set(sys.modules))
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert (result.stdout, result.stderr) == ("set()\n", "")


@pytest.mark.parametrize("name", ["tpe", "cmaes", "qmc", "nsgaii"])
def test_optuna_logs_nothing_and_keeps_its_verbosity(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    before = optuna.logging.get_verbosity()
    sampler = make_sampler(name, SPACE, "min", 1)
    for number in range(3):
        sampler.tell(Sample(number, sampler.ask(number) or {}), 1.0)

    assert capfd.readouterr() == ("", "")
    assert optuna.logging.get_verbosity() == before


def test_errors_of_samplers_are_ours() -> None:
    space = read_space({"a": ml.uniform(0, 1)})
    with pytest.raises(MachinableError, match="does not take"):
        make_sampler({"nsgaii": {"population_size": 1}}, space, "min", 1)
