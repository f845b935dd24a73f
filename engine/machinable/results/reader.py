"""Read the files of an execution on demand, and keep them in memory until `refresh`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from machinable.errors import Damaged, NotStored, StorageError, StorageUnavailable, did_you_mean, near_names, warn
from machinable.ids import is_folder_name
from machinable.results.annotations import Annotations, read_annotations
from machinable.results.lookup import CALL, MISSING, has_call, is_mutable, look, look_in, value_or
from machinable.serialization import as_plain, without_collections
from machinable.storage import layout
from machinable.storage.documents import (
    EVENT,
    PLANNED,
    STATUS,
    TRIAL,
    Kind,
    parse_rows,
    read_document,
    read_execution,
    read_rows,
)
from machinable.storage.files import Files
from machinable.storage.numbered_parts import read_parts

if TYPE_CHECKING:
    from machinable.results import cache

__all__ = [
    "ExecutionInfo",
    "LeavingOut",
    "Reader",
    "Rows",
    "code_facts",
    "execution_folders",
    "import_paths",
    "is_outage",
    "not_stored",
]

MAX_LISTED = 10  # names in an error
MAX_ALONE = 50  # lines of a cached plan that are built one by one
_EVENTS = frozenset(
    {"started", "finished", "failed", "interrupted", "reused", "blocked", "skipped", "unneeded", "pruned"}
)


def code_facts(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the facts about the code in execution.json or in a line of the ledger; none if it has none."""
    return data.get("code") or {}


def import_paths(data: Mapping[str, Any]) -> list[str]:
    """Return the folders of the project, in execution.json, from which its modules were imported.

    Raises:
        Damaged: One is not in the project.
    """
    paths = [*code_facts(data).get("paths", ())]
    for path in paths:
        if path.startswith("/") or not {"", ".", ".."}.isdisjoint(path.split("/")) or os.pathsep in path:
            raise Damaged(
                f"the execution imported modules from {path!r}, which is not a folder of its project",
                given=path,
                todo=f"{layout.EXECUTION} was not written by machinable.",
            )
    return paths


class Rows:
    """The lines of a plan as `json` reads them; those that are `cached` are built on first use."""

    def __init__(self, given: list[dict[str, Any]] | cache.CachedExecution) -> None:
        self._rows = given if isinstance(given, list) else None
        self.cached = None if isinstance(given, list) else given
        self._some: dict[int, dict[str, Any]] = {}

    @property
    def uids(self) -> list[str]:
        """The uids of all trials."""
        if self._rows is None and self.cached is not None:
            return self.cached.trials.find(("plan", "uid"), look)
        return [row["uid"] for row in self.all]

    @property
    def all(self) -> list[dict[str, Any]]:
        """All lines."""
        if self._rows is None:
            assert self.cached is not None
            with without_collections():
                self._rows = self.cached.plan()
        return self._rows

    def one(self, at: int) -> dict[str, Any]:
        """Return one line. The first few are built alone, because most tables show few trials."""
        if self._rows is not None or self.cached is None or len(self._some) >= MAX_ALONE:
            return self.all[at]
        if at not in self._some:
            self._some[at] = self.cached.planned(at)
        return self._some[at]

    def __len__(self) -> int:
        return self.cached.trials.count if self.cached is not None else len(self.all)


def not_stored(message: str, given: str, known: Iterable[str], listed_as: str, if_none: str) -> NotStored:
    """Return an error that suggests near names, or else lists what exists."""
    names = list(known)
    near, shown = near_names(given, names), ", ".join(names[:MAX_LISTED]) + (" …" if names[MAX_LISTED:] else "")
    todo = did_you_mean(near) if near else f"{listed_as}: {shown}" if names else if_none
    return NotStored(message, given=given, known=names, todo=todo)


class Reader:
    """Read the execution in one folder. A malformed file raises `Damaged`."""

    def __init__(self, files: Files, name: str, *, trust: bool, clock: Callable[[], float]) -> None:
        self.files = files
        self.name = name
        self.trust = trust
        self.clock = clock
        # If they were listed, the numbers of the parts of files that grow
        self.ledger_parts: Sequence[int] | None = None
        self.annotation_parts: Sequence[int] | None = None
        self.plan_parts: Sequence[int] | None = None
        self.is_given = False  # whether `assume`, in the executing process, has replaced the ledger
        self.refresh()

    def refresh(self) -> None:
        """Discard what was read, so that it is read again."""
        self.ledger_parts = self.annotation_parts = self.plan_parts = None
        self._annotations: Annotations | None = None
        self._data: dict[str, Any] | None = None
        self._cache: cache.Cache | None = None
        self._columns: dict[tuple[str, ...], list[Any]] = {}
        self._plan: Rows | None = None
        self._events: dict[str, dict[str, Any]] | None = None
        self._some_events: dict[int, dict[str, Any]] = {}
        self._last_event: str | None = None
        self._begun: set[str] | None = None
        self._read: dict[tuple[str, Kind], dict[str, Any]] = {}
        self._sources: dict[str, Reader] = {}

    @property
    def data(self) -> dict[str, Any]:
        """The content of execution.json."""
        if self._data is None:
            self._data = read_execution(self.files, self.name)
            if self._data is None:
                raise NotStored(
                    f"there is no execution in {self._place('')}",
                    given=self.name,
                    todo=f"The folder of an execution has a file {layout.EXECUTION}.",
                )
        return self._data

    def damaged(self, path: str, fault: str) -> Damaged:
        """Return the error for a malformed file."""
        return Damaged(f"{self._place(path)} {fault}", todo="Restore the file from a copy.")

    def _from_cache(self) -> cache.CachedExecution | None:
        if self._cache is None and not self.is_given:
            from machinable.results.cache import Cache  # 2 ms, and a trial that has just ended is read without it

            self._cache = Cache(self.files, self.name)
        return None if self._cache is None else self._cache.found

    def _save_to_cache(self) -> None:
        if self._cache is not None and self._plan is not None and self._events is not None:
            with without_collections():
                self._cache.save(self._plan.all, self._events, self._last_event, self.clock())

    @property
    def plan(self) -> Rows:
        """The lines of plan.jsonl."""
        if self._plan is None and (found := self._from_cache()) is not None:
            self._plan = Rows(found)
        elif self._plan is None:
            with without_collections():
                # Decoding all lines takes as long as reading them, and few of their values are used.
                place, rows = self._place(layout.PLAN), []
                for data in read_parts(self.files, layout.join(self.name, layout.PLAN), self._parts(layout.PLAN)):
                    rows += parse_rows(data, PLANNED, place, decoded=False)
            self._plan = Rows(rows)
            self._save_to_cache()
        return self._plan

    @property
    def events(self) -> dict[str, dict[str, Any]]:
        """The last line of the ledger about each trial, by uid."""
        if self._events is None:
            found = self._from_cache()
            with without_collections():
                if found is not None:
                    self._events = found.events()
                else:
                    place = layout.join(self.name, layout.LEDGER)
                    rows = read_rows(self.files, place, EVENT, self._parts(layout.LEDGER))
                    known = [row for row in rows if row.get("event") in _EVENTS and row.get("uid")]
                    self._events = {row["uid"]: row for row in known}
                    self._last_event = rows[-1].get("event") if rows else None
            self._save_to_cache()
        return self._events

    @property
    def waiting(self) -> dict[str, str]:
        """What trials wait for that other executions hold, by uid; the ledger is read again."""
        found: dict[str, str] = {}
        for row in read_rows(self.files, layout.join(self.name, layout.LEDGER), EVENT):
            uid = row.get("uid") or ""
            found.pop(uid, None)
            if uid and row.get("event") == "waiting":
                found[uid] = row.get("because") or ""
        return found

    def _parts(self, name: str) -> Sequence[int] | None:
        """Return the numbers of the parts of a growing file, listed once; None where it is one file."""
        if self.files.appends or self.is_given:
            return None
        if self.ledger_parts is None or self.annotation_parts is None or self.plan_parts is None:
            names = [entry.name for entry in self.files.entries(self.name) if not entry.is_directory]
            self.ledger_parts, self.annotation_parts, self.plan_parts = (
                sorted(layout.part_number(one) for one in names if layout.whole(one) == file)
                for file in (layout.LEDGER, layout.ANNOTATIONS, layout.PLAN)
            )
        return {layout.LEDGER: self.ledger_parts, layout.PLAN: self.plan_parts}.get(name, self.annotation_parts)

    @property
    def annotations(self) -> Annotations:
        """The tags and notes that were added."""
        if self._annotations is None:
            self._annotations = read_annotations(self.files, self.name, self._parts(layout.ANNOTATIONS))
        return self._annotations

    def event(self, rows: Rows, at: int, uid: str) -> dict[str, Any] | None:
        """Return the last line of the ledger about one trial, None if there is none; see `Rows.one`."""
        if self._events is None and rows.cached is not None and rows is self._plan:
            if at in self._some_events:
                return self._some_events[at] or None
            if len(self._some_events) < MAX_ALONE:
                self._some_events[at] = rows.cached.event(at)
                return self._some_events[at] or None
        return self.events.get(uid)

    @property
    def has_ended(self) -> bool:
        """Whether the execution has ended and was not resumed since."""
        if (found := self._from_cache()) is not None:
            return found.last == "ended"
        self.events  # noqa: B018 - the ledger is read
        return self._last_event == "ended"

    def load(self) -> None:
        """Read plan and ledger, unless they are cached, and annotations, and raise what is wrong with them."""
        if self._from_cache() is None:
            self.plan  # noqa: B018
            self.events  # noqa: B018
        self.annotations  # noqa: B018

    @property
    def is_held(self) -> bool:
        """Whether a process holds the lease of the execution, or seems to: it runs or waits, whatever trials say."""
        if self.is_given or self.has_ended:
            return False
        from machinable.storage.cleanup import is_held  # what has ended is read without it

        return is_held(self.files, layout.join(self.name, layout.EXECUTION_LEASE))

    @property
    def runs_trials(self) -> bool:
        """Whether the executing process runs the trials itself, so that one that it has started runs."""
        engine = self.data.get("engine")
        return isinstance(engine, dict) and engine.get("type") == "local"

    def assume(self, uid: str, event: dict[str, Any]) -> None:
        """Use this as the last line of the ledger about a trial, and do not read the ledger."""
        self.is_given, self._events = True, {uid: event}

    def locate(self, uid: str) -> tuple[Reader, str]:
        """Return the reader and the uid of a trial's files: its own, or those of the trial it was reused from."""
        source = self.events.get(uid, {}).get("source")
        if source is None:
            return self, uid
        name, _, other = source.partition("/")
        if name not in self._sources:
            self._sources[name] = Reader(self.files, name, trust=self.trust, clock=self.clock)
        return self._sources[name], other

    def has_begun(self, uid: str) -> bool:
        """Return whether a trial was started, or has a folder."""
        if uid in self.events:
            return True
        if self._begun is None:  # one listing for all trials
            folder = layout.join(self.name, layout.TRIALS)
            self._begun = {entry.name for entry in self.files.entries(folder) if entry.is_directory}
        return uid in self._begun

    def status(self, uid: str) -> dict[str, Any] | None:
        """Return status.json of a trial, None if there is none; it is read again while it says "running"."""
        return self._of_trial(uid, layout.status, STATUS)

    def described(self, uid: str) -> dict[str, Any] | None:
        """Return trial.json of a trial, None if there is none yet."""
        return self._of_trial(uid, layout.trial_json, TRIAL)

    def _of_trial(self, uid: str, place: Callable[[str], str], kind: Kind) -> dict[str, Any] | None:
        if (uid, kind) in self._read:
            return self._read[uid, kind]
        if not self.has_begun(uid):
            return None
        reader, other = self.locate(uid)
        found = read_document(self.files, layout.join(reader.name, place(other)), kind)
        if found is not None and found.get("state") != "running":
            self._read[uid, kind] = found
        return found

    def content(self, path: str) -> bytes | None:
        """Return a file of the execution, None if there is none."""
        try:
            return self.files.read(layout.join(self.name, path))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except IsADirectoryError as error:
            raise self.damaged(path, "is a directory") from error

    def _place(self, path: str) -> str:
        return layout.join(self.files.url, self.name, path)

    def value(self, row: dict[str, Any], part: str, keys: tuple[str, ...], default: Any) -> Any:
        """Return a value of a line of the plan by its key path, `default` if it has none.

        The result of a config method is not in the plan but in trial.json, if there is one yet.
        """
        values = row.get(part, {})
        if part == "tags" and (added := self.annotations):
            values = added.tags(row["uid"], values)
        found = look_in(part, values, keys)
        if part == "config" and (found is CALL or has_call(found)):
            described = self.described(row["uid"])
            if described is not None:  # it is decoded
                found = look(described["config"], keys)
                return default if found is MISSING or found is CALL else as_plain(found, tuples=True)
        return value_or(found, default)

    def column(self, rows: Rows, path: tuple[str, ...], default: Any) -> list[Any] | None:
        """Return a value of all trials, in the order of the plan; None if the plan is not cached.

        The path is `("config", "data", "name")`, `("uid",)`, `("status",)`, or `("records", "loss")` for the last row.
        A value is `default` if a trial has none, and `UNKNOWN` if it is in the trial's own files.
        """
        cached = rows.cached
        if cached is None or rows is not self._plan or (cached.has_marks and path[0] in ("status", "records")):
            return None
        found = self._columns.get(path)
        if found is None:
            found = cached.column(path, default)
            if path[0] == "tags" and (added := self.annotations):
                name = ".".join(path[1:])
                if any(name.startswith(f"{tag}.") or tag.startswith(f"{name}.") for tag in added.names):
                    return None  # within a tag
                if tags := added.tag(name):
                    found = [tags.get(uid, tags.get(None, one)) for uid, one in zip(rows.uids, found, strict=True)]
                    found = [default if one is MISSING else one for one in found]
            if not is_mutable(found):
                self._columns[path] = found
        return found


class LeavingOut:
    """A `with` block about one execution, which is left out if it cannot be read: a warning says why.

    `StorageUnavailable` is raised if the server of a remote storage does not answer: no other can be read either.
    """

    def __init__(self, files: Files, name: str) -> None:
        self._files = files
        self._name = name

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        if isinstance(error, NotStored):  # it is gone, or it has not started
            return True
        if not isinstance(error, StorageError) or is_outage(self._files, error):
            return False
        warn(f"{self._name} is left out: {error.message}", RuntimeWarning)
        return True


def is_outage(files: Files, error: StorageError) -> bool:
    """Return whether an error concerns the whole storage, and not only one file."""
    return isinstance(error, StorageUnavailable) and files.reach == "anywhere"


def execution_folders(files: Files) -> list[str]:
    """Return the folders in a storage that can be executions."""
    return [entry.name for entry in files.entries("") if entry.is_directory and is_folder_name(entry.name)]


def _fact(key: str, doc: str) -> Any:
    """Return a property with a value of execution.json."""
    return property(lambda execution: execution.data.get(key), doc=doc)


class ExecutionInfo:
    """The facts about an execution that do not depend on its trials; see `Execution`."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    @property
    def status(self) -> str:
        """The state of the worst trial."""
        raise NotImplementedError

    def __getitem__(self, uid: str) -> Any:
        """Return the trial of a uid."""
        raise NotImplementedError

    @property
    def data(self) -> Mapping[str, Any]:
        """The content of execution.json: task, engine, code, host, versions of Python and packages.

        Raises:
            NotStored: There is none.
            Damaged: It cannot be read.
            StorageError: A newer version has written it.
        """
        return self._reader.data

    id: str = _fact("id", "The execution id, which encodes the seed.")
    seed: int = _fact("seed", "The execution seed.")
    name: str | None = _fact("name", "The name of the task.")
    started: str = _fact("started", "The start (ISO-8601, UTC).")
    run: int = _fact("run", "The number of the run with this id in the storage: 1, or 2 for `OY1p1o-2`.")

    @property
    def storage(self) -> str:
        """The URL of the storage, without credentials."""
        return self._reader.files.url

    @property
    def files(self) -> Files:
        """The storage."""
        return self._reader.files

    @property
    def notes(self) -> Sequence[Mapping[str, Any]]:
        """The notes that were added to it: `note`, `time` and `user` of each."""
        return self._reader.annotations.notes(None)

    @property
    def has_ended(self) -> bool:
        """Whether its ledger says that it has ended. It never does if the process was killed."""
        return self._reader.has_ended

    def __str__(self) -> str:
        return self._reader.name
