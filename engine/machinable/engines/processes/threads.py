"""With how many threads a process computes: the number decides how sums are split, and so their last bits."""

from __future__ import annotations

import os
import sys
import warnings
from typing import Any

from machinable.storage.process_info import cores

__all__ = ["VARIABLES", "ThreadLimit", "idle_notice"]

# Libraries read these when they are loaded.
VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)
# With one of these, libraries that compute in threads are loaded, and the variables come too late.
_LOADERS = ("numpy", "torch", "tensorflow", "jaxlib", "mkl", "faiss", "lightgbm", "xgboost")


class ThreadLimit:
    """Holds this process to a number of threads, until it is closed.

    Libraries loaded later read the number from the environment; threadpoolctl sets it in those loaded already.
    """

    def __init__(self) -> None:
        self._threads: int | None = None
        self._environment: dict[str, str | None] = {}
        self._pools: dict[str, int] | None = None  # of libraries that were loaded before: their numbers, by file

    def hold(self, threads: int) -> None:
        """Compute with so many threads from now on."""
        if threads == self._threads:
            return
        if self._threads is None:
            self._environment = {name: os.environ.get(name) for name in VARIABLES}
            self._pools = {}
            if _is_loaded():
                self._pools = {pool.filepath: pool.num_threads for pool in _pools()}
        self._threads = threads
        os.environ.update(dict.fromkeys(VARIABLES, str(threads)))
        if _is_loaded():
            for pool in _pools():
                pool.set_num_threads(threads)

    def close(self) -> None:
        """Restore the former numbers of threads, also in libraries that were loaded since."""
        if self._threads is None:
            return
        for name, value in self._environment.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        if _is_loaded():
            chosen = os.environ.get("OMP_NUM_THREADS", "")
            usual = int(chosen) if chosen.isdecimal() and int(chosen) else cores()
            for pool in _pools():
                pool.set_num_threads((self._pools or {}).get(pool.filepath, usual))
        self._threads = None


def _is_loaded() -> bool:
    return any(name in sys.modules for name in _LOADERS)


def _pools() -> list[Any]:
    """Return the thread pools of this process."""
    try:
        from threadpoolctl import ThreadpoolController
    except ImportError:
        warnings.warn(
            "the number of threads cannot be set in a process that has loaded numpy or the like: threadpoolctl is not "
            "installed. Results may differ from those of other engines in their last bits. "
            "Install it: pip install threadpoolctl",
            ThreadsNotSet,
            stacklevel=4,
        )
        return []
    return list(ThreadpoolController().lib_controllers)


class ThreadsNotSet(RuntimeWarning):
    """Trials compute with another number of threads than they are recorded with."""


def idle_notice(slots: int, threads: int, there: int) -> str | None:
    """Return advice if an execution leaves cores idle; None if it does not.

    Args:
        slots: How many trials run at a time.
        threads: With how many threads each of them computes.
        there: How many cores there are.
    """
    busy = slots * threads
    if busy >= there:
        return None
    one = f"{slots} trial{'s' if slots > 1 else ''} at a time with {threads} thread{'s' if threads > 1 else ''}"
    more = "`--engine processes` runs more trials at a time, " if slots == 1 else ""
    return (
        f"{there - busy} of {there} cores stay idle ({one}): {more}"
        f"`_resources_: {{cpus: {there // slots}}}` or `execution: {{threads: {there // slots}}}` "
        "gives each more threads"
    )
