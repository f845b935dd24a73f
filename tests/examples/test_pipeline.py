"""The pipeline on the handwritten digits: what it computes, and that it computes nothing twice."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

import machinable as ml
from examples.digits.data import split
from examples.pipeline.compare import chance

ROOT = Path(__file__).parents[2]
ALL = ["features", "softmax", "evaluate ~softmax", "mlp", "evaluate ~mlp", "compare"]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the examples with fewer epochs."""
    directory = tmp_path / "project"
    shutil.copytree(ROOT / "examples", directory / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    text = (ROOT / "machinable.yaml").read_text()
    (directory / "machinable.yaml").write_text(text.replace("epochs: 200", "epochs: 5"))
    return directory


def change(project: Path, before: str, after: str) -> None:
    text = (project / "machinable.yaml").read_text()
    assert text.count(before) == 1
    (project / "machinable.yaml").write_text(text.replace(before, after))


def run(project: Path, component: str = "pipeline.compare", **options: Any) -> ml.Execution:
    storage = {"storage": str(project.parent / "results"), "code_backup": False}
    execution = ml.execute(component, storage, project=project, **options)
    assert isinstance(execution, ml.Execution)
    return execution


def computed(execution: ml.Execution) -> list[str]:
    """What has run, and was not reused."""
    found = []
    for trial in execution.trials:
        model = trial.planned("requires").get("model")
        name = trial.component.rpartition(".")[2] + (f" ~{model['component'].rpartition('.')[2]}" if model else "")
        assert trial.status in ("finished", "reused")
        found += [name] if trial.status == "finished" else []
    return found


def test_the_models_read_the_digits_and_the_comparison_reads_both(project: Path) -> None:
    execution = run(project)

    assert computed(execution) == ALL
    features, softmax, first, mlp, second, compared = execution.trials
    assert set(features.read("features.npz")) == {"train_images", "train_labels", "test_images", "test_labels"}
    assert features.read("features.npz")["test_images"].shape == (359, 24)
    assert (features.read("features.npz")["test_labels"] == split(0.2, 0).test_labels).all()
    assert first.last_row["accuracy"] == softmax.last_row["test_accuracy"] > 0.9
    assert second.last_row["accuracy"] == mlp.last_row["test_accuracy"] > 0.9
    confusion = first.read("confusion.csv")
    assert sum(int(row[f"read as {row['digit']}"]) for row in confusion) == round(359 * first.last_row["accuracy"])
    result = compared.read("comparison.json")
    assert (result["first"], result["second"]) == (first.last_row["accuracy"], second.last_row["accuracy"])
    assert round(359 * (result["first"] - result["second"])) == result["only_first"] - result["only_second"]


def test_what_was_computed_once_is_not_computed_again(project: Path) -> None:
    first = run(project)
    second = run(project)

    assert computed(second) == ["compare"]
    assert second.trials[-1].read("comparison.json") == first.trials[-1].read("comparison.json")
    third = run(project, reuse="all")  # the first whose comparison others may use
    assert computed(third) == ["compare"]
    assert computed(run(project, reuse="all", seed=third.id)) == []


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("_log_every: 10", "_log_every: 1", ["compare"]),  # hidden
        ("{batch_size: 32, noise: 0.0}", "{batch_size: 16, noise: 0.0}", ALL[1:]),  # of both models
        ("data.noise: 0.1", "data.noise: 0.2", ["mlp", "evaluate ~mlp", "compare"]),
        ("size: 24  ", "size: 12  ", ALL),
    ],
)
def test_a_changed_key_runs_exactly_what_depends_on_it(
    project: Path, before: str, after: str, expected: list[str]
) -> None:
    run(project)
    change(project, before, after)

    assert computed(run(project)) == expected
    change(project, after, before)
    assert computed(run(project)) == ["compare"]  # the former results are still there


def test_another_component_finds_what_the_pipeline_has_computed(project: Path) -> None:
    run(project)

    assert computed(run(project, "pipeline.evaluate")) == ["evaluate ~softmax"]


def test_what_is_run_again_with_the_same_outcome_changes_nothing_behind_it(project: Path) -> None:
    run(project)

    assert computed(run(project, rerun="*.features")) == ["features", "compare"]


@pytest.mark.parametrize(("one", "other", "expected"), [(0, 0, 1.0), (5, 5, 1.0), (0, 5, 0.0625), (1, 7, 0.0703125)])
def test_chance_is_that_of_a_fair_coin(one: int, other: int, expected: float) -> None:
    assert chance(one, other) == chance(other, one) == expected
