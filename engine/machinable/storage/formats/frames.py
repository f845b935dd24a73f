"""DataFrames in the formats of Arrow, which preserve the type of each column."""

from __future__ import annotations

import sys
from typing import Any

from machinable.errors import NotAvailable
from machinable.storage.formats.base import Format, UnsupportedData, type_name

__all__ = ["FEATHER", "PARQUET", "import_pandas", "pandas_of"]


def pandas_of(data: Any) -> Any:
    """Return the module pandas if the data is a DataFrame, else None."""
    pandas = sys.modules.get("pandas")  # imported if there is a DataFrame
    return pandas if pandas is not None and isinstance(data, pandas.DataFrame) else None


def import_pandas() -> Any:
    """Return the module pandas.

    Raises:
        NotAvailable: pandas is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise NotAvailable(
            "this table was written from a DataFrame", todo="Install pandas to read it: pip install pandas"
        ) from error
    return pandas


def _need_arrow() -> None:
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise NotAvailable(
            ".parquet and .feather need pyarrow", todo="Install it: pip install 'machinable-engine[frames]'"
        ) from error


def _frame(data: Any) -> Any:
    if pandas_of(data) is None:
        raise UnsupportedData(type_name(data))
    if any(not isinstance(name, str) for name in data.columns):
        raise UnsupportedData("a DataFrame with a column that is not named by text")
    _need_arrow()
    return data


def _dump_parquet(data: Any) -> bytes:
    frame = _frame(data)
    try:
        content: bytes = frame.to_parquet(None, engine="pyarrow")
        return content
    except Exception as error:  # columns of mixed types, names that occur twice, …
        raise UnsupportedData(f"this DataFrame: {error}") from error


def _load_parquet(data: bytes) -> Any:
    from io import BytesIO

    _need_arrow()
    return import_pandas().read_parquet(BytesIO(data), engine="pyarrow")


def _dump_feather(data: Any) -> bytes:
    from io import BytesIO

    frame = _frame(data)
    buffer = BytesIO()
    try:
        frame.to_feather(buffer)
    except Exception as error:  # as above
        raise UnsupportedData(f"this DataFrame: {error}") from error
    return buffer.getvalue()


def _load_feather(data: bytes) -> Any:
    from io import BytesIO

    _need_arrow()
    return import_pandas().read_feather(BytesIO(data))


PARQUET = Format("a DataFrame", _dump_parquet, _load_parquet)
FEATHER = Format("a DataFrame", _dump_feather, _load_feather)
