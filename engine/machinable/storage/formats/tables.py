"""Tables: a list of mappings is read as such, and a DataFrame as a DataFrame.

Parquet and Feather, the formats of Arrow, preserve the type of each column of a DataFrame.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from itertools import chain
from typing import Any

from machinable.errors import InvalidType, import_optional
from machinable.serialization import as_plain, decode
from machinable.storage.formats import Format, UnsupportedData, type_name
from machinable.storage.formats.frames import dump_frame, import_pandas, is_frame, load_frame
from machinable.storage.formats.polars import dump_polars, import_polars, is_polars, load_polars
from machinable.storage.formats.text import decode_text, encode_text

__all__ = ["CSV", "FEATHER", "PARQUET", "TSV"]

# Lines of mappings end with \r\n, as in the CSV standard, and those of frames with \n, as in pandas, which
# distinguishes them when reading; of polars only the first ends with \r\n. Only text is quoted, so a text "1" is not
# read as a number.


def _dump_table(data: Any, separator: str, encoding: str = "utf-8", index: bool | None = None) -> bytes:
    if is_frame(data):
        return encode_text(dump_frame(data.reset_index(drop=True) if index is False else data, separator), encoding)
    if index is not None:
        raise InvalidType("only a DataFrame of pandas has the option 'index'", given=index, todo="Leave it out.")
    if is_polars(data):
        return encode_text(dump_polars(data, lambda table: _lines_of(table, separator)), encoding)
    if not isinstance(data, list):
        raise UnsupportedData(type_name(data))
    if others := [row for row in data if not isinstance(row, Mapping)]:
        raise UnsupportedData(f"list of {type_name(others[0])}")
    columns = list(dict.fromkeys(column for row in data for column in row))
    if any(not isinstance(column, str) for column in columns):
        raise UnsupportedData("a column that is not named by text")
    if data and not columns:
        raise UnsupportedData("rows without columns")
    lines = _lines_of({column: [row.get(column) for row in data] for column in columns}, separator) if columns else []
    return encode_text("".join(f"{line}\r\n" for line in lines), encoding)


def _lines_of(table: Mapping[str, Sequence[Any]], separator: str) -> list[str]:
    """Return the lines of a table, the names of its columns first."""
    lines = [separator.join(map(_quoted, table))]
    for i, row in enumerate(zip(*table.values(), strict=True)):
        cells = [_cell(value, f"[{i}].{column}") for column, value in zip(table, row, strict=True)]
        lines.append(separator.join(cells))
    return lines


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


_FIELDS = {s: re.compile(rf'(?:"((?:[^"]|"")*)"|([^"\r\n{s}][^\r\n{s}]*|))({s}|\r\n|\n|\r|\Z)') for s in ",\t"}
_INTEGER = re.compile(r"-?(0|[1-9][0-9]*)", re.ASCII)
_FLOAT = re.compile(r"-?([0-9]+\.[0-9]*(e[+-]?[0-9]+)?|[0-9]+e[+-]?[0-9]+|inf|nan)", re.ASCII)
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9:.+-]+)?|[0-9]{2}:[0-9]{2}:[0-9]{2}[0-9:.+-]*", re.ASCII)
_WORDS = {"": None, "True": True, "False": False}


def _load_table(data: bytes, separator: str) -> Any:
    if not data:
        return []
    text = decode_text(data)
    lines = _lines(text, separator)
    header, end = next(lines)
    names = [bare if quoted is None else _unquoted(quoted) for quoted, bare in header]
    if end == "\n":
        inside = [(None if quoted is None else _unquoted(quoted), bare) for quoted, bare in header]
        return load_frame(text, separator, inside, lambda: _rows(lines, len(header)), _value)
    first = next(lines, None)
    if first is not None:
        lines = chain([first], lines)
        if first[1] == "\n" and header[0][0] is not None:
            rows = _rows(lines, len(names))
            return load_polars(
                names, [[quoted if quoted is not None else _value(bare) for quoted, bare in row] for row in rows]
            )
    table = []
    for cells, _ in lines:
        if len(cells) == len(names):
            values = [_value(bare) if quoted is None else _unquoted(quoted) for quoted, bare in cells]
            table.append(dict(zip(names, values, strict=True)))
        elif cells != [(None, "")]:
            raise ValueError(f"row {len(table) + 1} has {len(cells)} cells, there are {len(names)} columns")
    return table


def _rows(lines: Iterator[tuple[list[tuple[str | None, str]], str]], count: int) -> list[list[tuple[str | None, str]]]:
    """Return the cells of all lines, without quotation marks."""
    rows: list[list[tuple[str | None, str]]] = []
    for cells, _ in lines:
        if len(cells) != count:
            raise ValueError(f"row {len(rows) + 1} has {len(cells)} cells, there are {count} columns")
        rows.append([(None if quoted is None else _unquoted(quoted), bare) for quoted, bare in cells])
    return rows


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
    """Return the value of a cell without quotation marks."""
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


def _need_arrow() -> None:
    import_optional("pyarrow", ".parquet and .feather need pyarrow", "[frames]")


def _text(separator: str) -> Format:
    return Format(
        "a DataFrame or a list of mappings with single values",
        lambda data, **options: _dump_table(data, separator, **options),
        lambda data: _load_table(data, separator),
        options=("encoding", "index"),
    )


def _arrow(name: str) -> Format:
    def dump(data: Any, **options: Any) -> bytes:
        if name == "parquet" and is_polars(data):
            buffer = BytesIO()
            data.write_parquet(buffer, **options)
            return buffer.getvalue()
        if not is_frame(data):
            raise UnsupportedData(type_name(data))
        if any(not isinstance(column, str) for column in data.columns):
            raise UnsupportedData("a DataFrame with a column that is not named by text")
        _need_arrow()
        buffer = BytesIO()
        getattr(data, f"to_{name}")(buffer, **options)
        return buffer.getvalue()

    def load(data: bytes) -> Any:
        if name == "parquet" and _is_of_polars(data):
            return import_polars().read_parquet(BytesIO(data))
        _need_arrow()
        return getattr(import_pandas(), f"read_{name}")(BytesIO(data))

    if name == "parquet":
        options = ("compression", "compression_level", "index", "row_group_size")
        return Format("a DataFrame of pandas or polars", dump, load, options=options, expanded=_size_of_parquet)
    return Format("a DataFrame of pandas", dump, load, options=("chunksize", "compression", "compression_level"))


def _size_of_parquet(data: bytes) -> int:
    """Return at least how many bytes the columns of a Parquet file take; texts that repeat can take more."""
    if _is_of_polars(data):
        polars = import_polars()
        table = polars.scan_parquet(BytesIO(data))
        return _CELL * int(table.select(polars.len()).collect().item()) * len(table.collect_schema())
    _need_arrow()
    from pyarrow.parquet import ParquetFile

    about = ParquetFile(BytesIO(data)).metadata
    stated = sum(about.row_group(i).total_byte_size for i in range(about.num_row_groups))
    return max(int(stated), _CELL * int(about.num_rows) * int(about.num_columns))


_CELL = 8  # bytes, of most types


def _is_of_polars(data: bytes) -> bool:
    """Return whether polars wrote a Parquet file: its footer, whose length is before the last mark, says so."""
    return b"Polars (" in data[-8 - int.from_bytes(data[-8:-4], "little") : -8]


CSV, TSV = _text(","), _text("\t")
PARQUET, FEATHER = _arrow("parquet"), _arrow("feather")
