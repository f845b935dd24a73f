"""What the models of the pipeline share: they are trained on features that another component has prepared."""

from __future__ import annotations

from typing import Any

from examples.digits.data import Split
from examples.digits.training import Classifier


class FromFeatures(Classifier):
    """A classifier of the digits example that reads its images from the component that it requires as `features`."""

    def images(self) -> Split:
        return Split(**self.requires.features.read("features.npz"))

    def on_after_execute_iteration(self, iteration: int) -> None:
        """Log now and then."""
        if (iteration + 1) % self.config._log_every == 0:
            self.log.info("epoch %s: loss %.4f", iteration + 1, self.record["loss"])

    def on_load(self, into: Any = None) -> None:
        """Take the trained parameters over, where another component requires this one."""
        self.parameters = self.store.read("weights.npz")
