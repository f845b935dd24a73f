"""A storage: the executions that lie under a URL, to be read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from types import TracebackType

from machinable.errors import NotStored, did_you_mean, near_names
from machinable.ids import is_folder_name
from machinable.results.execution import Execution
from machinable.results.tables import html_table
from machinable.results.trials import Trials
from machinable.storage import layout
from machinable.storage.files import Files
from machinable.storage.open import open_files

__all__ = ["Storage"]

SHOWN = 20  # executions in a notebook; each is a look at its ledger


class Storage:
    """What is stored under a URL. Each look shows what is there now; nothing is made or changed.

    Args:
        url: a path (relative to the working directory, `~` expands) or a URL of PyFilesystem.
        trust: whether artifacts may be read that run code, as pickles do: only if you trust all who write there.

    Raises:
        StorageUnavailable: there is no storage, or it cannot be read.
    """

    def __init__(self, url: str | os.PathLike[str], *, trust: bool = False) -> None:
        self._files = open_files(os.fspath(url), create=False)
        self._trust = trust

    @property
    def url(self) -> str:
        """Where it is, without credentials."""
        return self._files.url

    @property
    def files(self) -> Files:
        """What lies there, as a tree of files."""
        return self._files

    @property
    def executions(self) -> list[Execution]:
        """All executions, newest first.

        Raises:
            Damaged: an execution.json cannot be read. StorageError: one was written by a newer version.
        """
        return sorted(self._executions(), key=lambda execution: execution.started, reverse=True)

    def _executions(self) -> Iterator[Execution]:
        for entry in self._files.entries(""):
            if not entry.is_directory or not is_folder_name(entry.name):
                continue
            execution = Execution(self._files, entry.name, trust=self._trust)
            # Written last: a folder without it is about to become an execution, or never became one.
            with suppress(NotStored):
                execution.data  # noqa: B018 - read now, and told here if it is damaged
                yield execution

    @property
    def trials(self) -> Trials:
        """The trials of all executions, those of the newest first."""
        return Trials(trial for execution in self.executions for trial in execution)

    def __getitem__(self, name: str) -> Execution:
        """The execution of that id, or that rerun of it: `OY1p1o`, `OY1p1o-2`.

        Raises:
            NotStored: there is none.
        """
        if name in self:
            return Execution(self._files, name, trust=self._trust)
        known = [str(execution) for execution in self._executions()]
        near = near_names(name, known)
        raise NotStored(
            f"there is no execution {name!r} in {self.url}",
            given=name,
            known=known,
            todo=did_you_mean(near)
            if near
            else f"Stored are: {', '.join(known[:20])}{' …' if known[20:] else ''}"
            if known
            else "No execution is stored there.",
        )

    def __contains__(self, name: object) -> bool:
        return (
            isinstance(name, str) and is_folder_name(name) and self._files.exists(layout.join(name, layout.EXECUTION))
        )

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
            for one in executions[:SHOWN]
        ]
        more = f"<p>… and {len(executions) - SHOWN:,} older</p>" if len(executions) > SHOWN else ""
        headings = ["execution", "started (UTC)", "status", "trials", "name", "components"]
        return f"<p><code>{escape(self.url)}</code></p>{html_table(headings, rows)}{more}"

    def close(self) -> None:
        """Let go of connections. Closing twice is fine."""
        self._files.close()

    def __enter__(self) -> Storage:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
