"""Track trials with MLflow: a run for each, below a run for the execution."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from machinable.listeners.tool import Tool, column
from machinable.listeners.tracker import Tracker, checked_text
from machinable.units import shortened

__all__ = ["MLflow", "MLflowTool"]

MAX_METRICS, MAX_PARAMS = 1000, 100  # that MLflow takes at a time
MAX_VALUE = 500  # characters of a parameter that every store takes


class MLflow(Tracker):
    """Send trials to the MLflow server at MLFLOW_TRACKING_URI, or to MLflow's default store.

    Args:
        experiment: The experiment; it is created if it does not exist.
        artifacts: Whether to send artifacts, too.
    """

    name = "mlflow"
    package = "mlflow"
    tool = f"{__name__}:MLflowTool"

    def __init__(self, experiment: str = "machinable", artifacts: bool = True) -> None:
        checked_text(self.name, "experiment", experiment, is_optional=False)
        super().__init__({"experiment": experiment}, artifacts)


class MLflowTool(Tool):
    """Sends runs to MLflow."""

    def __init__(self, execution: str, storage: str, options: Mapping[str, Any]) -> None:
        super().__init__(execution, storage, options)
        from mlflow import MlflowClient

        self._client = MlflowClient()
        found = self._client.get_experiment_by_name(options["experiment"])
        self._experiment = (
            self._client.create_experiment(options["experiment"]) if found is None else found.experiment_id
        )
        self._runs: dict[str, str] = {}
        self._states: set[str] = set()
        self._execution = self._begin(execution, {"storage": storage})

    def _begin(self, name: str, facts: Mapping[str, Any], more: Mapping[str, str] | None = None) -> str:
        tags = {f"machinable.{key}": str(value) for key, value in {"execution": self.execution, **facts}.items()}
        run = self._client.create_run(self._experiment, run_name=name, tags={**tags, **(more or {})})
        return str(run.info.run_id)

    def begin(self, uid: str, name: str, facts: Mapping[str, Any]) -> None:
        """Create a run below that of the execution."""
        self._runs[uid] = self._begin(name, facts, {"mlflow.parentRunId": self._execution})

    def config(self, uid: str, config: Mapping[str, Any]) -> None:
        """Log parameters."""
        from mlflow.entities import Param

        params = [Param(_name(key), shortened(str(value), MAX_VALUE - 50)) for key, value in config.items()]
        for start in range(0, len(params), MAX_PARAMS):
            self._client.log_batch(self._runs[uid], params=params[start : start + MAX_PARAMS])

    def rows(self, uid: str, scope: str, first: int, rows: Sequence[tuple[float, Mapping[str, float]]]) -> None:
        """Log metrics."""
        from mlflow.entities import Metric

        metrics = [
            Metric(_name(column(scope, key)), float(value), int(time * 1000), first + index)
            for index, (time, row) in enumerate(rows)
            for key, value in row.items()
        ]
        for start in range(0, len(metrics), MAX_METRICS):
            self._client.log_batch(self._runs[uid], metrics=metrics[start : start + MAX_METRICS])

    def end(self, uid: str, state: str, files: Mapping[str, str], last: Mapping[str, float]) -> None:
        """Log artifacts, and end the run."""
        run = self._runs.pop(uid)
        for name, path in files.items():
            self._client.log_artifact(run, path, os.path.dirname(name) or None)
        self._states.add(state)
        self._client.set_terminated(run, {"finished": "FINISHED", "failed": "FAILED"}.get(state, "KILLED"))

    def close(self) -> None:
        """End the run of the execution, and runs that have not ended."""
        for run in self._runs.values():
            self._client.set_terminated(run, "KILLED")
        state = "KILLED" if self._runs or "interrupted" in self._states else "FINISHED"
        self._client.set_terminated(self._execution, "FAILED" if "failed" in self._states else state)


def _name(name: str) -> str:
    """Return a name with the characters that MLflow takes."""
    return "".join(c if (c.isalnum() and c.isascii()) or c in "_-. /" else "_" for c in name)
