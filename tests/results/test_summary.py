"""Figures of repeated trials."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from machinable.results.query import mean, spread
from machinable.results.summary import FIGURES, RESAMPLES, Summary, figures, t_quantile

NAN = float("nan")


@pytest.mark.parametrize(
    ("freedom", "quantile"),
    [  # printed tables of Student's t, 97.5 %
        (1, 12.7062047362),
        (2, 4.3026527297),
        (3, 3.1824463053),
        (4, 2.7764451052),
        (5, 2.5705818356),
        (9, 2.2621571628),
        (10, 2.2281388520),
        (29, 2.0452296421),
        (30, 2.0422724563),
        (60, 2.0002978220),
        (99, 1.9842169516),
        (100, 1.9839715185),
        (120, 1.9799304051),
        (1000, 1.9623390808),
        (10**9, 1.9599639869),
    ],
)
def test_the_quantile_is_that_of_the_tables(freedom: int, quantile: float) -> None:
    assert t_quantile(freedom) == pytest.approx(quantile, abs=2e-9)


def test_the_interval_is_that_of_the_textbook() -> None:
    # mean 5, spread sqrt(32 / 7), 7 degrees of freedom: 2.364624252
    half = 2.3646242516 * math.sqrt(32 / 7) / math.sqrt(8)

    assert figures([2, 4, 4, 4, 5, 5, 7, 9], 3) == {
        "n": 8,
        "failed": 3,
        "mean": 5.0,
        "sd": pytest.approx(math.sqrt(32 / 7)),
        "low": pytest.approx(5 - half),
        "high": pytest.approx(5 + half),
        "median": 4.5,
        "min": 2,
        "max": 9,
    }


def test_an_undefined_figure_is_none() -> None:
    nothing = dict.fromkeys(FIGURES) | {"n": 0, "failed": 2}

    assert figures([], 2) == nothing
    assert figures([7], 0) == nothing | {"n": 1, "failed": 0, "mean": 7.0, "median": 7, "min": 7, "max": 7}


def test_the_bootstrap_is_that_of_efron_and_the_same_for_a_seed() -> None:
    numbers = [1.0, 2.0, 2.5, 3.0, 9.0]
    found = figures(numbers, 0, "bootstrap", 3)

    expected = scipy.stats.bootstrap((numbers,), np.mean, n_resamples=RESAMPLES, method="BCa", rng=3)
    assert (found["low"], found["high"]) == tuple(expected.confidence_interval)
    assert found["low"] < found["mean"] < found["high"]
    assert figures(numbers, 0, "bootstrap", 3) == found != figures(numbers, 0, "bootstrap", 4)
    assert figures([2.0, 2.0], 0, "bootstrap")["high"] == 2.0
    assert figures([2.0], 0, "bootstrap")["high"] is None


def test_nan_is_not_the_smallest_number() -> None:
    found = figures([2.0, NAN, 1.0], 0)

    assert (found["min"], found["max"], math.isnan(found["median"])) == (1.0, 2.0, True)


@pytest.mark.parametrize("numbers", [[1.0, NAN], [math.inf, -math.inf]])
def test_nan_and_infinity_show_in_the_figures(numbers: list[float]) -> None:
    assert math.isnan(figures(numbers, 0)["mean"])
    assert math.isnan(figures(numbers, 0)["low"])


def test_large_numbers_do_not_end_the_summary() -> None:
    assert figures([1e308, 1e308], 0)["mean"] == 1e308
    assert figures([math.inf, 1.0], 0)["mean"] == math.inf


def test_equal_numbers_have_an_interval_of_no_width() -> None:
    found = figures([0.1] * 3, 0)

    assert (found["sd"], found["low"], found["high"]) == (0.0, 0.1, 0.1)


ROWS = [{"config.lr": 0.1} | figures([1.0, 2.0, 3.0], 0), {"config.lr": "<x>"} | figures([], 1)]


def test_a_summary_is_a_table() -> None:
    summary = Summary("records.loss", ["config.lr"], ROWS)

    assert str(summary).splitlines() == [
        "records.loss",
        "config.lr  n  failed  mean  sd  low        high     median  min  max",
        "0.1        3  0       2     1   -0.484138  4.48414  2       1    3",
        "<x>        0  1",
    ]
    assert "<td>&lt;x&gt;</td><td>0</td><td>1</td><td></td>" in summary._repr_html_()
    assert (summary.field, summary.settings, list(summary)) == ("records.loss", ("config.lr",), ROWS)
    assert summary[:1] == ROWS[:1]


def test_a_frame_of_a_summary_has_numbers_where_there_are_some() -> None:
    frame = Summary("records.loss", ["config.lr"], ROWS).frame()

    assert list(frame.columns) == ["config.lr", *FIGURES]
    assert frame["mean"].tolist()[0] == 2.0
    assert math.isnan(frame["mean"].tolist()[1])


def test_integers_beyond_the_largest_float_have_a_mean() -> None:
    assert mean([10**400, 1]) == math.inf
    assert math.isnan(spread([10**400, 1]))
    assert mean([-(10**400), 1]) == -math.inf
    assert mean([2**60, 2**60]) == 2.0**60
