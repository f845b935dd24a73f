"""Domains: their values, their spellings, and what is refused."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import machinable as ml
from machinable.errors import InvalidType, InvalidValue, MachinableError
from machinable.search.domains import Number, domain_from

UNITS = st.floats(0, 1, exclude_max=True)
BOUNDS = st.floats(-1e6, 1e6)
POSITIVE = st.floats(1e-12, 1e12)


def ordered(numbers: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, Any]]:
    return st.tuples(numbers, numbers).filter(lambda pair: pair[0] < pair[1])


@given(ordered(BOUNDS), UNITS)
def test_values_of_uniform_are_within_its_bounds(bounds: tuple[float, float], unit: float) -> None:
    domain = ml.uniform(*bounds)

    value = domain.from_unit(unit)

    assert bounds[0] <= value <= bounds[1]
    assert domain.read(value) == value


@given(ordered(POSITIVE), UNITS)
def test_values_of_loguniform_are_within_its_bounds(bounds: tuple[float, float], unit: float) -> None:
    domain = ml.loguniform(*bounds)

    value = domain.from_unit(unit)

    assert bounds[0] <= value <= bounds[1]
    assert domain.read(value) == value


@given(ordered(st.integers(1, 10**9)), UNITS, st.booleans())
def test_values_of_whole_numbers_are_whole_and_include_both_bounds(
    bounds: tuple[int, int], unit: float, logarithmic: bool
) -> None:
    domain = ml.lograndint(*bounds) if logarithmic else ml.randint(*bounds)

    value = domain.from_unit(unit)

    assert type(value) is int
    assert bounds[0] <= value <= bounds[1]
    assert (domain.from_unit(0.0), domain.from_unit(math.nextafter(1, 0))) == bounds


@given(st.integers(-1000, 1000), st.integers(1, 1000), st.sampled_from([0.1, 0.25, 0.3, 1, 7]), UNITS)
def test_values_of_quniform_are_steps_from_its_lower_bound(low: int, steps: int, step: float, unit: float) -> None:
    low_bound = low / 10
    domain = ml.quniform(low_bound, low_bound + (steps + 0.5) * step, step)

    value = domain.from_unit(unit)

    assert domain.count == steps + 1
    assert any(value == domain.at(index) for index in range(steps + 1))
    assert domain.read(value + step * 1e-12) == value
    assert domain.read(value + step / 2) is None


def test_steps_are_decimal_numbers_without_errors_of_rounding() -> None:
    domain = ml.quniform(0, 1, 0.1)

    assert [domain.at(index) for index in range(11)] == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]


def test_logarithms_of_loguniform_are_equally_likely() -> None:
    domain = ml.loguniform(1e-4, 1e-1)
    values = np.array([domain.from_unit(unit) for unit in (np.arange(3000) + 0.5) / 3000])

    counts, _ = np.histogram(np.log10(values), bins=3, range=(-4, -1))

    assert counts.tolist() == [1000, 1000, 1000]


def test_small_whole_numbers_of_lograndint_are_more_likely_and_those_of_randint_equally() -> None:
    units = (np.arange(10_000) + 0.5) / 10_000
    logarithmic = [ml.lograndint(1, 8).from_unit(unit) for unit in units]
    linear = [ml.randint(1, 8).from_unit(unit) for unit in units]

    assert [linear.count(value) for value in range(1, 9)] == [1250] * 8
    shares = [logarithmic.count(value) / 10_000 for value in range(1, 9)]
    assert shares == pytest.approx([math.log((v + 0.5) / (v - 0.5)) / math.log(17) for v in range(1, 9)], abs=1e-3)


@pytest.mark.parametrize(
    ("domain", "shown"),
    [
        (ml.uniform(0, 1), "uniform(0, 1)"),
        (ml.loguniform(1e-4, 1e-1), "loguniform(0.0001, 0.1)"),
        (ml.quniform(0, 1, 0.25), "quniform(0, 1, 0.25)"),
        (ml.randint(np.int64(1), 8.0), "randint(1, 8)"),
        (ml.lograndint(1, 1024), "lograndint(1, 1024)"),
        (ml.choice([[32], "a", None]), "choice([[32], 'a', None])"),
        (ml.grid((1, 2)), "grid([1, 2])"),
        (ml.choice([{"a": ml.uniform(0, 1)}, {"a": 0}]), "choice([{'a': uniform(0, 1)}, {'a': 0}])"),
    ],
)
def test_domains_show_how_they_are_written_and_can_be_stored(domain: Any, shown: str) -> None:
    ((kind, arguments),) = domain.plain().items()

    assert repr(domain) == shown
    assert domain_from(kind, arguments) == domain
    assert pickle.loads(pickle.dumps(domain)) == domain


@pytest.mark.parametrize("value", [1.5, 2, True, "1", None, [1], math.nan, math.inf, -1e-3])
def test_values_outside_of_a_domain_are_recognized(value: Any) -> None:
    assert ml.uniform(0, 1).read(value) is None


def test_a_value_that_misses_a_bound_by_rounding_is_the_bound() -> None:
    assert ml.loguniform(1e-4, 1e-1).read(0.1 * (1 + 1e-12)) == 0.1
    assert (ml.randint(1, 3).read(3.0), ml.randint(1, 3).read(2.5)) == (3, None)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: ml.uniform(1, 0), InvalidValue, "the lower bound of uniform(1, 0) is not less than its upper bound\n"
                                                 "  Write uniform(0, 1)."),
        (lambda: ml.uniform(1, 1), InvalidValue, "the lower bound of uniform(1, 1) is not less"),
        (lambda: ml.loguniform(0, 1), InvalidValue, "the lower bound of loguniform(0, 1) is 0, which has no logarithm\n"
                                                    "  Begin with a number greater than 0, or write uniform(0, 1)."),
        (lambda: ml.loguniform(-1.0, 1), InvalidValue, "is -1.0, which has no logarithm"),
        (lambda: ml.lograndint(0, 8), InvalidValue, "Begin with 1, or write randint(0, 8)."),
        (lambda: ml.randint(1.5, 3), InvalidValue, "low of randint(1.5, 3) is 1.5, not a whole number"),
        (lambda: ml.uniform(True, 2), InvalidType, "low of uniform(True, 2) is True, not a number"),
        (lambda: ml.uniform(np.bool_(True), 2), InvalidType, "not a number"),
        (lambda: ml.uniform(0, "1e-1"), InvalidType, "high of uniform(0, '1e-1') is '1e-1', not a number\n"
                                                     "  Write it without quotes."),
        (lambda: ml.uniform(0, None), InvalidType, "high of uniform(0, None) is None, not a number"),
        (lambda: ml.uniform(0, math.inf), InvalidValue, "is inf, not a finite number"),
        (lambda: ml.uniform(math.nan, 1), InvalidValue, "is nan, not a finite number"),
        (lambda: ml.quniform(0, 1, 0), InvalidValue, "the step of quniform(0, 1, 0) is 0, which is not between"),
        (lambda: ml.quniform(0, 1, 2), InvalidValue, "is 2, which is not between 0 and 1"),
        (lambda: ml.choice([]), InvalidValue, "choice has no values: its list is empty"),
        (lambda: ml.choice("ab"), InvalidType, "the values of choice are not a list but 'ab'"),
        (lambda: ml.choice({"a": 1}), InvalidType, "the values of choice are not a list but {'a': 1}"),
        (lambda: ml.choice({1, 2}), InvalidType, "the values of choice are not a list but {1, 2}"),
        (lambda: ml.choice([1, 1]), InvalidValue, "choice has the value 1 twice"),
        (lambda: ml.choice([object()]), MachinableError, "is not plain data"),
        (lambda: ml.choice([{"_key": 1}]), InvalidValue, "'_key' is a hidden key"),
        (lambda: ml.choice([{"a": {"uniform": [1, 0]}}]), InvalidValue, "the lower bound of uniform(1, 0)"),
        (lambda: ml.grid([]), InvalidValue, "grid has no values: its list is empty"),
        (lambda: domain_from("uniform", [1]), InvalidValue, "uniform takes 2 numbers, not 1: [1]"),
        (lambda: domain_from("quniform", [0, 1]), InvalidValue, "quniform takes 3 numbers, not 2"),
        (lambda: domain_from("uniform", 3), InvalidType, "the bounds of uniform are not a list but 3"),
        (lambda: domain_from("uniform", {"lo": 0, "high": 1}), InvalidValue, "Did you mean 'low'?"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_refused(make: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as raised:
        make()

    assert message in str(raised.value)


def test_grid_of_lists_by_key_still_makes_versions() -> None:
    assert ml.grid(rate=[0.1, 0.2]) == [{"rate": 0.1}, {"rate": 0.2}]
    assert ml.grid({"data.name": ["a"]}, rate=[1]) == [{"data.name": "a", "rate": 1}]
    with pytest.raises(InvalidType, match="grid takes a mapping"):
        ml.grid("ab")


def test_a_domain_is_a_frozen_value() -> None:
    domain = ml.uniform(0, 1)

    assert domain == Number("uniform", 0, 1)
    with pytest.raises(AttributeError):
        domain.low = 2
