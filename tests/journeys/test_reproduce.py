"""Executions can be reproduced from the storage alone, without the project."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import machinable as ml
from machinable import errors
from machinable.replay.reproduce import reproduce

YAML = """\
mixins:
  - scaling: {factor: 3}
components:
  - points: {size: 10}
  - net: {units: [4, 2]}
  - train:
      _class_: Train
      _mixins_: scaling
      _requires_: {data: points}
      rate: 0.1
      ~fast: {rate: 0.5}
"""
FILES = {
    "machinable.yaml": YAML,
    "points.py": """\
import numpy
from machinable import Component


class Points(Component):
    def on_execute(self):
        self.store.write("x.npy", numpy.random.rand(self.config.size))
        self.save_checkpoint()

    def on_save(self, path, timestep):
        with open(f"{path}/state.txt", "w") as file:
            file.write(str(numpy.random.rand()))
        return "state.txt"

    def on_restore(self, path):
        with open(path) as file:
            self.state = float(file.read())
""",
    "net.py": "from machinable import Component\n\n\nclass Net(Component):\n    pass\n",
    "scaling.py": "from machinable import Mixin\n\n\nclass Scaling(Mixin):\n    def up(self, x):\n        return x * self.config.factor\n",  # noqa: E501
    "train.py": """\
import random

import numpy
from machinable import Component
from helpers import deep


class Train(Component):
    def on_create(self, net):
        self.weights = numpy.random.rand(sum(net.config.units))

    def on_execute_iteration(self, epoch):
        x = self.requires.data.read("x.npy")
        self.record["loss"] = self._scaling_.up(float(x.sum()) * self.config.rate) + deep.noise()
        self.record["state"] = self.requires.data.component.state
        if epoch == 2:
            return StopIteration

    def on_after_execute(self):
        self.store.write("weights.npz", {"w": self.weights})
        self.store.write("facts.json", {"rate": self.config.rate, "draw": random.random()})


class Other(Component):
    def on_execute(self):
        self.record["draw"] = random.random()
        self.record.save()


def function(config, record):
    record["draw"] = random.random()
    record.save()
    return config.to_dict()
""",
    "helpers/__init__.py": "",
    "helpers/deep.py": "import random\n\n\ndef noise():\n    return random.random()\n",
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    directory = tmp_path / "project"
    for name, text in FILES.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)
    return directory


def run(directory: Path, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run a program in a separate process."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MACHINABLE_")}
    done = subprocess.run(
        [sys.executable, *words], cwd=directory, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def machinable(directory: Path, *words: str, code: int = 0) -> Any:
    return json.loads(run(directory, "-m", "machinable", *words, "--json", code=code).stdout)


def execute(project: Path, task: str, engine: str = "local") -> Path:
    """Execute a task in Python as `OY1p1o`, remove the project, and return the remaining directory."""
    program = f"""\
import machinable as ml
import train

task = {task}
ml.execute(task, storage="../results", seed="OY1p1o", engine={engine!r})
"""
    (project / "start.py").write_text(f"if __name__ == '__main__':\n    {program.replace(chr(10), chr(10) + '    ')}")
    run(project, "start.py")
    shutil.rmtree(project)
    return project.parent


TASK = "ml.Task().component('train', [None, '~fast'], children=['net']).repeat(2)"


@pytest.mark.parametrize("engine", ["local", "processes:2"])
def test_requirements_children_and_mixins_on_any_engine(project: Path, engine: str) -> None:
    left = execute(project, TASK, engine)

    found = machinable(left, "reproduce", "OY1p1o", "--storage", "results", "--quiet")

    assert (found["verdict"], found["environment"], found["packages"], found["notes"]) == ("identical", [], [], [])
    assert [trial["component"] for trial in found["trials"]] == ["points", *["train"] * 4]
    assert (found["rows"], found["artifacts"]) == (12, 9)


def test_trials_of_worker_processes_can_be_reproduced_in_this_process(project: Path) -> None:
    left = execute(project, TASK, "processes:2")

    found = machinable(left, "reproduce", "OY1p1o", "--storage", "results", "--engine", "local", "--quiet")

    assert found["verdict"] == "identical"
    assert found["environment"] == [{"name": "engine", "before": "processes", "after": "local"}]


def test_one_trial_is_reproduced_with_its_requirements(project: Path) -> None:
    left = execute(project, TASK)
    uid = machinable(left, "show", "OY1p1o", "--storage", "results")["trials"][3]["uid"]

    found = machinable(left, "reproduce", "OY1p1o", "--trial", uid, "--storage", "results", "--keep", "kept", "--quiet")

    assert [(trial["uid"], trial["verdict"]) for trial in found["trials"]] == [(uid, "identical")]
    folders = sorted(path.name for path in (left / "kept" / "storage" / "OY1p1o" / "trials").iterdir())
    assert len(folders) == 2 and uid in folders


@pytest.mark.parametrize(
    "task", ["ml.Task(train.Other).repeat(2)", "ml.Task().component(train.function, {'a': 1}).repeat(2)"]
)
def test_classes_and_functions_are_found_in_the_restored_code(project: Path, task: str) -> None:
    left = execute(project, task)

    assert machinable(left, "reproduce", "OY1p1o", "--storage", "results", "--quiet")["verdict"] == "identical"


@pytest.mark.parametrize(
    "task", [TASK, "ml.Task(train.Other).repeat(2)", "ml.Task().component(train.function, {'a': 1})"]
)
def test_exported_code_gives_the_same_numbers(project: Path, task: str) -> None:
    left = execute(project, task)

    found = machinable(left, "export", "OY1p1o", "--storage", "results")
    run(left / "export-OY1p1o", "run.py")

    assert "helpers/deep.py" in found["modules"]
    for uid in found["trials"]:
        stored = left / "results" / "OY1p1o" / "trials" / uid
        again = left / "export-OY1p1o" / "results" / "OY1p1o" / "trials" / uid
        assert rows(again) == rows(stored)
        for artifact in (stored / "artifacts").glob("**/*"):
            name = artifact.relative_to(stored)
            assert (again / name).read_bytes() == artifact.read_bytes(), name
        assert (
            json.loads((again / "status.json").read_text())["result"]
            == json.loads((stored / "status.json").read_text())["result"]
        )


def test_a_function_that_ran_in_place_of_components_is_reproduced(project: Path) -> None:
    (project / "train.py").write_text((project / "train.py").read_text() + DECORATED)
    (project / "start.py").write_text("import train\ntrain.measure('points', storage='../results', seed='OY1p1o')\n")
    run(project, "start.py")
    shutil.rmtree(project)

    found = machinable(project.parent, "reproduce", "OY1p1o", "--storage", "results", "--quiet")
    machinable(project.parent, "export", "OY1p1o", "--storage", "results")
    run(project.parent / "export-OY1p1o", "run.py")

    assert (found["verdict"], found["rows"], found["artifacts"]) == ("identical", 1, 0)
    (stored,) = (project.parent / "results" / "OY1p1o" / "trials").iterdir()
    (again,) = (project.parent / "export-OY1p1o" / "results" / "OY1p1o" / "trials").iterdir()
    assert rows(again) == rows(stored)


def test_an_execution_resumed_with_other_code_is_reproduced_with_both(project: Path) -> None:
    (project / "machinable.yaml").write_text("components:\n  - step: {stop: true}\n")
    (project / "step.py").write_text(STEP.format(factor=1, error="raise KeyboardInterrupt"))
    start = (
        "import machinable as ml\ntry:\n    ml.execute({}, storage='../results')\nexcept KeyboardInterrupt:\n    pass\n"
    )
    (project / "start.py").write_text(start.format("ml.Task('step').repeat(2), seed='OY1p1o'"))
    run(project, "start.py")
    (project / "step.py").write_text(STEP.format(factor=10, error="pass"))
    (project / "start.py").write_text(start.format("resume='OY1p1o'"))
    run(project, "start.py")
    shutil.rmtree(project)

    found = machinable(project.parent, "reproduce", "OY1p1o", "--storage", "results", "--quiet")
    refused = machinable(project.parent, "export", "OY1p1o", "--storage", "results", code=3)

    assert [trial["verdict"] for trial in found["trials"]] == ["identical", "identical"]
    assert found["notes"] == [
        "OY1p1o was resumed with different code; each trial runs again with the code that it ran with",
        f"trial {found['trials'][1]['uid']} ended with attempt 2, and begins with attempt 1 again",
    ]
    message = "OY1p1o was resumed with different code, so its trials cannot share one directory"
    assert refused["error"]["message"] == message
    assert refused["error"]["todo"].endswith(f"--trial {found['trials'][1]['uid']}")


def test_an_unreachable_lock_server_is_not_needed(project: Path) -> None:
    yaml = project / "machinable.yaml"
    yaml.write_text(f"execution: {{locks: 'redis://127.0.0.1:1/0'}}\n{yaml.read_text()}")
    (project / "start.py").write_text(
        "import os\nos.environ['MACHINABLE_LOCKS'] = 'storage'\nimport machinable as ml\n"
        "ml.execute(ml.Task('points'), storage='../results', seed='OY1p1o')\n"
    )
    run(project, "start.py")

    assert machinable(project, "reproduce", "OY1p1o", "--storage", "../results", "--quiet")["verdict"] == "identical"


STEP = """\
import random

from machinable import Component


class Step(Component):
    def on_execute(self):
        self.record["draw"] = random.random() * {factor}
        self.record.save()
        if self.flags.REPEAT_NUMBER == 1:
            {error}
"""
DECORATED = """

import machinable as ml


@ml.execute
def measure(config, record):
    record["draw"] = random.random() * config.size
    record.save()
"""


def rows(folder: Path) -> list[dict[str, Any]]:
    times = ("_timestamp", "_seconds_taken", "_total_seconds_taken")
    path = folder / "records" / "default.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [{key: value for key, value in json.loads(line).items() if key not in times} for line in lines]


LAYOUT = {
    "machinable.yaml": "components:\n  - top: {}\n  - pkg.train: {}\n",
    "top.py": "from machinable import Component\nfrom pkg import lib\n\n\nclass Top(Component):\n"
    "    def on_execute(self):\n        return lib.VALUE\n",
    "src/pkg/__init__.py": "",
    "src/pkg/lib.py": "VALUE = 1\n",
    "src/pkg/train.py": "from machinable import Component\n\n\nclass Train(Component):\n"
    "    def on_execute(self):\n        from pkg import lib\n\n        return lib.VALUE\n",
}


@pytest.mark.parametrize(("component", "engine"), [("top", "processes:1"), ("pkg.train", "local")])
def test_packages_of_a_src_layout_are_restored_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, component: str, engine: str
) -> None:
    project = tmp_path / "project"
    for name, text in LAYOUT.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(project / "src"), os.environ.get("PYTHONPATH", "")]))
    storage = ["--storage", "results"]
    machinable(project, "execute", component, "--seed", "OY1p1o", "--engine", engine, *storage)
    (project / "src/pkg/lib.py").write_text("VALUE = 2\n")

    again = machinable(project, "reproduce", "OY1p1o", *storage)
    machinable(project, "export", "OY1p1o", "--to", "exported", *storage)
    shutil.move(project / "exported", tmp_path / "exported")
    monkeypatch.delenv("PYTHONPATH")
    run(tmp_path, "exported/run.py")

    assert (again["verdict"], again["notes"]) == ("identical", [])
    (status,) = (tmp_path / "exported").glob("results/*/trials/*/status.json")
    assert json.loads(status.read_text())["result"] == 1


@pytest.mark.parametrize("engine", ["local", "processes:1"])
def test_modules_with_computed_names_are_restored_and_exported(tmp_path: Path, engine: str) -> None:
    project = tmp_path / "project"
    project.mkdir()
    files = {
        "machinable.yaml": "components: [top: ]\n",
        "top.py": "from importlib import import_module\nfrom machinable import Component\n\n"
        "class Top(Component):\n    def on_execute(self):\n"
        "        return import_module('plug' + 'in').VALUE\n",
        "plugin.py": "from lib import VALUE\n",
        "lib.py": "VALUE = 1\n",
        "unused.py": "",
    }
    for name, text in files.items():
        (project / name).write_text(text)
    machinable(project, "execute", "top", "--seed", "OY1p1o", "--engine", engine, "--storage", "results")
    (project / "plugin.py").write_text("VALUE = 2\n")
    (project / "lib.py").unlink()

    again = machinable(project, "reproduce", "OY1p1o", "--storage", "results")
    machinable(project, "export", "OY1p1o", "--to", "exported", "--storage", "results")
    run(tmp_path, "project/exported/run.py")

    assert (again["verdict"], again["notes"]) == ("identical", [])
    assert sorted(path.name for path in project.glob("exported/code/*.py")) == ["lib.py", "plugin.py", "top.py"]
    (status,) = project.glob("exported/results/*/trials/*/status.json")
    assert json.loads(status.read_text())["result"] == 1


@pytest.mark.parametrize("way", ["git", "removed", "changed"])
def test_a_backup_that_is_not_what_ran_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """The backup lacks a file that git ignores, was written by other code, or was made of other files."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "machinable.yaml").write_text("components: [top: ]\n")
    (tmp_path / "top.py").write_text(LAYOUT["top.py"].replace("from pkg import lib", "import lib"))
    (tmp_path / "lib.py").write_text("VALUE = 1\n")
    if way == "git":
        (tmp_path / ".gitignore").write_text("lib.py\n")
        with pytest.warns(UserWarning, match=r"^the code backup lacks files that the code imports, .* them: lib\.py\."):
            ml.execute("top", "results", "OY1p1o")
    else:
        ml.execute("top", "results", "OY1p1o")
        data = json.loads((tmp_path / "results/OY1p1o/execution.json").read_text())
        files = data["code"]["files"]
        files.update({"gone.py": files["lib.py"]} if way == "removed" else {"lib.py": files["top.py"]})
        (tmp_path / "results/OY1p1o/execution.json").write_text(json.dumps(data))
    with ml.Storage("results") as storage, pytest.raises(errors.Refused) as refused:
        reproduce(storage, "OY1p1o")
    assert str(refused.value) == (
        "the code backup of OY1p1o is not the code that ran\n"
        + {
            "git": "  files that are not in the backup: lib.py\n",
            "removed": "  files that are not in the backup: gone.py\n",
            "changed": "  files that differ from those that were imported: lib.py\n",
        }[way]
        + "  Name a directory with that code: --project DIRECTORY"
    )
    with ml.Storage("results") as storage:
        assert reproduce(storage, "OY1p1o", project=str(tmp_path)).verdict == "identical"


def test_other_code_than_then_is_named(tmp_path: Path) -> None:
    for name, text in {**LAYOUT, "pkg/__init__.py": "", "pkg/lib.py": "VALUE = 1\n"}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    machinable(tmp_path, "execute", "top", "--seed", "OY1p1o", "--storage", "results")
    (tmp_path / "pkg/lib.py").write_text("VALUE = 1  # as before\n")

    again = machinable(tmp_path, "reproduce", "OY1p1o", "--storage", "results", "--project", ".")

    assert again["verdict"] == "identical"
    assert again["notes"] == ["these files differ from those that ran originally: pkg/lib.py"]
