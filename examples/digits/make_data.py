"""Create digits.npz from scikit-learn, which ships the images: `python examples/digits/make_data.py`.

It prints a checksum of the arrays. The bytes of the file also depend on the version of zlib.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits


def main() -> None:
    """Write digits.npz and print the checksum of its arrays."""
    source = load_digits()
    images, labels = source.images.astype(np.uint8), source.target.astype(np.uint8)
    if not np.array_equal(images, source.images):
        raise ValueError("the pixels are not whole numbers from 0 to 255")
    np.savez_compressed(Path(__file__).with_name("digits.npz"), images=images, labels=labels)
    print(hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest())


if __name__ == "__main__":
    main()
