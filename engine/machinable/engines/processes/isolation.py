"""Keeps trials of one process apart: what one of them changes around itself is put back before the next."""

from __future__ import annotations

import _locale
import gc
import os
import resource
import signal
import sys
import warnings
from contextlib import suppress
from typing import Any

__all__ = ["SavedProcessState"]


_SIGNALS = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGALRM,
    signal.SIGVTALRM,
    signal.SIGPROF,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGCHLD,
)
_LIMITS = sorted({getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")})
_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)

# with which numpy is loaded
_ERRORS = {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"}
_PRINTING: dict[str, Any] = {
    "edgeitems": 3,
    "threshold": 1000,
    "floatmode": "maxprec",
    "precision": 8,
    "suppress": False,
    "linewidth": 75,
    "nanstr": "nan",
    "infstr": "inf",
    "sign": "-",
    "formatter": None,
    "legacy": False,
}


class SavedProcessState:
    """The state of a process that trials can change.

    That is the environment, working directory, import path, warnings, loggers, signal handlers and timers, limits of
    the system, and settings of Python and numpy.

    `SavedProcessState.current` is what a worker goes back to after each trial.
    """

    current: SavedProcessState | None = None

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
        self._limits = _Limits()
        self._loggers = _loggers()
        self._settings = _Settings()
        self._warnings = warnings.catch_warnings()
        self._warnings.__enter__()

    def restore(self) -> None:
        """Restore everything. Imported modules stay, and warnings are shown again."""
        if _raw_environment() != self._raw_environment:
            for name in os.environ.keys() - self._environment.keys():
                del os.environ[name]
            os.environ.update(self._environment)
        if self._directory is not None:
            with suppress(FileNotFoundError):  # it was removed
                os.chdir(self._directory)
        sys.path, path = self._path[0], self._path[1]
        sys.path[:] = path
        for timer in _TIMERS:
            signal.setitimer(timer, 0)
        for number, handler in self._signals:
            if signal.getsignal(number) is not handler:
                signal.signal(number, handler)
        self._limits.put_back()
        _restore_loggers(self._loggers)
        self._settings.put_back()
        self._warnings.__exit__(None, None, None)
        self._warnings = warnings.catch_warnings()
        self._warnings.__enter__()


class _Limits:
    """Limits of the system that can be restored; a hard limit cannot be raised again."""

    def __init__(self) -> None:
        self._before = [(number, limits) for number in _LIMITS if (limits := _limits(number)) is not None]
        self._cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None  # Linux
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])

    def put_back(self) -> None:
        """Let everything be as it was."""
        for number, limits in self._before:
            now = _limits(number)
            if now is not None and now != limits:
                with suppress(ValueError, OSError):
                    resource.setrlimit(number, (limits[0], now[1]))
        if self._cores is not None and os.sched_getaffinity(0) != self._cores:
            with suppress(OSError):  # a core was taken from this host
                os.sched_setaffinity(0, self._cores)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)


def _limits(number: int) -> tuple[int, int] | None:
    """Return the soft and the hard limit of that resource."""
    with suppress(ValueError, OSError):  # this system has no such limit
        return resource.getrlimit(number)
    return None


class _Settings:
    """Settings of Python and of loaded libraries."""

    def __init__(self) -> None:
        self._recursion = sys.getrecursionlimit()
        self._digits = sys.get_int_max_str_digits() if hasattr(sys, "get_int_max_str_digits") else 0
        self._interval = sys.getswitchinterval()
        self._hook = sys.excepthook
        self._arguments = sys.argv, list(sys.argv)
        self._tracing = sys.gettrace(), sys.getprofile()
        self._is_collecting = gc.isenabled()
        self._umask = os.umask(0o077)
        os.umask(self._umask)
        decimal, numpy = sys.modules.get("decimal"), sys.modules.get("numpy")
        self._decimal = None if decimal is None else decimal.getcontext().copy()
        self._errors = _ERRORS if numpy is None else numpy.geterr()
        self._printing = _PRINTING if numpy is None else numpy.get_printoptions()
        tempfile: Any = sys.modules.get("tempfile")
        self._temporary = None if tempfile is None else tempfile.tempdir
        self._locale = _locale.setlocale(_locale.LC_ALL)
        self._timeout = sys.modules["socket"].getdefaulttimeout() if "socket" in sys.modules else None

    def put_back(self) -> None:
        """Let everything be as it was; what has been loaded since as when it is loaded."""
        if sys.getrecursionlimit() != self._recursion:
            sys.setrecursionlimit(self._recursion)
        if hasattr(sys, "set_int_max_str_digits"):
            sys.set_int_max_str_digits(self._digits)
        if sys.getswitchinterval() != self._interval:
            sys.setswitchinterval(self._interval)
        sys.excepthook = self._hook
        tempfile: Any = sys.modules.get("tempfile")
        if tempfile is not None:
            tempfile.tempdir = self._temporary
        if _locale.setlocale(_locale.LC_ALL) != self._locale:
            _locale.setlocale(_locale.LC_ALL, self._locale)
        sys.argv, arguments = self._arguments
        sys.argv[:] = arguments
        sys.settrace(self._tracing[0])
        sys.setprofile(self._tracing[1])
        if gc.isenabled() != self._is_collecting:
            gc.enable() if self._is_collecting else gc.disable()
        os.umask(self._umask)
        if "socket" in sys.modules:
            sys.modules["socket"].setdefaulttimeout(self._timeout)
        if "decimal" in sys.modules:
            decimal = sys.modules["decimal"]
            decimal.setcontext((self._decimal or decimal.DefaultContext).copy())
        if "numpy" in sys.modules:
            numpy = sys.modules["numpy"]
            numpy.seterr(**self._errors)
            if numpy.get_printoptions() != self._printing:
                numpy.set_printoptions(**self._printing)


def _raw_environment() -> dict[Any, Any]:
    """Return the environment as bytes, which are compared without decoding them."""
    return dict(vars(os.environ)["_data"])


def _directory() -> str | None:
    with suppress(FileNotFoundError):
        return os.getcwd()
    return None


def _loggers() -> dict[str, Any] | None:
    """Return the state of all loggers; None while `logging` is not imported."""
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
