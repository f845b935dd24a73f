"""Read the JSON files of a storage. Each kind has a shape, which a file is checked against when it is read.

A shape has the fields that readers rely on and their types, as in docs/storage-format.md; files may have more fields. A
field whose name ends in `?` may be missing or null.

The checks are our own: a row takes 1 µs if the fields of an earlier one had the same types. msgspec refuses NaN, and
takes 22 ms to import.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from types import NoneType
from typing import Any, NamedTuple, TypeAlias

from machinable.errors import Damaged, StorageError
from machinable.serialization import MAX_DEPTH, decode, is_too_deep, loads, parse, too_deep
from machinable.storage import layout
from machinable.storage.files import Files
from machinable.storage.numbered_parts import read_parts

__all__ = [
    "ANNOTATION",
    "EVENT",
    "EXECUTION",
    "LEASE_FACTS",
    "MODEL",
    "PLANNED",
    "POINTER",
    "ROW",
    "STATUS",
    "STOP",
    "TRIAL",
    "Kind",
    "damaged_lines",
    "parse_document",
    "parse_lease",
    "parse_rows",
    "read_checksum",
    "read_document",
    "read_execution",
    "read_rows",
    "read_storage_id",
    "readable_rows",
    "write_checksum",
]


class Each(NamedTuple):
    """The type of a mapping with values of a type, or null if `nullable`."""

    of: Type
    nullable: bool = False


class Items(NamedTuple):
    """The type of a list with items of a type."""

    of: Type


class ItemsOr(NamedTuple):
    """The type of a list with items of a type, or of another value."""

    of: Type
    other: Type


Type: TypeAlias = "str | tuple[str, ...] | Each | Items | ItemsOr | Mapping[str, Any]"

_TYPES: Mapping[str, tuple[type, ...]] = {
    "text": (str,),
    "time": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "list": (list, tuple),
    "mapping": (dict,),
}
_NAMES = {
    NoneType: "null",
    str: "text",
    int: "an integer",
    float: "a number",
    bool: "a boolean",
    list: "a list",
    tuple: "a tuple",
    dict: "a mapping",
}
_ARTICLES = dict.fromkeys(("time", "number", "boolean", "list", "mapping"), "a ") | {"integer": "an "}
_MAX_KNOWN = 1000  # combinations of fields and types


class Kind:
    """A kind of file, or of the lines of a file.

    Attributes:
        name: With its article, as in `a trial`.
        todo: What to do about a damaged one.
    """

    def __init__(self, name: str, shape: Mapping[str, Type], todo: str = "Restore the file from a copy.") -> None:
        self.name = name
        self.todo = todo
        self._shape = shape
        self._nested = [(key.removesuffix("?"), of) for key, of in shape.items() if type(of) is not str or of == "time"]
        # The names and types of fields that are as they should be, and those of them whose content is checked as well
        self._known: dict[tuple[Any, ...], list[tuple[str, Type]]] = {}

    def fault(self, value: Any) -> str | None:
        """Return why a value is not of this kind, or None if it is."""
        if type(value) is not dict:
            return f"it holds {_name(value)}, not a mapping"
        fields = (*value, *map(type, value.values()))
        nested = self._known.get(fields)
        if nested is None:
            if fault := _field_fault(value, self._shape, ""):
                return fault
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            self._known[fields] = [(key, of) for key, of in self._nested if value.get(key) is not None]
            return None
        for key, expected in nested:
            inside = value[key]
            if inside and (fault := _fault(inside, expected, key)):
                return fault
        return None

    def encoded_fault(self, value: Any) -> str | None:
        """Return why a value as `json` reads it is not of this kind once it is decoded, or None if it is."""
        return self.fault(value) or _substituted(value, self._shape)


def _substituted(value: Mapping[str, Any], shape: Mapping[str, Type]) -> str | None:
    """Return which mapping of a value is the substitution of something else."""
    for key, expected in shape.items():
        inside = value.get(key.removesuffix("?"))
        if not inside:
            continue
        if expected == "mapping" and len(inside) == 1 and type(decode(inside)) is not dict:
            return f"{key.removesuffix('?')} is {_name(decode(inside))}, not a mapping"
        if isinstance(expected, Items) and isinstance(expected.of, Mapping):
            for item in inside:
                if fault := _substituted(item, expected.of):
                    return fault
    return None


def _field_fault(value: Mapping[str, Any], shape: Mapping[str, Type], path: str) -> str | None:
    missing = [key for key in shape if key[-1] != "?" and value.get(key) is None]
    if missing:
        return f"{path or 'it'} lacks {', '.join(missing)}"
    for key, expected in shape.items():
        name = key.removesuffix("?")
        inside = value.get(name)
        if inside is not None and (fault := _fault(inside, expected, f"{path}.{name}" if path else name)):
            return fault
    return None


def _fault(value: Any, expected: Type, path: str) -> str | None:
    """Return why a value does not have a type, or None if it does."""
    if isinstance(expected, str):
        if expected == "any" or (type(value) in _TYPES[expected] and (expected != "time" or _is_time(value))):
            return None
        return f"{path} is {_name(value)}, not {_ARTICLES.get(expected, '')}{expected}"
    if isinstance(expected, Items):
        if type(value) not in (list, tuple):
            return f"{path} is {_name(value)}, not a list"
        return _first(((f"{path}[{index}]", item) for index, item in enumerate(value)), expected.of)
    if isinstance(expected, ItemsOr):
        return _fault(value, Items(expected.of) if type(value) in (list, tuple) else expected.other, path)
    if isinstance(expected, Each):
        if type(value) is not dict:
            return f"{path} is {_name(value)}, not a mapping"
        if (
            isinstance(expected.of, str)
            and expected.of != "time"
            and {*map(type, value.values())} <= {*_TYPES[expected.of]}
        ):
            return None
        pairs = ((f"{path}.{key}", item) for key, item in value.items() if not (item is None and expected.nullable))
        return _first(pairs, expected.of)
    if isinstance(expected, Mapping):
        if type(value) is not dict:
            return f"{path} is {_name(value)}, not a mapping"
        return _field_fault(value, expected, path)
    return None if value in expected else f"{path} is {str(value)[:40]!r}, expected {', '.join(expected)}"


def _first(pairs: Iterable[tuple[str, Any]], expected: Type) -> str | None:
    return next((fault for path, value in pairs if (fault := _fault(value, expected, path))), None)


def _name(value: Any) -> str:
    return _NAMES.get(type(value), type(value).__name__)


def _is_time(text: str) -> bool:
    try:
        datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        return False
    return True


# --- the kinds

_ERROR = {"type": "text", "message": "text", "traceback?": "text"}
_USE = {"component": "text", "version?": "any", "checkpoint?": "text", "flags?": "mapping"}
_REQUIRED = _USE | {"artifact?": "text"}
_CODE = {
    "commit?": "text",
    "branch?": "text",
    "dirty?": "boolean",
    "backup?": "text",
    "files?": Each("text"),
    "changed?": Items("text"),
    "paths?": Items("text"),
}
_HOST = {
    "name?": "text",
    "user?": "text",
    "command?": "text",
    "pid?": "integer",
    "boot?": "text",
    "born?": "text",
    "served?": "boolean",
}
_ENGINE = {"type?": "text", "slots?": "integer", "given?": "text", "options?": "mapping", "left_out?": Items("text")}

STOP = Kind("a request to stop", {"time?": "time", "host?": "text", "user?": "text"})

EXECUTION = Kind(
    "an execution",
    {
        "id": "text",
        "run": "integer",
        "seed": "integer",
        "seeds?": "text",
        "name?": "text",
        "started": "time",
        "task?": {
            "components?": Items(
                _USE
                | {
                    "children?": ItemsOr(_USE, Each(_USE, nullable=True)),
                    "requires?": Each(ItemsOr(_REQUIRED, _REQUIRED), nullable=True),
                    "tags?": "mapping",
                    "resources?": "any",
                }
            ),
            "levels?": Items("list"),
            "versions?": "list",
            "versions_of?": Items("list"),
        },
        "function?": "text",
        "engine?": _ENGINE,
        "project?": "text",
        "code?": _CODE,
        "host?": _HOST,
        "python?": "text",
        "platform?": "text",
        "packages?": Each("text", nullable=True),
        "trials?": "integer",
    },
)
_PART = {"component": "text", "module": "text", "version?": "any", "config": "mapping", "flags": "mapping"}
_TRIAL: Mapping[str, Type] = {
    "index": "integer",
    "uid": "text",
    "seed": "integer",
    "component": "text",
    "module": "text",
    "version?": "any",
    "config": "mapping",
    "flags": "mapping",
    "children?": Items(_PART),
    "requires?": Each({"component": "text", "uid": "text", "identity": "text", "artifact?": "text", "place?": "text"}),
    "tags?": "mapping",
    "identity?": "text",
}
PLANNED = Kind("a trial", _TRIAL)
TRIAL = Kind("a trial", {**_TRIAL, "seeding?": Items("text")})
EVENT = Kind(
    "an event",
    {
        "event?": "text",
        "uid?": "text",
        "time?": "text",
        "attempt?": "integer",
        "seconds?": "number",
        "record?": "mapping",
        "will_retry?": "boolean",
        "error?": _ERROR,
        "source?": "text",
        "because?": "text",
        "status?": "text",
        "engine?": _ENGINE,
        "code?": _CODE,
        "host?": _HOST,
        "imported?": Each("text"),
        "sample?": "integer",
        "values?": "mapping",
        "uids?": Items("text"),
        "iteration?": "integer",
        "value?": "number",
        "state?": "text",
        "over?": "text",
    },
    "Restore the file from a copy, or move the line aside: machinable verify --repair",
)
STATUS = Kind(
    "the status of a trial",
    {
        "state": ("running", "finished", "failed", "interrupted", "pruned"),
        "attempt?": "integer",
        "token?": "integer",
        "started?": "time",
        "heartbeat?": "time",
        "finished?": "time",
        "host?": _HOST,
        "threads?": "integer",
        "devices?": Items("text"),
        "result?": "any",
        "error?": _ERROR,
        "checkpoint?": "text",
        "at_checkpoint?": {
            "saved?": Each({"name": "text", "saves?": "integer", "digest?": "text"}),
            "rows?": Each("integer"),
            "artifacts?": Each("text"),
        },
        "artifacts?": Each({"digest": "text", "size": "integer"}),
        "inputs?": Each(Each("text")),
        "indirect?": Each({"identity": "text", "place?": "text"}),
    },
)
POINTER = Kind(
    "a pointer to a result",
    {
        "format": "integer",
        "identity": "text",
        "trial": "text",
        "time": "time",
        "seconds?": "number",
        "record?": "mapping",
        "artifacts": Each("text"),
        "inputs": Each({"identity": "text", "artifacts": Each("text")}),
        "code": Each("text"),
    },
    "Remove it, so that the result is computed again.",
)
LEASE_FACTS = Kind(
    "a lease",
    {
        "execution?": "text",
        "uid?": "text",
        "host?": "text",
        "boot?": "text",
        "pid?": "integer",
        "born?": "text",
        "lease?": "number",
        "time?": "time",
        "token": "text",
        "renewals?": "integer",
    },
)
ANNOTATION = Kind(
    "an annotation",
    {
        "time": "time",
        "user?": "text",
        "uid?": "text",
        "tags?": "mapping",
        "removed?": Items("text"),
        "note?": "text",
    },
    "Restore the file from a copy, or move the line aside: machinable verify --repair",
)
MODEL = Kind("the description of a model", {"loader?": "text"})  # in the archive of an artifact
ROW = Kind("a row", {}, "Restore the file from a copy, or move the line aside: machinable verify --repair")


# --- documents


def read_document(files: Files, path: str, kind: Kind) -> dict[str, Any] | None:
    """Return the content of a file that is one JSON document, None if there is no such file.

    Raises:
        Damaged: It is not of this kind.
        StorageUnavailable: It cannot be read.
    """
    place = layout.join(files.url, path)
    try:
        return parse_document(files.read(path), kind, place)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except IsADirectoryError as error:
        raise Damaged(f"{place} is a directory", todo=kind.todo) from error


def parse_document(data: bytes, kind: Kind, place: str) -> dict[str, Any]:
    """Return the JSON document in the content of a file; raise `Damaged` as `read_document`."""
    try:
        found = loads(data)
        if (fault := kind.fault(found)) is None:
            return found  # type: ignore[no-any-return]
    except ValueError as error:
        fault = str(error)
    raise Damaged(f"{place} cannot be read: {fault}", given=data[:200].decode("utf-8", "replace"), todo=kind.todo)


def parse_lease(data: bytes) -> dict[str, Any]:
    """Return the facts in a lease; none if it is damaged, as its holder is unknown then.

    A process that wants a damaged lease watches it like one of another host, so it needs no error.
    """
    try:
        return parse_document(data, LEASE_FACTS, "")
    except Damaged:
        return {}


def write_checksum(files: Files, path: str, content: bytes) -> None:
    """Write the digest of a file beside it, as the program `sha256sum` reads it."""
    from machinable.storage.hashing import digest  # most readers and trials need it for nothing else

    line = f"{digest(content).removeprefix('sha256:')}  {path.rpartition('/')[2]}\n"
    files.write(layout.checksum(path), line.encode())


def read_checksum(files: Files, path: str) -> str | None:
    """Return the digest that is recorded beside a file, None if none can be read."""
    try:
        found = _CHECKSUM.match(files.read(layout.checksum(path)))
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    return f"sha256:{found[1].decode()}" if found else None


_CHECKSUM = re.compile(rb"([0-9a-f]{64})  ")


def read_storage_id(files: Files) -> str | None:
    """Return the id of a storage, None if it has none; raise `Damaged` if its file is damaged."""
    try:
        text = files.read(layout.STORAGE_ID).strip()
    except FileNotFoundError:
        return None
    if not _STORAGE_ID.fullmatch(text):
        raise Damaged(
            f"{layout.join(files.url, layout.STORAGE_ID)} is not an id of 32 hexadecimal digits",
            given=text[:200].decode("utf-8", "replace"),
            todo="Restore it from a copy, or remove it while no execution runs; it is created again.",
        )
    return text.decode()


_STORAGE_ID = re.compile(rb"[0-9a-f]{32}")


def read_execution(files: Files, folder: str) -> dict[str, Any] | None:
    """Return execution.json of a folder, None if there is none.

    Raises:
        Damaged: It is malformed.
        StorageError: A newer version has written it.
        StorageUnavailable: It cannot be read.
    """
    path = layout.join(folder, layout.EXECUTION)
    data = read_document(files, path, _VERSIONED)
    if data is None:
        return None
    place, number = layout.join(files.url, path), data["format"]
    if number > layout.FORMAT:
        raise StorageError(
            f"{place} has format {number}; this version of machinable reads format {layout.FORMAT}",
            given=number,
            todo="Read it with a newer version: pip install --upgrade machinable-engine",
        )
    fault = EXECUTION.fault(data) if number > 0 else f"format is {number}"
    if fault is not None:
        raise Damaged(f"{place} cannot be read: {fault}", given=fault, todo=EXECUTION.todo)
    return data


_VERSIONED = Kind("an execution", {"format": "integer"})  # whatever else it has in a newer format


# --- rows


def read_rows(files: Files, path: str, kind: Kind = ROW, parts: Sequence[int] | None = None) -> list[dict[str, Any]]:
    """Return the lines of a growing file in the order of writing; none if there is no such file.

    A line that a killed writer left unfinished is ignored. `parts` are the numbers of its parts, if they are known.

    Raises:
        Damaged: A complete line is not of this kind, or the file is a directory.
        StorageUnavailable: The file cannot be read.
    """
    rows: list[dict[str, Any]] = []
    place = layout.join(files.url, path)
    for piece in read_parts(files, path, parts):
        rows += parse_rows(piece, kind, place)
    return rows


def parse_rows(data: bytes, kind: Kind, place: str, *, decoded: bool = True) -> list[dict[str, Any]]:
    """Return the lines in the content of a file, see `read_rows`; if not `decoded`, as `json` reads them."""
    try:
        rows = _rows_at_once(data)
        has_marks = b'{"__' in data
        if decoded and has_marks:
            rows = [decode(row) for row in rows]
        if kind is not ROW and any(map(kind.encoded_fault if has_marks and not decoded else kind.fault, rows)):
            raise ValueError
    except ValueError:
        rows = []
        for number, row in _row_by_row(data, kind, decoded):
            if isinstance(row, ValueError):
                raise Damaged(
                    f"line {number} of {place} is not {kind.name}: {row}",
                    given=data.split(b"\n")[number - 1][:200].decode("utf-8", "replace"),
                    todo=kind.todo,
                ) from row
            rows.append(row)
    return rows


def readable_rows(lines: Iterable[bytes], kind: Kind = ROW) -> Iterator[dict[str, Any]]:
    """Yield the rows in lines of a file. Those that are damaged or that killed writers left unfinished are left out."""
    for line in lines:
        with suppress(ValueError):
            row = loads(line)
            if kind.fault(row) is None:
                yield row


def damaged_lines(data: bytes, kind: Kind = ROW) -> list[tuple[int, str]]:
    """Return the numbers, from 1, of the complete lines that are not of a kind, and what is wrong with each."""
    try:
        rows = _rows_at_once(data)
        if not any(map(kind.fault, rows)):
            return []
    except ValueError:
        pass
    return [(number, str(row)) for number, row in _row_by_row(data, kind) if isinstance(row, ValueError)]


def _rows_at_once(data: bytes) -> list[Any]:
    """Parse all lines in one call, which takes half the time of a call for each.

    Raises:
        ValueError: A line is not a row, or unfinished.
    """
    if not data:
        return []
    try:
        rows: list[Any] = json.loads(b"[" + data.removesuffix(b"\n").replace(b"\n", b",") + b"]")
    except RecursionError:
        raise too_deep() from None
    lines = data.count(b"\n") + (not data.endswith(b"\n"))
    if len(rows) != lines or not all(type(row) is dict for row in rows):
        raise ValueError
    # Few lines are so long, and few of these have so many brackets; nearly always, this is enough to see that.
    if data.count(b"{") + data.count(b"[") - lines >= MAX_DEPTH and any(
        is_too_deep(row)
        for row, line in zip(rows, data.split(b"\n"), strict=False)
        if len(line) > 2 * MAX_DEPTH and line.count(b"{") + line.count(b"[") > MAX_DEPTH
    ):
        raise too_deep()
    return rows


def _row_by_row(data: bytes, kind: Kind, decoded: bool = True) -> Iterator[tuple[int, Any]]:
    """Yield the number of each complete line, from 1, and its row or the error."""
    for number, line in enumerate(data.split(b"\n"), start=1):
        try:
            row = loads(line) if decoded else parse(line)
            if fault := kind.fault(row) if decoded else kind.encoded_fault(row):
                raise ValueError(fault)
            yield number, row
        except ValueError as error:
            if not _is_unfinished(line):
                yield number, error


_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')


def _is_unfinished(line: bytes) -> bool:
    """Return whether a line is the beginning of a row, with an open bracket or text. A power failure adds zeros."""
    line = line.rstrip(b"\0")
    bare = _STRING.sub(b"", line)
    closed = bare.count(b"}") + bare.count(b"]")
    return not line.strip() or (line[:1] == b"{" and (b'"' in bare or bare.count(b"{") + bare.count(b"[") > closed))
