"""The runtime of exported folders leads trials through the same life, by the vectors of `life_cycle.json`."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from machinable.plan.task import Task
from machinable.replay.export import RUNTIME, facts_of
from machinable.replay.rerun import code_of
from machinable.serialization import decode, encode
from tests import golden_cases

LIFE = golden_cases.load("life_cycle")
CASES = [
    case
    for case in LIFE["cases"]
    if case.get("calls")
    and not case.get("environment")
    and case["expect"]["raises"] in (None, "TrialsFailed")
    and case["execute"].get("on_failure") != "stop"
]
METHODS = golden_cases.load("config_methods")
TIMES = ("_timestamp", "_seconds_taken", "_total_seconds_taken")
PROGRAM = """\
import json, os, sys
home, project = sys.argv[1:]
sys.path[:0] = [project, home]
sys.dont_write_bytecode = True
import machinable
from machinable.runtime import main
from machinable.values import encode
assert machinable.__version__ == "exported"
main(project, [])
notes = __import__(os.environ["NOTES_MODULE"])
with open(os.path.join(project, "log.json"), "w") as file:
    json.dump(getattr(notes, os.environ["NOTES"]), file, default=lambda value: encode(dict(value)))
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an exported folder has as `machinable`."""
    directory = tmp_path_factory.mktemp("home")
    shutil.copytree(RUNTIME, directory / "machinable", ignore=shutil.ignore_patterns("__pycache__"))
    return directory


def build(calls: list[Any]) -> Task:
    task = Task()
    for method, arguments in calls:
        getattr(task, method)(**golden_cases.decode(arguments))
    return task


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_a_trial_lives_as_written(case: dict[str, Any], home: Path, tmp_path: Path) -> None:
    golden_cases.write(tmp_path, LIFE["files"] | case["files"])
    expect = case["expect"]
    sys.path.insert(0, str(tmp_path))
    try:
        plan = build(case["calls"]).plan(tmp_path, case["execute"]["seed"])
    finally:
        sys.path.remove(str(tmp_path))
    trials = []
    for spec in plan:
        code = code_of(spec)
        if "function" in case["execute"]:
            module, _, name = case["execute"]["function"]["__python__"].partition(":")
            code |= {"target": module, "class": name, "kind": "function"}
        trials.append(facts_of(spec.as_data() | {"seeding": spec.seeding}, spec.as_data(), code))
    log = run(home, tmp_path, trials, "golden_trace:LOG")

    assert expect["events"] == log
    places = [tmp_path / "results" / spec.uid for spec in plan]
    outcomes = [decode(json.loads((place / "outcome.json").read_text())) for place in places]
    assert [outcome["state"] for outcome in outcomes] == expect["states"]
    if "results" in expect:
        assert [outcome["result"] for outcome in outcomes] == expect["results"]
    rows = [lines_of(place / "records" / "default.jsonl") for place in places]
    if "rows" in expect:
        assert [[{k: v for k, v in row.items() if k not in TIMES} for row in one] for one in rows] == expect["rows"]
    if "columns" in expect:
        assert [[list(row) for row in one] for one in rows] == expect["columns"]


def run(home: Path, project: Path, trials: list[dict[str, Any]], notes: str) -> Any:
    """Repeats trials where nothing but Python itself is installed, and gives what their module has noted."""
    (project / "config.json").write_text(json.dumps(encode({"trials": trials})))
    module, _, name = notes.partition(":")
    environment = {**os.environ, "NOTES_MODULE": module, "NOTES": name}
    words = [sys.executable, "-I", "-S", "-c", PROGRAM, str(home), str(project)]
    ran = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    assert ran.returncode == 0, ran.stderr
    return json.loads((project / "log.json").read_text())


@pytest.mark.parametrize(
    "case",
    # Hidden keys are not stored, so that no exported configuration has them.
    [case for case in METHODS["cases"] if "value" in case["expect"] and "hidden" not in case["name"]],
    ids=lambda case: case["name"],
)
def test_a_configuration_reads_as_written(case: dict[str, Any], home: Path, tmp_path: Path) -> None:
    golden_cases.write(tmp_path, METHODS["files"])
    flags = {"ACCESS": [case["access"]], "note": "rate(1)"}
    version = golden_cases.decode(case["version"])
    (spec,) = Task().component(case["component"], version, flags=flags).plan(tmp_path, "OY1p1o")

    (note,) = run(home, tmp_path, [facts_of(spec.as_data(), spec.as_data(), code_of(spec))], "work:NOTES")

    assert golden_cases.typed(decode(note["value"])) == golden_cases.typed(golden_cases.decode(case["expect"]["value"]))


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [decode(json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []


def test_the_runtime_imports_nothing_but_itself_and_the_standard_library() -> None:
    imported = set()
    for file in Path(RUNTIME).glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported.add((node.module or "").partition(".")[0])
    # What artifacts are made of is imported by who reads or writes such artifacts.
    assert imported - set(sys.stdlib_module_names) == {"numpy", "pandas", "yaml"}


MODULE = """
import machinable as ml
from machinable import Component, Mixin, Storage, Task, cached, errors, execute


class One(Component):
    @cached("terms.npy")
    def terms(self, n):
        self.count = getattr(self, "count", 0) + 1
        return n * 2

    def on_execute(self):
        caught = []
        for call in (lambda: self.store.read("x.json"), lambda: self.config.absent):
            try:
                call()
            except (errors.MissingArtifact, ml.errors.MissingAttribute) as error:
                caught.append(type(error).__name__)
        self.store.write("x.json", 1)
        try:
            self.store.write("x.json", 2)
        except ml.errors.ArtifactExists as error:
            caught.append(type(error).__name__)
        try:
            Task("one")
        except RuntimeError as error:
            caught.append(str(error))
        with self.store.directory("model/") as path, self.store.shared("all/", ["a"]) as shared:
            open(path + "/a", "w").close()
            open(shared + "/b", "w").close()
        return [caught, self.terms(1), self.terms(1), self.terms(2), self.count, sorted(self.store.names())]


@execute
def measure(config):
    return config


NOTES = [measure({"a": 1})]
"""


def test_modules_find_the_names_that_they_import(home: Path, tmp_path: Path) -> None:
    (tmp_path / "machinable.yaml").write_text("components:\n  - one: {a: 1}\n")
    (tmp_path / "one.py").write_text(MODULE)
    (spec,) = Task("one").plan(tmp_path, "OY1p1o")

    notes = run(home, tmp_path, [facts_of(spec.as_data(), spec.as_data(), code_of(spec))], "one:NOTES")

    assert notes == [{"a": 1}]
    outcome = json.loads((tmp_path / "results" / spec.uid / "outcome.json").read_text())
    caught = [
        "FileNotFoundError",
        "MissingKey",
        "FileExistsError",
        "Task is not in an exported folder: it needs machinable",
    ]
    assert outcome == {
        "state": "finished",
        "error": None,
        "result": [caught, 2, 2, 4, 2, ["all/b", "model/a", "x.json"]],
    }
