"""Requirements without a result that nothing needs: they do not run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import machinable as ml
from machinable import errors, events
from machinable.cli import main
from machinable.execution.dry_run import dry_run
from machinable.storage import layout
from machinable.storage.s3 import ObjectStoreFiles
from tests.conftest import World

DECLARATIONS = """
components:
  - w: {}
  - x: {_requires_: {w: w}}
  - m: {_requires_: {x: x}}
  - n: {_requires_: {x: x}}
  - k: {_requires_: {m: m}}
  - both: {_requires_: {m: m, n: n}}
  - direct: {_requires_: {x: x}}
  - through: {_requires_: {m: m}}
  - last: {_requires_: {through: through}}
"""
SUM = """
import os
from machinable import Component

class Sum(Component):
    def on_execute(self):
        os.environ["RAN"] += f" {self.flags.NAME}"
        numbers = [one.read("n.json") for one in self.requires.values()]
        self.store.write("n.json", sum(numbers) + int(os.environ["STEP"]))
"""
THROUGH = """
from machinable import Component

class Through(Component):
    def on_execute(self):
        return self.requires.m.component.requires.x.read("n.json")
"""
LAST = SUM.replace('one.read("n.json")', "one.trial.result")


class Here:
    """A project with results in a storage, of which some are removed."""

    def __init__(self, storage: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.storage = storage
        self._patch = monkeypatch
        self.last: Any = None

    def run(self, task: Any, step: str = "1", **options: Any) -> tuple[str, dict[str, str]]:
        """Execute a task; return which components ran, in order, and the states of all."""
        self._patch.setenv("RAN", "")
        self._patch.setenv("STEP", step)
        self.last = ml.execute(task, self.storage, **options)
        return os.environ["RAN"].strip(), {trial.component: trial.status for trial in self.last.trials}

    def remove(self, *names: str) -> None:
        """Delete the results of components by hand."""
        for execution in ml.Storage(self.storage).executions:
            for trial in execution.trials:
                if trial.component in names:
                    shutil.rmtree(Path(self.storage, str(execution), "trials", trial.uid), ignore_errors=True)


@pytest.fixture
def here(project: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Here:
    modules = dict.fromkeys(("w", "x", "m", "n", "k", "both", "direct"), SUM)
    project(DECLARATIONS, **modules, through=THROUGH, last=LAST)
    return Here(str(tmp_path / "storage"), monkeypatch)


def planned(here: Here, task: Any, **options: Any) -> dict[str, str]:
    plan, outcomes = dry_run(task, here.storage, **options)
    return {spec.component: one.action for spec, one in zip(plan, outcomes, strict=True)}


CASES: dict[str, tuple[Any, Any, tuple[str, ...], dict[str, Any], str]] = {
    # first execution, second execution, removed before it, its options, and what then runs
    "in the middle of a chain": ("k", "k", ("x",), {}, "k"),
    "at the end of a chain": ("k", "k", ("w",), {}, "k"),
    "two of a chain": ("k", "k", ("w", "x"), {}, "k"),
    "all but the listed": ("k", "k", ("w", "x", "m"), {}, "w x m k"),
    "what a missing one requires": ("k", "k", ("x", "m"), {}, "x m k"),
    "both sides of a diamond exist": ("both", "both", ("x",), {}, "both"),
    "one side of a diamond is missing": ("both", "both", ("x", "n"), {}, "x n both"),
    "another listed component requires it": (["k", "direct"], ["k", "direct"], ("x",), {}, "x k direct"),
    "it is listed, which is another trial": ("k", ["k", "x"], ("x",), {}, "k x"),
    "it is to run again": ("k", "k", ("x",), {"rerun": "x"}, "x k"),
    "what it requires is to run again": ("k", "k", ("x",), {"rerun": "w"}, "w x k"),
    "what requires it is to run again": ("k", "k", ("x",), {"rerun": "m"}, "x m k"),
    "what requires it, without a cascade": ("k", "k", ("x",), {"rerun": "w", "cascade": False}, "w k"),
    "nothing is reused": ("k", "k", ("x",), {"reuse": False}, "w x m k"),
    "everything is to run again": ("k", "k", ("x",), {"rerun": True}, "w x m k"),
    "same code": ("k", "k", ("x",), {"reuse": "same-code"}, "k"),
}


def task_of(names: Any) -> ml.Task:
    task = ml.Task()
    for name in [names] if isinstance(names, str) else names:
        task.component(name)
    return task


@pytest.mark.parametrize("case", list(CASES))
def test_only_what_is_needed_runs(here: Here, case: str) -> None:
    first, second, removed, options, ran = CASES[case]
    here.run(task_of(first))
    here.remove(*removed)
    expected = planned(here, task_of(second), **options)
    names, states = here.run(task_of(second), **options)
    assert names == ran
    assert (here.last.status, bool(here.last)) == ("finished", True)
    for name, action in expected.items():  # a dry run says the same
        assert (action, states[name]) in {("run", "finished"), ("reuse", "reused"), ("unneeded", "unneeded")}


def test_a_change_of_a_requirement_reaches_what_requires_a_missing_one(here: Here) -> None:
    here.run("k")
    here.remove("x")
    assert planned(here, "k", rerun="w") == {"w": "run", "x": "run", "m": "reuse", "k": "run"}
    assert here.run("k", step="2", rerun="w")[0] == "w x m k"


def test_with_all_the_results_of_listed_trials_suffice(here: Here) -> None:
    here.run("k", reuse="all", seed=1)
    here.remove("w", "x", "m")
    assert planned(here, "k", reuse="all", seed=1) == {"w": "unneeded", "x": "unneeded", "m": "unneeded", "k": "reuse"}
    names, states = here.run("k", reuse="all", seed=1)
    assert (names, list(states.values()), here.last.status) == ("", ["unneeded"] * 3 + ["reused"], "finished")
    assert here.run("k", reuse="all", seed=2)[0] == "w x m k"


def test_with_same_code_a_change_of_what_requires_it_makes_it_run(here: Here, project: World, tmp_path: Path) -> None:
    here.run("k")
    here.remove("x")
    Path("m.py").write_text(SUM + "CHANGED = True\n")
    assert planned(here, "k", reuse="same-code") == {"w": "reuse", "x": "run", "m": "run", "k": "run"}
    assert here.run("k", reuse="same-code")[0] == "x m k"


def test_a_changed_artifact_counts_as_missing(here: Here) -> None:
    here.run("k")
    trial = here.last.trials[1]
    Path(here.storage, str(here.last), "trials", trial.uid, "artifacts", "n.json").write_text("77")
    assert dry_run("k", here.storage)[1][1].why == (
        f"the artifact 'n.json' was changed after it was stored (of {here.last}/{trial.uid}), "
        "but no trial that runs requires it"
    )
    assert here.run("k") == ("k", {"w": "reused", "x": "unneeded", "m": "reused", "k": "finished"})


@pytest.mark.parametrize("engine", ["local", "processes:1"])
def test_reading_through_to_one_that_was_not_needed_names_the_way_out(here: Here, engine: str) -> None:
    here.run("k")
    here.remove("x")
    with pytest.raises(errors.TrialsFailed, match=r"x has no result|\(x\) has no result, and this execution") as failed:
        here.run("through", engine=engine)
    assert "rerun='x' (--rerun x)" in str(failed.value.execution.trials[-1].error["traceback"])
    here.run("through", rerun="x")
    assert here.last.trials[-1].result == 2


def test_what_a_result_has_read_through_runs_before_it_is_computed_again(here: Here) -> None:
    here.run("last")
    here.remove("x")
    assert here.run("last")[1] == dict.fromkeys(("w", "m", "through"), "reused") | {"x": "unneeded", "last": "finished"}
    assert here.run("last", rerun="through")[0] == "x last"
    assert here.last.trials[3].result == 2


@pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")  # of botocore
def test_on_s3_a_result_without_a_pointer_is_missing(here: Here, s3_folder: Callable[[], str]) -> None:
    here.storage = s3_folder()
    here.run("k")
    here.last.files.remove(layout.pointer(here.last.trials[1].identity))
    assert planned(here, "k") == {"w": "reuse", "x": "unneeded", "m": "reuse", "k": "run"}
    assert here.run("k") == ("k", {"w": "reused", "x": "unneeded", "m": "reused", "k": "finished"})


@pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")  # of botocore
def test_looking_ahead_costs_no_request(
    here: Here, s3_folder: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    here.storage = s3_folder()
    here.run("k")
    asked: list[str] = []
    ask = ObjectStoreFiles._ask

    def note(self: ObjectStoreFiles, operation: str, **arguments: Any) -> Any:
        if "by-content" in str(arguments):
            asked.append(operation)
        return ask(self, operation, **arguments)

    monkeypatch.setattr(ObjectStoreFiles, "_ask", note)
    here.run("k")
    assert asked == ["get_object"] * 3  # w, x and m


def failed(here: Here) -> str:
    """Return an execution of a chain without the result of x, whose listed component has failed."""
    here.run("k")
    here.remove("x")
    with pytest.raises(errors.TrialsFailed) as raised:
        here.run("k", step="none")
    return str(raised.value.execution)


def test_a_resumed_execution_does_not_run_it_either(here: Here) -> None:
    name = failed(here)
    before = dry_run(None, here.storage, resume=name)[1]
    assert [one.action for one in before] == ["keep", "keep", "keep", "run"]
    assert here.run(None, resume=name) == ("k", {"w": "reused", "x": "unneeded", "m": "reused", "k": "finished"})
    assert here.last.status == "finished"
    assert here.run(None, resume=name)[0] == ""  # there is nothing to resume


@pytest.mark.parametrize("count", range(4))  # before anything was recorded, then after each of the requirements
def test_a_killed_execution_is_resumed_without_it(here: Here, count: int) -> None:
    name = failed(here)
    ledger = Path(here.storage, name, "ledger.jsonl")
    lines = ledger.read_text().splitlines(keepends=True)
    ledger.write_text("".join(lines[:count]))
    assert here.run(None, resume=name) == ("k", {"w": "reused", "x": "unneeded", "m": "reused", "k": "finished"})


@pytest.mark.parametrize(
    ("removed", "options", "ran"),
    [
        (("m",), {}, "x m k"),
        ((), {"rerun": "m"}, "x m k"),
        ((), {"rerun": "x"}, "x k"),
        ((), {"rerun": "w"}, "w x k"),
    ],
)
@pytest.mark.filterwarnings("ignore:its files are gone:RuntimeWarning")
def test_it_runs_when_the_execution_is_resumed_and_needs_it(
    here: Here, removed: tuple[str, ...], options: dict[str, Any], ran: str
) -> None:
    name = failed(here)
    here.remove(*removed)
    assert here.run(None, resume=name, **options)[0] == ran
    assert here.last.status == "finished"


def test_listeners_and_readers_know_the_state(here: Here) -> None:
    here.run("k")
    here.remove("x")
    heard: list[events.Event] = []
    here.run("k", listeners=[heard.append], seed="OY1p1o")
    assert [type(one).__name__ for one in heard] == [
        "ExecutionStarted",
        "TrialReused",
        "TrialUnneeded",
        "TrialReused",
        "TrialStarted",
        "TrialFinished",
        "ExecutionFinished",
    ]
    execution = ml.Storage(here.storage)["OY1p1o"]
    assert (execution.status, execution.trials[1].status) == ("finished", "unneeded")
    assert [trial.component for trial in execution.trials.where(status="unneeded")] == ["x"]


def test_all_commands_know_the_state(here: Here, capfd: pytest.CaptureFixture[str]) -> None:
    def run(*words: str) -> str:
        capfd.readouterr()
        assert main([*words, "--storage", here.storage]) == 0
        return capfd.readouterr().out

    here.run("k", seed="OY1p1o")
    here.remove("x")
    assert "unneeded  it has no result, but no trial that runs requires it" in run("execute", "k", "--dry")
    other = str(here.run("k", seed="BcDeFg") and here.last)
    assert "unneeded" in run("list")
    assert "unneeded" in run("show", other)
    assert "unneeded" in run("tail", other)
    run("verify", other)
    assert json.loads(run("compare", "OY1p1o", other, "--json"))
    reproduced = json.loads(run("reproduce", other, "--json"))
    assert (reproduced["verdict"], reproduced["notes"]) == ("identical", [])
    assert [one["component"] for one in reproduced["trials"]] == ["w", "m", "k"]
    run("export", other, "--to", "exported")
    subprocess.run([sys.executable, "exported/run.py"], check=True, env={**os.environ, "RAN": ""})
    again = ml.Storage("exported/results").executions[0]
    assert again.trials[-1].read("n.json") == here.last.trials[-1].read("n.json")
