"""Cache what was read of large executions, by column, in the user's cache directory.

A later reader that asks for one key reads what lies under that key. Nothing depends on the cache: without it, or when
it does not match the files exactly, plan and ledger are read. The directory can be removed at any time.

A file has a line with its checksum, a line that describes the rest, and a line for each column: many JSON values of a
similar shape. A *shape* says in which lines they are. Each line is a JSON list.

    {"all": 0}                                   the values, all of one type
    {"of": 0}                                    one value, which all of them are
    {"of": 0, "at": 1}                           few values, and for each place which of them
    {"keys": ["a", "b"], "columns": [{…}, {…}]}  mappings with these keys, in this order
    {"which": 0, "parts": [{…}, {…}]}            values of several types, and for each place of which part the next is
    {"any": 0}                                   the values, of too many types for parts

Measured for four columns of 10,000 trials in a new process: 3.3 ms, and 24 ms with a row for each trial in SQLite; see
the decisions in docs/architecture.md.
"""

from __future__ import annotations

import json
import os
import sys
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from itertools import accumulate
from stat import S_ISDIR
from typing import Any, NamedTuple, TypeAlias
from zlib import crc32

from machinable.results.lookup import CALL, UNKNOWN, has_call, is_mutable, look, look_in, value_or
from machinable.serialization import decode, encode
from machinable.settings import uses_cache
from machinable.storage import layout
from machinable.storage.files import Files
from machinable.storage.local import DirectoryFiles

__all__ = [
    "Cache",
    "CachedExecution",
    "Columns",
    "Look",
    "Shape",
    "pack",
]

MIN_SIZE = 256 * 2**10  # bytes of a plan from which on a cache saves more than it costs
MAX_SIZE = 256 * 2**20  # bytes of all files of the cache
SETTLED = 2.0  # seconds; a file that was changed since could change again without a new time
QUIET = 60.0  # seconds; an execution that has not ended and was changed since mostly changes again
_VERSION = 1  # of the file; raise it when its content changes, or which events count
_ENDING = ".columns"

Shape: TypeAlias = Mapping[str, Any]
Look: TypeAlias = Callable[[Any, tuple[str, ...]], Any]  # takes a value and the keys that are left

_MAX_PARTS = 64  # types of values in one place; with more, each would be a column of few

_dump = json.JSONEncoder(separators=(",", ":")).encode


def pack(values: Sequence[Any], lines: dict[bytes, int]) -> Shape:
    """Return the shape of values that `json` has read, and add their lines to `lines`, with their numbers."""
    types: list[Any] = list(set(map(type, values)))
    if types == [dict]:
        types = list(dict.fromkeys(map(tuple, values)))
        if len(types) == 1:
            keys = types[0]
            return {"keys": keys, "columns": [pack([value[key] for value in values], lines) for key in keys]}
    elif len(types) == 1:
        return _pack_equal(values, types[0], lines)
    kinds = [tuple(value) if type(value) is dict else type(value) for value in values]
    parts: dict[Any, list[Any]] = {kind: [] for kind in kinds}
    if len(parts) > _MAX_PARTS:
        return {"any": _line(values, lines)}
    for kind, value in zip(kinds, values, strict=True):
        parts[kind].append(value)
    numbers = {kind: number for number, kind in enumerate(parts)}
    which = _line([numbers[kind] for kind in kinds], lines)
    return {"which": which, "parts": [pack(part, lines) for part in parts.values()]}


def _pack_equal(values: Sequence[Any], kind: type, lines: dict[bytes, int]) -> Shape:
    """Return the shape of values of one type other than mappings."""
    marks: Sequence[Any] = values
    if kind is float:
        # Compare bits: 0.0 is not -0.0, and NaN is NaN.
        marks = memoryview(array("d", values)).cast("B").cast("q").tolist()
    elif kind is list:
        marks = list(map(repr, values))
    different = dict(zip(marks, values, strict=True))
    if len(different) == 1:
        return {"of": _line([*different.values()], lines)}
    if len(different) > len(values) // 4:
        return {"all": _line(values, lines)}
    numbers = {mark: number for number, mark in enumerate(different)}
    return {"of": _line([*different.values()], lines), "at": _line([numbers[mark] for mark in marks], lines)}


def _line(values: Sequence[Any], lines: dict[bytes, int]) -> int:
    return lines.setdefault(_dump(values).encode(), len(lines))


class Columns:
    """Values that were packed.

    Args:
        count: How many there are.
        shape: Their shape.
        line: Returns the list of a line; it is called for lines that are needed, and the list is not changed.
    """

    def __init__(self, count: int, shape: Shape, line: Callable[[int], list[Any]]) -> None:
        self.count = count
        self._shape = shape
        self._line = line

    def values(self) -> list[Any]:
        """Return all of them. No mutable value is shared; the list may be."""
        shape = self._shape
        if "parts" in shape:
            return self._joined(lambda part: part.values())
        if "keys" in shape:
            keys = shape["keys"]
            if not keys:
                return [{} for _ in range(self.count)]
            columns = [self._below(column).values() for column in shape["columns"]]
            return [dict(zip(keys, row, strict=True)) for row in zip(*columns, strict=True)]
        if "of" in shape:
            values = self._spread(self._line(shape["of"]))
        else:
            values = self._line(shape["all" if "all" in shape else "any"])
        return [_copy(value) for value in values] if is_mutable(values) else values

    def under(self, key: str) -> Columns | None:
        """Return the values under a key; None if not all values are mappings with it."""
        keys = self._shape.get("keys", ())
        return self._below(self._shape["columns"][keys.index(key)]) if key in keys else None

    def find(self, keys: tuple[str, ...], look: Look) -> list[Any]:
        """Return `look(value, keys)` for each value.

        Where all values are mappings with the first key, `look` is called with the value under it and the other keys,
        and must return the same. A number with no keys left is its own answer. For equal values `look` is called once,
        unless its answer is mutable.
        """
        shape = self._shape
        if "parts" in shape:
            return self._joined(lambda part: part.find(keys, look))
        below = self.under(keys[0]) if keys else None
        if below is not None:
            return below.find(keys[1:], look)
        if "of" in shape:
            answers = [look(value, keys) for value in self._line(shape["of"])]
            if not is_mutable(answers):
                return self._spread(answers)
        values = self.values()
        if not keys and "all" in shape and type(values[0]) in (int, float):
            return values
        return [look(value, keys) for value in values]

    def _below(self, shape: Shape) -> Columns:
        return Columns(self.count, shape, self._line)

    def _spread(self, few: list[Any]) -> list[Any]:
        at = self._shape.get("at")
        return few * self.count if at is None else [few[number] for number in self._line(at)]

    def _joined(self, ask: Callable[[Columns], list[Any]]) -> list[Any]:
        which = self._line(self._shape["which"])
        parts: list[Iterator[Any]] = [
            iter(ask(Columns(which.count(number), shape, self._line)))
            for number, shape in enumerate(self._shape["parts"])
        ]
        return [next(parts[number]) for number in which]


def _copy(value: Any) -> Any:
    if type(value) is dict:
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if type(value) is list else value


# --- files


class CachedExecution(NamedTuple):
    """The content of plan and ledger.

    Attributes:
        trials: For each line of the plan a mapping of that line, `plan`, and the last event of that trial, `event`, or
            None.
        others: The last events of trials that are not in the plan.
        last: The last event of the execution.
        has_marks: Whether events hold values that JSON lacks, as `encode` writes them.
    """

    trials: Columns
    others: list[dict[str, Any]]
    last: str | None
    has_marks: bool

    def plan(self) -> list[dict[str, Any]]:
        """Return the lines of the plan, as `json` reads them."""
        return self._part("plan")

    def events(self) -> dict[str, dict[str, Any]]:
        """Return the last event of each trial, by uid."""
        events = [event for event in self._part("event") if event is not None] + self.others
        return {event["uid"]: decode(event) if self.has_marks else event for event in events}

    def column(self, path: tuple[str, ...], default: Any) -> list[Any]:
        """Return a value of all trials of a cached execution; see `Reader.column`."""
        part, *keys = path
        if not keys:
            default = UNKNOWN

        def last_row(value: Any, left: tuple[str, ...]) -> Any:
            # With `record` and the column left, the event has no row; with the column, the row is None or lacks it.
            return value if not left else default if len(left) == 1 else UNKNOWN

        def state(value: Any, left: tuple[str, ...]) -> Any:
            return UNKNOWN if left or value == "started" else value

        def planned(value: Any, left: tuple[str, ...]) -> Any:
            found = look(value, left)
            return UNKNOWN if part == "config" and (found is CALL or has_call(found)) else value_or(found, default)

        def tag(value: Any, left: tuple[str, ...]) -> Any:
            return default if left else value_or(look_in(part, value, tuple(keys)), default)

        if part == "records":
            return self.trials.find(("event", "record", *keys), last_row)
        if part == "status":
            return self.trials.find(("event", "event"), state)
        if part == "tags":
            return self.trials.find(("plan", part), tag)
        return self.trials.find(("plan", *path), planned)

    def _part(self, name: str) -> list[Any]:
        part = self.trials.under(name)
        return [] if part is None else part.values()


class Cache:
    """The cached content of one execution, and what can be cached of it.

    Attributes:
        found: The cached content; None if there is none, or if the files have changed since.
    """

    def __init__(self, files: Files, folder: str) -> None:
        self._files = files
        self._folder = folder
        self._before = _fingerprint(files, folder)  # None if there is nothing to cache
        self.found = None if self._before is None else _load(self._before)
        if self.found is not None:
            self._before = None

    def save(
        self, plan: list[dict[str, Any]], events: Mapping[str, Mapping[str, Any]], last: str | None, now: float
    ) -> None:
        """Cache what was read, if it has not changed since, could not change unnoticed, and the cache can be written.

        Args:
            plan: The lines of the plan, as `json` reads them.
            events: The last event of each trial.
            last: The last event of the execution.
            now: The time in seconds since the epoch.
        """
        before, self._before = self._before, None
        if before is None or now - before.changed < (SETTLED if last == "ended" else QUIET):
            return
        path = _path(before.directory, create=True)
        if path is None or _fingerprint(self._files, self._folder) != before:
            return
        lines: dict[bytes, int] = {}
        encoded = {uid: encode(event) for uid, event in events.items()}
        shape = pack([{"plan": row, "event": encoded.get(row["uid"])} for row in plan], lines)
        planned = {row["uid"] for row in plan}
        about = {
            "directory": before.directory,
            "files": before.files,
            "count": len(plan),
            "shape": shape,
            "ends": list(accumulate(len(line) + 1 for line in lines)),
            "others": [event for uid, event in encoded.items() if uid not in planned],
            "last": last,
            "has_marks": encoded != events,
        }
        rest = b"\n".join([json.dumps(about).encode(), *lines, b""])
        data = _first(rest) + b"\n" + rest
        if len(data) <= MAX_SIZE:
            with suppress(OSError):  # no space or no permission: the next reader reads plan and ledger, too
                _write(path, data)
                _shrink(os.path.dirname(path), path)


class _Fingerprint(NamedTuple):  # reading tables does without msgspec, whose import takes 8 ms
    """Which content of which files was read.

    Attributes:
        directory: The directory of the execution.
        files: The name, inode, size and times of each file.
        changed: The time of the last change, in seconds since the epoch.
    """

    directory: str
    files: list[list[Any]]
    changed: float


def _fingerprint(files: Files, folder: str) -> _Fingerprint | None:
    """Return the present fingerprint of an execution; None if it is not cached.

    Small executions and other storages than local directories are not cached, nor if the user switches it off.
    """
    place = files.local_path(folder)
    if type(files) is not DirectoryFiles or place is None or not uses_cache(os.environ):
        return None
    paths = [os.path.join(place, layout.PLAN), os.path.join(place, layout.LEDGER)]
    try:
        if os.stat(paths[0]).st_size < MIN_SIZE:
            return None
        if os.path.exists(layout.part(paths[1], 1)):
            parts = (name for name in os.listdir(place) if layout.part_number(name))
            paths += sorted(os.path.join(place, name) for name in parts if layout.whole(name) == layout.LEDGER)
        found = []
        for path in paths:
            # A network file system may return old facts about a path, but not about a file that was just opened.
            with open(path, "rb", buffering=0) as file:
                found.append(os.fstat(file.fileno()))
    except OSError:  # reading the files raises the error
        return None
    return _Fingerprint(
        place,
        [
            [os.path.basename(path), facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns]
            for path, facts in zip(paths, found, strict=True)
        ],
        max(max(facts.st_mtime, facts.st_ctime) for facts in found),
    )


def _load(current: _Fingerprint) -> CachedExecution | None:
    """Return what is cached of an execution; None if nothing with this fingerprint is."""
    path = _path(current.directory)
    if path is None:
        return None
    try:
        with open(path, "rb", buffering=0) as file:
            data = file.read()
    except OSError:
        return None
    first, _, rest = data.partition(b"\n")
    if first != _first(rest):
        return None
    about, _, columns = rest.partition(b"\n")
    facts = json.loads(about)
    if facts["directory"] != current.directory or facts["files"] != current.files:
        return None
    with suppress(OSError):  # another process has just removed it
        os.utime(path)  # the least recently read file is removed first
    trials = Columns(facts["count"], facts["shape"], _Lines(columns, facts["ends"]).__getitem__)
    return CachedExecution(trials, facts["others"], facts["last"], facts["has_marks"])


def _first(rest: bytes) -> bytes:
    """Return the first line. Other versions of machinable may read a plan or a ledger in another way."""
    version = sys.modules["machinable"].__version__
    return f"machinable {version} cache {_VERSION} {crc32(rest):08x} {len(rest)}".encode()


class _Lines(dict[int, list[Any]]):
    """The lines of the columns by number, parsed on first use."""

    def __init__(self, data: bytes, ends: Sequence[int]) -> None:
        self._data = data
        self._ends = ends

    def __missing__(self, number: int) -> list[Any]:
        begin = self._ends[number - 1] if number else 0
        self[number] = line = json.loads(self._data[begin : self._ends[number]])
        return line  # type: ignore[no-any-return]


def _path(place: str, *, create: bool = False) -> str | None:
    """Return the file of an execution; None if there is no directory that only its user can write."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):  # as the standard demands
        home = os.path.expanduser("~")
        if not os.path.isabs(home) or not os.path.isdir(home):
            return None
        base = os.path.join(home, ".cache")
    directory = os.path.join(base, "machinable")
    try:
        if create:
            os.makedirs(directory, mode=0o700, exist_ok=True)
        facts = os.lstat(directory)
    except OSError:
        return None
    if not S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid() or facts.st_mode & 0o022:
        return None  # others could decide what is read
    return os.path.join(directory, sha256(os.fsencode(place)).hexdigest()[:32] + _ENDING)


def _write(path: str, data: bytes) -> None:
    beside = f"{path}.{os.getpid():x}-{os.urandom(8).hex()}"
    try:
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
        os.replace(beside, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(beside)
        raise


def _shrink(directory: str, newest: str) -> None:
    """Remove the least recently used files until the others are small enough."""
    with os.scandir(directory) as entries:
        stats = [(entry.stat(follow_symlinks=False), entry.path) for entry in entries if _ENDING in entry.name]
        files = sorted((facts.st_mtime, facts.st_size, path) for facts, path in stats)
    size = sum(one for _, one, _ in files)
    for _, one, path in files:
        if size > MAX_SIZE and path != newest:
            with suppress(FileNotFoundError):  # another process has just removed it
                os.unlink(path)
            size -= one
