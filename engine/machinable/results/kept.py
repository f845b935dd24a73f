"""What was read of an execution, kept by column in a cache of the user's: who reads it next reads a part of that.

A cache is never needed: without it, or when it does not fit exactly, plan and ledger are read. A file has a line with
its checksum, one that says what the rest is, and one for each column. The directory can be removed at any time.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from stat import S_ISDIR
from typing import Any, NamedTuple
from zlib import crc32

from machinable.plain import decode, encode
from machinable.results.columns import Columns, pack
from machinable.settings import keeps_cache
from machinable.storage import layout
from machinable.storage.files import DirectoryFiles, Files

__all__ = ["Kept", "State", "find", "keep", "state_of"]

SMALLEST = 256 * 2**10  # bytes of a plan from which on a cache saves more than it costs
LARGEST = 256 * 2**20  # bytes of all files of the cache
SETTLED = 2.0  # seconds; a file that has been changed since could change again without another time
QUIET = 60.0  # seconds; what has not ended and was changed since will mostly change again, and to keep it costs time
_VERSION = 1  # of the file; raise it when what is kept changes, or which events count
_ENDING = ".columns"


class State(NamedTuple):
    """Which files were read.

    Attributes:
        place: their directory. files: of each its name and what is different for any other content.
        changed: when the last change was, in seconds since the epoch.
    """

    place: str
    files: list[list[Any]]
    changed: float


class Kept(NamedTuple):
    """What plan and ledger say.

    Attributes:
        trials: for each line of the plan a mapping of that line, `plan`, and the last event of that trial, `event`, or
            None. others: the last events of trials that are not in the plan. last: the last event of the execution.
        has_marks: whether events hold what JSON lacks, as `encode` writes it.
    """

    trials: Columns
    others: list[dict[str, Any]]
    last: str | None
    has_marks: bool

    def plan(self) -> list[dict[str, Any]]:
        """The lines of the plan, as `json` reads them."""
        return self._part("plan")

    def events(self) -> dict[str, dict[str, Any]]:
        """The last event of each trial, by uid."""
        events = [event for event in self._part("event") if event is not None] + self.others
        return {event["uid"]: decode(event) if self.has_marks else event for event in events}

    def _part(self, name: str) -> list[Any]:
        part = self.trials.under(name)
        return [] if part is None else part.values()


def state_of(files: Files, folder: str) -> State | None:
    """What the files of an execution are now; None if they are not to be kept.

    That is: they are few or elsewhere, or the user does not want it.
    """
    place = files.local_path(folder)
    if type(files) is not DirectoryFiles or place is None or not keeps_cache(os.environ):
        return None
    plan, ledger = os.path.join(place, layout.PLAN), os.path.join(place, layout.LEDGER)
    try:
        if os.stat(plan).st_size < SMALLEST:
            return None
        paths = [plan, ledger]
        if os.path.exists(layout.part(ledger, 1)):
            names = os.listdir(place)
            paths += [os.path.join(place, name) for name in sorted(names) if _is_part(name)]
        found = [_stat(path) for path in paths]
    except OSError:  # whoever reads the files tells what is wrong with them
        return None
    changed = max(max(facts.st_mtime, facts.st_ctime) for facts in found)
    return State(place, [
        [os.path.basename(path), facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns]
        for path, facts in zip(paths, found, strict=True)
    ], changed)  # fmt: skip


def _is_part(name: str) -> bool:
    return bool(layout.part_number(name)) and layout.whole(name) == layout.LEDGER


def _stat(path: str) -> os.stat_result:
    # A network file system may tell old facts about a path, but not about a file that has just been opened.
    with open(path, "rb", buffering=0) as file:
        return os.fstat(file.fileno())


def find(state: State) -> Kept | None:
    """What was kept of files in that state; None if there is nothing of the kind."""
    path = _path(state)
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
    if facts["place"] != state.place or facts["files"] != state.files:
        return None
    with suppress(OSError):  # another reader has just removed it
        os.utime(path)  # the files that nobody has read for the longest time go first
    trials = Columns(facts["count"], facts["shape"], _Lines(columns, facts["ends"]).__getitem__)
    return Kept(trials, facts["others"], facts["last"], facts["has_marks"])


def keep(
    state: State,
    plan: Sequence[Mapping[str, Any]],
    events: Mapping[str, Mapping[str, Any]],
    last: str | None,
) -> None:
    """Keep what was read of files in that state. Where that cannot be, nothing is kept.

    Args:
        plan: its lines, as `json` reads them. events: the last of each trial. last: that of the execution.
    """
    path = _path(state, make=True)
    if path is None:
        return
    lines: dict[bytes, int] = {}
    encoded = {uid: encode(event) for uid, event in events.items()}
    shape = pack([{"plan": row, "event": encoded.get(row["uid"])} for row in plan], lines)
    planned = {row["uid"] for row in plan}
    ends, end = [], 0
    for line in lines:
        end += len(line) + 1
        ends.append(end)
    about = {
        "place": state.place, "files": state.files, "count": len(plan), "shape": shape, "ends": ends,
        "others": [event for uid, event in encoded.items() if uid not in planned], "last": last,
        "has_marks": encoded != events,
    }  # fmt: skip
    rest = b"\n".join([json.dumps(about).encode(), *lines, b""])
    data = _first(rest) + b"\n" + rest
    if len(data) > LARGEST:
        return
    with suppress(OSError):  # no space, or no permission: then the next reader has to read it all as well
        _write(path, data)
        _shrink(os.path.dirname(path), path)


def _first(rest: bytes) -> bytes:
    """The line before the rest. Another version of machinable may have understood a plan or a ledger in another way."""
    version = sys.modules["machinable"].__version__
    return f"machinable {version} cache {_VERSION} {crc32(rest):08x} {len(rest)}".encode()


class _Lines(dict[int, list[Any]]):
    """The lines of the columns by their numbers, parsed when they are asked for."""

    def __init__(self, data: bytes, ends: Sequence[int]) -> None:
        self._data = data
        self._ends = ends

    def __missing__(self, number: int) -> list[Any]:
        begin = self._ends[number - 1] if number else 0
        self[number] = line = json.loads(self._data[begin : self._ends[number]])
        return line  # type: ignore[no-any-return]


def _path(state: State, *, make: bool = False) -> str | None:
    """Where the cache of an execution lies; None if there is no directory that is nobody else's."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):  # as the standard wants it
        home = os.path.expanduser("~")
        if not os.path.isabs(home) or not os.path.isdir(home):
            return None
        base = os.path.join(home, ".cache")
    directory = os.path.join(base, "machinable")
    try:
        if make:
            os.makedirs(directory, mode=0o700, exist_ok=True)
        facts = os.lstat(directory)
    except OSError:
        return None
    is_ours = not hasattr(os, "geteuid") or (facts.st_uid == os.geteuid() and not facts.st_mode & 0o022)
    if not S_ISDIR(facts.st_mode) or not is_ours:
        return None  # who can write there decides what is read
    return os.path.join(directory, sha256(os.fsencode(state.place)).hexdigest()[:32] + _ENDING)


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
    """Remove the files that have not been used for the longest time, until the others are not too large."""
    with os.scandir(directory) as entries:
        stats = [(entry.stat(follow_symlinks=False), entry.path) for entry in entries if _ENDING in entry.name]
        files = sorted((facts.st_mtime, facts.st_size, path) for facts, path in stats)
    size = sum(one for _, one, _ in files)
    for _, one, path in files:
        if size > LARGEST and path != newest:
            with suppress(FileNotFoundError):  # another reader does the same
                os.unlink(path)
            size -= one
