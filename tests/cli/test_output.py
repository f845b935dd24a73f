"""The command that runs a stored trial again: it runs exactly that trial, or resumes its execution."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

import machinable as ml
from machinable.cli.output import rerun_command
from tests.cli.conftest import Run

BROKEN = """\
from machinable import Component


class Train(Component):
    def on_execute(self):
        raise ValueError("no good")
"""
Build = Callable[[ml.Task], ml.Task]


@pytest.fixture(autouse=True)
def broken(project: Path) -> None:
    (project / "train.py").write_text(BROKEN)


def executed(task: ml.Task, **options: object) -> ml.Execution:
    storage = {"storage": "out", "code_backup": False}
    execution = ml.execute(task, **({"storage": storage, "seed": "OY1p1o", "on_failure": "continue"} | options))
    assert isinstance(execution, ml.Execution)
    return execution


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda task: task.component("train"), "train"),
        (lambda task: task.component("tr"), "tr"),  # as it was called
        (lambda task: task.component("train", "~fast").repeat(3), "train @fast --repeat 3"),
        (lambda task: task.component("train", ["~deep", ("~fast", {"rate": 2})]), "train @fast rate=2"),
        (lambda task: task.component("train", {"data": {"name": "a b"}}), """train 'data={"name": "a b"}'"""),
        (lambda task: task.component("train", {"data.name": "a b"}), "train 'data.name=a b'"),
        (lambda task: task.version("~fast").component("train", {"rate": 1e-3}), "train @fast rate=0.001"),
        (lambda task: task.component("base").component("train"), "train"),
        (lambda task: task.component("train", tags={"model": "a"}), "train"),
    ],
)
def test_the_rerun_command_runs_exactly_that_trial(run: Run, build: Build, words: str) -> None:
    execution = executed(build(ml.Task()))
    trial = execution.trials[-1]

    command = rerun_command(execution, trial, "out")

    assert command == f"machinable execute {words} --storage out --seed OY1p1o"
    (*_, ran) = run(*shlex.split(command)[1:], "--json", "--quiet").data["trials"]
    assert (ran["uid"], ran["seed"], ran["config"]) == (trial.uid, trial.seed, trial.planned("config"))


def test_a_failure_happens_again_under_the_same_options(run: Run) -> None:
    ran = run("execute", "train", "--engine", "processes:1", "--timeout", "1ms", "--seed", "OY1p1o", "--quiet")

    assert "again: machinable execute train --engine processes:1 --timeout 0.001s --seed OY1p1o" in ran.err


def square(config: object) -> None:
    raise ValueError("no good")


@pytest.mark.parametrize(
    "build",
    [
        lambda task: task.component("train").component("train"),  # the second of equal ones
        lambda task: task.component("train").split(2),
        lambda task: task.component("train").repeat(2, name="FOLD"),
        lambda task: task.component("train").repeat(2).repeat(2),
        lambda task: task.component("train", flags={"fold": 1}),
        lambda task: task.component("train", checkpoint="x"),
        lambda task: task.component("train", children="base"),
        lambda task: task.component("train", resources={"cpus": 1}),
        lambda task: task.component("train", requires={"data": "base"}),
        lambda task: task.component("train", "rate: 1\n"),  # YAML text
        lambda task: task.component("train", {"rate": float("nan")}),
        lambda task: task.component(square),
    ],
)
def test_trials_without_words_are_resumed(build: Build, project: Path) -> None:
    execution = executed(build(ml.Task()))

    assert rerun_command(execution, execution.trials[-1], "out") == "machinable resume OY1p1o --storage out"
    assert rerun_command(execution, execution.trials[-1], None) == "machinable resume OY1p1o"


def test_an_id_of_digits_is_marked_as_an_id(project: Path) -> None:
    execution = executed(ml.Task("train"), seed="123456")

    assert rerun_command(execution, execution.trials[0], None) == "machinable execute train --seed id:123456"


def test_no_command_is_offered_that_would_not_work(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_memory = executed(ml.Task().component("train").split(2), storage=None)
    monkeypatch.setattr(square, "__module__", "__main__")
    of_a_script = executed(ml.Task(square))

    assert rerun_command(in_memory, in_memory.trials[0], None) is None
    assert rerun_command(of_a_script, of_a_script.trials[0], "out") is None
