"""Search, and print what was found: `python -m examples.search`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import machinable as ml


def search(storage: str, engine: str = "processes:2", version: Any = None) -> ml.Execution:
    """Run the task `digits_search`, also with other values."""
    task = ml.Project(Path(__file__).parents[2]).task("digits_search", version)
    execution = ml.execute(task, storage, engine=engine, seed="OY1p1o")
    assert isinstance(execution, ml.Execution)
    return execution


def describe(execution: ml.Execution) -> str:
    """Return the best sample, the best value over time, and which settings matter."""
    assert execution.search is not None
    (best,) = execution.best()
    low, high = best.interval or (best.value, best.value)
    tests = [trial.records.last["test_accuracy"] for trial in best.trials]
    lines = [f"best: sample {best.number}, validation accuracy {best.value:.3f}, 95 % interval {low:.3f} to {high:.3f}"]
    lines += [f"  {key}: {value}" for key, value in best.values.items()]
    lines += [f"its accuracy on the test images, which chose nothing: {sum(tests) / len(tests):.3f}", "history:"]
    before = None
    for row in execution.search.history():
        if row["best"] != before:
            lines.append(f"  after {row['seconds']:.1f} s, sample {row['sample']}: {row['best']:.3f}")
            before = row["best"]
    ended = [sample.state for sample in execution.search.samples]
    lines += [f"{ended.count('finished')} samples finished, {ended.count('pruned')} were pruned", "importance:"]
    lines += [f"  {key}: {share:.2f}" for key, share in execution.search.importance().items()]
    return "\n".join(lines)


if __name__ == "__main__":
    print(describe(search(*sys.argv[1:] or ["results"])))
