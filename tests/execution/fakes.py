"""An engine that computes nothing: the test says what each component writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import machinable as ml
from machinable.component.base import Component
from machinable.engines.base import Work
from machinable.execution.worker_task import InProcessTask
from machinable.plan.spec import Outcome, TrialSpec
from machinable.serialization import dumps
from machinable.storage import layout

__all__ = ["Computing", "Nothing", "computed", "events_of", "stored"]


class Nothing(Component):
    """A component that does nothing."""


class Computing(ml.Engine):
    """Keeps the trials that it is given, and returns what they wrote and read.

    Args:
        writes: The content of the artifact `x` of a component; by default its name.
        fails: Components that fail.
        meets: Is called with each trial before it ends.
        reads: Whether trials read their requirements.
    """

    name = "computing"

    def __init__(
        self,
        writes: Mapping[str, str] | None = None,
        fails: Sequence[str] = (),
        meets: Callable[[TrialSpec], object] = lambda spec: None,
        reads: bool = True,
    ) -> None:
        self.ran: list[str] = []
        self.specs: list[TrialSpec] = []
        self._writes = dict(writes or {})
        self._fails = fails
        self._meets = meets
        self._reads = reads

    def submit(self, work: Work, spec: TrialSpec) -> Future[Outcome]:
        assert isinstance(work, InProcessTask)
        self.ran.append(spec.component)
        self.specs.append(spec)
        self._meets(spec)
        future: Future[Outcome] = Future()
        future.set_result(self._outcome(spec))
        outcome = future.result()
        status = {
            "state": outcome.state,
            "attempt": spec.attempt,
            "started": None,
            "finished": None,
            "artifacts": {name: {"digest": digest, "size": 1} for name, digest in outcome.artifacts.items()},
            "inputs": outcome.inputs,
            "error": outcome.error,
        }
        for name in outcome.artifacts:
            work.files.write(layout.join(work.folder, layout.artifact(spec.uid, name)), b"1")
        work.files.write(layout.join(work.folder, layout.status(spec.uid)), dumps(status).encode())
        return future

    def _outcome(self, spec: TrialSpec) -> Outcome:
        if spec.component in self._fails:
            error = {"type": "ValueError", "message": "no", "traceback": "ValueError: no"}
            return Outcome(spec.uid, "failed", spec.attempt, 0.5, error=error)
        read = {
            name: {"x": f"sha256:{self._writes.get(needed.component, needed.component)}"}
            for name, needed in spec.requires.items()
        }
        written = {"x": f"sha256:{self._writes.get(spec.component, spec.component)}"}
        return Outcome(
            spec.uid, "finished", spec.attempt, 0.5, {"n": 1}, artifacts=written, inputs=read if self._reads else {}
        )

    def close(self) -> None:
        """Do nothing."""


def stored(directory: Path) -> dict[str, Any]:
    """Return a storage without a backup of the code."""
    return {"storage": str(directory), "code_backup": False}


def computed(task: Any, directory: Path, engine: Computing | None = None, **options: Any) -> tuple[Any, list[str]]:
    """Execute a task; return the execution and the components that ran, in order."""
    engine = engine or Computing()
    return ml.execute(task, stored(directory), engine=engine, **options), engine.ran


def events_of(execution: Any) -> list[tuple[str, str]]:
    """Return the component and the last event of each trial, in the order of the plan."""
    return [(trial.component, trial.event) for trial in execution.trials]
