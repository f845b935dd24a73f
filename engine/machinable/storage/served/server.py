"""The server of a storage: it reads and writes for workers that do not reach the storage themselves.

It accepts only clients that know its token, and only requests for an attempt of a trial that is running: an attempt
that was given up, for example because its host was cut off, writes nothing after that moment.
"""

from __future__ import annotations

import io
import os
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from msgspec import Struct
from msgspec.json import Decoder

from machinable.errors import BadName, LeaseLost, StorageError, StorageUnavailable
from machinable.storage import layout
from machinable.storage.files import Appender, Files, checked
from machinable.storage.hashing import digest
from machinable.storage.lock_backends import HeldLease, Leases, leases_in
from machinable.storage.served.messages import (
    MAX_REQUEST,
    Access,
    Broken,
    Channel,
    Failure,
    Pieces,
    Reply,
    Request,
    welcome,
)

__all__ = ["FilesServer", "mark_of"]

GREETING_TIMEOUT = 10.0  # seconds for a client to prove that it knows the token
MAX_GREETINGS = 128  # clients that are doing so at a time; others are disconnected, and try again
KEEPALIVE = (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))  # a host that is gone is noticed

_READS = frozenset({"read", "copy", "exists", "is_directory", "entries", "walk", "temporaries", "size"})


class _Over(Exception):
    """The attempt is over."""


class _Client:
    """One client: its last change with the reply, in case that the reply is lost, and its connection."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.number = 0
        self.reply = Reply()
        self.channel: Channel | None = None


class _Attempt:
    """The running attempt of a trial, what it may read and write, and what it is doing."""

    def __init__(self, number: int, reads: Iterable[str], writes: Iterable[str]) -> None:
        self.number = number
        self.writes = tuple(writes)
        self.reads = (*self.writes, *reads)
        self.busy: set[Channel] = set()
        self.appenders: dict[str, _Appended] = {}


class _Appended(Struct):
    """An appender, and the bytes that it has taken."""

    appender: Appender
    size: int = 0


class FilesServer:
    """Serve a storage until it is closed.

    Args:
        files: The storage.
        host: The address of this host to listen on.
        check: Raises an error if this process may no longer write to the storage.

    Attributes:
        access: What clients need to connect.
    """

    def __init__(self, files: Files, host: str = "127.0.0.1", check: Callable[[], None] = lambda: None) -> None:
        self._files = files
        self._leases: Leases | None = None
        self._check = check
        self._lock = threading.Condition()
        self._lease_lock = threading.Lock()
        self._attempts: dict[str, _Attempt] = {}
        self._clients: dict[bytes, _Client] = {}
        self._greetings = threading.BoundedSemaphore(MAX_GREETINGS)
        self._is_closed = False
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.create_server((host, 0), family=family, backlog=128)
        port = self._socket.getsockname()[1]
        self.access = Access(host, port, os.urandom(32), files.url, files.appends)
        threading.Thread(target=self._accept, name="machinable-server", daemon=True).start()

    def admit(self, trial: str, attempt: int, writes: Iterable[str], reads: Iterable[str] = ()) -> None:
        """Let an attempt of a trial read and write in folders, and use the data that trials share."""
        with self._lock:
            self._attempts[trial] = _Attempt(attempt, reads, writes)

    def dismiss(self, trial: str) -> None:
        """Refuse further requests of a trial, and wait for the end of those that are being carried out."""
        with self._lock:
            attempt = self._attempts.pop(trial, None)
            if attempt is None:
                return
            for channel in attempt.busy:
                channel.close()  # it may wait for data
            self._lock.wait_for(lambda: not attempt.busy)
        for appended in attempt.appenders.values():
            appended.appender.close()

    def close(self) -> None:
        """End all connections."""
        with self._lock:
            self._is_closed = True
            trials = list(self._attempts)
        for trial in trials:
            self.dismiss(trial)
        with suppress(OSError):  # macOS: it is not connected
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._socket.close()
        with self._lock:
            for client in self._clients.values():
                if client.channel is not None:
                    client.channel.close()

    # connections

    def _accept(self) -> None:
        while not self._is_closed:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                if self._is_closed:
                    return
                continue  # the client is gone again
            if not self._greetings.acquire(blocking=False):
                connection.close()
                continue
            threading.Thread(target=self._serve, args=[connection], name="machinable-server", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        channel = Channel(connection)
        try:
            try:
                channel.set_timeout(GREETING_TIMEOUT)
                name = welcome(channel, self.access.token)
            finally:
                self._greetings.release()
            if name is None:
                return
            channel.set_timeout(None)
            _keep_alive(connection)
            client = self._begin(name, channel)
            while True:
                self._answer(channel, client, channel.receive_header(_requests, MAX_REQUEST))
        except (Broken, EOFError, OSError):  # the client is gone
            pass
        finally:
            channel.release()

    def _begin(self, name: bytes, channel: Channel) -> _Client:
        with self._lock:
            if self._is_closed:
                raise Broken("the server is closed")
            client = self._clients.setdefault(name, _Client())
            if client.channel is not None:  # it is broken, and may wait for the rest of a request
                client.channel.close()
            client.channel = channel
        return client

    def _answer(self, channel: Channel, client: _Client, request: Request) -> None:
        data = Pieces(channel) if request.has_data else None
        with client.lock:  # the same request may still be carried out for the previous connection
            if request.number and request.number == client.number:
                reply: Reply | None = client.reply
            else:
                reply = self._reply(channel, request, data)
                if request.number and reply is not None and not reply.again:
                    client.number, client.reply = request.number, reply
        if data is not None:
            data.drain()  # also after a failure, as the client reads the reply only then
        if reply is not None:
            channel.send_header(reply)

    # requests

    def _reply(self, channel: Channel, request: Request, data: Pieces | None) -> Reply | None:
        """Carry out a request; return None if the reply is sent already."""
        try:
            if request.act == "ping":
                if request.trial:
                    self._admitted(request)
                return Reply()
            with self._allowed(channel, request) as attempt:
                if request.act == "read":
                    _send(channel, self._files.pieces(request.path))
                    return None
                return Reply(self._carry_out(attempt, request, data))
        except Broken:
            raise
        except EOFError as error:  # from the data
            raise Broken(str(error)) from error
        except (_Over, LeaseLost) as error:
            return Reply(failure=Failure("over", str(error)))
        except io.UnsupportedOperation:  # the storage became unwritable while the data was received
            return Reply(again=True)
        except Exception as error:
            return Reply(failure=_failure(error))

    def _admitted(self, request: Request) -> _Attempt:
        with self._lock:
            attempt = self._attempts.get(request.trial)
            if attempt is None or attempt.number != request.attempt or self._is_closed:
                raise _Over(f"attempt {request.attempt} of the trial {request.trial} is over")
        self._check()
        return attempt

    @contextmanager
    def _allowed(self, channel: Channel, request: Request) -> Iterator[_Attempt]:
        """Check a request, and note in a block that it is being carried out.

        Raises:
            _Over: It is for an attempt that is over.
            BadName: The attempt may not use the path.
        """
        attempt = self._admitted(request)
        act = request.act
        paths = [(request.path, attempt.reads if act in _READS else attempt.writes)]
        if act in ("copy", "move"):
            paths.append((request.to, attempt.writes))
        for path, folders in paths:
            is_lease = act.endswith("_lease") and layout.is_lease(path) and path.startswith(layout.BY_CONTENT)
            if not (any(_is_in(checked(path), folder) for folder in folders) or layout.is_shared(path) or is_lease):
                raise BadName(f"the trial {request.trial} has no access to {path!r}", given=path)
        with self._lock:
            if self._attempts.get(request.trial) is not attempt:
                raise _Over(f"attempt {request.attempt} of the trial {request.trial} is over")
            attempt.busy.add(channel)
        try:
            yield attempt
        finally:
            with self._lock:
                attempt.busy.discard(channel)
                self._lock.notify_all()

    def _carry_out(self, attempt: _Attempt, request: Request, data: Pieces | None) -> Any:
        files, path = self._files, request.path
        match request.act:
            case "write" if data is not None:
                return files.write(path, data.read())
            case "write_from" if data is not None:
                return files.write_from(path, data)  # type: ignore[arg-type]
            case "append" if data is not None:
                return self._append(attempt, request, data.read())
            case "create" if data is not None:
                return files.create(path, data.read(), request.name)
            case "create_directory":
                return files.create_directory(path)
            case "exists":
                return files.exists(path)
            case "is_directory":
                return files.is_directory(path)
            case "entries":
                return files.entries(path)
            case "walk":
                return list(files.walk(path))
            case "temporaries":
                return files.temporaries(path, below=request.flag)
            case "size":
                return files.size(path)
            case "copy":
                return files.copy(path, request.to)
            case "move":
                return files.move(path, request.to)
            case "remove":
                return files.remove(path)
        with self._lease_lock:  # for storages without exclusive operations
            return self._lease(request)

    def _append(self, attempt: _Attempt, request: Request, data: bytes) -> None:
        """Append data that the client numbers by its offset, so that a repeated request appends nothing twice."""
        appended = attempt.appenders.get(request.name)
        if appended is None:
            appended = attempt.appenders[request.name] = _Appended(self._files.appender(request.path))
        rest = data[max(0, appended.size - request.offset) :]
        if rest:
            appended.appender.write(rest)
            appended.size += len(rest)
        if request.flag:
            appended.appender.close()

    def _lease(self, request: Request) -> Any:
        if self._leases is None:
            self._leases = leases_in(self._files)
        leases, path, facts = self._leases, request.path, request.facts
        found = leases.find(path)
        match request.act:
            case "find_lease":
                return None if found is None else (dict(found.facts), mark_of(found), found.age)
            case "create_lease":
                return leases._create(path, facts)
            case "renew_lease":
                return leases.renew(path, facts)
            case "replace_lease":
                return found is not None and mark_of(found) == request.mark and leases._replace(path, facts, found.mark)
            case "remove_lease":
                if found is not None and found.facts.get("token") == facts.get("token"):
                    leases.remove(path, facts, request.flag)
                return None
        raise StorageError(f"the server of the storage cannot {request.act!r}")


_requests = Decoder(Request)


def _send(channel: Channel, pieces: Iterator[bytes]) -> None:
    """Send a reply with data. A failure in the middle ends the connection, as the reply has begun."""
    first, second = next(pieces, b""), next(pieces, b"")
    channel.send_header(Reply(has_data=True), first, is_whole=not second)
    if second:
        try:
            channel.send_piece(second)
            for piece in pieces:
                channel.send_piece(piece)
        except Exception as error:
            raise Broken("the data was sent in part") from error
        channel.send_end()


def mark_of(lease: HeldLease) -> str:
    """Return a text that differs after each change of a lease."""
    return digest(repr(lease.mark).encode())


def _is_in(path: str, folder: str) -> bool:
    return not folder or path == folder or path.startswith(f"{folder}/")


def _keep_alive(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEPALIVE:
        if hasattr(socket, name):  # Linux
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _failure(error: Exception) -> Failure:
    if isinstance(error, BadName):
        return Failure("name", error.message, details=list(error.details), todo=error.todo)
    if isinstance(error, StorageUnavailable):
        return Failure("storage", error.message, details=list(error.details), todo=error.todo)
    if isinstance(error, OSError) and error.errno is not None:
        return Failure("system", error.strerror or str(error), error.errno)
    return Failure("storage", f"{type(error).__name__}: {error}")
