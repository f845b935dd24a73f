"""A storage that another process serves, for workers that do not reach it themselves.

A connection that breaks is made again, and the request repeated; the server recognizes what it has already done.
Appended data is sent at once or, if it is appended often, by a thread some milliseconds later; and before any other
request, so that nothing that is written later is seen earlier.
"""

from __future__ import annotations

import fcntl
import os
import socket
import threading
import time
import weakref
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from io import BytesIO
from typing import IO, Any
from zlib import crc32

from msgspec.json import Decoder

from machinable.errors import BadName, StorageError, StorageUnavailable
from machinable.serialization import Plain
from machinable.storage.files import Appender, Entry, FileInfo, Files, checked, file_path, path_error
from machinable.storage.lock_backends import HeldLease, Leases
from machinable.storage.numbered_parts import PartAppender
from machinable.storage.served.messages import (
    NONCE,
    PIECE,
    Access,
    Broken,
    Channel,
    Failure,
    Pieces,
    Reply,
    Request,
    greet,
)

__all__ = ["ServedFiles", "ServedLeases"]

CONNECT_TIMEOUT = 5.0  # seconds
TIMEOUT = 60.0  # seconds without any progress of a request
PATIENCE = 30.0  # seconds in which a broken connection is made again
PATIENCE_IF_REFUSED = 4.0  # seconds, if nothing listens there: the executing process has ended
PING_INTERVAL = 2.0
PING_TIMEOUT = 10.0
FLUSH_INTERVAL = 0.05  # seconds in which appended data is sent together

_replies = Decoder(Reply)


class ServedFiles(Files):
    """The files of a storage behind a `FilesServer`.

    Args:
        access: From the server.
        on_lost: Called with the reason if a server that was reached is gone, or the attempt is over although the trial
            still runs: nothing that this process does will be stored.
    """

    reach = "anywhere"
    is_served = True

    def __init__(self, access: Access, on_lost: Callable[[str], object] = lambda reason: None) -> None:
        self.url = access.url
        self.appends = access.appends
        self._access = access
        self._on_lost = on_lost
        self._has_connected = False
        self._attempt = ("", 0)
        self._begin()
        _everywhere.add(self)

    def _begin(self) -> None:
        self._lines: list[_Line] = []  # those that are not in use
        self._waiting: dict[_ServedAppender, None] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._is_closed = False
        self._thread: threading.Thread | None = None

    def _forked(self) -> None:
        """Leave connections, and the data that waits, to the process that this one was forked from."""
        for line in self._lines:
            line.abandon()
        for appender in self._waiting:
            appender._begin()
        self._begin()

    def connect(self) -> None:
        """Check that the server is reached, unless it was reached before.

        Raises:
            StorageUnavailable: It is not.
        """
        if not self._has_connected:
            self._ask("ping")

    @contextmanager
    def attempt(self, trial: str, number: int) -> Iterator[None]:
        """Make the requests of a block for an attempt of a trial."""
        self._attempt = (trial, number)
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="machinable-storage", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            self._attempt = ("", 0)

    # requests

    @contextmanager
    def _line(self, attempt: tuple[str, int]) -> Iterator[_Line]:
        with self._lock:
            line = self._lines.pop() if self._lines else _Line(self._access)
        try:
            yield line
            self._has_connected = True
        except StorageUnavailable as error:
            self._lost(attempt, error.message)
            raise
        finally:
            with self._lock:
                if self._is_closed:
                    line.close()
                else:
                    self._lines.append(line)

    def _ask(
        self,
        act: str,
        path: str = "",
        *,
        data: IO[bytes] | None = None,
        is_change: bool = False,
        attempt: tuple[str, int] | None = None,
        **more: Any,
    ) -> Any:
        """Return the value of the reply to a request, after sending what was appended before."""
        if attempt is None:
            self._flush()
            attempt = self._attempt
        request = Request(act, checked(path), *attempt, has_data=data is not None, **more)
        with self._line(attempt) as line:
            reply = line.ask(request, data, is_change)
        if reply.failure is not None:
            self._raise(reply.failure, path, attempt)
        return reply.value

    def _raise(self, failure: Failure, path: str, attempt: tuple[str, int]) -> None:
        details, todo = failure.details, failure.todo
        if failure.kind == "over":
            self._lost(attempt, failure.message)
            raise StorageError(f"nothing more is stored: {failure.message}", given=path)
        if failure.kind == "name":
            raise BadName(failure.message, given=path, details=details, todo=todo)
        if failure.kind == "system" and failure.number is not None:
            raise path_error(failure.number, path)
        raise StorageUnavailable(failure.message, given=self.url, details=details, todo=todo)

    def _lost(self, attempt: tuple[str, int], reason: str) -> None:
        # Not a late one, when the trial has ended.
        if self._has_connected and attempt[0] and attempt == self._attempt:
            self._on_lost(reason)

    def _flush(self) -> None:
        for appender in list(self._waiting):
            appender.flush()

    def _run(self) -> None:
        """Send appended data soon, and ask regularly whether the attempt is still wanted."""
        next_ping = time.monotonic() + PING_INTERVAL
        pings = _Line(self._access, PING_TIMEOUT)
        while not self._is_closed:
            if self._wake.wait(max(0.0, next_ping - time.monotonic())):
                self._wake.clear()
                with suppress(Exception):  # the data stays, and the next call of the appender raises the error
                    self._flush()
                time.sleep(FLUSH_INTERVAL)
            if time.monotonic() >= next_ping:
                attempt = self._attempt
                try:
                    failure = pings.ask(Request("ping", "", *attempt)).failure
                    self._has_connected = True
                    reason = failure.message if failure is not None and failure.kind == "over" else ""
                except StorageUnavailable as error:
                    reason = error.message
                if reason:
                    self._lost(attempt, reason)
                next_ping = time.monotonic() + PING_INTERVAL
        pings.close()

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            lines, self._lines = self._lines, []
        self._wake.set()
        for line in lines:
            line.close()

    def leases(self) -> Leases:
        return ServedLeases(self)

    # files

    def read(self, path: str) -> bytes:
        return b"".join(self.pieces(path))

    def pieces(self, path: str) -> Iterator[bytes]:
        self._flush()
        attempt = self._attempt
        request = Request("read", file_path(path), *attempt)
        with self._line(attempt) as line:
            failure = yield from line.pieces(request)
        if failure is not None:
            self._raise(failure, path, attempt)

    def write(self, path: str, data: bytes) -> None:
        self._ask("write" if len(data) <= PIECE else "write_from", file_path(path), data=BytesIO(data))

    def write_from(self, path: str, file: IO[bytes]) -> None:
        self._ask("write_from", file_path(path), data=file)

    def create(self, path: str, data: bytes, owner: str) -> bool:
        return bool(self._ask("create", file_path(path), data=BytesIO(data), name=owner, is_change=True))

    def appender(self, path: str) -> Appender:
        if self.appends:
            return _ServedAppender(self, checked(path))
        return PartAppender(self, path, create=self.create)

    def create_directory(self, path: str) -> bool:
        return bool(self._ask("create_directory", path, is_change=True)) if checked(path) else False

    def exists(self, path: str) -> bool:
        return not checked(path) or bool(self._ask("exists", path))

    def is_directory(self, path: str) -> bool:
        return not checked(path) or bool(self._ask("is_directory", path))

    def entries(self, path: str) -> list[Entry]:
        return [Entry(*found) for found in self._ask("entries", path)]

    def walk(self, path: str) -> Iterator[FileInfo]:
        yield from [FileInfo(*found) for found in self._ask("walk", path)]

    def temporaries(self, path: str, *, below: bool = False) -> list[FileInfo]:
        return [FileInfo(*found) for found in self._ask("temporaries", path, flag=below)]

    def size(self, path: str) -> int:
        return int(self._ask("size", file_path(path)))

    def copy(self, path: str, to: str) -> None:
        self._ask("copy", file_path(path), to=file_path(to))

    def move(self, path: str, to: str) -> None:
        self._ask("move", checked(path, root=False), to=checked(to, root=False), is_change=True)

    def _rename(self, path: str, to: str) -> None:
        raise NotImplementedError  # `move` is one request

    def remove(self, path: str) -> None:
        self._ask("remove", checked(path, root=False), is_change=True)


class _Line:
    """A connection that is made again when it breaks. It has one request at a time."""

    def __init__(self, access: Access, timeout: float = TIMEOUT) -> None:
        self._access = access
        self._timeout = timeout
        self._name = os.urandom(NONCE)
        self._number = 0
        self._channel: Channel | None = None

    def ask(self, request: Request, data: IO[bytes] | None = None, is_change: bool = False) -> Reply:
        """Send a request, and return the reply.

        Args:
            request: The request.
            data: The data to send, from its position to its end.
            is_change: Whether the server must not carry it out twice.

        Raises:
            StorageUnavailable: The server is gone, or does not accept the token.
        """
        if is_change:
            self._number += 1
            request.number = self._number
        start = 0 if data is None else data.tell()
        patience = _Patience(self._access)
        while True:
            try:
                reply = self._exchange(request, data)
                if not reply.again:
                    return reply
            except Broken as problem:
                self.close()
                patience.wait(problem)
            if data is not None:
                data.seek(start)

    def pieces(self, request: Request) -> Generator[bytes, None, Failure | None]:
        """Send a request, yield the data of the reply, and return its failure.

        Raises:
            StorageUnavailable: As for `ask`; or the file has changed while the connection was broken.
        """
        patience = _Patience(self._access)
        size, checksum = 0, 0  # of what was yielded
        is_over = False
        try:
            while True:
                try:
                    reply = self._exchange(request, None)
                    assert self._channel is not None
                    data = Pieces(self._channel) if reply.has_data else BytesIO()
                    if reply.failure is None and _checksum(data, size) != checksum:
                        break
                    while piece := data.read(PIECE):
                        size, checksum = size + len(piece), crc32(piece, checksum)
                        yield piece
                    is_over = True
                    return reply.failure
                except (Broken, EOFError) as problem:
                    self.close()
                    patience.wait(problem)
        finally:
            if not is_over:  # the rest of the data is on its way
                self.close()
        raise StorageUnavailable(f"{request.path!r} has changed while it was read", given=self._access.url)

    def _exchange(self, request: Request, data: IO[bytes] | None) -> Reply:
        channel = self._channel or self._connect()
        if data is None:
            channel.send_header(request)
        else:
            first = data.read(PIECE)
            if len(first) < PIECE:
                channel.send_header(request, first)
            else:
                channel.send_header(request, first, is_whole=False)
                while piece := data.read(PIECE):
                    channel.send_piece(piece)
                channel.send_end()
        reply: Reply = channel.receive_header(_replies)
        return reply

    def _connect(self) -> Channel:
        access = self._access
        try:
            connection = socket.create_connection((access.host, access.port), CONNECT_TIMEOUT)
        except OSError as error:
            raise Broken(error.strerror or str(error)) from error
        channel = Channel(_not_standard(connection))
        is_known = None
        try:
            channel.set_timeout(self._timeout)
            is_known = greet(channel, access.token, self._name)
        finally:
            if not is_known:
                channel.release()
        if not is_known:
            raise StorageUnavailable(
                f"the server at {access.host}:{access.port} does not have the token of this execution",
                given=access.url,
            )
        self._channel = channel
        return channel

    def close(self) -> None:
        """Close the connection; the next request makes a new one."""
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.release()

    def abandon(self) -> None:
        """Close the connection in a forked process only."""
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.abandon()


class _Patience:
    """The time in which a connection that breaks is made again."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._began = time.monotonic()
        self._pause = 0.02

    def wait(self, problem: Exception) -> None:
        """Wait before the next attempt.

        Raises:
            StorageUnavailable: It has been tried for long enough.
        """
        limit = PATIENCE_IF_REFUSED if isinstance(problem.__cause__, ConnectionRefusedError) else PATIENCE
        if time.monotonic() - self._began > limit:
            access = self._access
            raise StorageUnavailable(
                f"the executing process, which writes to the storage {access.url}, cannot be reached at "
                f"{access.host}:{access.port}: {problem}",
                given=access.url,
                todo="Hosts of a cluster have to be able to connect to it; or use a storage that every host reaches.",
            ) from problem
        time.sleep(self._pause)
        self._pause = min(1.0, self._pause * 2)


def _checksum(data: IO[bytes] | Pieces, size: int) -> int | None:
    """Read bytes, and return their checksum; None if there are fewer."""
    checksum = 0
    while size and (piece := data.read(min(PIECE, size))):
        checksum, size = crc32(piece, checksum), size - len(piece)
    return None if size else checksum


def _not_standard(connection: socket.socket) -> socket.socket:
    """Return a connection whose descriptor is not 0, 1 or 2, which a trial may have closed for its subprocesses."""
    if connection.fileno() > 2:
        return connection
    with connection:
        return socket.socket(fileno=fcntl.fcntl(connection.fileno(), fcntl.F_DUPFD_CLOEXEC, 3))


class _ServedAppender(Appender):
    """An appender whose data is sent soon, at the latest before the next request of another kind."""

    def __init__(self, files: ServedFiles, path: str) -> None:
        self._files = files
        self._path = path
        self._attempt = files._attempt
        self._name = os.urandom(8).hex()
        self._offset = 0
        self._is_closed = False
        self._has_ended = True  # the server has nothing to close
        self._next_flush = 0.0
        self._begin()

    def _begin(self) -> None:
        self._pending = bytearray()
        self._lock = threading.Lock()
        self._sending = threading.Lock()

    def write(self, data: bytes) -> None:
        with self._lock:
            if self._is_closed:
                raise ValueError(f"{self._path} is closed")
            self._pending += data
            size = len(self._pending)
        self._files._waiting[self] = None
        now = time.monotonic()
        if size >= PIECE or now >= self._next_flush:  # so that a killed process has lost nothing if it writes slowly
            self._next_flush = now + FLUSH_INTERVAL
            self.flush()
        else:
            self._files._wake.set()

    def flush(self) -> None:
        """Send what was written. What cannot be sent stays for the next call."""
        with self._sending:
            self._files._waiting.pop(self, None)
            with self._lock:
                data = bytes(self._pending)
                ends = self._is_closed
            if not data and (self._has_ended or not ends):
                return
            try:
                self._files._ask(
                    "append",
                    self._path,
                    data=BytesIO(data),
                    attempt=self._attempt,
                    name=self._name,
                    offset=self._offset,
                    flag=ends,
                )
            except BaseException:
                self._files._waiting[self] = None
                raise
            self._has_ended = ends
            self._offset += len(data)
            with self._lock:
                del self._pending[: len(data)]

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
        self.flush()


class ServedLeases(Leases):
    """The leases of a storage behind a `FilesServer`, whose clock is used."""

    def __init__(self, files: ServedFiles) -> None:
        self._files = files

    def _request(self, act: str, path: str, facts: Mapping[str, Plain] | None = None, **more: Any) -> Any:
        more |= {"facts": dict(facts or {}), "is_change": act not in ("find", "renew")}
        # Without sending appended data first, because a heartbeat is in a hurry.
        return self._files._ask(f"{act}_lease", path, attempt=self._files._attempt, **more)

    def find(self, path: str) -> HeldLease | None:
        found = self._request("find", path)
        return None if found is None else HeldLease(*found)

    def renew(self, path: str, facts: Mapping[str, Plain]) -> bool:
        return bool(self._request("renew", path, facts))

    def remove(self, path: str, facts: Mapping[str, Plain], is_fresh: bool) -> None:
        self._request("remove", path, facts, flag=is_fresh)

    def _create(self, path: str, facts: Mapping[str, Plain]) -> bool:
        return bool(self._request("create", path, facts))

    def _replace(self, path: str, facts: Mapping[str, Plain], mark: object) -> bool:
        return bool(self._request("replace", path, facts, mark=mark))

    def _remove(self, path: str, mark: object) -> None:
        raise NotImplementedError  # `remove` is one request


_everywhere: weakref.WeakSet[ServedFiles] = weakref.WeakSet()


def _after_fork() -> None:
    for files in _everywhere:
        files._forked()


os.register_at_fork(after_in_child=_after_fork)
