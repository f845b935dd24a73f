"""Write the description of a trial to `trial.json`, and its state to `status.json`, with a regular heartbeat.

The heartbeat shows whether the process of a trial still runs. `status.json` also is the right of an attempt to write
the trial: one whose file was replaced, by the process that runs the trial again or by the next attempt, has lost it.
"""

from __future__ import annotations

import _thread
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from weakref import proxy

from machinable.engines.devices import devices_of
from machinable.errors import Damaged, LeaseLost
from machinable.plan.spec import State, TrialSpec
from machinable.serialization import Plain, dumps
from machinable.storage import layout
from machinable.storage.artifacts import checkpoint_digests
from machinable.storage.documents import STATUS, read_document
from machinable.storage.files import Files, Guard
from machinable.storage.locks import LEASE
from machinable.storage.process_info import is_gone, this_process
from machinable.units import utc_now

__all__ = ["INTERVAL", "Heartbeat", "StatusFiles", "heartbeat"]


class StatusFiles:
    """The two files of one attempt.

    On an object store, where every write is a request, they are written with the first heartbeat or at the end. In a
    directory, so are those of the first attempt of a trial that the process with the lease of the execution runs
    itself: until then its ledger says that the trial runs, and its lease is the right to write it.

    Attributes:
        on_error: Receives the error of a heartbeat that could not be written.
    """

    def __init__(self, spec: TrialSpec, files: Files, path: str, *, in_executing_process: bool = False) -> None:
        self.on_error: Callable[[Exception], None] = lambda error: None
        self._spec = spec
        self._files = files
        self._path = path
        self._guard = _AttemptGuard(self, spec.token or spec.attempt)
        self._is_fenced = files.reach != "process" and not files.is_served
        self._lease: Guard | None = None  # the guard of the execution, until status.json is written
        if in_executing_process and self._guard.token == 1 and self._is_fenced and files.has_free_marks:
            self._lease = files.guard_of(path)
        self._is_early = files.appends and self._lease is None
        self._process = os.getpid()
        self._mark: object = None  # of status.json as this attempt left it
        self._written_state = ""
        self._is_writing = False
        self._confirmed = time.monotonic()
        self._thread = threading.get_ident()
        self._lock = threading.RLock()
        self._is_over = False
        self._config: Mapping[str, Plain] = spec.stored
        self._seeding: Sequence[str] = ()
        self._is_described = False
        now, here = utc_now(), this_process()
        self._status: dict[str, Plain] = {
            "state": "running",
            "attempt": spec.attempt,
            "token": self._guard.token,
            "started": now,
            "heartbeat": now,
            "finished": None,
            "host": {"name": here["host"], "pid": here["pid"], "boot": here["boot"], "born": here["born"]}
            | ({"served": True} if files.is_served else {}),
            "threads": spec.definition.threads,
            **({"devices": list(devices_of(spec))} if spec.resources.get("gpus") else {}),
            "result": None,
            "error": None,
            "checkpoint": None,
            "at_checkpoint": None,
            "artifacts": {},
            "inputs": {},
        }

    def open(self) -> None:
        """Write that the trial is running, and start its heartbeat.

        Raises:
            LeaseLost: A later attempt has begun.
        """
        if self._is_fenced:
            self._files.guard(self._path, self._guard)
        try:
            if self._is_early:
                self._write_status()
        except BaseException:
            self._files.unguard(self._path, self._guard)
            raise
        heartbeat.add(self._beat, is_soon=self._lease is not None)

    @property
    def lost(self) -> LeaseLost | None:
        """The error that the attempt has lost the trial; None if it has not, or does not know it yet."""
        return self._guard.lost

    def describe(self, config: Mapping[str, Plain], seeding: Sequence[str]) -> None:
        """Write the description of the trial, with its storable configuration and the seeding functions."""
        with self._lock:
            self._config, self._seeding, self._is_described = config, seeding, False
            if self._is_early:
                self._write_description()

    def saved(self, checkpoint: str, facts: Mapping[str, Plain] | None) -> None:
        """Write the name of the last checkpoint, and the facts to continue from it; None leaves these unchanged.

        The facts are written immediately on every storage, because older checkpoints are removed afterwards.
        """
        with self._lock:
            self._status["checkpoint"] = checkpoint
            if facts is not None:
                self._status["at_checkpoint"] = facts
                self._write_description()
            if self._is_early or facts is not None:
                self._write_status()

    def close(self, state: State, seeding: Sequence[str], facts: Mapping[str, Plain]) -> None:
        """Write that the trial has ended, and stop its heartbeat. Closing again overwrites.

        Args:
            state: How it ended.
            seeding: The names of the functions that seeded.
            facts: Its `result`, its `error`, its `artifacts` with digest and size, and its `inputs`: the digests of
                what it read, by requirement and name.
        """
        heartbeat.remove(self._beat)
        with self._lock:
            self._is_over = True
            try:
                self._write_end(state, seeding, facts)
            finally:
                self._files.unguard(self._path, self._guard)

    def abandon(self) -> None:
        """Stop the heartbeat of an attempt that has lost its trial, without writing."""
        heartbeat.remove(self._beat)
        with self._lock:
            self._is_over = True
            self._files.unguard(self._path, self._guard)

    def _write_end(self, state: State, seeding: Sequence[str], facts: Mapping[str, Plain]) -> None:
        if self._seeding != seeding:
            self._seeding, self._is_described = seeding, False
        self._write_description()
        now = utc_now()
        self._status |= {"state": state, "heartbeat": now, "finished": now, **facts}
        checkpoint = self._status["at_checkpoint"]
        if state == "finished" and checkpoint is not None:  # there is nothing to continue
            self._status["at_checkpoint"] = {"saved": checkpoint["saved"]}
        self._write_status()

    @property
    def digests(self) -> dict[str, str]:
        """The digests of the artifacts and checkpoints that the trial wrote."""
        artifacts = {name: facts["digest"] for name, facts in self._status["artifacts"].items()}
        return artifacts | checkpoint_digests(self._status)

    def _beat(self) -> None:
        with self._lock:
            if self._is_over:
                return
            try:
                self._write_description()
                self._status["heartbeat"] = utc_now()
                self._write_status()
            except LeaseLost:
                self._interrupt()
            except Exception as error:  # the storage may be reached again by the next one
                self.on_error(error)

    def _interrupt(self) -> None:
        """Interrupt the component, whose results are no longer needed, if that can be done."""
        heartbeat.remove(self._beat)
        if self._thread == threading.main_thread().ident:
            _thread.interrupt_main()

    def _write_status(self) -> None:
        path, data = layout.join(self._path, layout.STATUS), dumps(self._status).encode() + b"\n"
        if not self._is_fenced:
            self._files.write(path, data)
            return
        with self._lock:
            self._is_writing = True
            try:
                asked = time.monotonic()
                while (mark := self._files.write_if(path, data, self._mark)) is None:
                    self._mark = self._replaceable(path)
                self._mark, self._confirmed, self._written_state = mark, asked, str(self._status["state"])
                self._is_early, self._lease = self._files.appends, None
            finally:
                self._is_writing = False

    def _replaceable(self, path: str) -> object:
        """Return the mark of a status.json that is not the one that this attempt left, but that it may replace.

        Raises:
            LeaseLost: The trial was taken from this attempt.
        """
        mark, found = self._files.mark(path), None
        with suppress(Damaged):
            found = read_document(self._files, path, STATUS)
        token = 0 if found is None else found.get("token") or 0
        if token < self._guard.token and (found is not None or self._mark is None):
            return mark  # of an earlier attempt, whose process did not know that it was over
        if found is not None and token == self._guard.token:
            is_ours = found.get("started") == self._status["started"]
            if is_ours and found["state"] in (self._written_state, self._status["state"]):
                return mark  # the answer to the last request was lost, or this process was forked
            if self._mark is None and _is_mine_or_gone(found.get("host") or {}):
                return mark  # it is run once more, outside of an execution
        raise self._lose()

    def _lose(self) -> LeaseLost:
        self._guard.lost = LeaseLost(
            f"this attempt no longer holds the trial {self._path}: another process has ended it, or runs it again",
            given=self._path,
            todo="Nothing more is written there. This process was stopped, or could not be reached, for so long that "
            "it counted as gone.",
        )
        return self._guard.lost

    @property
    def has_free_mark(self) -> bool:
        """Whether `check` compares status.json, or the lease of the execution, each time."""
        is_compared = self._mark is not None or self._lease is not None
        return is_compared and self._files.has_free_marks and not self._files.is_away

    def check(self) -> None:
        """Check that the trial was not taken from this attempt; see `Guard.check`."""
        if self._files.is_away:
            return
        lease = self._lease
        if lease is not None and os.getpid() == self._process:  # a forked process does not hold it
            lease.check()
            return  # no other process has written the file
        if self._is_writing:
            return
        if not self._files.has_free_marks:
            if time.monotonic() - self._confirmed >= LEASE:
                self.confirm()
        elif self._files.mark(layout.join(self._path, layout.STATUS)) != self._mark:
            with self._lock:  # a heartbeat may have replaced it just now
                path = layout.join(self._path, layout.STATUS)
                if not self._is_writing and self._files.mark(path) != self._mark:
                    self._files.check_root()
                    self._mark = self._replaceable(path)

    def confirm(self) -> None:
        """Check it by writing a heartbeat; see `Guard.confirm`."""
        with self._lock:
            if not self._is_writing:
                self._status["heartbeat"] = utc_now()
                self._write_status()

    def _write_description(self) -> None:
        if not self._is_described:
            facts = self._spec.as_data() | {"config": self._config, "seeding": list(self._seeding)}
            self._files.write(layout.join(self._path, layout.TRIAL), dumps(facts).encode() + b"\n")
            self._is_described = True


def _is_mine_or_gone(host: Mapping[str, Plain]) -> bool:
    process = {**host, "host": host.get("name")}
    here = this_process()
    return is_gone(process) or all(process.get(key) == here[key] for key in ("host", "boot", "pid", "born"))


class _AttemptGuard(Guard):
    """The right of an attempt to write the files of its trial."""

    def __init__(self, status: StatusFiles, token: int) -> None:
        super().__init__(token)
        self._status: StatusFiles = proxy(status)  # which has this guard

    @property
    def knows_root(self) -> bool:  # type: ignore[override]
        return self._status.has_free_mark

    def check(self) -> None:
        super().check()
        self._status.check()

    def confirm(self) -> None:
        super().check()
        self._status.confirm()


INTERVAL = 15.0  # seconds
TICK = 1.0  # seconds between two looks at which functions are due


class Heartbeat:
    """Call functions regularly from one thread, which starts with the first of them.

    Args:
        interval: Seconds between two calls of the same function.
    """

    def __init__(self, interval: float = INTERVAL) -> None:
        self._interval = interval
        self._tick = min(TICK, interval)
        self._due: dict[Callable[[], None], float] = {}  # when each function is called next
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def add(self, beat: Callable[[], None], *, is_soon: bool = False) -> None:
        """Call a function regularly, first within one interval, or within two seconds. It must not raise."""
        self._due[beat] = time.monotonic() + (0.0 if is_soon else self._interval) - self._tick
        if self._thread is None or not self._thread.is_alive():  # a forked process has no thread
            with self._lock:
                if self._thread is None or not self._thread.is_alive():
                    self._thread = threading.Thread(target=self._run, name="machinable-heartbeat", daemon=True)
                    self._thread.start()

    def remove(self, beat: Callable[[], None]) -> None:
        """Stop calling a function; a call that has begun may still be running."""
        self._due.pop(beat, None)

    def _run(self) -> None:
        while True:
            time.sleep(self._tick)
            now = time.monotonic()
            for beat, due in self._due.copy().items():
                if due <= now:
                    if beat in self._due:
                        self._due[beat] = now + self._interval
                    beat()


heartbeat = Heartbeat()
