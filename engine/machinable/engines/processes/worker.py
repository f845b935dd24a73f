"""The program of a worker process, which receives trials from its parent and replies with their outcomes.

Messages are preceded by their length. Those to the worker are pickles; the replies are JSON, because the user's code
runs in the worker.
"""

from __future__ import annotations

import faulthandler
import io
import os
import pickle
import select
import signal
import struct
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from types import FrameType
from typing import BinaryIO

from msgspec.structs import asdict

from machinable.engines.base import PortableWork, Work, reports
from machinable.engines.interruption import interruption
from machinable.engines.processes.isolation import SavedProcessState
from machinable.engines.processes.output import keep_output, open_standard_streams
from machinable.plan.spec import Outcome
from machinable.serialization import Plain, dumps

__all__ = ["PRUNE", "exit_at_once", "main", "read_message", "write_message"]

GRACE = 5.0  # seconds to finish cleanly after the parent is gone

_LAST_TIMEOUT = 1.0  # seconds to tell the parent why this process ends
_LAST_LENGTH = 500  # characters, whose JSON a pipe takes at once

_LENGTH = struct.Struct(">Q")
PRUNE = b"prune:"  # begins the message that a trial ends after its iteration; others are pickles


def read_message(file: BinaryIO) -> bytes | None:
    """Return the next message; None if the other side has exited, even in the middle of a message."""
    head = file.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    body = file.read(length)
    return body if len(body) == length else None


def write_message(file: int, body: bytes) -> None:
    """Write a message whole.

    Raises:
        BrokenPipeError: The other side has exited.
    """
    data = memoryview(_LENGTH.pack(len(body)) + body)
    while data:
        data = data[os.write(file, data[: 2**30]) :]


def main(
    parent: int, grace: float = GRACE, left_out: Sequence[int] = (), iteration: float = interruption.grace
) -> None:
    """Run trials until the parent closes the pipe; do not return.

    Args:
        parent: Process id of the parent.
        grace: Seconds to finish cleanly after the parent is gone.
        left_out: Signals that are left to the parent.
        iteration: Seconds that an iteration has when it is interrupted.
    """
    interruption.grace = iteration
    for number in left_out:
        signal.signal(number, partial(_leave_out, os.getpid()))
    # Without read-ahead, so that waiting messages remain visible to `poll`.
    commands = io.BufferedReader(os.fdopen(os.dup(0), "rb", buffering=0), buffer_size=1)
    replies = os.dup(1)
    keep_output(2)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):  # trials get their own output, and no input
        os.dup2(nowhere, standard)
    os.close(nowhere)
    open_standard_streams()
    faulthandler.enable(2)  # writes where native code crashed into the trial's output
    worker = _Worker.current = _Worker(replies, parent)
    reports.send = worker.report
    reports.pruned = partial(worker.pruned, commands)
    signal.signal(signal.SIGINT, worker.on_interrupt)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])  # the thread that started this process may block signals
    saved = SavedProcessState.current = SavedProcessState()
    watching = [commands.fileno(), parent, grace]
    threading.Thread(target=worker.watch, args=watching, name="machinable-parent", daemon=True).start()
    try:
        worker.send(dumps({"ready": True}))
        while (message := read_message(commands)) is not None:
            if message.startswith(PRUNE):
                worker.take_prune(message)
                continue
            reply = worker.reply(message)
            worker.end_trial()
            if reply is None:
                break
            worker.send(reply)
            saved.restore()  # while the parent looks for the next trial
    except BrokenPipeError:
        pass  # the parent is gone
    _leave()


def _leave_out(process: int, number: int, frame: FrameType | None) -> None:
    """Do nothing in this process; in a forked one, do what the signal does by default."""
    if os.getpid() != process:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


def _leave() -> None:
    """Exit normally, but without waiting for threads that a trial has left behind."""
    import atexit

    try:
        atexit._run_exitfuncs()
    finally:
        os._exit(0)


class _Worker:
    current: _Worker | None = None  # that of this process

    def __init__(self, replies: int, parent: int) -> None:
        self._replies = replies
        self._parent = parent
        self._sending = threading.Lock()
        self._work: Work | None = None
        self._is_running = False
        self._count = 0  # of the trials that have ended
        self._because = ""  # why the running or next trial is pruned

    def send(self, message: str) -> None:
        """Send a message to the parent; threads of a trial may also call this."""
        with self._sending:
            write_message(self._replies, message.encode("ascii"))

    def report(self, uid: str, i: int | dict[str, Plain], total: int | None) -> None:
        """Send progress of a trial."""
        with suppress(BrokenPipeError):  # the parent is gone, and `watch` is about to interrupt the trial
            self.send(dumps({"progress": [uid, i, total]}))

    def pruned(self, commands: BinaryIO, uid: str) -> str:
        """Return why the running trial ends between two iterations; "" if it does not."""
        poll = select.poll()
        poll.register(commands.fileno(), select.POLLIN)
        while poll.poll(0):  # the next trial comes only after this one has ended
            message = read_message(commands)
            if message is None:
                break  # the parent is gone, and `watch` is about to interrupt the trial
            self.take_prune(message)
        return self._because

    def take_prune(self, message: bytes) -> None:
        """Remember why a trial is pruned, if it has not ended; the message may come before the trial."""
        number, _, because = message.removeprefix(PRUNE).decode().partition(":")
        if int(number) == self._count:
            self._because = because

    def end_trial(self) -> None:
        """Count a trial that has ended, also where an interrupt has come just then."""
        self._is_running = False
        self._count += 1
        self._because = ""

    def send_last(self, reason: str) -> None:
        """Tell the parent why this process ends itself, unless it does not listen."""
        poll = select.poll()
        poll.register(self._replies, select.POLLOUT)
        # The lock is not released: a thread could send something afterwards.
        if self._sending.acquire(timeout=_LAST_TIMEOUT) and poll.poll(_LAST_TIMEOUT * 1000):
            with suppress(OSError):
                write_message(self._replies, dumps({"leaving": reason[:_LAST_LENGTH]}).encode("ascii"))

    def on_interrupt(self, number: int, frame: FrameType | None) -> None:
        if self._is_running:  # a late one has nothing to interrupt
            interruption.receive(number, KeyboardInterrupt())

    def reply(self, message: bytes) -> str | None:
        """Return the outcome of a trial as JSON; None if the parent was killed and another process runs it."""
        outcome: str | None = dumps({"interrupted": True})
        try:
            self._is_running = True
            try:
                outcome = self._run(message)
            finally:
                self._is_running = False
        except KeyboardInterrupt:
            pass
        except BaseException as error:
            return dumps({"error": _described(error)})
        return outcome

    def _run(self, message: bytes) -> str | None:
        work, spec = pickle.loads(message)  # noqa: S301  # made by the parent
        if work is not None:
            self._work = pickle.loads(work)  # noqa: S301
            if isinstance(self._work, PortableWork):
                self._work.begin()
        assert self._work is not None
        # Only after `begin`: those who resume an execution whose process was killed either see the marker of this
        # worker and wait for its end, or this worker sees here that the process was killed.
        if os.getppid() != self._parent:
            return None
        outcome = self._work(pickle.loads(spec))  # noqa: S301
        if not isinstance(outcome, Outcome):
            raise TypeError(f"the work on a trial returned {outcome!r} instead of an Outcome")
        return dumps({"outcome": asdict(outcome)})

    def watch(self, commands: int, parent: int, grace: float) -> None:
        """Exit after the parent was killed."""
        poll = select.poll()
        poll.register(commands, 0)
        while os.getppid() == parent:
            if poll.poll(1000):  # the writing end is closed; without that, another process may hold it
                time.sleep(0.01)  # the parent is about to exit, or has released this process
        if grace:
            main_thread = threading.main_thread().ident
            assert main_thread is not None
            signal.pthread_kill(main_thread, signal.SIGINT)
        time.sleep(grace)
        exit_at_once()


def exit_at_once(reason: str = "") -> None:
    """End this worker process, and the processes that its trial has started, without finishing anything.

    The parent reports the reason, if one is given.
    """
    if reason and _Worker.current is not None:
        _Worker.current.send_last(reason)
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _described(error: BaseException) -> str:
    import traceback

    try:
        return "".join(traceback.format_exception(error)).rstrip()
    except BaseException as broken:  # its __str__ may raise anything
        return f"{type(error).__name__}: <no message: {type(broken).__name__}>"
