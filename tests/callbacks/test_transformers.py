"""Rows from the trainer of transformers, for which calls in the same order stand in."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import machinable as ml
from machinable import Component

LOGS: list[tuple[int, dict[str, Any] | None]] = [
    (1, {"loss": 0.5, "learning_rate": 0.1, "epoch": 0.5}),
    (2, {"eval_loss": 0.25, "eval_runtime": 0.1, "epoch": 1.0}),
    (2, {"train_runtime": 3.0, "train_loss": 0.4, "epoch": 1.0}),
    (2, {}),
    (2, None),
]


@pytest.mark.parametrize("is_first", [True, False])
def test_what_the_trainer_logs_is_a_row_of_the_first_process(is_first: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("transformers")
    module.TrainerCallback = object  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "transformers", module)
    from machinable.callbacks.transformers import RecordRows

    class Train(Component):
        def on_execute(self) -> None:
            callback = RecordRows(self.record)
            for step, logs in LOGS:
                state = SimpleNamespace(global_step=step, is_world_process_zero=is_first)
                callback.on_log(None, state, None, logs=logs, model=None)

    (trial,) = ml.execute(Train).trials

    found = {
        scope: [{k: v for k, v in row.items() if k[0] != "_"} for row in trial.records(scope)]
        for scope in trial.records.scopes
    }
    rows = {
        "default": [{"step": 1, "loss": 0.5, "learning_rate": 0.1, "epoch": 0.5}],
        "eval": [{"step": 2, "loss": 0.25, "runtime": 0.1, "epoch": 1.0}],
        "train": [{"step": 2, "runtime": 3.0, "loss": 0.4, "epoch": 1.0}],
    }
    assert found == (rows if is_first else {})
