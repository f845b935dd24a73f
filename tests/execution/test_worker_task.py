"""Executions in worker processes: the same directory as with the local engine, and nothing lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import machinable as ml
from machinable.engines.processes.pool import ProcessesEngine
from machinable.errors import StorageUnavailable, TrialsFailed
from machinable.execution.worker_task import WorkerTask
from machinable.execution.worker_task import _opened as opened_by_workers
from machinable.storage.memory import MemoryFiles
from machinable.storage.served.server import FilesServer
from machinable.testing.engine import contents
from tests.engines.works import trial
from tests.kits.modules import ENDLESS, HELD, INTERRUPTS

World = Callable[..., Path]


def run(task: Any, engine: Any = "processes:2", storage: Any = None, **options: Any) -> Any:
    where = None if storage is None else {"storage": str(storage), "code_backup": False}
    return ml.execute(task, where, "OY1p1o", engine, **{"progress": False, **options})


WORK = """
import ctypes
import os
import random
import subprocess
import sys

from machinable import Component


class Work(Component):
    def on_create(self):
        self.first = random.random()

    def on_execute(self):
        self.record["draw"] = random.random()
        self.record.save()
        self.store.write("a.json", [self.first, self.config.rate])
        self.save_checkpoint()
        (open(self.store.path("raw.bin"), "wb")).close()
        print("done", self.config.rate)
        return self.config.rate

    def on_save(self, path, timestep):
        with open(os.path.join(path, "state.txt"), "w") as file:
            file.write("state")
        return "state.txt"
"""


def test_a_directory_is_the_same_as_with_the_local_engine(project: World, tmp_path: Path) -> None:
    project("components:\n  - work: {rate: 0.1, ~fast: {rate: 1}}\n", work=WORK)
    task = ml.Task().component("work", [None, "~fast"]).repeat(3)

    run(task, "local", tmp_path / "local")
    run(task, "processes:2", tmp_path / "processes")

    assert contents(tmp_path / "processes") == contents(tmp_path / "local")


def test_in_memory_it_is_the_same_and_nothing_is_left(
    project: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project("components:\n  - work: {rate: 0.1}\n", work=WORK)
    spool = tmp_path / "spool"
    spool.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(spool))

    execution = run(ml.Task("work").repeat(3))

    local = run(ml.Task("work").repeat(3), "local")
    assert [t.read("a.json") for t in execution.trials] == [t.read("a.json") for t in local.trials]
    assert [t.output for t in execution.trials] == ["done 0.1\n"] * 3
    assert list(spool.iterdir()) == []


PRINTS = """
import ctypes
import os
import subprocess
import sys

from machinable import Component


class Prints(Component):
    def on_execute(self):
        libc = ctypes.CDLL(None)
        print("python")
        os.write(1, b"descriptor\\n")
        libc.printf(b"library\\n")
        subprocess.run([sys.executable, "-c", "print('program')"], check=True)
        print("error", file=sys.stderr)
        os.write(2, b"descriptor of errors\\n")
        libc.puts(b"library again")
        print("end", end="")
"""


@pytest.mark.parametrize("storage", [None, "stored"])
def test_all_output_is_stored_in_order_and_none_is_shown(
    project: World, storage: str | None, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    project("components: [prints: ]\n", prints=PRINTS)

    execution = run(ml.Task("prints").repeat(2), "processes:1", storage and tmp_path / storage)

    assert [trial.output for trial in execution.trials] == [
        "python\ndescriptor\nlibrary\nprogram\nerror\ndescriptor of errors\nlibrary again\nend"
    ] * 2
    assert capfd.readouterr() == ("", "")


CLOSES = """
import sys
from machinable import Component


class Closes(Component):
    def on_execute(self):
        print("before")
        if self.flags.REPEAT_NUMBER == 0:
            sys.stdout.close()
        elif self.flags.REPEAT_NUMBER == 1:
            sys.stdout = None
"""


def test_workers_load_nothing_that_only_the_executing_process_needs(project: World) -> None:
    names = ["yaml", "machinable.project", *(f"machinable.execution.{x}" for x in ("choices", "execute", "scheduler"))]
    project(
        "components:\n  - looks:\n",
        looks="import sys\nfrom machinable import Component\n\n\nclass Looks(Component):\n"
        f"    def on_execute(self):\n        return [name for name in {names} if name in sys.modules]\n",
    )

    assert run("looks").trials[0].result == []


def test_output_that_a_trial_closes_is_open_for_the_next(project: World) -> None:
    project("components: [closes: ]\n", closes=CLOSES)

    execution = run(ml.Task("closes").repeat(3), "processes:1")

    assert [(trial.status, trial.output) for trial in execution.trials] == [("finished", "before\n")] * 3


IMPORTS = """
import os
from machinable import Component
os.environ["SET_BY_IMPORT"] = "1"


class Imports(Component):
    def on_execute(self):
        found = os.environ.get("SET_BY_IMPORT"), os.environ.get("SET_BY_TRIAL")
        os.environ["SET_BY_TRIAL"] = "1"
        return list(found)
"""


def test_effects_of_imports_stay_and_effects_of_trials_are_undone(
    project: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    project("components: [imports: ]\n", imports=IMPORTS)
    monkeypatch.setenv("SET_BY_IMPORT", "0")

    execution = run(ml.Task("imports").repeat(3), "processes:1")

    assert [trial.result for trial in execution.trials] == [["1", None]] * 3


LOST = """
import os, signal
from machinable import Component


class Lost(Component):
    def on_execute(self):
        print("until here", flush=True)
        self.record["x"] = 1
        self.record.save()
        if self.flags.REPEAT_NUMBER == 1:
            os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("storage", [None, "stored"])
def test_a_lost_worker_fails_its_trial_and_what_it_wrote_is_kept(
    project: World, storage: str | None, tmp_path: Path
) -> None:
    project("components: [lost: ]\n", lost=LOST)

    with pytest.raises(TrialsFailed, match=r"(?s)1 of 4 trials.*killed by SIGKILL") as caught:
        run(ml.Task("lost").repeat(4), storage=storage and tmp_path / storage)

    trials = caught.value.execution.trials
    assert [trial.status for trial in trials] == ["finished", "failed", "finished", "finished"]
    assert [trial.output for trial in trials] == ["until here\n"] * 4
    assert [len(list(trial.records)) for trial in trials] == [1] * 4
    assert trials[1].error["type"] == "WorkerLost"


def test_a_host_that_does_not_reach_the_executing_process_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("machinable.storage.served.client.PATIENCE_IF_REFUSED", 0.1)
    server = FilesServer(MemoryFiles())
    server.close()
    task = WorkerTask("mem://", "OY1p1o", os.getcwd(), reach="process", access=server.access)

    with pytest.raises(StorageUnavailable) as caught:
        task(trial(1))

    assert str(caught.value) == (
        "the executing process, which writes to the storage mem://, cannot be reached at "
        f"127.0.0.1:{server.access.port}: Connection refused\n"
        "  Hosts of a cluster have to be able to connect to it; or use a storage that every host reaches."
    )


CRASHES = """
import ctypes
from machinable import Component


class Crashes(Component):
    def on_execute(self):
        print("a" * 3_000_000)
        print("until here", flush=True)
        ctypes.string_at(0)
"""


@pytest.mark.parametrize("storage", [None, "stored"])
def test_the_output_of_a_crash_says_where_it_happened(project: World, storage: str | None, tmp_path: Path) -> None:
    project("components: [crashes: ]\n", crashes=CRASHES)

    (trial,) = run("crashes", storage=storage and tmp_path / storage, on_failure="continue").trials

    before, _, after = trial.output.partition("until here\n")
    assert before == "a" * 3_000_000 + "\n"
    assert after.startswith("Fatal Python error: Segmentation fault\n")
    assert "crashes.py" in after


LETS_GO = """
import os
from machinable import Component


class LetsGo(Component):
    def on_execute(self):
        os.closerange(3, 256)
        return "the end"
"""


def test_a_worker_that_is_lost_after_its_trial_has_ended_does_no_harm(project: World, tmp_path: Path) -> None:
    project("components: [lets_go: ]\n", lets_go=LETS_GO)

    run(ml.Task("lets_go").repeat(2), "processes:1", tmp_path / "stored")

    trials = ml.Storage(tmp_path / "stored")["OY1p1o"].trials
    assert [(trial.status, trial.result, trial.error) for trial in trials] == [("finished", "the end", None)] * 2


def test_an_interrupt_in_one_worker_stops_all_and_is_recorded(project: World, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    project(f"components:\n  - interrupts: {{pipe: {tmp_path / 'pipe'}}}\n", interrupts=INTERRUPTS)

    with pytest.raises(KeyboardInterrupt):
        run(ml.Task("interrupts").repeat(5), storage=tmp_path / "stored")

    execution = ml.Storage(str(tmp_path / "stored"))["OY1p1o"]
    assert [trial.status for trial in execution.trials] == ["interrupted"] * 2 + ["pending"] * 3
    assert [trial.log[20:] for trial in execution.trials[:2]] == ["INFO interrupted by KeyboardInterrupt\n"] * 2


LOOKS = """
import os
from machinable import Component


class Looks(Component):
    def on_execute(self):
        return sum(name.startswith(".machinable-running-") for name in os.listdir(self.config.directory))
"""


def test_workers_are_marked_while_an_execution_runs(project: World, tmp_path: Path) -> None:
    project("components:\n  - looks: {directory: ''}\n", looks=LOOKS)
    task = ml.Task().component("looks", {"directory": str(tmp_path / "s" / "OY1p1o")}).repeat(2)
    with closing(ProcessesEngine(1)) as engine:
        execution = run(task, engine, tmp_path / "s")

        assert [trial.result for trial in execution.trials] == [1, 1]
        assert not list((tmp_path / "s").rglob(".machinable-*"))


BEGINS = """
import os
import sys
from machinable.execution.worker_task import WorkerTask

storage = sys.argv[1]
WorkerTask(storage, "OY1p1o", storage).begin()
print([name for name in os.listdir(os.path.join(storage, "OY1p1o")) if name.endswith("-trials")])
"""


def test_a_worker_is_marked_until_it_ends(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", BEGINS, str(tmp_path)], capture_output=True, text=True, check=True)

    assert done.stdout.startswith("['.machinable-running-")
    assert list((tmp_path / "OY1p1o").iterdir()) == []


def test_a_worker_does_not_check_whether_a_known_storage_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)

    assert opened_by_workers(str(tmp_path)).url == str(tmp_path)


NO_INPUT = """
import os
import subprocess
from machinable import Component


class Closes(Component):
    def on_execute(self):
        os.close(0)
        print("printed", flush=True)
        return subprocess.run(["cat"], capture_output=True, text=True).stdout
"""


def test_trials_that_close_their_input_do_not_affect_later_ones(project: World) -> None:
    project("components:\n  - closes:\n", closes=NO_INPUT)

    trials = run(ml.Task("closes").repeat(3), "processes:1").trials

    assert [(trial.status, trial.output, trial.result) for trial in trials] == [("finished", "printed\n", "")] * 3


def test_a_trial_that_exceeds_the_timeout_ends_with_its_worker(project: World) -> None:
    project("components: [endless: ]\n", endless=ENDLESS)

    execution = run(ml.Task("endless").repeat(3), "processes:1", timeout=2.0, on_failure="continue")

    assert [trial.status for trial in execution.trials] == ["failed", "finished", "finished"]
    assert execution.trials[0].error["type"] == "TimeoutError"


@ml.execute
def decorated(flags: Any, record: Any) -> int:
    record["number"] = flags.REPEAT_NUMBER
    record.save()
    return os.getpid()


def test_a_decorated_function_runs_in_workers(project: World) -> None:
    project("components: [anything: ]\n", anything="")

    execution = decorated(ml.Task("anything").repeat(2), None, "OY1p1o", "processes:2")

    assert [next(iter(trial.records))["number"] for trial in execution.trials] == [0, 1]
    assert os.getpid() not in [trial.result for trial in execution.trials]


def python(directory: Path, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(ml.__file__).parents[1]), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        cwd=directory,
        env=environment,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
    )


NAMED = """\
import machinable as ml
print(ml.execute(ml.Task('work').repeat(3), None, 1, 'processes:2', progress=False).status)
"""


@pytest.mark.parametrize("way", ["file", "-c", "stdin"])
def test_a_script_needs_no_guard_however_it_is_started(way: str, project: World) -> None:
    directory = project("components:\n  - work: {rate: 0.1}\n", work=WORK)
    (directory / "script.py").write_text(NAMED)
    arguments = {"file": ["script.py"], "-c": ["-c", NAMED], "stdin": []}[way]

    done = python(directory, *arguments, stdin=NAMED if way == "stdin" else None)

    assert (done.stdout, done.stderr) == ("finished\n", "")


def test_ctrl_c_ends_an_execution_and_its_workers(project: World, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    directory = project(f"components:\n  - held: {{pipe: {tmp_path / 'pipe'}}}\n", held=HELD)
    script = (
        "import machinable as ml\n"
        "ml.execute('held', {'storage': 'stored', 'code_backup': False}, 'OY1p1o', 'processes:1')"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(ml.__file__).parents[1])}
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, cwd=directory, env=environment, stderr=subprocess.PIPE, text=True) as parent:
        with open(tmp_path / "pipe") as pipe:
            assert pipe.readline() == "ready\n"
            parent.send_signal(signal.SIGINT)
            assert pipe.read() == ""  # the worker has let go
        _, errors = parent.communicate(timeout=60)

    assert errors.rstrip().splitlines()[-1].startswith(("KeyboardInterrupt", "execution OY1p1o"))
    (trial,) = ml.Storage(str(directory / "stored"))["OY1p1o"].trials
    assert trial.status == "interrupted"


def test_an_engine_can_be_used_for_several_executions(project: World) -> None:
    project("components:\n  - work: {rate: 0.1}\n", work=WORK)
    engine = ProcessesEngine(1)

    first, second = run([ml.Task("work"), ml.Task("work")], engine)

    assert (first.status, second.status) == ("finished", "finished")
