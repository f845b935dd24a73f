"""Combine the scores of all folds."""

from __future__ import annotations

from statistics import mean, stdev

from machinable import Component


class Summary(Component):
    """Return mean and standard deviation of the accuracies of the folds."""

    def on_execute(self) -> dict[str, float]:
        """Read the result of each fold, in order."""
        accuracies = [fold.result["accuracy"] for fold in self.requires.folds]
        for number, accuracy in enumerate(accuracies):
            self.record["fold"] = number
            self.record["accuracy"] = accuracy
            self.record.save()
        return {"mean": mean(accuracies), "sd": stdev(accuracies)}
