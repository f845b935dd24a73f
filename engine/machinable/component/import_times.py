"""Note when modules are imported, so that a change of their files afterwards is noticed."""

from __future__ import annotations

import sys
import time
from typing import Any

__all__ = ["imported_at"]


class _Clock:
    """Stands before all finders of modules, notes the time, and finds nothing."""

    def __init__(self) -> None:
        self.began = time.time()
        self.times: dict[str, float] = {}

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        """Note that a module is about to be imported."""
        self.times[name] = time.time()


_clock = _Clock()
sys.meta_path.insert(0, _clock)


def imported_at(name: str) -> float:
    """Return when a module was imported last, in seconds since the epoch.

    For a module from before this one, that is the time of this one's import: it was imported earlier.
    """
    return _clock.times.get(name, _clock.began)
