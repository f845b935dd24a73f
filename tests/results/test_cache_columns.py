"""Packed values come back unchanged, and a lookup by column gives the same as one by value."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from machinable.results.cache import Columns, pack

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.integers()
    | st.sampled_from([0.0, -0.0, 1.0, float("nan")])
    | st.floats()
    | st.text(max_size=3)
)
KEYS = st.sampled_from("abc")
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=8
)
ALIKE = st.lists(st.fixed_dictionaries({"a": SCALARS, "b": VALUES}), max_size=5).map(lambda few: few * 8)


def packed(values: list[Any]) -> tuple[Columns, list[int]]:
    """Return values that were written and read under the key `v`, and the numbers of the lines that are read."""
    lines: dict[bytes, int] = {}
    tree = json.loads(json.dumps(pack([{"v": value} for value in values], lines)))
    stored, asked = list(lines), []

    def line(number: int) -> list[Any]:
        asked.append(number)
        return json.loads(stored[number])  # type: ignore[no-any-return]

    return Columns(len(values), tree, line), asked


def unpacked(values: list[Any]) -> list[Any]:
    return packed(values)[0].find(("v",), below)


def below(value: Any, keys: tuple[str, ...]) -> Any:
    for key in keys:
        if type(value) is not dict or key not in value:
            return "nothing"
        value = value[key]
    return value


@settings(deadline=None)
@given(st.lists(VALUES) | ALIKE)
def test_values_come_back_as_they_were(values: list[Any]) -> None:
    assert json.dumps(unpacked(values)) == json.dumps(values)
    columns, _ = packed(values)
    assert json.dumps([columns.at(index, "v") for index in range(len(values))]) == json.dumps(values)


@settings(deadline=None)
@given(st.lists(VALUES) | ALIKE, st.lists(KEYS, max_size=3).map(tuple))
def test_a_lookup_finds_what_each_value_has(values: list[Any], keys: tuple[str, ...]) -> None:
    found = packed(values)[0].find(("v", *keys), below)
    assert json.dumps(found) == json.dumps([below(value, keys) for value in values])


def test_values_that_only_look_equal_stay_different() -> None:
    values = [0.0, -0.0, 0, False, float("nan"), float("inf"), 1, 1.0, True, "1", [0.0], [-0.0], [0], [False]] * 20
    assert repr(unpacked(values)) == repr(values)


def test_no_two_values_share_a_mutable_part() -> None:
    columns, _ = packed([{"a": [1, {"b": 2}]}] * 40)

    one, *others = columns.find(("v", "a"), below)
    one.append(one[1].pop("b"))
    assert others == [[1, {"b": 2}]] * 39

    row, *rows = columns.find(("v",), below)
    row["a"].append(row["a"][1].pop("b"))
    assert rows == [{"a": [1, {"b": 2}]}] * 39


def test_a_lookup_reads_only_the_lines_it_needs() -> None:
    columns, asked = packed([{"a": {"b": number, "c": str(number)}, "d": number / 7} for number in range(100)])

    assert columns.find(("v", "a", "c"), below) == [str(number) for number in range(100)]
    assert len(asked) == 1


def test_equal_values_are_looked_up_once() -> None:
    columns, _ = packed([{"a": "x"}, {"a": "y"}] * 50)
    seen: list[Any] = []

    def look(value: Any, keys: tuple[str, ...]) -> Any:
        seen.append(value)
        return value

    assert columns.find(("v", "a"), look) == ["x", "y"] * 50
    assert seen == ["x", "y"]


def test_mappings_that_all_differ_are_stored_unchanged() -> None:
    values = [{str(number): number} for number in range(100)]
    lines: dict[bytes, int] = {}

    assert pack([{"v": value} for value in values], lines) == {"v": 0}
    assert unpacked(values) == values
    assert packed(values)[0].find(("v", "7"), below) == ["nothing"] * 7 + [7] + ["nothing"] * 92
