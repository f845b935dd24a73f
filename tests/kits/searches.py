"""Searches as they are stored, made without Ray Tune: who calls decides how far each sample goes, and what from."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from machinable.execution.attempts import set_aside, write_end
from machinable.execution.directory import backed_up, begin, extend_plan
from machinable.execution.environment import now
from machinable.execution.ledger import Journal
from machinable.plan.samples import Samples
from machinable.plan.spec import Outcome, TrialSpec
from machinable.plan.task import Task
from machinable.project import Project
from machinable.settings import CodeBackup
from machinable.storage.files import DirectoryFiles
from machinable.trial.lifecycle import Order
from machinable.trial.runner import run

__all__ = ["Search"]


class Led:
    """Leads a sample: it ends after some iterations, or is set aside with a checkpoint in a directory."""

    def __init__(self, iterations: int, aside: str | None) -> None:
        self.left = iterations
        self.aside = aside

    def done(self, row: Any, is_last: bool) -> Order:
        self.left -= 1
        if self.left:
            return Order("go")
        return Order("end") if self.aside is None else Order("save", self.aside)

    def saved(self, is_saved: bool) -> Order:
        assert is_saved
        raise KeyboardInterrupt


class Search:
    """One execution of a task that is tuned, on what is called the engine `ray`.

    Args:
        project: its directory. storage: a directory. total: of trials, as the samples' flags have it.
    """

    def __init__(self, project: Path, storage: Path, task: Task, total: int) -> None:
        self._project = Project(project)
        self._files = DirectoryFiles(storage)
        self._samples = Samples(task.plan(self._project, "OY1p1o"), self._project)
        self._total = total
        required = self._samples.required
        code = backed_up(str(project), self._files, CodeBackup())
        self.folder, _ = begin(self._files, required, {"type": "ray", "slots": 2}, code, now())
        self._journal = Journal(required, self._files, self.folder)
        self._specs: dict[tuple[int, int], TrialSpec] = {}
        self._asides = tempfile.TemporaryDirectory(dir=storage.parent)
        for spec in required:
            self._run(spec, None)

    def plan(self, number: int, values: Mapping[str, Any], origin: int = 0) -> TrialSpec:
        """One more sample of a trial that the task lists; it does not run yet."""
        spec = self._made(number, values, origin, self._journal.planned)
        extend_plan(self._files, self.folder, spec)
        self._journal.joined()
        self._specs[origin, number] = spec
        return spec

    def _made(self, number: int, values: Mapping[str, Any], origin: int, index: int) -> TrialSpec:
        listed = self._samples.origins[origin]
        use = self._samples.use(listed, values)
        return self._samples.trial(use, listed, number, values, index, self._total)

    def sample(
        self,
        number: int,
        values: Mapping[str, Any],
        iterations: int,
        *,
        origin: int = 0,
        since: str | None = None,
        pauses: bool = False,
    ) -> str:
        """An attempt of a sample: some iterations, from its beginning or since a checkpoint; 0 only let it end.

        Returns:
            A directory, with the checkpoint if it pauses.
        """
        known = self._specs.get((origin, number))
        if known is None:
            spec = self.plan(number, values, origin)
        else:
            set_aside(self._files, self.folder, known.uid, known.attempt)
            spec = self._made(number, values, origin, known.index)
            spec = replace(spec, attempt=known.attempt + 1, resume_from=since)
        self._specs[origin, number] = spec
        aside = tempfile.mkdtemp(dir=self._asides.name)
        self._run(spec, Led(iterations, aside if pauses else None) if iterations else None)
        return aside

    def lose(self, number: int, values: Mapping[str, Any]) -> None:
        """A sample whose worker is lost at once."""
        spec = self.plan(number, values)
        self._journal.started(spec)
        error = {"type": "WorkerLost", "message": "it was lost", "traceback": ""}
        write_end(self._files, self.folder, spec, "failed", error)
        self._journal.failed(spec, Outcome(spec.uid, "failed", 1, 0.0, error=error), False)

    def _run(self, spec: TrialSpec, steps: Led | None) -> None:
        requires = {name: replace(one, place=f"{self.folder}/{one.uid}") for name, one in spec.requires.items()}
        spec = replace(spec, requires=requires)
        self._journal.started(spec)
        try:
            outcome = run(
                spec,
                self._files,
                self.folder,
                project=self._project.path,
                attempt=spec.attempt,
                capture=None,
                steps=steps,
            )
        except KeyboardInterrupt:
            assert steps is not None
            assert steps.aside is not None
            self._journal.paused(spec)
            return
        if outcome.error is None:
            self._journal.finished(spec, outcome)
        else:
            self._journal.failed(spec, outcome, False)

    def close(self) -> str:
        """The search is over; gives the folder's name."""
        self._journal.ended(1.0)
        self._files.close()
        self._asides.cleanup()
        return self.folder
