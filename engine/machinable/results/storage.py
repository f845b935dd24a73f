"""A storage: the executions under a URL."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from machinable.errors import NotStored
from machinable.former_names import STORAGE, find_former_name
from machinable.ids import is_folder_name
from machinable.results.execution import Execution
from machinable.results.reader import execution_folders, not_stored
from machinable.results.summary import html_table
from machinable.results.trials import Trials
from machinable.storage import layout
from machinable.storage.open import open_files

__all__ = ["Storage"]

MAX_LISTED = 20  # executions in a notebook; the ledger of each is read


class Storage:
    """Read the executions stored under a URL. It shows the current state and changes nothing.

    Args:
        url: A path (relative to the working directory, `~` expands) or a URL of PyFilesystem.
        trust: Whether artifacts that run code, such as pickles, may be read. Set it only if you trust all writers.

    Attributes:
        files: The files of the storage.

    Raises:
        StorageUnavailable: There is no storage, or it cannot be read.
    """

    def __init__(self, url: str | os.PathLike[str], *, trust: bool = False) -> None:
        self.files = open_files(os.fspath(url), create=False)
        self._trust = trust

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            return find_former_name(self, name, STORAGE)

    @property
    def url(self) -> str:
        """The URL, without credentials."""
        return self.files.url

    @property
    def executions(self) -> list[Execution]:
        """All executions, newest first.

        Raises:
            Damaged: An execution.json cannot be read.
            StorageError: A newer version has written one.
        """
        return sorted(self._executions(), key=lambda execution: execution.started, reverse=True)

    def _executions(self) -> Iterator[Execution]:
        for folder in execution_folders(self.files):
            execution = Execution(self.files, folder, trust=self._trust)
            # Written last: without it, the execution is about to start, or never started.
            with suppress(NotStored):
                execution.data  # noqa: B018 - read now, so that a damaged one raises here
                yield execution

    @property
    def trials(self) -> Trials:
        """The trials of all executions, those of the newest first."""
        return Trials(trial for execution in self.executions for trial in execution)

    def __getitem__(self, name: str) -> Execution:
        """Return the execution of that name: `OY1p1o`, or `OY1p1o-2` for its second run.

        Raises:
            NotStored: There is none.
        """
        if name in self:
            return Execution(self.files, name, trust=self._trust)
        known = [str(execution) for execution in self._executions()]
        message = f"there is no execution {name!r} in {self.url}"
        raise not_stored(message, name, known, "Stored are", "No execution is stored there.")

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and is_folder_name(name) and self.files.exists(layout.join(name, layout.EXECUTION))

    def __iter__(self) -> Iterator[Execution]:
        return iter(self.executions)

    def __repr__(self) -> str:
        return f"<Storage {self.url}>"

    def _repr_html_(self) -> str:
        from html import escape

        executions = self.executions
        rows = [
            [
                str(one),
                one.started[:19].replace("T", " "),
                one.status,
                str(len(one)),
                one.name or "",
                ", ".join(dict.fromkeys(trial.component for trial in one.trials)),
            ]
            for one in executions[:MAX_LISTED]
        ]
        more = f"<p>… and {len(executions) - MAX_LISTED:,} older</p>" if len(executions) > MAX_LISTED else ""
        headings = ["execution", "started (UTC)", "status", "trials", "name", "components"]
        return f"<p><code>{escape(self.url)}</code></p>{html_table(headings, rows)}{more}"

    def close(self) -> None:
        """Close connections. It may be called twice."""
        self.files.close()

    def __enter__(self) -> Storage:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
