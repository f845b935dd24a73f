"""A multi-layer perceptron: linear layers with tanh between them, of the sizes in `config.hidden`."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from examples.digits.data import CLASSES
from examples.digits.training import Array, Classifier, Labels, Parameters, cross_entropy


class Perceptron(Classifier):
    """A perceptron: layer i has the parameters `weights_i` and `bias_i`; the last layer computes the class scores."""

    def initial(self, random: np.random.Generator, pixels: int) -> Parameters:
        """Return small random weights and zero biases."""
        sizes = [pixels, *self.config.hidden, CLASSES]
        parameters = {}
        for layer, (inputs, outputs) in enumerate(pairwise(sizes)):
            parameters[f"weights_{layer}"] = random.normal(0.0, inputs**-0.5, (inputs, outputs))
            parameters[f"bias_{layer}"] = np.zeros(outputs)
        return parameters

    @staticmethod
    def scores(parameters: Parameters, images: Array) -> Array:
        """Return the output of the last layer."""
        return Perceptron.activations(parameters, images)[-1]

    @staticmethod
    def activations(parameters: Parameters, images: Array) -> list[Array]:
        """Return the images, followed by the output of each layer."""
        last = len(parameters) // 2 - 1
        values = [images]
        for layer in range(last + 1):
            linear = values[-1] @ parameters[f"weights_{layer}"] + parameters[f"bias_{layer}"]
            values.append(linear if layer == last else np.tanh(linear))
        return values

    @staticmethod
    def loss_and_gradients(parameters: Parameters, images: Array, labels: Labels) -> tuple[float, Parameters]:
        """Compute the gradients by backpropagation."""
        *inputs, scores = Perceptron.activations(parameters, images)
        loss, slope = cross_entropy(scores, labels)
        gradients = {}
        for layer in reversed(range(len(inputs))):
            gradients[f"weights_{layer}"] = inputs[layer].T @ slope
            gradients[f"bias_{layer}"] = slope.sum(axis=0)
            if layer > 0:  # the derivative of tanh is 1 - tanh²
                slope = (slope @ parameters[f"weights_{layer}"].T) * (1.0 - inputs[layer] ** 2)
        return loss, gradients
