"""Plain data is the same after a round trip through JSON."""

from __future__ import annotations

import datetime
import enum
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from machinable.errors import WrongType
from machinable.serialization import as_plain, canonical, dumps, is_hidden, loads, without_collections, without_hidden
from tests.golden_cases import typed

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.dates()
    | st.builds(lambda moment: moment.replace(fold=0), st.datetimes() | st.times())
)
KEYS = st.text(max_size=5) | st.integers() | st.sampled_from(["__tuple__", "__date__", "__map__"])
PLAIN = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3) | st.tuples(inner, inner),
    max_leaves=10,
)


@given(PLAIN)
def test_decoding_reverses_encoding(value: Any) -> None:
    assert typed(loads(dumps(value))) == typed(value)
    assert "\n" not in dumps(value)


@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan])
def test_numbers_that_json_lacks_are_preserved(number: float) -> None:
    assert repr(loads(dumps([number]))) == repr([number])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b": 1, "a": (1, [2])}, '{"a":{"__tuple__":[1,[2]]},"b":1}'),
        ({2: "b", 1: "a", "k": 1e-07}, '{"__map__":[["k",1e-07],[1,"a"],[2,"b"]]}'),
        ({"day": datetime.date(2026, 1, 31)}, '{"day":{"__date__":"2026-01-31"}}'),
        ({"é": math.nan}, '{"\\u00e9":NaN}'),
        ({"__tuple__": [1]}, '{"__map__":[["__tuple__",[1]]]}'),
    ],
)
def test_equal_values_have_the_same_canonical_json(value: Any, text: str) -> None:
    assert canonical(value) == text


def test_similar_types_become_plain() -> None:
    class Colour(str, enum.Enum):
        RED = "red"

    class Count(int):
        pass

    given_ = {"a": np.float32(0.5), "b": np.arange(3), "c": np.bool_(True), "d": Colour.RED, "e": Count(3), "f": (1, 2)}
    assert typed(as_plain(given_)) == typed({"a": 0.5, "b": [0, 1, 2], "c": True, "d": "red", "e": 3, "f": [1, 2]})


@pytest.mark.parametrize(
    ("value", "path"), [({"a": [1, {"b": object()}]}, "a[1].b"), ({"a": {1, 2}}, "a"), ({"a": b"x"}, "a"), (1j, None)]
)
def test_other_data_is_refused_with_its_key_path(value: Any, path: str | None) -> None:
    with pytest.raises(WrongType) as caught:
        as_plain(value)
    assert caught.value.path == path
    assert isinstance(caught.value, TypeError)


def test_a_copy_shares_nothing() -> None:
    value = {"a": [1, {"b": 2}]}
    copy = as_plain(value)
    copy["a"][1]["b"] = 3
    assert value == {"a": [1, {"b": 2}]}


@pytest.mark.parametrize(
    ("key", "hidden"),
    [("_a", True), ("__a", True), ("_a_", False), ("a", False), ("_", False), ("a_", False), (1, False)],
)
def test_a_key_is_hidden_by_a_leading_underscore_only(key: object, hidden: bool) -> None:
    assert is_hidden(key) is hidden


def test_hidden_keys_are_left_out_at_any_depth() -> None:
    assert without_hidden({"a": [{"_b": 1, "c": 2}], "_d": {"e": 1}}) == {"a": [{"c": 2}]}


def test_a_value_without_hidden_keys_is_not_copied() -> None:
    inner = {"a": [1, {"b": 2}]}
    value = {"x": inner, "y": [1, 2], "_z": 3, "w": {"_h": 1, "v": [{"_h": 1}]}}
    visible = without_hidden(value)
    assert visible == {"x": inner, "y": [1, 2], "w": {"v": [{}]}}
    assert visible["x"] is inner
    assert visible["y"] is value["y"]
    assert without_hidden(inner) is inner


def test_garbage_collection_is_restored() -> None:
    import gc

    def fails() -> None:
        with without_collections():
            assert not gc.isenabled()
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert gc.isenabled()
    gc.disable()
    try:
        with without_collections():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
