"""A stored trial: its configuration, its state and its results."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from machinable.errors import Damaged, NotStored, Refused
from machinable.named_values import NamedValues
from machinable.plan.table import flatten, html_table, short_text
from machinable.results.lookup import UNKNOWN
from machinable.results.pointers import Available, Input, changed_input, find_pointer
from machinable.results.reader import ExecutionInfo, Reader, Rows
from machinable.results.records import Records
from machinable.serialization import Plain, decode
from machinable.storage import layout
from machinable.storage.process_info import is_gone, is_running
from machinable.storage.streams import read_text
from machinable.units import format_time

if TYPE_CHECKING:
    from machinable.config.config import Config
    from machinable.storage.artifacts import Artifacts

__all__ = ["LEASE", "Trial", "column"]

LEASE = 30.0  # seconds without a heartbeat, after which a running trial counts as interrupted

_NOTHING: Any = object()


def _planned(key: str, doc: str) -> Any:
    """Return a property with a value of the trial's line in the plan."""
    return property(lambda trial: trial._row[key], doc=doc)


def _noted(key: str, doc: str) -> Any:
    """Return a property with a value of the trial's last event in the ledger, None if it has none."""
    return property(lambda trial: trial._event.get(key), doc=doc)


def _stated(key: str, doc: str) -> Any:
    """Return a property with a value of the trial's status, None if it has none."""
    return property(lambda trial: trial._fact(key), doc=doc)


class Trial:
    """One trial of an execution. Its files are kept in memory until `execution.refresh()`.

    Attributes:
        uid: The name of the trial in the execution, and of its folder.
        execution: The execution it belongs to.
    """

    __slots__ = ("_at", "_reader", "_rows", "execution", "uid")

    def __init__(self, reader: Reader, rows: Rows, at: int, uid: str, execution: ExecutionInfo) -> None:
        self._reader = reader
        self._rows = rows
        self._at = at
        self.uid = uid
        self.execution = execution

    def __repr__(self) -> str:
        return f"<Trial {self.uid}: {self.component}, {self.status}>"

    def _repr_html_(self) -> str:
        facts = {
            "trial": f"{self.execution}/{self.uid}",
            "component": self.component,
            "status": self.status,
            "started": self.started and format_time(self.started),
            "seconds": self.seconds,
            "seed": self.seed,
            "config": self.config.to_dict(evaluate=False, hidden=False),
            "last row": {name: value for name, value in (self.last_row or {}).items() if not name.startswith("_")},
            "files": ", ".join(self.files) if self.has_begun else "",
            "error": self.error and f"{self.error.get('type')}: {self.error.get('message')}",
        }
        leaves = {name: value for name, value in flatten(facts).items() if value not in (None, "", {})}
        return html_table(["", ""], [[name, short_text(value)] for name, value in leaves.items()])

    @property
    def _row(self) -> dict[str, Any]:
        return self._rows.one(self._at)

    @property
    def _event(self) -> Mapping[str, Any]:
        return self._reader.event(self._rows, self._at, self.uid) or {}

    # the plan

    index: int = _planned("index", "The position in the plan, from 0.")
    seed: int = _planned("seed", "The seed of the random numbers.")
    component: str = _planned("component", "The canonical name of the component.")
    module: str = _planned("module", "The import path of the component.")

    @property
    def version(self) -> Plain:
        """The versions as written in the task: None, one, or a tuple of several."""
        return decode(self._row.get("version"))

    @property
    def flags(self) -> dict[str, Plain]:
        """The flags as planned."""
        return NamedValues("flag", decode(self._row["flags"]))

    @property
    def tags(self) -> dict[str, Plain]:
        """The tags, with those that were added since."""
        return NamedValues("tag", self._reader.annotations.tags(self.uid, decode(self._row.get("tags", {}))))

    @property
    def added_tags(self) -> Collection[str]:
        """The names of the tags that were added, changed or removed in its execution since it was planned."""
        return self._reader.annotations.names

    @property
    def notes(self) -> Sequence[Mapping[str, Any]]:
        """The notes that were added to it: `note`, `time` and `user` of each."""
        return self._reader.annotations.notes(self.uid)

    @property
    def identity(self) -> str:
        """The identity of the computation."""
        return self._row.get("identity", "")  # type: ignore[no-any-return]

    @property
    def config(self) -> Config:
        """A copy of the configuration as the component read it; before it started, with config methods as text."""
        from machinable.config.config import Config  # tables do without it

        described = self._reader.described(self.uid)
        return Config(decode(self._row["config"]) if described is None else described["config"])

    def value(self, part: str, keys: tuple[str, ...], default: Any = None) -> Any:
        """Return a value of `config`, `flags` or `tags` by its key path; a file is read only if the plan lacks it."""
        return self._reader.value(self._row, part, keys, default)

    def planned(self, part: str) -> dict[str, Any]:
        """Return a part of the line in the plan, such as `config` or `flags`, as stored (see `decode`)."""
        return self._row.get(part, {})  # type: ignore[no-any-return]

    def required(self, name: str) -> Trial | None:
        """Return the trial that it requires under a name, None if there is none of that name."""
        needed = self.planned("requires").get(name)
        return None if needed is None else self.execution[needed["uid"]]

    @property
    def requires(self) -> dict[str, Any]:
        """The trials that it requires, by name; several of one name are a list, in order."""
        from machinable.plan.spec import members_of  # which tables do without

        found = {name: self.required(name) for name in self.planned("requires")}
        several = members_of(found)
        lists = {name: [found.pop(member) for member in members] for name, members in several.items()}
        return {**found, **lists}

    @property
    def description(self) -> Mapping[str, Any]:
        """The content of trial.json; before the trial has started, its line in the plan."""
        described = self._reader.described(self.uid)
        return decode(self._row) if described is None else described

    # its state

    @property
    def status(self) -> str:
        """One of pending, running, finished, failed, interrupted, reused, blocked, skipped."""
        event = self._reader.event(self._rows, self._at, self.uid)
        if event is not None and event["event"] != "started":
            if event.get("will_retry") and self._reader.is_held:
                return "pending"
            return event["event"]  # type: ignore[no-any-return]
        status = self._reader.status(self.uid)
        if status is None:
            if event is None or not self._reader.runs_trials:
                return "pending"
            return "running" if self._reader.is_held or self._reader.is_given else "interrupted"
        state: str = status["state"]
        if state == "running" and not self._is_running(status):
            return "interrupted"
        return state

    def _is_running(self, status: Mapping[str, Any]) -> bool:
        """Return whether the process of a trial runs, which is known on its host; else its heartbeat says so."""
        host = status.get("host") or {}
        process = {**host, "host": host.get("name")}
        if is_gone(process) or is_running(process):
            return is_running(process)
        return self._reader.clock() - self._time(status, "heartbeat") < LEASE or self._reader.is_held

    def _time(self, status: Mapping[str, Any], key: str) -> float:
        if status.get(key) is None:
            raise self._reader.damaged(layout.status(self.uid), f"has no {key} time")
        return datetime.fromisoformat(status[key]).timestamp()

    def _fact(self, key: str) -> Any:
        status = self._reader.status(self.uid)
        if status is None and self.source is not None:
            raise self._gone()
        return (status or {}).get(key)

    def _gone(self) -> NotStored:
        return NotStored(
            f"the trial {self.uid} of {self._reader.name} was reused from {self.source}, which is gone",
            given=self.source,
            todo=f"Run it again: execute(…, rerun={self.component!r}).",
        )

    event: str | None = _noted("event", "The last event of the trial in the ledger.")
    noted: str | None = _noted("time", "The time of its last event in the ledger (ISO-8601, UTC).")
    source: str | None = _noted(
        "source", "The trial whose result was reused, as `OY1p1o/9c2EapVGXnPH`; None if this one ran."
    )

    @property
    def because(self) -> str | None:
        """Why it was pruned; or the trial that blocked it, or the execution that was computing it."""
        noted: str | None = self._event.get("because")
        return self._fact("because") if noted is None and self.event in (None, "started") else noted

    @property
    def will_retry(self) -> bool:
        """Whether it has failed, and another attempt was to follow."""
        return bool(self._event.get("will_retry"))

    @property
    def has_begun(self) -> bool:
        """Whether it was started, or has a folder."""
        return self._reader.has_begun(self.uid)

    @property
    def stale(self) -> str | None:
        """The first input that has changed since it was read, as `data:x.npy`; None if there is none."""
        read = self._fact("inputs")
        if not read:
            return None
        requires = {**(self._fact("indirect") or {}), **self._row.get("requires", {})}
        inputs = {name: Input(requires[name]["identity"], one) for name, one in read.items() if name in requires}
        return changed_input(self._reader.files, inputs, self._result)

    def _result(self, identity: str) -> Available | None:
        with suppress(Damaged):  # what it requires is computed again, and `verify` reports the file
            pointer = find_pointer(self._reader.files, identity)
            return None if pointer is None else Available(pointer.trial, pointer.artifacts)
        return None

    @property
    def attempt(self) -> int:
        """The number of the last attempt, from 1; 0 if there is none."""
        return self._event.get("attempt") or self._fact("attempt") or 0

    started: str | None = _stated("started", "The start of the last attempt (ISO-8601, UTC).")
    host: Mapping[str, Plain] | None = _stated("host", "The host it ran on: `name`, and `pid` of the process.")
    threads: int | None = _stated("threads", "The number of threads with which it computed.")
    devices: list[str] | None = _stated("devices", "The GPUs it had, by number or id; None if it requested none.")
    result: Plain = _stated("result", "The value that `on_execute` returned, if it is plain data.")
    checkpoint: str | None = _stated(
        "checkpoint", "The last checkpoint; relative to the trial's folder if it is there."
    )

    @property
    def finished(self) -> str | None:
        """The end of the last attempt (ISO-8601, UTC), whatever its outcome; None if it has not ended."""
        ended: str | None = self._fact("finished")
        return self.noted if ended is None and self.event != "started" else ended

    @property
    def seconds(self) -> float | None:
        """The seconds that the last attempt took; None if it has not ended."""
        noted: float | None = self._event.get("seconds")
        if noted is not None:
            return noted
        status = self._reader.status(self.uid)
        if status is None or status.get("finished") is None:
            return None
        return self._time(status, "finished") - self._time(status, "started")

    @property
    def error(self) -> Mapping[str, str] | None:
        """The error of a failed trial: `type`, `message` and, unless its worker was lost, `traceback`."""
        return self._fact("error") or self._event.get("error")

    # its results

    @property
    def _path(self) -> str:
        reader, uid = self._reader.locate(self.uid)
        if reader is not self._reader and self._reader.status(self.uid) is None:
            raise self._gone()
        return layout.join(reader.name, layout.trial(uid))

    @property
    def folder(self) -> str:
        """The path of its folder in the storage; of a reused one, the folder of the trial that ran."""
        return self._path

    @property
    def log(self) -> str:
        """The text that its logger has written so far."""
        return read_text(self._reader.files, layout.join(self._path, layout.LOG))

    @property
    def output(self) -> str:
        """The text that it has written to stdout and stderr so far."""
        return read_text(self._reader.files, layout.join(self._path, layout.OUTPUT))

    @property
    def records(self) -> Records:
        """The rows that it has saved so far; `records("validation")` returns those of another scope."""
        return Records(self._reader.files, self._path)

    @property
    def last_row(self) -> Mapping[str, Plain] | None:
        """The last row of the default scope; a file is read only if the ledger lacks it."""
        event = self._reader.event(self._rows, self._at, self.uid)
        if event is not None and "record" in event:
            return event["record"]  # type: ignore[no-any-return]
        return self.records.last if self._reader.has_begun(self.uid) else None

    @property
    def files(self) -> list[str]:
        """The names of the artifacts, sorted; those in folders have a `/`."""
        return self._artifacts.names()

    def read(self, name: str, default: Any = _NOTHING, *, load: Callable[[str], Any] | None = None) -> Any:
        """Return an artifact as it was written.

        Args:
            name: The name of the artifact.
            default: Returned if there is no such artifact; without a default, that is an error.
            load: The function that reads a model (`.zip`); by default the one named when it was written.

        Raises:
            MissingArtifact: There is no such artifact.
            BadName: The name cannot be that of an artifact.
            Damaged: It cannot be read.
            StorageError: It is a pickle or a model, and the storage was not opened with `trust=True`.
        """
        return self._artifacts.read(name, *(() if default is _NOTHING else (default,)), load=load)

    def content(self, name: str) -> bytes:
        """Return the bytes of an artifact.

        Raises:
            MissingArtifact: There is no such artifact.
            BadName: The name cannot be that of an artifact.
        """
        return self._artifacts.content(name)

    def path(self, name: str) -> str:
        """Return a local path of an artifact, or of a directory of artifacts for a name that ends in `/`.

        The name in `checkpoint` is the last checkpoint.

        From a remote storage it is fetched once, and removed when the process ends. Do not change the file.

        Raises:
            MissingArtifact: There is no such artifact.
            BadName: The name cannot be that of an artifact.
        """
        if name == self.checkpoint and name.partition("/")[0] == layout.CHECKPOINTS:  # not elsewhere
            is_directory = self._reader.files.is_directory(layout.join(self._path, name))
            return self._artifacts_in("").local_path(f"{name}/" if is_directory else name)
        return self._artifacts.local_path(name)

    def live(self, project: str | os.PathLike[str] | None = None) -> Any:
        """Return the component of a finished trial, created in this process, after `on_load()`.

        It is what `self.requires.model.component` would be in a trial that requires this one: constructed with the
        same configuration, with its children; by default `on_load` restores its last checkpoint.

        Args:
            project: The directory with the code; by default the project of the working directory.

        Raises:
            Refused: The trial has not finished.
            ImportFailed: Its code cannot be imported.
            InvalidType: It ran a function.
        """
        from machinable.results.live import live_component  # reading results imports no components

        reader, uid = self._reader.locate(self.uid)
        place = f"{reader.name}/{uid}"
        if self.status not in ("finished", "reused"):
            raise Refused(
                f"the trial {place} is {self.status}, not finished",
                given=place,
                todo="Only the component of a finished trial can be loaded.",
            )
        return live_component(
            self.description, place, reader.files, self._trial_at, trust=reader.trust, project=project
        )

    def _trial_at(self, place: str) -> Trial:
        """Return another trial of the same storage."""
        folder, _, uid = place.rpartition("/")
        reader = Reader(self._reader.files, folder, trust=self._reader.trust, clock=self._reader.clock)
        return Trial(reader, reader.plan, reader.plan.uids.index(uid), uid, ExecutionInfo(reader))

    @property
    def _artifacts(self) -> Artifacts:
        return self._artifacts_in(layout.ARTIFACTS)

    def _artifacts_in(self, folder: str) -> Artifacts:
        from machinable.storage.artifacts import Artifacts, artifacts_in  # tables do without it

        owner = f"the trial {self.uid} of {self._reader.name}"
        return Artifacts(
            self._reader.files,
            layout.join(self._path, folder),
            owner,
            trust=self._reader.trust,
            recorded=lambda: artifacts_in({"artifacts": self._fact("artifacts")}),
        )


def column(trials: Sequence[Trial], path: tuple[str, ...], default: Any, ask: Callable[[Trial], Any]) -> list[Any]:
    """Return a value of each trial: by `Reader.column` where the plan is cached, else by `ask`."""
    found: list[Any] = []
    for rows, some in groupby(trials, attrgetter("_rows")):
        members = list(some)
        column = members[0]._reader.column(rows, path, default)
        if column is None:
            found += map(ask, members)
        else:
            found += [
                ask(trial) if value is UNKNOWN else value
                for trial, value in ((trial, column[trial._at]) for trial in members)
            ]
    return found
