"""What a storage contains, kept in memory between views, and read again where it changes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from machinable.errors import NotStored, StorageError, StorageUnavailable
from machinable.results.execution import Execution
from machinable.results.listing import prefetch
from machinable.results.reader import is_outage
from machinable.results.storage import Storage
from machinable.results.trial import Trial
from machinable.results.trials import Trials
from machinable.storage import layout

__all__ = ["Catalog"]

PERIOD = 2.0  # seconds between two looks at a directory
GROWING = (layout.LEDGER, layout.ANNOTATIONS)
REMOTE_PERIOD = 15.0  # and at a server, whose requests may cost money


class Catalog:
    """The executions and trials of a storage. It is used by one thread at a time.

    Attributes:
        storage: The storage.
        executions: Those that can be read, newest first.
        left_out: Why others cannot be read, by their names.
        trials: The trials of all of them, those of the newest first.
        changes: How often something has changed; who shows the same number is up to date.
        fault: Why the storage cannot be read now; what was read before is kept.
        is_remote: Whether the storage is remote, so that each look is a request.
        is_read: Whether everything was read once.
    """

    def __init__(self, storage: Storage, clock: Callable[[], float] = time.monotonic) -> None:
        self.storage = storage
        self.executions: list[Execution] = []
        self.left_out: dict[str, str] = {}
        self.trials = Trials()
        self.changes = 0
        self.fault: str | None = None
        self.is_read = False
        self._clock = clock
        self._known: dict[str, Execution] = {}
        self._sizes: dict[str, tuple[int, ...]] = {}  # of their growing files when they were read
        self._running: set[str] = set()
        self._looked = 0.0
        self.is_remote = storage.files.reach == "anywhere"
        self._period = REMOTE_PERIOD if self.is_remote else PERIOD

    def update(self, *, everything: bool = False) -> None:
        """Read new executions and those that have changed, unless that was done just now.

        Args:
            everything: Read all again, now.
        """
        if self.is_read and not everything and self._clock() - self._looked < self._period:
            return
        fault = self.fault
        try:
            self._read(everything=everything or not self.is_read)
            self.fault = None
        except StorageError as error:
            self.fault = error.message
        self.changes += self.fault != fault
        self.is_read = True
        self._looked = self._clock()

    def _read(self, *, everything: bool) -> None:
        """Read new and changed executions.

        Raises:
            StorageError: The storage cannot be read.
        """
        known: dict[str, Execution] = {}
        new: list[Execution] = []
        folders = self.storage.folders()
        if self._known and not folders and not self.storage.files.is_directory(""):
            raise StorageUnavailable(f"{self.storage.url} is gone", given=self.storage.url)
        for name, files in folders.items():
            execution = self._known.get(name)
            if execution is None or everything or self._may_have_changed(execution):
                execution = Execution(files, name)
                new.append(execution)
            known[name] = execution
        left_out: dict[str, str] = {}
        prefetch(new, Execution.load)
        for execution in new:
            name = str(execution)
            try:
                self._sizes[name] = self._size(execution)  # first: what is written while it is read is seen later
                execution.load()
                execution.started  # noqa: B018 - reads execution.json
                (self._running.add if execution.status == "running" else self._running.discard)(name)
            except StorageError as error:
                if is_outage(execution.files, error):
                    raise
                del known[name]
                if not isinstance(error, NotStored):  # it is about to start, or gone
                    left_out[name] = error.message
        if everything or known != self._known or left_out != self.left_out:
            self._known, self.left_out = known, left_out
            self.executions = sorted(known.values(), key=lambda one: one.started, reverse=True)
            self.trials = Trials(trial for execution in self.executions for trial in execution)
            self.changes += 1

    def _may_have_changed(self, execution: Execution) -> bool:
        """Return whether an execution may have changed: it runs, or its growing files have grown."""
        if str(execution) in self._running:
            return True
        if execution.files.reach == "anywhere" and execution.has_ended:
            return False  # looking costs a request; `everything` looks at it
        return self._size(execution) != self._sizes.get(str(execution))

    def _size(self, execution: Execution) -> tuple[int, ...]:
        """Return the sizes of the files that grow, or the number of their parts."""
        files, folder = execution.files, str(execution)
        if not files.appends:
            names = [layout.whole(entry.name) for entry in files.entries(folder)]
            return tuple(map(names.count, GROWING))
        sizes = []
        for name in GROWING:
            try:
                sizes.append(files.size(layout.join(folder, name)))
            except FileNotFoundError:
                sizes.append(-1)
        return tuple(sizes)

    def forget(self, name: str) -> None:
        """Read an execution again at the next look, which is due."""
        self._sizes.pop(name, None)
        self._running.add(name)
        self._looked = -math.inf

    def execution(self, name: str) -> Execution:
        """Return the execution of a name.

        Raises:
            NotStored: There is none that can be read.
        """
        found = self._known.get(name)
        return self.storage[name] if found is None else found

    def trial(self, name: str, uid: str) -> Trial:
        """Return a trial.

        Raises:
            NotStored: There is none.
        """
        return self.execution(name)[uid]
