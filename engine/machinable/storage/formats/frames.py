"""DataFrames as text: read as they were written, or refused.

Text is quoted, in the header too; numbers, booleans and times are not, and a missing cell is empty. So a text "1", an
empty text and a column named 1 are themselves.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from csv import QUOTE_NONNUMERIC
from io import StringIO
from typing import Any, TypeAlias

from machinable.errors import import_optional
from machinable.storage.formats import UnsupportedData, type_name

__all__ = ["as_mapping", "dump_frame", "from_mapping", "import_pandas", "is_frame", "load_frame"]

Cell: TypeAlias = "tuple[str | None, str]"  # the inside of the quotation marks and "", or None and the bare text

_MISSING = "\x01"  # in quotation marks, stands for a missing cell until the marks are removed
_KEPT = frozenset({str, int, float, bool})  # types in a column of objects
_HIGHEST = 2**63 - 1
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+", re.ASCII)


def is_frame(data: Any) -> bool:
    """Return whether data are a DataFrame of pandas, which is not imported for this."""
    pandas = sys.modules.get("pandas")  # imported if there is a DataFrame
    return pandas is not None and isinstance(data, pandas.DataFrame)


def import_pandas() -> Any:
    """Return pandas.

    Raises:
        NotAvailable: It is not installed.
    """
    return import_optional("pandas", "this table was written from a DataFrame", "pandas")


class _Time:
    """A time that the csv writer does not quote, because it could be a number."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __str__(self) -> str:
        return self._text

    def __float__(self) -> float:
        raise TypeError(self._text)


def dump_frame(frame: Any, separator: str) -> str:
    """Return the text of a frame.

    Raises:
        UnsupportedData: A part of it would be another one when it is read again.
    """
    columns, index = _checked(frame)
    names = list(frame.columns)
    if not names:
        return "\n"
    written = sys.modules["pandas"].DataFrame(dict(enumerate(columns)))
    if index is not None:
        written.index = index.to_numpy()
    text: str = written.to_csv(
        sep=separator,
        index=index is not None,
        header=names,
        lineterminator="\n",
        quoting=QUOTE_NONNUMERIC,
        na_rep=_MISSING,
    )
    return text.replace(f'"{_MISSING}"', "")


def as_mapping(frame: Any) -> dict[str, Any]:
    """Return a frame as plain data, from which `from_mapping` makes it again.

    Raises:
        UnsupportedData: As `dump_frame`.
    """
    columns, index = _checked(frame)
    names = [name if isinstance(name, str) else int(name) for name in frame.columns]
    return {
        "columns": [[name, *_as_lists(column)] for name, column in zip(names, columns, strict=True)],
        "index": None if index is None else _as_lists(index),
    }


def _as_lists(column: Any) -> list[Any]:
    """Return the type of a column and its values."""
    values = [None if missing else one for one, missing in zip(column.tolist(), column.isna(), strict=True)]
    if any(isinstance(value, _Time) for value in values):
        return ["time", [None if value is None else str(value) for value in values]]
    return [str(column.dtype) if column.dtype.kind in "biuf" else "object", values]


def from_mapping(data: Any) -> Any:
    """Return the frame that `as_mapping` was given."""
    pandas = import_pandas()

    def column(kind: str, values: Any) -> Any:
        if kind == "time":
            return pandas.to_datetime(pandas.Series(values), format="ISO8601")
        if kind != "object":
            return pandas.Series(values, dtype=kind)
        is_one_type = len({type(value) for value in values if value is not None}) <= 1
        return pandas.Series(values) if values and is_one_type else pandas.Series(values, dtype=object)

    columns = [column(kind, values) for _, kind, values in data["columns"]]
    frame = pandas.DataFrame(dict(enumerate(columns)), columns=range(len(columns)))
    frame.columns = pandas.Index([name for name, _, _ in data["columns"]])
    return frame if data["index"] is None else frame.set_index(column(*data["index"]).rename(None))


def _checked(frame: Any) -> tuple[list[Any], Any]:
    """Return the columns of a frame as they are written, and its index; None for the default one.

    Raises:
        UnsupportedData: See `dump_frame`.
    """
    index, names = frame.index, list(frame.columns)
    is_default = isinstance(index, sys.modules["pandas"].RangeIndex) and index.start == 0 and index.step == 1
    if index.nlevels > 1 or frame.columns.nlevels > 1 or index.name is not None or "" in names[:1]:
        raise UnsupportedData("a DataFrame with a named or nested index, which columns cannot store: use reset_index()")
    if not names:
        if len(index):
            raise UnsupportedData("a DataFrame without columns, whose rows would be lost")
        return [], None
    if not frame.columns.is_unique:
        raise UnsupportedData(f"a DataFrame with two columns {frame.columns[frame.columns.duplicated()][0]!r}")
    for name in names:
        if isinstance(name, bool) or not (isinstance(name, (int, str)) or getattr(name, "dtype", None) == "int64"):
            raise UnsupportedData(f"a DataFrame with the column {name!r}, whose name is neither text nor a number")
    columns = [_as_written(frame.iloc[:, i], f"the column {name!r}") for i, name in enumerate(names)]
    return columns, None if is_default else _as_written(index.to_series(), "the index")


def _as_written(values: Any, what: str) -> Any:
    """Return a column without an index, as `to_csv` writes it."""
    values = values.reset_index(drop=True)
    dtype = values.dtype
    is_text = str(dtype).startswith(("str", "object"))
    if not is_text and (type(dtype).__module__.partition(".")[0] != "numpy" or dtype.kind not in "biufM"):
        raise UnsupportedData(f"{what} of the type {dtype}, which text does not keep: use .parquet")
    if is_text:
        _check_objects(values, what)
    elif dtype.kind == "M":
        times = [
            None if one is None else _Time(one.isoformat()) for one in values.astype(object).where(values.notna(), None)
        ]
        return type(values)(times, dtype=object)
    elif dtype.kind == "f" and dtype.itemsize > 8:
        raise UnsupportedData(f"{what} of the type {dtype}, which text does not keep: use .npy")
    elif dtype.kind == "f":
        return values.astype("float64")  # the shortest text of a float32 is another number
    return values


def _check_objects(values: Any, what: str) -> None:
    present = values[values.notna()]
    kinds = set(map(type, present))
    if others := kinds - _KEPT:
        raise UnsupportedData(f"{what} with a {type_name(next(one for one in present if type(one) in others))}")
    if str in kinds and (present == _MISSING).any():
        raise UnsupportedData(f"{what} with the text {_MISSING!r}")
    if str not in kinds and int in kinds and (len(kinds) > 1 or len(present) < len(values)):
        raise UnsupportedData(f"{what} of whole numbers and others, which would all be of one type")
    if str not in kinds and bool in kinds and len(kinds) > 1:
        raise UnsupportedData(f"{what} of true or false and numbers, which would all be of one type")
    if int in kinds and any(type(one) is int and abs(one) > _HIGHEST for one in present):
        raise UnsupportedData(f"{what} with a number of more than 64 bits")


def load_frame(
    text: str,
    separator: str,
    header: Sequence[Cell],
    rows: Callable[[], Sequence[Sequence[Cell]]],
    value_of: Callable[[str], Any],
) -> Any:
    """Return a frame.

    Args:
        text: The text of the frame.
        separator: The character between cells.
        header: The cells of the first line.
        rows: Returns the cells of the other lines.
        value_of: Returns the value of a bare text.
    """
    pandas = import_pandas()
    if not text.strip():
        return pandas.DataFrame()
    if any(quoted is None and bare and not _is_number(bare) for quoted, bare in header):
        return _read_csv(text, separator, header=0)  # of another program
    names = [int(bare) if quoted is None and bare else quoted or "" for quoted, bare in header]
    columns = _read_simple(text, separator, len(names))
    if columns is None:
        cells = rows()
        columns = [_column([row[i] for row in cells], value_of) for i in range(len(names))]
    frame = pandas.DataFrame(dict(enumerate(columns)), columns=range(len(names)))
    frame.columns = pandas.Index(names)
    if names[0] == "":
        frame = frame.set_index(frame.columns[0]).rename_axis(None)
    return frame


def _is_number(text: str) -> bool:
    return re.fullmatch(r"-?[0-9]+", text, re.ASCII) is not None


def _read_csv(text: str, separator: str, **options: Any) -> Any:
    pandas = import_pandas()
    exact: dict[str, Any] = {"float_precision": "round_trip"}
    if tuple(map(int, pandas.__version__.split(".")[:2])) >= (3, 1):
        exact = {}  # the default since this version, and the argument is deprecated
    return pandas.read_csv(
        StringIO(text),
        sep=separator,
        keep_default_na=False,
        na_values=[""],
        skip_blank_lines=False,
        **exact,
        **options,
    )


_TEXT = r'"(?!"(?:{s}|\n))[^"]*(?:""[^"]*)*"'  # not empty, which pandas takes for missing


def _read_simple(text: str, separator: str, count: int) -> list[Any] | None:
    """Return the columns as pandas reads them; None if a column mixes text with others, or has an empty text."""
    pandas = import_pandas()
    if "\r" in text or "\0" in text:
        return None
    text_cell = _TEXT.replace("{s}", separator)
    bare = rf'[^"\n{separator}]*'
    start = text.index("\n", _end_of_header(text)) + 1
    kinds = [bare] * count
    undecided = set(range(count))
    position, row = start, re.compile(separator.join([f"({text_cell}|{bare})"] * count) + "\n")
    while undecided and (found := row.match(text, position)):  # the first cells that are not missing decide
        for i in [i for i in undecided if found[i + 1]]:
            undecided.remove(i)
            kinds[i] = f"(?:{text_cell})?" if found[i + 1][0] == '"' else bare
        position = found.end()
    row, position = re.compile(separator.join(kinds) + "\n"), start
    while position < len(text):
        found = row.match(text, position)  # a search would try every position of a line that does not match
        if found is None:
            return None
        position = found.end()
    texts = {i: str for i, kind in enumerate(kinds) if kind != bare}
    if position == start:
        return [pandas.Series([], dtype=object) for _ in range(count)]
    table = _read_csv(text[start:], separator, header=None, names=range(count), index_col=False, dtype=texts)
    columns = []
    for i in range(count):
        column = table[i]
        if i not in texts and column.dtype.kind not in "biuf":
            if not column.dropna().map(str).str.fullmatch(_TIME).all():
                return None
            column = pandas.to_datetime(column, format="ISO8601")
        columns.append(column)
    return columns


def _end_of_header(text: str) -> int:
    """Return where the line end after the header can be searched: after its last quotation mark."""
    found = re.match(r'(?:"(?:[^"]|"")*"|[^"\n])*', text)
    return found.end() if found else 0


def _column(cells: Sequence[Cell], value_of: Callable[[str], Any]) -> Any:
    pandas = import_pandas()
    texts = [quoted is not None for quoted, _ in cells]
    values = [value_of(bare) if quoted is None else quoted for quoted, bare in cells]
    present = [value for value in values if value is not None]
    if not any(texts) and present and all(_TIME.fullmatch(bare) for _, bare in cells if bare):
        return pandas.to_datetime(pandas.Series([bare or None for _, bare in cells]), format="ISO8601")
    is_one_type = len({type(value) for value in present}) <= 1
    return pandas.Series(values) if is_one_type else pandas.Series(values, dtype=object)
