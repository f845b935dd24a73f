"""Run several trials at a time on this host, in worker processes that are reused."""

from __future__ import annotations

import io
import os
import pickle
import select
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from typing import Any, BinaryIO, NamedTuple, TypeAlias

from machinable.engines.base import Engine, Reach, Work, WorkerError, WorkerLost
from machinable.engines.devices import device_variables
from machinable.engines.interruption import GRACE as ITERATION
from machinable.engines.processes.output import READY
from machinable.engines.processes.threads import VARIABLES
from machinable.engines.processes.worker import GRACE, PRUNE, read_message, write_message
from machinable.errors import InvalidType, InvalidValue
from machinable.plan.spec import Outcome, TrialSpec
from machinable.serialization import loads
from machinable.storage.process_info import cores

__all__ = ["Origin", "ProcessesEngine", "read_outcome"]

SHUTDOWN_TIMEOUT = 2.0  # seconds for an idle worker to end
MAX_OUTPUT = 2**24  # bytes of the output of a lost worker that are kept
SHORT = 0.2  # seconds below which a worker gets its next trial before it has finished the current one


class ProcessesEngine(Engine):
    """Run trials in worker processes that are reused.

    Workers are new interpreters: they share no threads, GPU state or locks with this process, and scripts need no
    `if __name__ == "__main__"`.

    Args:
        slots: The largest number of workers; default: the number of cores that this process may use.
        recycle: The number of trials after which a worker is replaced; default: never.

    Raises:
        InvalidType: One of them is not a whole number.
        InvalidValue: One of them is less than 1.
    """

    name = "processes"
    reach: Reach = "host"
    tells_progress = True
    queues = True

    def __init__(self, slots: int | str | None = None, recycle: int | None = None) -> None:
        self.slots = cores() if slots is None else _count("slots", slots)
        self.recycle = None if recycle is None else _count("recycle", recycle)
        self.origin: Origin | None = None  # in place of that of this process
        self._lock = threading.RLock()
        self._workers: list[_Worker] = []
        self._idle: list[_Worker] = []
        self._leaving: list[_Worker] = []  # they get no further trial, and have not ended yet
        self._queue: deque[_Job] = deque()
        self._pruned: dict[Future[Any], str] = {}  # why waiting trials are pruned
        self._seconds = SHORT  # of the trial that ended last
        self._work: Work | None = None
        self._pickled_work = b""

    @property
    def prefetch(self) -> int:
        """The number of trials that may wait for a worker: one per worker while trials are short, otherwise none."""
        return self.slots if self._seconds < SHORT else 0

    def submit(self, work: Work, spec: TrialSpec) -> Future[Outcome]:
        """Start a trial, or let it wait for a worker."""
        try:
            if work is not self._work:
                self._pickled_work, self._work = pickle.dumps(work), work
            return self.pass_on(
                self._pickled_work, pickle.dumps(spec), spec.definition.threads, read_outcome, spec.devices
            )
        except Exception as error:
            future: Future[Outcome] = Future()
            future.set_exception(error)
            return future

    def pass_on(
        self,
        work: bytes,
        spec: bytes,
        threads: int,
        read: Callable[[bytes], Any] = bytes,
        devices: tuple[str, ...] = (),
    ) -> Future[Any]:
        """Start a trial whose work and specification are pickled.

        Args:
            work: The work.
            spec: The specification of the trial.
            threads: The number of threads of the trial.
            read: Converts the reply of the worker to the result of the future; `read_outcome` returns an outcome.
            devices: The GPUs of the trial; none leaves the environment as it is.

        Returns:
            The future of the result.
        """
        job = _Job(Future(), work, spec, (threads, devices), read)
        with self._lock:
            self._queue.append(job)
        self._dispatch()
        return job.future

    def interrupt(self) -> None:
        """Raise `KeyboardInterrupt` in all running trials; waiting ones do not begin."""
        with self._lock:
            waiting = self.withdraw()
            for worker in self._workers:
                worker.interrupt()
        for future in waiting:
            future.set_exception(KeyboardInterrupt())

    def prune(self, future: Future[Any], because: str) -> None:
        """Let a trial end after its current iteration."""
        with self._lock:
            self._pruned = {one.future: self._pruned[one.future] for one in self._queue if one.future in self._pruned}
            if any(one.future is future for one in self._queue):
                self._pruned[future] = because
            running = [one for one in self._workers if one.job is not None and one.job.future is future]
            numbers = [one.count for one in running]
        for worker, number in zip(running, numbers, strict=True):
            worker.prune(number, because)

    def end(self, future: Future[Any]) -> None:
        """End a trial by killing its worker and all processes that it has started; afterwards the future is done."""
        with self._lock:
            waiting = [job for job in self._queue if job.future is future]
            for job in waiting:
                self._queue.remove(job)
            for worker in self._workers:
                if worker.job is not None and worker.job.future is future:
                    worker.end("its trial was ended")
        if waiting:
            future.set_exception(WorkerLost("the trial was ended before it began"))
        wait([future])

    def began(self, future: Future[Any]) -> float | None:
        """Return when a worker that was ready got a trial: its start takes time, most of all on a busy host."""
        with self._lock:
            for worker in self._workers:
                if worker.job is not None and worker.job.future is future and worker.ready is not None:
                    return max(worker.ready, worker.sent)
        return None

    def withdraw(self) -> list[Future[Any]]:
        """Take back the trials that wait for a worker; their futures stay as they are."""
        with self._lock:
            waiting, self._queue = list(self._queue), deque()
        return [job.future for job in waiting]

    def close(self) -> None:
        """End all workers and lose their trials. A later `submit` starts new workers."""
        with self._lock:
            waiting = self.withdraw()
            workers, self._idle = list(self._workers), []
            for worker in workers:
                if worker.job is None:
                    worker.release()
                else:
                    worker.end("the engine was closed")
        for future in waiting:
            future.set_exception(WorkerLost("the engine was closed before the trial began"))
        until = time.monotonic() + SHUTDOWN_TIMEOUT
        for worker in [*workers, *self._leaving]:
            worker.join(until)

    def _dispatch(self) -> None:
        """Give waiting trials to idle workers."""
        while True:
            with self._lock:
                worker, problem = None, None
                if self._queue:
                    try:
                        worker = self._worker_for(self._queue[0].has)
                    except OSError as error:
                        problem = WorkerLost(f"no worker process could be started: {error}")
                if worker is None and problem is None:
                    return
                job = self._queue.popleft()
                if worker is not None:
                    if not job.future.set_running_or_notify_cancel():
                        self._idle.append(worker)
                        continue
                    worker.job, worker.is_interrupted = job, False
                    number, because = worker.count, self._pruned.pop(job.future, "")
            if worker is None:
                job.future.set_exception(problem)
            else:
                worker.send(job)
                if because:
                    worker.prune(number, because)

    def _worker_for(self, has: _Has) -> _Worker | None:
        """Return an idle or new worker with these threads and devices; None if all slots are taken.

        A process that has used a GPU cannot change to another one.
        """
        for worker in self._idle:
            if worker.has == has:
                self._idle.remove(worker)
                return worker
        if len(self._workers) >= self.slots:
            if not self._idle:
                return None
            self._retire(self._idle.pop())
        for worker in [one for one in self._idle if not set(one.has[1]).isdisjoint(has[1])]:
            self._retire(worker)  # it may still hold memory of the device
        worker = _Worker(has, self.origin or Origin.here(), self)
        self._workers.append(worker)
        return worker

    def _retire(self, worker: _Worker) -> None:
        worker.release()
        self._workers.remove(worker)
        self._leaving.append(worker)

    def take_reply(self, worker: _Worker, reply: bytes) -> None:
        """Handle a message of a worker, which has ended its trial or reports progress."""
        if reply.startswith(_PROGRESS):
            if self.on_progress is not None:
                self.on_progress(*loads(reply)["progress"])
            return
        if reply.startswith(_LEAVING):
            worker.leaving = f"it has ended itself: {loads(reply)['leaving']}"
            return
        with self._lock:
            job, worker.job = worker.job, None
            worker.count += 1
            if worker.reason:
                pass  # it is being killed
            elif worker.count == self.recycle:
                self._retire(worker)
            else:
                self._idle.append(worker)
        assert job is not None
        # The next trial first, so that callbacks of this one do not delay it.
        self._dispatch()
        if reply.startswith(_OUTCOME):
            try:
                outcome = job.read(reply)
            except Exception as error:
                job.future.set_exception(error)
            else:
                self._seconds = outcome.seconds if isinstance(outcome, Outcome) else SHORT
                job.future.set_result(outcome)
        elif reply.startswith(_ERROR):
            job.future.set_exception(WorkerError(loads(reply)["error"]))
        else:
            job.future.set_exception(KeyboardInterrupt())

    def forget(self, worker: _Worker, how: str, code: int | None) -> None:
        """Handle the end of a worker process."""
        with self._lock:
            job, worker.job = worker.job, None
            for workers in (self._workers, self._idle, self._leaving):
                if worker in workers:
                    workers.remove(worker)
        self._dispatch()
        if job is not None:
            lost = WorkerLost(how, code)
            lost.output, lost.offset = worker.output, worker.offset
            job.future.set_exception(KeyboardInterrupt(how) if worker.is_interrupted else lost)


_OUTCOME, _ERROR, _PROGRESS, _INTERRUPTED, _LEAVING, _READY = _KINDS = tuple(
    f'{{"{kind}": '.encode("ascii") for kind in ("outcome", "error", "progress", "interrupted", "leaving", "ready")
)


def read_outcome(reply: bytes) -> Outcome:
    """Return the outcome that a worker has sent."""
    return Outcome(**loads(reply)["outcome"])


class Origin(NamedTuple):
    """What workers take over from the process that starts them.

    Attributes:
        path: The import path.
        arguments: Its command line.
        flags: The options of its interpreter.
        grace: Seconds for workers to finish cleanly after their parent was killed.
        iteration: Seconds that an iteration has when it is interrupted.
        left_out: Signals that workers leave to their parent, which gets them too; processes that a trial forks do not.
    """

    path: Sequence[str]
    arguments: Sequence[str]
    flags: Sequence[str]
    grace: float = GRACE
    left_out: Sequence[int] = ()
    iteration: float = ITERATION

    @classmethod
    def here(cls) -> Origin:
        """Return the origin of workers of this process."""
        flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
        path = []
        for directory in sys.path:
            with suppress(FileNotFoundError):  # the working directory was removed
                path.append(os.path.abspath(directory))
        return cls(path, sys.argv, flags)


_Has: TypeAlias = tuple[int, tuple[str, ...]]  # the number of threads of a worker, and its devices


class _Job(NamedTuple):
    """A trial that has not ended, with pickled work and specification."""

    future: Future[Any]
    work: bytes
    spec: bytes
    has: _Has
    read: Callable[[bytes], Any]


class _Worker:
    """One worker process, and the thread of this process that listens to it.

    Args:
        has: The number of threads of the worker, and its devices.
        origin: The settings that the worker takes over.
        engine: Receives its messages and, when the process has ended, how it ended.
    """

    def __init__(self, has: _Has, origin: Origin, engine: ProcessesEngine) -> None:
        self.has = has
        self.job: _Job | None = None
        self.count = 0
        self.is_interrupted = False
        self.ready: float | None = None  # since when, by `time.monotonic`
        self.sent = 0.0  # when it got its trial
        self.reason = ""
        self.leaving = ""  # why it has ended itself
        self.output, self.offset = b"", 0  # see `WorkerLost`
        self._is_released = False
        self._work = b""
        self._stderr = _scratch()
        try:
            self._process = _start(has, self._stderr, origin)
        except BaseException:
            self._stderr.close()
            raise
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._commands = self._process.stdin
        # Without read-ahead, so that waiting messages remain visible to `poll`.
        self._replies = io.BufferedReader(self._process.stdout, buffer_size=1)  # type: ignore[type-var]
        self._sending = threading.Lock()
        self._ending = threading.Lock()
        name = f"machinable-worker-{self._process.pid}"
        self._thread = threading.Thread(target=self._listen, args=[engine], name=name, daemon=True)
        self._thread.start()

    def send(self, job: _Job) -> None:
        """Send a trial. If the process has ended, the listening thread reports that."""
        work, self._work = (None if job.work is self._work else job.work), job.work
        message = pickle.dumps((work, job.spec))
        self.sent = time.monotonic()
        with self._sending, suppress(OSError, ValueError):
            write_message(self._commands.fileno(), message)

    def prune(self, number: int, because: str) -> None:
        """Let the trial with this number end after its current iteration; the worker ignores it for others."""
        with self._sending, suppress(OSError, ValueError):
            write_message(self._commands.fileno(), PRUNE + f"{number}:{because}".encode())

    def interrupt(self) -> None:
        """Raise `KeyboardInterrupt` in the running trial, if any."""
        with self._ending:
            if self.job is not None and self._process.returncode is None:
                self.is_interrupted = True
                os.kill(self._process.pid, signal.SIGINT)

    def end(self, reason: str) -> None:
        """Kill the worker and all processes that its trial has started."""
        with self._ending:
            self.reason = reason
            self._kill()

    def release(self) -> None:
        """Let the idle worker exit."""
        self._is_released = True
        with self._sending:
            self._commands.close()

    def join(self, until: float) -> None:
        """Wait until a time for the worker to exit, then kill it."""
        if self._thread is threading.current_thread():
            return
        self._thread.join(max(0.0, until - time.monotonic()))
        if self._thread.is_alive():
            self.end("it did not end by itself")
            self._thread.join()

    def _kill(self) -> None:
        if self._process.returncode is not None:
            return  # another process may have its id now
        with suppress(ProcessLookupError, PermissionError):  # only zombies are left of the group
            os.killpg(self._process.pid, signal.SIGKILL)

    def _listen(self, engine: ProcessesEngine) -> None:
        while (reply := self._next_reply()) is not None:
            if reply.startswith(_READY):
                self.ready = time.monotonic()
            else:
                engine.take_reply(self, reply)
        engine.forget(self, *self._reap())

    def _next_reply(self) -> bytes | None:
        """Return the next message of the worker; None if it has exited."""
        poll = select.poll()
        poll.register(self._replies.fileno(), select.POLLIN)
        while not poll.poll(1000):
            if self._has_exited():  # a process that it has forked holds the pipe open
                return None
        body = read_message(self._replies)
        if body is None or not body.startswith(_KINDS):
            return None  # something else has written to the pipe, so messages can no longer be separated
        return body

    def _has_exited(self) -> bool:
        """Return whether the process has ended; it stays a zombie, so that its id is not reused."""
        if self._process.returncode is None and hasattr(os, "waitid"):  # macOS has it from Python 3.13 on
            with suppress(ChildProcessError):  # other code has waited for it
                return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None
        return self._process.poll() is not None

    def _reap(self) -> tuple[str, int | None]:
        """Wait for the process to exit, or kill it; return how it ended, and its code unless it was killed here."""
        until = time.monotonic() + SHUTDOWN_TIMEOUT
        while not self._has_exited() and time.monotonic() < until:
            time.sleep(0.001)  # it has closed the pipe, so it is about to end
        has_exited = self._has_exited()
        with self._ending:
            if not (has_exited and self._is_released):
                self._kill()
            code = self._process.wait()
        with self._sending:
            self._commands.close()
        self._replies.close()
        said = self._read_stderr()
        self._stderr.close()
        reason = self.reason or self.leaving or (_described(code) if has_exited else "it has closed its connection")
        how = f"the worker process {self._process.pid} was lost: {reason}"
        return f"{how}\n{said[-2000:]}" if said else how, None if self.reason or not has_exited else code

    def _read_stderr(self) -> str:
        """Return what the process has said before it was ready; keep the end of what its trial has printed."""
        file = self._stderr.fileno()
        size = os.fstat(file).st_size
        if os.pread(file, 1, 0) != READY:
            return os.pread(file, size, 0).decode("utf-8", "replace").strip()
        begin = max(len(READY), size - MAX_OUTPUT)
        self.output, self.offset = os.pread(file, size - begin, begin), begin - len(READY)
        return ""


def _described(code: int) -> str:
    """Return a description of a return code."""
    if code >= 0:
        return f"it exited with code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = {"SIGKILL": " (out of memory?)", "SIGSEGV": " (its output tells where)"}.get(name, "")
    return f"it was killed by {name}{hint}"


def _start(has: _Has, stderr: BinaryIO, origin: Origin) -> subprocess.Popen[bytes]:
    threads, devices = has
    program = (
        # Import the package's modules of Python first, because the project may have modules of the same names.
        "import sys; sys.path[:] = filter(None, sys.path); import decimal, uuid; "
        f"sys.path[:] = {[*origin.path]!a}; sys.argv[:] = {[*origin.arguments]!a}; "
        "from machinable.engines.processes.worker import main; "
        f"main({os.getpid()}, {origin.grace!r}, {[*map(int, origin.left_out)]!r}, {origin.iteration!r})"
    )
    # Python 3.13 looks at the first entry of sys.path for each missing attribute of a module, and fails if that was the
    # working directory, which a trial may remove.
    safe_path = ["-P"] if sys.version_info >= (3, 11) else []
    return subprocess.Popen(
        # With -u, C libraries print immediately, so that their output is in order.
        [sys.executable, "-u", *safe_path, *origin.flags, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        bufsize=0,
        env={
            **os.environ,
            **dict.fromkeys(VARIABLES, str(threads)),
            **(device_variables(devices) if devices else {}),
        },
        start_new_session=True,  # Ctrl-C in the terminal reaches only this process
    )


def _scratch() -> BinaryIO:
    """Return a file without a name, for the output of a worker before it is ready, and see `KeptOutput`."""
    with suppress(AttributeError, OSError):  # not on every system, and not in every directory
        place = os.environ.get("TMPDIR") or "/tmp"
        return open(os.open(place, os.O_RDWR | os.O_APPEND | os.O_TMPFILE, 0o600), "w+b", buffering=0)
    from tempfile import TemporaryFile

    return TemporaryFile("a+b", buffering=0)


def _count(option: str, given: Any) -> int:
    number = int(given) if isinstance(given, str) and given.isdecimal() else given
    is_number = type(number) is int
    if is_number and number >= 1:
        return number
    kind = InvalidValue if is_number or isinstance(given, str) else InvalidType
    raise kind(
        f"{option} of the engine 'processes' is {given!r}", given=given, todo="Give a whole number of at least 1."
    )
