"""The executing process is killed repeatedly at any moment: the storage can always be read and resumed.

`MACHINABLE_CRASHES=200,50` says how often: into a directory, and to an S3 server.
"""

from __future__ import annotations

import os
import random
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

import machinable as ml
from machinable.results.execution import Execution
from machinable.results.verify import verify
from machinable.storage.files import Files
from machinable.storage.hashing import digest
from machinable.storage.open import open_files
from machinable.storage.temporary import is_temporary
from tests.kits.s3_server import s3_server

TIMES = [int(number) for number in os.environ.get("MACHINABLE_CRASHES", "12,4").split(",")]
ROWS, TRIALS = 5, 4
SOON = 40.0  # seconds without a heartbeat after which a trial does not count as running
WORKERS_END = 30.0  # seconds within which workers notice that their executing process is gone

YAML = "components:\n  - steady: {rows: 5}\n  - going: {rows: 5, _retries_: 0}\n"
STEADY = """
import os, random, sys
from machinable import Component


pipe = None


def tell(*words):
    global pipe
    if pipe is None and "PROGRESS" in os.environ:
        pipe = os.open(os.environ["PROGRESS"], os.O_RDWR)  # a worker may outlive the reader
    if pipe is not None:
        os.write(pipe, (" ".join(map(str, words)) + "\\n").encode())


class Steady(Component):
    def on_execute(self):
        self.log.info("begin")
        for i in range(self.config.rows):
            self.record["draw"] = random.random()
            self.record.save()
            tell("row", self.flags.UID, i)
            self.store.write(f"deep/{i}.bin", random.randbytes(3000))
            tell("artifact", self.flags.UID, f"deep/{i}.bin")
        print("printed")
        return random.random()

    def on_finish(self, result, success):
        tell("end", self.flags.UID)
"""
GOING = """
import json, os
from machinable import Component
from steady import tell


class Going(Component):
    def on_create(self):
        self.next = 0

    def on_save(self, path, timestep):
        with open(os.path.join(path, f"{timestep}.json"), "w") as file:
            json.dump(self.next, file)
        return f"{timestep}.json"

    def on_restore(self, path):
        with open(path) as file:
            self.next = json.load(file)

    def on_execute(self):
        while self.next < self.config.rows:
            self.record["i"] = self.next
            self.record.save()
            tell("row", self.flags.UID, self.next)
            self.store.write(f"{self.next}.bin", bytes([self.next]) * 2000)
            tell("artifact", self.flags.UID, f"{self.next}.bin")
            self.next += 1
            self.save_checkpoint()
        return self.next
"""
EXECUTES = """
import sys
import machinable as ml
ml.execute(ml.Task(sys.argv[1]).repeat({trials}), {{"storage": sys.argv[2]}}, "OY1p1o", sys.argv[3])
""".format(trials=TRIALS)  # noqa: UP032


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "project"
    directory.mkdir()
    for name, text in (("machinable.yaml", YAML), ("steady.py", STEADY), ("going.py", GOING)):
        (directory / name).write_text(text)
    monkeypatch.chdir(directory)
    monkeypatch.syspath_prepend(str(directory))
    return directory


def killed(component: str, storage: str, engine: str, after: int, pipe: Path) -> list[list[str]]:
    """Execute in a process that is killed after that many events; return the events."""
    os.mkfifo(pipe)
    lines = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONDONTWRITEBYTECODE": "1"}
    environment["PROGRESS"] = str(pipe)
    command = [sys.executable, "-c", EXECUTES, component, storage, engine]
    reported = b""
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        while reported.count(b"\n") < after and process.poll() is None:
            if select.select([lines], [], [], 0.05)[0]:
                reported += os.read(lines, 65536)
        process.send_signal(signal.SIGKILL)
        assert process.stderr is not None
        errors = process.stderr.read().decode()
        assert process.wait() in (-signal.SIGKILL, 0), errors
    with suppress(BlockingIOError):
        while True:
            reported += os.read(lines, 65536)
    os.close(lines)
    return [line.split() for line in reported.decode().splitlines(keepends=True) if line.endswith("\n")]


def check(files: Files, reported: list[list[str]]) -> None:
    """Check that what was reported before the kill is stored, finished trials are whole, and states are known."""
    execution = Execution(files, "OY1p1o", clock=lambda: time.time() + SOON)
    _, faults = verify(files, clock=lambda: time.time() + 1000)
    assert {fault.kind for fault in faults} <= {"leftover", "unnoted"}, faults
    trials = {trial.uid: trial for trial in execution.trials}
    for what, uid, *facts in reported:
        if what == "row" and files.appends:
            assert len(trials[uid].records.rows) > int(facts[0])
        elif what == "artifact":
            assert facts[0] in trials[uid].files
    end = time.monotonic() + WORKERS_END
    while any(trial.status == "running" for trial in trials.values()):  # a worker lives a little longer
        assert time.monotonic() < end
        time.sleep(0.05)
        execution.refresh()
        trials = {trial.uid: trial for trial in execution.trials}
    for trial in trials.values():
        assert trial.status in ("pending", "interrupted", "finished")
        if trial.status == "finished":
            assert (len(trial.records.rows), len(trial.files)) == (ROWS, ROWS)
        elif trial.status == "pending":
            assert not [1 for _, uid, *_ in reported if uid == trial.uid] or not files.appends


def went_on(component: str, storage: str, engine: str) -> Any:
    """Resume the killed execution; execute the task if nothing was stored. Return the execution."""
    files = open_files(storage, create=True)
    is_there = files.exists("OY1p1o/execution.json")
    files.close()
    if is_there:
        return ml.execute(None, {"storage": storage}, None, engine, resume="OY1p1o")
    return ml.execute(ml.Task(component).repeat(TRIALS), {"storage": storage}, "OY1p1o", engine)


def results(files: Files, execution: Execution) -> dict[str, Any]:
    """Return the results without what must differ: times, and the number of starts."""
    found: dict[str, Any] = {}
    for trial in execution.trials:
        rows = [{key: value for key, value in row.items() if key[0] != "_"} for row in trial.records.rows]
        artifacts = {name: digest(trial.content(name)) for name in trial.files}
        found[trial.uid] = (trial.status, rows, artifacts, trial.result, trial.seed)
    return found


def differences(found: dict[str, Any], wanted: dict[str, Any]) -> list[Any]:
    return [(uid, found.get(uid), wanted.get(uid)) for uid in found | wanted if found.get(uid) != wanted.get(uid)]


def expected(tmp_path: Path, component: str) -> dict[str, Any]:
    execution = ml.execute(ml.Task(component).repeat(TRIALS), {"storage": str(tmp_path / "whole")}, "OY1p1o")
    with ml.Storage(str(tmp_path / "whole")) as storage:
        return results(storage.files, execution)


def moments(count: int, seed: int) -> Iterator[tuple[int, str, str]]:
    """Return when to kill what: mostly while trials run, sometimes when they start, sometimes never."""
    chance = random.Random(seed)
    for number in range(count):
        after = chance.choice(
            [0, 1, chance.randrange(1, 2 * ROWS * TRIALS), chance.randrange(1, 2 * ROWS * TRIALS), 99]
        )
        yield after, chance.choice(["steady", "going"]), "processes:2" if number % 4 == 3 else "local"


def temporaries(directory: Path) -> list[str]:
    return [str(path) for path in directory.rglob("*") if is_temporary(path.name)]


def test_a_directory_is_consistent_after_every_kill_and_can_be_resumed(world: Path, tmp_path: Path) -> None:
    wanted = {component: expected(tmp_path / component, component) for component in ("steady", "going")}
    for number, (after, component, engine) in enumerate(moments(TIMES[0], seed=7)):
        storage = tmp_path / f"{number}"
        reported = killed(component, str(storage), engine, after, tmp_path / f"{number}.pipe")
        if (storage / "OY1p1o/execution.json").exists():
            with ml.Storage(str(storage)) as opened:
                check(opened.files, reported)

        execution = went_on(component, str(storage), engine)

        with ml.Storage(str(storage)) as opened:
            name = "OY1p1o" if "OY1p1o" in opened else str(execution)
            assert differences(results(opened.files, opened[name]), wanted[component]) == [], (number, after, engine)
            assert verify(opened.files, clock=lambda: time.time() + 1000)[1] == []
        assert temporaries(storage) == []


def test_a_bucket_is_consistent_after_every_kill(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    boto3 = pytest.importorskip("boto3")
    for name, value in (("ACCESS_KEY_ID", "x"), ("SECRET_ACCESS_KEY", "y"), ("DEFAULT_REGION", "us-east-1")):
        monkeypatch.setenv(f"AWS_{name}", value)
    wanted = {component: expected(tmp_path / component, component) for component in ("steady", "going")}
    with s3_server() as endpoint:
        client = boto3.client("s3", endpoint_url=endpoint)
        client.create_bucket(Bucket="bucket")
        client.close()
        for number, (after, component, engine) in enumerate(moments(TIMES[1], seed=11)):
            url = f"s3://bucket/{number}?endpoint_url={quote(endpoint, safe='')}"
            reported = killed(component, url, engine, after, tmp_path / f"{number}.pipe")
            files = open_files(url, create=True)
            if files.exists("OY1p1o/execution.json"):
                check(files, reported)

            execution = went_on(component, url, engine)

            stored = Execution(files, str(execution), trust=True)
            assert differences(results(files, stored), wanted[component]) == [], (number, after, engine)
            assert verify(files, clock=lambda: time.time() + 1000)[1] == []
            files.close()
