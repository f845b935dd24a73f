"""Softmax regression: one linear map from pixels to class scores."""

from __future__ import annotations

import numpy as np

from examples.digits.data import CLASSES
from examples.digits.training import Array, Classifier, Labels, Parameters, cross_entropy


class Softmax(Classifier):
    """`scores = images @ weights + bias`."""

    def initial(self, random: np.random.Generator, pixels: int) -> Parameters:
        return {"weights": random.normal(0.0, 0.01, (pixels, CLASSES)), "bias": np.zeros(CLASSES)}

    @staticmethod
    def scores(parameters: Parameters, images: Array) -> Array:
        return images @ parameters["weights"] + parameters["bias"]

    @staticmethod
    def loss_and_gradients(parameters: Parameters, images: Array, labels: Labels) -> tuple[float, Parameters]:
        loss, slope = cross_entropy(Softmax.scores(parameters, images), labels)
        return loss, {"weights": images.T @ slope, "bias": slope.sum(axis=0)}
