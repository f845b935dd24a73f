"""Tables: a list of mappings is read as such, and a DataFrame as a DataFrame.

Parquet and Feather, the formats of Arrow, preserve the type of each column of a DataFrame.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from csv import QUOTE_NONNUMERIC
from io import BytesIO, StringIO
from itertools import islice
from typing import Any

from machinable.errors import NotAvailable
from machinable.serialization import as_plain, decode
from machinable.storage.formats import Format, UnsupportedData, type_name

__all__ = ["CSV", "FEATHER", "PARQUET", "TSV"]

# Lines of mappings end with \r\n, as in the CSV standard, and those of frames with \n, as in pandas, which
# distinguishes them when reading. Only text is quoted, so a text "1" is not read as a number.


def _dump_table(data: Any, separator: str) -> bytes:
    if _is_frame(data):
        return _dump_frame(data, separator)
    if not isinstance(data, list):
        raise UnsupportedData(type_name(data))
    if others := [row for row in data if not isinstance(row, Mapping)]:
        raise UnsupportedData(f"list of {type_name(others[0])}")
    columns = list(dict.fromkeys(column for row in data for column in row))
    if any(not isinstance(column, str) for column in columns):
        raise UnsupportedData("a column that is not named by text")
    if data and not columns:
        raise UnsupportedData("rows without columns")
    lines = [separator.join(map(_quoted, columns))] if columns else []
    for i, row in enumerate(data):
        lines.append(separator.join(_cell(row.get(column), f"[{i}].{column}") for column in columns))
    return "".join(line + "\r\n" for line in lines).encode()


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _cell(value: Any, path: str) -> str:
    value = as_plain(value, path, tuples=True)
    if value is None:
        return ""
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, (list, tuple, dict)):
        raise UnsupportedData(f"{type_name(value)} at {path}")
    return value.isoformat() if hasattr(value, "isoformat") else repr(value)


def _is_frame(data: Any) -> bool:
    pandas = sys.modules.get("pandas")  # imported if there is a DataFrame
    return pandas is not None and isinstance(data, pandas.DataFrame)


def _dump_frame(frame: Any, separator: str) -> bytes:
    index = frame.index
    is_default = isinstance(index, sys.modules["pandas"].RangeIndex) and index.start == 0 and index.step == 1
    if index.nlevels > 1 or frame.columns.nlevels > 1 or index.name is not None or "" in frame.columns[:1]:
        raise UnsupportedData("a DataFrame with a named or nested index, which columns cannot store: use reset_index()")
    text: str = frame.to_csv(sep=separator, index=not is_default, lineterminator="\n", quoting=QUOTE_NONNUMERIC)
    return text.encode()


_FIELDS = {s: re.compile(rf'(?:"((?:[^"]|"")*)"|([^"\r\n{s}][^\r\n{s}]*|))({s}|\r\n|\n|\r|\Z)') for s in ",\t"}
_INTEGER = re.compile(r"-?(0|[1-9][0-9]*)", re.ASCII)
_FLOAT = re.compile(r"-?([0-9]+\.[0-9]*(e[+-]?[0-9]+)?|[0-9]+e[+-]?[0-9]+|inf|nan)", re.ASCII)
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9:.+-]+)?|[0-9]{2}:[0-9]{2}:[0-9]{2}[0-9:.+-]*", re.ASCII)
_WORDS = {"": None, "True": True, "False": False}


def _load_table(data: bytes, separator: str) -> Any:
    if not data:
        return []
    text = data.decode("utf-8-sig")
    lines = _lines(text, separator)
    header, end = next(lines)
    if end == "\n":
        return _load_frame(text, separator)
    columns = [bare if quoted is None else _unquoted(quoted) for quoted, bare in header]
    table = []
    for cells, _ in lines:
        if len(cells) == len(columns):
            values = [_value(bare) if quoted is None else _unquoted(quoted) for quoted, bare in cells]
            table.append(dict(zip(columns, values, strict=True)))
        elif cells != [(None, "")]:
            raise ValueError(f"row {len(table) + 1} has {len(cells)} cells, there are {len(columns)} columns")
    return table


def _lines(text: str, separator: str) -> Iterator[tuple[list[tuple[str | None, str]], str]]:
    """Yield the cells of each line, (inside of the quotation marks, None) or (None, bare), and the end of the line."""
    field = _FIELDS[separator]
    cells: list[tuple[str | None, str]] = []
    position = 0
    while position < len(text) or cells:
        found = field.match(text, position)
        if not found:
            number = text.count("\n", 0, position) + 1
            raise ValueError(f"a quotation mark in line {number} is not closed, or something follows it")
        quoted, bare, end = found.groups()
        cells.append((quoted, bare))
        position = found.end()
        if end != separator:
            yield cells, end
            cells = []


def _unquoted(text: str) -> str:
    return text.replace('""', '"')


def _value(text: str) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _TIME.fullmatch(text):
        try:
            return decode({"__date__": text})
        except ValueError:
            return text
    return text


def _load_frame(text: str, separator: str) -> Any:
    pandas = _import_pandas()
    if not text.strip():
        return pandas.DataFrame()
    exact: dict[str, Any] = {"float_precision": "round_trip"}
    if tuple(map(int, pandas.__version__.split(".")[:2])) >= (3, 1):
        exact = {}  # the default since this version, and the argument is deprecated
    texts = _text_columns(text, separator)
    frame = pandas.read_csv(
        StringIO(text),
        sep=separator,
        keep_default_na=False,
        na_values=[""],
        dtype=dict.fromkeys([name or _UNNAMED for name in texts], str),
        **exact,
    )
    if text.startswith((separator, '""' + separator)):  # the first column is the index
        frame = frame.set_index(frame.columns[0]).rename_axis(None)
    return frame


def _import_pandas() -> Any:
    try:
        import pandas
    except ImportError as error:
        raise NotAvailable(
            "this table was written from a DataFrame", todo="Install pandas to read it: pip install pandas"
        ) from error
    return pandas


_UNNAMED = "Unnamed: 0"  # what pandas calls a first column without a name
_MAX_SAMPLED = 10_000  # rows; pandas decides about a column that is empty up to there


def _text_columns(text: str, separator: str) -> list[str]:
    """Return the columns whose first cell that is not empty is quoted."""
    lines = _lines(text, separator)
    header, _ = next(lines)
    open_columns = {i: bare if quoted is None else _unquoted(quoted) for i, (quoted, bare) in enumerate(header)}
    found = []
    for cells, _ in islice(lines, _MAX_SAMPLED):
        for i, (quoted, bare) in enumerate(cells):
            if (quoted or bare) and i in open_columns:
                name = open_columns.pop(i)
                if quoted:
                    found.append(name)
        if not open_columns:
            break
    return found


def _need_arrow() -> None:
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise NotAvailable(
            ".parquet and .feather need pyarrow", todo="Install it: pip install 'machinable-engine[frames]'"
        ) from error


def _text(separator: str) -> Format:
    return Format(
        "a DataFrame or a list of mappings with single values",
        lambda data: _dump_table(data, separator),
        lambda data: _load_table(data, separator),
    )


def _arrow(name: str) -> Format:
    def dump(data: Any) -> bytes:
        if not _is_frame(data):
            raise UnsupportedData(type_name(data))
        if any(not isinstance(name, str) for name in data.columns):
            raise UnsupportedData("a DataFrame with a column that is not named by text")
        _need_arrow()
        buffer = BytesIO()
        getattr(data, f"to_{name}")(buffer)
        return buffer.getvalue()

    def load(data: bytes) -> Any:
        _need_arrow()
        return getattr(_import_pandas(), f"read_{name}")(BytesIO(data))

    return Format("a DataFrame", dump, load)


CSV, TSV = _text(","), _text("\t")
PARQUET, FEATHER = _arrow("parquet"), _arrow("feather")
