"""Split the digits into training and validation images of one fold."""

from __future__ import annotations

import numpy as np

from examples.digits.data import CLASSES, load
from machinable import Component


class Fold(Component):
    """Write `images.npz`: training and validation images of fold `n` of `k`, and their labels."""

    def on_execute(self) -> None:
        """Deal the images of each digit to the folds in turn, so that every fold has all digits."""
        images, labels = load()
        rng = np.random.default_rng(self.config.shuffle)
        fold_of = np.empty(len(labels), dtype=int)
        for digit in range(CLASSES):
            members = rng.permutation(np.flatnonzero(labels == digit))
            fold_of[members] = np.arange(len(members)) % self.config.k
        flat = images.reshape(len(images), -1) / 16
        held_out = fold_of == self.config.n
        self.store.write(
            "images.npz",
            {
                "train_images": flat[~held_out],
                "train_labels": labels[~held_out],
                "test_images": flat[held_out],
                "test_labels": labels[held_out],
            },
        )
