"""Compare two models and write a figure and tables for a paper: `python -m examples.paper.study`."""

from __future__ import annotations

from pathlib import Path

import machinable as ml

PROJECT = Path(__file__).parents[2]
METRIC = "records.test_accuracy"


def study() -> ml.Task:
    """Return both models, trained for 20 epochs on five random splits of the digits that they have in common."""
    task = ml.Task(name="paper").component("digits.softmax").component("digits.mlp")
    return task.version("~paired").version({"epochs": 20}).repeat(5)


def write_results(execution: ml.Execution, directory: Path) -> None:
    """Write the figure and the tables of the study."""
    trials = execution.trials
    figure = trials.plot([METRIC, "records.loss"], by="component")
    figure.savefig(directory / "curves.pdf")
    summary = trials.summary(METRIC, by="component")
    (directory / "accuracy.tex").write_text(summary.latex(), encoding="utf-8")
    contrast = trials.contrast(METRIC, between="component", baseline="examples.digits.softmax")
    (directory / "contrast.tex").write_text(contrast.latex(), encoding="utf-8")
    print(summary, contrast, sep="\n\n")


if __name__ == "__main__":
    execution = ml.execute(study(), storage="./results", seed=1, engine="processes:2", project=PROJECT)
    write_results(execution, Path())
