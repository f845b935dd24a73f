"""Tools for tracking experiments receive what trials store, in another process."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import machinable as ml
from machinable.listeners import tracker

YAML = """\
components:
  - work:
      rate: 0.5
      layers: [1, 2]
      "odd: ü": null
      _token: ${TOKEN}
      header: $self._token
      ~fails: {rate: -1}
"""
WORK = """\
from machinable import Component


class Work(Component):
    def on_execute(self):
        for i in range(3):
            self.record["loss"] = self.config.rate / (i + 1)
            self.record["note"] = "text"
            self.record.save()
        self.record.scope("validation")["accuracy"] = float("nan")
        self.record.scope("validation").save()
        self.store.write("deep/er.json", [1])
        if self.config.rate < 0:
            raise ValueError("no good")
"""
TOKEN = "a very secret token"


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, ml.Execution]]:
    """Run one execution with all three tools, because importing them takes seconds."""
    path = tmp_path_factory.mktemp("tracked")
    (path / "machinable.yaml").write_text(YAML)
    (path / "work.py").write_text(WORK)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        patch.setenv("HOME", str(path))
        patch.setenv("TOKEN", TOKEN)
        patch.setenv("MLFLOW_TRACKING_URI", f"file:{path / 'mlruns'}")
        patch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
        task = ml.Task("work", name="n").component("work", "~fails", tags={"kind": "bad"})
        listeners: list[Any] = [
            {"type": "mlflow", "experiment": "mine"},
            "tensorboard",
            {"type": "wandb", "mode": "offline"},
        ]
        yield path, ml.execute(task, path / "results", "OY1p1o", listeners=listeners, on_failure="continue")


def mlflow_runs(path: Path) -> dict[str, Path]:
    """Return the directories of the runs in a file store by name."""
    return {file.read_text(): file.parents[1] for file in path.glob("mlruns/*/*/tags/mlflow.runName")}


def test_mlflow_has_a_run_for_each_trial_below_that_of_the_execution(tracked: tuple[Path, ml.Execution]) -> None:
    path, execution = tracked
    good, bad = execution.trials

    runs = mlflow_runs(path)
    assert set(runs) == {"OY1p1o", f"work {good.uid}", f"work {bad.uid}"}
    run, other, above = runs[f"work {good.uid}"], runs[f"work {bad.uid}"], runs["OY1p1o"]
    assert "name: mine" in (run.parent / "meta.yaml").read_text()
    assert {file.name: file.read_text() for file in (run / "params").iterdir()} == {
        "rate": "0.5",
        "layers": "[1, 2]",
        "odd_ _": "None",
        "header": "${TOKEN}",
    }
    rows = [line.split()[1:] for line in (run / "metrics" / "loss").read_text().splitlines()]
    assert rows == [["0.5", "0"], ["0.25", "1"], [repr(0.5 / 3), "2"]]
    assert (run / "metrics" / "validation" / "accuracy").read_text().split()[1:] == ["nan", "0"]
    assert (run / "artifacts" / "deep" / "er.json").read_text() == "[1]\n"
    tags = {file.name: file.read_text() for file in (other / "tags").iterdir()}
    assert tags["mlflow.parentRunId"] == above.name
    assert tags["machinable.execution"] == "OY1p1o"
    assert tags["machinable.seed"] == str(bad.seed)
    assert (tags["machinable.versions"], tags["machinable.tags.kind"]) == ("~fails", "bad")
    assert (above / "tags" / "machinable.storage").read_text() == str(path / "results")
    states = [
        next(one for one in (run / "meta.yaml").read_text().splitlines() if "status" in one) for run in (run, other)
    ]
    assert states == ["status: 3", "status: 4"]  # finished, failed


def events_of(file: Path) -> Iterator[Any]:
    """Yield the values in a file of TensorBoard: a length with a checksum, then an event with a checksum."""
    from tensorboardX.proto.event_pb2 import Event

    data = file.read_bytes()
    while data:
        (size,) = struct.unpack("<Q", data[:8])
        event = Event.FromString(data[12 : 12 + size])
        yield from ((event.step, event.wall_time, value) for value in event.summary.value)
        data = data[16 + size :]


def test_tensorboard_has_scalars_configuration_and_hyperparameters(tracked: tuple[Path, ml.Execution]) -> None:
    path, execution = tracked
    good = execution.trials[0]

    directory = path / "runs" / "OY1p1o" / f"work-{good.uid}"
    found = list(events_of(next(directory.glob("events*"))))

    losses = [(step, round(value.simple_value, 6)) for step, _, value in found if value.tag == "loss"]
    assert losses == [(0, 0.5), (1, 0.25), (2, 0.166667)]
    assert [time for _, time, value in found if value.tag == "loss"] == [row["_timestamp"] for row in good.records]
    texts = {value.tag: value.tensor.string_val[0].decode() for *_, value in found if value.tensor.string_val}
    assert "| rate | 0.5 |" in texts["configuration/text_summary"]
    assert "| header | ${TOKEN} |" in texts["configuration/text_summary"]
    assert "deep/er.json" in texts["artifacts/text_summary"]
    assert any(value.tag == "validation/accuracy" for *_, value in found)
    assert [file.name[:6] for file in (directory / "hparams").iterdir()] == ["events"]


def test_wandb_has_a_run_for_each_trial_in_the_group_of_the_execution(tracked: tuple[Path, ml.Execution]) -> None:
    path, execution = tracked

    for trial in execution.trials:
        (file,) = path.glob(f"wandb/offline-run-*/run-OY1p1o-{trial.uid}.wandb")
        data = file.read_bytes()
        for text in (
            "OY1p1o",
            f"work {trial.uid}",
            "validation/accuracy",
            "deep/er.json",
            "layers",
            "${TOKEN}",
            "loss",
        ):
            assert text.encode() in data, text


def test_hidden_values_are_in_no_file_of_a_tool(tracked: tuple[Path, ml.Execution]) -> None:
    path, _ = tracked
    files = [file for file in path.rglob("*") if file.is_file()]

    assert len(files) > 20
    assert [file.name for file in files if TOKEN.encode() in file.read_bytes()] == []


def test_a_tool_that_fails_costs_one_line_without_secrets(
    tracked: tuple[Path, ml.Execution], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("machinable.listeners.tensorboard.TensorBoard.tool", "machinable.listeners.broken:Tool")
    monkeypatch.setenv("API_KEY", "machinable.listeners.broken")

    execution = ml.execute("work", listeners=["tensorboard"], progress=False)

    assert execution.status == "finished"
    assert capfd.readouterr().err == "tensorboard did not take everything: ModuleNotFoundError: No module named '…'\n"


def test_a_tool_that_hangs_is_ended(
    tracked: tuple[Path, ml.Execution], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    path, _ = tracked
    (path / "hangs.py").write_text("import time\ntime.sleep(60)\n")
    (path / "here").mkdir()
    monkeypatch.chdir(path / "here")
    monkeypatch.syspath_prepend(path)
    monkeypatch.setattr("machinable.listeners.tensorboard.TensorBoard.tool", "hangs:Tool")
    monkeypatch.setattr(tracker, "PATIENCE", 0.2)

    execution = ml.execute(ml.Task("work"), project=path, listeners=["tensorboard"], progress=False)

    assert execution.status == "finished"
    assert capfd.readouterr().err == "tensorboard did not take everything: it has not finished after 0.2 s\n"
