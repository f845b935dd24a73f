"""Rows from Lightning's trainer, for which a small trainer stands in that calls the hooks in the same order."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import machinable as ml
from machinable import Component


class Metric:
    """A tensor with one number."""

    def __init__(self, value: float) -> None:
        self.value = value

    def item(self) -> float:
        return self.value


class Callback:
    """The hooks of Lightning do nothing by default."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("on_"):
            return lambda *arguments: None
        raise AttributeError(name)


class Trainer:
    def __init__(self, callback: Any, is_global_zero: bool = True) -> None:
        self.callback = callback
        self.is_global_zero = is_global_zero
        self.callback_metrics: dict[str, Metric] = {}
        self.current_epoch = self.global_step = 0
        self.state = SimpleNamespace(fn="fit")

    def fit(self) -> None:
        for epoch in range(2):
            self.current_epoch = epoch
            self.callback.on_train_epoch_start(self, None)
            self.global_step += 4
            self.callback_metrics["val_loss"] = Metric(0.25 - epoch / 8)
            self.callback.on_validation_epoch_end(self, None)
            self.callback_metrics["loss"] = Metric(0.5 - epoch / 4)
            self.callback.on_train_epoch_end(self, None)
            self.callback_metrics["late"] = Metric(float(epoch))  # by the module, in its own event
        self.callback.on_train_end(self, None)

    def validate(self) -> None:
        self.state.fn = "validate"
        self.callback_metrics = {"val_loss": Metric(0.125)}
        self.callback.on_validation_epoch_end(self, None)

    def test(self) -> None:
        self.state.fn = "test"
        self.callback_metrics = {"test_loss": Metric(0.75)}
        self.callback.on_test_epoch_end(self, None)


@pytest.fixture(params=["lightning.pytorch", "pytorch_lightning"])
def rows(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Return the class of the callback, with either package installed."""
    for name in ("lightning", "lightning.pytorch", "pytorch_lightning"):
        monkeypatch.setitem(sys.modules, name, None)
    for name in ("lightning", request.param):
        module = ModuleType(name)
        module.Callback = Callback  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, name, module)
    from machinable.callbacks.lightning import RecordRows

    yield RecordRows
    del sys.modules["machinable.callbacks.lightning"]


def columns(records: Any) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key[0] != "_"} for row in records]


def test_each_epoch_is_a_row_and_other_runs_of_the_trainer_have_their_scopes(rows: Any) -> None:
    class Train(Component):
        def on_execute(self) -> None:
            trainer = Trainer(rows(self.record))
            trainer.fit()
            trainer.validate()
            trainer.test()

    (trial,) = ml.execute(Train).trials

    assert columns(trial.records) == [
        {"epoch": 0, "step": 4, "val_loss": 0.25, "loss": 0.5, "late": 0.0},
        {"epoch": 1, "step": 8, "val_loss": 0.125, "loss": 0.25, "late": 1.0},
    ]
    assert columns(trial.records("validate")) == [{"step": 8, "val_loss": 0.125}]
    assert columns(trial.records("test")) == [{"step": 8, "test_loss": 0.75}]


def test_only_the_first_process_writes(rows: Any) -> None:
    class Train(Component):
        def on_execute(self) -> None:
            Trainer(rows(self.record), is_global_zero=False).fit()

    assert len(ml.execute(Train).trials[0].records) == 0
