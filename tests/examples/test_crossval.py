"""The cross-validation on the handwritten digits."""

from __future__ import annotations

from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import pytest

import machinable as ml
from examples.digits.data import load

ROOT = Path(__file__).parents[2]


def run(storage: Path, version: Any = None) -> ml.Execution:
    task = ml.Task().component("crossval.summary", version)
    execution = ml.execute(task, {"storage": str(storage), "code_backup": False}, project=ROOT)
    assert isinstance(execution, ml.Execution)
    return execution


def test_each_image_is_validated_once_and_the_summary_reads_all_folds(tmp_path: Path) -> None:
    execution = run(tmp_path)

    of = {name: [one for one in execution.trials if one.component.endswith(name)] for name in ("fold", "score")}
    parts = [trial.read("images.npz") for trial in of["fold"]]
    found = np.concatenate([part["test_images"] for part in parts])
    images = load()[0].reshape(-1, 64) / 16
    assert sorted(map(tuple, found)) == sorted(map(tuple, images))
    assert all(len(part["train_images"]) + len(part["test_images"]) == len(images) for part in parts)
    assert all(set(part["test_labels"]) == set(range(10)) for part in parts)
    accuracies = [trial.result["accuracy"] for trial in of["score"]]
    summary = execution.trials[-1]
    assert summary.result["mean"] == pytest.approx(mean(accuracies))
    assert min(accuracies) > 0.85
    assert [row["accuracy"] for row in summary.records] == accuracies
    assert [trial.uid for trial in summary.requires["folds"]] == [trial.uid for trial in of["score"]]
    assert {name: trial.component for name, trial in of["score"][0].requires.items()} == {
        "images": "examples.crossval.fold",
        "model": "examples.crossval.ridge",
    }


def test_another_penalty_reuses_the_folds(tmp_path: Path) -> None:
    run(tmp_path)
    strong = run(tmp_path, "~strong")

    assert [trial.component.rpartition(".")[2] for trial in strong.trials if trial.status == "reused"] == ["fold"] * 5
    assert strong.trials[-1].stale is None
