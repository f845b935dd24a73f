"""Fit a ridge regression to the training images of a fold."""

from __future__ import annotations

import numpy as np

from examples.digits.data import CLASSES
from machinable import Component


class Ridge(Component):
    """Write `weights.npy`: one column of weights for each digit, with the intercept in the last row."""

    def on_execute(self) -> None:
        """Solve the regularized normal equations."""
        images = self.requires.images.read("images.npz")
        inputs = np.column_stack([images["train_images"], np.ones(len(images["train_images"]))])
        targets = np.eye(CLASSES)[images["train_labels"]]
        penalty = self.config.penalty * np.eye(inputs.shape[1])
        self.store.write("weights.npy", np.linalg.solve(inputs.T @ inputs + penalty, inputs.T @ targets))
