"""Plain data is the same after a round trip through JSON."""

from __future__ import annotations

import datetime
import enum
import json
import math
import zoneinfo
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
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
    | st.timedeltas()
)
KEYS = st.text(max_size=5) | st.integers() | st.sampled_from(["__tuple__", "__date__", "__timedelta__", "__map__"])
PLAIN = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3) | st.tuples(inner, inner),
    max_leaves=10,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
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
        ({"wait": datetime.timedelta(seconds=1.5)}, '{"wait":{"__timedelta__":1500000}}'),
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


MOMENT = datetime.datetime.fromisoformat("2026-01-31T10:00:00.123456")
BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (pd.NaT, None),
        (pd.NA, None),
        ({pd.NaT: 1}, {None: 1}),
        (pd.Timestamp("2026-01-31T10:00:00.123456789"), MOMENT),
        (pd.Timedelta("1 days 00:00:00.000000005"), datetime.timedelta(days=1)),
        (pd.Timestamp(MOMENT, tz="UTC"), MOMENT.replace(tzinfo=datetime.timezone.utc)),
        (np.datetime64("2026-01-31T10:00:00.123456789"), MOMENT),
        (np.datetime64("2026-01-31"), datetime.date(2026, 1, 31)),
        (np.datetime64("NaT", "s"), None),
        (np.array(["2026-01-31", "NaT"], "datetime64[ns]"), [datetime.datetime.fromisoformat("2026-01-31"), None]),
        (np.timedelta64(1500, "ms"), datetime.timedelta(seconds=1.5)),
        (np.array([(1, "2026-01-31T10:00:00.123456789")], [("a", "i4"), ("b", "datetime64[ns]")]), [[1, MOMENT]]),
        (np.ma.masked_array([1, 2], mask=[False, True]), [1, None]),
        (
            datetime.datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=BERLIN),
            datetime.datetime(2026, 10, 25, 2, 30, tzinfo=datetime.timezone(datetime.timedelta(hours=1))),
        ),
        (datetime.time(2, 30, tzinfo=BERLIN), datetime.time(2, 30)),
    ],
)
def test_times_and_missing_values_of_libraries_become_those_of_python(value: Any, expected: Any) -> None:
    plain = as_plain(value)
    assert typed(plain) == typed(expected)
    assert typed(loads(dumps(plain))) == typed(expected)


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


CYCLES: list[Any] = [[0], {0: 0}, np.empty(1, object)]
for cycle in CYCLES:
    cycle[0] = cycle


@pytest.mark.parametrize("value", [*CYCLES, {"x": nested(5000)}], ids=["list", "dict", "array", "deep"])
def test_data_that_contains_itself_or_is_nested_too_deeply_is_refused(value: Any) -> None:
    with pytest.raises(WrongType, match="nested deeper than 200 levels, or contains itself") as caught:
        as_plain(value, "column")
    assert str(caught.value.path).startswith("column")


def test_data_of_200_levels_is_preserved() -> None:
    assert loads(dumps(as_plain(nested(200)))) == nested(200)


def test_a_mapping_whose_keys_become_equal_is_refused() -> None:
    times = [pd.Timestamp(f"2026-01-31T10:00:00.12345678{digit}") for digit in (1, 2)]
    with pytest.raises(WrongType, match="keys that become equal"):
        as_plain(dict.fromkeys(times, 1))


@pytest.mark.parametrize(
    "text",
    [
        '{"__date__": "NaT"}',
        '{"__date__": 3}',
        '{"__timedelta__": 1e400}',
        '{"__map__": [1]}',
        '{"__map__": [[[], 1]]}',
    ],
)
def test_what_only_resembles_a_substitution_is_read_as_it_is(text: str) -> None:
    assert loads(text) == json.loads(text)


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"a": [1, {"b": object()}]}, "a[1].b"),
        ({"a": {1, 2}}, "a"),
        ({"a": b"x"}, "a"),
        (1j, None),
        ({"a": [np.longdouble(1)]}, "a[0]"),
        ({"a": np.ones(2, np.longdouble)}, "a[0]"),
        ({"a": 10**4300}, "a"),
        ({"a": np.datetime64("20000-01-01")}, "a"),
        ({"a": np.timedelta64(1, "M")}, "a"),
        ({"a": np.bytes_(b"x")}, "a"),
        ({"a": Path("x")}, "a"),
        ({"a": Decimal(1)}, "a"),
        ({"a": {frozenset(): 1}}, "a"),
        ({"a": {(): 1}}, "a"),
    ],
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


@pytest.mark.parametrize(
    ("value", "advice"),
    [
        (Path("a"), "Write the path as text: str(path)."),
        (Decimal(1), "Write a number or text: float(value), str(value)."),
        ({1}, "Write a list: sorted(value)."),
        (b"x", "Write text, value.hex(), or store bytes as an artifact: store.write('name.bin', value)."),
        (np.longdouble(1), "Write a float: float(value)."),
        (pd.Series([1]), "Write a list: value.tolist()."),
        (
            object(),
            "Use None, bool, int, float, text, dates, durations, lists or mappings; numpy values are converted.",
        ),
    ],
)
def test_what_is_not_plain_is_refused_with_advice(value: object, advice: str) -> None:
    with pytest.raises(WrongType) as caught:
        as_plain({"a": [value]})
    assert (caught.value.path, caught.value.todo) == ("a[0]", advice)
