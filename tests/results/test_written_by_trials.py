"""What trials have written is read back as it was."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from machinable.component.base import Component
from machinable.plan.spec import ComponentSpec, Target, TrialSpec
from machinable.results.execution import Execution
from machinable.serialization import dumps, without_hidden
from machinable.storage.files import Files
from machinable.storage.local import DirectoryFiles
from machinable.storage.memory import MemoryFiles
from machinable.trial.runner import run
from tests.results.worlds import FOLDER, facts, uid, write


class Work(Component):
    def config_rate(self, factor: float) -> dict[str, float]:
        return {"first": 0.25 * factor}

    def on_create(self) -> None:
        self.log.info("created")
        print("hello")

    def on_execute(self) -> Any:
        for i in range(3):
            self.record["loss"] = 1.0 / (i + 1)
            self.record.save()
        self.record.scope("validation")["f1"] = self.config.rates.first
        self.record.scope("validation").save()
        self.store.write("model/weights.json", [1, 2])
        self.store.write("model.p", {"w": 1})
        self.save_checkpoint()
        if self.config.ends == "badly":
            raise ValueError("no data")
        if self.config.ends == "by hand":
            raise KeyboardInterrupt
        return {"score": 3}

    def on_save(self, path: str, timestep: int) -> str:
        Path(path, "state.txt").write_text("saved", encoding="utf-8")
        return "state.txt"


def spec(index: int, ends: str) -> TrialSpec:
    config = {"rates": "rate(2)", "ends": ends, "_hidden": "secret"}
    return TrialSpec(
        index=index,
        uid=uid(index),
        seed=index,
        flags={"SEED": index, "UID": uid(index), "NAME": "work"},
        definition=ComponentSpec(
            "work", "work", ({"ends": ends}, "~x"), config, Target("work"), stored=without_hidden(config)
        ),
    )


SPECS = [spec(0, "well"), spec(1, "badly"), spec(2, "by hand"), spec(3, "never")]


@pytest.fixture(params=["memory", "directory"])
def execution(request: pytest.FixtureRequest, tmp_path: Path) -> Execution:
    """Three trials have run and one has not; the process was killed before it wrote a line of the ledger."""
    files: Files = MemoryFiles() if request.param == "memory" else DirectoryFiles(tmp_path)
    write(files, f"{FOLDER}/execution.json", facts())
    files.write(f"{FOLDER}/plan.jsonl", "".join(dumps(one.as_data()) + "\n" for one in SPECS).encode())
    for one in SPECS[:2]:
        run(one, files, FOLDER, capture="keep", code=Work)
    with pytest.raises(KeyboardInterrupt):
        run(SPECS[2], files, FOLDER, capture="keep", code=Work)
    return Execution(files, FOLDER)


def test_states_are_known_without_a_ledger(execution: Execution) -> None:
    assert [trial.status for trial in execution] == ["finished", "failed", "interrupted", "pending"]
    assert (execution.status, bool(execution)) == ("failed", False)
    assert [trial.attempt for trial in execution] == [1, 1, 1, 0]


def test_the_results_of_a_trial_are_read_back(execution: Execution) -> None:
    trial = execution[uid(0)]

    assert (trial.config.rates.first, "_hidden" in trial.config) == (0.5, False)
    assert (trial.result, trial.error, trial.output) == ({"score": 3}, None, "hello\n")
    assert trial.log.splitlines()[0].endswith(" INFO created")
    assert (trial.records.column("loss"), trial.records.scopes) == ([1.0, 0.5, 1 / 3], ["default", "validation"])
    assert trial.records("validation").column("f1") == [0.5]
    assert (trial.files, trial.read("model/weights.json")) == (["model.p", "model/weights.json"], [1, 2])
    assert trial.checkpoint == "checkpoints/state.txt"
    assert trial.host is not None and trial.host["pid"] == os.getpid()
    assert 0 < (trial.seconds or 0) < 60
    assert trial.version == ({"ends": "well"}, "~x")


def test_a_failure_is_there_with_its_traceback(execution: Execution) -> None:
    error = execution.failures[0].error

    assert error is not None
    assert (error["type"], error["message"]) == ("ValueError", "no data")
    assert "in on_execute" in error["traceback"]
    assert execution.failures[0].result is None


def test_values_of_config_methods_make_a_table(execution: Execution) -> None:
    assert execution.trials.columns("config.rates.first", "records.loss.min", "status").rows() == [
        {"config.rates.first": 0.5, "records.loss.min": 1 / 3, "status": "finished"},
        {"config.rates.first": 0.5, "records.loss.min": 1 / 3, "status": "failed"},
        {"config.rates.first": 0.5, "records.loss.min": 1 / 3, "status": "interrupted"},
        {"config.rates.first": None, "records.loss.min": None, "status": "pending"},
    ]


def test_the_plan_is_what_was_planned_without_what_is_hidden(execution: Execution) -> None:
    assert execution.plan == tuple(replace(one, definition=replace(one.definition, config=one.stored)) for one in SPECS)
