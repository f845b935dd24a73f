"""Jobs of Slurm, whose commands are stood in for by a script that runs them on this host."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import machinable as ml
from machinable.cli.main import main
from machinable.engines import registry
from machinable.engines.base import WorkerLost
from machinable.errors import MachinableError, TrialsFailed
from machinable.events import Listener
from machinable.testing.engine import answer, contents, trial

COMMANDS = Path(__file__).parents[2] / "kits" / "slurm.sh"
YAML = """\
components:
  - work:
      _resources_: {cpus: 1.5, gpus: 1, memory: 1GiB, license: 2}
      steps: 6
      _at: -1
      _does: ""
execution:
  resources: {license: 4, gpus: 4}
"""
WORK = """\
import os
import random
import subprocess
import time

from machinable import Component
from machinable.engines.interruption import interruption


class Work(Component):
    def on_create(self):
        self.values = []

    def on_execute_iteration(self, iteration):
        self.values.append(random.random())
        self.record["value"] = self.values[-1]
        if iteration == self.config._at and self.flags.ATTEMPT == 1:
            getattr(self, self.config._does)()
        if iteration + 1 == self.config.steps:
            self.store.write("values.json", self.values)
            self.store.write("devices.json", os.environ.get("CUDA_VISIBLE_DEVICES"))
            return StopIteration

    def on_save(self, path, timestep):
        with open(f"{path}/values.txt", "w") as file:
            file.write(" ".join(map(repr, self.values)))

    def on_restore(self, path):
        with open(f"{path}/values.txt") as file:
            self.values = [float(value) for value in file.read().split()]

    def preempted(self):
        subprocess.run(["scancel", "--signal", "TERM", os.environ["FAKE_JOB"]], check=True)
        while not interruption.is_pending:
            time.sleep(0.01)

    def lost(self):
        self.save_checkpoint()
        subprocess.run(["scancel", "--signal", "KILL", os.environ["FAKE_JOB"]], check=True)

    def orphaned(self):
        self.save_checkpoint()
        os.kill(int(os.environ["EXECUTING"]), 9)
        time.sleep(60)
"""


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the directory of a Slurm."""
    commands, state = tmp_path / "bin", tmp_path / "slurm"
    commands.mkdir()
    state.mkdir()
    for name in ("sbatch", "srun", "squeue", "sacct", "scancel", "sinfo"):
        (commands / name).symlink_to(COMMANDS)
    monkeypatch.setenv("PATH", f"{commands}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SLURM", str(state))
    project = tmp_path / "project"
    project.mkdir()
    (project / "machinable.yaml").write_text(YAML)
    (project / "work.py").write_text(WORK)
    monkeypatch.chdir(project)
    monkeypatch.setattr("machinable.engines.slurm.engine.LOOK_INTERVAL", 0.05)
    monkeypatch.setattr("machinable.engines.slurm.engine.QUEUE_DELAY", 0.0)
    return state


def engine(**options: Any) -> dict[str, Any]:
    return {"type": "slurm", "folder": "../jobs", "address": "127.0.0.1", **options}


def scripts(slurm: Path) -> list[dict[str, str]]:
    """Return the options of the jobs that were submitted."""
    lines = [file.read_text().splitlines() for file in sorted(slurm.glob("*.sh"))]
    options = [[line.removeprefix("#SBATCH --") for line in some if line.startswith("#SBATCH")] for some in lines]
    return [{key: value for key, _, value in (one.partition("=") for one in some)} for some in options]


def test_workers_are_one_job_array_with_the_resources_of_the_trials(slurm: Path, tmp_path: Path) -> None:
    for name, where in (("here", "local"), ("there", engine(partition="gpu", time="90m", slots=2, account="me"))):
        ml.execute(ml.Task("work").repeat(4), tmp_path / name / "s", "OY1p1o", where)

    (options,) = scripts(slurm)
    expected = {"array": "0-1%2", "partition": "gpu", "time": "90", "account": "me", "mem": "1GB", "no-requeue": ""}
    expected |= {"cpus-per-task": "2", "gpus-per-node": "1", "licenses": "license:2", "signal": "USR2@90"}
    assert {key: value for key, value in options.items() if key in expected} == expected
    files = [contents(tmp_path / name / "s") for name in ("here", "there")]
    values = [{name: data for name, data in one.items() if name.endswith("values.json")} for one in files]
    assert len(values[0]) == 4
    assert values[0] == values[1]
    assert list((tmp_path / "jobs").iterdir()) == []


class Heard(Listener):
    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def on_record(self, uid: str, row: dict[str, Any]) -> None:
        self.rows.append(row)


@pytest.mark.parametrize("end", ["preempted", "lost"])
def test_a_trial_goes_on_from_its_checkpoint_in_another_job(slurm: Path, tmp_path: Path, end: str) -> None:
    ml.execute("work", tmp_path / "whole", "OY1p1o", engine="processes:1")
    task = ml.Task().component("work", {"_at": 3, "_does": end})
    heard = Heard()
    execution = ml.execute(task, tmp_path / "parts", "OY1p1o", engine(job_per_trial=True), listeners=[heard])

    assert heard.rows  # so jobs report before their trial has ended
    (trial,) = execution.trials
    assert (trial.status, trial.attempt) == ("finished", 2)
    (whole,) = ml.Storage(tmp_path / "whole")["OY1p1o"].trials
    assert trial.content("values.json") == whole.content("values.json")
    assert [row["value"] for row in trial.records] == [row["value"] for row in whole.records]
    ledger = (tmp_path / "parts" / "OY1p1o" / "ledger.jsonl").read_text()
    how = "the job was ended by SIGTERM" if end == "preempted" else "the job 101 has ended: NODE_FAIL"
    assert f"was lost: {how}" in ledger
    assert len(scripts(slurm)) == 2


def test_jobs_end_with_the_executing_process_and_the_execution_can_be_resumed(slurm: Path, tmp_path: Path) -> None:
    program = (
        "import os, machinable as ml; os.environ['EXECUTING'] = str(os.getpid()); "
        "task = ml.Task().component('work', {'_at': 3, '_does': 'orphaned'}); "
        f"ml.execute(task, '../s', 'OY1p1o', {engine()!r})"
    )
    killed = subprocess.run([sys.executable, "-c", program], timeout=120, check=False)
    assert killed.returncode == -9

    execution = ml.execute(None, "../s", resume="OY1p1o", engine=engine())

    assert execution.status == "finished"
    assert [row["_iteration"] for row in execution.trials[0].records] == list(range(6))
    assert (slurm / "101.state").read_text() == "COMPLETED\n"  # before the next one began


def test_a_killed_execution_on_this_host_is_resumed_with_the_options_of_its_engine(
    slurm: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,6")
    options = {"cluster": "local", "slots": 1, "folder": "../jobs"}
    program = (
        "import os, machinable as ml; os.environ['EXECUTING'] = str(os.getpid()); "
        "task = ml.Task().component('work', {'_at': 3, '_does': 'orphaned'}); "
        f"ml.execute(task, '../s', 'OY1p1o', {{'type': 'slurm', **{options!r}}})"
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=120, check=False).returncode == -9

    assert main(["resume", "OY1p1o", "--storage", "../s", "--quiet"]) == 0, capfd.readouterr().err

    execution = ml.Storage("../s")["OY1p1o"]
    (trial,) = execution.trials
    jobs = os.path.abspath("../jobs")  # it means the same wherever the execution is resumed or reproduced
    assert execution.data["engine"] == {"type": "slurm", "slots": 1, "options": {**options, "folder": jobs}}
    assert trial.content("devices.json") == b'"5,6"\n'  # those of this process
    assert scripts(slurm) == []


def test_what_sbatch_says_is_the_reason_of_the_failure(slurm: Path, tmp_path: Path) -> None:
    (slurm / "reject").write_text("Batch job submission failed: Invalid account")

    with pytest.raises(TrialsFailed, match=r"Slurm does not take a job: sbatch: error: .*Invalid account"):
        ml.execute("work", tmp_path / "s", engine=engine())


def test_trials_fail_if_their_jobs_end_before_they_begin(slurm: Path) -> None:
    with pytest.raises(TrialsFailed, match=r"no worker could be started: the job 103 has ended: FAILED"):
        ml.execute(
            "work", engine=engine(setup=["srun --error jobs/*/%j_0_log.err echo", "echo no python >&2", "exit 3"])
        )

    assert len(scripts(slurm)) == 3


def test_jobs_in_the_queue_are_named_and_withdrawn_at_the_end(slurm: Path) -> None:
    (slurm / "hold").touch()
    made: Any = registry.make(engine(slots=2))
    future = made.submit(answer, trial())
    until = time.monotonic() + 60
    while (shown := made.shortage(())) == "waiting for jobs to be submitted" and time.monotonic() < until:
        time.sleep(0.01)
    made.close()

    assert shown == "waiting for a job of Slurm: 101 PENDING"
    assert isinstance(future.exception(0), WorkerLost)
    assert (slurm / "101.state").read_text() == "CANCELLED\n"


def test_a_name_that_only_this_host_understands_is_no_address(slurm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostbyname", lambda name: "127.0.1.1")

    with pytest.raises(MachinableError, match=r"leads to 127\.0\.1\.1, to which jobs on other hosts cannot connect"):
        ml.execute("work", engine=engine(address=None))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"partition": "gpus"}, "no partition of Slurm named 'gpus'\n  Did you mean 'gpu'?"),
        ({"partition": 3}, "partition of the engine 'slurm' is 3"),
        ({"partion": "gpu"}, "the engine 'slurm' takes no partion\n  Did you mean 'partition'"),
        ({"acount": "me"}, "the engine 'slurm' takes no acount\n  Did you mean 'account'"),
        ({"time": 90}, "time of the engine 'slurm' is 90\n  Write a time with a unit, such as 90m, 4h or 2d."),
        ({"time": "soon"}, "time of the engine 'slurm' is 'soon'"),
        ({"time": "0m"}, "time of the engine 'slurm' is '0m'"),
        ({"slots": 0}, "slots of the engine 'slurm' is 0"),
        ({"slots": True}, "slots of the engine 'slurm' is True"),
        ({"job_per_trial": 1}, "job_per_trial of the engine 'slurm' takes true or false, not 1"),
        ({"cluster": "locl"}, "no cluster of the engine 'slurm' named 'locl'\n  Did you mean 'local'?"),
        ({"mem": "4GB"}, "the engine 'slurm' takes no mem\n  What a trial needs is in its component: _resources_"),
        ({"setup": "module load"}, "setup of the engine 'slurm' is 'module load'\n  It must be a list of texts."),
        ({"account": "a\n#SBATCH"}, "account of the engine 'slurm' is"),
        ({"signal_delay_s": -1}, "signal_delay_s of the engine 'slurm' is -1"),
        ({"additional_parameters": []}, "additional_parameters of the engine 'slurm' is []"),
        ({"folder": "machinable.yaml"}, "the engine 'slurm' cannot create"),
        ({"address": "192.0.2.1"}, "jobs cannot connect to this host at '192.0.2.1'"),
    ],
)
def test_wrong_options_are_errors_before_anything_runs(
    slurm: Path, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(MachinableError) as caught:
        ml.execute("work", tmp_path / "s", engine=engine(**options))

    assert message in str(caught.value)
    assert not (tmp_path / "s").exists()
    assert scripts(slurm) == []


def test_hosts_that_cannot_submit_and_unknown_resources_are_errors(
    slurm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(MachinableError, match=r"(?s)no resource 'licence'.*Did you mean 'license'"):
        ml.execute(ml.Task().component("work", resources={"licence": 1}), engine=engine())
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(MachinableError, match="needs the commands of Slurm, and sbatch, srun, squeue, scancel"):
        ml.execute("work", engine="slurm:gpu")


@pytest.mark.parametrize(
    ("text", "minutes"), [("90s", 2), ("4h", 240), ("1-12:00:00", 2160), ("2:30", 150), ("2d", 2880)]
)
def test_times_are_whole_minutes(text: str, minutes: int) -> None:
    made: Any = registry.make({"type": "slurm", "time": text, "cluster": "local"})

    assert made._minutes == minutes
