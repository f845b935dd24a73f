"""Pipelines from end to end: data, models and reports, computed once and read by other components."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest

import machinable as ml
from machinable import errors
from machinable.execution.dry_run import dry_run
from machinable.testing.engine import contents
from tests.conftest import World

DECLARATIONS = """
components:
  - nums: {size: 10}
  - split:
      fold: 0
      _requires_: {data: nums}
  - model:
      lr: 0.5
      _requires_: {data: split}
      _results_: [weights.json]
      ~fast: {lr: 1.0}
  - report:
      _requires_: {fast: [model, ~fast], slow: model}
"""
NUMS = """
import random
from machinable import Component


class Nums(Component):
    def on_execute(self):
        self.store.write("x.json", [random.random() for _ in range(self.config.size)])
        self.store.write("about.txt", "numbers")
"""
SPLIT = """
from machinable import Component


class Split(Component):
    def on_execute(self):
        numbers = self.requires.data.read("x.json")
        self.store.write("train.json", numbers[self.config.fold::2])
"""
MODEL = """
from machinable import Component


class Model(Component):
    def on_execute(self):
        total = sum(self.requires.data.read("train.json"))
        for step in range(3):
            self.record["loss"] = total * self.config.lr / (step + 1)
            self.record.save()
        self.store.write("weights.json", total * self.config.lr)
"""
REPORT = """
from machinable import Component


class Report(Component):
    def on_execute(self):
        self.record["difference"] = self.requires.fast.read() - self.requires.slow.read()
        self.record.save()
"""


@pytest.fixture
def here(project: World) -> Path:
    return project(DECLARATIONS, nums=NUMS, split=SPLIT, model=MODEL, report=REPORT)


def place(path: Path) -> dict[str, Any]:
    return {"storage": str(path), "code_backup": False}


def run(task: Any, path: Path, **options: Any) -> Any:
    return ml.execute(task, place(path), **{"seed": "OY1p1o", **options})


def edit(here: Path, name: str, text: str) -> None:
    """Change a module, and let it be imported again as in a new process."""
    (here / f"{name}.py").write_text(text)
    sys.modules.pop(name, None)
    importlib.invalidate_caches()


def states(execution: Any) -> list[tuple[str, str]]:
    return [(trial.component, trial.status) for trial in execution.trials]


def test_a_graph_is_computed_once_and_only_listed_components_run_again(here: Path, tmp_path: Path) -> None:
    first = run("report", tmp_path / "s")
    assert states(first) == [(name, "finished") for name in ("nums", "split", "model", "model", "report")]
    again = run("report", tmp_path / "s")
    assert states(again) == [
        *((name, "reused") for name in ("nums", "split", "model", "model")),
        ("report", "finished"),
    ]
    assert again.trials[-1].last_row["difference"] == first.trials[-1].last_row["difference"]
    assert list(again.trials[2].records) == list(first.trials[2].records)
    other = run("model", tmp_path / "s", seed="BcDeFg")  # another execution, another listed trial, the same data
    assert states(other) == [("nums", "reused"), ("split", "reused"), ("model", "finished")]


def test_a_requirement_draws_the_same_numbers_in_every_execution(here: Path, tmp_path: Path) -> None:
    one = run("report", tmp_path / "one", seed=1)
    two = run("report", tmp_path / "two", seed=2)
    assert one.id != two.id
    assert one.trials[0].read("x.json") == two.trials[0].read("x.json")


@pytest.mark.parametrize("engine", ["processes:1", "processes:2"])
def test_worker_processes_compute_the_same(here: Path, tmp_path: Path, engine: str) -> None:
    run("report", tmp_path / "local")
    run("report", tmp_path / "processes", engine=engine)
    assert contents(tmp_path / "processes" / "OY1p1o") == contents(tmp_path / "local" / "OY1p1o")
    assert states(run("report", tmp_path / "local", engine=engine))[0] == ("nums", "reused")


def test_a_pipeline_runs_without_a_storage(here: Path) -> None:
    execution = ml.execute("report", seed="OY1p1o")
    assert execution.status == "finished"
    assert isinstance(execution.trials[-1].last_row["difference"], float)


def test_changed_data_recomputes_only_what_read_it(here: Path, tmp_path: Path) -> None:
    run("report", tmp_path / "s")
    edit(here, "nums", NUMS.replace('"numbers"', '"other words"'))
    with pytest.warns(UserWarning, match="reusing nums from OY1p1o/"):
        assert states(run("report", tmp_path / "s"))[0] == ("nums", "reused")
    changed = run("report", tmp_path / "s", rerun="nums")  # no trial read about.txt
    assert states(changed)[:3] == [("nums", "finished"), ("split", "reused"), ("model", "reused")]
    edit(here, "nums", NUMS.replace("random.random() for", "0.5 + random.random() for"))
    changed = run("report", tmp_path / "s", reuse="same-code")
    assert states(changed) == [(name, "finished") for name in ("nums", "split", "model", "model", "report")]


def test_a_failed_requirement_blocks_its_branch_and_can_be_repaired(here: Path, tmp_path: Path) -> None:
    edit(here, "split", SPLIT.replace('"x.json"', '"y.json"'))
    with pytest.raises(errors.TrialsFailed) as caught:
        run(ml.Task().component("report").component("nums"), tmp_path / "s")
    execution = caught.value.execution
    assert states(execution) == [
        ("nums", "finished"),
        ("split", "failed"),
        ("model", "blocked"),
        ("model", "blocked"),
        ("report", "blocked"),
        ("nums", "finished"),
    ]
    assert caught.value.message == "1 of 6 trials of OY1p1o failed and blocked 3 others"
    edit(here, "split", SPLIT)
    mended = ml.execute(storage=place(tmp_path / "s"), resume="OY1p1o", engine="processes:2")
    assert [state for _, state in states(mended)] == ["finished"] * 6
    whole = run("report", tmp_path / "other")
    assert mended.trials[4].last_row["difference"] == whole.trials[4].last_row["difference"]
    assert states(run("report", tmp_path / "s"))[:4] == [
        (name, "reused") for name in ("nums", "split", "model", "model")
    ]


def test_a_finished_requirement_of_a_killed_execution_is_reused(here: Path, tmp_path: Path) -> None:
    run("report", tmp_path / "s")
    # Killed right after a requirement had finished, before its pointer and its line of the ledger were written.
    ledger = tmp_path / "s" / "OY1p1o" / "ledger.jsonl"
    ledger.write_text("".join(ledger.read_text().splitlines(keepends=True)[:1]))
    pointers = sorted((tmp_path / "s" / "by-content").rglob("*.json"))
    for path in pointers:
        path.unlink()
    execution = ml.execute(storage=place(tmp_path / "s"), resume="OY1p1o")
    assert execution.status == "finished"
    assert sorted((tmp_path / "s" / "by-content").rglob("*.json")) == pointers
    assert {event["event"] for event in map(json.loads, ledger.read_text().splitlines())} == {
        "started",
        "resumed",
        "finished",
        "ended",
    }
    assert states(run("report", tmp_path / "s"))[:4] == [
        (name, "reused") for name in ("nums", "split", "model", "model")
    ]


def test_a_task_can_have_further_requirements(here: Path, tmp_path: Path) -> None:
    task = ml.Task().component("split", [{"fold": 0}, {"fold": 1}], requires={"data": ("nums", {"size": 4})}).repeat(2)
    execution = run(task, tmp_path / "s")
    assert [name for name, _ in states(execution)] == ["nums", *["split"] * 4]
    assert [len(trial.read("train.json")) for trial in execution.trials[1:]] == [2, 2, 2, 2]


ROWS = """
components:
  - num: {}
  - dbl: {_requires_: {n: num}}
  - by_result: {_requires_: {n: num}}
  - by_trial: {_requires_: {n: num}}
"""
NUM = """
import os
from machinable import Component

class Num(Component):
    def on_execute(self):
        value = int(os.environ["NUMBER"])
        self.record["value"] = value
        self.record.save()
        self.store.write("half.json", value // 2)
        return value
"""
READS = """
from machinable import Component

class Reads(Component):
    def on_execute(self):
        return {how}
"""
HOW = {
    "dbl": "2 * self.requires.n.records.last['value']",
    "by_result": "self.requires.n.trial.result",
    "by_trial": "self.requires.n.trial.read('half.json')",
}
CHANGED = {"dbl": "records", "by_result": "half.json", "by_trial": "half.json"}


@pytest.mark.parametrize("name", list(HOW))
def test_rows_and_results_that_were_read_make_what_read_them_stale(
    project: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    project(ROWS, num=NUM, **{one: READS.format(how=how) for one, how in HOW.items()})
    storage = str(tmp_path / "storage")
    found = []
    for number in ("2", "2", "8"):
        monkeypatch.setenv("NUMBER", number)
        execution = ml.execute(name, storage, "OY1p1o", rerun="num", reuse="all")
        found.append((execution.trials[-1].result, execution.trials[-1].source is None))
    small, large = {"dbl": (4, 16), "by_result": (2, 8), "by_trial": (1, 4)}[name]
    assert found == [(small, True), (small, False), (large, True)]  # equal rows at another time are equal

    monkeypatch.setenv("NUMBER", "2")
    stale = ml.execute(name, storage, "OY1p1o", rerun="num", reuse="all", cascade=False).trials[-1]
    assert (stale.result, stale.stale) == (large, f"n:{CHANGED[name]}")


@pytest.mark.parametrize("engine", ["local", "processes:1"])
@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda file: file.unlink(), "the artifact 'half.json' is gone"),
        (lambda file: file.write_text("77"), "the artifact 'half.json' was changed after it was stored"),
    ],
    ids=["gone", "changed"],
)
def test_a_result_whose_artifact_is_gone_or_changed_is_computed_again(
    project: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str, damage: Any, reason: str
) -> None:
    how = "self.requires.n.read('half.json')"
    project(ROWS, num=NUM, dbl=READS.format(how=how), by_result="", by_trial="")
    monkeypatch.setenv("NUMBER", "2")
    first = ml.execute("dbl", str(tmp_path / "storage"), engine=engine)
    damage(tmp_path / "storage" / str(first) / "trials" / first.trials[0].uid / "artifacts" / "half.json")

    with pytest.warns(RuntimeWarning, match=rf"^{reason} \(of {first}/.*\); num runs again$"):
        second = ml.execute("dbl", str(tmp_path / "storage"), engine=engine)

    assert [(trial.result, trial.source) for trial in second.trials] == [(2, None), (1, None)]
    assert ml.execute("dbl", str(tmp_path / "storage")).trials[0].source == f"{second}/{second.trials[0].uid}"


FAILS_ONCE = """
import os
from machinable import Component

class Fails(Component):
    def on_execute(self):
        if "READY" not in os.environ:
            raise ValueError("not yet")
        return self.requires.n.read("half.json")
"""


def test_an_execution_is_resumed_though_an_artifact_of_a_requirement_is_gone(
    project: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project(ROWS, num=NUM, dbl=FAILS_ONCE, by_result="", by_trial="")
    monkeypatch.setenv("NUMBER", "2")
    storage = tmp_path / "storage"
    first = ml.execute("dbl", str(storage), on_failure="continue")
    (storage / str(first) / "trials" / first.trials[0].uid / "artifacts" / "half.json").unlink()
    monkeypatch.setenv("READY", "yes")

    with pytest.warns(RuntimeWarning, match=r"^the artifact 'half.json' is gone \(of .*\); num runs again$"):
        second = ml.execute(storage=str(storage), resume=str(first))

    assert [(trial.status, trial.attempt, trial.result) for trial in second.trials] == [
        ("finished", 2, 2),
        ("finished", 2, 1),
    ]


THROUGH = """
components:
  - documents: {}
  - data: {_requires_: {dataset: documents}}
  - learn: {_requires_: {data: data}}
  - report: {_requires_: {learn: learn}}
"""
DOCUMENTS = """
import os
from machinable import Component

class Documents(Component):
    def on_execute(self):
        self.store.write("documents.txt", os.environ["DOCUMENTS"])
        self.store.write("languages.txt", "en")
"""
DATA = """
from machinable import Component

class Data(Component):
    def on_execute(self):
        return self.requires.dataset.read("languages.txt")
"""
LEARN = """
from machinable import Component

class Learn(Component):
    def on_execute(self):
        return self.requires.data.component.requires.dataset.read("documents.txt")
"""
REPORTS = """
from machinable import Component

class Report(Component):
    def on_execute(self):
        return self.requires.learn.trial.result
"""


@pytest.mark.parametrize("engine", ["local", "processes:1"])
def test_a_requirement_of_a_requirement_is_that_of_this_plan(
    project: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    project(THROUGH, documents=DOCUMENTS, data=DATA, learn=LEARN, report=REPORTS)
    options: dict[str, Any] = {"storage": str(tmp_path / "storage"), "engine": engine}
    monkeypatch.setenv("DOCUMENTS", "old")
    first = ml.execute("report", **options)
    assert [trial.status for trial in ml.execute("report", **options).trials[:3]] == ["reused"] * 3

    monkeypatch.setenv("DOCUMENTS", "new")
    planned = dry_run("report", options["storage"], rerun="documents")[1]
    assert [(one.action, one.why) for one in planned[1:3]] == [
        ("reuse", "unless the result of documents changes"),
        ("reuse", "unless the result of documents changes"),
    ]
    second = ml.execute("report", **options, rerun="documents")

    assert [trial.status for trial in second.trials] == ["finished", "reused", "finished", "finished"]
    assert (first.trials[-1].result, second.trials[-1].result) == ("old", "new")
    status = json.loads(
        (tmp_path / "storage" / str(second) / "trials" / second.trials[2].uid / "status.json").read_text()
    )
    assert list(status["inputs"]) == ["data.dataset"]
    documents = second.trials[0]
    assert status["indirect"] == {
        "data.dataset": {"identity": documents.identity, "place": f"{second}/{documents.uid}"}
    }

    monkeypatch.setenv("DOCUMENTS", "newest")
    third = ml.execute("report", **options, rerun="documents", cascade=False)
    assert [trial.status for trial in third.trials[:3]] == ["finished", "reused", "reused"]
    assert third.trials[2].stale == "data.dataset:documents.txt"
    resumed = ml.execute(resume=str(second), storage=options["storage"], rerun="documents")
    assert [trial.result for trial in resumed.trials[2:]] == ["newest", "newest"]
