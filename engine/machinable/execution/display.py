"""Show an execution that a script or a notebook starts: its progress, its end and the next commands."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TypeVar

from machinable.errors import InvalidType, TrialsFailed
from machinable.events import Listener
from machinable.plan.plan import Plan
from machinable.results.execution import Execution
from machinable.settings import StorageChoice

__all__ = ["Display"]

FOUND = ("environment", "project", "user")  # sources of a storage that commands find, too
_T = TypeVar("_T", bound="Execution | Plan")


class Display:
    """The display of one execution on stderr or in a notebook, a context manager; or none.

    Args:
        progress: The argument of `execute`; False for no display.

    Attributes:
        listeners: What receives the events.

    Raises:
        InvalidType: `progress` is not None, True or False.
    """

    def __init__(self, progress: bool | None) -> None:
        if progress is not None and not isinstance(progress, bool):
            raise InvalidType(f"progress is {progress!r}", given=progress, todo="Expected None, True or False.")
        self.listeners: tuple[Listener, ...] = ()
        self.storage: StorageChoice | None = None  # of the execution, once it is known
        self._stderr = None  # what is shown there
        if progress is False:
            return
        # 5 ms, which silent executions save
        from machinable.display.progress import notebook_listeners
        from machinable.execution.ending import SAVE_IN_PYTHON, open_progress

        self.listeners = tuple(notebook_listeners()) if "IPython" in sys.modules else ()
        if not self.listeners:
            self._stderr = open_progress(SAVE_IN_PYTHON)
            self._progress = self._stderr.__enter__()
            self.listeners = (self._progress,)

    def __enter__(self) -> Display:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Remove a live display; show the end of a failed or interrupted execution."""
        if self._stderr is None:
            return
        from machinable.execution.ending import show_interrupt

        self._stderr.__exit__(None, None, None)
        if isinstance(error, TrialsFailed):
            self.ended(error.execution)
        elif isinstance(error, KeyboardInterrupt):
            show_interrupt(self._progress, self._name_of(self._progress.storage))

    def ended(self, result: _T) -> _T:
        """Show the results of an execution that has ended, unless there was nothing to do, and return it."""
        if self._stderr is not None and isinstance(result, Execution) and self._progress.execution is not None:
            from machinable.display.summary import rows_of
            from machinable.execution.ending import SAVE_IN_PYTHON, show_ending

            name, rows = self._name_of(result.storage), rows_of(result.trials)
            show_ending(result, rows, self._progress, name, SAVE_IN_PYTHON, sys.stderr)
        return result

    def _name_of(self, url: str) -> str | None:
        """Return the storage that the next commands have to name; None if they find it."""
        return None if self.storage is not None and self.storage.source in FOUND else url
