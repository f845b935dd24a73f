"""The perceptron of the digits, with validation images, by which its settings are chosen."""

from __future__ import annotations

from examples.digits.data import Split
from examples.digits.mlp import Perceptron


class Net(Perceptron):
    """A perceptron that also records its accuracy on images that it neither learns from nor is judged by at the end."""

    def images(self) -> Split:
        """Keep some of the training images, which are in random order, for validation."""
        whole = super().images()
        size = round(self.config.validation_share * len(whole.train_labels))
        self.valid_images, self.valid_labels = whole.train_images[:size], whole.train_labels[:size]
        return whole._replace(train_images=whole.train_images[size:], train_labels=whole.train_labels[size:])

    def on_execute_iteration(self, iteration: int) -> object:
        """Train for one epoch and record loss and accuracies."""
        ends = super().on_execute_iteration(iteration)
        self.record["valid_accuracy"] = self.accuracy(self.valid_images, self.valid_labels)
        return ends
