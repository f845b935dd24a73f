"""Rows from the trainer of PyTorch Lightning, of the package `lightning` or `pytorch_lightning`."""

from __future__ import annotations

from typing import Any

from machinable.component.record import Record

try:
    from lightning.pytorch import Callback
except ImportError:
    from pytorch_lightning import Callback

__all__ = ["RecordRows"]


class RecordRows(Callback):  # type: ignore[misc]
    """Save a row after each epoch of training, with all metrics that the module has logged so far.

    `trainer.validate` and `trainer.test` save one row in the scope `validate` or `test`. Of several processes only the
    first one writes.

    Args:
        record: The record of the component: `Trainer(callbacks=[RecordRows(self.record)])`.
    """

    def __init__(self, record: Record) -> None:
        super().__init__()
        self._record = record
        self._epoch: int | None = None  # whose row is not saved

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Note that an epoch ends. The module may still log in its own event, which comes later."""
        self._epoch = trainer.current_epoch

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Save the row of the previous epoch."""
        self._save_epoch(trainer)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Save the row of the last epoch."""
        self._save_epoch(trainer)

    def _save_epoch(self, trainer: Any) -> None:
        epoch, self._epoch = self._epoch, None
        if epoch is not None:
            self._save(self._record, trainer, epoch=epoch)

    def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Save the row of `trainer.validate`; while a module is fitted, its metrics are in the row of the epoch."""
        if trainer.state.fn == "validate":
            self._save(self._record.scope("validate"), trainer)

    def on_test_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Save the row of `trainer.test`."""
        self._save(self._record.scope("test"), trainer)

    def _save(self, record: Record, trainer: Any, **facts: int) -> None:
        if trainer.is_global_zero:
            metrics = {name: value.item() for name, value in trainer.callback_metrics.items()}
            record.update({**facts, "step": trainer.global_step, **metrics})
            record.save()
