"""Softmax regression on features."""

from __future__ import annotations

from examples.digits import softmax
from examples.pipeline.training import FromFeatures


class Softmax(FromFeatures, softmax.Softmax):
    """The softmax regression of the digits example, trained on features."""
