"""The shared training of the classifiers: minibatch gradient descent, with one epoch and one record per iteration."""

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
    """Return the mean cross entropy of the softmax of the scores, and its gradient with respect to the scores."""
    shifted = scores - scores.max(axis=1, keepdims=True)  # exp would overflow for large scores
    log_likelihood = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    rows = np.arange(len(labels))
    gradient = np.exp(log_likelihood)
    gradient[rows, labels] -= 1.0
    return -float(log_likelihood[rows, labels].mean()), gradient / len(labels)


class Classifier(Component):
    """Base class of classifiers. A subclass defines `initial`, `scores` and `loss_and_gradients`."""

    def initial(self, random: np.random.Generator, pixels: int) -> Parameters:
        """Return the parameters before training."""
        raise NotImplementedError

    @staticmethod
    def scores(parameters: Parameters, images: Array) -> Array:
        """Return a row of class scores for each image; the highest score is the predicted class."""
        raise NotImplementedError

    @staticmethod
    def loss_and_gradients(parameters: Parameters, images: Array, labels: Labels) -> tuple[float, Parameters]:
        """Return the mean cross entropy, and its gradient for each parameter."""
        raise NotImplementedError

    def images(self) -> Split:
        """Return training and test images."""
        images: Split = self._digits_data_.split_digits()
        return images

    def on_create(self) -> None:
        """Load the images and initialize the parameters."""
        self.data = self.images()
        # A separate generator: its numbers do not depend on other uses of numpy's global generator.
        self.random = np.random.default_rng(self.flags.SEED)
        self.parameters = self.initial(self.random, self.data.train_images.shape[1])
        self.velocity = {name: np.zeros_like(value) for name, value in self.parameters.items()}

    def on_execute_iteration(self, iteration: int) -> object:
        """Train for one epoch and record loss and accuracy."""
        rate = self.rate(iteration)
        losses = [self.step(images, labels, rate) for images, labels in self.batches()]
        self.record["loss"] = float(np.mean(losses))
        self.record["train_accuracy"] = self.accuracy(self.data.train_images, self.data.train_labels)
        self.record["test_accuracy"] = self.accuracy(self.data.test_images, self.data.test_labels)
        self.progress(iteration + 1, self.config.epochs)
        return StopIteration if iteration + 1 >= self.config.epochs else None

    def on_after_execute(self) -> None:
        """Store the trained parameters."""
        self.store.write("weights.npz", self.parameters)

    def rate(self, epoch: int) -> float:
        """Return the learning rate of an epoch, which decreases linearly from `start` to `end`."""
        rate = self.config.rate
        done = min(epoch / max(rate.epochs - 1, 1), 1.0)
        return float(rate.start + done * (rate.end - rate.start))

    def batches(self) -> Iterator[tuple[Array, Labels]]:
        """Yield minibatches of the training images, in random order and with random noise."""
        size, noise = self.config.data.batch_size, self.config.data.noise
        order = self.random.permutation(len(self.data.train_labels))
        for start in range(0, len(order), size):
            chosen = order[start : start + size]
            images = self.data.train_images[chosen]
            yield images + noise * self.random.standard_normal(images.shape), self.data.train_labels[chosen]

    def step(self, images: Array, labels: Labels, rate: float) -> float:
        """Take one step of gradient descent with momentum, and return the loss before the step."""
        loss, gradients = self.loss_and_gradients(self.parameters, images, labels)
        for name, gradient in gradients.items():
            self.velocity[name] = self.config.momentum * self.velocity[name] - rate * gradient
            self.parameters[name] += self.velocity[name]
        return loss

    def accuracy(self, images: Array, labels: Labels) -> float:
        """Return the share of images that are classified correctly."""
        return float((self.scores(self.parameters, images).argmax(axis=1) == labels).mean())
