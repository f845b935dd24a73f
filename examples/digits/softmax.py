"""Softmax regression: one linear map from pixels to class scores."""

from __future__ import annotations

import numpy as np

from examples.digits.data import CLASSES
from examples.digits.training import Array, Classifier, Labels, Parameters, cross_entropy


class Softmax(Classifier):
    """A linear model: `scores = images @ weights + bias`."""

    def initial(self, random: np.random.Generator, pixels: int) -> Parameters:
        """Return small random weights and a zero bias."""
        return {"weights": random.normal(0.0, 0.01, (pixels, CLASSES)), "bias": np.zeros(CLASSES)}

    @staticmethod
    def scores(parameters: Parameters, images: Array) -> Array:
        """Return the linear map of the images."""
        return images @ parameters["weights"] + parameters["bias"]

    @staticmethod
    def loss_and_gradients(parameters: Parameters, images: Array, labels: Labels) -> tuple[float, Parameters]:
        """Compute loss and gradients in closed form."""
        loss, slope = cross_entropy(Softmax.scores(parameters, images), labels)
        return loss, {"weights": images.T @ slope, "bias": slope.sum(axis=0)}
