"""A multi-layer perceptron on features."""

from __future__ import annotations

from examples.digits import mlp
from examples.pipeline.training import FromFeatures


class Perceptron(FromFeatures, mlp.Perceptron):
    """The perceptron of the digits example, trained on features."""
