"""What a trial writes: rows, and artifacts in the formats that their extensions say."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import pickle
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from .values import MissingKey, decode, encode, plain  # noqa: TID252 - the package has another name in a folder

__all__ = ["Record", "Store"]

_NOTHING: Any = object()


class Record:
    """The row that is being filled.

    Args:
        append: stores a line of a scope. beginning: when the current phase began, on `time.perf_counter`.
    """

    def __init__(
        self, append: Callable[[str, str], None], beginning: Callable[[], float], scope: str = "default"
    ) -> None:
        self._append = append
        self._beginning_now = beginning
        self._scope = scope
        self._scopes: dict[str, Record] = {scope: self}
        self._row: dict[str, Any] = {}
        self._count = 0
        self._beginning = self._previous = 0.0

    def __setitem__(self, column: str, value: Any) -> None:
        self._row[column] = _without_tuples(plain(value))

    def __getitem__(self, column: str) -> Any:
        if column not in self._row:
            raise MissingKey(f"the row has no column {column!r}")
        return self._row[column]

    def __delitem__(self, column: str) -> None:
        if column not in self._row:
            raise MissingKey(f"the row has no column {column!r}")
        del self._row[column]

    def __contains__(self, column: object) -> bool:
        return column in self._row

    def __iter__(self) -> Iterator[str]:
        return iter(self._row)

    def __len__(self) -> int:
        return len(self._row)

    def __bool__(self) -> bool:
        return True

    def update(self, values: Any = (), **more: Any) -> None:
        """Fill several columns."""
        self._row.update({column: _without_tuples(plain(value)) for column, value in dict(values, **more).items()})

    def save(self, echo: bool = False, force: bool = False) -> dict[str, Any] | None:
        """Store the row and begin the next."""
        return self.save_row(None, echo, force)

    def save_row(self, iteration: int | None, echo: bool = False, force: bool = False) -> dict[str, Any] | None:
        """Store the row, if there is one."""
        if not self._row and not force:
            return None
        now = time.perf_counter()
        if not self._count:
            self._beginning = self._previous = self._beginning_now()
        row = self._row if iteration is None else {**self._row, "_iteration": iteration}
        times = {"_seconds_taken": now - self._previous, "_total_seconds_taken": now - self._beginning}
        row = {**row, "_timestamp": time.time(), **times}
        self._append(self._scope, json.dumps(encode(row)) + "\n")
        self._count += 1
        self._previous, self._row = now, {}
        if echo:
            print(" ".join(f"{column}={value}" for column, value in row.items()))
        return row

    def scope(self, name: str) -> Record:
        """The record of that name; its rows are separate from all others."""
        if name not in self._scopes:
            record = self._scopes[name] = Record(self._append, self._beginning_now, name)
            record._scopes = self._scopes
        return self._scopes[name]

    def timing(self, mode: str = "iteration") -> float:
        """Seconds since the previous row (`iteration`), since the beginning (`total`), or per row (`avg`)."""
        now = time.perf_counter()
        beginning = self._beginning if self._count else self._beginning_now()
        previous = self._previous if self._count else beginning
        per_row = (previous - beginning) / self._count if self._count else now - beginning
        seconds = {"iteration": now - previous, "total": now - beginning, "avg": per_row}
        if mode not in seconds:
            raise ValueError(f"no timing {mode!r}")
        return max(seconds[mode], 1e-9)


def _without_tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_tuples(item) for key, item in value.items()}
    return list(map(_without_tuples, value)) if isinstance(value, (list, tuple)) else value


class Store:
    """Artifacts in a directory."""

    def __init__(self, directory: str) -> None:
        self._directory = directory

    def _place(self, name: str) -> str:
        parts = name.strip("/").split("/")
        if not {"", ".", ".."}.isdisjoint(parts) or name.startswith("/"):
            raise ValueError(f"{name!r} cannot be the name of an artifact")
        return os.path.join(self._directory, *parts)

    def path(self, name: str) -> str:
        """A local path for an artifact; a name that ends in `/` is a directory, which is made."""
        place = self._place(name)
        os.makedirs(place if name.endswith("/") else os.path.dirname(place), exist_ok=True)
        return place

    @contextmanager
    def directory(self, name: str, overwrite: bool = False) -> Iterator[str]:
        """A new directory of artifacts."""
        if self.has(name) and not overwrite:
            raise FileExistsError(f"the artifact {name!r} exists already")
        yield self.path(name.rstrip("/") + "/")

    def shared(self, name: str, keys: Any = ()) -> Shared:
        """A directory; here each trial has its own."""
        return Shared(self.path(name.rstrip("/") + "/"))

    def has(self, name: str) -> bool:
        """Whether there is an artifact of that name."""
        return os.path.exists(self._place(name))

    def names(self) -> list[str]:
        """The names of all artifacts."""
        found = [os.path.join(folder, name) for folder, _, names in os.walk(self._directory) for name in names]
        return sorted(os.path.relpath(path, self._directory).replace(os.sep, "/") for path in found)

    def write(self, name: str, data: Any, overwrite: bool = False, save: Any = None, load: Any = None) -> None:
        """Keep data under a name; the last extension decides how."""
        if self.has(name) and not overwrite:
            raise FileExistsError(f"the artifact {name!r} exists already")
        if save is not None:
            save(data, self.path(name))
            return
        content = _dump(_extension(name), data)
        with open(self.path(name), "wb") as file:
            file.write(gzip.compress(content, mtime=0) if name.lower().endswith(".gz") else content)

    def read(self, name: str, default: Any = _NOTHING, load: Any = None) -> Any:
        """What was written, or the default if one is given and there is no such artifact."""
        if not self.has(name):
            if default is not _NOTHING:
                return default
            raise FileNotFoundError(f"no artifact {name!r}; there are: {', '.join(self.names()) or 'none'}")
        if load is not None:
            return load(self.path(name))
        with open(self.path(name), "rb") as file:
            content = file.read()
        return _load(_extension(name), gzip.decompress(content) if name.lower().endswith(".gz") else content)


class Shared(str):
    """The path of a directory, which may be used in a `with` block."""

    __slots__ = ()

    def __enter__(self) -> Shared:
        return self

    def __exit__(self, *error: object) -> None:
        """It is nobody else's."""


def _extension(name: str) -> str:
    return name.lower().removesuffix(".gz").rpartition(".")[2]


def _json(data: Any) -> bytes:
    return json.dumps(encode(plain(data))).encode() + b"\n"


def _dump(extension: str, data: Any) -> bytes:
    """The bytes of an artifact."""
    if extension == "json":
        return _json(data)
    if extension == "jsonl":
        return b"".join(map(_json, data))
    if extension == "yaml":
        import yaml

        dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
        return str(yaml.dump(encode(plain(data)), Dumper=dumper, allow_unicode=True, sort_keys=False)).encode()
    if extension in ("txt", "log"):
        return _text(data).encode()
    if extension in ("bin", "png", "jpg", "pdf", "svg"):
        return bytes(data) if isinstance(data, (bytes, bytearray, memoryview)) else _figure(data, extension)
    if extension in ("p", "pkl"):
        return pickle.dumps(data, protocol=5)
    if extension in ("npy", "npz"):
        return _array(data) if extension == "npy" else _arrays(data)
    if extension in ("csv", "tsv"):
        return _table(data, "\t" if extension == "tsv" else ",")
    buffer = io.BytesIO()
    if extension in ("parquet", "feather"):
        getattr(data, f"to_{extension}")(buffer)
    elif extension == "xml":
        data.write(buffer, encoding="utf-8", xml_declaration=True)
    else:
        raise ValueError(f"no format is known for .{extension}")
    return buffer.getvalue()


def _load(extension: str, content: bytes) -> Any:
    """What was written as these bytes."""
    if extension == "json":
        return decode(json.loads(content))
    if extension == "jsonl":
        return [decode(json.loads(line)) for line in content.splitlines() if line.strip()]
    if extension == "yaml":
        import yaml

        return decode(yaml.safe_load(content))
    if extension in ("txt", "log"):
        return content.decode()
    if extension in ("bin", "png", "jpg", "pdf", "svg"):
        return content
    if extension in ("p", "pkl"):
        return pickle.loads(content)  # noqa: S301 - a trial reads what it has written itself
    buffer = io.BytesIO(content)
    if extension == "npy":
        import numpy

        return numpy.load(buffer, allow_pickle=False)
    if extension == "npz":
        with zipfile.ZipFile(buffer) as archive:
            return {name.removesuffix(".npy"): _load("npy", archive.read(name)) for name in archive.namelist()}
    if extension in ("csv", "tsv"):
        return _read_table(content, "\t" if extension == "tsv" else ",")
    if extension in ("parquet", "feather"):
        import pandas

        return getattr(pandas, f"read_{extension}")(buffer)
    if extension == "xml":
        from xml.etree import ElementTree

        return ElementTree.parse(buffer)
    raise ValueError(f"no format is known for .{extension}")


def _text(data: Any) -> str:
    if not isinstance(data, str):
        raise TypeError(f"this format takes text, not {type(data).__name__}")
    return data


def _array(data: Any) -> bytes:
    import numpy

    buffer = io.BytesIO()
    numpy.save(buffer, numpy.asarray(data), allow_pickle=False)
    return buffer.getvalue()


def _arrays(data: Mapping[str, Any]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, value in data.items():
            archive.writestr(zipfile.ZipInfo(name + ".npy"), _array(value))  # without a time: equal data, equal bytes
    return buffer.getvalue()


def _figure(figure: Any, extension: str) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=extension)
    return buffer.getvalue()


# Mappings end their lines with \r\n and frames with \n, which tells them apart when reading; text is quoted.


def _table(data: Any, separator: str) -> bytes:
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(data, pandas.DataFrame):
        has_index = not isinstance(data.index, pandas.RangeIndex)
        text: str = data.to_csv(sep=separator, index=has_index, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
        return text.encode()
    columns = list(dict.fromkeys(column for row in data for column in row))
    lines = [[_cell(column) for column in columns], *([_cell(plain(row.get(c))) for c in columns] for row in data)]
    return "".join(separator.join(line) + "\r\n" for line in lines if line).encode()


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return '"' + value.replace('"', '""') + '"'
    return "" if value is None else value.isoformat() if hasattr(value, "isoformat") else repr(value)


def _read_table(content: bytes, separator: str) -> Any:
    text = content.decode("utf-8-sig")
    if "\r\n" not in text.partition("\n")[0] + "\n":
        import pandas

        has_index = text.startswith((separator, '""' + separator))
        return pandas.read_csv(io.StringIO(text), sep=separator, index_col=0 if has_index else None)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator, quoting=csv.QUOTE_MINIMAL)
    header, *lines = list(rows)
    return [dict(zip(header, map(_value, line), strict=True)) for line in lines]


def _value(text: str) -> Any:
    if text in ("", "True", "False"):
        return {"": None, "True": True, "False": False}[text]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
