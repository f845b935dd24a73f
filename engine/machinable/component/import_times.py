"""Record when modules are imported, so that later changes of their files are noticed."""

from __future__ import annotations

import sys
import time
from typing import Any

__all__ = ["imported_at", "was_noted"]


class _Clock:
    """A finder before all others that records the time and finds nothing."""

    def __init__(self) -> None:
        self.began = time.time()
        self.times: dict[str, float] = {}

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        """Record that a module is about to be imported."""
        self.times[name] = time.time()


_clock = _Clock()
sys.meta_path.insert(0, _clock)


def imported_at(name: str) -> float:
    """Return when a module was last imported, in seconds since the epoch.

    For a module that was imported before this one, it is the time when this one was imported.
    """
    return _clock.times.get(name, _clock.began)


def was_noted(name: str) -> bool:
    """Return whether a module was imported after this one."""
    return name in _clock.times
