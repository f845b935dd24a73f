"""A training that is preempted with SIGTERM and queued again ends with the bytes of an uninterrupted one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import machinable as ml
from tests.conftest import World

TRAIN = """
import os
import random
import time
from pathlib import Path

import numpy as np
from machinable import Component
from machinable.engines.interruption import interruption


class Train(Component):
    def on_create(self):
        self.weights = np.zeros(8)

    def on_execute_iteration(self, iteration):
        self.preempted(iteration)
        gradient = np.random.normal(size=8) + self.weights
        self.weights = self.weights - self.config.rate * gradient
        self.record["norm"] = float(np.linalg.norm(self.weights))
        self.record["draw"] = random.random()
        self.record.save()
        if iteration + 1 == self.config.epochs:
            self.store.write("weights.npy", self.weights)
            return StopIteration

    def preempted(self, iteration):
        # The scheduler of a cluster ends the job in the middle of this iteration, once.
        order = Path(self.config._orders, str(iteration))
        if order.exists():
            number = int(order.read_text())
            order.unlink()
            os.kill(os.getppid() if self.config._in_worker else os.getpid(), number)
            while not interruption.is_pending:  # until it has arrived here
                time.sleep(0.001)

    def on_save(self, path, timestep):
        np.save(Path(path, "weights.npy"), self.weights)
        return "weights.npy"

    def on_restore(self, checkpoint, timestep=None):
        self.weights = np.load(checkpoint)
"""
PROJECT = """
components:
  - train:
      rate: 0.1
      epochs: 12
      _orders: {orders}
      _in_worker: {in_worker}
"""


def contents(storage: Path) -> list[Any]:
    """Return everything that a trial computed: its rows without times, and the bytes of its artifacts."""
    execution = ml.Storage(storage)["OY1p1o"]
    assert execution.status == "finished"
    return [
        (
            [(row["norm"], row["draw"]) for row in trial.records],
            Path(trial.path("weights.npy")).read_bytes(),
            trial.result,
            trial.seed,
        )
        for trial in execution.trials
    ]


@pytest.mark.parametrize("engine", ["local", "processes:1"])
def test_a_preempted_training_that_is_queued_again_has_the_bytes_of_an_uninterrupted_one(
    project: World, tmp_path: Path, engine: str
) -> None:
    orders = tmp_path / "orders"
    orders.mkdir()
    here = project(PROJECT.format(orders=orders, in_worker=str(engine != "local").lower()), train=TRAIN)
    job = _job_of(here, engine)
    uninterrupted, preempted = tmp_path / "uninterrupted", tmp_path / "preempted"
    assert job("execute", "train", "--repeat", "2", "--seed", "OY1p1o", storage=uninterrupted) == 0

    # Twice in the first trial, and once in the second one.
    (orders / "4").write_text(str(int(signal.SIGTERM)))
    codes = [job("execute", "train", "--repeat", "2", "--seed", "OY1p1o", storage=preempted)]
    (orders / "9").write_text(str(int(signal.SIGTERM)))
    codes.append(job("resume", "OY1p1o", storage=preempted))
    (orders / "10").write_text(str(int(signal.SIGTERM)))
    codes += [job("resume", "OY1p1o", storage=preempted) for _ in range(2)]

    assert codes == [143, 143, 143, 0]
    assert list(orders.iterdir()) == []
    assert contents(preempted) == contents(uninterrupted)


def _job_of(here: Path, engine: str) -> Callable[..., int]:
    environment = {**os.environ, "PYTHONPATH": str(Path(ml.__file__).parents[1])}

    def job(*words: str, storage: Path) -> int:
        command = [sys.executable, "-m", "machinable", *words, "--engine", engine, "--storage", str(storage), "--quiet"]
        done = subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True, check=False)
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode

    return job
