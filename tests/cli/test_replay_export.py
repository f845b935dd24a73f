"""`machinable export`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run
from tests.replay.alone import run_alone as repeat

YAML = """\
mixins:
  - loader: {data: {name: mnist}}
components:
  - nets.dense:
      _mixins_: loader
      units: 8
      rate: rate(config.units)
      _token: ${TOKEN:-hush}
  - encoder: {size: size(2)}
"""
DENSE = """\
import random

from machinable import Component
from tools import noise


class Dense(Component):
    def config_rate(self, units):
        return 1 / units

    def on_create(self, encoder=None):
        self.encoder = encoder

    def on_execute_iteration(self, epoch):
        self.record["loss"] = self.config.rate * noise.draw()
        self.record["data"] = self._loader_.named()
        self.record["size"] = self.encoder.config.size if self.encoder else 0
        if epoch == 2:
            return StopIteration

    def on_after_execute(self):
        self.log.info("done")
        self.store.write("weights.json", [random.random(), {"epoch": (1, 2)}])
        self.store.write("table.csv", [{"a": 1.5, "b": "x"}])

    def on_finish(self, result, success):
        print("finished", success)
"""
FILES = {
    "machinable.yaml": YAML,
    "nets/__init__.py": "",
    "nets/dense.py": DENSE,
    "nets/other.py": "import nowhere\n",
    "loader.py": "from machinable import Mixin\n\n\nclass Loader(Mixin):\n    def named(self):\n        return self.config.data.name\n",  # noqa: E501
    "encoder.py": "import machinable as ml\n\n\nclass Encoder(ml.Component):\n    def config_size(self, n):\n        return n * 10\n",  # noqa: E501
    "tools/__init__.py": "from .deep import scale\n",
    "tools/deep.py": "scale = 2\n",
    "tools/noise.py": "import random\n\nfrom . import scale\n\n\ndef draw():\n    return random.random() * scale\n",
    "unused.py": "x = 1\n",
}


@pytest.fixture
def stored(run: Run, project: Path) -> Path:
    """A project with the execution `OY1p1o`: two trials."""
    for name, text in FILES.items():
        (project / name).parent.mkdir(exist_ok=True)
        (project / name).write_text(text)
    ran = run("execute", "nets.dense", "units=4", "--repeat", "2", "--seed", "OY1p1o", "--storage", "out", "--quiet")
    assert ran.code == 0, ran.err
    return project


def rows(path: Path) -> list[dict[str, Any]]:
    times = ("_timestamp", "_seconds_taken", "_total_seconds_taken")
    return [{k: v for k, v in json.loads(line).items() if k not in times} for line in path.read_text().splitlines()]


def outcome(trial: Path) -> dict[str, Any]:
    status = json.loads((trial / "status.json").read_text())
    return {key: status[key] for key in ("state", "result", "error")}


def test_the_folder_has_only_what_the_trials_need(run: Run, stored: Path) -> None:
    ran = run("export", "OY1p1o", "--storage", "out")

    assert (ran.code, ran.err) == (0, "hidden values are not stored, so the export lacks them: _token\n")
    assert ran.out == (
        "wrote export-OY1p1o: 2 trials, 6 files of code\n"
        "next: cd export-OY1p1o && python -m pip install -r requirements.txt && python run.py\n"
    )
    folder = stored / "export-OY1p1o"
    code = sorted(str(path.relative_to(folder / "code")) for path in (folder / "code").rglob("*.py"))
    assert code == [
        "loader.py",
        "nets/__init__.py",
        "nets/dense.py",
        "tools/__init__.py",
        "tools/deep.py",
        "tools/noise.py",
    ]
    assert sorted(path.name for path in folder.iterdir()) == [
        "code",
        "config.json",
        "machinable",
        "requirements.txt",
        "run.py",
    ]
    assert "hush" not in "".join(path.read_text() for path in folder.rglob("*.json"))


def test_its_numbers_equal_the_stored_ones(run: Run, stored: Path) -> None:
    run("export", "OY1p1o", "--storage", "out")

    ran = repeat(stored / "export-OY1p1o")

    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "finished True\n" * 2
    for trial in (stored / "out" / "OY1p1o" / "trials").iterdir():
        again = stored / "export-OY1p1o" / "results" / "OY1p1o" / "trials" / trial.name
        assert rows(again / "records" / "default.jsonl") == rows(trial / "records" / "default.jsonl")
        for name in ("weights.json", "table.csv"):
            assert (again / "artifacts" / name).read_bytes() == (trial / "artifacts" / name).read_bytes()
        assert (again / "log.txt").read_text().endswith(" INFO done\n")
        assert json.loads((again / "trial.json").read_text()) == json.loads((trial / "trial.json").read_text())
        assert outcome(again) == {"state": "finished", "result": None, "error": None}


def test_the_configuration_is_as_the_component_read_it(run: Run, stored: Path) -> None:
    run("export", "OY1p1o", "--storage", "out", "--to", "again")

    trials = json.loads((stored / "again" / "config.json").read_text())["trials"]

    described = [
        json.loads((stored / "out" / "OY1p1o" / "trials" / t["uid"] / "trial.json").read_text()) for t in trials
    ]
    for trial, stored_as in zip(trials, described, strict=True):
        assert {key: trial[key] for key in stored_as} == stored_as
    assert trials[0]["config"] == {"units": 4, "rate": 0.25, "data": {"name": "mnist"}}
    assert trials[0]["planned"] == trials[0]["config"] | {"rate": "rate(config.units)"}


def test_one_trial_can_be_chosen(run: Run, stored: Path) -> None:
    first, second = (trial["uid"] for trial in run("show", "OY1p1o", "--storage", "out", "--json").data["trials"])

    found = run("export", "OY1p1o", "--trial", second[:6], "--storage", "out", "--json").data

    assert (found["trials"], found["directory"]) == ([second], str(stored / "export-OY1p1o"))
    assert [line.partition("==")[0] for line in found["requirements"]] == ["msgspec", "threadpoolctl"]
    assert repeat(stored / "export-OY1p1o", second).returncode == 0
    unknown = repeat(stored / "export-OY1p1o", first)
    assert (unknown.returncode, unknown.stderr) == (2, f"no trial named {first!r}\n  Known: {second}\n")


def test_run_py_lists_its_trials(run: Run, stored: Path) -> None:
    first, second = run("export", "OY1p1o", "--storage", "out", "--json").data["trials"]

    told = repeat(stored / "export-OY1p1o", "--help")

    assert (told.returncode, told.stderr) == (0, "")
    assert told.stdout == (
        "Usage: python run.py [UID]…\n\n"
        f"  Run these trials, or all of them:\n  {first}  nets.dense\n  {second}  nets.dense\n"
    )
    assert not (stored / "export-OY1p1o/results").exists()


def test_children_are_included(run: Run, stored: Path) -> None:
    (stored / "together.py").write_text(
        "import machinable as ml\n"
        "task = ml.Task().component('nets.dense', children=['encoder'])\n"
        "ml.execute(task, storage='out', seed='8gWVkz')\n"
    )
    subprocess.run([sys.executable, "together.py"], cwd=stored, check=True, capture_output=True)

    assert run("export", "8gWVkz", "--storage", "out").code == 0
    assert repeat(stored / "export-8gWVkz").returncode == 0
    (trial,) = (stored / "out" / "8gWVkz" / "trials").iterdir()
    again = rows(stored / "export-8gWVkz" / "results" / "8gWVkz" / "trials" / trial.name / "records" / "default.jsonl")
    assert again == rows(trial / "records" / "default.jsonl")
    assert [row["size"] for row in again] == [20, 20, 20]


def test_it_also_runs_where_machinable_is_installed(run: Run, stored: Path) -> None:
    run("export", "OY1p1o", "--storage", "out")

    ran = subprocess.run(
        [sys.executable, "run.py"], cwd=stored / "export-OY1p1o", capture_output=True, text=True, check=False
    )

    assert ran.returncode == 0, ran.stderr
    assert sorted(path.name for path in (stored / "export-OY1p1o").iterdir())[-2:] == ["results", "run.py"]


def test_a_failure_is_stored_and_exits_with_1(run: Run, stored: Path) -> None:
    (stored / "encoder.py").write_text(
        "from machinable import Component\n\n\nclass Encoder(Component):\n"
        "    def config_size(self, n):\n        return n\n\n"
        "    def on_execute(self):\n        raise ValueError('no good')\n"
    )
    run("execute", "encoder", "--seed", "8gWVkz", "--storage", "out", "--quiet")
    run("export", "8gWVkz", "--storage", "out")

    ran = repeat(stored / "export-8gWVkz")

    assert ran.returncode == 1
    assert "\nValueError: no good\n" in ran.stderr
    (trial,) = (stored / "export-8gWVkz" / "results" / "8gWVkz" / "trials").iterdir()
    failed = outcome(trial)
    assert (failed["state"], failed["error"]["type"], failed["error"]["message"]) == ("failed", "ValueError", "no good")


def test_nothing_is_overwritten(run: Run, stored: Path) -> None:
    (stored / "export-OY1p1o").mkdir()

    ran = run("export", "OY1p1o", "--storage", "out")

    assert (ran.code, ran.out) == (3, "")
    assert ran.err == "export-OY1p1o already exists\n  Name a directory that does not exist: --to DIR.\n"
    assert list((stored / "export-OY1p1o").iterdir()) == []


def test_code_outside_the_backup_is_refused(run: Run, stored: Path) -> None:
    (stored / "empty").mkdir()
    (stored / "empty" / "machinable.yaml").write_text(YAML)

    ran = run("export", "OY1p1o", "--storage", "out", "--project", "empty")

    assert ran.code == 3
    assert "there is no module nets.dense, loader\n" in ran.err
    assert not (stored / "export-OY1p1o").exists()
    (stored / "out" / "OY1p1o" / "code.zip").unlink()
    assert run("export", "OY1p1o", "--storage", "out").err.startswith("OY1p1o has no code backup")
