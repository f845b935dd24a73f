"""Every vector in `life_cycle.json` and `config_methods.json`, executed through the public API."""

from __future__ import annotations

import builtins
import importlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

import machinable as ml
from tests import golden_cases
from tests.golden_cases import decode, typed

LIFE = golden_cases.load("life_cycle")
METHODS = golden_cases.load("config_methods")
TIMES = {"_timestamp", "_seconds_taken", "_total_seconds_taken"}


def task_of(calls: list[Any]) -> ml.Task:
    task = ml.Task()
    for method, arguments in calls:
        getattr(task, method)(**decode(arguments))
    return task


def execute(case: dict[str, Any], storage: Path) -> list[Any]:
    """What the case asks for; the executions, however it ends. The error is raised afterwards."""
    arguments = decode(case["execute"])
    arguments.setdefault("storage", None)
    if arguments["storage"] is True:
        storage.mkdir(exist_ok=True)
        arguments["storage"] = str(storage)
    function = arguments.pop("function", None)
    run = ml.execute(function) if function is not None else ml.execute
    results: list[Any] = []
    for _ in range(arguments.pop("times", 1)):
        tasks = [task_of(calls) for calls in case["tasks"]] if "tasks" in case else task_of(case["calls"])
        result = run(tasks, **arguments)
        results += result if isinstance(result, list) else [result]
    return results


# One component of the vectors leaves the closing of a file to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("case", LIFE["cases"], ids=lambda case: case["name"])
def test_a_component_lives_as_written(
    case: dict[str, Any], world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    golden_cases.write(world, {**LIFE["files"], **case["files"]})
    for name in [name for name in os.environ if name.startswith("GOLDEN_")]:
        monkeypatch.delenv(name)
    for name, value in case.get("environment", {}).items():
        monkeypatch.setenv(name, value)
    expect, storage = case["expect"], tmp_path / "storage"
    executions: list[Any] = []
    message = ""
    if expect["raises"] is None:
        executions = execute(case, storage)
    else:
        known = getattr(ml.errors, expect["raises"], None) or getattr(builtins, expect["raises"])
        with pytest.raises(known) as caught:
            execute(case, storage)
        message = str(caught.value)
        executions = list(getattr(caught.value, "executions", ()))  # the error has those that ran
    trials = [trial for execution in executions for trial in execution.trials]
    log = importlib.import_module("golden_trace").LOG
    assert log == expect["events"]
    if "states" in expect:
        assert [trial.status for trial in trials] == expect["states"]
    if "results" in expect:
        assert typed([trial.result for trial in trials]) == typed(decode(expect["results"]))
    if "rows" in expect:
        rows = [[{k: v for k, v in row.items() if k not in TIMES} for row in trial.records] for trial in trials]
        assert typed(rows) == typed(decode(expect["rows"]))
    if "columns" in expect:
        assert [[list(row) for row in trial.records] for trial in trials] == expect["columns"]
    if "folders" in expect:
        assert sorted(path.parent.name for path in storage.glob("*/execution.json")) == sorted(expect["folders"])
    for name, part in expect.get("files", {}).items():
        assert_contains(json.loads((storage / name).read_text()), part)
    if "absent" in expect:
        for path in filter(Path.is_file, storage.rglob("*")):
            assert expect["absent"].encode() not in path.read_bytes(), path
    assert [part for part in expect.get("mentions", ()) if part not in message] == [], message


def assert_contains(whole: Any, part: Any) -> None:
    if isinstance(part, dict):
        for key, value in part.items():
            assert_contains(whole[key], value)
    else:
        assert whole == part


@pytest.mark.parametrize("case", METHODS["cases"], ids=lambda case: case["name"])
def test_a_configuration_reads_as_written(case: dict[str, Any], world: Path) -> None:
    golden_cases.write(world, METHODS["files"])
    expect = case["expect"]
    flags = {"ACCESS": [case["access"]], "note": "rate(1)"}
    task = ml.Task().component(case["component"], decode(case["version"]), flags=flags)
    if "before_start" in expect:
        with pytest.raises(getattr(builtins, expect["before_start"])):
            ml.execute(task)
        return
    ml.execute(task)
    (note,) = importlib.import_module("work").NOTES
    if "error" in expect:
        assert set(expect["error"]) <= set(note["error"])
    else:
        assert typed(note.get("value", note)) == typed(decode(expect["value"]))
