"""Set the number of threads of a process, which determines how sums are split, and so their last bits."""

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
# If one of these is loaded, libraries that compute in threads are, too, and the variables do not affect them.
_LOADERS = ("numpy", "torch", "tensorflow", "jaxlib", "mkl", "faiss", "lightgbm", "xgboost")


class ThreadLimit:
    """Limit this process to a number of threads until it is closed.

    Libraries loaded later read the number from the environment; threadpoolctl sets it in those already loaded.
    """

    def __init__(self) -> None:
        self._threads: int | None = None
        self._environment: dict[str, str | None] = {}
        self._pools: dict[str, int] = {}  # the numbers of libraries that were loaded before, by file

    def hold(self, threads: int) -> None:
        """Set the number of threads."""
        if threads == self._threads:
            return
        if self._threads is None:
            self._environment = {name: os.environ.get(name) for name in VARIABLES}
            self._pools = {pool.filepath: pool.num_threads for pool in _pools()}
        self._threads = threads
        os.environ.update(dict.fromkeys(VARIABLES, str(threads)))
        for pool in _pools():
            pool.set_num_threads(threads)

    def close(self) -> None:
        """Restore the previous numbers of threads, also in libraries that were loaded since."""
        if self._threads is None:
            return
        for name, value in self._environment.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        chosen = os.environ.get("OMP_NUM_THREADS", "")
        usual = int(chosen) if chosen.isdecimal() and int(chosen) else cores()
        for pool in _pools():
            pool.set_num_threads(self._pools.get(pool.filepath, usual))
        self._threads = None


def _pools() -> list[Any]:
    """Return the thread pools of this process."""
    if not any(name in sys.modules for name in _LOADERS):
        return []
    try:
        from threadpoolctl import ThreadpoolController
    except ImportError:
        warnings.warn(
            "the number of threads cannot be set in a process that has loaded numpy or a similar library, because "
            "threadpoolctl is not installed. Results may differ from those of other engines in their last bits. "
            "Install it: pip install threadpoolctl",
            ThreadsNotSet,
            stacklevel=4,
        )
        return []
    return list(ThreadpoolController().lib_controllers)


class ThreadsNotSet(RuntimeWarning):
    """Trials compute with a number of threads other than the recorded one."""


def idle_notice(slots: int, threads: int, there: int) -> str | None:
    """Return advice if an execution leaves cores idle; None if it does not.

    Args:
        slots: The number of trials that run at a time.
        threads: The number of threads of each trial.
        there: The number of available cores.
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
