"""Data ↔ bytes, by the extension of a name: what was written comes back as the same kind.

`.gz` composes with every format: `scores.csv.gz`.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from machinable.errors import (
    BadName,
    Damaged,
    InvalidType,
    NotAvailable,
    StorageError,
    WrongKind,
    WrongType,
    near_names,
)
from machinable.plain import as_plain, decode, encode, loads

__all__ = ["check_name", "dump", "known_extensions", "load"]


class Format(NamedTuple):
    """How one kind of file is written and read. `dump` raises `_Unfit` for data that it does not take."""

    takes: str
    dump: Callable[[Any], bytes]
    load: Callable[[bytes], Any]
    runs_code: bool = False


class _Unfit(Exception):
    """Data that a format does not take; the text says what it got."""


def check_name(name: str) -> str:
    """The extension that decides how an artifact of that name is stored: `.csv`, `.csv.gz`.

    Raises:
        BadName: the name is empty, leaves the folder, or has no known extension.
    """
    if not isinstance(name, str):
        raise InvalidType(f"the name of an artifact is text, not {_kind(name)}", given=name)
    todo = "Use a relative name with / between folders, such as 'plots/loss.json'."
    if not name:
        raise BadName("an artifact needs a name", given=name, todo=todo)
    if (
        "\\" in name
        or "\0" in name
        or re.match(r"/|[A-Za-z]:", name)
        or not {"", ".", ".."}.isdisjoint(name.split("/"))
    ):
        raise BadName(f"{name!r} cannot be the name of an artifact", given=name, todo=todo)
    stem, extension = _split(name.rpartition("/")[2])
    if extension == ".gz":
        extension = _split(stem)[1] + extension
    if extension.removesuffix(".gz") not in _FORMATS:
        known = known_extensions()
        near = near_names(extension.removesuffix(".gz"), known)
        raise BadName(
            f"no format is known for {name!r}" + (f": {extension!r}" if extension else ", which has no extension"),
            given=name, known=known, details=[f"Known: {' '.join(known)}, each also with .gz"],
            todo=f"Did you mean {' or '.join(near)}?" if near else None,
        )  # fmt: skip
    return extension


def known_extensions() -> list[str]:
    """All extensions that a name can have; each of them can be followed by `.gz`."""
    return sorted(_FORMATS)


def dump(name: str, data: Any) -> bytes:
    """The content of the file of that name.

    Raises:
        BadName: see `check_name`.
        WrongKind: the format does not take such data; says what it takes and what it got.
    """
    extension = check_name(name)
    format = _FORMATS[extension.removesuffix(".gz")]
    try:
        content = format.dump(data)
    except _Unfit as unfit:
        raise WrongKind(f"{name!r} takes {format.takes}, not {unfit}", given=str(unfit)) from unfit.__cause__
    if extension.endswith(".gz"):
        import gzip

        content = gzip.compress(content, mtime=0)  # the same data give the same bytes
    return content


def load(name: str, data: bytes, *, trust: bool) -> Any:
    """What `dump` got.

    Args:
        name: the name of the file.
        data: its content.
        trust: whether the file may be one that runs code when it is read, which a pickle does.

    Raises:
        BadName: see `check_name`.
        StorageError: such a file runs code, and `trust` is False.
        Damaged: the content is not of this format.
    """
    extension = check_name(name)
    format = _FORMATS[extension.removesuffix(".gz")]
    if format.runs_code and not trust:
        raise StorageError(
            f"{name!r} is a pickle, and reading it runs what its author put there",
            given=name,
            todo="If you trust whoever writes to this storage: Storage(url, trust=True)",
        )
    try:
        if extension.endswith(".gz"):
            import gzip

            data = gzip.decompress(data or b"?")  # nothing at all is no archive, though gzip takes it for one
        return format.load(data)
    except (NotAvailable, MemoryError):
        raise
    except Exception as error:  # each library has its own
        raise Damaged(
            f"{name!r} cannot be read: {error or type(error).__name__}", given=name, todo="Restore it from a copy."
        ) from error


def _split(name: str) -> tuple[str, str]:
    stem, dot, extension = name.rpartition(".")
    return (stem, dot + extension.lower()) if stem else (name, "")


def _kind(data: object) -> str:
    kind = type(data)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _plain(data: Any, path: str = "") -> Any:
    try:
        return as_plain(data, path, tuples=True)
    except WrongType as error:
        place = f" at {error.path}" if error.path else ""
        raise _Unfit(f"{_kind(error.given)}{place}") from None


# --- plain data


def _dump_json(data: Any) -> bytes:
    return json.dumps(encode(_plain(data))).encode() + b"\n"


def _dump_jsonl(data: Any) -> bytes:
    if not isinstance(data, list):
        raise _Unfit(_kind(data))
    return b"".join(_dump_json(_plain(item, f"[{i}]")) for i, item in enumerate(data))


def _load_jsonl(data: bytes) -> list[Any]:
    return [loads(line) for line in data.split(b"\n") if line.strip()]


def _dump_yaml(data: Any) -> bytes:
    import yaml

    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    try:
        text: str = yaml.dump(encode(_plain(data)), Dumper=dumper, allow_unicode=True, sort_keys=False)
        return text.encode()
    except UnicodeEncodeError as error:
        raise _Unfit("text with half a character") from error


def _load_yaml(data: bytes) -> Any:
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # both make plain data only
    return decode(yaml.load(data, Loader=loader))  # noqa: S506


# --- text and bytes


def _dump_text(data: Any) -> bytes:
    if not isinstance(data, str):
        raise _Unfit(_kind(data))
    try:
        return data.encode()
    except UnicodeEncodeError as error:
        raise _Unfit("text with half a character") from error


def _dump_bytes(data: Any) -> bytes:
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise _Unfit(_kind(data))
    return bytes(data)


# --- tables
#
# Mappings end their lines with \r\n, as the standard of CSV says, and frames with \n, as pandas does: that tells them
# apart when reading. In mappings, text is quoted and all else is not, so a text "1" is not a number later.


def _frame_module(data: Any) -> Any:
    pandas = sys.modules.get("pandas")  # whoever has a frame has imported it
    return pandas if pandas is not None and isinstance(data, pandas.DataFrame) else None


def _dump_table(data: Any, separator: str) -> bytes:
    if pandas := _frame_module(data):
        return _dump_frame(data, separator, pandas)
    if not isinstance(data, list) or not all(isinstance(row, Mapping) for row in data):
        kinds = [_kind(row) for row in data if not isinstance(row, Mapping)] if isinstance(data, list) else []
        raise _Unfit(_kind(data) + (f" of {kinds[0]}" if kinds else ""))
    columns = list(dict.fromkeys(column for row in data for column in row))
    if any(not isinstance(column, str) for column in columns):
        raise _Unfit("a column that is not named by text")
    if data and not columns:
        raise _Unfit("rows without columns")
    lines = [separator.join(map(_quoted, columns))] if columns else []
    for i, row in enumerate(data):
        lines.append(separator.join(_cell(row.get(column), f"[{i}].{column}") for column in columns))
    try:
        return "".join(line + "\r\n" for line in lines).encode()
    except UnicodeEncodeError as error:
        raise _Unfit("text with half a character") from error


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _cell(value: Any, path: str) -> str:
    value = _plain(value, path)
    if value is None:
        return ""
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, (list, tuple, dict)):
        raise _Unfit(f"{_kind(value)} at {path}")
    return value.isoformat() if hasattr(value, "isoformat") else repr(value)


def _dump_frame(frame: Any, separator: str, pandas: Any) -> bytes:
    index = frame.index
    is_default = isinstance(index, pandas.RangeIndex) and index.start == 0 and index.step == 1
    if index.nlevels > 1 or frame.columns.nlevels > 1 or index.name is not None or "" in frame.columns[:1]:
        raise _Unfit("a DataFrame with a named or nested index, which its columns cannot keep: use reset_index()")
    text: str = frame.to_csv(sep=separator, index=not is_default, lineterminator="\n")
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
    """The cells of each line, (inside of the quotation marks, None) or (None, bare), and how the line ends."""
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
    try:
        import pandas
    except ImportError as error:
        raise NotAvailable(
            "this table was written from a DataFrame", todo="Install what reads it: pip install pandas"
        ) from error
    from io import StringIO

    if not text.strip():
        return pandas.DataFrame()
    exact: dict[str, Any] = {"float_precision": "round_trip"}
    if tuple(map(int, pandas.__version__.split(".")[:2])) >= (3, 1):
        exact = {}  # since then it is always so, and asking for it is deprecated
    has_index = text.startswith((separator, '""' + separator))
    return pandas.read_csv(
        StringIO(text),
        sep=separator,
        index_col=0 if has_index else None,
        keep_default_na=False,
        na_values=[""],
        **exact,
    )


# --- arrays


def _checked_array(data: Any, place: str = "") -> Any:
    numpy = sys.modules.get("numpy")  # whoever has an array has imported it
    if numpy is None or not isinstance(data, numpy.ndarray):
        raise _Unfit(_kind(data) + place)
    if isinstance(data, numpy.ma.MaskedArray):
        raise _Unfit(f"a masked array{place}, whose mask would be lost")
    array = numpy.asarray(data)
    if array.dtype.hasobject:
        raise _Unfit(f"an array of Python objects{place}, which only a pickle can keep")
    return array


def _dump_array(data: Any) -> bytes:
    from io import BytesIO

    array = _checked_array(data)
    import numpy

    buffer = BytesIO()
    try:
        numpy.save(buffer, array, allow_pickle=False)
    except ValueError as error:
        raise _Unfit(f"an array of {array.dtype}: {error}") from error
    return buffer.getvalue()


def _load_array(data: bytes) -> Any:
    from io import BytesIO

    import numpy

    return numpy.load(BytesIO(data), allow_pickle=False)


def _dump_arrays(data: Any) -> bytes:
    from io import BytesIO
    from zipfile import ZipFile, ZipInfo

    if not isinstance(data, Mapping):
        raise _Unfit(_kind(data))
    if unnamed := [key for key in data if not isinstance(key, str)]:
        raise _Unfit(f"a mapping with the key {unnamed[0]!r}")
    arrays = {key: _dump_array(_checked_array(value, f" at {key}")) for key, value in data.items()}
    buffer = BytesIO()
    with ZipFile(buffer, "w") as archive:  # numpy.savez cannot keep an array called "file"
        for key, content in arrays.items():
            archive.writestr(ZipInfo(key + ".npy"), content)
    return buffer.getvalue()


def _load_arrays(data: bytes) -> dict[str, Any]:
    from io import BytesIO
    from zipfile import ZipFile

    with ZipFile(BytesIO(data)) as archive:
        return {name.removesuffix(".npy"): _load_array(archive.read(name)) for name in archive.namelist()}


# --- anything


def _dump_pickle(data: Any) -> bytes:
    import pickle

    try:
        return pickle.dumps(data, protocol=5)
    except Exception as error:  # objects raise what they like
        raise _Unfit(f"{_kind(data)}: {error}") from error


def _load_pickle(data: bytes) -> Any:
    import pickle

    return pickle.loads(data)  # noqa: S301 - `load` has asked whether the author is trusted


_PLAIN = "plain data (None, bool, numbers, text, dates, lists and mappings of these)"
_TEXT = Format("text", _dump_text, bytes.decode)
_TABLE = "a DataFrame or a list of mappings with single values"
_PICKLE = Format("what can be pickled", _dump_pickle, _load_pickle, runs_code=True)

_FORMATS: dict[str, Format] = {
    ".json": Format(_PLAIN, _dump_json, loads),
    ".yaml": Format(_PLAIN, _dump_yaml, _load_yaml),
    ".jsonl": Format(f"a list of {_PLAIN}", _dump_jsonl, _load_jsonl),
    ".txt": _TEXT,
    ".log": _TEXT,
    ".bin": Format("bytes", _dump_bytes, bytes),
    ".csv": Format(_TABLE, lambda data: _dump_table(data, ","), lambda data: _load_table(data, ",")),
    ".tsv": Format(_TABLE, lambda data: _dump_table(data, "\t"), lambda data: _load_table(data, "\t")),
    ".npy": Format("an array of numpy", _dump_array, _load_array),
    ".npz": Format("a mapping of names to arrays of numpy", _dump_arrays, _load_arrays),
    ".p": _PICKLE,
    ".pkl": _PICKLE,
}
