"""Tables as text and HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, time, timedelta
from typing import Any

from machinable.serialization import dumps

__all__ = ["cell", "exact_text", "flatten", "html_table", "short_text", "text_table"]


def flatten(value: Any, path: str = "") -> dict[str, Any]:
    """Return the leaves of nested mappings by their dotted paths; an empty mapping is a leaf."""
    if isinstance(value, Mapping) and value:
        leaves: dict[str, Any] = {}
        for key, item in value.items():
            leaves.update(flatten(item, f"{path}.{key}" if path else str(key)))
        return leaves
    return {path: value} if path else {}


def cell(value: Any, width: int = 30) -> str:
    """Return a value as text that fits into a table."""
    text = value if isinstance(value, str) else dumps(value)
    return text if len(text) <= width else text[: width - 1] + "…"


def exact_text(value: Any) -> str:
    """Return a value with all digits: text unchanged, dates in ISO-8601, anything else as JSON."""
    if isinstance(value, (date, time)):
        return value.isoformat()
    return value if isinstance(value, str) else str(value) if isinstance(value, timedelta) else dumps(value)


def short_text(value: Any) -> str:
    """Return a value as text, with 6 digits of a float; empty for None."""
    if value is None:
        return ""
    return f"{value:.6g}" if type(value) is float else exact_text(value)


def text_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table with aligned columns."""
    widths = [max(len(row[i]) for row in [headings, *rows]) for i in range(len(headings))]
    return [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in [headings, *rows]
    ]


def html_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return the table as HTML for a notebook."""
    from html import escape  # its table of characters takes a millisecond

    head = "".join(f"<th>{escape(text)}</th>" for text in headings)
    body = "".join("<tr>" + "".join(f"<td>{escape(text)}</td>" for text in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
