"""The search for good settings of a perceptron."""

from __future__ import annotations

from pathlib import Path

from examples.search.__main__ import describe, search


def test_a_search_ends_with_the_best_sample_its_interval_the_history_and_the_importance(tmp_path: Path) -> None:
    execution = search(str(tmp_path), "local", {"epochs": 3})

    (best,) = execution.best()
    assert execution.search is not None
    assert len(execution.search.samples) == 30
    assert len(execution.trials) == 90
    assert best.value == max(sample.value for sample in execution.search.samples if sample.value is not None)
    assert best.value > 0.9
    seeds = {tuple(trial.seed for trial in sample.trials) for sample in execution.search.samples}
    assert len(seeds) == 1
    lines = describe(execution).splitlines()
    assert lines[0].startswith(f"best: sample {best.number}, validation accuracy {best.value:.3f}, 95 % interval ")
    assert lines[-5] == "importance:"
    assert sum(float(line.rpartition(" ")[2]) for line in lines[-4:]) > 0.97
