"""Isolate trials of one process: what a trial changes in the process is restored before the next one."""

from __future__ import annotations

import _locale
import gc
import os
import resource
import signal
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

__all__ = ["SavedProcessState"]

_SIGNALS = [
    signal.Signals[f"SIG{name}"]
    for name in ("INT", "TERM", "HUP", "QUIT", "ALRM", "VTALRM", "PROF", "USR1", "USR2", "CHLD")
]
_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)

Setting = tuple[Callable[[], Any], Callable[[Any], Any]]  # how to read it, and how to set it


def _attribute(owner: Any, name: str) -> Setting:
    return partial(getattr, owner, name), partial(setattr, owner, name)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _set_cores(cores: set[int]) -> None:
    with suppress(OSError):  # a core was taken from this host
        os.sched_setaffinity(0, cores)


def _limits() -> list[Setting]:
    settings: list[Setting] = []
    for number in sorted({getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")}):
        with suppress(ValueError, OSError):  # this system has no such limit
            resource.getrlimit(number)
            settings.append((partial(resource.getrlimit, number), partial(_set_soft_limit, number)))
    return settings


def _set_soft_limit(number: int, limits: tuple[int, int]) -> None:
    with suppress(ValueError, OSError):  # the trial has lowered the hard limit, which cannot be raised again
        resource.setrlimit(number, (limits[0], resource.getrlimit(number)[1]))


_SETTINGS: list[Setting] = [
    *((partial(signal.getsignal, number), partial(signal.signal, number)) for number in _SIGNALS),
    (partial(signal.pthread_sigmask, signal.SIG_BLOCK, []), partial(signal.pthread_sigmask, signal.SIG_SETMASK)),
    *_limits(),
    (sys.getrecursionlimit, sys.setrecursionlimit),
    (sys.getswitchinterval, sys.setswitchinterval),
    (sys.gettrace, sys.settrace),
    (sys.getprofile, sys.setprofile),
    _attribute(sys, "excepthook"),
    (gc.isenabled, lambda is_enabled: gc.enable() if is_enabled else gc.disable()),
    (_umask, os.umask),
    (partial(_locale.setlocale, _locale.LC_ALL), partial(_locale.setlocale, _locale.LC_ALL)),
]
if hasattr(os, "sched_getaffinity"):  # Linux
    _SETTINGS.append((partial(os.sched_getaffinity, 0), _set_cores))
if hasattr(sys, "set_int_max_str_digits"):  # not in the first releases of 3.10
    _SETTINGS.append((sys.get_int_max_str_digits, sys.set_int_max_str_digits))


def _of_libraries(name: str, module: Any) -> list[Setting]:
    """Return the settings of a library that trials can change."""
    if name == "tempfile":
        return [_attribute(module, "tempdir")]
    if name == "socket":
        return [(module.getdefaulttimeout, module.setdefaulttimeout)]
    if name == "decimal":
        return [(lambda: module.getcontext().copy(), lambda context: module.setcontext(context.copy()))]
    return [
        (module.geterr, lambda errors: module.seterr(**errors)),
        (module.get_printoptions, lambda options: module.set_printoptions(**options)),
    ]


# The settings of libraries when they are loaded.
_DEFAULTS: dict[str, Callable[[Any], list[Any]]] = {
    "tempfile": lambda module: [None],
    "socket": lambda module: [None],
    "decimal": lambda module: [module.DefaultContext],
    "numpy": lambda module: [
        {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"},
        {
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
        },
    ],
}


class SavedProcessState:
    """The state of a process that trials can change.

    These are the environment, working directory, import path, warnings, loggers, signal handlers and timers, limits of
    the system, and settings of Python and numpy.

    `SavedProcessState.current` is the state that a worker restores after each trial.
    """

    current: SavedProcessState | None = None

    def __init__(self) -> None:
        self._warnings: Any = None
        self.keep()

    def keep(self) -> None:
        """Let `restore` return to the current state."""
        self._environment = dict(os.environ)
        self._raw_environment = _raw_environment()
        self._directory: str | None = None
        with suppress(FileNotFoundError):
            self._directory = os.getcwd()
        self._lists = [(name, getattr(sys, name), list(getattr(sys, name))) for name in ("path", "argv")]
        self._settings = [(setting, setting[0]()) for setting in _SETTINGS]
        self._libraries = {
            name: [get() for get, _ in _of_libraries(name, sys.modules[name])]
            for name in _DEFAULTS
            if name in sys.modules
        }
        self._loggers = _loggers()
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
        for name, items, content in self._lists:
            setattr(sys, name, items)
            items[:] = content
        for timer in _TIMERS:
            signal.setitimer(timer, 0)
        for (get, restore), value in self._settings:
            if get() != value:
                restore(value)
        for name, defaults in _DEFAULTS.items():
            if name in sys.modules:
                module = sys.modules[name]
                values = self._libraries.get(name) or defaults(module)
                for (get, restore), value in zip(_of_libraries(name, module), values, strict=True):
                    if get() != value:
                        restore(value)
        _restore_loggers(self._loggers)
        self._warnings.__exit__(None, None, None)
        self._warnings = warnings.catch_warnings()
        self._warnings.__enter__()


def _raw_environment() -> dict[Any, Any]:
    """Return the environment as bytes, which are compared without decoding them."""
    return dict(vars(os.environ)["_data"])


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
        if known is None:  # the state of a new one; libraries give theirs a null handler when imported
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
