"""The end of a trial whose worker could not write it."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any

import pytest

from machinable.component.base import Component
from machinable.engines.base import WorkerError, WorkerLost
from machinable.execution.attempts import complete_output, write_end, write_failure
from machinable.storage import layout
from machinable.storage.memory import MemoryFiles
from machinable.trial.runner import run
from tests.component.worlds import FOLDER, UID, spec


class Interrupted(Component):
    def on_execute(self) -> None:
        self.store.write("x.json", 1)
        raise KeyboardInterrupt


@pytest.fixture
def files() -> MemoryFiles:
    """A trial that was interrupted, and wrote that down."""
    files = MemoryFiles()
    with pytest.raises(KeyboardInterrupt):
        run(spec(), files, FOLDER, code=Interrupted, capture=None)
    return files


def status(files: MemoryFiles) -> dict[str, Any]:
    return json.loads(files.read(f"{FOLDER}/trials/{UID}/status.json"))  # type: ignore[no-any-return]


def test_a_failure_replaces_the_interrupt_that_it_caused(files: MemoryFiles) -> None:
    before = status(files)

    write_failure(files, FOLDER, spec(), WorkerError("the row has no column"))

    after = status(files)
    assert (after["state"], after["error"]["type"]) == ("failed", "WorkerError")
    assert (after["host"], after["artifacts"]) == (before["host"], before["artifacts"])


def test_a_trial_without_an_outcome_lasts_until_that_is_noticed(files: MemoryFiles) -> None:
    path = f"{FOLDER}/trials/{UID}/status.json"
    running = status(files) | {"state": "running", "started": "2026-01-31T09:15:02.120000+00:00", "finished": None}
    files.write(path, json.dumps(running).encode())

    outcome = write_failure(files, FOLDER, spec(), WorkerError("it was lost"))

    took = datetime.fromisoformat(status(files)["finished"]) - datetime(2026, 1, 31, 9, 15, 2, 120000, timezone.utc)
    assert outcome.seconds == took.total_seconds()
    assert write_failure(files, FOLDER, spec(), WorkerError("it was lost"), 2.5).seconds == 2.5


def test_an_end_that_the_worker_wrote_stays(files: MemoryFiles) -> None:
    before = status(files)

    write_end(files, FOLDER, spec(), "interrupted", None)

    assert status(files) == before


@pytest.mark.parametrize(
    ("stored", "offset", "output"),
    [
        (b"", 0, "one\ntwo\n"),
        (b"one\n", 0, "one\ntwo\n"),
        (b"one\ntwo\n", 0, "one\ntwo\n"),
        (b"0\n", 2, "0\none\ntwo\n"),
        (b"0\none\n", 2, "0\none\ntwo\n"),
        (b"0\n", 7, "0\n\n… 5 bytes are missing: the worker was lost before they were stored …\none\ntwo\n"),
    ],
)
def test_the_output_of_a_lost_worker_is_completed(stored: bytes, offset: int, output: str, files: MemoryFiles) -> None:
    path = layout.join(FOLDER, layout.output(UID))
    files.write(path, stored)
    lost = WorkerLost("it was killed")
    lost.output, lost.offset = b"one\ntwo\n", offset

    complete_output(files, FOLDER, UID, lost)

    assert files.read(path).decode() == output
