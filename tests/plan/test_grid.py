"""Alternatives as the product of values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import machinable as ml
from machinable.errors import MachinableError, WrongType


def test_a_grid_is_a_list_of_versions_whose_last_key_varies_fastest() -> None:
    assert ml.grid(rate=[0.1, 0.01], hidden=[[32], [64]]) == [
        {"rate": 0.1, "hidden": [32]},
        {"rate": 0.1, "hidden": [64]},
        {"rate": 0.01, "hidden": [32]},
        {"rate": 0.01, "hidden": [64]},
    ]


def test_keys_of_a_mapping_may_have_dots_and_come_first() -> None:
    assert ml.grid({"data.name": ["a", "b"]}, rate=[1]) == [
        {"data.name": "a", "rate": 1},
        {"data.name": "b", "rate": 1},
    ]


def test_values_come_from_every_ordered_collection_as_plain_data() -> None:
    found = ml.grid(a=range(2), b=(None,), c=np.array([1.5]), d=(x for x in "x"))

    assert found == [{"a": 0, "b": None, "c": 1.5, "d": "x"}, {"a": 1, "b": None, "c": 1.5, "d": "x"}]
    assert type(found[0]["c"]) is float


def test_a_grid_of_nothing_is_one_version_that_changes_nothing() -> None:
    assert ml.grid() == [{}]


@pytest.mark.parametrize(
    ("make", "message", "todo"),
    [
        (
            lambda: ml.grid(rate=0.1),
            "the values of 'rate' are not a list but 0.1",
            "Write the values in order in a list",
        ),
        (lambda: ml.grid(name="ab"), "the values of 'name' are not a list but 'ab'", "also a single one"),
        (lambda: ml.grid(data={"a": [1]}), "the values of 'data' are not a list", "write its keys with dots"),
        (lambda: ml.grid(x={1, 2}), "the values of 'x' are not a list but {1, 2}", "in order"),
        (lambda: ml.grid(rate=[]), "'rate' has no values: its list is empty", "Write at least one value"),
        (lambda: ml.grid(rate=[1, 2, 1]), "'rate' has the value 1 twice", "Keep one of them"),
        (lambda: ml.grid(x=[[1], [1]]), "'x' has the value [1] twice", "Keep one of them"),
        (lambda: ml.grid({"rate": [1]}, rate=[2]), "'rate' is given twice to grid", "Keep one of its lists"),
        (
            lambda: ml.grid({"data": [{}], "data.x": [1]}),
            "'data.x' is part of 'data', which has values",
            "Write it within",
        ),
        (lambda: ml.grid({"data..x": [1]}), "'data..x' is not a key", "Write the names of keys"),
        (lambda: ml.grid({"": [1]}), "'' is not a key", "Write the names of keys"),
        (lambda: ml.grid({3: [1]}), "the keys of a grid are text, not 3", ""),  # type: ignore[dict-item]
        (lambda: ml.grid("ab"), "grid takes a mapping from keys to lists of values, not 'ab'", "Write grid(rate="),
        (
            lambda: ml.grid(a=range(1000), b=range(1000), c=range(1000)),
            "the grid has more than 10,000,000 combinations: 1,000 x 1,000 x 1,000",
            "Give fewer values",
        ),
    ],
)
def test_a_wrong_grid_is_an_error(make: Callable[[], Any], message: str, todo: str) -> None:
    with pytest.raises(MachinableError) as caught:
        make()

    assert message in caught.value.message
    assert todo in (caught.value.todo or "")


def test_values_that_are_not_plain_data_are_refused_with_their_key() -> None:
    with pytest.raises(WrongType) as caught:
        ml.grid(rate=[object()])

    assert caught.value.path == "rate[0]"


def test_numbers_that_are_equal_but_of_other_types_are_alternatives() -> None:
    assert len(ml.grid(x=[1, 1.0, True])) == 3


@pytest.mark.parametrize("nested", [("~v", [{}] * 4000, [{}] * 4000), [("~v", [{}] * 4000, [{}] * 4000)]])
def test_lists_of_versions_with_too_many_combinations_are_refused_before_they_are_made(nested: Any) -> None:
    with pytest.raises(MachinableError, match="stand for more than 10,000,000 alternatives"):
        ml.Task().component("train", nested)
