"""Record when modules are imported, and by which file, so that later changes of their files are noticed."""

from __future__ import annotations

import importlib
import linecache
import os
import sys
import time
from types import FrameType
from typing import Any

__all__ = ["imported_at", "importer_of", "importing_frame", "show_lines", "was_noted"]

# Finders call others, and so stand between them and the code that imports.
_BETWEEN = frozenset({importlib.__file__, os.path.join(os.path.dirname(__file__), "project_modules.py")})


class _Recorder:
    """A finder before all others that records imports and finds nothing."""

    def __init__(self) -> None:
        self.began = time.time()
        self.times: dict[str, float] = {}
        self.importers: dict[str, str] = {}
        self.shown: dict[str, str] = {}  # the files of which `linecache` has the lines as they were imported

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        """Record that a module is about to be imported."""
        self.times[name] = time.time()
        frame = importing_frame(sys._getframe(1))
        if frame is not None:
            self.importers[name] = frame.f_code.co_filename
        if name in self.shown:
            linecache.cache.pop(self.shown.pop(name), None)


def importing_frame(frame: FrameType | None) -> FrameType | None:
    """Return the nearest frame on the stack that is not of Python's import system."""
    while frame is not None:
        file = frame.f_code.co_filename
        if file not in _BETWEEN and not file.startswith("<frozen importlib"):
            return frame
        frame = frame.f_back
    return None


_recorder = _Recorder()
sys.meta_path.insert(0, _recorder)


def imported_at(name: str) -> float:
    """Return when a module was last imported, in seconds since the epoch.

    For a module that was imported before this one, it is the time when this one was imported.
    """
    return _recorder.times.get(name, _recorder.began)


def was_noted(name: str) -> bool:
    """Return whether a module was imported after this one."""
    return name in _recorder.times


def importer_of(name: str) -> str | None:
    """Return the file that imported a module first, if it was imported after this one."""
    return _recorder.importers.get(name)


def show_lines(name: str, file: str, text: str) -> None:
    """Let tracebacks, warnings and `inspect` show a text as the source of a module, until it is imported again."""
    lines = text.splitlines(keepends=True)
    linecache.cache[file] = len(text), None, lines, file  # without a time, it is not compared with the file
    _recorder.shown[name] = file
