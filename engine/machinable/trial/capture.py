"""What a trial prints: its stdout and stderr go to a file and, if wanted, to where they went before."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

__all__ = ["Capture", "Sink", "Tee"]


class Sink(Protocol):
    """A text that grows."""

    def write(self, text: str) -> None: ...
    def close(self) -> None: ...


class Capture:
    """Replaces `sys.stdout` and `sys.stderr` while it is entered, and puts back what was there, whatever happens.

    Args:
        sink: where all text goes to. passes: whether it also goes to where it went before.
    """

    def __init__(self, sink: Sink, passes: bool) -> None:
        self._sink = sink
        self._passes = passes

    def __enter__(self) -> Capture:
        lock = threading.Lock()
        self._before = sys.stdout, sys.stderr
        self._tees = [Tee(stream, self._sink, self._passes, lock) for stream in self._before]
        sys.stdout, sys.stderr = self._tees
        return self

    def __exit__(self, *error: object) -> None:
        sys.stdout, sys.stderr = self._before
        try:
            for tee in self._tees:
                tee.detach()
        finally:
            self._sink.close()


class Tee:
    """A text stream that writes to two places; whatever else it is asked for is that of the original stream.

    Text is kept until its line ends or the stream is flushed, so that lines of stdout and stderr stay whole. If the
    original takes nothing any more, such as a pipe whose reader has left, no trial fails for that: its text is kept.
    """

    def __init__(self, stream: Any, sink: Sink, passes: bool, lock: threading.Lock) -> None:
        self._stream = stream
        self._sink: Sink | None = sink
        self._passes = passes
        self._lock = lock
        self._line = ""

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        self._keep(text)
        if self._stream is not None and (self._passes or self._sink is None):
            with self._as_far_as_it_goes():
                self._stream.write(text)
        return len(text)

    @contextmanager
    def _as_far_as_it_goes(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            if self._sink is None:
                raise
            self._passes = False

    def _keep(self, text: str) -> None:
        with self._lock:
            if self._sink is None:
                return
            end = text.rfind("\n") + 1
            if end:
                self._sink.write(self._line + text[:end])
                self._line = text[end:]
            else:
                self._line += text

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        self._flush()
        if self._stream is not None:
            with self._as_far_as_it_goes():
                self._stream.flush()

    def _flush(self) -> None:
        with self._lock:
            if self._line and self._sink is not None:
                self._sink.write(self._line)
                self._line = ""

    def close(self) -> None:
        """The original stream is not the component's to close: the next trial, and the report, still need it."""
        self.flush()

    def detach(self) -> None:
        """From now on this is only another name of the original stream: somebody may still hold it."""
        try:
            self._flush()
        finally:
            self._sink = None

    @property
    def buffer(self) -> Any:
        """The stream of bytes below."""
        return _Bytes(self)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Bytes:
    def __init__(self, tee: Tee) -> None:
        self._tee = tee

    def write(self, data: Any) -> int:
        data = bytes(data)
        tee = self._tee
        tee._keep(data.decode("utf-8", "backslashreplace"))
        if tee._stream is not None and (tee._passes or tee._sink is None):
            with tee._as_far_as_it_goes():
                tee._stream.flush()
                tee._stream.buffer.write(data)
        return len(data)

    def flush(self) -> None:
        self._tee.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tee._stream.buffer, name)
