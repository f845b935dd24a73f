"""Tables as text: columns under each other, numbers to the right, nothing cut off.

Whether a stream is a terminal, and text as it can be shown on one.
"""

from __future__ import annotations

import os
import re
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TextIO

from machinable.serialization import dumps

__all__ = [
    "BOLD",
    "TRACEBACK",
    "Table",
    "cell",
    "cell_width",
    "counted",
    "exact",
    "headline",
    "is_numeric",
    "is_terminal",
    "paint",
    "printable",
    "settings_text",
    "shortened",
    "table_lines",
    "table_of",
    "version_text",
    "write_table",
]

BOLD = "1"


def is_terminal(stream: TextIO) -> bool:
    """Whether somebody looks at the stream on a terminal that can move its cursor."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def paint(text: str, style: str, stream: TextIO | None = None) -> str:
    """The text in a style, if the stream (default: stdout) is a terminal and `NO_COLOR` is not set."""
    if os.environ.get("NO_COLOR") or not is_terminal(stream or sys.stdout):
        return text
    return f"\x1b[{style}m{text}\x1b[0m"


def cell_width(text: str) -> int:
    """How many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: `1 trial`, `2 trials`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def printable(text: str) -> str:
    """The text in one line, with characters that would control the terminal as escapes."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


LINE, TRACEBACK = 500, 20_000  # characters of an error that a person is shown; what is stored has all of them


def headline(error: Mapping[str, str]) -> str:
    """The type of an error and the first line of its message."""
    message = (error.get("message") or "").strip().partition("\n")[0]
    return shortened(f"{error.get('type')}: {message}" if message else str(error.get("type")), LINE)


def shortened(text: str, most: int) -> str:
    """A text with so many characters of its beginning and end, and how many were left out."""
    if len(text) <= most:
        return text
    return f"{text[: most // 2]} … {len(text) - 2 * (most // 2):,} characters … {text[len(text) - most // 2 :]}"


_NUMBER = re.compile(r"[-+]?(?:[0-9.]+(?:e[-+]?[0-9]+)?|nan|inf)(?: ± .*)?(?: ?[sx%])?")


class Table(NamedTuple):
    """Headings and rows of cells; all rows are as long as the headings."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]


def cell(value: Any) -> str:
    """A measurement in a cell: empty for None, numbers short, text as it is, anything else as JSON."""
    if value is None:
        return ""
    return f"{value:.6g}" if type(value) is float else exact(value)


def version_text(version: Any) -> str:
    """A version as people write it: elements from left to right."""
    elements = version if isinstance(version, tuple) else (version,)
    return " ".join(one if isinstance(one, str) else cell(one) for one in elements)


def exact(value: Any) -> str:
    """A setting in a cell, with all its digits."""
    return printable(value if isinstance(value, str) else dumps(value))


def settings_text(settings: Mapping[str, Any]) -> str:
    """Settings in one line: `rate=0.1 data.name=mnist`."""
    return " ".join(f"{key}={exact(value)}" for key, value in settings.items())


def table_of(rows: Sequence[Mapping[str, Any]], headings: Mapping[str, str] | None = None) -> Table:
    """A table with a column for each key of the rows.

    Args:
        rows: mappings; a key that a row lacks is an empty cell. headings: for keys that are called otherwise.
    """
    keys = list(dict.fromkeys(key for row in rows for key in row))
    called = headings or {}
    return Table([called.get(key, key) for key in keys], [[cell(row.get(key)) for key in keys] for row in rows])


def table_lines(table: Table) -> list[str]:
    """The lines of a table, headings first; columns of numbers stand to the right."""
    rows = [table.headings, *table.rows]
    widths = [max(cell_width(row[i]) for row in rows) for i in range(len(table.headings))]
    right = [is_numeric([row[i] for row in table.rows]) for i in range(len(table.headings))]
    return ["  ".join(map(_padded, row, widths, right)).rstrip() for row in rows]


def is_numeric(cells: Sequence[str]) -> bool:
    """Return whether all cells that are not empty are numbers, with a deviation or unit if any."""
    filled = [text for text in cells if text]
    return bool(filled) and all(map(_NUMBER.fullmatch, filled))


def _padded(text: str, width: int, right: bool) -> str:
    space = " " * (width - cell_width(text))
    return space + text if right else text + space


def write_table(table: Table, stream: TextIO) -> None:
    """Writes a table in full width; a narrow terminal wraps its lines, so that an id can still be copied."""
    lines = table_lines(table)
    print(paint(lines[0], BOLD, stream), *lines[1:], sep="\n", file=stream)
