"""A search by Ray Tune is repeated without it: sample by sample, on any engine, with the same outcome."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import machinable as ml
from machinable.replay.reproduce import reproduce

pytest.importorskip("ray.tune", reason="searches need Ray Tune")

World = Callable[..., Path]

NET = """
import json
import os
import random
from machinable import Component


class Net(Component):
    def on_create(self):
        self.x = 0.0

    def on_execute_iteration(self, iteration):
        self.x += self.config.lr * random.random()
        self.record["x"] = self.x

    def on_save(self, path, timestep):
        with open(os.path.join(path, f"{timestep}.json"), "w") as file:
            json.dump(self.x, file)
        return f"{timestep}.json"

    def on_restore(self, path):
        with open(path) as file:
            self.x = json.load(file)

    def on_after_execute(self):
        self.store.write("x.json", [self.x, random.random()])
"""


def test_what_ray_tune_has_found_is_found_again(project: World, ray_cluster: None, tmp_path: Path) -> None:
    from ray import tune

    project("components:\n  - net: {lr: 0.1}\n", net=NET)
    task = ml.Task("net").tune(
        stop={"x": 1.0},
        config={"lr": tune.uniform(0.1, 1.0)},
        num_samples=4,
        checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=2),
    )
    before = ml.execute(task, str(tmp_path / "stored"), "OY1p1o", "ray")
    counts = [len(trial.records) for trial in before.trials]

    with ml.Storage(str(tmp_path / "stored")) as storage:
        found = reproduce(storage, "OY1p1o", engine="processes:2")

    assert [trial.iterations for trial in before.trials] == counts
    assert len(set(counts)) > 1
    assert (found.verdict, len(found.trials), found.rows, found.notes) == ("identical", 4, sum(counts), ())
