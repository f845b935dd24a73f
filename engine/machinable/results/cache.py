"""Cache the content of large executions, by column, in the user's cache directory.

A later reader of one key reads only the lines of that key. Nothing depends on the cache: without it, or when
it does not match the files exactly, plan and ledger are read. The directory can be removed at any time.

A file has a line with its checksum, a line that describes the rest, and a line for each column: a JSON list. A *tree*
says in which lines values are:

    {"a": …, "b": …}  mappings with these keys, and the trees of the values under them
    0                 any values: line 0 has them all
    [0], [0, 1]       equal values, or few different ones: line 0 has these, line 1 for each place which of them it is
    [0, [ …, …]]      values of several types, or mappings with several keys: line 0 has for each place its tree

Measured for four columns of 10,000 trials in a new process: 3.3 ms, and 24 ms with a row for each trial in SQLite; see
the decisions in docs/architecture.md.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from itertools import accumulate
from stat import S_ISDIR
from typing import Any, NamedTuple, TypeAlias
from zlib import crc32

from machinable.results.lookup import CALL, MISSING, UNKNOWN, has_call, look, look_in, value_or
from machinable.serialization import decode, encode
from machinable.settings import uses_cache
from machinable.storage import layout
from machinable.storage.files import Files
from machinable.storage.local import DirectoryFiles, open_regular

__all__ = ["Cache", "CachedExecution", "Columns", "Look", "pack"]

MIN_SIZE = 256 * 2**10  # bytes of a plan above which a cache saves more than it costs
MAX_SIZE = 256 * 2**20  # bytes of all files of the cache
SETTLED = 2.0  # seconds; a file that changed more recently could change again without a new timestamp
QUIET = 60.0  # seconds; an execution that has not ended and changed more recently will probably change again
_VERSION = 2  # of the file; increase it when its content, or the events that count, change
_ENDING = ".columns"

_MAX_PARTS = 64  # trees in one place; with more, each would have few values
_NUMBERS = {int, float}

Tree: TypeAlias = Any
Look: TypeAlias = Callable[[Any, tuple[str, ...]], Any]  # takes a value and the keys that are left

_dump = json.JSONEncoder(separators=(",", ":")).encode


def pack(values: Sequence[Any], lines: dict[bytes, int]) -> Tree:
    """Return the tree of values that `json` has read, and add their lines to `lines`."""
    types = set(map(type, values))
    if len(types) == 1 and dict not in types:
        return _pack_equal(values, types.pop(), lines)
    kinds: list[Any] = [tuple(value) if type(value) is dict else type(value) for value in values]
    parts: dict[Any, list[Any]] = {kind: [] for kind in dict.fromkeys(kinds)}
    if len(parts) == 1:
        return {key: pack([value[key] for value in values], lines) for key in kinds[0]}
    if len(parts) > _MAX_PARTS:
        return _line(values, lines)
    for kind, value in zip(kinds, values, strict=True):
        parts[kind].append(value)
    numbers = {kind: number for number, kind in enumerate(parts)}
    return [_line([numbers[kind] for kind in kinds], lines), [pack(part, lines) for part in parts.values()]]


def _pack_equal(values: Sequence[Any], kind: type, lines: dict[bytes, int]) -> Tree:
    """Return the tree of values of one type other than mappings. -0.0 equals 0.0, but is another value."""
    if kind is list or (kind is float and 0.0 in values and "-0.0" in map(repr, values)):
        return _line(values, lines)
    numbers = {value: number for number, value in enumerate(dict.fromkeys(values))}
    if len(numbers) == 1:
        return [_line([*numbers], lines)]
    if len(numbers) > len(values) // 4:
        return _line(values, lines)
    return [_line([*numbers], lines), _line([numbers[value] for value in values], lines)]


def _line(values: Sequence[Any], lines: dict[bytes, int]) -> int:
    return lines.setdefault(_dump(values).encode(), len(lines))


class Columns:
    """Packed values. `line` returns a line as a new list."""

    def __init__(self, count: int, tree: Tree, line: Callable[[int], list[Any]]) -> None:
        self.count = count
        self._tree = tree
        self._line = line
        self._lines: dict[int, list[Any]] = {}  # those that `at` has read

    def find(self, keys: tuple[str, ...], look: Look) -> list[Any]:
        """Return `look(value, keys)` for each value; no mutable value is shared.

        Where all values are mappings with the first key, `look` is called with the value under it and the other keys,
        and must return the same. A number with no keys left is its own answer. For equal values `look` is called once.
        """
        return self._find(self._tree, self.count, keys, look)

    def at(self, index: int, key: str) -> Any:
        """Return what is under a key of the mapping at one position; its lists belong to this object."""
        return self._at(self._tree[key], index)

    def _at(self, tree: Tree, index: int) -> Any:
        if isinstance(tree, dict):
            return {key: self._at(below, index) for key, below in tree.items()}
        if isinstance(tree, int):
            return self._kept(tree)[index]
        number, *others = tree
        if not others:
            return self._kept(number)[0]
        if isinstance(others[0], int):
            return self._kept(number)[self._kept(others[0])[index]]
        places = self._kept(number)
        which = places[index]
        return self._at(others[0][which], places[:index].count(which))

    def _kept(self, number: int) -> list[Any]:
        if number not in self._lines:
            self._lines[number] = self._line(number)
        return self._lines[number]

    def _find(self, tree: Tree, count: int, keys: tuple[str, ...], look: Look) -> list[Any]:
        if isinstance(tree, dict) and keys and keys[0] in tree:
            return self._find(tree[keys[0]], count, keys[1:], look)
        if isinstance(tree, list):
            return self._joined(
                tree,
                count,
                lambda few: [look(value, keys) for value in few],
                lambda part, size: self._find(part, size, keys, look),
            )
        values = self._values(tree, count)
        if not keys and set(map(type, values)) <= _NUMBERS:
            return values
        return [look(value, keys) for value in values]

    def _values(self, tree: Tree, count: int) -> list[Any]:
        if isinstance(tree, int):
            return self._line(tree)
        if isinstance(tree, list):
            return self._joined(tree, count, list, self._values)
        if not tree:
            return [{} for _ in range(count)]
        columns = [self._values(below, count) for below in tree.values()]
        return [dict(zip(tree, row, strict=True)) for row in zip(*columns, strict=True)]

    def _joined(
        self,
        tree: list[Any],
        count: int,
        of_few: Callable[[list[Any]], list[Any]],
        of_part: Callable[[Tree, int], list[Any]],
    ) -> list[Any]:
        """Return the results of the functions for equal values and for parts, in the order of all values."""
        number, *others = tree
        if not others:
            return of_few(self._line(number)) * count
        if isinstance(others[0], int):
            few = of_few(self._line(number))
            return [few[which] for which in self._line(others[0])]
        places = self._line(number)
        parts = [iter(of_part(part, places.count(which))) for which, part in enumerate(others[0])]
        return [next(parts[which]) for which in places]


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
        return self.trials.find(("plan",), look)

    def planned(self, index: int) -> dict[str, Any]:
        """Return one line of the plan."""
        row: dict[str, Any] = self.trials.at(index, "plan")
        return row

    def event(self, index: int) -> dict[str, Any]:
        """Return the last event of the trial in one line of the plan; empty if there is none."""
        event = self.trials.at(index, "event") or {}
        return decode(event) if self.has_marks else event

    def events(self) -> dict[str, dict[str, Any]]:
        """Return the last event of each trial, by uid."""
        events = [event for event in self.trials.find(("event",), look) if event is not None] + self.others
        return {event["uid"]: decode(event) if self.has_marks else event for event in events}

    def column(self, path: tuple[str, ...], default: Any) -> list[Any]:
        """Return a value of all trials of a cached execution; see `Reader.column`."""
        part, *keys = path
        if not keys:
            default = UNKNOWN

        def last_row(value: Any, left: tuple[str, ...]) -> Any:
            found = look(value, left)
            if found is not MISSING:
                return found
            # With the column left, the row is None or lacks it; with `record` too, the event may have no row.
            has_row = len(left) == 1 or (type(value) is dict and "record" in value)
            return default if has_row else UNKNOWN

        def state(value: Any, left: tuple[str, ...]) -> Any:
            found = look(value, left)
            return UNKNOWN if found is MISSING or found == "started" else found

        def planned(value: Any, left: tuple[str, ...]) -> Any:
            found = look(value, left)
            return UNKNOWN if part == "config" and (found is CALL or has_call(found)) else value_or(found, default)

        def tag(value: Any, left: tuple[str, ...]) -> Any:
            tags = look(value, left)
            return default if tags is MISSING else value_or(look_in(part, tags, tuple(keys)), default)

        if part == "records":
            return self.trials.find(("event", "record", *keys), last_row)
        if part == "status":
            return self.trials.find(("event", "event"), state)
        if part == "tags":
            return self.trials.find(("plan", part), tag)
        return self.trials.find(("plan", *path), planned)


class Cache:
    """The cached content of one execution, and the content that can be cached.

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
        """Cache the content if it has not changed since, cannot change unnoticed, and the cache is writable."""
        before, self._before = self._before, None
        if before is None or now - before.changed < (SETTLED if last == "ended" else QUIET):
            return
        path = _path(before.directory, create=True)
        if path is None or _fingerprint(self._files, self._folder) != before:
            return
        lines: dict[bytes, int] = {}
        encoded = {uid: encode(event) for uid, event in events.items()}
        tree = pack([{"plan": row, "event": encoded.get(row["uid"])} for row in plan], lines)
        planned = {row["uid"] for row in plan}
        about = {
            "directory": before.directory,
            "files": before.files,
            "count": len(plan),
            "tree": tree,
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


class _Fingerprint(NamedTuple):
    """The identity of the content that was read of an execution."""

    directory: str
    files: list[list[Any]]  # the name, inode, size and times of each file
    changed: float  # when the last of them changed, in seconds since the epoch


def _fingerprint(files: Files, folder: str) -> _Fingerprint | None:
    """Return the current fingerprint of an execution; None if it is not cached.

    Small executions and storages other than local directories are not cached, and nothing is if the cache is disabled.
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
            file, _ = open_regular(path)
            found.append(os.fstat(file))
            os.close(file)
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
    """Return the cached content of an execution; None if there is none with this fingerprint."""
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
    begins = [0, *facts["ends"]]
    trials = Columns(
        facts["count"], facts["tree"], lambda number: json.loads(columns[begins[number] : begins[number + 1]])
    )
    return CachedExecution(trials, facts["others"], facts["last"], facts["has_marks"])


def _first(rest: bytes) -> bytes:
    """Return the first line. Other versions of machinable may read a plan or a ledger differently."""
    version = sys.modules["machinable"].__version__
    return f"machinable {version} cache {_VERSION} {crc32(rest):08x} {len(rest)}".encode()


def _path(place: str, *, create: bool = False) -> str | None:
    """Return the file of an execution; None if there is no directory that only its user can write."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):  # as the XDG specification requires
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
        return None  # other users could change what is read
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
