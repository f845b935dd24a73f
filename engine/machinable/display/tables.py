"""Text for terminals: tables with aligned columns, numbers and settings in cells, styles where they are supported."""

from __future__ import annotations

import os
import re
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import date, time, timedelta
from typing import Any, NamedTuple, TextIO

from machinable.display.terminal import echo
from machinable.results.tables import short_headings
from machinable.serialization import dumps
from machinable.units import shortened

__all__ = [
    "MAX_TRACEBACK",
    "Table",
    "cell",
    "cell_width",
    "counted",
    "exact",
    "fitted",
    "has_styles",
    "headline",
    "is_numeric",
    "is_terminal",
    "printable",
    "settings_text",
    "styled_lines",
    "table_lines",
    "table_of",
    "write_table",
]


def is_terminal(stream: TextIO) -> bool:
    """Return whether the stream is a terminal that can move its cursor."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def has_styles(stream: TextIO) -> bool:
    """Return whether text for a stream may have styles: `NO_COLOR` forbids them, `FORCE_COLOR` forces them."""
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or is_terminal(stream)


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


MAX_HEADLINE, MAX_TRACEBACK = 500, 20_000  # characters of an error that are shown


def headline(error: Mapping[str, str]) -> str:
    """Return the type of an error and the first line of its message."""
    message = (error.get("message") or "").strip().partition("\n")[0]
    return shortened(f"{error.get('type')}: {message}" if message else str(error.get("type")), MAX_HEADLINE)


_PLAIN = r"[-+]?(?:[0-9]+\.?[0-9]*(?:e[-+]?[0-9]+)?|nan|inf)"
_WITH_POINT = re.compile(r"[-+]?[0-9]+\.[0-9]*(?:e[-+]?[0-9]+)?")
_NUMBER = re.compile(rf"{_PLAIN}(?: (?:±|to) {_PLAIN})?(?: ?[sx%])?")


class Table(NamedTuple):
    """Headings and rows of cells, as many in each row as there are headings."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]


def cell(value: Any) -> str:
    """Return a measurement for a cell: empty for None, short numbers, text unchanged, anything else as JSON."""
    if value is None:
        return ""
    return f"{value:.6g}" if type(value) is float else exact(value)


def exact(value: Any) -> str:
    """Return a setting for a cell, with all digits."""
    if isinstance(value, (date, time)):
        return value.isoformat()
    return printable(value if isinstance(value, str) else str(value) if isinstance(value, timedelta) else dumps(value))


def settings_text(settings: Mapping[str, Any]) -> str:
    """Return settings on one line: `rate=0.1 data.name=mnist`."""
    return " ".join(f"{key}={exact(value)}" for key, value in settings.items())


def table_of(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Return a table with a column for each key of the rows."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    return Table(keys, [[cell(row.get(key)) for key in keys] for row in rows])


def table_lines(table: Table) -> list[str]:
    """Return the lines of a table, headings first, with columns of numbers aligned to the right."""
    rows = [list(map(printable, row)) for row in (table.headings, *table.rows)]
    widths = [max(cell_width(row[i]) for row in rows) for i in range(len(table.headings))]
    right = [is_numeric([row[i] for row in table.rows]) for i in range(len(table.headings))]
    return ["  ".join(map(_padded, row, widths, right)).rstrip() for row in rows]


def styled_lines(table: Table, file: TextIO | None = None) -> list[str]:
    """Return the lines of a table for a stream, with bold headings on a terminal and with `FORCE_COLOR`."""
    first, *rest = table_lines(table)
    if has_styles(sys.stdout if file is None else file):
        first = f"\x1b[1m{first}\x1b[0m"
    return [first, *rest]


def is_numeric(cells: Sequence[str]) -> bool:
    """Return whether all cells that are not empty are numbers, with a deviation or unit if any."""
    filled = [text for text in cells if text]
    return bool(filled) and all(map(_NUMBER.fullmatch, filled))


def _padded(text: str, width: int, right: bool) -> str:
    space = " " * (width - cell_width(text))
    return space + text if right else text + space


def write_table(table: Table, *, wide: bool = True, file: TextIO | None = None) -> None:
    """Print a table; unless it is wide, a table that is wider than the terminal is fitted to it (see `fitted`)."""
    file = sys.stdout if file is None else file
    if wide or not is_terminal(file):
        parts: list[str | Table] = [table]
    else:
        from shutil import get_terminal_size  # 2 ms with its compressors

        parts = fitted(table, get_terminal_size().columns)
    for number, part in enumerate(parts):
        if isinstance(part, str):
            echo(part, file=file)
            continue
        if number and not isinstance(parts[number - 1], str):
            echo(file=file)
        file.write("\n".join([*styled_lines(part, file), ""]))  # its cells are escaped


# --- tables in a terminal

_UIDS = ("uid", "trial")  # columns of uids, of which the first characters are enough
_SHORTEST_UID = 4
_LONGEST_CELL = 24  # characters of a cell before columns go into a further table


def fitted(table: Table, width: int) -> list[str | Table]:
    """Return the parts of a table that fit into a number of terminal columns: lines of text and tables, in order.

    Of a table that is too wide, columns in which all rows are equal become a line above it. While it is still too wide,
    headings lose the parts that are not needed to distinguish them, uids and measurements are shortened, and so are
    long cells. Columns that do not fit after that are in further tables, each with the first column.
    """
    if _width(table) <= width:
        return [table]
    lines, table = _without_equal_columns(table)
    for shorten in (_short_headings, _short_uids, _short_numbers, _short_cells):
        if _width(table) > width:
            table = shorten(table)
    return [*lines, *_in_blocks(table, width)]


def _columns(table: Table) -> list[list[str]]:
    return [[row[i] for row in table.rows] for i in range(len(table.headings))]


def _from_columns(headings: Sequence[str], columns: Sequence[Sequence[str]]) -> Table:
    return Table(headings, list(zip(*columns, strict=True)))


def _widths(table: Table) -> list[int]:
    return [
        max(map(cell_width, (heading, *cells))) for heading, cells in zip(table.headings, _columns(table), strict=True)
    ]


def _width(table: Table) -> int:
    """Return the number of terminal columns of a table, with two spaces between its columns."""
    return sum(_widths(table)) + 2 * (len(table.headings) - 1)


def _without_equal_columns(table: Table) -> tuple[list[str], Table]:
    """Return a line with the columns in which all rows are equal, if any, and the table of the others."""
    if len(table.rows) < 2:
        return [], table
    columns = _columns(table)
    equal = [len(set(cells)) == 1 for cells in columns]
    equal[0] = False  # it names the rows
    facts = [
        f"{name}={cells[0]}"
        for name, cells, is_equal in zip(table.headings, columns, equal, strict=True)
        if is_equal and cells[0]
    ]
    kept = [i for i, is_equal in enumerate(equal) if not is_equal]
    line = [f"the same in all rows: {' '.join(facts)}"] if facts else []
    return line, _from_columns([table.headings[i] for i in kept], [columns[i] for i in kept])


def _short_headings(table: Table) -> Table:
    return Table(short_headings(table.headings), table.rows)


def _short_uids(table: Table) -> Table:
    """Cut uids to the shortest length, at least 4 characters, at which they differ."""

    def short(heading: str, cells: list[str]) -> list[str]:
        if heading not in _UIDS:
            return cells
        different = len(set(cells))
        longest = max(map(len, cells), default=0)
        length = next(
            (n for n in range(_SHORTEST_UID, longest) if len({cell[:n] for cell in cells}) == different), longest
        )
        return [cell[:length] for cell in cells]

    return _from_columns(table.headings, list(map(short, table.headings, _columns(table))))


def _short_numbers(table: Table) -> Table:
    """Round numbers to 4 significant digits in columns in which they stay different."""

    def short(text: str) -> str:
        if not _NUMBER.fullmatch(text):
            return text
        words = text.split(" ")  # a number, and perhaps a deviation, the end of an interval, or a unit
        shorter = [f"{float(word):.4g}" if _WITH_POINT.fullmatch(word) else word for word in words]
        return " ".join([min(pair, key=len) for pair in zip(words, shorter, strict=True)])

    columns = []
    for cells in _columns(table):
        rounded = list(map(short, cells)) if is_numeric(cells) else cells
        columns.append(rounded if len(set(rounded)) == len(set(cells)) else cells)
    return _from_columns(table.headings, columns)


def _short_cells(table: Table) -> Table:
    """Cut long cells, which end in … then."""

    def short(text: str) -> str:
        return text if len(text) <= _LONGEST_CELL else text[: _LONGEST_CELL - 1] + "…"

    return Table([*map(short, table.headings)], [[*map(short, row)] for row in table.rows])


def _in_blocks(table: Table, width: int) -> list[Table]:
    """Return tables of as many columns as fit, each with the first columns that distinguish the rows."""
    widths = _widths(table)
    named = _distinguishing(table, widths, width // 2)
    start = sum(widths[i] + 2 for i in named) - 2
    blocks, used = [[*named]], start
    for i in range(len(named), len(widths)):
        if used + 2 + widths[i] > width and len(blocks[-1]) > len(named):
            blocks.append([*named])
            used = start
        blocks[-1].append(i)
        used += 2 + widths[i]
    columns = _columns(table)
    return [_from_columns([table.headings[i] for i in block], [columns[i] for i in block]) for block in blocks]


def _distinguishing(table: Table, widths: Sequence[int], width: int) -> list[int]:
    """Return the first columns that distinguish the rows if they fit into a width, else the first one."""
    for count in range(1, len(widths)):
        if sum(widths[:count]) + 2 * (count - 1) > width:
            break
        if len({tuple(row[:count]) for row in table.rows}) == len(table.rows):
            return list(range(count))
    return [0] if widths else []
