"""What is written to the descriptors 1 and 2 while a trial runs in this process.

Subprocesses and C libraries write there, and so do streams that a module has kept since its import, such as those of
`logging.basicConfig`.
"""

from __future__ import annotations

import codecs
import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from io import BufferedWriter, FileIO, TextIOWrapper
from typing import Any

from machinable.engines.processes.output import flush_c_streams

__all__ = ["Redirection", "redirected", "standard_descriptor"]

POLL_INTERVAL = 0.1  # seconds until text is passed on that Python code does not print

_user: dict[str, object] = {}  # descriptors belong to the process, so one trial at a time redirects them
_current: list[Redirection] = []
_has_begun = threading.Event()


def standard_descriptor(stream: Any) -> int | None:
    """Return 1 or 2 if a stream writes directly to that descriptor."""
    with suppress(OSError, ValueError):  # it has no descriptor, or is closed
        if isinstance(stream, TextIOWrapper) and stream.fileno() in (1, 2):
            return stream.fileno()
    return None


@contextmanager
def redirected() -> Iterator[Redirection | None]:
    """Redirect the descriptors; None if that is not possible, or another trial of this process does it already."""
    key, redirection = object(), None
    try:
        if _user.setdefault("key", key) is key:
            with suppress(OSError):  # a descriptor is closed, or no temporary file can be written
                redirection = Redirection()
        yield redirection
    finally:
        try:
            if redirection is not None:
                redirection.close()
        finally:
            if _user and _user["key"] is key:  # without a call, in which an interrupt could come
                del _user["key"]


class Redirection:
    """The descriptors 1 and 2 of this process, redirected to temporary files from `start` to `stop`.

    A pipe would not do: a C library that holds Python's lock while it writes would wait for its reader forever.

    Attributes:
        lock: Is held while text is passed on, and while this process forks.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._process = os.getpid()
        self._is_redirected = False
        self._files = _temporary_files(self._process)
        self._saved = {descriptor: os.dup(descriptor) for descriptor in (1, 2)}
        self._streams: dict[int, TextIOWrapper] = {}
        self._readers: list[_Reader] = []

    def stream(self, descriptor: int, like: TextIOWrapper) -> TextIOWrapper:
        """Return a stream to what a descriptor meant before."""
        if descriptor not in self._streams:
            form = like.encoding, like.errors, like.line_buffering, like.write_through
            self._streams[descriptor] = _stream_to(self._saved[descriptor], *form)
        return self._streams[descriptor]

    def start(self, stdout: Callable[[str], object], stderr: Callable[[str], object]) -> None:
        """Redirect, and pass text on to two functions.

        If both descriptors have the same target, such as a terminal, all text goes to the first function, in order.
        """
        files = list(self._files)
        if os.path.sameopenfile(1, 2):
            files[1] = files[0]
        self._readers = [_Reader(file, write) for file, write in zip(dict.fromkeys(files), (stdout, stderr))]  # noqa: B905
        flush_c_streams()
        self._is_redirected = True
        for descriptor, file in zip((1, 2), files, strict=True):
            os.dup2(file, descriptor)
        _current.append(self)
        _start_poller(self._process)
        if not _has_begun.is_set():
            _has_begun.set()

    def drain(self) -> None:
        """Pass on what has been written."""
        if os.getpid() == self._process:  # a forked process leaves it to its parent
            with self.lock:
                for reader in self._readers:
                    reader.drain()

    def stop(self) -> None:
        """Restore the descriptors, and pass on the rest."""
        if not self._is_redirected or os.getpid() != self._process:
            return
        flush_c_streams()
        for descriptor, saved in self._saved.items():
            os.dup2(saved, descriptor)
        with suppress(ValueError):  # it was interrupted while it started
            _current.remove(self)
        self._is_redirected = False  # only now, so that it is done again if an interrupt came before
        self.drain()

    def close(self) -> None:
        """Stop, and close the streams."""
        try:
            self.stop()
        finally:
            for stream in self._streams.values():
                try:
                    stream.flush()
                except OSError:  # a pipe without a reader
                    _stream_to.cache_clear()  # it still has the text
            for saved in self._saved.values():
                os.close(saved)
            for reader in self._readers:
                reader.close()


class _Reader:
    def __init__(self, file: int, write: Callable[[str], object]) -> None:
        self._file = file
        self._write = write
        self._decode: Callable[[bytes], str] | None = None  # most trials print nothing
        self._position = 0

    def drain(self) -> None:
        while data := os.pread(self._file, 2**16, self._position):
            self._position += len(data)
            if self._decode is None:
                self._decode = codecs.getincrementaldecoder("utf-8")("backslashreplace").decode
            self._write(self._decode(data))

    def close(self) -> None:
        if self._position:
            os.ftruncate(self._file, 0)


@lru_cache(maxsize=8)  # trials one after the other get the same descriptors
def _stream_to(
    file: int, encoding: str, errors: str | None, line_buffering: bool, write_through: bool
) -> TextIOWrapper:
    binary = BufferedWriter(FileIO(file, "wb", closefd=False))
    return TextIOWrapper(binary, encoding, errors, line_buffering=line_buffering, write_through=write_through)


@lru_cache(maxsize=1)
def _temporary_files(process: int) -> tuple[int, int]:
    """Return the files of this process. Programs that a trial has left running may append to them later."""
    return _temporary_file(), _temporary_file()


def _temporary_file() -> int:
    with suppress(AttributeError, OSError):  # of other systems and file systems
        return os.open(os.environ.get("TMPDIR", "/tmp"), os.O_TMPFILE | os.O_RDWR | os.O_APPEND, 0o600)
    from tempfile import mkstemp  # 10 ms with what it imports

    file, path = mkstemp()
    os.unlink(path)
    fcntl.fcntl(file, fcntl.F_SETFL, fcntl.fcntl(file, fcntl.F_GETFL) | os.O_APPEND)
    return file


@lru_cache(maxsize=1)
def _start_poller(process: int) -> None:
    threading.Thread(target=_poll, name="machinable-output", daemon=True).start()


def _poll() -> None:
    while True:
        _has_begun.wait()
        time.sleep(POLL_INTERVAL)
        if not _current:  # not after each trial, because waking a thread takes as long as a short one
            _has_begun.clear()
            if _current:  # it began in between
                _has_begun.set()
        for redirection in _current.copy():
            with suppress(Exception):  # of the storage; the next print or the end of the trial raises it
                redirection.drain()


_held: list[threading.RLock] = []


def _before_fork() -> None:
    for redirection in _current:
        redirection.lock.acquire()
        _held.append(redirection.lock)


def _after_fork() -> None:
    while _held:
        _held.pop().release()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
