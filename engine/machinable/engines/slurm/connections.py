"""The executing process's end of the connections to its jobs: it calls their methods, and learns when they are lost."""

from __future__ import annotations

import os
import pickle
import socket
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from machinable.engines.base import WorkerError, WorkerLost
from machinable.engines.cluster.actor import Reply
from machinable.engines.slurm.worker import Address, Welcome, keep_alive, receive
from machinable.serialization import loads
from machinable.storage.served.messages import NONCE, Broken, Channel, welcome

__all__ = ["Connections", "JobLost", "JobWorker", "reply_of"]

GREET_TIMEOUT = 10.0  # seconds for a client to prove that it knows the token


class JobLost(Exception):
    """A job has ended, or its connection; the message says how."""


class JobWorker:
    """The worker of a job. Calls wait until it has connected.

    Args:
        setup: The first message.
        reason: Returns why the job has ended when its connection has.

    Attributes:
        name: Identifies it.
        job: The job, once it is submitted.
        submitted: When, by `time.monotonic`.
        is_over: Whether it is lost, or was ended.
        is_ended: Whether its job was ended from here.
    """

    def __init__(self, setup: Welcome, reason: Callable[[JobWorker], str]) -> None:
        self.name = os.urandom(NONCE)
        self.job: Any = None
        self.submitted = 0.0
        self.is_over = False
        self.is_ended = False
        self._setup = setup
        self._reason = reason
        self._lock = threading.Lock()
        self._channel: Channel | None = None
        self._waiting: list[bytes] = []  # messages for a worker that has not connected
        self._calls: dict[int, Future[Any]] = {}
        self._count = 0
        self._problem: BaseException | None = None

    @property
    def is_connected(self) -> bool:
        """Whether it has connected."""
        return self._channel is not None

    def call(self, method: str, arguments: tuple[Any, ...]) -> Future[Any]:
        """Call a method of its actor."""
        future: Future[Any] = Future()
        with self._lock:
            problem = self._problem
            if problem is None:
                self._count += 1
                self._calls[self._count] = future
                message = pickle.dumps((self._count, method, arguments))
                if self._channel is None:
                    self._waiting.append(message)
                else:
                    with suppress(Broken):  # the thread that receives learns it as well
                        _send(self._channel, message)
        if problem is not None:
            future.set_exception(problem)
        return future

    def connected(self, channel: Channel) -> None:
        """Take its connection, and receive replies until it ends."""
        try:
            with self._lock:
                if self.is_over:
                    return
                self._channel = channel
                _send(channel, pickle.dumps(self._setup))
                for message in self._waiting:
                    _send(channel, message)
                self._waiting.clear()
            while True:
                self._take(loads(receive(channel)))
        except Broken:
            pass
        finally:
            if not self.is_over:
                self.lose(JobLost(self._reason(self)))

    def _take(self, message: Mapping[str, Any]) -> None:
        with self._lock:
            future = self._calls.pop(message["call"])
        if "lost" in message:
            future.set_exception(JobLost(message["lost"]))
        elif "error" in message:
            future.set_exception(WorkerError(message["error"]))
        else:
            future.set_result(message["value"])

    def lose(self, problem: BaseException) -> None:
        """Let all calls fail, also later ones."""
        with self._lock:
            self.is_over = True
            self._problem = problem
            calls, self._calls = list(self._calls.values()), {}
            if self._channel is not None:
                self._channel.close()
        for future in calls:
            future.set_exception(problem)


class Connections:
    """Accepts the connections of jobs at an address of this host.

    Args:
        host: The address.
    """

    def __init__(self, host: str) -> None:
        self._token = os.urandom(32)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._server = socket.create_server((host, 0), family=family, backlog=256)
        self._host, self._port = host, self._server.getsockname()[1]
        self._workers: dict[bytes, JobWorker] = {}
        threading.Thread(target=self._accept, name="machinable-slurm", daemon=True).start()

    def expect(self, worker: JobWorker) -> Address:
        """Return where a worker connects."""
        self._workers[worker.name] = worker
        return Address(self._host, self._port, self._token, worker.name)

    def forget(self, worker: JobWorker) -> None:
        """Accept no connection of a worker."""
        self._workers.pop(worker.name, None)

    def close(self) -> None:
        """Accept nothing more."""
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._server.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=[connection], name="machinable-job", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        channel = Channel(connection)
        try:
            with suppress(Broken, OSError):
                channel.set_timeout(GREET_TIMEOUT)
                name = welcome(channel, self._token)
                worker = None if name is None else self._workers.pop(name, None)
                if worker is not None:
                    channel.set_timeout(None)
                    keep_alive(connection)
                    worker.connected(channel)
        finally:
            channel.release()


def _send(channel: Channel, message: bytes) -> None:
    channel.send_piece(message)
    channel.send_end()


def reply_of(data: list[Any]) -> Reply:
    """Return the reply that a worker has sent as data."""
    number, kind, *facts = data
    if kind == "pending":
        return Reply(number, None)
    if kind == "outcome":
        return Reply(number, facts[0].encode("ascii"))
    if kind == "interrupt":
        return Reply(number, KeyboardInterrupt(facts[0]))
    if kind == "error":
        return Reply(number, WorkerError(facts[0]))
    message, code, output, offset = facts
    lost = WorkerLost(message, code)
    lost.output, lost.offset = output.encode("latin-1"), offset
    return Reply(number, lost)
