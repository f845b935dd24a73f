"""What a trial writes about itself: `trial.json` says what it is, `status.json` how far it is.

Signs of life: one timer for all trials of this process, so that a trial whose process was killed is recognised.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from functools import lru_cache
from types import MappingProxyType

from machinable.plan.spec import State, TrialSpec
from machinable.serialization import Plain, dumps
from machinable.storage import layout
from machinable.storage.artifacts import checkpoint_digests
from machinable.storage.files import Files

__all__ = ["INTERVAL", "Heartbeat", "StatusFiles", "heartbeat"]


class StatusFiles:
    """The two files of one attempt.

    Where files cannot grow, every write is a request: there they are written with the first heartbeat or at the end.

    Args:
        path: the trial's folder. trouble: is told about a heartbeat that could not be written.
    """

    def __init__(
        self, spec: TrialSpec, files: Files, path: str, attempt: int, trouble: Callable[[Exception], None]
    ) -> None:
        self._spec = spec
        self._files = files
        self._path = path
        self._stderr = trouble
        self._lock = threading.RLock()
        self._is_over = False
        self._config: Mapping[str, Plain] = spec.stored
        self._seeding: Sequence[str] = ()
        self._is_described = False
        now = _now()
        self._status: dict[str, Plain] = {
            "state": "running",
            "attempt": attempt,
            "started": now,
            "heartbeat": now,
            "finished": None,
            "host": {"name": _host(), "pid": os.getpid()},
            "threads": spec.threads,
            "result": None,
            "error": None,
            "checkpoint": None,
            "at_checkpoint": None,
            "artifacts": {},
            "inputs": {},
        }

    def open(self) -> None:
        """The trial runs, from now on with a heartbeat."""
        if self._files.appends:
            self._write_status()
        heartbeat.add(self._beat)

    def describe(self, config: Mapping[str, Plain], seeding: Sequence[str]) -> None:
        """What the trial is: its configuration as it may be stored, and which generators are seeded."""
        with self._lock:
            self._config, self._seeding, self._is_described = config, seeding, False
            if self._files.appends:
                self._write_description()

    def saved(self, checkpoint: str, facts: Mapping[str, Plain] | None) -> None:
        """A checkpoint of that name was saved. `facts` are what a trial needs to go on from it, None for no news."""
        with self._lock:
            self._status["checkpoint"] = checkpoint
            if facts is not None:
                self._status["at_checkpoint"] = facts
            if self._files.appends:
                self._write_status()

    def close(
        self,
        state: State,
        result: Plain,
        error: Mapping[str, str] | None,
        seeding: Sequence[str],
        artifacts: Mapping[str, Plain] = MappingProxyType({}),
        inputs: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
    ) -> None:
        """The trial is over. Closing again says the last word.

        Args:
            artifacts: digest and size of each. inputs: the digests of what it has read, by requirement and name.
        """
        heartbeat.remove(self._beat)
        with self._lock:
            self._is_over = True
            if self._seeding != seeding:
                self._seeding, self._is_described = seeding, False
            self._write_description()
            now = _now()
            self._status |= {"state": state, "heartbeat": now, "finished": now, "result": result, "error": error}
            self._status |= {
                "artifacts": dict(artifacts),
                "inputs": {name: dict(read) for name, read in inputs.items()},
            }
            facts = self._status["at_checkpoint"]
            if state == "finished" and facts is not None:  # nobody goes on from there
                self._status["at_checkpoint"] = {"saved": facts["saved"]}
            self._write_status()

    @property
    def digests(self) -> dict[str, str]:
        """The digests of what the trial has written, artifacts and checkpoints."""
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
            except Exception as error:  # the next one may reach the storage again
                self._stderr(error)

    def _write_status(self) -> None:
        self._files.write(layout.join(self._path, layout.STATUS), dumps(self._status).encode() + b"\n")

    def _write_description(self) -> None:
        if not self._is_described:
            facts = self._spec.as_data() | {"config": self._config, "seeding": list(self._seeding)}
            self._files.write(layout.join(self._path, layout.TRIAL), dumps(facts).encode() + b"\n")
            self._is_described = True


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="microseconds")


@lru_cache(maxsize=1)
def _host() -> str:
    return os.uname().nodename


INTERVAL = 15.0  # seconds


class Heartbeat:
    """Calls functions regularly, from a thread of its own that starts with the first of them.

    Args:
        interval: seconds between two calls of the same function.
    """

    def __init__(self, interval: float = INTERVAL) -> None:
        self._interval = interval
        self._due: dict[Callable[[], None], list[float]] = {}
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def add(self, beat: Callable[[], None]) -> None:
        """Call the function from now on, first when the interval has passed. It must not raise."""
        self._due[beat] = [time.monotonic() + self._interval]
        if self._thread is None or not self._thread.is_alive():  # dead in a forked process
            with self._lock:
                if self._thread is None or not self._thread.is_alive():
                    self._thread = threading.Thread(target=self._run, name="machinable-heartbeat", daemon=True)
                    self._thread.start()

    def remove(self, beat: Callable[[], None]) -> None:
        """Do not call the function again; a call that is under way may still end."""
        self._due.pop(beat, None)

    def _run(self) -> None:
        while True:
            now = time.monotonic()
            next_due = now + self._interval  # what is added meanwhile is due later than this
            for beat, due in list(self._due.items()):
                if due[0] <= now:
                    due[0] = now + self._interval
                    beat()
                next_due = min(next_due, due[0])
            time.sleep(max(0.0, next_due - time.monotonic()))


heartbeat = Heartbeat()
