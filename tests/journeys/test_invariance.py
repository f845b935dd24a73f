"""The same id gives the same bytes and the same errors on every engine."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import machinable as ml
from machinable.testing.engine import contents

World = Callable[..., Path]

ENGINES = ("local", "processes:2", "ray")

DECLARATIONS = """
execution: {resources: {cpus: 2}}
components:
  - draws: {size: 200}
  - train:
      size: 257
      rate: 0.01
      ~wide: {size: 400}
      ~two: {_resources_: {cpus: 2}}
"""

DRAWS = """
import random

import numpy as np

from machinable import Component


class Draws(Component):
    def on_create(self):
        self.store.write("drawn.npz", {"uniform": np.random.rand(self.config.size), "normal": np.random.randn(50)})

    def on_execute(self):
        self.log.info("a number: %r", random.random())
        print("and another:", random.random(), np.random.default_rng(self.flags.SEED).random())
        return random.random()
"""

TRAIN = """
import numpy as np

from machinable import Component


class Train(Component):
    def on_create(self):
        size = self.config.size
        self.x = np.random.rand(size, size).astype(np.float32)
        self.w = np.random.randn(size, 7).astype(np.float32)
        self.y = np.random.randn(size, 7).astype(np.float32)

    def on_execute_iteration(self, iteration):
        error = self.x @ self.w - self.y
        self.w -= self.config.rate / self.config.size * (self.x.T @ error)
        self.record["loss"] = float(np.mean(error * error))
        self.record["sum"] = float((self.x @ self.x.T).sum(dtype=np.float32))
        self.record["norm"] = np.linalg.norm(self.w)
        if iteration == 4:
            self.save_checkpoint()
            self.store.write("weights.npy", self.w)
            self.store.write("products.npy", np.linalg.solve(self.x + np.eye(len(self.x), dtype=np.float32), self.y))
            return StopIteration

    def on_save(self, path, timestep):
        np.save(f"{path}/w.npy", self.w)
        return "w.npy"
"""


def run(task: Any, engine: str, storage: Path) -> Any:
    where = {"storage": str(storage), "code_backup": False}
    return ml.execute(task, where, "OY1p1o", engine, on_failure="continue")


def test_every_stored_byte_is_the_same_on_every_engine(project: World, ray_cluster: None, tmp_path: Path) -> None:
    project(DECLARATIONS, draws=DRAWS, train=TRAIN)
    task = ml.Task().component("draws").component("train", [None, "~wide", "~two"]).repeat(2)

    for engine in ENGINES:
        execution = run(task, engine, tmp_path / engine)
        assert [trial.status for trial in execution.trials] == ["finished"] * 8

    here, *others = (contents(tmp_path / engine) for engine in ENGINES)
    assert sum(name.endswith(".npy") for name in here) == 18
    for there in others:
        assert there.keys() == here.keys()
        assert [name for name in here if there[name] != here[name]] == []


FAILS = '''
from machinable import Component


class Strange(Exception):
    """An exception that cannot be pickled or made from its arguments, and defines its message."""

    def __init__(self, one, *, two):
        super().__init__("not this")
        self.held = lambda: (one, two)

    def __str__(self):
        return "strange " * 3


class Mute(Exception):
    def __str__(self):
        raise RuntimeError("no message either")


def deeper(how):
    if how == "chain":
        try:
            {}["missing"]
        except KeyError as error:
            raise ValueError("the cause is below") from error
    if how == "notes":
        error = ValueError("it has notes")
        error.__notes__ = ["look here", "and there"]
        raise error
    if how == "strange":
        raise Strange(1, two=2)
    if how == "mute":
        raise Mute
    if how == "huge":
        raise ValueError("x" * 1_000_000)
    if how == "surrogates":
        raise ValueError("ünï \\udc80")
    if how == "exit":
        raise SystemExit(3)
    raise AssertionError(how)


class Fails(Component):
    def on_execute(self):
        deeper(self.config.how)
'''
HOWS = ("chain", "notes", "strange", "mute", "huge", "surrogates", "exit")


def test_component_errors_read_the_same_on_every_engine(project: World, ray_cluster: None, tmp_path: Path) -> None:
    project("components:\n  - fails: {how: chain}\n", fails=FAILS)
    task = ml.Task().component("fails", [{"how": how} for how in HOWS])

    errors_by_engine = {}
    for engine in ENGINES:
        execution = run(task, engine, tmp_path / engine)
        errors_by_engine[engine] = [(trial.status, trial.error) for trial in execution.trials]

    assert errors_by_engine["ray"] == errors_by_engine["processes:2"]
    if sys.version_info >= (3, 11):  # before, a package that test tools bring along changes how this process tells them
        assert errors_by_engine["ray"] == errors_by_engine["local"]
    errors = {how: error for how, (_, error) in zip(HOWS, errors_by_engine["ray"], strict=True)}
    assert [errors[how]["type"] for how in HOWS] == [
        "ValueError",
        "ValueError",
        "Strange",
        "Mute",
        "ValueError",
        "ValueError",
        "SystemExit",
    ]
    assert 'in deeper\n    {}["missing"]' in errors["chain"]["traceback"]
    assert "KeyError: 'missing'" in errors["chain"]["traceback"]
    assert "direct cause" in errors["chain"]["traceback"]
    assert errors["strange"]["message"] == "strange " * 3
    assert 100_000 < len(errors["huge"]["message"]) < 100_100  # its beginning and its end
    assert errors["surrogates"]["message"] == "ünï \udc80"
    for how in HOWS:
        assert "in on_execute\n    deeper(self.config.how)" in errors[how]["traceback"]


LOST = """
import os, signal
from machinable import Component


class Lost(Component):
    def on_execute(self):
        if self.flags.REPEAT_NUMBER == 1:
            os.kill(os.getpid(), signal.SIGSEGV)
"""


@pytest.mark.parametrize("engine", ENGINES[1:])
def test_a_crash_of_native_code_fails_one_trial(engine: str, project: World, ray_cluster: None) -> None:
    project("components: [lost: ]\n", lost=LOST)

    execution = ml.execute(ml.Task("lost").repeat(3), None, 1, engine, on_failure="continue")

    assert [trial.status for trial in execution.trials] == ["finished", "failed", "finished"]
    error = execution.trials[1].error
    assert error is not None
    assert (error["type"], error["message"].endswith("killed by SIGSEGV (its output tells where)")) == (
        "WorkerLost",
        True,
    )
    assert "Segmentation fault" in execution.trials[1].output
