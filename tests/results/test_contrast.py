"""Comparing settings with a baseline."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import scipy.stats

from machinable.errors import InvalidValue, UnknownName
from machinable.results.contrast import cliffs_delta, cohens_d, holm
from machinable.results.trials import Trials
from tests.results.worlds import failed, finished, planned, stored, uid

# R's sleep data (Student 1908): extra hours of sleep with two drugs, of the same ten patients
ONE = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
TWO = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]


def level(number: int, label: str = "REPEAT") -> dict[str, Any]:
    return {f"{label}_SEED": 7, f"{label}_TOTAL": 9, f"{label}_NUMBER": number}


def world(*groups: tuple[dict[str, Any], list[float | None]], levels: bool = True, **more: Any) -> Trials:
    """Trials of each configuration with these results; None for one that failed."""
    plan: list[dict[str, Any]] = []
    ledger: list[dict[str, Any]] = []
    for config, values in groups:
        for number, value in enumerate(values):
            index = len(plan)
            plan.append(planned(index, config, flags=level(number) if levels else {}, **more))
            ledger.append(failed(index) if value is None else finished(index, x=value))
    return stored(plan, ledger).trials


def test_students_sleep_data_are_paired() -> None:
    found = world(({"drug": 1}, [*ONE]), ({"drug": 2}, [*TWO])).contrast("records.x", "config.drug", 1)

    (row,) = found
    t = scipy.stats.ttest_rel(TWO, ONE)
    assert (row["config.drug"], row["baseline"], row["design"], row["n"], row["left_out"]) == (2, 1, "paired", 10, 0)
    assert row["difference"] == pytest.approx(1.58)
    assert (row["low"], row["high"]) == pytest.approx((0.7001142, 2.4598858))  # as R's t.test prints it
    assert row["p"] == row["p_holm"] == pytest.approx(0.00283289, rel=1e-5)
    assert row["p"] == pytest.approx(t.pvalue)
    assert row["wilcoxon"] == pytest.approx(scipy.stats.wilcoxon(np.subtract(TWO, ONE)).pvalue)
    assert row["d"] == pytest.approx(1.58 / math.sqrt((np.var(ONE, ddof=1) + np.var(TWO, ddof=1)) / 2))


def test_without_partners_it_is_welchs_test() -> None:
    (row,) = world(({"drug": 1}, [*ONE]), ({"drug": 2}, [*TWO]), levels=False).contrast("records.x", "config.drug", 1)

    assert (row["design"], row["n"], row["n_baseline"]) == ("Welch", 10, 10)
    assert (row["low"], row["high"]) == pytest.approx((-0.2054832, 3.3654832))  # as R's t.test prints it
    assert row["p"] == pytest.approx(0.07939414)
    assert row["wilcoxon"] == pytest.approx(scipy.stats.mannwhitneyu(TWO, ONE).pvalue)


def test_what_has_no_partner_or_failed_is_left_out_and_named() -> None:
    found = world(({"r": 1}, [1.0, 2.0, 3.0, None]), ({"r": 2}, [2.0, 3.5, None, 5.0]))

    contrast = found.contrast("records.x", "config.r", 1)

    assert (contrast[0]["n"], contrast[0]["difference"], contrast[0]["left_out"]) == (2, 1.25, 4)
    assert [(one.trial.uid, one.why) for one in contrast.left_out[0]] == [
        (uid(6), "failed"),
        (uid(3), "failed"),
        (uid(7), "without a partner"),
        (uid(2), "without a partner"),
    ]
    assert f"left out of config.r=2, without a partner: {uid(7)}, {uid(2)}" in str(contrast)
    assert "<p>left out of config.r=2, failed:" in contrast._repr_html_()


def test_several_values_are_adjusted_together_and_other_settings_apart() -> None:
    groups: list[tuple[dict[str, Any], list[float | None]]] = [
        ({"r": r, "size": size}, [r + size + d * (1 + r) for d in (0.1, 0.25, 0.3)])
        for size in (1, 2)
        for r in (1, 2, 3)
    ]
    found = world(*groups).contrast("records.x", "config.r", 1)

    assert found.settings == ("config.size",)
    assert [(row["config.size"], row["config.r"]) for row in found] == [(1, 2), (1, 3), (2, 2), (2, 3)]
    assert [row["p_holm"] for row in found] == pytest.approx(holm([row["p"] for row in found]))
    assert list(found.frame().columns)[:3] == ["config.size", "config.r", "baseline"]
    assert found.csv().count("\n") == 5


def test_folds_are_averaged_before_repeats_are_compared() -> None:
    plan, ledger = [], []
    values = {1: [[1.0, 3.0], [2.0, 4.0]], 2: [[2.0, 6.0], [4.0, 8.0]]}
    for r, repeats in values.items():
        for repeat, folds in enumerate(repeats):
            for fold, value in enumerate(folds):
                seed = {"PAIRED_SEED": 10 * repeat + fold}
                plan.append(planned(len(plan), {"r": r}, flags=level(repeat) | level(fold, "SPLIT") | seed))
                ledger.append(finished(len(ledger), x=value))
    trials = stored(plan, ledger).trials

    (row,) = trials.contrast("records.x", "config.r", 1)
    assert (row["n"], row["difference"], row["mean"]) == (2, 2.5, 5.0)
    d = [2.0, 3.0]  # the means of 1 and 3, and of 2 and 4
    assert row["p"] == pytest.approx(scipy.stats.ttest_1samp(d, 0).pvalue)
    assert [(one["n"], one["mean"]) for one in trials.summary("records.x", by="config.r")] == [(2, 2.5), (2, 5.0)]
    first = trials.where("flags.REPEAT_NUMBER=0").summary("records.x", by="config.r")
    assert [one["n"] for one in first] == [2, 2]  # of one repeat, each fold is a value


def test_trials_are_paired_by_their_paired_seed() -> None:
    rows = [(1, 11, 1.0), (1, 12, 2.0), (1, 13, 4.0), (2, 13, 5.0), (2, 11, 1.5), (2, 14, 9.0)]
    plan = [planned(i, {"r": r}, flags={"PAIRED_SEED": seed}) for i, (r, seed, _) in enumerate(rows)]
    trials = stored(plan, [finished(i, x=x) for i, (_, _, x) in enumerate(rows)]).trials

    (row,) = trials.contrast("records.x", "config.r", 1)

    assert (row["design"], row["n"], row["difference"], row["left_out"]) == ("paired", 2, 0.75, 2)


def test_the_same_computation_counts_once() -> None:
    plan = [planned(i, {"r": 1 + i // 3}) | {"identity": f"{i % 3 % 2 + 2 * (i // 3):032x}"} for i in range(6)]
    trials = stored(plan, [finished(i, x=float(i)) for i in range(6)]).trials

    assert [row["n"] for row in trials.summary("records.x", by="config.r")] == [2, 2]
    found = trials.contrast("records.x", "config.r", 1)
    assert [(one.trial.uid, one.why) for one in found.left_out[0]] == [
        (uid(5), "the same computation as another trial"),
        (uid(2), "the same computation as another trial"),
    ]


def test_equal_results_do_not_differ_and_one_value_has_no_test() -> None:
    (row,) = world(({"r": 1}, [1.0, 2.0]), ({"r": 2}, [1.0, 2.0])).contrast("records.x", "config.r", 1)
    assert (row["difference"], row["p"], row["wilcoxon"], row["delta"]) == (0.0, 1.0, 1.0, 0.0)

    (row,) = world(({"r": 1}, [1.0, 2.0]), ({"r": 2}, [3.0])).contrast("records.x", "config.r", 1)
    assert (row["design"], row["difference"], row["low"], row["p"], row["d"], row["delta"]) == (
        "Welch",
        1.5,
        None,
        None,
        None,
        1.0,
    )
    (row,) = world(({"r": 1}, [1.0, 1.0]), ({"r": 2}, [3.0, 3.0]), levels=False).contrast("records.x", "config.r", 1)
    assert (row["low"], row["high"], row["p"], row["d"]) == (2.0, 2.0, None, None)


def test_what_cannot_be_compared_is_an_error() -> None:
    trials = world(({"r": 1, "size": 1}, [1.0, 2.0]), ({"r": 2, "size": 1}, [1.0, 2.0]))
    with pytest.raises(UnknownName, match=r"no value of config\.r named 3"):
        trials.contrast("records.x", "config.r", 3)
    with pytest.raises(UnknownName, match=r"no value of config\.r named '1'\n  Its values are 1, 2"):
        trials.contrast("records.x", "config.r", "1")
    with pytest.raises(UnknownName, match=r"config\.s"):
        trials.contrast("records.x", "config.s", 3)
    mixed = world(({"r": 1}, [1.0, 2.0]), ({"r": 2}, [1.0]), component="train")
    with pytest.raises(InvalidValue, match=r"are not repetitions: they differ in config\.r\n"):
        mixed.contrast("records.x", "component", "train")


def test_effect_sizes_are_those_of_a_hand_calculation() -> None:
    assert cohens_d([2.0, 4.0, 6.0], [1.0, 2.0, 3.0]) == pytest.approx(2 / math.sqrt(2.5))  # variances 4 and 1
    assert cliffs_delta([1.0, 4.0, 4.0], [2.0, 4.0]) == pytest.approx((2 - 2) / 6)
    assert (cohens_d([1.0], [1.0, 2.0]), cohens_d([1.0, 1.0], [1.0, 1.0]), cliffs_delta([], [1.0])) == (
        None,
        None,
        None,
    )


@pytest.mark.parametrize(
    ("values", "adjusted"),
    [
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),  # R: p.adjust(c(…), "holm")
        ([0.5, 0.6], [1.0, 1.0]),
        ([None, 0.02, None, 0.03], [None, 0.04, None, 0.04]),
        ([], []),
    ],
)
def test_p_values_are_adjusted_as_holm_does(values: list[float | None], adjusted: list[float | None]) -> None:
    assert holm(values) == [value if value is None else pytest.approx(value) for value in adjusted]


def test_repetitions_differ_in_seeds_only() -> None:
    needs = {"data": {"component": "loader", "uid": uid(9), "identity": "aa" * 16}}
    differing: list[dict[str, Any]] = [
        {},
        {"flags": level(1) | {"SEED": 5, "PAIRED_SEED": 3}},
        {"flags": {"SIZE": 3}},
        {"tags": {"study": "b"}},
        {"version": "~small"},
        {"children": [{"component": "c", "module": "c", "config": {"a": 1}, "flags": {}}]},
        {"requires": needs},
        {"requires": {"data": needs["data"] | {"identity": "bb" * 16}}},
    ]
    plan = [planned(index, {"r": 1}, **more) for index, more in enumerate(differing)]
    trials = stored(plan, [finished(index, x=float(index)) for index in range(len(plan))]).trials

    summary = trials.summary("records.x")

    assert [row["n"] for row in summary] == [2, 1, 1, 1, 1, 1, 1]
    assert summary.settings == ("tags.study", "flags.SIZE", "requires.data.identity", "version")
