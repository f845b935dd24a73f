"""Ctrl-C, once or repeatedly, at real processes: an execution writes everything and ends in order."""

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


def interrupted(project: World, tmp_path: Path, program: str, engine: str, times: int) -> tuple[int, str, Any]:
    """Run a program, press Ctrl-C when trials are under way; gives its exit code, stderr and what is stored."""
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
                child.send_signal(signal.SIGINT)
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
