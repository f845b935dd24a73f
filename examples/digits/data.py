"""The handwritten digits as a mixin: load, split and standardize them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from machinable import Mixin

CLASSES = 10


class Split(NamedTuple):
    """Standardized images, a row of 64 pixels each, and their labels from 0 to 9."""

    train_images: NDArray[np.float64]
    train_labels: NDArray[np.int64]
    test_images: NDArray[np.float64]
    test_labels: NDArray[np.int64]


def load() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return all images (1797, 8, 8), with pixels from 0 to 16, and their labels (1797,)."""
    with np.load(Path(__file__).with_name("digits.npz")) as stored:
        return stored["images"], stored["labels"]


def split(test_share: float, seed: int) -> Split:
    """Return a random split of the data set. The same arguments always return the same split.

    Args:
        test_share: The share of test images, between 0 and 1.
        seed: The seed of the random split.

    Raises:
        ValueError: `test_share` leaves no training or no test images.
    """
    images, labels = load()
    flat = images.reshape(len(images), -1).astype(np.float64)
    classes = labels.astype(np.int64)
    test_size = round(test_share * len(flat))
    if not 0 < test_size < len(flat):
        raise ValueError(f"data.test_share is {test_share!r}: it must leave training and test images, such as 0.2")

    order = np.random.default_rng(seed).permutation(len(flat))
    test, train = order[:test_size], order[test_size:]
    # Mean and scale are computed from training images only. All pixels share one scale: pixels at the border are almost
    # always empty, and a separate scale would give the few strokes there more weight than the digit.
    standard = (flat - flat[train].mean(axis=0)) / flat[train].std()
    return Split(standard[train], classes[train], standard[test], classes[test])


class DigitsData(Mixin):
    """Provide the images that `config.data` describes."""

    def split_digits(self) -> Split:
        """Return the split of the data set that the configuration describes."""
        seed = self.config.data.split
        return split(self.config.data.test_share, self.flags.PAIRED_SEED if seed is None else seed)
