"""The handwritten digits as a mixin: load them, split them, standardise them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from machinable import Mixin

CLASSES = 10


class Split(NamedTuple):
    """Standardised images, a row of 64 pixels each, and their labels from 0 to 9."""

    train_images: NDArray[np.float64]
    train_labels: NDArray[np.int64]
    test_images: NDArray[np.float64]
    test_labels: NDArray[np.int64]


def load() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """All images (1797, 8, 8), pixels from 0 to 16, and their labels (1797,)."""
    with np.load(Path(__file__).with_name("digits.npz")) as stored:
        return stored["images"], stored["labels"]


def split(test_share: float, seed: int) -> Split:
    """The data set divided at random, the same arguments always giving the same division.

    Raises:
        ValueError: `test_share` leaves no image on one of the two sides.
    """
    images, labels = load()
    flat = images.reshape(len(images), -1).astype(np.float64)
    classes = labels.astype(np.int64)
    test_size = round(test_share * len(flat))
    if not 0 < test_size < len(flat):
        raise ValueError(f"data.test_share is {test_share!r}: a share between 0 and 1 leaves images on both sides")

    order = np.random.default_rng(seed).permutation(len(flat))
    test, train = order[:test_size], order[test_size:]
    # Only what is trained on may say what is usual. One scale for all pixels: at the border many are almost always
    # empty, and a scale of their own would make the few strokes there weigh more than the digit.
    standard = (flat - flat[train].mean(axis=0)) / flat[train].std()
    return Split(standard[train], classes[train], standard[test], classes[test])


class DigitsData(Mixin):
    """Brings `config.data` and the images that it describes."""

    def split_digits(self) -> Split:
        """The division of the data set that the configuration asks for."""
        return split(self.config.data.test_share, self.config.data.split)
