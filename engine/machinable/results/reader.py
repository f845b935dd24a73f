"""What lies in the folder of an execution: read when it is asked for, and kept until `refresh`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

from machinable.errors import Damaged, NotStored, StorageError
from machinable.serialization import as_plain, decode, encode, loads, without_collections
from machinable.storage import layout
from machinable.storage.files import Files
from machinable.storage.streams import read_rows

if TYPE_CHECKING:
    from machinable.results import cache

__all__ = ["ASK", "Folder", "Rows"]

ASK: Any = object()  # in a column: what only the trial itself can tell

_FACTS: tuple[tuple[str, type], ...] = (("id", str), ("seed", int), ("run", int), ("started", str))
_PLANNED = {"index", "uid", "seed", "component", "module", "config", "flags"}
_EVENTS = frozenset({"started", "finished", "failed", "interrupted", "reused", "blocked", "skipped"})


class Rows(Sequence[dict[str, Any]]):
    """The lines of a plan as `json` reads them. Those that were kept by column are made when the first is asked for.

    Attributes:
        kept: where they are by column; None if they were read.
    """

    def __init__(self, given: list[dict[str, Any]] | cache.CachedExecution) -> None:
        self._rows = given if isinstance(given, list) else None
        self.kept = None if isinstance(given, list) else given

    @property
    def uids(self) -> list[str]:
        """The uids of all trials."""
        if self._rows is None and self.kept is not None:
            return self.kept.trials.find(("plan", "uid"), lambda uid, _: uid)
        return [row["uid"] for row in self._all]

    @property
    def _all(self) -> list[dict[str, Any]]:
        if self._rows is None:
            assert self.kept is not None
            with without_collections():
                self._rows = self.kept.plan()
        return self._rows

    def __len__(self) -> int:
        return self.kept.trials.count if self.kept is not None else len(self._all)

    @overload
    def __getitem__(self, at: int) -> dict[str, Any]: ...

    @overload
    def __getitem__(self, at: slice) -> list[dict[str, Any]]: ...

    def __getitem__(self, at: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        return self._all[at]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self._all)


class Folder:
    """The folder of one execution.

    Args:
        files: the storage. name: of the folder. trust: whether artifacts may be read that run code.
        clock: the time, in seconds since the epoch.
    """

    def __init__(self, files: Files, name: str, *, trust: bool, clock: Callable[[], float]) -> None:
        self.files = files
        self.name = name
        self.trust = trust
        self.clock = clock
        self.refresh()

    def refresh(self) -> None:
        """Forget what has been read, so that it is read again."""
        self._data: dict[str, Any] | None = None
        self._state: cache.State | None = None
        self._kept: cache.CachedExecution | None = None
        self._has_looked = False
        self._columns: dict[tuple[str, ...], list[Any]] = {}
        self._plan: Rows | None = None
        self._events: dict[str, dict[str, Any]] | None = None
        self._last_event: str | None = None
        self._begun: set[str] | None = None
        self._ended: dict[str, dict[str, Any]] = {}
        self._described: dict[str, dict[str, Any]] = {}
        self._beside: dict[str, Folder] = {}

    @property
    def data(self) -> dict[str, Any]:
        """execution.json.

        Raises:
            NotStored: there is none. StorageError: it was written by a newer version. Damaged: it cannot be read.
        """
        if self._data is None:
            data = self._mapping(layout.EXECUTION)
            if data is None:
                raise NotStored(
                    f"there is no execution in {self._place('')}",
                    given=self.name,
                    todo=f"The folder of an execution has a file {layout.EXECUTION}.",
                )
            self._check(data)
            self._data = data
        return self._data

    def _check(self, data: dict[str, Any]) -> None:
        place, number = self._place(layout.EXECUTION), data.get("format")
        if type(number) is not int or number < 1:
            raise Damaged(f"{place} does not say its format", given=number, todo="Restore the file from a copy.")
        if number > layout.FORMAT:
            raise StorageError(
                f"{place} has format {number}; this version of machinable reads format {layout.FORMAT}",
                given=number,
                todo="Read it with a newer version: pip install --upgrade machinable-engine",
            )
        wrong = [key for key, kind in _FACTS if type(data.get(key)) is not kind]
        if wrong:
            raise Damaged(f"{place} lacks {', '.join(wrong)}", given=wrong, todo="Restore the file from a copy.")

    def _find_kept(self) -> cache.CachedExecution | None:
        if not self._has_looked:
            from machinable.results import cache

            self._has_looked = True
            self._state = cache.state_of(self.files, self.name)
            self._kept = None if self._state is None else cache.find(self._state)
            if self._kept is not None:
                self._state = None  # there is nothing to keep
        return self._kept

    def _keep(self) -> None:
        """Keep what was read for the next reader, if nothing has changed since, and could not without a trace."""
        state, plan, events = self._state, self._plan, self._events
        if state is None or plan is None or events is None:
            return
        from machinable.results import cache

        self._state = None
        wait = cache.SETTLED if self._last_event == "ended" else cache.QUIET
        if self.clock() - state.changed >= wait and cache.state_of(self.files, self.name) == state:
            with without_collections():
                cache.keep(state, plan, events, self._last_event)

    @property
    def plan(self) -> Rows:
        """The lines of plan.jsonl as `json` reads them: `decode` what is taken out of them.

        Raises:
            Damaged: a line is no trial.
        """
        if self._plan is None and (found := self._find_kept()) is not None:
            self._plan = Rows(found)
        elif self._plan is None:
            with without_collections():
                rows = self._plan_rows()
            for number, row in enumerate(rows, start=1):
                if not row.keys() >= _PLANNED:
                    missing = ", ".join(sorted(_PLANNED - row.keys()))
                    raise Damaged(
                        f"line {number} of {self._place(layout.PLAN)} is no trial: it lacks {missing}",
                        given=missing,
                        todo="Restore the file from a copy.",
                    )
            self._plan = Rows(rows)
            self._keep()
        return self._plan

    def _plan_rows(self) -> list[dict[str, Any]]:
        # To decode all lines takes as long as to read them, and few of their values are ever looked at.
        path = layout.join(self.name, layout.PLAN)
        try:
            data = self.files.read(path)  # written whole, on object stores too
        except FileNotFoundError:
            data = b""
        try:
            rows = json.loads(b"[" + data.removesuffix(b"\n").replace(b"\n", b",") + b"]")
        except ValueError:
            rows = None
        if rows is not None and len(rows) == data.count(b"\n") and all(type(row) is dict for row in rows):
            return rows  # type: ignore[no-any-return]
        return [encode(row) for row in read_rows(self.files, path)]  # the last line is torn, or something is wrong

    @property
    def events(self) -> dict[str, dict[str, Any]]:
        """The last line of the ledger about each trial, by uid.

        Raises:
            Damaged: a line of the ledger is whole and cannot be read.
        """
        if self._events is None:
            found = self._find_kept()
            with without_collections():
                if found is not None:
                    self._events = found.events()
                else:
                    rows = read_rows(self.files, layout.join(self.name, layout.LEDGER))
                    self._events = {row["uid"]: row for row in rows if row.get("event") in _EVENTS and "uid" in row}
                    self._last_event = rows[-1].get("event") if rows else None
            self._keep()
        return self._events

    @property
    def has_ended(self) -> bool:
        """Whether the ledger says that the execution is over, and not that it went on since."""
        if (found := self._find_kept()) is not None:
            return found.last == "ended"
        self.events  # noqa: B018 - the ledger is read
        return self._last_event == "ended"

    def tell(self, uid: str, event: dict[str, Any]) -> None:
        """Take that for the last line of the ledger about a trial, and do not read it."""
        self._has_looked, self._events = True, {uid: event}

    def where(self, uid: str) -> tuple[Folder, str]:
        """The folder and the uid in it where the files of a trial lie: here, or where it was reused from."""
        source = self.events.get(uid, {}).get("source")
        if source is None:
            return self, uid
        name, _, other = source.partition("/")
        if name not in self._beside:
            self._beside[name] = _Source(self.files, name, trust=self.trust, clock=self.clock)
        return self._beside[name], other

    def has_begun(self, uid: str) -> bool:
        """Whether a trial has been started, or left something behind."""
        if uid in self.events:
            return True
        if self._begun is None:  # one look for all trials
            folder = layout.join(self.name, layout.TRIALS)
            self._begun = {entry.name for entry in self.files.entries(folder) if entry.is_directory}
        return uid in self._begun

    def status(self, uid: str) -> dict[str, Any] | None:
        """status.json of a trial, None if there is none; read again as long as it says "running".

        Raises:
            Damaged: it cannot be read.
        """
        if uid in self._ended:
            return self._ended[uid]
        if not self.has_begun(uid):
            return None
        folder, other = self.where(uid)
        if folder is not self:
            return folder.status(other)
        path = layout.status(uid)
        status = self._mapping(path)
        if status is not None:
            if type(status.get("state")) is not str:
                raise Damaged(f"{self._place(path)} does not say a state", todo="Restore the file from a copy.")
            if status["state"] != "running":
                self._ended[uid] = status
        return status

    def described(self, uid: str) -> dict[str, Any] | None:
        """trial.json of a trial, None if there is none yet.

        Raises:
            Damaged: it cannot be read.
        """
        if uid not in self._described and self.has_begun(uid):
            folder, other = self.where(uid)
            if folder is not self:
                return folder.described(other)
            path = layout.trial_json(uid)
            found = self._mapping(path)
            if found is None:
                return None
            if type(found.get("config")) is not dict:
                raise Damaged(f"{self._place(path)} has no configuration", todo="Restore the file from a copy.")
            self._described[uid] = found
        return self._described.get(uid)

    def _mapping(self, path: str) -> dict[str, Any] | None:
        try:
            data = self.files.read(layout.join(self.name, path))
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            found = loads(data)
            if type(found) is not dict:
                raise ValueError(f"it holds {type(found).__name__}, not a mapping")
        except ValueError as error:
            raise Damaged(
                f"{self._place(path)} cannot be read: {error}",
                given=data[:200].decode("utf-8", "replace"),
                todo="Restore the file from a copy.",
            ) from error
        return found

    def content(self, path: str) -> bytes | None:
        """A file of the execution, None if there is none."""
        try:
            return self.files.read(layout.join(self.name, path))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _place(self, path: str) -> str:
        return layout.join(self.files.url, self.name, path)

    def value(self, row: dict[str, Any], part: str, keys: tuple[str, ...], default: Any) -> Any:
        """A value of a line of the plan, by its key path; `default` if it has none.

        What a config method gives is not in the plan: it is looked up in trial.json, if there is one yet.
        """
        found = _look_in(part, row.get(part, {}), keys)
        if part == "config" and (found is _CALL or _has_call(found)):
            described = self.described(row["uid"])
            if described is not None:  # which is decoded
                found = _look(described["config"], keys)
                return default if found is _NOTHING or found is _CALL else as_plain(found, tuples=True)
        return _given(found, default)

    def column(self, rows: Rows, path: tuple[str, ...], default: Any) -> list[Any] | None:
        """What all trials have there, in the order of their plan; None if these lines of it were not kept by column.

        Args:
            rows: the plan that the trials are of. default: where a trial has nothing there.
            path: `("config", "data", "name")`, `("uid",)`, `("records", "loss")` for its last row, `("status",)`.

        Returns:
            A value for each trial. `ASK` is what the plan and the ledger do not tell.
        """
        kept = rows.kept
        if kept is None or rows is not self._plan or (kept.has_marks and path[0] in ("status", "records")):
            return None
        found = self._columns.get(path)
        if found is None:
            from machinable.results.cache import can_change

            found = _column(kept, path, default)
            if not can_change(found):
                self._columns[path] = found
        return found


def _column(kept: cache.CachedExecution, path: tuple[str, ...], default: Any) -> list[Any]:
    part, *keys = path
    if not keys:
        default = ASK

    def last_row(value: Any, left: tuple[str, ...]) -> Any:
        # Of `record` and the column: the event has no row; its row is None or has no such column.
        return value if not left else default if len(left) == 1 else ASK

    def state(value: Any, left: tuple[str, ...]) -> Any:
        return ASK if left or value == "started" else value

    def planned(value: Any, left: tuple[str, ...]) -> Any:
        found = _look(value, left)
        return ASK if part == "config" and (found is _CALL or _has_call(found)) else _given(found, default)

    def tag(value: Any, left: tuple[str, ...]) -> Any:
        return default if left else _given(_look_in(part, value, tuple(keys)), default)

    if part == "records":
        return kept.trials.find(("event", "record", *keys), last_row)
    if part == "status":
        return kept.trials.find(("event", "event"), state)
    if part == "tags":
        return kept.trials.find(("plan", part), tag)
    return kept.trials.find(("plan", *path), planned)


class _Source(Folder):
    """The folder of an execution whose trials were reused: they have finished, so its ledger is not read for that."""

    def has_begun(self, uid: str) -> bool:
        return True

    def where(self, uid: str) -> tuple[Folder, str]:
        return self, uid


_NOTHING: Any = object()
_CALL: Any = object()  # on the way to a value there is the call of a config method


def _given(found: Any, default: Any) -> Any:
    """What was found, to be given to somebody."""
    if found is _NOTHING or found is _CALL:
        return default
    return decode(found) if type(found) is dict or type(found) is list else found


def _look_in(part: str, values: dict[str, Any], keys: tuple[str, ...]) -> Any:
    if part == "tags" and (name := ".".join(keys)) in values:  # tags are not nested: `data.noise` is one name
        keys = (name,)
    return _look(values, keys)


def _look(value: Any, keys: tuple[str, ...]) -> Any:
    for key in keys:
        kind = type(value)
        if kind is dict and key in value:
            value = value[key]
        elif kind is dict:
            whole = decode(value)
            if type(whole) is dict:
                value = {str(k): v for k, v in whole.items()}.get(key, _NOTHING)
            else:  # a tuple
                value = _element(whole, key)
        elif kind is str and _has_call(value):
            return _CALL
        else:
            value = _element(value, key)
        if value is _NOTHING:
            return value
    return value


def _element(value: Any, key: str) -> Any:
    if isinstance(value, (list, tuple)) and key.isdecimal() and int(key) < len(value):
        return value[int(key)]
    return _NOTHING


def _has_call(value: Any) -> bool:
    kind = type(value)
    if kind is str:
        if value[-1:] != ")":
            return False
        from machinable.config.method_calls import is_call  # most plans have no calls, and its parser is not needed

        return is_call(value)
    if kind is dict:
        return any(map(_has_call, value.values()))
    return kind is list and any(map(_has_call, value))
