"""Track trials with Weights & Biases: a run for each, in a group for the execution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from machinable.errors import UnknownName
from machinable.listeners.tool import Tool, column
from machinable.listeners.tracker import Tracker, checked_text

__all__ = ["WeightsAndBiases", "WeightsAndBiasesTool"]

MODES = ("online", "offline", "shared", "disabled")


class WeightsAndBiases(Tracker):
    """Send trials to Weights & Biases.

    Args:
        project: The project there; by default that of WANDB_PROJECT, or "machinable".
        entity: The user or team; by default that of the login.
        mode: "offline" writes files that `wandb sync` sends later; by default that of WANDB_MODE.
        artifacts: Whether to send artifacts, too.
    """

    name = "wandb"
    package = "wandb"
    tool = f"{__name__}:WeightsAndBiasesTool"

    def __init__(
        self, project: str | None = None, entity: str | None = None, mode: str | None = None, artifacts: bool = True
    ) -> None:
        options = {"project": project, "entity": entity, "mode": mode}
        for option, given in options.items():
            checked_text(self.name, option, given)
        if mode is not None and mode not in MODES:
            raise UnknownName("mode of the listener 'wandb'", mode, MODES)
        super().__init__(options, artifacts)


class WeightsAndBiasesTool(Tool):
    """Sends runs to Weights & Biases."""

    def __init__(self, execution: str, storage: str, options: Mapping[str, Any]) -> None:
        super().__init__(execution, storage, options)
        self._runs: dict[str, Any] = {}

    def begin(self, uid: str, name: str, facts: Mapping[str, Any]) -> None:
        """Begin a run in the group of the execution."""
        import os

        import wandb

        run = self._runs[uid] = wandb.init(
            project=self.options["project"] or os.environ.get("WANDB_PROJECT") or "machinable",
            entity=self.options["entity"],
            mode=self.options["mode"],
            group=self.execution,
            job_type=facts["component"],
            name=name,
            id=f"{self.execution}-{uid}",
            resume="allow",  # an execution that is resumed goes on with its runs
            reinit="create_new",  # several run at a time
            settings=wandb.Settings(silent=True, console="off", x_disable_stats=True, disable_code=True),
        )
        run.config.update({"machinable": {"execution": self.execution, "storage": self.storage, **facts}})
        run.define_metric("*", step_metric="row")

    def config(self, uid: str, config: Mapping[str, Any]) -> None:
        """Send the configuration."""
        self._runs[uid].config.update(dict(config), allow_val_change=True)

    def rows(self, uid: str, scope: str, first: int, rows: Sequence[tuple[float, Mapping[str, float]]]) -> None:
        """Send rows. Each scope has its own count of them."""
        run, number = self._runs[uid], column(scope, "row")
        if scope and not first:
            run.define_metric(f"{scope}/*", step_metric=number)
        for index, (time, row) in enumerate(rows, first):
            values = {column(scope, key): value for key, value in row.items()}
            run.log({**values, number: index, column(scope, "time"): time})

    def end(self, uid: str, state: str, files: Mapping[str, str], last: Mapping[str, float]) -> None:
        """Send the artifacts, and end the run."""
        import wandb

        run = self._runs.pop(uid)
        if files:
            artifact = wandb.Artifact(f"{self.execution}-{uid}", type="trial")
            for name, path in files.items():
                artifact.add_file(path, name)
            run.log_artifact(artifact)
        run.finish(exit_code=0 if state in ("finished", "pruned") else 1)

    def close(self) -> None:
        """End runs that have not ended."""
        for run in self._runs.values():
            run.finish(exit_code=1)
