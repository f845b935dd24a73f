"""A stored trial: what it is, how far it is, and what it left."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Protocol

from machinable.errors import Damaged, NotStored
from machinable.results.pointers import changed_input, find_pointer
from machinable.results.reader import ASK, Folder, Rows
from machinable.results.records import Records
from machinable.serialization import Plain, decode
from machinable.storage import layout
from machinable.storage.streams import read_text

if TYPE_CHECKING:
    from machinable.config.config import Config
    from machinable.storage.artifacts import Artifacts

__all__ = ["LEASE", "Home", "Trial", "column"]

LEASE = 30.0  # seconds without a heartbeat, after which a running trial counts as interrupted

_NOTHING: Any = object()


class Home(Protocol):
    """The execution of a trial; see `Execution`."""

    @property
    def id(self) -> str: ...
    @property
    def seed(self) -> int: ...
    @property
    def name(self) -> str | None: ...
    @property
    def run(self) -> int: ...
    @property
    def started(self) -> str: ...
    @property
    def storage(self) -> str: ...
    @property
    def status(self) -> str: ...
    @property
    def data(self) -> Mapping[str, Any]: ...


class Trial:
    """One trial of an execution. What was read of it stays as it was until `execution.refresh()`.

    Attributes:
        uid: its name in the execution, and that of its folder.
        execution: the execution that it belongs to.
    """

    __slots__ = ("_at", "_folder", "_rows", "execution", "uid")

    def __init__(self, folder: Folder, rows: Rows, at: int, uid: str, execution: Home) -> None:
        self._folder = folder
        self._rows = rows
        self._at = at
        self.uid = uid
        self.execution = execution

    def __repr__(self) -> str:
        return f"<Trial {self.uid}: {self.component}, {self.status}>"

    @property
    def _row(self) -> dict[str, Any]:
        return self._rows[self._at]

    # what it is

    @property
    def index(self) -> int:
        """Its place in the plan, from 0."""
        return self._row["index"]  # type: ignore[no-any-return]

    @property
    def seed(self) -> int:
        """The seed of its random numbers."""
        return self._row["seed"]  # type: ignore[no-any-return]

    @property
    def component(self) -> str:
        """The canonical name of its component."""
        return self._row["component"]  # type: ignore[no-any-return]

    @property
    def module(self) -> str:
        """The import path of its component."""
        return self._row["module"]  # type: ignore[no-any-return]

    @property
    def version(self) -> Plain:
        """The versions as they were written in the task: None, one, or a tuple of several."""
        return decode(self._row.get("version"))

    @property
    def flags(self) -> dict[str, Plain]:
        """Its flags, as they were planned."""
        return decode(self._row["flags"])  # type: ignore[no-any-return]

    @property
    def tags(self) -> dict[str, Plain]:
        """Its tags."""
        return decode(self._row.get("tags", {}))  # type: ignore[no-any-return]

    @property
    def identity(self) -> str:
        """The identity of its computation."""
        return self._row.get("identity", "")  # type: ignore[no-any-return]

    @property
    def config(self) -> Config:
        """The configuration as the component read it; before it began, with calls of config methods as text.

        It is a copy: changes reach nobody.
        """
        from machinable.config.config import Config  # tables do without it

        described = self._folder.described(self.uid)
        return Config(decode(self._row["config"]) if described is None else described["config"])

    def value(self, part: str, keys: tuple[str, ...], default: Any = None) -> Any:
        """One value of `config`, `flags` or `tags` by its key path, without reading a file if the plan has it."""
        return self._folder.value(self._row, part, keys, default)

    def planned(self, part: str) -> dict[str, Any]:
        """`config`, `flags` or `tags` as the plan stores them, with the substitutions of stored data."""
        return self._row.get(part, {})  # type: ignore[no-any-return]

    @property
    def description(self) -> Mapping[str, Any]:
        """trial.json: what it was when it ran; before it began, what was planned."""
        described = self._folder.described(self.uid)
        return decode(self._row) if described is None else described

    # how far it is

    @property
    def status(self) -> str:
        """One of pending, running, finished, failed, interrupted, reused, blocked, skipped."""
        event = self._folder.events.get(self.uid)
        if event is not None and event["event"] != "started":
            return event["event"]  # type: ignore[no-any-return]
        status = self._folder.status(self.uid)
        if status is None:
            return "pending"
        state: str = status["state"]
        if state == "running" and self._folder.clock() - self._time(status, "heartbeat") >= LEASE:
            return "interrupted"
        return state

    def _time(self, status: Mapping[str, Any], key: str) -> float:
        try:
            return datetime.fromisoformat(status[key]).timestamp()
        except (KeyError, TypeError, ValueError) as error:
            place = layout.join(self._folder.files.url, self._folder.name, layout.status(self.uid))
            raise Damaged(
                f"{place} has no {key} that is a time", given=status.get(key), todo="Restore the file from a copy."
            ) from error

    def _fact(self, key: str) -> Any:
        status = self._folder.status(self.uid)
        if status is None and self.source is not None:
            raise self._gone()
        return (status or {}).get(key)

    def _gone(self) -> NotStored:
        return NotStored(
            f"the trial {self.uid} of {self._folder.name} was reused from {self.source}, which is not there any more",
            given=self.source,
            todo=f"Run it again: execute(…, rerun={self.component!r}).",
        )

    def _told(self, key: str) -> Any:
        return self._folder.events.get(self.uid, {}).get(key)

    @property
    def event(self) -> str | None:
        """What the ledger tells of it last, None if nothing."""
        return self._told("event")  # type: ignore[no-any-return]

    @property
    def noted(self) -> str | None:
        """When the ledger tells of it last (ISO-8601, UTC), None if it does not."""
        return self._told("time")  # type: ignore[no-any-return]

    @property
    def has_begun(self) -> bool:
        """Whether it was started, or left something behind."""
        return self._folder.has_begun(self.uid)

    @property
    def source(self) -> str | None:
        """Where its result lies if it was reused, as `OY1p1o/9c2EapVGXnPH`."""
        return self._told("source")  # type: ignore[no-any-return]

    @property
    def because(self) -> str | None:
        """What blocked it, or who computed it when it was skipped."""
        return self._told("because")  # type: ignore[no-any-return]

    @property
    def stale(self) -> str | None:
        """An artifact that it read and that is another one by now, as `data:x.npy`; None if there is none."""
        read = self._fact("inputs")
        if not read:
            return None
        found = {
            name: find_pointer(self._folder.files, needed["identity"])
            for name, needed in self._row.get("requires", {}).items()
            if name in read
        }
        return changed_input(read, {name: pointer.artifacts for name, pointer in found.items() if pointer is not None})

    @property
    def attempt(self) -> int:
        """The number of the last attempt, from 1; 0 if there was none."""
        return self._told("attempt") or self._fact("attempt") or 0

    @property
    def started(self) -> str | None:
        """When the last attempt began (ISO-8601, UTC)."""
        return self._fact("started")  # type: ignore[no-any-return]

    @property
    def finished(self) -> str | None:
        """When it ended, however it did (ISO-8601, UTC); None if it has not."""
        ended = self._fact("finished")
        if ended is None and self._told("event") != "started":
            return self._told("time")  # type: ignore[no-any-return]
        return ended  # type: ignore[no-any-return]

    @property
    def seconds(self) -> float | None:
        """How long the last attempt took; None if it has not ended."""
        told: float | None = self._told("seconds")
        if told is not None:
            return told
        status = self._folder.status(self.uid)
        if status is None or status.get("finished") is None:
            return None
        return self._time(status, "finished") - self._time(status, "started")

    @property
    def host(self) -> Mapping[str, Plain] | None:
        """Where it ran: `name` of the machine and `pid` of the process."""
        return self._fact("host")  # type: ignore[no-any-return]

    @property
    def threads(self) -> int | None:
        """With how many threads it computed."""
        return self._fact("threads")  # type: ignore[no-any-return]

    @property
    def result(self) -> Plain:
        """What `on_execute` returned, if it was plain data."""
        return self._fact("result")

    @property
    def error(self) -> Mapping[str, str] | None:
        """Why it failed: `type`, `message` and, unless its worker was lost, `traceback`."""
        return self._fact("error") or self._told("error")  # type: ignore[no-any-return]

    @property
    def checkpoint(self) -> str | None:
        """The last checkpoint that it saved; relative to the trial's folder if it lies there."""
        return self._fact("checkpoint")  # type: ignore[no-any-return]

    # what it left

    @property
    def _path(self) -> str:
        folder, uid = self._folder.where(self.uid)
        if folder is not self._folder and folder.status(uid) is None:
            raise self._gone()
        return layout.join(folder.name, layout.trial(uid))

    @property
    def log(self) -> str:
        """What its logger wrote until now."""
        return read_text(self._folder.files, layout.join(self._path, layout.LOG))

    @property
    def output(self) -> str:
        """What it wrote to stdout and stderr until now."""
        return read_text(self._folder.files, layout.join(self._path, layout.OUTPUT))

    @property
    def records(self) -> Records:
        """The rows that it has saved until now; `records("validation")` are those of another scope."""
        return Records(self._folder.files, self._path)

    @property
    def last_row(self) -> Mapping[str, Plain] | None:
        """The last row of the default scope; no file is read if the ledger has it."""
        event = self._folder.events.get(self.uid)
        if event is not None and "record" in event:
            return event["record"]  # type: ignore[no-any-return]
        return self.records.last if self._folder.has_begun(self.uid) else None

    @property
    def files(self) -> list[str]:
        """The names of its artifacts, sorted; those in folders have a `/`."""
        return self._artifacts.names()

    def read(self, name: str, default: Any = _NOTHING, *, load: Callable[[str], Any] | None = None) -> Any:
        """An artifact as it was written, or the default if one is given and there is no such artifact.

        Args:
            load: what reads a model (`.zip`); by default what was named when it was written.

        Raises:
            MissingArtifact: there is none. BadName: there can be none of that name. Damaged: it cannot be read.
            StorageError: it is a pickle or a model, and the storage was not opened with `trust=True`.
        """
        return self._artifacts.read(name, *(() if default is _NOTHING else (default,)), load=load)

    def content(self, name: str) -> bytes:
        """The bytes of an artifact.

        Raises:
            MissingArtifact: there is none. BadName: there can be none of that name.
        """
        return self._artifacts.content(name)

    def path(self, name: str) -> str:
        """A path on this host with an artifact, or with a directory of them for a name that ends in `/`.

        From a storage elsewhere it is fetched once, and removed when the process ends. Do not change what is there.

        Raises:
            MissingArtifact: there is none. BadName: there can be none of that name.
        """
        return self._artifacts.local_path(name)

    @property
    def _artifacts(self) -> Artifacts:
        from machinable.storage.artifacts import Artifacts  # tables do without it

        owner = f"the trial {self.uid} of {self._folder.name}"
        path = layout.join(self._path, layout.ARTIFACTS)
        return Artifacts(self._folder.files, path, owner, trust=self._folder.trust)


def column(trials: Sequence[Trial], path: tuple[str, ...], default: Any, ask: Callable[[Trial], Any]) -> list[Any]:
    """What each trial has there, in much less time than to ask one after the other where that can be.

    Args:
        path: see `Folder.column`. default: where a trial has nothing there. ask: gives the same for one trial.
    """
    found: list[Any] = []
    for rows, some in groupby(trials, _rows_of):
        members = list(some)
        column = members[0]._folder.column(rows, path, default)
        if column is None:
            found += map(ask, members)
        else:
            found += [
                ask(trial) if value is ASK else value
                for trial, value in ((trial, column[trial._at]) for trial in members)
            ]
    return found


_rows_of: Callable[[Trial], Rows] = attrgetter("_rows")
