"""A storage: the executions under a URL."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from machinable.errors import InvalidType, InvalidValue, NotStored, StorageError, listed, warn
from machinable.former_names import STORAGE, find_former_name
from machinable.ids import is_folder_name
from machinable.plan.table import html_table
from machinable.results.execution import Execution
from machinable.results.listing import list_executions, prefetch
from machinable.results.reader import LeavingOut, execution_folders, not_stored
from machinable.results.trial import Trial
from machinable.results.trials import Trials
from machinable.storage import layout
from machinable.storage.files import Files
from machinable.storage.open import open_files
from machinable.units import format_time

__all__ = ["Storage"]

_LAST = re.compile(r"last(?:-([0-9]{1,9}))?")
MAX_SEARCHED = 100  # directories in which executions are looked for if there are none in the storage itself
MAX_LISTED = 20  # executions in a notebook; the ledger of each is read


CLOCK_DIFFERENCE = 600.0  # seconds, of the clock of a server to those of the hosts


def _started(execution: Execution) -> str:
    return execution.started


def _readable(executions: list[Execution]) -> list[Execution]:
    """Read execution.json of each, and leave out those that cannot be read."""
    prefetch(executions, _started)
    found = []
    for execution in executions:
        with LeavingOut(execution.files, str(execution)):
            _started(execution)
            found.append(execution)
    return found


def _are_newest(executions: list[Execution], limit: int, stored: float) -> bool:
    """Return whether so many executions started after all whose execution.json was stored before that time."""
    if len(executions) < limit:
        return False
    oldest = sorted(map(_started, executions), reverse=True)[limit - 1]
    return datetime.fromisoformat(oldest).timestamp() > stored + CLOCK_DIFFERENCE


class _Executions(list[Execution]):
    """Executions that a notebook shows as a table."""

    def _repr_html_(self) -> str:
        rows = []
        for one in self[:MAX_LISTED]:
            with LeavingOut(one.files, str(one)):
                components = ", ".join(dict.fromkeys(trial.component for trial in one.trials))
                rows.append([str(one), format_time(one.started), one.status, str(len(one)), one.name or "", components])
        more = f"<p>… and {len(self) - MAX_LISTED:,} older</p>" if len(self) > MAX_LISTED else ""
        return html_table(["execution", "started", "status", "trials", "name", "components"], rows) + more


class Storage:
    """Read the executions stored under a URL, or under several as one. It shows the current state and changes nothing.

    An execution that cannot be read, because it is damaged, written by a newer version, or belongs to another user, is
    left out of `executions` and `trials` with a warning.

    Args:
        url: A path (relative to the working directory, `~` expands), a URL of PyFilesystem, or a list of these. An
            execution that several of them have is read from the first.
        trust: Whether artifacts that run code, such as pickles, may be read. Set it only if you trust all writers.

    Attributes:
        files: The files of the storage, those of the first one if there are several.

    Raises:
        StorageUnavailable: There is no storage, or it cannot be read.
    """

    def __init__(self, url: str | os.PathLike[str] | Iterable[str | os.PathLike[str]], *, trust: bool = False) -> None:
        urls = list(url) if isinstance(url, Iterable) and not isinstance(url, (str, os.PathLike)) else [url]
        for one in urls:
            if not isinstance(one, (str, os.PathLike)):
                todo = "A storage is a path or a URL, and several are a list of these: Storage(['results', 'more'])."
                raise InvalidType(f"{one!r} is not a storage", given=one, todo=todo)
        if not urls:
            raise InvalidValue("no storage is given", given=url, todo="Name one: Storage('results').")
        self._several = [open_files(os.fspath(one), create=False) for one in urls]
        self.files = self._several[0]
        self._trust = trust

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            return find_former_name(self, name, STORAGE)

    @property
    def url(self) -> str:
        """The URL, without credentials; several are separated by commas."""
        return ", ".join(files.url for files in self._several)

    @property
    def executions(self) -> list[Execution]:
        """All executions, newest first."""
        found = _Executions(self.newest()[0])
        if not found and (hint := self.hint()):
            warn(f"there is no execution in {self.url}. {hint}")
        return found

    def newest(self, limit: int | None = None) -> tuple[list[Execution], int]:
        """Return the newest executions, by default all, and how many there are.

        On an object store, older ones are not read if that saves requests.
        """
        found: list[Execution] = []
        folders = self.folders()
        listed = None
        if len(self._several) == 1:
            listed = list_executions(self.files, list(folders))
        if listed is None:
            found = _readable([Execution(files, folder, trust=self._trust) for folder, files in folders.items()])
            total = len(found)
        else:
            # execution.json is stored after the start, so what was stored earlier is not newer.
            waiting = sorted(listed, key=lambda folder: listed[folder].stored)
            step = limit or len(listed)
            while waiting and not (limit and _are_newest(found, limit, listed[waiting[-1]].stored)):
                found += _readable(
                    [
                        Execution(
                            self.files,
                            folder,
                            trust=self._trust,
                            ledger_parts=listed[folder].ledger,
                            annotation_parts=listed[folder].annotations,
                            plan_parts=listed[folder].plan,
                        )
                        for folder in waiting[-step:]
                    ]
                )
                del waiting[-step:]
            total = len(found) + len(waiting)
        found.sort(key=_started, reverse=True)
        return found[:limit], total

    def folders(self) -> dict[str, Files]:
        """Return the names of folders that can be executions, with the storage that each is read from."""
        return {folder: files for files in reversed(self._several) for folder in execution_folders(files)}

    @property
    def trials(self) -> Trials:
        """The trials of all executions, those of the newest first; they are read on first use, and then kept."""
        return Trials(self._read_trials)

    def _read_trials(self) -> list[Trial]:
        found: list[Trial] = []
        executions = self.executions
        prefetch(executions, Execution.load)
        for execution in executions:
            with LeavingOut(execution.files, str(execution)):
                execution.load()
                found += execution
        return found

    def __getitem__(self, name: str) -> Execution:
        """Return the execution of that name: `OY1p1o`, or `OY1p1o-2` for its second run.

        Raises:
            NotStored: There is none.
        """
        files = self._holder(name)
        if files is not None:
            return Execution(files, name, trust=self._trust)
        folders = self.folders()
        if name in folders:
            raise NotStored(
                f"the folder {name} of {folders[name].url} has no {layout.EXECUTION} that can be read",
                given=name,
                todo="Check the permissions of the folder, and whether it was copied completely.",
            )
        known = [folder for folder in folders if folder in self]
        hint = None if known else self.hint()
        message = f"there is no execution {name!r} in {self.url}"
        raise not_stored(message, name, known, "Stored are", hint or "No execution is stored there.")

    def find(self, name: str) -> Execution:
        """Return the execution of a name as people type it.

        Args:
            name: The name, a beginning of it that no other has, `last` for the newest execution, or `last-1` for the
                one before.

        Raises:
            NotStored: There is none.
            InvalidValue: Several names begin like this.
        """
        if (number := _LAST.fullmatch(name)) is not None:
            back = int(number[1] or 0)
            executions, total = self.newest(back + 1)
            if back < len(executions):
                return executions[back]
            hint = None if total else self.hint()
            todo = hint or ("No execution is stored there." if not total else f"There are {total}, from last on.")
            raise NotStored(f"there is no execution {name!r} in {self.url}", given=name, todo=todo)
        if name in self:
            return self[name]
        beginning = [folder for folder in self.folders() if name and folder.startswith(name)]
        found = [folder for folder in beginning if folder in self] or beginning
        if len(found) > 1:
            todo = f"Type more of one: {listed(sorted(found))}"
            raise InvalidValue(f"{name!r} is the beginning of several executions", given=name, known=found, todo=todo)
        return self[found[0] if found else name]

    def _holder(self, name: object) -> Files | None:
        """Return the first storage that has an execution of that name, None if none has."""
        if not isinstance(name, str) or not is_folder_name(name):
            return None
        path = layout.join(name, layout.EXECUTION)
        return next((files for files in self._several if files.exists(path)), None)

    def __contains__(self, name: object) -> bool:
        return self._holder(name) is not None

    def hint(self) -> str | None:
        """Return where executions are instead: in directories of this storage, or around it; None if there are none."""
        if any(files.exists(layout.EXECUTION) for files in self._several):
            return "It is itself an execution: name the directory that contains it as the storage."
        found = [
            layout.join(files.url, entry.name)
            for files in self._several
            for entry in files.entries("")[:MAX_SEARCHED]
            if entry.is_directory
            and not is_folder_name(entry.name)
            and entry.name != layout.BY_CONTENT
            and _holds_folders(files, entry.name)
        ]
        if not found:
            return None
        return f"Executions are stored in {listed(found)}: name that directory as the storage."

    def __iter__(self) -> Iterator[Execution]:
        return iter(self.executions)

    def __repr__(self) -> str:
        return f"<Storage {self.url}>"

    def _repr_html_(self) -> str:
        from html import escape

        return f"<p><code>{escape(self.url)}</code></p>{_Executions(self.executions)._repr_html_()}"

    def close(self) -> None:
        """Close connections. It may be called twice."""
        for files in self._several:
            files.close()

    def __enter__(self) -> Storage:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _holds_folders(files: Files, directory: str) -> bool:
    """Return whether a directory has folders that can be executions; False if it cannot be read."""
    try:
        return any(is_folder_name(one.name) for one in files.entries(directory))
    except StorageError:
        return False  # only a hint would have come of it
