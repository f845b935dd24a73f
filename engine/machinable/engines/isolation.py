"""Keeps trials of one process apart: what one of them changes around itself is put back before the next."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from contextlib import suppress
from typing import Any

__all__ = ["Surroundings"]

_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGALRM") if hasattr(signal, name)]


class Surroundings:
    """The environment, working directory, import path, warnings, loggers and signal handlers of this process.

    `Surroundings.current` is what a worker goes back to after each trial.
    """

    current: Surroundings | None = None

    def __init__(self) -> None:
        self._warnings: Any = None
        self.keep()

    def keep(self) -> None:
        """Take everything as it is now for what `restore` goes back to."""
        self._environment = dict(os.environ)
        self._raw_environment = _raw_environment()
        self._directory = _directory()
        self._path = sys.path, list(sys.path)
        self._signals = [(number, signal.getsignal(number)) for number in _SIGNALS]
        self._loggers = _loggers()
        self._warnings = warnings.catch_warnings()
        self._warnings.__enter__()

    def restore(self) -> None:
        """Put everything back. Modules that were imported meanwhile stay, and warnings are told again."""
        if _raw_environment() != self._raw_environment:
            for name in os.environ.keys() - self._environment.keys():
                del os.environ[name]
            os.environ.update(self._environment)
        if self._directory is not None:
            with suppress(FileNotFoundError):  # somebody has removed it meanwhile
                os.chdir(self._directory)
        sys.path, path = self._path[0], self._path[1]
        sys.path[:] = path
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in self._signals:
            if signal.getsignal(number) is not handler:
                signal.signal(number, handler)
        _restore_loggers(self._loggers)
        self._warnings.__exit__(None, None, None)
        self._warnings = warnings.catch_warnings()
        self._warnings.__enter__()


def _raw_environment() -> dict[Any, Any]:
    """The environment as it is kept, which is compared without decoding it."""
    return dict(vars(os.environ)["_data"])


def _directory() -> str | None:
    with suppress(FileNotFoundError):
        return os.getcwd()
    return None


def _loggers() -> dict[str, Any] | None:
    """The state of all loggers; None as long as nobody has loaded `logging`."""
    logging = sys.modules.get("logging")
    if logging is None:
        return None
    return {
        "disable": logging.root.manager.disable,
        "captures": logging._warnings_showwarning is not None,
        "loggers": {x: (x.level, x.propagate, x.disabled, x.handlers[:], x.filters[:]) for x in _all(logging)},
    }


def _restore_loggers(before: dict[str, Any] | None) -> None:
    logging = sys.modules.get("logging")
    if logging is None:
        return
    if before is None:
        before = {"disable": 0, "captures": False, "loggers": {}}
    if not before["captures"]:
        logging.captureWarnings(False)
    logging.disable(before["disable"])
    for logger in _all(logging):
        known = before["loggers"].get(logger)
        if known is None:  # as it is when it is new; a null handler is what libraries give to theirs when imported
            silent = [handler for handler in logger.handlers if isinstance(handler, logging.NullHandler)]
            known = (logging.WARNING if logger is logging.root else logging.NOTSET, True, False, silent, [])
        level, propagate, disabled, handlers, filters = known
        if logger.level != level:
            logger.setLevel(level)
        logger.propagate, logger.disabled = propagate, disabled
        logger.handlers[:], logger.filters[:] = handlers, filters


def _all(logging: Any) -> list[Any]:
    root = logging.root
    return [root, *(logger for logger in root.manager.loggerDict.values() if isinstance(logger, logging.Logger))]
