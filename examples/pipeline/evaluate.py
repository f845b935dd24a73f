"""Evaluate a model on the test images."""

from __future__ import annotations

import numpy as np

from examples.digits.data import CLASSES
from machinable import Component


class Evaluate(Component):
    """Write `answers.npz` (predictions and labels) and `confusion.csv`."""

    def on_execute(self) -> None:
        """Classify all test images."""
        features = self.requires.features.read("features.npz")
        model = self.requires.model.component
        labels = features["test_labels"]
        answers = model.scores(model.parameters, features["test_images"]).argmax(axis=1)
        confusion = np.zeros((CLASSES, CLASSES), dtype=int)
        np.add.at(confusion, (labels, answers), 1)
        self.store.write("answers.npz", {"answers": answers, "labels": labels})
        self.store.write(
            "confusion.csv",
            [
                {"digit": digit, **{f"read as {other}": int(count) for other, count in enumerate(row)}}
                for digit, row in enumerate(confusion)
            ],
        )
        self.record["accuracy"] = float((answers == labels).mean())
        self.record.save()
