"""Write trials for TensorBoard: a directory for each, below one for the execution."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from machinable.listeners.tool import Tool, column
from machinable.listeners.tracker import Tracker, checked_text

__all__ = ["TensorBoard", "TensorBoardTool"]


class TensorBoard(Tracker):
    """Write the files that `tensorboard --logdir DIRECTORY` shows.

    Args:
        directory: Where they are written, relative to the working directory.
        artifacts: Whether to list the artifacts, with their paths.
    """

    name = "tensorboard"
    package = "tensorboardX"
    tool = f"{__name__}:TensorBoardTool"

    def __init__(self, directory: str = "runs", artifacts: bool = True) -> None:
        checked_text(self.name, "directory", directory, is_optional=False)
        super().__init__({"directory": os.path.abspath(os.path.expanduser(directory))}, artifacts)


class TensorBoardTool(Tool):
    """Writes event files."""

    def __init__(self, execution: str, storage: str, options: Mapping[str, Any]) -> None:
        super().__init__(execution, storage, options)
        self._writers: dict[str, Any] = {}
        self._configs: dict[str, Mapping[str, Any]] = {}

    def begin(self, uid: str, name: str, facts: Mapping[str, Any]) -> None:
        """Open the files of a trial."""
        from tensorboardX import SummaryWriter

        directory = os.path.join(self.options["directory"], self.execution, name.replace(" ", "-"))
        writer = self._writers[uid] = SummaryWriter(directory, flush_secs=5)
        writer.add_text("trial", _table({"execution": self.execution, "storage": self.storage, **facts}))

    def config(self, uid: str, config: Mapping[str, Any]) -> None:
        """Write the configuration as text."""
        self._configs[uid] = config
        self._writers[uid].add_text("configuration", _table(config))

    def rows(self, uid: str, scope: str, first: int, rows: Sequence[tuple[float, Mapping[str, float]]]) -> None:
        """Write scalars."""
        for index, (time, row) in enumerate(rows, first):
            for key, value in row.items():
                self._writers[uid].add_scalar(column(scope, key), value, index, walltime=time)

    def end(self, uid: str, state: str, files: Mapping[str, str], last: Mapping[str, float]) -> None:
        """Write the artifacts, and the configuration with the last row as hyperparameters."""
        writer = self._writers.pop(uid)
        if files:
            writer.add_text("artifacts", _table(files))
        config = {key: "null" if value is None else value for key, value in self._configs.pop(uid, {}).items()}
        if config and last:
            writer.add_hparams(config, dict(last), name="hparams")
        writer.close()

    def close(self) -> None:
        """Close the files of trials that have not ended."""
        for writer in self._writers.values():
            writer.close()


def _table(facts: Mapping[str, Any]) -> str:
    """Return a table in Markdown, which TensorBoard shows."""
    cells = [(key, str(value).replace("|", "\\|")) for key, value in facts.items()]
    return "\n".join(["| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in cells)])
