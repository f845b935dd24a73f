"""Brings home what workers write where they cannot reach the storage."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, wait
from functools import partial

from machinable.engines.protocol import Engine, Reach, Work
from machinable.plan.spec import Outcome, TrialSpec
from machinable.storage import layout
from machinable.storage.files import DirectoryFiles, Files

__all__ = ["Spool"]


class Spool:
    """An engine in front of another one, whose workers write into a temporary directory of this host.

    The folder of each trial is moved from there into the storage before its future is done, also if its worker was
    lost.

    Args:
        engine: where the trials run. files: the storage. folder: of the execution.

    Attributes:
        directory: what workers take for the storage.
    """

    def __init__(self, engine: Engine, files: Files, folder: str) -> None:
        from tempfile import mkdtemp

        self.name: str = engine.name
        self.slots: int = engine.slots
        self.reach: Reach = engine.reach
        self.directory = mkdtemp(prefix="machinable-")
        self._engine = engine
        self._files = files
        self._folder = folder
        self._spooled = DirectoryFiles(self.directory)
        self._inner: dict[Future[Outcome], Future[Outcome]] = {}

    def submit(self, work: Work, spec: TrialSpec) -> Future[Outcome]:
        """Start a trial. Its folder is in the storage when the future is done."""
        outer: Future[Outcome] = Future()
        inner = self._engine.submit(work, spec)
        self._inner[outer] = inner
        inner.add_done_callback(partial(self._ended, spec, outer))
        return outer

    def interrupt(self) -> None:
        """Interrupt all trials that run, if the engine can."""
        act: Callable[[], None] | None = getattr(self._engine, "interrupt", None)
        if act is not None:
            act()

    def end(self, future: Future[Outcome]) -> None:
        """End a trial, if the engine can."""
        act: Callable[[Future[Outcome]], None] | None = getattr(self._engine, "end", None)
        inner = self._inner.get(future)
        if act is not None and inner is not None:
            act(inner)
            wait([future])

    def close(self) -> None:
        """Remove the directory. The engine is not closed."""
        from shutil import rmtree

        rmtree(self.directory, ignore_errors=True)

    def _ended(self, spec: TrialSpec, outer: Future[Outcome], inner: Future[Outcome]) -> None:
        problem: BaseException | None = None
        try:
            problem = inner.exception()
            self._bring(layout.join(self._folder, layout.trial(spec.uid)))
        except BaseException as error:  # a thread of the engine's runs this: whoever waits must hear of it
            problem = problem or error
        self._inner.pop(outer, None)
        if problem is None:
            outer.set_result(inner.result())
        else:
            outer.set_exception(problem)

    def _bring(self, path: str) -> None:
        if self._spooled.is_directory(path):
            self._copy(path)
            self._spooled.remove(path)

    def _copy(self, path: str) -> None:
        entries = self._spooled.entries(path)
        if not entries:
            self._files.create_directory(path)
        for entry in entries:
            name = layout.join(path, entry.name)
            local = os.path.join(self.directory, name)
            if os.path.islink(local) and not os.path.exists(local):
                continue  # it leads nowhere
            if entry.is_directory:
                self._copy(name)
            else:
                self._files.write(name, self._spooled.read(name))
