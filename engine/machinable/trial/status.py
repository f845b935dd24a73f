"""Write the description of a trial to `trial.json`, and its state to `status.json`, with a regular heartbeat.

The heartbeat shows whether the process of a trial still runs.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone

from machinable.plan.spec import State, TrialSpec
from machinable.serialization import Plain, dumps
from machinable.storage import layout
from machinable.storage.artifacts import checkpoint_digests
from machinable.storage.files import Files

__all__ = ["INTERVAL", "Heartbeat", "StatusFiles", "heartbeat"]


class StatusFiles:
    """The two files of one attempt.

    On an object store, where every write is a request, they are written with the first heartbeat or at the end.

    `on_error` receives the error of a heartbeat that could not be written.
    """

    def __init__(self, spec: TrialSpec, files: Files, path: str, on_error: Callable[[Exception], None]) -> None:
        self._spec = spec
        self._files = files
        self._path = path
        self._on_error = on_error
        self._lock = threading.RLock()
        self._is_over = False
        self._config: Mapping[str, Plain] = spec.stored
        self._seeding: Sequence[str] = ()
        self._is_described = False
        now = _now()
        self._status: dict[str, Plain] = {
            "state": "running",
            "attempt": spec.attempt,
            "started": now,
            "heartbeat": now,
            "finished": None,
            "host": {"name": os.uname().nodename, "pid": os.getpid()} | ({"served": True} if files.is_served else {}),
            "threads": spec.definition.threads,
            "result": None,
            "error": None,
            "checkpoint": None,
            "at_checkpoint": None,
            "artifacts": {},
            "inputs": {},
        }

    def open(self) -> None:
        """Write that the trial is running, and start its heartbeat."""
        if self._files.appends:
            self._write_status()
        heartbeat.add(self._beat)

    def describe(self, config: Mapping[str, Plain], seeding: Sequence[str]) -> None:
        """Write the description of the trial, with its storable configuration and the seeding functions."""
        with self._lock:
            self._config, self._seeding, self._is_described = config, seeding, False
            if self._files.appends:
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
            if self._files.appends or facts is not None:
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
            if self._seeding != seeding:
                self._seeding, self._is_described = seeding, False
            self._write_description()
            now = _now()
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
                self._status["heartbeat"] = _now()
                self._write_status()
            except Exception as error:  # the storage may be reached again by the next one
                self._on_error(error)

    def _write_status(self) -> None:
        self._files.write(layout.join(self._path, layout.STATUS), dumps(self._status).encode() + b"\n")

    def _write_description(self) -> None:
        if not self._is_described:
            facts = self._spec.as_data() | {"config": self._config, "seeding": list(self._seeding)}
            self._files.write(layout.join(self._path, layout.TRIAL), dumps(facts).encode() + b"\n")
            self._is_described = True


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="microseconds")


INTERVAL = 15.0  # seconds


class Heartbeat:
    """Call functions regularly from one thread, which starts with the first of them.

    Args:
        interval: Seconds between two calls of the same function.
    """

    def __init__(self, interval: float = INTERVAL) -> None:
        self._interval = interval
        self._beats: dict[Callable[[], None], None] = {}
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def add(self, beat: Callable[[], None]) -> None:
        """Call a function regularly, first within one interval. It must not raise."""
        self._beats[beat] = None
        if self._thread is None or not self._thread.is_alive():  # a forked process has no thread
            with self._lock:
                if self._thread is None or not self._thread.is_alive():
                    self._thread = threading.Thread(target=self._run, name="machinable-heartbeat", daemon=True)
                    self._thread.start()

    def remove(self, beat: Callable[[], None]) -> None:
        """Stop calling a function; a call that has begun may still be running."""
        self._beats.pop(beat, None)

    def _run(self) -> None:
        pause = self._interval
        while True:
            time.sleep(pause)
            began = time.monotonic()
            for beat in list(self._beats):
                beat()
            pause = max(0.0, began + self._interval - time.monotonic())


heartbeat = Heartbeat()
