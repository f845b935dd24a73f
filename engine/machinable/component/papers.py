"""What a trial writes about itself: `trial.json` says what it is, `status.json` how far it is."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from machinable.component.checkpoints import checkpoint_digests
from machinable.component.heartbeat import heartbeat
from machinable.plain import Plain, dumps
from machinable.plan.spec import State, TrialSpec
from machinable.storage import layout
from machinable.storage.files import Files

__all__ = ["Papers"]


class Papers:
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
        self._trouble = trouble
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
        if spec.sample is not None:
            self._status["iterations"] = None

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
        iterations: int | None = None,
    ) -> None:
        """The trial is over. Closing again says the last word.

        Args:
            artifacts: digest and size of each. inputs: the digests of what it has read, by requirement and name.
            iterations: how many make a sample again from its beginning; None: no number of them does.
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
            if self._spec.sample is not None:
                self._status["iterations"] = iterations if state != "interrupted" else None
            facts = self._status["at_checkpoint"]
            if state == "finished" and facts is not None:  # nobody goes on from there
                self._status["at_checkpoint"] = {"saved": facts["saved"]}
            self._write_status()

    @property
    def at_checkpoint(self) -> Mapping[str, Any]:
        """What was noted with the last checkpoint."""
        return self._status["at_checkpoint"]  # type: ignore[no-any-return]

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
                self._trouble(error)

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
    if hasattr(os, "uname"):
        return os.uname().nodename
    import socket

    return socket.gethostname()
