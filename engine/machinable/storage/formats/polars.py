"""DataFrames of polars as text: read as they were written, or refused."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from machinable.errors import import_optional
from machinable.storage.formats import UnsupportedData

__all__ = ["dump_polars", "import_polars", "is_polars", "load_polars"]


def is_polars(data: Any) -> bool:
    """Return whether data are a DataFrame of polars, which is not imported for this."""
    polars = sys.modules.get("polars")  # imported if there is a DataFrame of it
    return polars is not None and isinstance(data, polars.DataFrame)


def import_polars() -> Any:
    """Return polars.

    Raises:
        NotAvailable: It is not installed.
    """
    return import_optional("polars", "this table was written from a DataFrame of polars", "polars")


def dump_polars(frame: Any, lines_of: Callable[[Mapping[str, Sequence[Any]]], Sequence[str]]) -> str:
    """Return the text of a frame.

    Args:
        frame: The frame.
        lines_of: Returns the lines of a table.

    Raises:
        UnsupportedData: A part of it would be another one when it is read again.
    """
    polars = import_polars()
    if not frame.width or not frame.height:
        raise UnsupportedData("a DataFrame without rows or columns, which text does not keep: use .parquet")
    kept = (polars.Int64, polars.Float64, polars.String, polars.Boolean, polars.Date, polars.Time, polars.Null)
    for column in frame.iter_columns():
        kind = column.dtype
        if kind not in kept and kind != polars.Datetime("us"):
            raise UnsupportedData(
                f"the column {column.name!r} of the type {kind}, which text does not keep: use .parquet"
            )
        if column.null_count() == len(column) and kind != polars.Null:
            raise UnsupportedData(
                f"the column {column.name!r} without values, whose type text does not keep: use .parquet"
            )
    header, *lines = lines_of(frame.to_dict(as_series=False))
    return f"{header}\r\n" + "".join(f"{line}\n" for line in lines)


def load_polars(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> Any:
    """Return a frame of these columns."""
    polars = import_polars()
    return polars.DataFrame({name: [row[i] for row in rows] for i, name in enumerate(names)})
