"""DataFrames of polars as text and in Parquet."""

from __future__ import annotations

import sys
from datetime import date, datetime, time
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from machinable.errors import NotAvailable, WrongKind
from machinable.storage.formats.registry import dump, load

FRAME = pl.DataFrame(
    {
        "text": ["", "1", None, 'a "b",\r\n\tTrue'],
        "n": [1, None, -(2**63), 2**63 - 1],
        "x": [0.1, float("nan"), None, float("-inf")],
        "is": [True, None, False, True],
        "at": [datetime.fromisoformat("2020-01-01T01:02:03.000004"), datetime.fromisoformat("0001-01-01"), None, None],
        "day": [date(2020, 1, 1), None, None, None],
        "hour": [time(1, 2, 3), None, None, time(0, 0, 0, 1)],
        "": [None] * 4,
    }
)


@pytest.mark.parametrize("name", ["x.csv", "x.tsv", "x.csv.gz", "x.parquet"])
def test_a_frame_is_read_as_it_was_written(name: str) -> None:
    for frame in (FRAME, FRAME.head(1), FRAME.select("")):
        found = load(name, dump(name, frame), trust=False)
        assert isinstance(found, pl.DataFrame)
        assert (found.schema, found.equals(frame)) == (frame.schema, True)


CELLS = {
    "text": st.text(st.characters(exclude_categories=["Cs"])),
    "n": st.integers(-(2**63), 2**63 - 1),
    "x": st.floats(),
    "at": st.datetimes(),
}


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_any_cells_are_read_as_they_were_written(data: st.DataObject) -> None:
    names = data.draw(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=3, unique=True))
    cells = {name: data.draw(st.sampled_from(list(CELLS.values()))) for name in names}
    rows = data.draw(st.integers(1, 4))
    columns: dict[str, list[Any]] = {
        name: [data.draw(cell), *data.draw(st.lists(st.none() | cell, min_size=rows, max_size=rows))]
        for name, cell in cells.items()
    }
    frame = pl.DataFrame(columns)

    found = load("x.csv", dump("x.csv", frame), trust=False)

    assert (found.schema, found.equals(frame)) == (frame.schema, True)


@pytest.mark.parametrize(
    ("frame", "problem"),
    [
        (pl.DataFrame({"a": [1]}, schema={"a": pl.Int8}), "the column 'a' of the type Int8"),
        (pl.DataFrame({"a": [[1]]}), "the column 'a' of the type List"),
        (FRAME.select(pl.col("at").dt.replace_time_zone("UTC")), "the column 'at' of the type Datetime"),
        (FRAME.select(pl.col("at").cast(pl.Datetime("ms"))), "the column 'at' of the type Datetime"),
        (pl.DataFrame({"a": [None]}, schema={"a": pl.Int64}), "the column 'a' without values"),
        (FRAME.head(0), "without rows or columns"),
        (pl.DataFrame(), "without rows or columns"),
        (FRAME["n"], "polars.series.series.Series"),
        (FRAME.lazy(), "polars.lazyframe.frame.LazyFrame"),
    ],
)
def test_what_text_does_not_keep_is_refused(frame: Any, problem: str) -> None:
    with pytest.raises(WrongKind, match=problem):
        dump("x.csv", frame)


def test_reading_needs_polars(monkeypatch: pytest.MonkeyPatch) -> None:
    contents = [(name, dump(name, FRAME)) for name in ("x.csv", "x.parquet")]
    monkeypatch.setitem(sys.modules, "polars", None)
    for name, content in contents:
        with pytest.raises(NotAvailable, match="pip install polars"):
            load(name, content, trust=False)
