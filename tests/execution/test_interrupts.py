"""Ctrl-C and other signals, once or repeatedly, at real processes: an execution writes everything and ends in order."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import pytest

import machinable as ml
from machinable.execution import scheduler
from machinable.execution.interrupts import Interrupts
from tests.conftest import World
from tests.kits.modules import HELD

LIBRARY = "import machinable as ml\nml.execute(ml.Task('held').repeat(3), {{'storage': 'stored', 'code_backup': False}}, 'OY1p1o', {engine!r})"  # noqa: E501
COMMAND = "import sys\nfrom machinable.cli.main import run\nsys.exit(run(['execute', 'held', '--repeat', '3', '--storage', 'stored', '--seed', 'OY1p1o', '--engine', {engine!r}]))"  # noqa: E501


def interrupted(
    project: World, tmp_path: Path, program: str, engine: str, times: int, number: int = signal.SIGINT
) -> tuple[int, str, Any]:
    """Run a program, and send it a signal when trials are under way; return its exit code, stderr and storage."""
    os.mkfifo(tmp_path / "pipe")
    here = project(
        f"components:\n  - held: {{pipe: {tmp_path / 'pipe'}}}\nexecution: {{code_backup: false}}\n", held=HELD
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(ml.__file__).parents[1])}
    command = [sys.executable, "-c", program.format(engine=engine)]
    with subprocess.Popen(
        command, cwd=here, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        with open(tmp_path / "pipe") as pipe:
            for _ in range(1 if engine == "local" else 2):
                assert pipe.readline() == "ready\n"
            for _ in range(times):
                child.send_signal(number)
        _, said = child.communicate(timeout=60)
    return child.returncode, said, here / "stored"


@pytest.mark.parametrize("times", [1, 2, 4])
@pytest.mark.parametrize("engine", ["local", "processes:2"])
def test_everything_is_written_however_often_ctrl_c_is_pressed(
    project: World, tmp_path: Path, engine: str, times: int
) -> None:
    _, said, storage = interrupted(project, tmp_path, LIBRARY, engine, times)

    assert "KeyboardInterrupt" in said
    execution = ml.Storage(str(storage))["OY1p1o"]
    running = 1 if engine == "local" else 2
    assert [trial.status for trial in execution.trials] == ["interrupted"] * running + ["pending"] * (3 - running)
    for trial in list(execution.trials)[:running]:
        status = json.loads((storage / "OY1p1o" / "trials" / trial.uid / "status.json").read_text())
        assert status["state"] == "interrupted"
    ledger = [json.loads(line) for line in (storage / "OY1p1o" / "ledger.jsonl").read_text().splitlines()]
    assert [row["event"] for row in ledger] == ["started"] * running + ["interrupted"] * running + ["ended"]
    assert ledger[-1]["status"] == execution.status == "interrupted"
    assert not (storage / "OY1p1o" / "execution.lease").exists()


@pytest.mark.parametrize("times", [1, 2, 4])
@pytest.mark.parametrize("engine", ["local", "processes:2"])
def test_the_command_exits_with_130(project: World, tmp_path: Path, engine: str, times: int) -> None:
    code, said, _ = interrupted(project, tmp_path, COMMAND, engine, times)

    assert code == 130
    assert "Traceback" not in said
    assert "next: machinable resume OY1p1o" in said


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
@pytest.mark.parametrize("program", [LIBRARY, COMMAND])
@pytest.mark.parametrize("engine", ["local", "processes:2"])
def test_other_signals_end_an_execution_in_order(
    project: World, tmp_path: Path, engine: str, program: str, number: int, code: int
) -> None:
    ended, said, storage = interrupted(project, tmp_path, program, engine, 1, number)

    assert (ended, "Traceback" in said) == (code, False), said
    execution = ml.Storage(str(storage))["OY1p1o"]
    running = 1 if engine == "local" else 2
    assert [trial.status for trial in execution.trials] == ["interrupted"] * running + ["pending"] * (3 - running)
    assert "released" in execution.trials[0].log, "on_finish was called"
    ledger = [json.loads(line) for line in (storage / "OY1p1o" / "ledger.jsonl").read_text().splitlines()]
    assert [row["event"] for row in ledger] == ["started"] * running + ["interrupted"] * running + ["ended"]
    assert not (storage / "OY1p1o" / "execution.lease").exists()


SAVES = """
import json
import os
import time
from machinable import Component
from machinable.engines.interruption import interruption


class Saves(Component):
    def on_create(self):
        self.count = 0

    def on_execute_iteration(self, i):
        if i == 2 and not os.path.exists("resumed"):
            with open(self.config.pipe, "w") as pipe:
                pipe.write("ready\\n")
            while self.config.endless or not interruption.is_pending:
                time.sleep(0.01)
        self.count += 1
        if i == 4:
            return StopIteration

    def on_after_execute(self):
        self.store.write("count.json", self.count)

    def on_save(self, path, timestep):
        with open(os.path.join(path, "count.json"), "w") as file:
            json.dump(self.count, file)
        return "count.json"

    def on_restore(self, path):
        with open(path) as file:
            self.count = json.load(file)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("engine", ["local", "processes:1"])
def test_a_component_that_saves_ends_its_iteration_and_gets_a_checkpoint(
    project: World, tmp_path: Path, engine: str, number: int
) -> None:
    here = iterating(project, tmp_path, engine, number)
    (stopped,) = ml.Storage(str(here / "stored"))["OY1p1o"].trials
    assert (stopped.status, stopped.checkpoint) == ("interrupted", "checkpoints/count.json")

    (here / "resumed").touch()
    (trial,) = ml.execute(storage=str(here / "stored"), resume="OY1p1o").trials
    assert (trial.status, trial.read("count.json"), "continues from" in trial.log) == ("finished", 5, True)


@pytest.mark.parametrize("engine", ["local", "processes:1"])
def test_an_iteration_that_does_not_end_soon_is_interrupted(project: World, tmp_path: Path, engine: str) -> None:
    soon = "from machinable.engines import interruption as module\nmodule.GRACE = 0.05\n"
    here = iterating(project, tmp_path, engine, signal.SIGTERM, before=soon, endless=True)
    (trial,) = ml.Storage(str(here / "stored"))["OY1p1o"].trials
    assert (trial.status, trial.checkpoint) == ("interrupted", None)


def iterating(
    project: World, tmp_path: Path, engine: str, number: int, *, before: str = "", endless: bool = False
) -> Path:
    """Execute a component, send a signal during its third iteration, and return the project when it has ended."""
    os.mkfifo(tmp_path / "pipe")
    config = f"pipe: {tmp_path / 'pipe'}, endless: {endless}"
    here = project(f"components:\n  - saves: {{{config}}}\nexecution: {{code_backup: false}}\n", saves=before + SAVES)
    environment = {**os.environ, "PYTHONPATH": str(Path(ml.__file__).parents[1])}
    program = f"import machinable as ml\nml.execute('saves', 'stored', 'OY1p1o', {engine!r})"
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=here, env=environment, stderr=subprocess.PIPE, text=True
    ) as child:
        with open(tmp_path / "pipe") as pipe:
            assert pipe.readline() == "ready\n"
        child.send_signal(number)
        child.communicate(timeout=60)
    return here


def test_a_signal_that_is_ignored_stays_ignored(project: World, tmp_path: Path) -> None:
    ignores = "import signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    act = (
        "import os, signal\nfrom machinable import Component\n\nclass Quick(Component):\n"
        "    def on_execute(self):\n        os.kill(os.getpid(), signal.SIGHUP)\n"
    )
    here = project("components: [quick: ]\n", quick=act)
    environment = {**os.environ, "PYTHONPATH": str(Path(ml.__file__).parents[1])}
    program = f"{ignores}import machinable as ml\nprint(ml.execute('quick').status)"
    command = [sys.executable, "-c", program]
    ran = subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout == "finished\n"


def press() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def caught(act: Callable[[Interrupts], object]) -> BaseException | None:
    """What comes out of a block in which interrupts are held back."""
    try:
        with Interrupts() as interrupts:
            act(interrupts)
    except BaseException as error:
        return error
    return None


def test_an_interrupt_is_delayed_until_it_is_allowed() -> None:
    done: list[str] = []

    def act(interrupts: Interrupts) -> None:
        press()
        done.append("written")
        with interrupts.allowed():
            done.append("never")

    assert isinstance(caught(act), KeyboardInterrupt)
    assert done == ["written"]


def test_a_pending_interrupt_is_raised_at_the_end() -> None:
    done: list[str] = []

    def act(interrupts: Interrupts) -> None:
        press()
        done.append("all")

    assert isinstance(caught(act), KeyboardInterrupt)
    assert done == ["all"]


def test_further_interrupts_shorten_the_shutdown_and_are_not_raised_before_the_end() -> None:
    repeated: list[bool] = []

    def act(interrupts: Interrupts) -> None:
        try:
            with interrupts.allowed():
                press()
        except KeyboardInterrupt:
            repeated.append(interrupts.is_repeated)
            press()
            repeated.append(interrupts.is_repeated)
            raise

    assert isinstance(caught(act), KeyboardInterrupt)
    assert repeated == [False, True]


def test_of_two_pending_interrupts_one_is_raised_and_one_shortens_the_shutdown() -> None:
    repeated: list[bool] = []

    def act(interrupts: Interrupts) -> None:
        press()
        press()
        try:
            interrupts.raise_pending()
        except KeyboardInterrupt:
            repeated.append(interrupts.is_repeated)
            raise

    assert isinstance(caught(act), KeyboardInterrupt)
    assert repeated == [True]


def test_no_interrupt_is_raised_while_waiting_for_other_processes(
    monkeypatch: pytest.MonkeyPatch, project: World
) -> None:
    project("components:\n  - quick:\n", quick="from machinable import Component\nclass Quick(Component):\n    pass\n")
    waits: list[BaseException | None] = []

    class Queue(SimpleQueue[Any]):
        def get(self, block: bool = True, timeout: float | None = None) -> Any:
            try:
                press()
                result = super().get(block, timeout)
            except BaseException as error:
                waits.append(error)
                raise
            waits.append(None)
            return result

    monkeypatch.setattr(scheduler, "SimpleQueue", Queue)
    with pytest.raises(KeyboardInterrupt):
        ml.execute("quick", engine="processes:1")
    assert {type(error) for error in waits} <= {type(None), Empty}
    assert waits


def test_an_interrupt_takes_precedence_over_an_error() -> None:
    def act(interrupts: Interrupts) -> None:
        press()
        raise ValueError("first")

    error = caught(act)
    assert isinstance(error, KeyboardInterrupt)
    assert isinstance(error.__context__, ValueError)


def test_the_signal_handler_is_restored() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Interrupts():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before


def test_a_handler_of_the_user_is_not_replaced() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
    try:
        with Interrupts() as interrupts, interrupts.allowed():
            press()
        assert heard == [signal.SIGINT]
    finally:
        signal.signal(signal.SIGINT, before)


def test_in_other_threads_nothing_is_delayed() -> None:
    def run(act: Callable[[], object]) -> None:
        with Interrupts() as interrupts, interrupts.allowed():
            act()

    done: list[str] = []
    thread = threading.Thread(target=run, args=[lambda: done.append("ran")])
    thread.start()
    thread.join()
    assert done == ["ran"]


def test_an_interrupt_while_a_trial_is_recorded_ends_the_execution_afterwards(project: World, tmp_path: Path) -> None:
    project(
        "components:\n  - quick: {}\n",
        quick="from machinable import Component\n\n\nclass Quick(Component):\n    pass\n",
    )

    def listener(event: Any) -> None:
        if type(event).__name__ == "TrialFinished" and event.index == 1:
            press()

    with pytest.raises(KeyboardInterrupt):
        ml.execute(ml.Task("quick").repeat(4), tmp_path / "s", "OY1p1o", listeners=[listener])
    execution = ml.Storage(tmp_path / "s")["OY1p1o"]
    assert [trial.status for trial in execution.trials] == ["finished", "finished", "pending", "pending"]
    assert execution.has_ended


def test_a_time_limit_may_be_longer_than_any_timer_of_the_system(project: World) -> None:
    project(
        "components:\n  - quick: {}\n",
        quick="from machinable import Component\n\n\nclass Quick(Component):\n    pass\n",
    )
    assert ml.execute("quick", timeout=1e300).status == "finished"
