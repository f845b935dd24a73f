"""Make the logger of a trial.

A separate module, because `logging` takes 5 ms to import and most trials log nothing.
"""

from __future__ import annotations

import logging
import time

from machinable.storage.streams import TextWriter

__all__ = ["LogHandler", "make_logger"]


class LogHandler(logging.Handler):
    """Write each message as a line such as `2026-01-31 09:15:02 INFO text`, in UTC as all stored times.

    Args:
        sink: receives the lines.
    """

    def __init__(self, sink: TextWriter) -> None:
        super().__init__()
        self._sink = sink
        self.formatter = logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%d %H:%M:%S")
        self.formatter.converter = time.gmtime

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record as a line."""
        try:
            self._sink.write(self.format(record) + "\n")
        except Exception:  # as logging handles all errors of its handlers
            self.handleError(record)

    def close(self) -> None:
        """Close the sink."""
        self._sink.close()
        super().close()


def make_logger(name: str, sink: TextWriter) -> logging.Logger:
    """Return a logger of level INFO that is not registered in `logging`, so that it ends with its trial.

    Args:
        name: the name of the logger.
        sink: receives the lines.
    """
    logger = logging.Logger(name, logging.INFO)
    logger.propagate = False
    logger.addHandler(LogHandler(sink))
    return logger
