"""Resume executions that were killed, interrupted, or failed, also with another task."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import machinable as ml
from machinable import errors, events
from machinable.engines.local import LocalEngine
from machinable.execution.directory import engine_facts
from machinable.execution.dry_run import changes
from machinable.results.verify import verify
from machinable.storage.local import DirectoryFiles
from machinable.storage.locks import open_locks
from machinable.storage.process_info import cores
from tests.conftest import World

WORK = """
import os
import random
import signal
from machinable import Component


def trap(point):
    # A file says what happens here, once.
    if not os.path.exists("trap"):
        return
    with open("trap") as file:
        where, what = file.read().split()
    if where != point:
        return
    os.remove("trap")
    if what == "fail":
        raise RuntimeError("trapped")
    if what == "interrupt":
        raise KeyboardInterrupt
    os.kill(os.getppid() if what == "kill-parent" else os.getpid(), signal.SIGKILL)
    signal.pause()


class Work(Component):
    def on_execute(self):
        trap(f"{self.flags.REPEAT_NUMBER}:begin")
        for step in range(3):
            self.record["step"] = step
            self.record["draw"] = random.random()
            self.record.save()
            trap(f"{self.flags.REPEAT_NUMBER}:{step}")
        self.store.write("a.json", [random.random(), self.config.lr])
        self.log.info("done")
        trap(f"{self.flags.REPEAT_NUMBER}:end")
        return random.random()
"""
DECLARATIONS = "components:\n  - work: {lr: 0.1}\n"


@pytest.fixture
def here(project: World) -> Path:
    return project(DECLARATIONS, work=WORK)


def task(times: int = 4) -> ml.Task:
    return ml.Task("work").repeat(times)


def place(path: Path) -> dict[str, Any]:
    return {"storage": str(path), "code_backup": False}


def outcomes(execution: Any) -> list[Any]:
    """Return the results of the trials, without times."""
    return [
        (
            trial.uid,
            trial.status,
            [{key: value for key, value in row.items() if key[:1] != "_"} for row in trial.records],
            {name: trial.content(name) for name in trial.files},
            trial.result,
        )
        for trial in execution.trials
    ]


def uninterrupted(directory: Path, times: int = 4) -> list[Any]:
    return outcomes(ml.execute(task(times), place(directory), "OY1p1o"))


def ledger(storage: Path, folder: str = "OY1p1o") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (storage / folder / "ledger.jsonl").read_text().splitlines()]


def in_a_process(here: Path, storage: Path, engine: str = "local") -> int:
    """Execute the task in a separate process and return how that ended."""
    script = (
        "import machinable as ml\n"
        f"ml.execute(ml.Task('work').repeat(4), {{'storage': {str(storage)!r}, 'code_backup': False}}, 'OY1p1o', {engine!r})"  # noqa: E501
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(ml.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", script], cwd=here, env=environment, capture_output=True, timeout=120)
    return done.returncode


@pytest.mark.parametrize("point", ["0:begin", "1:1", "2:end"])
def test_a_killed_execution_is_resumed_with_the_same_results(here: Path, tmp_path: Path, point: str) -> None:
    storage = tmp_path / "s"
    (here / "trap").write_text(f"{point} kill")
    assert in_a_process(here, storage) == -signal.SIGKILL
    assert ml.Storage(str(storage))["OY1p1o"].status != "finished"

    execution = ml.execute(storage=place(storage), resume="OY1p1o")

    assert (str(execution), execution.status) == ("OY1p1o", "finished")
    assert outcomes(execution) == uninterrupted(tmp_path / "other")
    assert outcomes(ml.Storage(str(storage))["OY1p1o"]) == outcomes(execution)
    assert [path.name for path in storage.iterdir()] == ["OY1p1o"]


@pytest.mark.parametrize("killed_in", ["SharedResults.release", "Ledger.finished"])
def test_no_lease_is_left_when_an_execution_is_killed_after_it_has_computed_a_requirement(
    project: World, tmp_path: Path, killed_in: str
) -> None:
    here = project("components:\n  - part: \n  - after: {_requires_: {x: part}}\n", part=PART, after=AFTER)
    kills = f"""
import os, signal
import machinable as ml
from machinable.execution.ledger import Ledger
from machinable.execution.reuse import SharedResults
{killed_in} = lambda *arguments: os.kill(os.getpid(), signal.SIGKILL)
ml.execute("after", {str(tmp_path / "s")!r}, "OY1p1o")
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(ml.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", kills], cwd=here, env=environment, capture_output=True, timeout=120)
    assert done.returncode == -signal.SIGKILL

    execution = ml.execute(storage=str(tmp_path / "s"), resume="OY1p1o")

    assert [trial.attempt for trial in execution.trials] == [1, 1], "the requirement had finished"
    with ml.Storage(str(tmp_path / "s")) as storage:
        assert verify(storage.files)[1] == []


PART = """
from machinable import Component


class Part(Component):
    def on_execute(self):
        self.store.write("a.json", 1)
"""
AFTER = """
from machinable import Component


class After(Component):
    def on_execute(self):
        return self.requires.x.read("a.json")
"""


@pytest.mark.parametrize("point", ["0:begin", "1:1", "2:end"])
def test_workers_whose_executing_process_was_killed_are_waited_for(here: Path, tmp_path: Path, point: str) -> None:
    storage = tmp_path / "s"
    (here / "trap").write_text(f"{point} kill-parent")
    assert in_a_process(here, storage, "processes:2") == -signal.SIGKILL

    execution = ml.execute(storage=place(storage), resume="OY1p1o", engine="processes:2")

    assert outcomes(execution) == uninterrupted(tmp_path / "other")


ORPHAN = """
import os
import signal
from machinable import Component


class Work(Component):
    def on_execute(self):
        parent = os.getppid()
        if os.path.exists("trap"):
            os.remove("trap")
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
            os.kill(parent, signal.SIGKILL)
            while os.getppid() == parent:
                pass
            self.record["step"] = 0
            self.record.save()
            self.progress(1, 2)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
            while True:
                signal.pause()
        return 1
"""


def test_a_trial_that_reports_progress_to_a_dead_process_does_not_fail(project: World, tmp_path: Path) -> None:
    here, storage = project(DECLARATIONS, work=ORPHAN), tmp_path / "s"
    (here / "trap").touch()
    assert in_a_process(here, storage, "processes:1") == -signal.SIGKILL

    execution = ml.execute(storage=place(storage), resume="OY1p1o")

    assert [trial.result for trial in execution.trials] == [1] * 4
    (left,) = storage.glob("OY1p1o/trials/*/attempts/1")
    assert json.loads((left / "status.json").read_text())["state"] == "interrupted"
    assert (left / "records" / "default.jsonl").read_text().startswith('{"step":0,')


MARKED = """
import sys
from machinable.storage.local import DirectoryFiles
from machinable.storage.cleanup import mark_worker
mark_worker(DirectoryFiles(sys.argv[1]), "OY1p1o")
print("ready", flush=True)
sys.stdin.read()
"""


def test_a_worker_that_outlives_its_killed_executing_process_is_reported(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = tmp_path / "s"
    (here / "trap").write_text("1:1 kill")
    assert in_a_process(here, storage) == -signal.SIGKILL
    monkeypatch.setattr("machinable.execution.resume.WORKER_EXIT_TIMEOUT", 0.1)
    with subprocess.Popen(
        [sys.executable, "-c", MARKED, str(storage)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as worker:
        assert worker.stdout is not None and worker.stdout.readline() == b"ready\n"

        with pytest.raises(errors.Refused, match=rf"a worker of OY1p1o is running on .* \(process {worker.pid}\)"):
            ml.execute(storage=place(storage), resume="OY1p1o")

        worker.kill()

    assert outcomes(ml.execute(storage=place(storage), resume="OY1p1o")) == uninterrupted(tmp_path / "other")
    assert [path.name for path in storage.rglob(".machinable-*")] == []


def test_a_trial_that_finished_unrecorded_is_not_run_again(here: Path, tmp_path: Path) -> None:
    storage = tmp_path / "s"
    (here / "trap").write_text("1:end fail")
    ml.execute(task(), place(storage), "OY1p1o", on_failure="continue")
    path = storage / "OY1p1o" / "ledger.jsonl"
    lines = path.read_text().splitlines()
    last = next(index for index, line in enumerate(lines) if '"finished"' in line)
    path.write_text("\n".join(lines[:last]) + "\n")  # killed just before it recorded the first trial

    received: list[str] = []
    execution = ml.execute(
        storage=place(storage),
        resume="OY1p1o",
        listeners=[lambda event: received.append(event.uid) if isinstance(event, events.TrialStarted) else None],
    )

    assert received == [execution.trials[1].uid]
    finished = [row for row in ledger(storage) if row["event"] == "finished"]
    assert [row["uid"] for row in finished] == [execution.trials[n].uid for n in (0, 2, 3, 1)]
    assert [row["record"]["step"] for row in finished] == [2, 2, 2, 2]
    assert outcomes(execution) == uninterrupted(tmp_path / "other")


@pytest.mark.parametrize(("what", "error"), [("fail", errors.TrialsFailed), ("interrupt", KeyboardInterrupt)])
def test_failed_and_interrupted_trials_run_again_and_keep_their_previous_attempt(
    here: Path, tmp_path: Path, what: str, error: type[BaseException]
) -> None:
    storage = tmp_path / "s"
    (here / "trap").write_text(f"1:1 {what}")
    with pytest.raises(error):
        ml.execute(task(), place(storage), "OY1p1o")

    execution = ml.execute(storage=place(storage), resume="OY1p1o")

    assert outcomes(execution) == uninterrupted(tmp_path / "other")
    trial = execution.trials[1]
    assert trial.attempt == 2
    kept = storage / "OY1p1o" / "trials" / trial.uid / "attempts" / "1"
    assert json.loads((kept / "status.json").read_text())["state"] == {"fail": "failed"}.get(what, "interrupted")
    assert len((kept / "records" / "default.jsonl").read_text().splitlines()) == 2


def test_resuming_is_recorded_in_the_ledger_and_reported_to_listeners(here: Path, tmp_path: Path) -> None:
    storage = tmp_path / "s"
    (here / "trap").write_text("1:1 fail")
    ml.execute(task(), place(storage), "OY1p1o", on_failure="continue")
    received: list[events.Event] = []

    ml.execute(storage=place(storage), resume="OY1p1o", listeners=[received.append])

    rows = ledger(storage)
    assert [row["event"] for row in rows[-4:]] == ["resumed", "started", "finished", "ended"]
    assert {key: rows[-4][key] for key in ("added", "removed", "kept", "engine")} == {
        "added": 0,
        "removed": 0,
        "kept": 4,
        "engine": {"type": "local", "slots": 1},
    }
    assert rows[-1]["status"] == "finished"
    assert [type(event).__name__ for event in received] == [
        "ExecutionStarted",
        "TrialStarted",
        "TrialFinished",
        "ExecutionFinished",
    ]
    assert isinstance(received[0], events.ExecutionStarted)
    assert isinstance(received[-1], events.ExecutionFinished)
    assert (received[0].total, received[0].kept) == (4, 3)
    assert (received[-1].status, received[-1].finished, received[-1].failed) == ("finished", 4, 0)


def test_it_runs_on_the_engine_that_it_ran_on_last(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = tmp_path / "s"

    def engines() -> list[Any]:
        first = json.loads((storage / "OY1p1o" / "execution.json").read_text())["engine"]
        return [first, *(row["engine"] for row in ledger(storage) if row["event"] == "resumed")]

    def resume(engine: Any = None) -> None:
        (here / "trap").write_text("1:1 fail")
        ml.execute(storage=place(storage), resume="OY1p1o", engine=engine, on_failure="continue")

    (here / "trap").write_text("1:1 fail")
    ml.execute(task(), place(storage), "OY1p1o", "processes:1", on_failure="continue")
    resume()
    resume("local")
    resume()
    monkeypatch.setenv("MACHINABLE_ENGINE", "processes")
    resume()

    workers, local = {"type": "processes", "slots": 1, "given": "processes:1"}, {"type": "local", "slots": 1}
    assert engines() == [workers, workers, local, local, {"type": "processes", "slots": cores()}]


@pytest.mark.parametrize(
    ("options", "left_out"),
    [
        ({"slots": 2, "name": "a", "amounts": {"a": [1.5, None, True]}}, []),
        ({"name": "a", "_key": "hush", "deep": [{"_key": "hush"}], "at": object()}, ["_key", "at", "deep"]),
        ({"api_token": "hush", "env": {"API_KEY": "hush"}, "url": "http://me:hush@host"}, ["api_token", "env", "url"]),
        ({"commands": ["export A=hush"]}, ["commands"]),
    ],
)
def test_options_of_an_engine_are_stored_if_they_are_plain_and_have_no_secret(
    options: dict[str, Any], left_out: list[str]
) -> None:
    engine = LocalEngine()
    engine.given_options, engine.unstored = options, frozenset({"commands"})
    stored = {name: value for name, value in options.items() if name not in left_out}

    expected = {"options": stored, **({"left_out": left_out} if left_out else {})}
    assert engine_facts(engine) == {"type": "local", "slots": 1, **expected}


def test_an_engine_with_options_that_are_not_stored_is_refused(here: Path, tmp_path: Path) -> None:
    storage = tmp_path / "s"
    (here / "trap").write_text("1:1 fail")
    engine = {"type": "slurm", "cluster": "local", "slots": 1, "folder": str(tmp_path / "jobs"), "setup": ["A=hush"]}
    with pytest.raises(errors.TrialsFailed):
        ml.execute(task(), place(storage), "OY1p1o", engine)

    with pytest.raises(errors.Refused, match=r"'slurm' with options that are not stored: setup\n.*setup: …"):
        ml.execute(storage=place(storage), resume="OY1p1o")

    assert "hush" not in (storage / "OY1p1o" / "execution.json").read_text()
    assert ml.execute(storage=place(storage), resume="OY1p1o", engine="local").status == "finished"


def test_an_engine_without_a_name_has_to_be_given_again(here: Path, tmp_path: Path) -> None:
    class Background(LocalEngine):
        name = "background"

    storage = tmp_path / "s"
    (here / "trap").write_text("1:1 fail")
    ml.execute(task(), place(storage), "OY1p1o", Background(), on_failure="continue")

    with pytest.warns(UserWarning, match=r"ran on the engine 'background', which has to be given again: .* 'local'"):
        assert ml.execute(storage=place(storage), resume="OY1p1o").status == "finished"


def test_an_execution_that_fails_again_can_be_resumed_again(here: Path, tmp_path: Path) -> None:
    storage = tmp_path / "s"
    for _ in range(2):
        (here / "trap").write_text("1:1 fail")
        resume = "OY1p1o" if storage.exists() else None
        ml.execute(task(), place(storage), None if resume else "OY1p1o", resume=resume, on_failure="continue")

    execution = ml.execute(storage=place(storage), resume="OY1p1o")

    assert outcomes(execution) == uninterrupted(tmp_path / "other")
    assert execution.trials[1].attempt == 3
    attempts = storage / "OY1p1o" / "trials" / execution.trials[1].uid / "attempts"
    assert sorted(path.name for path in attempts.iterdir()) == ["1", "2"]


def test_a_resumed_trial_has_all_its_retries_again(here: Path, tmp_path: Path) -> None:
    storage = tmp_path / "s"
    (here / "trap").write_text("1:1 fail")
    ml.execute(task(), place(storage), "OY1p1o", on_failure="continue")
    (here / "trap").write_text("1:1 fail")

    execution = ml.execute(storage=place(storage), resume="OY1p1o", retries=1)

    assert execution.status == "finished"
    assert execution.trials[1].attempt == 3


def test_a_finished_execution_does_not_change(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    storage = tmp_path / "s"
    ml.execute(task(), place(storage), "OY1p1o")
    before = {path: path.read_bytes() for path in storage.rglob("*") if path.is_file()}
    capsys.readouterr()

    execution = ml.execute(storage=place(storage), resume="OY1p1o")

    assert execution.status == "finished"
    assert capsys.readouterr().err == "OY1p1o has finished: there is nothing to resume\n"
    assert {path: path.read_bytes() for path in storage.rglob("*") if path.is_file()} == before


# with another task


def test_another_task_replaces_the_stored_one(here: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    storage = tmp_path / "s"
    former = ml.execute(ml.Task().component("work", [None, {"lr": 0.2}]).repeat(2), place(storage), "OY1p1o")
    former_uids = [trial.uid for trial in former.trials]
    ran: list[str] = []
    wanted = ml.Task().component("work", [None, {"lr": 0.3}]).repeat(3)
    diff = changes("OY1p1o", wanted, place(storage))
    capfd.readouterr()

    execution = ml.execute(
        wanted,
        place(storage),
        resume="OY1p1o",
        listeners=[lambda event: ran.append(event.uid) if isinstance(event, events.TrialStarted) else None],
        progress=False,
    )

    assert str(diff) == "+4 \N{MINUS SIGN}2 =2"
    assert capfd.readouterr().err == "OY1p1o: +4 \N{MINUS SIGN}2 =2: 4 added, 2 removed, 2 kept; 4 to run\n"
    assert set(diff.to_run) == set(diff.added) == set(ran)
    assert [trial.uid for trial in execution.trials] == [spec.uid for spec in wanted.plan(seed="OY1p1o")]
    assert execution.status == "finished"
    assert len(ran) == 4
    fresh = ml.execute(wanted, place(tmp_path / "other"), "OY1p1o")
    assert outcomes(execution) == outcomes(fresh)
    stored = ml.Storage(str(storage))["OY1p1o"]
    assert outcomes(stored) == outcomes(fresh)
    assert stored.data["trials"] == 6
    assert stored.data["started"] == former.started
    # nothing is lost: the folders of dropped trials, the previous plan and task
    folder = storage / "OY1p1o"
    assert {path.name for path in (folder / "trials").iterdir()} >= set(former_uids)
    former_plan = [json.loads(line)["uid"] for line in (folder / "plan.1.jsonl").read_text().splitlines()]
    assert former_plan == former_uids
    assert json.loads((folder / "execution.1.json").read_text())["trials"] == 4
    # from now on the new task is the stored one
    assert str(changes("OY1p1o", None, place(storage))) == "+0 \N{MINUS SIGN}0 =6"


def test_a_trial_with_a_changed_configuration_runs_again(here: Path, tmp_path: Path) -> None:
    storage = tmp_path / "s"
    ml.execute(task(2), place(storage), "OY1p1o")
    (here / "machinable.yaml").write_text(DECLARATIONS.replace("0.1", "0.5"))

    assert str(changes("OY1p1o", task(2), place(storage))) == "+2 \N{MINUS SIGN}2 =0"
    execution = ml.execute(task(2), place(storage), resume="OY1p1o")

    assert [json.loads(trial.content("a.json"))[1] for trial in execution.trials] == [0.5, 0.5]
    assert [trial.config.lr for trial in ml.Storage(str(storage))["OY1p1o"].trials] == [0.5, 0.5]
    kept = storage / "OY1p1o" / "trials" / execution.trials[0].uid / "attempts" / "1"
    assert json.loads((kept / "artifacts" / "a.json").read_text())[1] == 0.1


def test_another_task_may_have_fewer_trials(here: Path, tmp_path: Path) -> None:
    storage = tmp_path / "s"
    ml.execute(task(3), place(storage), "OY1p1o")

    execution = ml.execute(task(2), place(storage), resume="OY1p1o")

    assert len(execution) == 2
    assert outcomes(ml.Storage(str(storage))["OY1p1o"]) == uninterrupted(tmp_path / "other", 2)
    assert ledger(storage)[-2] | {"code": 0, "host": 0, "time": 0} == {
        "event": "resumed",
        "time": 0,
        "added": 0,
        "removed": 1,
        "kept": 2,
        "engine": {"type": "local", "slots": 1},
        "code": 0,
        "host": 0,
    }


def test_a_rerun_is_resumed_by_its_name(here: Path, tmp_path: Path) -> None:
    storage = tmp_path / "s"
    ml.execute(task(), place(storage), "OY1p1o")
    (here / "trap").write_text("1:1 fail")
    ml.execute(task(), place(storage), "OY1p1o", on_failure="continue")

    execution = ml.execute(storage=place(storage), resume="OY1p1o-2")

    assert (str(execution), execution.status) == ("OY1p1o-2", "finished")


# executions that cannot be resumed


def test_a_project_that_now_plans_other_trials_is_refused(here: Path, tmp_path: Path) -> None:
    storage = tmp_path / "s"
    (here / "trap").write_text("1:1 fail")
    ml.execute(task(), place(storage), "OY1p1o", on_failure="continue")
    (here / "machinable.yaml").write_text(DECLARATIONS.replace("0.1", "0.5"))
    before = {path: path.read_bytes() for path in storage.rglob("*") if path.is_file()}

    with pytest.raises(errors.Refused) as caught:
        ml.execute(storage=place(storage), resume="OY1p1o")

    uid = ml.Storage(str(storage))["OY1p1o"].trials[1].uid
    assert str(caught.value).splitlines() == [
        "the project no longer gives the trials that OY1p1o started with",
        f"  work {uid}: lr 0.1 → 0.5",
        "  Restore the project (machinable restore OY1p1o DIR writes the files as they were), or give the task, which "
        "then replaces the stored one: execute(task, resume='OY1p1o').",
    ]
    assert {path: path.read_bytes() for path in storage.rglob("*") if path.is_file()} == before


def test_a_running_execution_is_refused(here: Path, tmp_path: Path) -> None:
    storage = tmp_path / "s"
    (here / "trap").write_text("1:1 fail")
    ml.execute(task(), place(storage), "OY1p1o", on_failure="continue")
    script = (
        "import sys\nfrom machinable.storage.local import DirectoryFiles\nfrom machinable.storage.locks import open_locks\n"  # noqa: E501
        f"locks = open_locks(DirectoryFiles({str(storage)!r}))\n"
        "assert locks.take('OY1p1o/execution.lease', {'execution': 'OY1p1o'})\nprint('held', flush=True)\nsys.stdin.read()\n"  # noqa: E501
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(ml.__file__).parents[1])}
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(errors.Refused) as caught:
            ml.execute(storage=place(storage), resume="OY1p1o")
        assert f"OY1p1o is running: OY1p1o on {os.uname().nodename} (process {holder.pid})" in str(caught.value)
        holder.kill()
        holder.communicate()

    assert ml.execute(storage=place(storage), resume="OY1p1o").status == "finished"  # its process is gone


class Beating(threading.Thread):
    """Write heartbeats to the status of a trial, as its worker on another host does, until it is told to stop."""

    def __init__(self, status: Path, facts: dict[str, Any]) -> None:
        super().__init__()
        self.status, self.facts, self.number, self.is_over = status, facts, 0, threading.Event()

    def run(self) -> None:
        while not self.is_over.is_set():
            self.number += 1
            temporary = self.status.with_name(".machinable-writing-beat")
            temporary.write_text(json.dumps(self.facts | {"heartbeat": f"2026-01-01T00:00:00.{self.number:06}+00:00"}))
            temporary.replace(self.status)
            self.is_over.wait(0.05)


def test_a_trial_that_runs_on_another_host_is_waited_for(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("machinable.execution.resume.LEASE", 0.5)
    monkeypatch.setattr("machinable.execution.resume.REMOTE_EXIT_TIMEOUT", 0.5)
    storage = tmp_path / "s"
    (here / "trap").write_text("1:1 fail")
    execution = ml.execute(task(), place(storage), "OY1p1o", on_failure="continue")
    path = storage / "OY1p1o" / "ledger.jsonl"
    uid = execution.trials[1].uid
    path.write_text("".join(line + "\n" for line in path.read_text().splitlines() if '"failed"' not in line))
    status = storage / "OY1p1o" / "trials" / uid / "status.json"
    facts = json.loads(status.read_text())
    beating = Beating(status, facts | {"state": "running", "host": {"name": "node7", "pid": 4711}})
    beating.start()

    holder = rf"the trial {uid} of OY1p1o seems to be running on node7 \(process 4711\)"
    try:
        with pytest.raises(errors.Refused, match=holder):
            ml.execute(storage=place(storage), resume="OY1p1o")
    finally:
        beating.is_over.set()
        beating.join()

    assert ml.execute(storage=place(storage), resume="OY1p1o").status == "finished"


@pytest.mark.parametrize(
    ("resume", "options", "kind", "words"),
    [
        ("OY1p1x", {}, errors.NotStored, "Did you mean 'OY1p1o'?"),
        ("OY1p1o-2", {}, errors.NotStored, "Did you mean 'OY1p1o'?"),
        ("nothing", {}, errors.InvalidValue, "'nothing' is not an execution id"),
        (5, {}, errors.InvalidType, "resume is 5"),
        ("OY1p1o", {"storage": None}, errors.InvalidValue, "cannot resume OY1p1o without its storage"),
        ("OY1p1o", {"seed": 3}, errors.InvalidValue, "Leave out the seed."),
        ("OY1p1o", {"storage": "nowhere"}, errors.StorageUnavailable, "there is no storage at"),
        ("OY1p1o", {"task": ["work", "work"]}, errors.InvalidValue, "resume takes one task, not a list"),
        ("OY1p1o", {"rerun": "wrok"}, errors.UnknownName, "Did you mean 'work'?"),
        ("OY1p1o", {"engine": "lokal"}, errors.UnknownName, "Did you mean 'local'?"),
    ],
)
def test_executions_that_cannot_be_resumed_are_refused_and_not_changed(
    here: Path, tmp_path: Path, resume: Any, options: dict[str, Any], kind: type[Exception], words: str
) -> None:
    storage = tmp_path / "s"
    (here / "trap").write_text("1:1 fail")
    ml.execute(task(2), place(storage), "OY1p1o", on_failure="continue")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    with pytest.raises(kind) as caught:
        ml.execute(**{"storage": place(storage), "resume": resume, **options})

    assert words in str(caught.value)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("damage", "kind", "words"),
    [
        (lambda folder: (folder / "execution.json").unlink(), errors.NotStored, "OY1p1o in {storage} never started"),
        (lambda folder: (folder / "execution.json").write_text("{"), errors.Damaged, "cannot be read"),
        (
            lambda folder: (folder / "execution.json").write_text('{"format": 2}'),
            errors.StorageError,
            "reads format 1",
        ),
        (
            lambda folder: (folder / "plan.jsonl").write_text(
                (folder / "plan.jsonl").read_text().splitlines(keepends=True)[0]
            ),
            errors.Damaged,
            "has 1 of 2 trials",
        ),
        (lambda folder: (folder / "plan.jsonl").unlink(), errors.Damaged, "has 0 of 2 trials"),
    ],
)
def test_damage_is_reported(
    here: Path, tmp_path: Path, damage: Callable[[Path], object], kind: type[Exception], words: str
) -> None:
    storage = tmp_path / "s"
    (here / "trap").write_text("1:1 fail")
    ml.execute(task(2), place(storage), "OY1p1o", on_failure="continue")
    damage(storage / "OY1p1o")

    with pytest.raises(kind) as caught:
        ml.execute(storage=place(storage), resume="OY1p1o")

    assert words.format(storage=storage) in str(caught.value)


def test_changed_code_is_reported_and_stored(here: Path, tmp_path: Path) -> None:
    storage = tmp_path / "s"
    (here / "trap").write_text("1:1 fail")
    ml.execute(task(2), str(storage), "OY1p1o", on_failure="continue")
    (here / "extra.py").write_text("x = 1\n")

    told = "the code of OY1p1o has changed since it started: files that no module imports. The remaining trials run"
    with pytest.warns(UserWarning, match=told):
        ml.execute(storage=str(storage), resume="OY1p1o")

    folder = storage / "OY1p1o"
    assert (folder / "code.zip").read_bytes() != (folder / "code.1.zip").read_bytes()
    resumed = next(row for row in ledger(storage) if row["event"] == "resumed")
    assert resumed["code"]["backup"] != json.loads((folder / "execution.json").read_text())["code"]["backup"]


def test_an_execution_can_be_resumed_after_the_other_process_has_ended(here: Path, tmp_path: Path) -> None:
    storage = tmp_path / "s"
    (here / "trap").write_text("1:1 fail")
    for _ in range(2):
        ml.execute(task(2), place(storage), "OY1p1o", on_failure="continue")
    files = DirectoryFiles(storage)
    locks = open_locks(files)
    assert locks.holder("OY1p1o/execution.lease") is None
    locks.close()


# from checkpoints


CHECKPOINTED = """
import json
import os
import random
import signal
from machinable import Component


class Work(Component):
    def on_create(self):
        self.total = 0.0

    def on_execute_iteration(self, i):
        self.total += random.random()
        self.record["total"] = self.total
        self.ran(i)
        if i == 2:
            self.store.write("half.json", self.total)
        if os.path.exists("trap") and open_and_read("trap") == str(i):
            os.remove("trap")
            os.kill(os.getpid(), signal.SIGKILL)
        if i % 2:
            self.save_checkpoint()
        if i == 5:
            return StopIteration

    def ran(self, i):
        with open("ran", "a") as file:
            file.write(f"{self.flags.REPEAT_NUMBER}:{i} ")

    def on_save(self, path, timestep):
        with open(os.path.join(path, "state.json"), "w") as file:
            json.dump(self.total, file)

    def on_restore(self, checkpoint):
        with open(os.path.join(checkpoint, "state.json")) as file:
            self.total = json.load(file)


def open_and_read(name):
    with open(name) as file:
        return file.read()
"""


def test_a_trial_resumes_from_its_last_checkpoint_with_the_same_results(project: World, tmp_path: Path) -> None:
    here = project(DECLARATIONS, work=CHECKPOINTED)
    (here / "trap").write_text("4")
    storage = tmp_path / "s"
    assert in_a_process(here, storage) == -signal.SIGKILL
    ran = (here / "ran").read_text()
    (here / "ran").unlink()

    execution = ml.execute(storage=place(storage), resume="OY1p1o")

    assert ran == "0:0 0:1 0:2 0:3 0:4 "
    again = (here / "ran").read_text()
    assert again.startswith("0:4 0:5 1:0 ")
    assert outcomes(execution) == uninterrupted(tmp_path / "other")
    assert (execution.trials[0].attempt, execution.trials[1].attempt) == (2, 1)


@pytest.mark.parametrize(
    ("retries", "ran"),
    [("2", "0:4 0:5 0:4 0:5 "), ("{count: 2, from: start}", "0:4 0:5 0:0 0:1 0:2 0:3 0:4 0:5 ")],
)
def test_resumed_trials_and_retries_continue_from_the_last_checkpoint(
    project: World, tmp_path: Path, retries: str, ran: str
) -> None:
    fails = CHECKPOINTED.replace("os.kill(os.getpid(), signal.SIGKILL)", "raise OSError")
    here = project(DECLARATIONS.replace("lr: 0.1", "lr: 0.1, _retries_: 0"), work=fails)
    storage = tmp_path / "s"
    (here / "trap").write_text("4")
    ml.execute(task(1), place(storage), "OY1p1o", on_failure="continue")
    (here / "trap").write_text("5")
    (here / "ran").unlink()
    project(DECLARATIONS.replace("lr: 0.1", f"lr: 0.1, _retries_: {retries}"))

    execution = ml.execute(storage=place(storage), resume="OY1p1o")

    assert (here / "ran").read_text() == ran
    assert outcomes(execution) == uninterrupted(tmp_path / "other", 1)
    assert execution.trials[0].attempt == 3


def test_an_attempt_that_was_killed_before_it_restored_a_checkpoint_does_not_hide_it(
    project: World, tmp_path: Path
) -> None:
    here = project(DECLARATIONS, work=CHECKPOINTED)
    storage = tmp_path / "s"
    (here / "trap").write_text("4")
    assert in_a_process(here, storage) == -signal.SIGKILL
    trial = storage / "OY1p1o" / "trials" / ml.Storage(str(storage))["OY1p1o"].trials[0].uid
    aside = trial / "attempts" / "1"
    aside.mkdir(parents=True)
    for name in [entry.name for entry in trial.iterdir() if entry.name != "attempts"]:
        (trial / name).rename(aside / name)
    status = json.loads((aside / "status.json").read_text())
    (trial / "status.json").write_text(json.dumps(status | {"attempt": 2, "checkpoint": None, "at_checkpoint": None}))
    (here / "ran").unlink()

    execution = ml.execute(storage=place(storage), resume="OY1p1o")

    assert (here / "ran").read_text().startswith("0:4 0:5 1:0 ")
    assert outcomes(execution) == uninterrupted(tmp_path / "other")
    assert execution.trials[0].attempt == 3
