"""What failed: which errors are one, what their trials share, and how to run them again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest

from machinable.display.failures import Failed, failure_text, kinds_of

BAD = {"type": "ValueError", "message": "bad\nmore", "traceback": "Traceback:\n  there\nValueError: bad\n"}


def row(uid: str, status: str = "finished", component: str = "train", **more: Any) -> dict[str, Any]:
    values = {"config.rate": 0.1, "flags.REPEAT_NUMBER": 0, "records.loss": 1.0} | more
    return {"uid": uid, "component": component, "status": status} | values


def rows_of(field: str, failed: list[Any], others: list[Any]) -> list[dict[str, Any]]:
    """Trials that failed with one value each, and trials that finished with others."""
    bad = [row(f"b{i}", "failed", **{field: value}) for i, value in enumerate(failed)]
    return bad + [row(f"g{i}", **{field: value}) for i, value in enumerate(others)]


def conditions(rows: list[dict[str, Any]]) -> list[str]:
    (kind,) = kinds_of([Failed(one, BAD) for one in rows if one["status"] == "failed"], rows)
    return kind.conditions


def test_failures_are_shown_by_error_with_how_to_run_them_again() -> None:
    rows = [
        row("a", **{"config.rate": 0.2}),
        row("b", "failed", **{"config.rate": 0.2}),
        row("c", "failed", **{"config.rate": 0.2}),
        row("d", "failed"),
        row("e", "blocked"),
        row("f"),
    ]
    failed = [Failed(rows[1], BAD), Failed(rows[2], BAD), Failed(rows[3], {"type": "KeyError", "message": ""})]

    assert failure_text(failed, rows, lambda one: f"machinable execute {one['uid']}") == (
        "Traceback:\n  there\nValueError: bad\n\n"
        "3 of 6 trials failed, 1 blocked\n"
        "  2 trials: ValueError: bad\n"
        "    first: train b\n"
        "    again: machinable execute b\n"
        "  1 trial: KeyError\n"
        "    train d\n"
        "    again: machinable execute d"
    )


def test_a_condition_that_only_failures_meet_is_shown_with_their_error() -> None:
    rows = rows_of("config.depth", [16, 12, 14], [4, 8, 11])

    text = failure_text([Failed(one, BAD) for one in rows[:3]], rows)

    assert text.splitlines()[-3:] == [
        "3 of 6 trials failed",
        "  3 trials: ValueError: bad, all with depth ≥ 12",
        "    first: train b0",
    ]


@pytest.mark.parametrize(
    ("failed", "others", "expected"),
    [
        ([12, 16], [1, 11], ["depth ≥ 12"]),
        ([0.1, 0.001], [0.2, 1], ["depth ≤ 0.1"]),
        ([12, 16], [12, 1], []),  # one with 12 went well
        ([12, 16], [13], []),
        ([1, 16], [8], []),  # on both sides
        ([12, 12], [1, 13], ["depth=12"]),
        ([12], [1], ["depth=12"]),  # of one trial the value says more than a bound
        ([12, 12], [12, 1], []),
        ([12, math.inf], [1], ["depth ≥ 12"]),
        ([12, math.nan], [1], []),
        ([True, 2], [1], []),
        (["a", "b"], ["c"], []),
        (["a", "a"], ["c", None], ["depth=a"]),
        ([2, 3], [None], []),  # nothing else has the key: then it says nothing
        ([2, 3], [1, None], ["depth ≥ 2"]),
        ([2, 3], [1, "x"], []),
        ([2, 2], [], []),  # all failed
    ],
)
def test_bounds_and_values_are_shown_where_they_hold(failed: list[Any], others: list[Any], expected: list[str]) -> None:
    assert conditions(rows_of("config.depth", failed, others)) == expected


def test_numbers_of_repetitions_have_no_bounds() -> None:
    assert conditions(rows_of("flags.REPEAT_NUMBER", [3, 4], [0, 1, 2])) == []
    assert conditions(rows_of("flags.REPEAT_NUMBER", [3, 3], [0, 1, 2])) == ["REPEAT_NUMBER=3"]


def test_conditions_may_hold_for_trials_with_another_error() -> None:
    rows = [*rows_of("config.depth", [12, 16], [1]), row("x", "failed", **{"config.depth": 20})]
    failed = [*(Failed(one, BAD) for one in rows[:2]), Failed(rows[3], {"type": "OSError", "message": "disk"})]

    assert [kind.conditions for kind in kinds_of(failed, rows)] == [["depth ≥ 12"], ["depth=20"]]


def test_without_successful_trials_kinds_are_distinguished_from_each_other() -> None:
    rows = rows_of("config.depth", [12, 16, 1], [])
    failed = [*(Failed(one, BAD) for one in rows[:2]), Failed(rows[2], {"type": "OSError", "message": "disk"})]

    assert [kind.conditions for kind in kinds_of(failed, rows)] == [["depth ≥ 12"], ["depth=1"]]


def test_a_key_of_other_components_is_not_shared() -> None:
    rows = [
        row("a", "failed", "net", **{"config.rate": None}),
        row("b"),
        row("c", "failed", "net", **{"config.rate": None}),
    ]

    assert conditions(rows) == ["component=net"]
    assert conditions(rows[:2]) == []  # of one trial the component is said anyhow


def test_without_the_other_trials_there_are_no_conditions() -> None:
    (kind,) = kinds_of([Failed({"uid": uid}, BAD) for uid in "ab"], [])

    assert (kind.text, kind.conditions) == ("ValueError: bad", [])


def test_many_conditions_are_counted() -> None:
    rows = [
        row("a", "failed", **{f"config.k{i}": 1 for i in range(6)}),
        row("b", **{f"config.k{i}": 2 for i in range(6)}),
    ]

    assert "  1 trial: ValueError: bad, with k0=1, k1=1, k2=1, k3=1, 2 more" in failure_text(
        [Failed(rows[0], BAD)], rows
    )


@pytest.mark.parametrize(
    ("messages", "text"),
    [
        (["loss is nan in step 3", "loss is nan in step 17"], "E: loss is nan in step …"),
        (["3 of 5", "4 of 5"], "E: … of 5"),
        (["at 0x7f3a", "at 0xff00"], "E: at …"),
        (["took 1.5e-3 s", "took 12 s"], "E: took … s"),
        (["3", "3"], "E: 3"),
    ],
)
def test_errors_that_differ_only_in_numbers_are_one_kind(messages: list[str], text: str) -> None:
    rows = [row(str(i), "failed") for i in range(len(messages))]
    failed = [Failed(one, {"type": "E", "message": m}) for one, m in zip(rows, messages, strict=True)]

    assert [kind.text for kind in kinds_of(failed, rows)] == [text]


def test_many_different_errors_are_counted() -> None:
    rows = [row(chr(ord("a") + number), "failed") for number in range(15)]
    failed = [Failed(one, {"type": "E", "message": one["uid"]}) for one in rows]

    assert failure_text(failed, rows).splitlines()[-1] == "  and 5 other errors"


def test_without_a_command_none_is_shown() -> None:
    def none(one: Mapping[str, Any]) -> None:
        return None

    rows = [row("a", "failed")]
    assert "again" not in failure_text([Failed(rows[0], BAD)], rows, none)


def test_a_huge_error_is_shown_by_its_beginning_and_its_end() -> None:
    huge = {"type": "ValueError", "message": "a" * 10**6 + "z", "traceback": "T" * 10**6 + "last line"}

    text = failure_text([Failed({"uid": "u", "component": "net", "status": "failed"}, huge)], [])

    assert len(text) < 25_000
    assert "ValueError: aaaa" in text
    assert " … 999,513 characters … " in text
    assert "TTT … 980,009 characters … TTT" in text
    assert "TTTlast line\n" in text
