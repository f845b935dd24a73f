"""The vectors of `life_cycle.json` and `config_methods.json` that concern single trials of a plan."""

from __future__ import annotations

import builtins
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import machinable
from machinable.component.base import Component, Mixin
from machinable.component.config_methods import check_calls
from machinable.component.imports import importing, load_component
from machinable.plan.spec import Outcome, TrialSpec
from machinable.plan.task import Task
from machinable.storage.documents import read_rows
from machinable.storage.memory import MemoryFiles
from machinable.trial.runner import check_function, run
from tests import golden_cases
from tests.golden_cases import decode, typed

LIFE = golden_cases.load("life_cycle")
METHODS = golden_cases.load("config_methods")
# What concerns executions and not trials: several tasks, the environment's mode, an empty plan.
TRIAL_CASES = [
    case for case in LIFE["cases"] if case.get("calls") and "MACHINABLE_MODE" not in case.get("environment", {})
]
TIMES = ("_timestamp", "_seconds_taken", "_total_seconds_taken")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project whose modules are forgotten afterwards."""
    monkeypatch.setattr(machinable, "Component", Component, raising=False)
    monkeypatch.setattr(machinable, "Mixin", Mixin, raising=False)
    before = set(sys.modules)
    with importing(str(tmp_path)):
        yield tmp_path
    for name in set(sys.modules) - before:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]
    assert not list(tmp_path.rglob("__pycache__"))


def build(calls: list[Any]) -> Task:
    task = Task()
    for method, arguments in calls:
        getattr(task, method)(**decode(arguments))
    return task


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # a component leaves a file open
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("case", TRIAL_CASES, ids=lambda case: case["name"])
def test_a_trial_lives_as_written(case: dict[str, Any], project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    golden_cases.write(project, LIFE["files"] | case["files"])
    for name, value in case.get("environment", {}).items():
        monkeypatch.setenv(name, value)
    expect, arguments = case["expect"], case["execute"]
    from golden_trace import LOG  # type: ignore[import-not-found]

    plan = build(case["calls"]).plan(project, arguments["seed"])
    function = decode(arguments["function"]) if "function" in arguments else None
    files = MemoryFiles()
    outcomes: list[Outcome] = []
    if expect["raises"] not in (None, "TrialsFailed"):
        with pytest.raises(getattr(builtins, expect["raises"])) as caught:  # noqa: PT012  # which of them is not said
            for trial in plan:
                code = function or load_component(trial.definition.target, str(project))
                if not isinstance(code, type):
                    check_function(code)
        assert all(part in str(caught.value) for part in expect.get("mentions", ()))
        assert expect["events"] == LOG
        return
    for trial in plan:
        outcomes.append(run(trial, files, plan.id, project=str(project), capture=None, code=function))
        if outcomes[-1].state == "failed" and arguments.get("on_failure") == "stop":
            break

    assert expect["events"] == LOG
    states = [outcome.state for outcome in outcomes]
    assert states + ["pending"] * (len(plan) - len(states)) == expect["states"]
    if "results" in expect:
        assert [outcome.result for outcome in outcomes] == expect["results"]
    rows = [read_rows(files, f"{plan.id}/trials/{trial.uid}/records/default.jsonl") for trial in plan]
    if "rows" in expect:
        assert [[{k: v for k, v in row.items() if k not in TIMES} for row in one] for one in rows] == expect["rows"]
    if "columns" in expect:
        assert [[list(row) for row in one] for one in rows] == expect["columns"]
    for path, part in expect.get("files", {}).items():
        stored = json.loads(files.read(path))
        assert {key: stored[key] for key in part if key != "error"} == {k: v for k, v in part.items() if k != "error"}
        assert (part.get("error") or {}).items() <= (stored.get("error") or {}).items()
    if "absent" in expect:
        assert expect["absent"].encode() not in b"".join(contents(files, ""))


def contents(files: MemoryFiles, path: str) -> Iterator[bytes]:
    for entry in files.entries(path):
        below = f"{path}/{entry.name}".lstrip("/")
        yield from contents(files, below) if entry.is_directory else [files.read(below)]


@pytest.mark.parametrize("case", METHODS["cases"], ids=lambda case: case["name"])
def test_a_configuration_reads_as_written(case: dict[str, Any], project: Path) -> None:
    golden_cases.write(project, METHODS["files"])
    task = Task().component(
        case["component"], decode(case["version"]), flags={"ACCESS": [case["access"]], "note": "rate(1)"}
    )
    expect = case["expect"]
    if "before_start" in expect:
        with pytest.raises(getattr(builtins, expect["before_start"])):
            check(task, project)
        return
    trial = check(task, project)

    outcome = run(trial, MemoryFiles(), "OY1p1o", project=str(project), capture=None)

    from work import NOTES  # type: ignore[import-not-found]

    assert (outcome.state, outcome.error) == ("finished", None)
    if "error" in expect:
        assert set(expect["error"]) <= set(NOTES[0]["error"])
    else:
        assert typed(NOTES[0].get("value", NOTES[0])) == typed(decode(expect["value"]))


def check(task: Task, project: Path) -> TrialSpec:
    """Return the only trial of a task, with its calls checked as before it runs."""
    (trial,) = task.plan(project, "OY1p1o")
    cls = load_component(trial.definition.target, str(project))
    assert isinstance(cls, type)
    check_calls(cls, trial.config)
    return trial


@pytest.mark.parametrize("component", ["missing", "missing_nested"])
def test_the_call_of_a_method_that_the_class_lacks_is_text(component: str, project: Path) -> None:
    golden_cases.write(project, METHODS["files"])

    trial = check(Task(component), project)

    assert "unheard_of(" in str(trial.config)
