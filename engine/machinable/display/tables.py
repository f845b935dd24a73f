"""Text for terminals: tables with aligned columns, numbers and settings in cells, styles where they are supported."""

from __future__ import annotations

import os
import re
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

import msgspec

from machinable.serialization import dumps

__all__ = [
    "MAX_TRACEBACK",
    "Table",
    "cell",
    "cell_width",
    "counted",
    "exact",
    "headline",
    "is_numeric",
    "is_terminal",
    "printable",
    "settings_text",
    "shortened",
    "styled_lines",
    "table_lines",
    "table_of",
    "time_text",
    "version_text",
    "write_table",
]


def is_terminal(stream: TextIO) -> bool:
    """Return whether the stream is a terminal that can move its cursor."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def cell_width(text: str) -> int:
    """Return the number of terminal columns that a text takes."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: `1 trial`, `2 trials`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def printable(text: str) -> str:
    """Return the text on one line, with control characters escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


MAX_HEADLINE, MAX_TRACEBACK = 500, 20_000  # characters of an error that are shown; all of them are stored


def headline(error: Mapping[str, str]) -> str:
    """Return the type of an error and the first line of its message."""
    message = (error.get("message") or "").strip().partition("\n")[0]
    return shortened(f"{error.get('type')}: {message}" if message else str(error.get("type")), MAX_HEADLINE)


def shortened(text: str, most: int) -> str:
    """Return the beginning and the end of a text up to a length, and the number of omitted characters."""
    if len(text) <= most:
        return text
    return f"{text[: most // 2]} … {len(text) - 2 * (most // 2):,} characters … {text[len(text) - most // 2 :]}"


_NUMBER = re.compile(r"[-+]?(?:[0-9.]+(?:e[-+]?[0-9]+)?|nan|inf)(?: ± .*)?(?: ?[sx%])?")


class Table(msgspec.Struct, frozen=True):
    """Headings and rows of cells, as many in each row as there are headings."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]


def cell(value: Any) -> str:
    """Return a measurement for a cell: empty for None, short numbers, text unchanged, anything else as JSON."""
    if value is None:
        return ""
    return f"{value:.6g}" if type(value) is float else exact(value)


def version_text(version: Any) -> str:
    """Return a version as it is written: its elements from left to right."""
    elements = version if isinstance(version, tuple) else (version,)
    return " ".join(one if isinstance(one, str) else cell(one) for one in elements)


def time_text(time: str) -> str:
    """Return a stored time for people: `2026-01-31 09:15:02 UTC`."""
    return f"{time[:19].replace('T', ' ')} UTC"


def exact(value: Any) -> str:
    """Return a setting for a cell, with all digits."""
    return printable(value if isinstance(value, str) else dumps(value))


def settings_text(settings: Mapping[str, Any]) -> str:
    """Return settings on one line: `rate=0.1 data.name=mnist`."""
    return " ".join(f"{key}={exact(value)}" for key, value in settings.items())


def table_of(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Return a table with a column for each key of the rows."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    return Table(keys, [[cell(row.get(key)) for key in keys] for row in rows])


def table_lines(table: Table) -> list[str]:
    """Return the lines of a table, headings first, with columns of numbers aligned to the right."""
    rows = [table.headings, *table.rows]
    widths = [max(cell_width(row[i]) for row in rows) for i in range(len(table.headings))]
    right = [is_numeric([row[i] for row in table.rows]) for i in range(len(table.headings))]
    return ["  ".join(map(_padded, row, widths, right)).rstrip() for row in rows]


def styled_lines(table: Table) -> list[str]:
    """Return the lines of a table for stdout, with bold headings if it is a terminal and `NO_COLOR` is not set."""
    first, *rest = table_lines(table)
    if is_terminal(sys.stdout) and not os.environ.get("NO_COLOR"):
        first = f"\x1b[1m{first}\x1b[0m"
    return [first, *rest]


def is_numeric(cells: Sequence[str]) -> bool:
    """Return whether all cells that are not empty are numbers, with a deviation or unit if any."""
    filled = [text for text in cells if text]
    return bool(filled) and all(map(_NUMBER.fullmatch, filled))


def _padded(text: str, width: int, right: bool) -> str:
    space = " " * (width - cell_width(text))
    return space + text if right else text + space


def write_table(table: Table) -> None:
    """Print a table in full width; a narrow terminal wraps its lines, so that ids can still be copied."""
    print(*styled_lines(table), sep="\n")
