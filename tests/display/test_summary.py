"""What came out."""

from __future__ import annotations

import math
from typing import Any

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


def test_trials_of_one_configuration_are_a_group_with_mean_and_deviation() -> None:
    rows = [row("a", loss=1.0), row("b", rate=0.2, loss=5), row("c", loss=2.0), row("d", "failed", loss=None)]

    found = groups(rows)

    assert [group.as_data() for group in found] == [
        {
            "component": "train",
            "config": {"rate": 0.1},
            "n": 2,
            "others": {"failed": 1},
            "records": {"loss": {"mean": 1.5, "std": math.sqrt(0.5)}},
        },
        {
            "component": "train",
            "config": {"rate": 0.2},
            "n": 1,
            "others": {},
            "records": {"loss": {"mean": 5, "std": None}},
        },
    ]
    assert table_lines(group_table(found)) == [
        "component  rate  n  failed        loss",
        "train       0.1  2       1  1.5 ± 0.71",
        "train       0.2  1       0           5",
    ]


def test_a_reused_result_counts_like_any_other() -> None:
    found = groups([row("a", loss=1.0), row("b", "reused", loss=3.0), row("c", "blocked", loss=None)])

    assert [(group.n, group.ended, group.figures["loss"][0]) for group in found] == [(2, {"blocked": 1}, 2.0)]


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
