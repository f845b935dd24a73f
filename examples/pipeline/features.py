"""Compute the first principal components of the digits."""

from __future__ import annotations

import numpy as np

from examples.digits.data import split
from machinable import Component


class Features(Component):
    """Write `features.npz`: training and test images as `config.size` numbers each, and the labels."""

    def on_execute(self) -> None:
        """Compute the components from the training images only."""
        parts = split(self.config.test_share, self.config.split)
        _, lengths, directions = np.linalg.svd(parts.train_images, full_matrices=False)
        axes = directions[: self.config.size].T
        scale = lengths[0] / len(parts.train_images) ** 0.5
        self.store.write(
            "features.npz",
            {
                "train_images": parts.train_images @ axes / scale,
                "train_labels": parts.train_labels,
                "test_images": parts.test_images @ axes / scale,
                "test_labels": parts.test_labels,
            },
        )
        self.record["explained"] = float((lengths[: self.config.size] ** 2).sum() / (lengths**2).sum())
        self.record.save()
