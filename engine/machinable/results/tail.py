"""Follow the events, rows, logs and outputs of a running execution."""

from __future__ import annotations

import os
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from typing import Any, Literal, NamedTuple, TypeAlias

from machinable.results.execution import Execution
from machinable.results.reader import Reader
from machinable.results.trial import LEASE
from machinable.storage import layout
from machinable.storage.cleanup import is_held
from machinable.storage.documents import EVENT, readable_rows
from machinable.storage.files import Files

__all__ = ["Follower", "GrowingFile", "News"]

Kind: TypeAlias = Literal["event", "row", "log", "output"]

BLOCK = 2**16  # bytes that are read first from the end of a file
_ENDS = frozenset({"finished", "failed", "interrupted", "reused", "blocked", "skipped", "unneeded", "pruned"})


class News(NamedTuple):
    """A new event, row or line.

    Attributes:
        time: When it was written, in seconds since the epoch; an estimate for lines without a time.
        uid: The trial, None for the execution.
        kind: `event`, `row`, `log` or `output`.
        data: A line of the ledger, a row, or a line of text.
        scope: The scope of a row.
    """

    time: float
    uid: str | None
    kind: Kind
    data: Any
    scope: str = ""


class Follower:
    """Follow one trial of an execution, by default all running ones.

    Attributes:
        status: How the execution has ended, None while it runs; `interrupted` after 30 s without a heartbeat.
        states: The state of each trial that was started, by uid: `started`, or the event that ended it.
    """

    def __init__(self, execution: Execution, uid: str | None = None, clock: Callable[[], float] = time.time) -> None:
        self._reader = reader = execution._reader
        self._uid = uid
        self._clock = clock
        self._ledger = GrowingFile(reader.files, layout.join(reader.name, layout.LEDGER), is_continued=True)
        self._watched: dict[str, _Watched] = {}
        self._last_heartbeat = _seconds(reader.data["started"])
        self._began: dict[str, float] = {}
        self._has_begun = False
        self.status: str | None = None
        self.states: dict[str, str] = {}

    @property
    def is_remote(self) -> bool:
        """Whether the storage is remote, so that each read is a request."""
        return self._reader.files.reach == "anywhere"

    def has_ended(self, uid: str) -> bool:
        """Return whether a trial has ended, by the events that were read."""
        return self.states.get(uid) in _ENDS

    def news(self, last: int | None = None) -> list[News]:
        """Return everything written since the last call, ordered by time.

        The first call returns everything or, with `last`, at least so many of the latest ones: files of trials may have
        gigabytes, of which only the end is read.
        """
        found = []
        for event in readable_rows(self._ledger.lines(), EVENT):
            if event.get("event"):
                self._note(event)
                if self._uid is None or event.get("uid") in (None, self._uid):
                    found.append(News(_seconds(event.get("time")), event.get("uid"), "event", event))
        if not self._has_begun:
            self._has_begun = True
            # Watch the running trials, or else the one that ended last.
            chosen = [uid for uid in self.states if not self.has_ended(uid)] or list(self.states)[-1:]
            for uid in chosen if self._uid is None else [self._uid]:
                self._watch(uid)
        if self.status is None and not self._is_alive():
            self.status = "interrupted"
        for uid, watched in self._watched.items():
            found += watched.news(self._clock(), last, whole=self.status is not None or self.has_ended(uid))
        self._watched = {uid: watched for uid, watched in self._watched.items() if not self.has_ended(uid)}
        return sorted(found, key=lambda news: news.time)

    def _note(self, event: dict[str, Any]) -> None:
        at, uid = _seconds(event.get("time")), event.get("uid")
        self._last_heartbeat = max(self._last_heartbeat, at)
        self.status = event.get("status", "finished") if event["event"] in ("ended", "paused") else None
        if uid is not None:
            self.states[uid] = "started" if event.get("will_retry") else event["event"]
            self._began.setdefault(uid, at)
            if self._has_begun:
                self._watch(uid)

    def _watch(self, uid: str) -> None:
        if uid not in self._watched and self._uid in (None, uid):
            self._watched[uid] = _Watched(self._reader, uid, self._began.get(uid, 0.0))

    def _is_alive(self) -> bool:
        """Return whether the last heartbeat or event is recent enough."""
        now = self._clock()
        if now - self._last_heartbeat < LEASE:
            return True
        if is_held(self._reader.files, layout.join(self._reader.name, layout.EXECUTION_LEASE)):
            return True
        for uid, state in self.states.items():
            if state not in _ENDS:
                status = self._reader.status(uid) or {}
                self._last_heartbeat = max(self._last_heartbeat, _seconds(status.get("heartbeat")))
        return now - self._last_heartbeat < LEASE


class _Watched:
    """The growing files of a trial."""

    def __init__(self, reader: Reader, uid: str, began: float) -> None:
        self._uid = uid
        self._files = reader.files
        self._trial = layout.join(reader.name, layout.trial(uid))
        self._texts: dict[Kind, GrowingFile] = {
            "log": GrowingFile(self._files, layout.join(self._trial, layout.LOG)),
            "output": GrowingFile(self._files, layout.join(self._trial, layout.OUTPUT)),
        }
        self._rows: dict[str, GrowingFile] = {}
        self._time = self._began = began

    def news(self, now: float, last: int | None, *, whole: bool) -> Iterator[News]:
        """Yield new lines; with `whole`, also incomplete last lines. `last` is that of `Follower.news`."""
        for entry in self._files.entries(layout.join(self._trial, layout.RECORDS)):
            scope = None if entry.is_directory else layout.scope_of(entry.name)
            if scope and scope not in self._rows:
                path = layout.join(self._trial, layout.scope_file(scope))
                self._rows[scope] = GrowingFile(self._files, path, is_continued=True)
        for scope, growing in self._rows.items():
            for row in readable_rows(growing.lines(last=last)):
                self._time = row["_timestamp"] if isinstance(row.get("_timestamp"), float) else self._time
                yield News(self._time, self._uid, "row", row, scope)
        for kind, growing in self._texts.items():
            for line in growing.lines(whole=whole, last=last):
                text = line.decode("utf-8", "replace")
                if kind == "log":
                    with suppress(ValueError):  # in whole seconds, so it may precede the start of the trial
                        self._time = max(datetime.fromisoformat(f"{text[:19]}+00:00").timestamp(), self._began)
                yield News(self._time or now, self._uid, kind, text)


class GrowingFile:
    """Read the new lines of a growing file and of its numbered parts. A replaced file is read from its start.

    If it `is_continued`, a file that replaces it begins with lines of the former one, which are not new: a process that
    takes over an execution copies the ledger, and an attempt that continues from a checkpoint the rows.
    """

    def __init__(self, files: Files, path: str, *, is_continued: bool = False) -> None:
        self._files = files
        self._path = path
        self._hashes: array[int] | None = array("q") if is_continued else None  # of the lines so far
        self._is_replaced = False
        self._known: dict[str, tuple[int, int]] = {}  # of each piece the inode, and how many bytes were read
        self._rest = b""

    def lines(self, *, whole: bool = False, last: int | None = None) -> list[bytes]:
        """Return the lines completed since the last call; with `whole`, also an incomplete one.

        With `last`, the first call returns at most so many lines, and reads the end of the file only.
        """
        pieces = self._pieces()
        if not self._known.keys() <= set(pieces):  # another attempt writes new parts
            self._known, self._rest, self._is_replaced = {}, b"", True
        is_first = last is not None and not self._known
        new = self._end(pieces, last or 0) if is_first else b"".join(map(self._grown, pieces))
        *lines, self._rest = (self._rest + new).split(b"\n")
        if whole and self._rest:
            lines.append(self._rest)
            self._rest = b""
        if is_first:
            lines = lines[max(0, len(lines) - (last or 0)) :]
        return [line.removesuffix(b"\r") for line in self._after_known(lines)]

    def _after_known(self, lines: list[bytes]) -> list[bytes]:
        """Return the lines after the last one that a replaced file had as well."""
        if self._hashes is None:
            return lines
        if self._is_replaced:
            known = set(self._hashes)
            begin = next((number for number in range(len(lines), 0, -1) if hash(lines[number - 1]) in known), 0)
            self._is_replaced = begin == len(lines)  # there may be more of them
            lines = lines[begin:]
        self._hashes.extend(map(hash, lines))
        return lines

    def _pieces(self) -> list[str]:
        if self._files.appends and not self._files.exists(layout.part(self._path, 1)):
            return [self._path]
        folder, _, name = self._path.rpartition("/")
        names = [entry.name for entry in self._files.entries(folder) if layout.whole(entry.name) == name]
        return [layout.join(folder, name) for name in sorted(names, key=layout.part_number)]

    def _grown(self, path: str) -> bytes:
        """Return what was added to a piece since it was read."""
        inode, position = self._known.get(path, (0, 0))
        if position and not self._files.appends:
            return b""  # a part is written once
        try:
            current = self._inode(path)
            if position:
                size = self._files.size(path)
                if current == inode and size == position:
                    return b""
                if current != inode or size < position:
                    position, self._rest, self._is_replaced = 0, b"", True
            new = self._files.read_from(path, position)
        except (FileNotFoundError, NotADirectoryError):
            return b""
        self._known[path] = current, position + len(new)
        return new

    def _inode(self, path: str) -> int:
        local = self._files.local_path(path)
        return 0 if local is None else os.stat(local).st_ino

    def _end(self, pieces: list[str], lines: int) -> bytes:
        """Return the last lines of the pieces, at least so many if there are, without reading what is before them."""
        found = b""
        for path in reversed(pieces):
            with suppress(FileNotFoundError, NotADirectoryError):
                if not self._files.appends:  # parts are small, and written once
                    self._known[path] = 0, 1
                    found = (self._files.read(path) if found.count(b"\n") <= lines else b"") + found
                    continue
                inode, size = self._inode(path), self._files.size(path)
                start, added = size, b""
                while start and added.count(b"\n") + found.count(b"\n") <= lines:
                    start = max(0, size - max(BLOCK, 8 * (size - start)))
                    added = self._files.read_from(path, start)
                self._known[path] = inode, start + len(added)
                found = (added.partition(b"\n")[2] if start and added else added) + found
        return found


def _seconds(text: Any) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except (TypeError, ValueError):
        return 0.0
