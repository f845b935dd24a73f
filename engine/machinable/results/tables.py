"""Format tables of results: as text, for notebooks, and as frames of pandas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from machinable.errors import NotAvailable
from machinable.serialization import dumps

__all__ = ["data_frame", "format_cell", "html_table"]

_MAX_WIDTH = 40  # characters of a cell


def data_frame(columns: Mapping[str, Sequence[Any]]) -> Any:
    """Return a pandas DataFrame of named columns of the same length.

    Raises:
        NotAvailable: pandas is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise NotAvailable(
            "a frame needs pandas, which is not installed", todo="pip install 'machinable-engine[frames]'"
        ) from error
    return pandas.DataFrame(dict(columns))


def format_cell(value: Any) -> str:
    """Return the short text of a value in a table; empty for None."""
    if value is None:
        return ""
    if type(value) is float:
        return f"{value:.6g}"
    text = value if isinstance(value, str) else dumps(value)
    return text if len(text) <= _MAX_WIDTH else text[: _MAX_WIDTH - 1] + "…"


def html_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return the HTML of a table for notebooks; cells are text and are escaped."""
    from html import escape

    head = "".join(f"<th>{escape(cell)}</th>" for cell in headings)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
