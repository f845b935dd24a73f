"""A trial's logger. A module of its own, since `logging` takes 5 ms to import and most trials log nothing."""

from __future__ import annotations

import logging
import time

from machinable.trial.capture import Sink

__all__ = ["LogHandler", "make_logger"]


class LogHandler(logging.Handler):
    """Writes each message as a line such as `2026-01-31 09:15:02 INFO text`, in UTC as all times that are stored."""

    def __init__(self, sink: Sink) -> None:
        super().__init__()
        self._sink = sink
        self.formatter = logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%d %H:%M:%S")
        self.formatter.converter = time.gmtime

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._sink.write(self.format(record) + "\n")
        except Exception:  # what logging does with all errors of its handlers
            self.handleError(record)

    def close(self) -> None:
        self._sink.close()
        super().close()


def make_logger(name: str, sink: Sink) -> logging.Logger:
    """A logger of level INFO that nobody else knows: it is not kept by `logging`, so it ends with its trial."""
    logger = logging.Logger(name, logging.INFO)
    logger.propagate = False
    logger.addHandler(LogHandler(sink))
    return logger
