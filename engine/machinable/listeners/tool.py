"""The process of a tool for tracking experiments; see `tracker`."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

__all__ = ["Tool", "column", "main"]


class Tool:
    """Receives trials, each as one run. Subclasses define the methods.

    Args:
        execution: The name of the execution.
        storage: The URL of its storage.
        options: Those of the listener.
    """

    def __init__(self, execution: str, storage: str, options: Mapping[str, Any]) -> None:
        self.execution = execution
        self.storage = storage
        self.options = options

    def begin(self, uid: str, name: str, facts: Mapping[str, Any]) -> None:
        """Begin the run of a trial."""
        raise NotImplementedError

    def config(self, uid: str, config: Mapping[str, Any]) -> None:
        """Take the configuration of a trial, by key path; it comes once."""
        raise NotImplementedError

    def rows(self, uid: str, scope: str, first: int, rows: Sequence[tuple[float, Mapping[str, float]]]) -> None:
        """Take rows of a trial.

        Args:
            uid: The trial.
            scope: Their scope, "" for the default one.
            first: The number of the first of them, from 0.
            rows: Their times and numbers.
        """
        raise NotImplementedError

    def end(self, uid: str, state: str, files: Mapping[str, str], last: Mapping[str, float]) -> None:
        """End the run of a trial.

        Args:
            uid: The trial.
            state: "finished", "failed", "pruned" or "interrupted".
            files: The local paths of its artifacts by name.
            last: The numbers of its last row.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Finish everything."""


def column(scope: str, name: str) -> str:
    """Return the name of a column of a scope: `loss`, `validation/loss`."""
    return f"{scope}/{name}" if scope else name


def main() -> None:
    """Pass the messages on stdin to a tool until they end."""
    first = json.loads(sys.stdin.readline())
    module, _, name = first["tool"].partition(":")
    tool: Tool = getattr(import_module(module), name)(first["execution"], first["storage"], first["options"])
    try:
        for line in sys.stdin:
            message = json.loads(line)
            getattr(tool, message.pop("act"))(**message)
    finally:
        tool.close()
