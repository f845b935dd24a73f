"""Stop an execution from anywhere: a mark in its folder, which the executing process sees within seconds."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from getpass import getuser
from types import TracebackType

from machinable.errors import Damaged, Refused, StorageError
from machinable.execution.environment import now
from machinable.results.execution import Execution
from machinable.serialization import dumps
from machinable.storage import layout
from machinable.storage.documents import STOP, read_document
from machinable.storage.files import Files, writing
from machinable.storage.process_info import this_process

__all__ = ["StopWatch", "forget_stop", "request_stop"]

INTERVAL = 2.0  # seconds between two looks for the mark, each a request on an object store


def request_stop(execution: Execution) -> None:
    """Ask the executing process of a running execution to stop as after SIGTERM.

    Raises:
        Refused: It is not running.
        StorageUnavailable: The storage cannot be written.
    """
    status = execution.status
    if status != "running":
        todo = None if status in ("finished", "partial") else f"To continue it: machinable resume {execution}"
        raise Refused(f"{execution} is not running: it is {status}", given=str(execution), todo=todo)
    user = ""
    with suppress(KeyError, OSError):  # containers may have no name for their user
        user = getuser()
    facts = {"format": layout.FORMAT, "time": now(), "host": this_process()["host"], "user": user}
    with writing(execution.files):
        execution.files.write(layout.join(str(execution), layout.STOP), dumps(facts).encode() + b"\n")


def forget_stop(files: Files, folder: str) -> None:
    """Remove a mark that came after the end of an execution, before it is resumed."""
    with suppress(FileNotFoundError):
        files.remove(layout.join(folder, layout.STOP))


class StopWatch:
    """Look for the mark while a `with` block runs.

    Args:
        files: The storage.
        folder: The folder of the execution.
        stop: Called once by another thread when the mark is there, with who has left it; not after the block.
    """

    def __init__(self, files: Files, folder: str, stop: Callable[[str], None]) -> None:
        self._files = files
        self._folder = folder
        self._stop = stop
        self._is_over = threading.Event()
        self._lock = threading.Lock()

    def __enter__(self) -> StopWatch:
        if self._files.reach != "process":
            threading.Thread(target=self._watch, name="machinable-stop", daemon=True).start()
        return self

    def _watch(self) -> None:
        path = layout.join(self._folder, layout.STOP)
        while not self._is_over.wait(INTERVAL):
            with suppress(StorageError, OSError):  # the next look may succeed
                sender = "another process"
                with suppress(Damaged):  # whatever it says, it is there
                    facts = read_document(self._files, path, STOP)
                    if facts is None:
                        continue
                    sender = f"{facts.get('user') or 'a user'} on {facts.get('host') or 'another host'}"
                forget_stop(self._files, self._folder)
                with self._lock:
                    if not self._is_over.is_set():
                        self._stop(sender)
                return

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._lock:
            self._is_over.set()
