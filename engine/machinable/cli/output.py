"""What commands write: messages, JSON documents, and warnings in one line."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from machinable.serialization import decode, dumps

if TYPE_CHECKING:
    from machinable.results.execution import Execution
    from machinable.results.trial import Trial

__all__ = ["execution_data", "message", "short_warnings", "trial_data", "write_json"]

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def message(text: str) -> None:
    """Write a message to stderr."""
    print(text, file=sys.stderr, flush=True)


def write_json(data: Any) -> None:
    """Write one JSON document to stdout, with NaN, infinities and dates as in stored files."""
    sys.stdout.write(dumps(data) + "\n")


@contextmanager
def short_warnings() -> Iterator[None]:
    """Show warnings of this package in one line each, `warning: …`, and those of others as usual."""
    with warnings.catch_warnings():
        default = warnings.showwarning

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if filename.startswith(_PACKAGE):
                print(f"warning: {message}", file=sys.stderr, flush=True)
            else:
                default(message, category, filename, lineno, file, line)

        warnings.showwarning = show
        yield


def execution_data(execution: Execution) -> dict[str, Any]:
    """Return an execution with its trials as plain data."""
    return {
        "execution": str(execution),
        "id": execution.id,
        "seed": execution.seed,
        "name": execution.name,
        "started": execution.started,
        "status": execution.status,
        "storage": execution.storage,
        "trials": [trial_data(trial) for trial in execution.trials],
    }


def trial_data(trial: Trial) -> dict[str, Any]:
    """Return a trial with its last row as plain data."""
    return {
        "uid": trial.uid,
        "index": trial.index,
        "component": trial.component,
        "version": trial.version,
        "config": decode(trial.planned("config")),
        "flags": trial.flags,
        "tags": trial.tags,
        "seed": trial.seed,
        "identity": trial.identity,
        "status": trial.status,
        "source": trial.source,
        "because": trial.because,
        "seconds": trial.seconds,
        "record": trial.last_row,
        "error": trial.error if trial.status == "failed" else None,
    }
