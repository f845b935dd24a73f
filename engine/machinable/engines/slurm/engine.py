"""Run trials in jobs of Slurm, which are submitted with submitit."""

from __future__ import annotations

import math
import os
import pickle
import shlex
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from shutil import rmtree
from typing import Any

from machinable.engines.cluster.actor import Setup, version_here
from machinable.engines.cluster.dispatcher import Dispatcher
from machinable.engines.cluster.engine import ClusterEngine
from machinable.engines.ray.addresses import address_towards
from machinable.engines.slurm import options as checks
from machinable.engines.slurm.connections import Connections, JobLost, JobWorker, reply_of
from machinable.engines.slurm.worker import Welcome, work
from machinable.errors import InvalidType, InvalidValue, Refused, UnknownName, listed
from machinable.plan.spec import TrialSpec

__all__ = ["SlurmEngine"]

CLUSTERS = ("slurm", "local")
HOST = "slurm"  # its hosts have the same software, so one that cannot run a component stands for all
LOOK_INTERVAL = 10.0  # seconds between two looks at jobs that have not connected
QUEUE_DELAY = 15.0  # seconds until a job that was submitted is in the queue, on a slow cluster
GATHER_TIME = 0.1  # seconds in which workers that are started become one job array
ENDED_TIMEOUT = 5.0  # seconds for Slurm to say how a job has ended
ITERATION = 45.0  # seconds that an iteration has before its job ends; Slurm announces that 90 s before
ENDING = ("", "PENDING", "RUNNING", "COMPLETING", "REQUEUED", "SUSPENDED")  # states before Slurm says how a job ended


class SlurmEngine(ClusterEngine):
    """Run trials in jobs of Slurm. Each job is a worker that runs trials one after the other.

    Args:
        partition: The partition, or several separated by commas; by default that of Slurm.
        time: The time limit of a job, such as `4h`.
        slots: The largest number of jobs.
        job_per_trial: Whether a job ends after one trial.
        folder: Where submitit writes its files, which all hosts share, relative to the project; by default in the
            home directory.
        address: The address of this host to which jobs connect; by default that towards the controller of Slurm.
        cluster: "local" runs the jobs as processes of this host.
        options: Further options of submitit, such as `account`, `qos`, `constraint` and `setup`.

    Raises:
        ImportFailed: submitit is not installed.
        InvalidType, InvalidValue, UnknownName: An option is wrong.
    """

    name = "slurm"
    unstored = frozenset({"setup", "teardown", "srun_args", "additional_parameters"})
    paths = frozenset({"folder"})
    idle_seconds: float | None = 60.0  # then others may have its resources
    may_grow = False

    def __init__(
        self,
        partition: str | None = None,
        time: str = "1h",
        slots: int = 16,
        job_per_trial: bool = False,
        folder: str | None = None,
        address: str | None = None,
        cluster: str = "slurm",
        **options: Any,
    ) -> None:
        for option, text in (("partition", partition), ("folder", folder), ("address", address)):
            if text is not None and (not isinstance(text, str) or not text or "\n" in text):
                raise InvalidType(f"{option} of the engine 'slurm' is {text!r}", given=text, todo="Write a text.")
        if type(slots) is not int or slots < 1:
            kind = InvalidValue if type(slots) is int else InvalidType
            todo = "Give a whole number of at least 1."
            raise kind(f"slots of the engine 'slurm' is {slots!r}", given=slots, todo=todo)
        if not isinstance(job_per_trial, bool):
            raise InvalidType(
                f"job_per_trial of the engine 'slurm' takes true or false, not {job_per_trial!r}", given=job_per_trial
            )
        if cluster not in CLUSTERS:
            raise UnknownName("cluster of the engine 'slurm'", cluster, CLUSTERS)
        self._options = checks.checked_options(options)
        self._partition = partition
        self._minutes = checks.minutes(time)
        self._size = slots
        self.is_single_use = job_per_trial
        self._base = folder
        self._address = address
        self._is_local = cluster == "local"
        self._folder = ""
        self._project = os.getcwd()
        self._archive: bytes | None = None
        self._connections: Connections | None = None
        self._lock = threading.Lock()
        self._starting: dict[Any, list[JobWorker]] = {}  # workers that wait for submission, by their needs
        self._workers: list[JobWorker] = []
        self._has_lost = False
        self._changed = threading.Event()
        self._is_closed = False
        self._thread: threading.Thread | None = None

    # what the scheduler knows

    @property
    def slots(self) -> int:  # type: ignore[override]
        """The number of trials that may be submitted: one for each job, and more while trials are short."""
        return self._size if self._dispatcher is None else self._dispatcher.slots

    def hosts(self, declared: Mapping[str, float]) -> Sequence[Mapping[str, float]]:
        """Check that jobs can be submitted, and return what a job may request: that is known to Slurm only.

        Args:
            declared: The resources that are requested as licenses.

        Raises:
            Refused: A command of Slurm is missing, the folder cannot be created, or the address is not of this host.
            UnknownName: There is no such partition.
        """
        if not self._is_local:
            checks.check_submission()
            checks.check_partition(self._partition)
        self._open()
        return [{**declared, "cpus": math.inf, "gpus": math.inf, "memory": math.inf}]

    def address_for_workers(self) -> str:
        """Return the address of this host to which jobs connect.

        Raises:
            Refused: Only this host reaches the address that its name has.
        """
        if self._address is None:
            address = "127.0.0.1" if self._is_local else _own_address()
            if address.startswith("127.") and not self._is_local:
                raise Refused(
                    f"the name of this host leads to {address}, to which jobs on other hosts cannot connect",
                    given=address,
                    todo="Give an address of this host: {type: slurm, address: 10.0.0.1}.",
                )
            self._address = address
        return self._address

    def ship(self, project: str, code: bytes) -> None:
        """Take the archive of the project that jobs import from."""
        self._project, self._archive = project, code

    def _needs(self, spec: TrialSpec) -> tuple[tuple[str, float], ...]:
        return tuple(sorted((name, amount) for name, amount in spec.resources.items() if name not in self.counted))

    def _started(self) -> Dispatcher:
        if self._dispatcher is None:
            self._open()
            self._is_closed, self._has_lost = False, False
            self._thread = threading.Thread(target=self._submit_and_look, name="machinable-jobs", daemon=True)
            self._thread.start()
            self._dispatcher = Dispatcher(self, self._size)
        return self._dispatcher

    def _open(self) -> None:
        """Create the folder, and accept connections."""
        if self._connections is not None:
            return
        address = self.address_for_workers()
        self._folder = _new_folder(self._base)
        try:
            self._connections = Connections(address)
        except OSError as error:
            rmtree(self._folder, ignore_errors=True)
            raise Refused(
                f"jobs cannot connect to this host at {address!r}: {error.strerror or error}",
                given=address,
                todo="Give an address of this host: {type: slurm, address: 10.0.0.1}.",
            ) from error

    def close(self) -> None:
        """End all jobs, and remove the files of submitit unless a job was lost. A later `submit` starts new ones."""
        super().close()
        if self._connections is None:
            return
        self._is_closed = True
        self._changed.set()
        if self._thread is not None:
            self._thread.join()
        for worker in self._workers:
            self._end(worker)
        until = time.monotonic() + ENDED_TIMEOUT
        for worker in self._workers if self._is_local else ():
            while not worker.job.done() and time.monotonic() < until:  # otherwise they become zombies
                time.sleep(0.01)
        self._workers.clear()
        self._connections.close()
        self._connections = None
        if self._has_lost:
            self._notice(f"the output of jobs that were lost is in {self._folder}")
        else:
            rmtree(self._folder, ignore_errors=True)

    # what the dispatcher knows

    def start(self, needs: Hashable, without: Collection[str]) -> JobWorker:
        """Start a job for trials with these needs."""
        setup = Setup.here(self._project, self.on_progress is not None)
        # Slurm signals all processes of a job; the one that has the connection decides what follows.
        iteration = min(ITERATION, self._options.get("signal_delay_s", ITERATION) / 2)
        origin = setup.origin._replace(left_out=(signal.SIGTERM, signal.SIGUSR2), iteration=iteration)
        setup = setup._replace(origin=origin)
        worker = JobWorker(Welcome(version_here(), pickle.dumps(setup), self._archive), self._reason)
        with self._lock:
            self._starting.setdefault(needs, []).append(worker)
        self._changed.set()
        return worker

    def call(self, handle: JobWorker, method: str, *arguments: Any) -> Future[Any]:
        """Call a method of the actor in a job."""
        called = handle.call(method, arguments)
        if method not in ("prepare", "exchange"):
            return called
        future: Future[Any] = Future()

        def pass_on(done: Future[Any]) -> None:
            problem = done.exception()
            if problem is not None:
                future.set_exception(problem)
            elif method == "prepare":
                future.set_result((HOST, *done.result()))
            else:
                reports, replies = done.result()
                future.set_result(([tuple(one) for one in reports], [reply_of(one) for one in replies]))

        called.add_done_callback(pass_on)
        return future

    def kill(self, handle: JobWorker) -> None:
        """End a job."""
        with self._lock:
            for workers in self._starting.values():
                if handle in workers:
                    workers.remove(handle)
        self._end(handle)

    def room(self, needs: Hashable) -> Mapping[str, int]:
        """Return how many jobs there may be."""
        return {HOST: self._size}

    def reason_of_loss(self, error: BaseException) -> str | None:
        """Return how a job was lost; None if the error has another cause."""
        return str(error) if isinstance(error, JobLost) else None

    def shortage(self, needs: Hashable) -> str:
        """Return what jobs are waiting for."""
        waiting = [one for one in self._workers if not one.is_connected and not one.is_over]
        if not waiting:
            return "waiting for jobs to be submitted"
        there = {} if self._is_local else checks.queued_jobs() or {}
        jobs = [f"{one.job.job_id} {there.get(one.job.job_id, '')}".strip() for one in waiting]
        return f"waiting for {'a job' if len(jobs) == 1 else f'{len(jobs)} jobs'} of Slurm: {listed(jobs, 3)}"

    # jobs

    def _submit_and_look(self) -> None:
        """Submit jobs, and look for those that end before they connect."""
        until = time.monotonic() + LOOK_INTERVAL
        while not self._is_closed:
            if self._changed.wait(max(0.0, until - time.monotonic())) and not self._is_closed:
                time.sleep(GATHER_TIME)
                self._changed.clear()
                with self._lock:
                    starting, self._starting = self._starting, {}
                for needs, workers in starting.items():
                    if workers:
                        self._submit(dict(needs), workers)
            if time.monotonic() >= until:
                self._look()
                until = time.monotonic() + LOOK_INTERVAL

    def _submit(self, resources: Mapping[str, float], workers: Sequence[JobWorker]) -> None:
        """Submit a job for each worker: one job array if there are several."""
        assert self._connections is not None
        try:
            executor = self._executor(resources)
            addresses = [self._connections.expect(worker) for worker in workers]
            with executor.batch() if not self._is_local else _without_interrupts():
                jobs = [executor.submit(work, address) for address in addresses]
        except Exception as error:  # of submitit, whose message has what sbatch says
            for worker in workers:
                self._connections.forget(worker)
                worker.lose(Refused(f"Slurm does not take a job: {_last_line(error)}"))
            return
        for worker, job in zip(workers, jobs, strict=True):
            worker.job, worker.submitted = job, time.monotonic()
            self._workers.append(worker)
            if worker.is_over:  # it was ended while it was submitted
                self._end(worker)

    def _executor(self, resources: Mapping[str, float]) -> Any:
        submitit = checks.import_submitit()
        if self._is_local:
            executor = submitit.LocalExecutor(folder=self._folder, python=_python_with_devices())
            executor.update_parameters(timeout_min=self._minutes)
            return executor
        executor = submitit.AutoExecutor(folder=self._folder, cluster="slurm")
        executor.update_parameters(
            name="machinable", **checks.parameters(resources, self._partition, self._minutes, self._options)
        )
        return executor

    def _look(self) -> None:
        """Let the workers be lost whose jobs have ended before they connected."""
        waiting = [one for one in self._workers if not one.is_connected and not one.is_over]
        if not waiting:
            return
        there = None if self._is_local else checks.queued_jobs()
        for worker in waiting:
            if self._is_local:
                has_ended = worker.job.done()
            else:
                is_new = time.monotonic() - worker.submitted < QUEUE_DELAY
                has_ended = there is not None and worker.job.job_id not in there and not is_new
            if has_ended and not worker.is_connected:
                worker.lose(JobLost(self._reason(worker)))

    def _reason(self, worker: JobWorker) -> str:
        """Return how a job has ended, once Slurm knows."""
        self._has_lost = True
        job, state = worker.job, ""
        until = time.monotonic() + (0.0 if self._is_local else ENDED_TIMEOUT)
        while not self._is_local and (state := checks.final_state(job.job_id)) in ENDING and not worker.is_over:
            if time.monotonic() >= until:
                break
            time.sleep(0.2)
        said = ""
        with suppress(OSError, UnicodeDecodeError):
            said = job.paths.stderr.read_text(encoding="utf-8").strip()
        how = f"has ended: {state}" if state not in ENDING else "has ended, or its connection broke"
        last = f": {said.splitlines()[-1]}" if said else ""
        return f"the job {job.job_id} {how}{last}"

    def _end(self, worker: JobWorker) -> None:
        """End a job, or do not let it begin."""
        if worker.is_ended:
            return
        worker.is_ended = worker.job is not None
        ends_itself = worker.is_connected and not worker.is_over  # with the connection
        worker.lose(JobLost("the job was ended"))
        if self._connections is not None:
            self._connections.forget(worker)
        if worker.job is not None and not ends_itself:
            with suppress(Exception):  # it has ended already
                worker.job.cancel(check=False)

    def _notice(self, text: str) -> None:
        if self.on_notice is not None:
            self.on_notice(text)


def _new_folder(base: str | None) -> str:
    """Return a new directory that only this user can read, because the files in it have a token."""
    directory = os.path.abspath(os.path.expanduser(base or "~/.machinable/slurm"))
    try:
        os.makedirs(directory, exist_ok=True)
        return tempfile.mkdtemp(prefix=time.strftime("%Y%m%d-%H%M%S-"), dir=directory)
    except OSError as error:
        raise Refused(
            f"the engine 'slurm' cannot create {directory}: {error.strerror}",
            given=directory,
            todo="Give a directory that all hosts share: {type: slurm, folder: DIRECTORY}.",
        ) from error


def _python_with_devices() -> str:
    """Return the command of Python for jobs on this host, which see its devices: submitit hides those of NVIDIA."""
    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    change = ["-u", "CUDA_VISIBLE_DEVICES"] if seen is None else [f"CUDA_VISIBLE_DEVICES={seen}"]
    return shlex.join(["env", *change, sys.executable])


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Let processes that are started in the block not get the Ctrl-C of the terminal, which is for this one."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _own_address() -> str:
    """Return the address of this host towards the controller of Slurm, or that of its name."""
    for line in (checks.answer(["scontrol", "show", "config"]) or "").splitlines():
        if line.startswith("SlurmctldHost"):
            host = line.partition("=")[2].strip().partition("(")[0]
            with suppress(OSError):
                address = address_towards(socket.gethostbyname(host))
                if not address.startswith("127."):
                    return address
    with suppress(OSError):
        return socket.gethostbyname(socket.gethostname())
    return "127.0.0.1"


def _last_line(error: BaseException) -> str:
    lines = [line for line in str(error).strip().splitlines() if "error" in line.lower()]
    return (lines or str(error).strip().splitlines() or [type(error).__name__])[-1]
