"""Find and read many executions of an object store with few requests."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import NamedTuple

from machinable.errors import StorageError
from machinable.results.execution import Execution
from machinable.storage import layout
from machinable.storage.files import Files

__all__ = ["Listed", "list_executions", "prefetch"]

PAGE = 1000  # files that one request lists
MAX_REQUESTS = 16  # at the same time


class Listed(NamedTuple):
    """An execution in a listing.

    Attributes:
        stored: When execution.json was stored, in seconds since the epoch.
        ledger: The numbers of the parts of its ledger.
        annotations: Those of its annotations.
        plan: Those of its plan, which grows in a search.
    """

    stored: float
    ledger: list[int]
    annotations: list[int]
    plan: list[int]


_GROWING = (layout.LEDGER, layout.ANNOTATIONS, layout.PLAN)


def list_executions(files: Files, folders: Sequence[str]) -> dict[str, Listed] | None:
    """Return the executions in these folders from one listing of the whole storage.

    Returns:
        None if listing all files takes more requests than a quarter of those that read each execution.json.
    """
    if not files.lists_at_once:
        return None
    stored: dict[str, float] = {}
    parts: dict[str, dict[str, list[int]]] = {folder: {name: [] for name in _GROWING} for folder in folders}
    for number, found in enumerate(files.walk("")):
        if number >= PAGE * max(2, len(folders) // 4):
            return None
        folder, _, name = found.path.partition("/")
        if folder in parts:
            if name == layout.EXECUTION:
                stored[folder] = found.changed or 0.0
            elif (growing := layout.whole(name)) in _GROWING:
                parts[folder][growing].append(layout.part_number(name))
    return {folder: Listed(changed, *map(sorted, parts[folder].values())) for folder, changed in stored.items()}


def prefetch(executions: Iterable[Execution], act: Callable[[Execution], object]) -> None:
    """Let each execution read something, those of a remote storage at the same time.

    What cannot be read raises its error when it is used.
    """

    def read(execution: Execution) -> None:
        with suppress(StorageError):
            act(execution)

    remote = [execution for execution in executions if execution.files.reach == "anywhere"]
    if remote:
        from concurrent.futures import ThreadPoolExecutor  # 10 ms, and only for object stores

        with ThreadPoolExecutor(MAX_REQUESTS) as pool:
            list(pool.map(read, remote))
