"""A storage becomes unwritable during an execution: trials continue, nothing is lost, and one error says where."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

import machinable as ml
from machinable import events
from machinable.cli import main
from machinable.engines.base import Work
from machinable.engines.local import LocalEngine
from machinable.errors import StorageUnavailable
from machinable.plan.spec import Outcome, TrialSpec
from machinable.results.verify import verify
from machinable.storage import local as storage_files

World = Callable[..., Path]

WORK = """
import os
from machinable import Component


class Work(Component):
    def on_execute(self):
        for i in range(4):
            self.record["i"] = i
            self.record.save()
            if i == 1 and self.flags.REPEAT_NUMBER == 1:
                {breaks}
        self.log.info("half of it")
        self.store.write("a.bin", b"a" * 1000)
        return self.flags.REPEAT_NUMBER
"""


@pytest.fixture(autouse=True)
def shelter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "shelter"
    directory.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(directory))
    monkeypatch.setenv("TMPDIR", str(directory))
    monkeypatch.setattr("machinable.storage.fallback.PLACES", ())
    return directory


class Failing:
    """Let all writes below a directory fail in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
        self.failure: OSError | None = None
        self._directory = str(directory)
        opened = storage_files.DirectoryFiles._open_to_write
        written = storage_files._write_all

        def fail(files: storage_files.DirectoryFiles, path: str, flags: int) -> int:
            if self.failure is not None and path.startswith(self._directory):
                raise self.failure
            return opened(files, path, flags)

        def fail_writing(file: int, data: bytes) -> None:
            if self.failure is not None and os.readlink(f"/proc/self/fd/{file}").startswith(self._directory):
                written(file, data[: len(data) // 2])  # what a full disk still takes
                raise self.failure
            written(file, data)

        monkeypatch.setattr(storage_files.DirectoryFiles, "_open_to_write", fail)
        if sys.platform == "linux":
            monkeypatch.setattr(storage_files, "_write_all", fail_writing)


FULL = OSError(errno.ENOSPC, "No space left on device")
READ_ONLY = OSError(errno.EROFS, "Read-only file system")


def run(task: Any, storage: Any, **options: Any) -> Any:
    return ml.execute(task, {"storage": str(storage), "code_backup": False}, "OY1p1o", **options)


@pytest.mark.parametrize("failure", [FULL, READ_ONLY], ids=["full", "read-only"])
def test_a_trial_finishes_and_the_execution_says_where_its_results_are(
    project: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: OSError
) -> None:
    project(
        "components: [work: ]\n",
        work=WORK.format(breaks="from tests.journeys import test_outages; test_outages.BREAK()"),
    )
    storage = tmp_path / "stored"
    failing = Failing(monkeypatch, storage)
    monkeypatch.setitem(globals(), "BREAK", lambda: setattr(failing, "failure", failure))

    with pytest.raises(StorageUnavailable) as caught:
        run(ml.Task("work").repeat(4), storage)

    (place,) = (tmp_path / "shelter").iterdir()
    assert str(caught.value) == (
        f"can no longer write to the storage {storage}: {failure.strerror}\n"
        f"  later results are in {place}\n"
        f"  When it is writable again: machinable rescue {place} --storage {storage}"
    )
    execution = ml.Storage(str(storage))["OY1p1o"]
    assert [trial.status for trial in execution.trials] == ["finished", "interrupted", "pending", "pending"]
    assert [row["i"] for row in execution.trials[1].records] == [0, 1]

    failing.failure = None
    assert main(["rescue", str(place), "--storage", str(storage)]) == 0
    execution = ml.Storage(str(storage))["OY1p1o"]
    assert [trial.status for trial in execution.trials] == ["finished", "finished", "pending", "pending"]
    trial = execution.trials[1]
    assert ([row["i"] for row in trial.records], trial.read("a.bin"), trial.result) == ([0, 1, 2, 3], b"a" * 1000, 1)
    assert trial.log.endswith("INFO half of it\n")
    assert main(["verify", "--storage", str(storage)]) == 0


def test_a_storage_that_is_available_again_in_time_is_not_a_failure(
    project: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = WORK.format(breaks="from tests.journeys import test_outages; test_outages.BREAK()").replace(
        "        return", "        from tests.journeys import test_outages; test_outages.MEND()\n        return"
    )
    project("components: [work: ]\n", work=code)
    storage = tmp_path / "stored"
    failing = Failing(monkeypatch, storage)
    monkeypatch.setitem(globals(), "BREAK", lambda: setattr(failing, "failure", FULL))
    monkeypatch.setitem(globals(), "MEND", lambda: setattr(failing, "failure", None))

    execution = run(ml.Task("work").repeat(3), storage)

    assert execution.status == "finished"
    assert list((tmp_path / "shelter").iterdir()) == []
    stored = ml.Storage(str(storage))["OY1p1o"]
    assert [[row["i"] for row in trial.records] for trial in stored.trials] == [[0, 1, 2, 3]] * 3
    with ml.Storage(str(storage)) as opened:
        assert verify(opened.files)[1] == []


def test_trials_that_could_not_start_in_an_outage_are_listed_with_the_command_to_resume(
    project: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project("components: [work: ]\n", work=WORK.format(breaks="pass"))
    storage = tmp_path / "stored"
    failing = Failing(monkeypatch, storage)

    class Breaks(LocalEngine):
        """The storage fails when the second trial has ended."""

        def submit(self, work: Work, spec: TrialSpec) -> Future[Outcome]:
            future = super().submit(work, spec)
            failing.failure = FULL if spec.index == 1 else None
            return future

    def mend(event: events.Event) -> None:
        if isinstance(event, events.ExecutionFinished):
            failing.failure = None

    with pytest.raises(StorageUnavailable) as caught:
        run(ml.Task("work").repeat(4), storage, engine=Breaks(), listeners=[mend])

    assert str(caught.value) == (
        f"the storage {storage} could not be written for a while: no further trials were started\n"
        f"  To resume: machinable resume OY1p1o --storage {storage}"
    )
    stored = ml.Storage(str(storage))["OY1p1o"]
    assert [trial.status for trial in stored.trials] == ["finished", "finished", "pending", "pending"]
    assert list((tmp_path / "shelter").iterdir()) == []


BREAK: Callable[[], None] = print
MEND: Callable[[], None] = print


# a full disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 400 KiB."""
    directory = tmp_path / "disk"
    directory.mkdir()
    mounted = (
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=400k", "none", str(directory)], capture_output=True, check=False
        )
        if sys.platform == "linux" and os.geteuid() == 0
        else None
    )
    if mounted is None or mounted.returncode:
        pytest.skip("no disk can be mounted here")
    yield directory
    subprocess.run(["umount", "-l", str(directory)], check=True)


def fill(directory: str) -> None:
    """Write until the disk is full."""
    with suppress(OSError), open(f"{directory}/filler", "wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)


@pytest.mark.parametrize("engine", ["local", "processes:1"])
def test_an_execution_survives_a_full_disk(project: World, tmp_path: Path, small_disk: Path, engine: str) -> None:
    project(
        "components: [work: ]\n",
        work=WORK.format(breaks=f"from tests.journeys.test_outages import fill; fill({str(small_disk)!r})"),
    )
    storage = small_disk / "stored"

    with pytest.raises(StorageUnavailable, match="No space left on device") as caught:
        run(ml.Task("work").repeat(4), storage, engine=engine)

    (place,) = (tmp_path / "shelter").iterdir()
    assert str(place) in str(caught.value)
    states = [trial.status for trial in ml.Storage(str(storage))["OY1p1o"].trials]
    assert (states[0], states.count("finished"), states[2:]) == ("finished", 1, ["pending", "pending"])

    (small_disk / "filler").unlink()
    assert main(["rescue", str(place), "--storage", str(storage)]) == 0
    trial = ml.Storage(str(storage))["OY1p1o"].trials[1]
    assert not trial.error
    assert (trial.status, trial.read("a.bin"), [row["i"] for row in trial.records]) == (
        "finished",
        b"a" * 1000,
        [0, 1, 2, 3],
    )
    assert main(["verify", "--storage", str(storage)]) == 0


# a lost server


@pytest.mark.filterwarnings("ignore:could not release a lease")
def test_an_execution_survives_the_loss_of_its_server(
    project: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("boto3")
    from machinable.storage import s3
    from machinable.storage.documents import read_rows
    from machinable.storage.local import DirectoryFiles
    from tests.kits.s3_server import s3_server

    project(
        "components: [work: ]\n",
        work=WORK.format(breaks="from tests.journeys import test_outages; test_outages.BREAK()"),
    )
    once = {"connect_timeout": 2, "read_timeout": 5, "retries": {"mode": "standard", "total_max_attempts": 1}}
    monkeypatch.setattr(s3, "_PATIENT", once)
    for name, value in {
        "ACCESS_KEY_ID": "CANARYID",
        "SECRET_ACCESS_KEY": "CANARYKEY",
        "DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    with ExitStack() as server:
        endpoint = server.enter_context(s3_server())
        make_bucket(endpoint)
        monkeypatch.setitem(globals(), "BREAK", server.close)
        url = f"s3://bucket/results?endpoint_url={quote(endpoint, safe='')}"

        with pytest.raises(
            StorageUnavailable, match=r"can no longer write to the storage s3://bucket/results"
        ) as caught:
            run(ml.Task("work").repeat(4), url)

    assert "CANARYKEY" not in str(caught.value) + repr(caught.value.__dict__)
    (place,) = (tmp_path / "shelter").iterdir()
    kept = DirectoryFiles(place)
    (uid,) = [entry.name for entry in kept.entries("OY1p1o/trials")]
    assert [row["i"] for row in read_rows(kept, f"OY1p1o/trials/{uid}/records/default.jsonl")] == [0, 1, 2, 3]
    assert kept.read(f"OY1p1o/trials/{uid}/artifacts/a.bin") == b"a" * 1000
    (ledger,) = (place / "OY1p1o").glob("ledger.*.jsonl")
    events = [json.loads(line) for line in ledger.read_text().splitlines()]
    assert [(event["event"], event.get("uid") == uid) for event in events] == [
        ("started", False),
        ("finished", False),
        ("started", True),
        ("ended", False),
    ]
    assert events[-1]["status"] == "interrupted"


def make_bucket(endpoint: str) -> None:
    import boto3

    client = boto3.client("s3", endpoint_url=endpoint)
    client.create_bucket(Bucket="bucket")
    client.close()
