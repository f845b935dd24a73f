"""The base class of the models of the pipeline, which are trained on the features of a required component."""

from __future__ import annotations

from typing import Any

from examples.digits.data import Split
from examples.digits.training import Classifier


class FromFeatures(Classifier):
    """A classifier of the digits example that reads its images from the required component `features`."""

    def images(self) -> Split:
        """Return the features as images."""
        return Split(**self.requires.features.read("features.npz"))

    def on_after_execute_iteration(self, iteration: int) -> None:
        """Log every `_log_every` epochs."""
        if (iteration + 1) % self.config._log_every == 0:
            self.log.info("epoch %s: loss %.4f", iteration + 1, self.record["loss"])

    def on_load(self, into: Any = None) -> None:
        """Load the trained parameters, for components that require this one."""
        self.parameters = self.store.read("weights.npz")
