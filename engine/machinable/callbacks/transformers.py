"""Rows from the `Trainer` of Hugging Face's transformers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers import TrainerCallback

from machinable.component.record import Record

__all__ = ["RecordRows"]


class RecordRows(TrainerCallback):  # type: ignore[misc]
    """Save a row for whatever the trainer logs, with its step.

    What it logs in an evaluation, such as `eval_loss`, is the column `loss` of the scope `eval`; the summary of the
    training, such as `train_runtime`, is in the scope `train`. Of several processes only the first one writes.

    Args:
        record: The record of the component: `Trainer(callbacks=[RecordRows(self.record)])`.
    """

    def __init__(self, record: Record) -> None:
        self._record = record

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **others: Any) -> None:
        """Save a row."""
        if not logs or not state.is_world_process_zero:
            return
        first = next(iter(logs)).partition("_")[0]
        scope = first if first in ("eval", "test", "train") else ""
        record = self._record.scope(scope) if scope else self._record
        row = {name.removeprefix(f"{scope}_"): value for name, value in logs.items()}
        record.update({"step": state.global_step, **row})
        record.save()
