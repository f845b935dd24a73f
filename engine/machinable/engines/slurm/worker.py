"""The program of a job: it connects to the executing process, which sends it trials, and ends with that connection."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import threading
from contextlib import suppress
from typing import Any, NamedTuple

from machinable.engines.cluster.actor import Reply, TrialActor, version_here
from machinable.serialization import dumps
from machinable.storage.served.messages import Broken, Channel, greet

__all__ = ["Address", "Welcome", "keep_alive", "receive", "work"]

CONNECT_TIMEOUT = 30.0  # seconds
KEEPALIVE = ((socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))  # a host that is cut off is lost after 30 s more
END_TIMEOUT = 60.0  # seconds for a trial to end after the signal that announces the end of the job
ENDING = (signal.SIGTERM, signal.SIGUSR2, signal.SIGINT)


class Address(NamedTuple):
    """What a job needs to connect; it is stored in a file that only its user can read."""

    host: str
    port: int
    token: bytes
    name: bytes  # of the worker

    def __repr__(self) -> str:  # without the token
        return f"<Address {self.host}:{self.port}>"


class Welcome(NamedTuple):
    """The first message to a worker: the version of machinable, the setup, and the archive of the project."""

    version: str
    setup: bytes
    code: bytes | None


def keep_alive(connection: socket.socket) -> None:
    """Let a connection to a host that no longer answers break."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    idle = getattr(socket, "TCP_KEEPIDLE", None)  # not on macOS
    for option, seconds in (*(((idle, 30),) if idle else ()), *KEEPALIVE):
        connection.setsockopt(socket.IPPROTO_TCP, option, seconds)


def work(address: Address) -> None:
    """Run trials until the connection ends."""
    connection = socket.create_connection((address.host, address.port), CONNECT_TIMEOUT)
    keep_alive(connection)
    channel = Channel(connection)
    if not greet(channel, address.token, address.name):
        return
    channel.set_timeout(None)
    worker = _Worker(channel)
    for number in ENDING:
        signal.signal(number, worker.on_signal)
    threading.Thread(target=worker.listen, name="machinable-calls", daemon=True).start()
    while not worker.is_over.wait(1.0):  # in short steps, so that signals are handled
        pass
    worker.close()
    os._exit(0)  # without waiting for threads that serve calls


class _Worker:
    """Serves calls, each in a thread."""

    def __init__(self, channel: Channel) -> None:
        self.is_over = threading.Event()
        self._channel = channel
        self._sending = threading.Lock()
        self._actor: TrialActor | None = None
        self._problem = ""
        self._ending = ""  # why the job is about to end

    def listen(self) -> None:
        """Serve calls until the connection ends."""
        with suppress(Broken):
            welcome: Welcome = pickle.loads(receive(self._channel))  # noqa: S301  # the other side has proved itself
            try:
                if welcome.version != version_here():
                    raise RuntimeError(f"machinable {version_here()} is installed there, and {welcome.version} here")
                self._actor = TrialActor(pickle.loads(welcome.setup), welcome.code)  # noqa: S301
            except Exception as error:  # whatever it is, the user learns why
                self._problem = str(error) if type(error) is RuntimeError else f"{type(error).__name__}: {error}"
            if self._ending and self._actor is not None:  # the signal came before there was an actor
                self._actor.leave()
            while True:
                call = pickle.loads(receive(self._channel))  # noqa: S301
                threading.Thread(target=self._serve, args=call, daemon=True).start()
        self.is_over.set()

    def on_signal(self, number: int, frame: Any) -> None:
        """Interrupt the trial, which may save a checkpoint, because the job is about to end."""
        if not self._ending:
            self._ending = f"the job was ended by {signal.Signals(number).name}"
            threading.Thread(target=self._leave, daemon=True).start()

    def _leave(self) -> None:
        if self._actor is not None:
            self._actor.leave()
        if not self.is_over.wait(END_TIMEOUT):
            self.is_over.set()

    def _serve(self, number: int, method: str, arguments: tuple[Any, ...]) -> None:
        try:
            value: Any = self._prepared(*arguments) if method == "prepare" else self._called(method, arguments)
            if method == "exchange":
                reports, replies = value
                value = [reports, [_as_data(reply) for reply in replies]]
            message = {"call": number, "value": value}
        except Exception as error:
            message = {"call": number, "error": f"{type(error).__name__}: {error}"}
        if self._ending and method == "exchange":  # a trial that has finished nevertheless has stored that
            if self._actor is not None:
                self._actor.settle()  # afterwards, another job continues the trial from its checkpoint
            message = {"call": number, "lost": self._ending}
        with suppress(Broken):
            self._send(message)

    def _called(self, method: str, arguments: tuple[Any, ...]) -> Any:
        return getattr(self._actor, method)(*arguments)

    def _prepared(self, work: bytes) -> tuple[str, str]:
        if self._actor is not None:
            try:
                self._actor.prepare(work)
            except Exception as error:
                self._problem = f"{type(error).__name__}: {error}"
        return os.uname().nodename, self._problem

    def _send(self, message: dict[str, Any]) -> None:
        data = dumps(message).encode("ascii")
        with self._sending:
            self._channel.send_piece(data)
            self._channel.send_end()

    def close(self) -> None:
        """End the worker process, and remove all files."""
        if self._actor is not None:
            self._actor.close()


def receive(channel: Channel) -> bytes:
    """Return the next message, which is sent in pieces."""
    found = bytearray()
    while piece := channel.receive_piece():
        found += piece
    return bytes(found)


def _as_data(reply: Reply) -> list[Any]:
    """Return a reply as data: its number, its kind, and what it has."""
    result = reply.result
    if result is None:
        return [reply.number, "pending"]
    if isinstance(result, bytes):
        return [reply.number, "outcome", result.decode("ascii")]
    if isinstance(result, KeyboardInterrupt):
        return [reply.number, "interrupt", str(result)]
    code = getattr(result, "code", None)
    output = getattr(result, "output", b"").decode("latin-1")
    kind = "lost" if hasattr(result, "again") else "error"
    return [reply.number, kind, str(result), code, output, getattr(result, "offset", 0)]
