"""The messages between the server of a storage and its clients.

A message is a header of JSON and, if the header says so, data in pieces: each is preceded by its length, and an empty
one ends them. A connection that breaks before that end has sent nothing.

At the beginning both sides prove that they know the token, which is not sent: each signs what the other has chosen.
"""

from __future__ import annotations

import hmac
import io
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Literal

from msgspec import DecodeError, Struct
from msgspec.json import Decoder, encode

__all__ = ["Access", "Broken", "Channel", "Failure", "Pieces", "Reply", "Request", "greet", "welcome"]

PIECE = 2**20  # bytes
SMALL = 2**16  # bytes that are sent together with their header
MAX_REQUEST = 2**20  # bytes of the header of a request
NONCE, SIGNATURE = 16, 32  # bytes
_LENGTH = struct.Struct(">I")


class Access(Struct, frozen=True):
    """What a client needs to connect.

    Attributes:
        host: The address of the server.
        port: Its port.
        token: The secret of the execution.
        url: The storage, as it is named in messages.
        appends: Whether its files can grow.
    """

    host: str
    port: int
    token: bytes
    url: str
    appends: bool

    def __repr__(self) -> str:  # without the token
        return f"<Access {self.host}:{self.port}>"


class Request(Struct, omit_defaults=True, forbid_unknown_fields=True):
    """A request.

    Attributes:
        act: What to do.
        path: The path in the storage.
        trial: The trial that asks.
        attempt: Its attempt.
        number: Numbers the changes of one client, so that a repeated one is not made again; 0 for others.
        to: The new path, for `move`.
        name: The owner of a new file, or the appender.
        offset: The number of bytes that the appender has appended before.
        flag: Whether the appender is closed, directories below count, or the last heartbeat is recent.
        facts: Those of a lease.
        mark: That of a lease.
        has_data: Whether data follows.
    """

    act: str
    path: str = ""
    trial: str = ""
    attempt: int = 0
    number: int = 0
    to: str = ""
    name: str = ""
    offset: int = 0
    flag: bool = False
    facts: dict[str, Any] = {}
    mark: str = ""
    has_data: bool = False


class Failure(Struct, omit_defaults=True):
    """An error of the server.

    Attributes:
        kind: Which one: of the operating system, an invalid name, a storage that cannot be used, or a request for an
            attempt that is over.
        message: Its text.
        number: That of the operating system.
        details: See `MachinableError`.
        todo: See `MachinableError`.
    """

    kind: Literal["system", "name", "storage", "over"]
    message: str
    number: int | None = None
    details: list[str] = []
    todo: str | None = None


class Reply(Struct, omit_defaults=True):
    """The reply to a request: a value or a failure; `again` asks to repeat the request with its data."""

    value: Any = None
    failure: Failure | None = None
    again: bool = False
    has_data: bool = False


class Broken(Exception):
    """The connection is broken."""


@contextmanager
def _network() -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:  # a closed file is a ValueError
        raise Broken(str(error) or type(error).__name__) from error


class Channel:
    """One end of a connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._file = connection.makefile("rb", buffering=SMALL)

    def set_timeout(self, seconds: float | None) -> None:
        """Limit the time without any progress while data is sent or received, and send small messages at once."""
        with _network():
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.settimeout(seconds)

    def receive(self, size: int) -> bytes:
        """Return exactly so many bytes."""
        with _network():
            data: bytes = self._file.read(size)
        if len(data) < size:
            raise Broken("the connection was closed")
        return data

    def send(self, *parts: bytes | memoryview) -> None:
        """Send bytes."""
        with _network():
            self._socket.sendall(parts[0] if len(parts) == 1 else b"".join(parts))

    def send_header(self, header: Request | Reply, data: bytes | memoryview = b"", *, is_whole: bool = True) -> None:
        """Send a header and, if it says so, data: all of it, or else its first piece."""
        text = encode(header)
        parts: list[bytes | memoryview] = [_LENGTH.pack(len(text)), text]
        if not header.has_data:
            self.send(*parts)
        elif len(data) <= SMALL:
            if data:
                parts += [_LENGTH.pack(len(data)), data]
            self.send(*parts, *([_LENGTH.pack(0)] if is_whole else ()))
        else:
            self.send(*parts)
            self.send_piece(data)
            if is_whole:
                self.send_end()

    def send_piece(self, data: bytes | memoryview) -> None:
        """Send the next part of the data."""
        view = memoryview(data)
        for start in range(0, len(view), PIECE):
            piece = view[start : start + PIECE]
            self.send(_LENGTH.pack(len(piece)))
            self.send(piece)

    def send_end(self) -> None:
        """Send the end of the data."""
        self.send(_LENGTH.pack(0))

    def receive_header(self, decoder: Decoder[Any], limit: int | None = None) -> Any:
        """Return a header.

        Raises:
            Broken: The connection ends, or the other side sends something else.
        """
        (size,) = _LENGTH.unpack(self.receive(_LENGTH.size))
        if limit is not None and size > limit:
            raise Broken("the header is too long")
        try:
            return decoder.decode(self.receive(size))
        except DecodeError as error:
            raise Broken(f"the header cannot be read: {error}") from error

    def receive_piece(self) -> bytes:
        """Return the next part of the data, b"" at its end."""
        (size,) = _LENGTH.unpack(self.receive(_LENGTH.size))
        if size > PIECE:
            raise Broken("a piece is too long")
        return self.receive(size) if size else b""

    def close(self) -> None:
        """Close the connection, also while another thread waits for it."""
        with suppress(OSError):  # it is closed already
            self._socket.shutdown(socket.SHUT_RDWR)

    def release(self) -> None:
        """Close the connection, and free what it occupies; no other thread may be using it."""
        self.close()
        self.abandon()

    def abandon(self) -> None:
        """Close the descriptor, but not the connection, which belongs to the process that this one was forked from."""
        self._file.close()
        self._socket.close()


class Pieces(io.RawIOBase):
    """The data of a message as a file that is read once.

    Reading raises an EOFError if the connection ends before the data does.
    """

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self._channel = channel
        self._rest = memoryview(b"")
        self._position = 0
        self._is_over = False

    def read(self, size: int | None = -1) -> bytes:
        """Return the next bytes, fewer than `size` only at the end."""
        wanted = -1 if size is None else size
        if wanted < 0 or wanted > PIECE:
            found = bytearray()
            while (wanted < 0 or len(found) < wanted) and (piece := self._next(wanted - len(found))):
                found += piece
            return bytes(found)
        first = self._next(wanted)
        while first and len(first) < wanted and (more := self._next(wanted - len(first))):
            first = first + more
        return first

    def _next(self, size: int) -> bytes:
        if not self._rest and not self._is_over:
            try:
                self._rest = memoryview(self._channel.receive_piece())
            except Broken as error:  # not an OSError, which would look like one of the storage that is written
                raise EOFError(str(error)) from error
            self._is_over = not self._rest
        piece = bytes(self._rest if size < 0 else self._rest[:size])
        self._rest = self._rest[len(piece) :]
        self._position += len(piece)
        return piece

    def tell(self) -> int:
        """Return the number of bytes that were read."""
        return self._position

    def seek(self, offset: int, origin: int = 0) -> int:
        """Stay at the position; every other one is gone."""
        if (offset, origin) != (self._position, 0):
            raise io.UnsupportedOperation("the data was received, and is read once")
        return offset

    def seekable(self) -> bool:
        """Return False."""
        return False

    def readable(self) -> bool:
        """Return True."""
        return True

    def drain(self) -> None:
        """Read the rest."""
        while self._next(PIECE):
            pass


def _signature(token: bytes, side: bytes, nonces: bytes) -> bytes:
    return hmac.digest(token, side + nonces, "sha256")


def welcome(channel: Channel, token: bytes) -> bytes | None:
    """Begin a connection as the server; return the name that the client has chosen, or None without the token."""
    nonce = os.urandom(NONCE)
    channel.send(nonce)
    name = channel.receive(NONCE)
    is_known = hmac.compare_digest(channel.receive(SIGNATURE), _signature(token, b"client", nonce + name))
    channel.send(_signature(token, b"server", nonce + name) if is_known else bytes(SIGNATURE))
    return name if is_known else None


def greet(channel: Channel, token: bytes, name: bytes) -> bool:
    """Begin a connection as a client with a name; return whether the server has the same token."""
    nonce = channel.receive(NONCE)
    channel.send(name, _signature(token, b"client", nonce + name))
    return hmac.compare_digest(channel.receive(SIGNATURE), _signature(token, b"server", nonce + name))
