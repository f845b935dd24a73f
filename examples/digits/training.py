"""What the classifiers share: minibatch gradient descent, one epoch per iteration, a row of measurements each."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from examples.digits.data import Split
from machinable import Component

Array = NDArray[np.float64]
Labels = NDArray[np.int64]
Parameters = dict[str, Array]


def cross_entropy(scores: Array, labels: Labels) -> tuple[float, Array]:
    """The mean cross entropy of the softmax of the scores, and its gradient with respect to them."""
    shifted = scores - scores.max(axis=1, keepdims=True)  # exp would overflow for large scores
    log_likelihood = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    rows = np.arange(len(labels))
    gradient = np.exp(log_likelihood)
    gradient[rows, labels] -= 1.0
    return -float(log_likelihood[rows, labels].mean()), gradient / len(labels)


class Classifier(Component):
    """Trains a model. A subclass says which: `initial`, `scores` and `loss_and_gradients`."""

    def initial(self, random: np.random.Generator, pixels: int) -> Parameters:
        """The parameters before training."""
        raise NotImplementedError

    @staticmethod
    def scores(parameters: Parameters, images: Array) -> Array:
        """One row of class scores per image; the highest is the answer."""
        raise NotImplementedError

    @staticmethod
    def loss_and_gradients(parameters: Parameters, images: Array, labels: Labels) -> tuple[float, Parameters]:
        """The mean cross entropy, and its gradient for each of the parameters."""
        raise NotImplementedError

    def images(self) -> Split:
        """What it is trained on and tested with."""
        division: Split = self._digits_data_.split_digits()
        return division

    def on_create(self) -> None:
        self.data = self.images()
        # A generator of its own: these numbers do not depend on who else draws from numpy's global one.
        self.random = np.random.default_rng(self.flags.SEED)
        self.parameters = self.initial(self.random, self.data.train_images.shape[1])
        self.velocity = {name: np.zeros_like(value) for name, value in self.parameters.items()}

    def on_execute_iteration(self, iteration: int) -> object:
        """One epoch."""
        rate = self.rate(iteration)
        losses = [self.step(images, labels, rate) for images, labels in self.batches()]
        self.record["loss"] = float(np.mean(losses))
        self.record["train_accuracy"] = self.accuracy(self.data.train_images, self.data.train_labels)
        self.record["test_accuracy"] = self.accuracy(self.data.test_images, self.data.test_labels)
        self.progress(iteration + 1, self.config.epochs)
        return StopIteration if iteration + 1 >= self.config.epochs else None

    def on_after_execute(self) -> None:
        self.store.write("weights.npz", self.parameters)

    def rate(self, epoch: int) -> float:
        """The learning rate, which falls on a straight line from `start` to `end`."""
        rate = self.config.rate
        done = min(epoch / max(rate.epochs - 1, 1), 1.0)
        return float(rate.start + done * (rate.end - rate.start))

    def batches(self) -> Iterator[tuple[Array, Labels]]:
        """The training images in a new order, a minibatch at a time, with fresh noise on them."""
        size, noise = self.config.data.batch_size, self.config.data.noise
        order = self.random.permutation(len(self.data.train_labels))
        for start in range(0, len(order), size):
            chosen = order[start : start + size]
            images = self.data.train_images[chosen]
            yield images + noise * self.random.standard_normal(images.shape), self.data.train_labels[chosen]

    def step(self, images: Array, labels: Labels, rate: float) -> float:
        """One step of gradient descent with momentum; gives the loss before it."""
        loss, gradients = self.loss_and_gradients(self.parameters, images, labels)
        for name, gradient in gradients.items():
            self.velocity[name] = self.config.momentum * self.velocity[name] - rate * gradient
            self.parameters[name] += self.velocity[name]
        return loss

    def accuracy(self, images: Array, labels: Labels) -> float:
        """The share of images that are recognised."""
        return float((self.scores(self.parameters, images).argmax(axis=1) == labels).mean())
