"""Redirect the output of a process at its file descriptors, including that of C libraries and subprocesses."""

from __future__ import annotations

import io
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import IO, Any

from machinable.storage.files import Appender, Files
from machinable.storage.local import make_directory

__all__ = ["READY", "flush_c_streams", "keep_output", "open_standard_streams", "output_to"]

READY = b"\0"  # what a worker writes to the file of its parent before it takes trials
_kept: int | None = None


def keep_output(file: int) -> None:
    """Keep the output of trials with a remote storage in a file that the parent can read if this process is killed."""
    global _kept
    _kept = os.dup(file)
    os.ftruncate(_kept, 0)
    os.write(_kept, READY)


def open_standard_streams() -> None:
    """Let `sys.stdout` and `sys.stderr` write lines to 1 and 2, so that the lines of all writers stay in order."""
    for name, file in (("stdout", 1), ("stderr", 2)):
        binary = io.BufferedWriter(_Standard(file, "wb", closefd=False))
        stream = _Stream(binary, "utf-8", "backslashreplace", newline="\n", line_buffering=True)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


class _Stream(io.TextIOWrapper):
    """A stream that remains usable after a trial has closed it."""

    def close(self) -> None:
        self.flush()


class _Standard(io.FileIO):
    """A descriptor with a spare file for output while the disk is full."""

    spare: Appender | None = None

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError:
            if _Standard.spare is None:
                raise
            _Standard.spare.write(bytes(data))
            return len(data)


@contextmanager
def output_to(files: Files, path: str) -> Iterator[None]:
    """Redirect everything printed to a file of a storage, which is created with the first output.

    Raises:
        OSError: The file cannot be written.
        LeaseLost: Another process has taken over what is there.
    """
    _fill_input()
    local = files.local_path(path)
    file = None if local is None else _opened(local)
    if file is not None:
        try:
            files.allow(path)  # once it is open, because it may be that of another attempt since just before
        except BaseException:
            os.close(file)
            raise
    if local is None or file is None:
        with _Copied(files.appender(path)) as copied, _redirected(copied):
            yield
        return
    _Standard.spare = files.appender(path)
    try:
        with _redirected(file):
            yield
    finally:
        _Standard.spare.close()
        _Standard.spare = None
        written = os.fstat(file)
        os.close(file)
        with suppress(FileNotFoundError):
            if not written.st_size and os.path.samestat(written, os.stat(local)):  # another attempt may have its own
                os.unlink(local)


def _opened(path: str) -> int | None:
    """Open a file for appending; return None if the disk is full."""
    try:
        make_directory(os.path.dirname(path))
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    except OSError:
        return None
    return file


def _fill_input() -> None:
    """Let subprocesses read nothing; a trial may have closed the input, and another file would take its number."""
    try:
        os.fstat(0)
    except OSError:
        os.open(os.devnull, os.O_RDONLY)  # gets the lowest number


class _Copied:
    """A temporary file on this host whose content is copied to a storage regularly and at the end."""

    def __init__(self, appender: Appender, interval: float = 1.0) -> None:
        self._appender = appender
        self._interval = interval
        self._is_over = threading.Event()

    def __enter__(self) -> int:
        if _kept is None:
            from tempfile import TemporaryFile

            self._file: IO[bytes] = TemporaryFile("a+b", buffering=0)
        else:
            self._file = open(_kept, "a+b", buffering=0, closefd=False)
        self._begin = self._copied = os.fstat(self._file.fileno()).st_size
        self._thread = threading.Thread(target=self._copy_regularly, name="machinable-output", daemon=True)
        self._thread.start()
        return self._file.fileno()

    def __exit__(self, *error: object) -> None:
        self._is_over.set()
        self._thread.join()
        try:
            self._copy()
            self._appender.close()
            os.ftruncate(self._file.fileno(), self._begin)
        finally:
            self._file.close()

    def _copy_regularly(self) -> None:
        while not self._is_over.wait(self._interval):
            with suppress(Exception):  # the appender retries, and closing it raises
                self._copy()

    def _copy(self) -> None:
        while data := os.pread(self._file.fileno(), 2**20, self._copied):
            self._copied += len(data)
            self._appender.write(data)


@contextmanager
def _redirected(file: int) -> Iterator[None]:
    if any(stream is None or stream.closed for stream in (sys.stdout, sys.stderr)):
        open_standard_streams()  # the previous trial has closed them
    streams = sys.stdout, sys.stderr
    _flush(streams)
    flush_c_streams()
    before = os.dup(1), os.dup(2)
    try:
        os.dup2(file, 1)
        os.dup2(file, 2)
        yield
    finally:
        sys.stdout, sys.stderr = streams
        try:
            _flush(streams)
            flush_c_streams()
        finally:
            for saved, standard in zip(before, (1, 2), strict=True):
                os.dup2(saved, standard)
                os.close(saved)


def _flush(streams: Any) -> None:
    for stream in streams:
        if not stream.closed:
            stream.flush()


def flush_c_streams() -> None:
    """Write what C libraries have buffered, if any are used: almost all that print are loaded beside `ctypes`."""
    if "ctypes" in sys.modules:
        _c_library().fflush(None)


@lru_cache(maxsize=1)
def _c_library() -> Any:
    import ctypes

    return ctypes.CDLL(None)
