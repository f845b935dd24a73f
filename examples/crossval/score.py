"""Measure a model on the images that its fold holds out."""

from __future__ import annotations

import numpy as np

from machinable import Component


class Score(Component):
    """Return the share of the held-out images that the model classifies correctly."""

    def on_execute(self) -> dict[str, float]:
        """Classify the held-out images of the fold."""
        images = self.requires.images.read("images.npz")
        inputs = np.column_stack([images["test_images"], np.ones(len(images["test_images"]))])
        answers = (inputs @ self.requires.model.read("weights.npy")).argmax(axis=1)
        return {"accuracy": float((answers == images["test_labels"]).mean())}
