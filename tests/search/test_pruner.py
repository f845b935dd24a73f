"""Pruners: which trials they end, why, and that they answer the same again."""

from __future__ import annotations

import math
import random
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from machinable.errors import InvalidType, InvalidValue, UnknownName
from machinable.search.pruner import Pruner, make_pruner


def judged(pruner: Pruner | None, calls: list[tuple[int, int, int, float]]) -> list[str | None]:
    assert pruner is not None
    return [pruner.judge(*call) for call in calls]


def test_no_pruner_is_none() -> None:
    assert make_pruner(None, "min") is None


def test_asha_lets_the_best_third_pass_and_says_who_does_not() -> None:
    calls = [(0, 0, 1, 0.5), (1, 0, 1, 0.4), (2, 0, 1, 0.6), (3, 0, 1, 0.3), (4, 0, 1, 0.35), (5, 0, 1, 0.31)]

    assert judged(make_pruner("asha", "min"), calls) == [
        None,
        None,
        "asha: 0.6 at iteration 1 is number 3 of 3, of which 1 passes",
        None,
        "asha: 0.35 at iteration 1 is number 2 of 5, of which 1 passes",
        None,
    ]


def test_asha_judges_at_powers_of_its_reduction_from_the_first_iteration() -> None:
    pruner = make_pruner({"asha": {"reduction": 2, "first": 3}}, "max")
    assert pruner is not None
    for iteration in range(1, 20):
        assert pruner.judge(0, 0, iteration, 1.0) is None

    assert [pruner.judge(1, 0, iteration, 0.5) for iteration in (1, 2, 3)] == [
        None, None, "asha: 0.5 at iteration 3 is number 2 of 2, of which 1 passes"
    ]  # fmt: skip
    assert pruner.judge(2, 0, 6, 2.0) is None
    assert pruner.judge(2, 0, 7, 0.0) is None  # between 6 and 12
    assert pruner.judge(2, 0, 20, 0.0) == "asha: 0 at iteration 20 is number 2 of 2, of which 1 passes"


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=30), st.sampled_from([2, 3, 4]))
def test_asha_is_a_quantile_of_what_has_come_so_far(values: list[float], reduction: int) -> None:
    answers = judged(
        make_pruner({"asha": {"reduction": reduction}}, "max"), [(n, 0, 1, value) for n, value in enumerate(values)]
    )

    for number, (value, answer) in enumerate(zip(values, answers, strict=True)):
        so_far = sorted(values[: number + 1], reverse=True)
        limit = so_far[max(1, (number + 1) // reduction) - 1]
        assert (answer is None) == (value >= limit)


def test_median_prunes_what_is_worse_than_the_median_of_the_running_means() -> None:
    pruner = make_pruner({"median": {"others": 2}}, "max")
    assert pruner is not None
    for sample, values in enumerate([(1.0, 3.0), (2.0, 2.0)]):
        for iteration, value in enumerate(values, 1):
            assert pruner.judge(sample, 0, iteration, value) is None

    assert pruner.judge(2, 0, 1, 1.5) is None  # the median is 1.5
    assert pruner.judge(3, 0, 1, 1.4) == "median: 1.4 at iteration 1 is worse than the median of 3 others"
    assert pruner.judge(2, 0, 2, 1.9) == "median: 1.9 at iteration 2 is worse than the median of 2 others"
    assert pruner.judge(4, 0, 1, 2.5) is None
    assert pruner.judge(4, 0, 2, 0.0) is None  # its best value counts


def test_median_waits_for_the_first_iteration_and_for_enough_others() -> None:
    calls = [(n, 0, i, float(n)) for n in range(8) for i in (1, 2, 3)]

    answers = judged(make_pruner({"median": {"first": 3}}, "min"), calls)

    assert [(n, i) for (n, _, i, _), answer in zip(calls, answers, strict=True) if answer] == [(5, 3), (6, 3), (7, 3)]


@pytest.mark.parametrize("name", ["asha", {"median": {"others": 1}}])
def test_trials_are_compared_with_those_of_the_same_repetition(name: Any) -> None:
    pruner = make_pruner(name, "min")
    assert pruner is not None

    assert pruner.judge(0, 0, 1, 0.0) is None
    assert pruner.judge(0, 1, 1, 10.0) is None
    assert pruner.judge(1, 1, 1, 9.0) is None
    assert pruner.judge(1, 0, 1, 1.0) is not None


@pytest.mark.parametrize("name", ["asha", {"median": {"others": 1}}, "hyperband", {"percentile": {
    "percentile": 50, "n_startup_trials": 1}}])  # fmt: skip
@pytest.mark.parametrize("mode", ["min", "max"])
def test_nan_counts_as_the_worst_value(name: Any, mode: Any) -> None:
    pruner = make_pruner(name, mode)
    assert pruner is not None
    for sample in range(4):
        pruner.judge(sample, 0, 1, 1.0)
        pruner.end(sample, 1.0)

    answers = [pruner.judge(sample, 0, 1, math.nan) for sample in range(4, 12)]

    assert any(answers)
    assert next(filter(None, answers)).split(" is ")[0].endswith(": nan at iteration 1")


@pytest.mark.parametrize(
    "name",
    [
        "asha",
        "median",
        "hyperband",
        "successivehalving",
        optuna.pruners.PercentilePruner(50, n_startup_trials=2),
        {"threshold": {"upper": 0.7}},
        {"median": {"first": 2, "others": 3}},
    ],
)
def test_the_same_calls_have_the_same_answers(name: Any) -> None:
    draw = random.Random(1)
    calls = [(n // 2, n % 2, i, draw.random() / i) for n in range(30) for i in range(1, 10)]

    def answers() -> list[str | None]:
        pruner = make_pruner(name, "min")
        assert pruner is not None
        found = []
        for number, call in enumerate(calls):
            found.append(pruner.judge(*call))
            if (number + 1) % 18 == 0:
                pruner.end(call[0], call[3])
        return found

    first = answers()

    assert answers() == first
    assert len({answer is None for answer in first}) == 2


@pytest.mark.parametrize(
    ("prune", "error", "message"),
    [
        ("ahsa", UnknownName, "no pruner named 'ahsa'\n  Did you mean 'asha'"),
        ({"asha": {"factor": 3}}, InvalidValue, "the pruner 'asha' takes no factor"),
        ({"asha": {"reduction": 1}}, InvalidValue, "reduction of the pruner 'asha' is 1"),
        ({"asha": {"first": 0}}, InvalidValue, "first of the pruner 'asha' is 0"),
        ({"asha": {"first": True}}, InvalidValue, "first of the pruner 'asha' is True"),
        ({"median": {"others": 1.5}}, InvalidValue, "others of the pruner 'median' is 1.5"),
        ({"median": 3}, InvalidType, "the pruner {'median': 3} is not a name with options"),
        (optuna.pruners.MedianPruner, InvalidType, "the pruner MedianPruner is a class, not an object"),
        (3, InvalidType, "3 is not a pruner"),
        (True, InvalidType, "True is not a pruner"),
        ("percentile", InvalidValue, "the pruner 'percentile'"),
        ({"percentile": {"percentile": 200}}, InvalidValue, "of Optuna does not take {'percentile': 200}"),
    ],
)
def test_a_wrong_pruner_is_refused(prune: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as raised:
        make_pruner(prune, "min")

    assert message in str(raised.value)
