"""What came out."""

from __future__ import annotations

import math
from typing import Any

import pytest

from machinable.display.summary import group_table, groups, short_names
from machinable.display.tables import table_lines


def row(uid: str, status: str = "finished", rate: Any = 0.1, loss: Any = 1.0, **more: Any) -> dict[str, Any]:
    return {
        "uid": uid,
        "component": "train",
        "status": status,
        "config.rate": rate,
        "flags.REPEAT_NUMBER": 0,
        "records.loss": loss,
        "records.note": "text",
    } | more


def test_a_setting_or_a_record_called_n_is_told_from_the_number_of_trials() -> None:
    one, other = ({"uid": uid, **row(uid), "config.n": n, "records.n": 5} for uid, n in (("a", 1), ("b", 2)))

    heading = table_lines(group_table(groups([one, other])))[0]
    assert heading.split() == ["component", "config.n", "n", "loss", "records.n"]


LOW, HIGH = pytest.approx(1.5 - 12.7062047362 / 2), pytest.approx(1.5 + 12.7062047362 / 2)


def test_folds_of_a_repetition_are_averaged_first() -> None:
    rows = [
        row(f"{repeat}{fold}", loss=float(10 * repeat + fold))
        | {"flags.REPEAT_NUMBER": repeat, "flags.SPLIT_NUMBER": fold}
        for repeat in (0, 1)
        for fold in (0, 1, 2)
    ]

    (group,) = groups(rows)

    assert (group.n, group.figures["loss"]["n"], group.figures["loss"]["mean"]) == (6, 2, 6.0)
    assert group.figures["loss"]["sd"] == pytest.approx(math.sqrt(50))  # of 1 and 11


def test_trials_of_one_configuration_are_a_group_with_mean_and_deviation() -> None:
    rows = [row("a", loss=1.0), row("b", rate=0.2, loss=5), row("c", loss=2.0), row("d", "failed", loss=None)]

    found = groups(rows)

    assert [group.as_data() for group in found] == [
        {
            "component": "train",
            "config": {"rate": 0.1},
            "n": 2,
            "others": {"failed": 1},
            "records": {"loss": {"n": 2, "mean": 1.5, "sd": math.sqrt(0.5), "low": LOW, "high": HIGH}},
        },
        {
            "component": "train",
            "config": {"rate": 0.2},
            "n": 1,
            "others": {},
            "records": {"loss": {"n": 1, "mean": 5, "sd": None, "low": None, "high": None}},
        },
    ]
    assert table_lines(group_table(found)) == [
        "component  rate  n  failed   loss ± sd",
        "train       0.1  2       1  1.5 ± 0.71",
        "train       0.2  1       0           5",
    ]
    assert table_lines(group_table(found, intervals=True)) == [
        "component  rate  n  failed   loss ± sd          loss 95 %",
        "train       0.1  2       1  1.5 ± 0.71  -4.8531 to 7.8531",
        "train       0.2  1       0           5",
    ]


def test_a_reused_result_counts_like_any_other() -> None:
    found = groups([row("a", loss=1.0), row("b", "reused", loss=3.0), row("c", "blocked", loss=None)])

    assert [(group.n, group.ended, group.figures["loss"]["mean"]) for group in found] == [(2, {"blocked": 1}, 2.0)]


def test_infinities_and_nan_do_not_stop_a_table() -> None:
    found = groups([row("a", loss=math.inf), row("b", loss=-math.inf), row("c", loss=math.nan)])

    assert table_lines(group_table(found))[1].split()[-3:] == ["nan", "±", "nan"]


def test_no_trials_make_an_empty_table() -> None:
    assert table_lines(group_table(groups([]))) == ["component  n"]


def test_names_are_as_short_as_they_can_be_unique() -> None:
    assert short_names(["uid", "config.rate", "config.n", "records.n"]) == {
        "uid": "uid",
        "config.rate": "rate",
        "config.n": "config.n",
        "records.n": "records.n",
    }
