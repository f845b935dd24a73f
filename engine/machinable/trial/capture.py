"""The output, log and error of a trial as text."""

from __future__ import annotations

import os
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from machinable.trial.descriptors import Redirection, redirected, standard_descriptor
from machinable.units import shortened

if TYPE_CHECKING:
    import logging

    from machinable.storage.streams import TextWriter

__all__ = ["captured", "error_data", "first_line", "make_logger", "shipped", "stored_error"]

# Directories of copies of the project, and the directory of the project, which messages name instead.
shipped: list[tuple[str, str]] = []

MAX_ERROR = 100_000  # characters of a message that are stored; of a traceback, twice as many
_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def make_logger(name: str, sink: TextWriter, mask: Callable[[str], str]) -> logging.Logger:
    """Return a logger that writes lines such as `2026-01-31 09:15:02 INFO text`, in UTC like all stored times.

    It is not registered in `logging`, so that it ends with its trial. `mask` leaves secrets out of a line.
    """
    import logging  # 5 ms, and most trials log nothing

    logger = logging.Logger(name, logging.INFO)
    logger.propagate = False
    handler = logging.StreamHandler(sink)
    handler.formatter = logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%d %H:%M:%S")
    handler.formatter.converter = time.gmtime
    formatted = handler.format
    handler.format = lambda record: mask(formatted(record))  # type: ignore[method-assign]
    logger.addHandler(handler)
    return logger


def error_data(error: BaseException, mask: Callable[[str], str] = str) -> dict[str, str]:
    """Return type, message and traceback of an exception, whose `__str__` may raise; `mask` leaves out secrets.

    The traceback shows frames of the user's code: those of this package and of Python's import system are left out,
    also in causes.
    """
    from traceback import StackSummary, TracebackException  # 5 ms with what it imports, and only failures need it

    from machinable.component.project_modules import show_loaded_lines

    try:
        message = str(error)
    except BaseException as broken:  # a __str__ may raise anything, and the original error counts
        message = f"<no message: its __str__ raised {type(broken).__name__}>"
    try:
        summary = TracebackException.from_exception(error, lookup_lines=False)
        parts = [summary]
        for part in parts:
            frames = [frame for frame in part.stack if not frame.filename.startswith((_OURS, "<frozen importlib"))]
            for file in {frame.filename for frame in frames}:
                show_loaded_lines(file)
            part.stack = StackSummary.from_list(frames)
            parts += [p for p in (part.__cause__, part.__context__, *(getattr(part, "exceptions", None) or ())) if p]
        text = "".join(summary.format())
    except BaseException as broken:  # e.g. an exception whose attributes raise
        text = f"<no traceback: {type(broken).__name__}>"
    for copy, original in shipped:
        message = message.replace(copy + os.sep, original + os.sep)
        text = text.replace(copy + os.sep, original + os.sep)
    return stored_error(type(error).__name__, mask(message), mask(text))


def stored_error(kind: str, message: str, traceback: str) -> dict[str, str]:
    """Return an error as it is stored: the middle of long texts is left out, because each is written several times."""
    return {"type": kind, "message": shortened(message, MAX_ERROR), "traceback": shortened(traceback, 2 * MAX_ERROR)}


def first_line(error: Exception) -> str:
    """Return the first line of the message of an exception."""
    return error_data(error)["message"].partition("\n")[0]


@contextmanager
def captured(sink: TextWriter | None, *, passes: bool) -> Iterator[None]:
    """Write stdout and stderr to the sink, if there is one, and also to the original streams if `passes`.

    That includes what subprocesses and C libraries write, and what loggers write to the original streams. A trial shows
    warnings that another one has already shown.
    """
    if sink is None:
        yield
        return
    with warnings.catch_warnings():  # it resets what was shown
        pass
    before, hook = (sys.stdout, sys.stderr), sys.breakpointhook
    tees: list[_Tee] = []
    handlers: list[tuple[Any, Any]] = []
    with redirected() as redirection:
        try:  # an interrupt may come at any place
            tees += [_Tee(stream, sink, passes, redirection) for stream in before]
            sys.stdout, sys.stderr = tees
            sys.breakpointhook = partial(_break, redirection, hook)
            _log_to(tees, handlers)
            if redirection is not None:
                redirection.start(tees[0].receive, tees[1].receive)
            yield
        finally:
            sys.stdout, sys.stderr = before
            sys.breakpointhook = hook
            for handler, stream in handlers:
                if handler.stream in tees:
                    handler.stream = stream
            try:
                if redirection is not None:
                    redirection.stop()
            finally:
                try:
                    for tee in tees:
                        tee.detach()
                finally:
                    sink.close()


def _break(redirection: Redirection | None, hook: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Start a debugger on the terminal of the process, where lines can be edited."""
    if redirection is not None and sys.stdin is not None and sys.stdin.isatty():
        redirection.stop()
    return hook(*arguments, **options)


def _log_to(tees: list[_Tee], changed: list[tuple[Any, Any]]) -> None:
    """Let handlers of loggers that have kept a stream, such as that of a notebook, write to its tee.

    Args:
        tees: The tees.
        changed: Receives these handlers, with their streams.
    """
    logging = sys.modules.get("logging")
    loggers = [logging.root, *logging.root.manager.loggerDict.values()] if logging is not None else []
    for handler in {handler: None for logger in loggers for handler in getattr(logger, "handlers", ())}:
        stream = getattr(handler, "stream", None)
        original = stream._original if isinstance(stream, _Tee) else stream
        for tee in tees:
            if original is not None and original is tee._original and standard_descriptor(original) is None:
                changed.append((handler, stream))
                handler.stream = tee


class _Tee:
    """A text stream that writes to two places; all other attributes are those of the original stream.

    Text is buffered until its line ends or the stream is flushed, so that lines of stdout and stderr stay whole. A
    trial does not fail when the original stream is broken, such as a pipe without reader: its text goes to the sink.
    """

    def __init__(self, stream: Any, sink: TextWriter, passes: bool, redirection: Redirection | None) -> None:
        self._original = self._stream = stream
        descriptor = standard_descriptor(stream)
        if redirection is not None and descriptor is not None:
            self._stream = redirection.stream(descriptor, stream)
            stream.flush()
        self._sink: TextWriter | None = sink
        self._passes = passes
        self._redirection = redirection
        self._lock = threading.RLock() if redirection is None else redirection.lock
        self._line = ""

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        self._store(text)
        self._pass_on(lambda: self._stream.write(text))
        return len(text)

    def receive(self, text: str) -> None:
        """Write text that has been written to a descriptor."""
        self._append(text)
        self._pass_on(lambda: (self._stream.write(text), self._stream.flush()))

    def _store(self, text: str) -> None:
        with self._lock:
            if self._sink is not None and self._redirection is not None:
                self._redirection.drain()  # in the order of writing
            self._append(text)

    def _append(self, text: str) -> None:
        if self._sink is None:
            return
        end = text.rfind("\n") + 1
        if end:
            self._sink.write(self._line + text[:end])
            self._line = text[end:]
        else:
            self._line += text

    def _pass_on(self, act: Callable[[], object]) -> None:
        """Use the original stream, unless it is broken or disabled."""
        if self._stream is None or not (self._passes or self._sink is None):
            return
        try:
            act()
        except OSError:
            if self._sink is None:
                raise
            self._passes = False

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        self._flush()
        self._pass_on(lambda: self._stream.flush())

    def _flush(self) -> None:
        with self._lock:
            if self._line and self._sink is not None:
                self._sink.write(self._line)
                self._line = ""

    close = flush  # the original stream is used after the trial

    def detach(self) -> None:
        """Stop writing to the sink; from now on, this stream is equivalent to the original one."""
        try:
            self._flush()
        finally:
            self._sink = self._redirection = None
            if self._stream is not self._original:
                self._pass_on(lambda: self._stream.flush())
                self._stream = self._original

    def isatty(self) -> bool:
        """Return whether the original stream is a terminal."""
        return bool(self._stream is not None and self._stream.isatty())

    @property
    def buffer(self) -> Any:
        return _Bytes(self)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)


class _Bytes:
    """The byte stream below a `_Tee`."""

    def __init__(self, tee: _Tee) -> None:
        self._tee = tee
        self.flush = tee.flush

    def write(self, data: Any) -> int:
        data = bytes(data)
        self._tee._store(data.decode("utf-8", "backslashreplace"))
        self._tee._pass_on(lambda: self._write_original(data))
        return len(data)

    def _write_original(self, data: bytes) -> None:
        self._tee._stream.flush()
        self._tee._stream.buffer.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tee._original.buffer, name)
