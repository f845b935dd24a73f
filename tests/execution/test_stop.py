"""`machinable stop`: a mark in the storage ends an execution anywhere, with a checkpoint, so that it can be resumed."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import machinable as ml
from machinable import events
from machinable.errors import Refused
from machinable.execution import stop
from machinable.execution.stop import request_stop
from machinable.storage import layout
from tests.conftest import World

WORK = """
import time
from pathlib import Path
from machinable import Component

class Work(Component):
    def on_create(self):
        self.total = 0

    def on_execute_iteration(self, iteration):
        self.total += 1
        self.record["total"] = self.total
        self.record.save()
        time.sleep(0.01)
        if Path(self.config.end).exists():
            return StopIteration

    def on_save(self, path, timestep):
        Path(path, "total.txt").write_text(str(self.total))
        return "total.txt"

    def on_restore(self, checkpoint, timestep=None):
        self.total = int(Path(checkpoint).read_text())
"""


@pytest.fixture
def place(
    request: pytest.FixtureRequest, project: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], str]:
    """Return a function that returns a storage of a kind, beside a component that works until there is a file `end`."""
    project(f"components:\n  - work: {{end: {tmp_path / 'end'}}}\n", work=WORK)
    monkeypatch.setattr(stop, "INTERVAL", 0.05)
    return lambda kind: request.getfixturevalue("s3_folder")() if kind == "s3" else str(tmp_path / "results")


def stopping(storage: str) -> Callable[[events.Event], None]:
    """Return a listener that asks the execution to stop when its first trial has started."""

    def listen(event: events.Event) -> None:
        if isinstance(event, events.TrialStarted):
            request_stop(ml.Storage(storage)[event.execution])

    return listen


def check_that_it_goes_on(storage: str, end: Path) -> None:
    execution = ml.Storage(storage)["OY1p1o"]
    assert execution.status == "interrupted"
    assert [trial.status for trial in execution.trials] == ["interrupted", "pending"]
    with pytest.raises(Refused, match="OY1p1o is not running: it is interrupted"):
        request_stop(execution)
    execution.files.write(layout.join("OY1p1o", layout.STOP), b"[]")  # came too late
    end.touch()

    resumed = ml.execute(storage=storage, resume="OY1p1o")

    totals = [row["total"] for row in resumed.trials[0].records]
    assert resumed.status == "finished"
    assert totals == list(range(1, len(totals) + 1))
    assert not resumed.files.exists(layout.join("OY1p1o", layout.STOP))


@pytest.mark.parametrize(
    ("kind", "engine"), [("directory", "local"), ("directory", "processes:1"), ("s3", "local"), ("s3", "processes:1")]
)
def test_an_execution_is_stopped_with_a_checkpoint_and_goes_on(
    place: Callable[[str], str], tmp_path: Path, kind: str, engine: str, capsys: pytest.CaptureFixture[str]
) -> None:
    storage = place(kind)

    with pytest.raises(SystemExit) as ended:
        ml.execute(ml.Task("work").repeat(2), storage, "OY1p1o", engine, listeners=[stopping(storage)])

    assert ended.value.code == 143
    assert "OY1p1o was stopped by " in capsys.readouterr().err
    check_that_it_goes_on(storage, tmp_path / "end")


def test_an_execution_is_stopped_in_a_process_that_handles_sigterm_itself(
    place: Callable[[str], str], tmp_path: Path
) -> None:
    storage = place("directory")
    before = signal.signal(signal.SIGTERM, lambda *_: None)  # as Ray does

    try:
        with pytest.raises(SystemExit) as ended:
            ml.execute(ml.Task("work").repeat(2), storage, "OY1p1o", listeners=[stopping(storage)])
    finally:
        signal.signal(signal.SIGTERM, before)

    assert ended.value.code == 143
    check_that_it_goes_on(storage, tmp_path / "end")


@pytest.mark.usefixtures("ray_cluster")
def test_an_execution_on_a_cluster_is_stopped(place: Callable[[str], str], tmp_path: Path) -> None:
    storage = place("directory")

    with pytest.raises(SystemExit):
        ml.execute(
            ml.Task().component("work", resources={"cpus": 2}).repeat(2),
            storage,
            "OY1p1o",
            "ray",
            listeners=[stopping(storage)],
        )

    assert ml.Storage(storage)["OY1p1o"].status == "interrupted"


def test_an_execution_in_another_thread_is_stopped(place: Callable[[str], str], tmp_path: Path) -> None:
    storage = place("directory")
    ended: list[BaseException] = []

    def run() -> None:
        try:
            ml.execute(ml.Task("work").repeat(2), storage, "OY1p1o", "processes:1", listeners=[stopping(storage)])
        except BaseException as error:
            ended.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()

    assert [type(error) for error in ended] == [SystemExit]
    check_that_it_goes_on(storage, tmp_path / "end")
