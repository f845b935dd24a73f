"""Processes that a trial forks end where its own code ends: only one process can go on with the trial."""

from __future__ import annotations

import os
import sys
from types import TracebackType

__all__ = ["ReturnsOnce"]


class ReturnsOnce:
    """Only the process that enters a block leaves it. One that was forked within ends there, as a program would.

    That is with the traceback and code 1 after an exception, with the code of a `SystemExit`, and else with 0.
    """

    def __enter__(self) -> None:
        self._process = os.getpid()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if os.getpid() == self._process:
            return
        code = 1  # if not even that can be told
        try:
            code = _code(error)
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)  # what waits to be done at the end of the program is the other one's business


def _code(error: BaseException | None) -> int:
    if error is None:
        return 0
    if isinstance(error, SystemExit):
        if error.code is None or isinstance(error.code, int):
            return (error.code or 0) & 0xFF
        print(error.code, file=sys.stderr)
    else:
        sys.excepthook(type(error), error, error.__traceback__)
    return 1
