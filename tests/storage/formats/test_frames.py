"""A DataFrame as text is read as it was written, or refused with the reason."""

from __future__ import annotations

import datetime
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from machinable.errors import WrongKind
from machinable.storage.formats.registry import dump, load

NAN = math.nan


def same(one: Any, other: Any) -> bool:
    return one.equals(other) and list(one.columns) == list(other.columns) and one.index.equals(other.index)


@pytest.mark.parametrize(
    ("data", "options"),
    [
        ({"a": ["", "x"]}, {}),
        ({"a": [""]}, {}),
        ({"a": ["1", "2"], "b": ["True", ""], "c": ["NA", "nan"]}, {}),
        ({"a": [None, "x"], "b": [1, 2]}, {}),
        ({"a": [1, "a"]}, {}),
        ({"a": ["a", 1, 2.5, True, None]}, {}),
        ({"a": [True, None], "b": [True, False]}, {}),
        ({"a": [NAN, 1.0, NAN]}, {}),
        ({"a": [math.inf, -math.inf, NAN, -0.0, 0.1 + 0.2]}, {}),
        ({"a": ['"', '""', '",x', 'a\n"b', 'x"', "a\rb"]}, {}),
        ({'a,"b': ["x,y", "1"], "c\nd": ["2", "3"], "e\tf": [1, 2]}, {}),
        ([[1, 2], [3, 4]], {}),
        ({3: [1], -5: ["x"]}, {}),
        ({"a": pd.to_datetime(["2026-01-31", "2026-01-31T10:00:00.5", None], format="ISO8601")}, {}),
        ({"a": pd.to_datetime(["2026-01-31T10:00:00.123456789"]), "b": ["2026-01-31"]}, {}),
        ({"a": np.array([2**64 - 1], "uint64"), "b": [-(2**63)]}, {}),
        ({"a": ["x", ""]}, {"index": [5, 7]}),
        ({"a": [1]}, {"index": ["r"]}),
        ({"a": [1]}, {"index": pd.to_datetime(["2026-01-31"])}),
        (None, {}),
        (None, {"columns": ["a", "b"]}),
    ],
)
@pytest.mark.parametrize("name", ["x.csv", "x.tsv.gz", "x.json"])
def test_a_frame_is_read_as_it_was_written(name: str, data: Any, options: dict[str, Any]) -> None:
    frame = pd.DataFrame(data, **options)
    found = load(name, dump(name, frame), trust=False)
    assert same(found, frame), (found, frame)


def cells(column: Any) -> list[str]:
    return ["-" if missing else repr(one) for one, missing in zip(column.tolist(), column.isna(), strict=True)]


CELLS = {
    "text": st.none() | st.text("ab\"',\t\n\r 1.", max_size=3),
    "whole": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(),
    "bool": st.booleans(),
    "time": st.datetimes(datetime.datetime.fromisoformat("1700-01-01"), datetime.datetime.fromisoformat("2200-01-01")),
    "mixed": st.integers(-5, 5) | st.text("a1", min_size=1, max_size=2),
}


@st.composite
def frames(draw: Any) -> Any:
    rows = draw(st.integers(1, 5))
    names = draw(st.lists(st.text('ab",\n', min_size=1, max_size=2) | st.integers(-2, 2), max_size=4, unique=True))
    columns = {}
    for name in names or ["a"]:
        kind = draw(st.sampled_from(sorted(CELLS)))
        values = draw(st.lists(CELLS[kind], min_size=rows, max_size=rows))
        if kind == "mixed" and len(set(map(type, values))) < 2:
            values = ["a"] * rows
        columns[name] = pd.Series(values, dtype=object if kind == "mixed" else None)
    return pd.DataFrame(columns)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(frames(), st.sampled_from(["x.csv", "x.tsv", "x.json"]))
def test_any_frame_of_kept_kinds_is_read_as_it_was_written(frame: Any, name: str) -> None:
    found = load(name, dump(name, frame), trust=False)
    assert [cells(found[name]) for name in found] == [cells(frame[name]) for name in frame]
    assert list(found.columns) == list(frame.columns)


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "two columns 'a'"),
        (pd.DataFrame(index=[1, 2]), "without columns, whose rows would be lost"),
        (pd.DataFrame({1.5: [1]}), "the column 1.5, whose name is neither text nor a number"),
        (pd.DataFrame({"a": pd.array([1, None], dtype="Int64")}), "'a' of the type Int64.*use .parquet"),
        (pd.DataFrame({"a": pd.to_datetime(["2026-01-31"], utc=True)}), "UTC.*use .parquet"),
        (pd.DataFrame({"a": pd.to_timedelta([1], "s")}), "timedelta.*use .parquet"),
        (pd.DataFrame({"a": pd.Categorical(["a"])}), "category.*use .parquet"),
        (pd.DataFrame({"a": pd.Series([1, None], dtype=object)}), "whole numbers and others"),
        (pd.DataFrame({"a": pd.Series([1, 1.5], dtype=object)}), "whole numbers and others"),
        (pd.DataFrame({"a": pd.Series([True, 1.5], dtype=object)}), "true or false and numbers"),
        (pd.DataFrame({"a": pd.Series([10**30], dtype=object)}), "more than 64 bits"),
        (pd.DataFrame({"a": [[1]]}), "the column 'a' with a list"),
        (pd.DataFrame({"a": [datetime.date.min]}), "the column 'a' with a datetime.date"),
        (pd.DataFrame({"a": ["\x01"]}), "the text"),
    ],
)
def test_what_text_does_not_keep_is_refused(frame: Any, reason: str) -> None:
    with pytest.raises(WrongKind, match=rf"not (a DataFrame with |a DataFrame |the column ){{0,1}}.*{reason}"):
        dump("x.csv", frame)


def test_a_frame_of_another_program_is_read_as_pandas_reads_it() -> None:
    found = load("x.csv", b"id,name\n1,x\n,\n", trust=False)
    assert same(found, pd.DataFrame({"id": [1.0, NAN], "name": ["x", NAN]}))
