"""An exported folder gives the same bytes as the stored trials, in an interpreter that cannot import machinable."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import machinable as ml
from machinable.errors import Damaged, NotStored, Refused
from machinable.replay.export import export
from machinable.results.storage import Storage
from machinable.results.trial import Trial
from machinable.results.verify import verify
from tests.replay.alone import run_alone

TIMES = ("_timestamp", "_seconds_taken", "_total_seconds_taken")
YAML = """\
mixins:
  - sampler: {scale: 3}
components:
  - data: {size: 4}
  - scale: {by: 2}
  - net:
      _mixins_: sampler
      _requires_: {data: data}
      _seeding_: [random.seed, "nowhere.seed?"]
      rate: half(config.base)
      base: 1
      weird: {"a.b": half(4), list: [half(6), x]}
      fails: false
"""
FILES = {
    "machinable.yaml": YAML,
    "data.py": """
import random
from machinable import Component


class Data(Component):
    def on_execute(self):
        self.store.write("x.json", [random.random() for _ in range(self.config.size)])
        self.record["total"] = self.config.size
        self.record.save()

    def on_save(self, path, timestep):
        return False

    def mean(self):
        return sum(self.store.read("x.json")) / self.config.size
""",
    "sampler.py": """
import random
from machinable import Mixin


class Sampler(Mixin):
    def draw(self):
        return random.random() * self.config.scale
""",
    "scale.py": """
import random
from machinable import Component


class Scale(Component):
    def on_create(self):
        self.noise = random.random()

    def of(self, value):
        return value * self.config.by + self.noise
""",
    "net.py": """
import random
from machinable import Component, cached


class Net(Component):
    def config_half(self, value):
        return value / 2

    def on_create(self, scale):
        self.scale = scale

    @cached("terms.json")
    def terms(self):
        return [random.random(), self.config.weird["a.b"], self.config.weird.list[0]]

    def on_execute_iteration(self, iteration):
        self.record["loss"] = self.scale.of(self._sampler_.draw()) * self.config.rate
        self.record["data"] = self.requires.data.component.mean() + len(self.requires.data.trial.records)
        self.record.scope("other")["terms"] = self.terms()
        self.record.scope("other").save()
        if iteration == 2:
            if self.config.fails:
                raise ValueError("no good")
            return StopIteration

    def on_after_execute(self):
        self.store.write("read/data.json", self.requires.data.read("x.json"))
        print("done", self.flags.REPEAT_NUMBER)
        self.log.info("done")

    def on_execute(self):
        return {"seed": self.flags.SEED, "rate": self.config.rate}
""",
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / "project").mkdir(exist_ok=True)
        (tmp_path / "project" / name).write_text(text)
    return tmp_path / "project"


def task(*versions: Any) -> ml.Task:
    return ml.Task().component("net", list(versions) or None, children=["scale"]).repeat(2)


def exported(storage: str, tmp_path: Path, **options: Any) -> Path:
    with Storage(storage) as opened:
        export(opened, "OY1p1o", str(tmp_path / "out"), **options)
    return tmp_path / "out"


def rows(folder: Path) -> dict[str, list[dict[str, Any]]]:
    return {
        path.name: [
            {key: value for key, value in json.loads(line).items() if key not in TIMES}
            for line in path.read_text().splitlines()
        ]
        for path in folder.glob("records/*.jsonl")
    }


def artifacts(folder: Path) -> dict[str, bytes]:
    found = folder / "artifacts"
    return {str(path.relative_to(found)): path.read_bytes() for path in found.rglob("*") if path.is_file()}


def assert_same(trial: Trial, storage: Path, out: Path) -> None:
    """See that a trial of the exported folder has the rows, artifacts, result and description of the stored one."""
    folder, uid = trial._reader.locate(trial.uid)
    stored, again = storage / folder.name / "trials" / uid, out / "results" / "OY1p1o" / "trials" / trial.uid
    assert rows(again) == rows(stored)
    assert artifacts(again) == artifacts(stored)
    status = [json.loads((one / "status.json").read_text()) for one in (stored, again)]
    described = [json.loads((one / "trial.json").read_text()) for one in (stored, again)]
    assert [status[1][key] for key in ("state", "result")] == [status[0][key] for key in ("state", "result")]
    assert [described[1][key] for key in ("config", "seed")] == [described[0][key] for key in ("config", "seed")]


def test_all_trials_give_the_same_bytes(project: Path, tmp_path: Path) -> None:
    execution = ml.execute(task({"base": 2}, {"base": 3}), str(tmp_path / "stored"), "OY1p1o", project=project)

    ran = run_alone(out := exported(str(tmp_path / "stored"), tmp_path))

    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "done 0\n" * 2 + "done 1\n" * 2
    assert len(execution) == 5 and execution.trials[0].component == "data"
    for trial in execution:
        assert_same(trial, tmp_path / "stored", out)


def test_a_run_shows_progress_results_and_where_they_are(project: Path, tmp_path: Path) -> None:
    execution = ml.execute(task({"base": 2}), str(tmp_path / "stored"), "OY1p1o", project=project)
    out = exported(str(tmp_path / "stored"), tmp_path)

    shown = re.sub(r"[\d.]+ m?s\b", "TIME", run_alone(out).stderr).splitlines()

    data, first, second = execution
    row, other = (f"loss={trial.last_row['loss']:.6g} data={trial.last_row['data']:.6g}" for trial in (first, second))
    assert shown == [
        f"OY1p1o: 3 trials, stored in {out}/results",
        f"1/3 finished data {data.uid} TIME total=4",
        f"2/3 finished net {first.uid} TIME {row}",
        f'  result: {{"seed": {first.seed}, "rate": 1.0}}',
        f"3/3 finished net {second.uid} TIME {other}",
        f'  result: {{"seed": {second.seed}, "rate": 1.0}}',
        "OY1p1o: finished after TIME; 3 finished",
        f'To read the results in Python, in {out}: machinable.Storage("results")["OY1p1o"]',
    ]


def test_the_results_are_a_storage(project: Path, tmp_path: Path) -> None:
    given = task({"fails": True}, {"base": 2})
    execution = ml.execute(given, str(tmp_path / "stored"), "OY1p1o", project=project, on_failure="continue")
    out = exported(str(tmp_path / "stored"), tmp_path)
    run_alone(out)
    run_alone(out, execution.trials[2].uid)

    with Storage(str(out / "results")) as storage:
        again = storage["OY1p1o"]
        assert again.has_ended
        assert (again.id, again.seed, again.data["task"]) == (execution.id, execution.seed, execution.data["task"])
        for found, stored in zip(again, execution, strict=True):
            assert (found.uid, found.status) == (stored.uid, stored.status)
            assert (found.config, found.result, found.planned("requires")) == (
                stored.config,
                stored.result,
                stored.planned("requires"),
            )
        assert verify(storage.files)[1] == []


def test_a_requirement_that_was_reused_is_computed_again(project: Path, tmp_path: Path) -> None:
    storage = str(tmp_path / "stored")
    ml.execute("data", storage, "8gWVkz", project=project)
    ml.execute(task(), storage, "8gWVkz", project=project)
    execution = ml.execute(task({"base": 2}), storage, "OY1p1o", project=project)
    assert [trial.status for trial in execution] == ["reused", "finished", "finished"]

    ran = run_alone(out := exported(storage, tmp_path))

    assert ran.returncode == 0, ran.stderr
    for trial in execution:
        assert_same(trial, tmp_path / "stored", out)


READS = """
from machinable import Component


class {name}(Component):
    def on_execute(self):
        return self.requires.{reads}.read()
"""


def test_what_a_required_component_requires_is_read_in_the_export(project: Path, tmp_path: Path) -> None:
    with (project / "machinable.yaml").open("a") as file:
        file.write("  - half: {_requires_: {data: data}}\n  - whole: {_requires_: {half: half}}\n")
    (project / "half.py").write_text(READS.format(name="Half", reads="data"))
    (project / "whole.py").write_text(READS.format(name="Whole", reads="half.component.requires.data"))
    whole = ml.execute("whole", str(tmp_path / "stored"), "OY1p1o", project=project).trials[-1]

    ran = run_alone(out := exported(str(tmp_path / "stored"), tmp_path))

    assert ran.returncode == 0, ran.stderr
    with Storage(str(out / "results")) as storage:
        assert storage["OY1p1o"][whole.uid].result == whole.result
    assert_same(whole, tmp_path / "stored", out)


def test_a_failure_ends_with_1_and_the_others_run(project: Path, tmp_path: Path) -> None:
    execution = ml.execute(
        task({"fails": True}, {"base": 2}),
        str(tmp_path / "stored"),
        "OY1p1o",
        project=project,
        on_failure="continue",
    )

    ran = run_alone(out := exported(str(tmp_path / "stored"), tmp_path))

    assert ran.returncode == 1
    assert ran.stderr.count("\nValueError: no good\n") == 2
    assert [trial.status for trial in execution] == ["finished", "failed", "finished", "failed", "finished"]
    for trial in execution:
        assert_same(trial, tmp_path / "stored", out)


def test_one_trial_is_exported_with_its_requirements_and_can_be_repeated(project: Path, tmp_path: Path) -> None:
    execution = ml.execute(task(), str(tmp_path / "stored"), "OY1p1o", project=project)
    data, first, _ = execution
    out = exported(str(tmp_path / "stored"), tmp_path, uids=[first.uid])

    assert run_alone(out).returncode == 0
    before = artifacts(out / "results" / "OY1p1o" / "trials" / first.uid)
    assert run_alone(out, first.uid).returncode == 0

    trials = out / "results" / "OY1p1o" / "trials"
    assert {path.name for path in trials.iterdir()} == {data.uid, first.uid}
    assert artifacts(trials / first.uid) == before
    assert_same(first, tmp_path / "stored", out)


def test_it_needs_msgspec_and_says_so(project: Path, tmp_path: Path) -> None:
    ml.execute("data", str(tmp_path / "stored"), "OY1p1o", project=project)
    out = exported(str(tmp_path / "stored"), tmp_path)

    ran = run_alone(out, packages=())

    assert ran.returncode == 1
    assert ran.stderr.splitlines()[0] == "the package msgspec is not installed, which run.py needs"
    assert ran.stderr.splitlines()[1].endswith("-m pip install -r requirements.txt")
    assert (out / "requirements.txt").read_text().startswith("msgspec==")


def test_missing_environment_variables_are_named_before_anything_runs(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "machinable.yaml").write_text("components:\n  - data: {_environment_: {PLACE: here}}\n")
    (project / "data.py").write_text(
        "import os\n\nfrom machinable import Component\n\n\nclass Data(Component):\n"
        "    def on_execute(self):\n        return os.environ['PLACE']\n"
    )
    execution = ml.execute("data", str(tmp_path / "stored"), "OY1p1o", project=project)
    with Storage(str(tmp_path / "stored")) as storage:
        notes = export(storage, "OY1p1o", str(tmp_path / "out")).notes

    ran = run_alone(tmp_path / "out")
    assert notes == ["set these environment variables before you run it: PLACE"]
    assert (ran.returncode, ran.stderr) == (2, "set these environment variables, as the trials had them: PLACE\n")
    assert not (tmp_path / "out" / "results").exists()

    monkeypatch.setenv("PLACE", "here")
    assert run_alone(tmp_path / "out").returncode == 0
    assert_same(execution.trials[0], tmp_path / "stored", tmp_path / "out")


def test_a_component_that_writes_yaml_needs_pyyaml(project: Path, tmp_path: Path) -> None:
    (project / "data.py").write_text(
        "from machinable import Component\n\n\nclass Data(Component):\n"
        "    def on_execute(self):\n        self.store.write('x.yaml', {'a': 1})\n"
    )
    execution = ml.execute("data", str(tmp_path / "stored"), "OY1p1o", project=project)
    out = exported(str(tmp_path / "stored"), tmp_path)

    names = [line.partition("==")[0] for line in (out / "requirements.txt").read_text().splitlines()]
    assert names == ["msgspec", "threadpoolctl", "pyyaml"]
    assert run_alone(out, packages=("msgspec", "yaml")).returncode == 0
    assert_same(execution.trials[0], tmp_path / "stored", out)


def test_a_trial_that_does_not_exist_is_refused_and_nothing_is_written(project: Path, tmp_path: Path) -> None:
    ml.execute("data", str(tmp_path / "stored"), "OY1p1o", project=project)

    with pytest.raises(NotStored, match="no trial 'nowhere'"):
        exported(str(tmp_path / "stored"), tmp_path, uids=["nowhere"])
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "machinable.yaml").write_text(YAML)
    with pytest.raises(Refused, match="no module data"):
        exported(str(tmp_path / "stored"), tmp_path, project=str(tmp_path / "other"))

    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "project", "stored"]


OF_CLASSES = """
from machinable import Component


class Outer:
    class Own(Component):
        def on_execute(self):
            return type(self).__qualname__
"""


def foreign(
    project: Path, stored: Path, change: Callable[[dict[str, Any]], None] | None = None, code: str = ""
) -> None:
    """Execute a task of a class, and change execution.json afterwards."""
    (project / "machinable.yaml").write_text("components: []\n")
    (project / "classes.py").write_text(OF_CLASSES + code)
    script = "import machinable as ml; from classes import Outer; "
    script += "ml.execute(ml.Task().component(Outer.Own), {!r}, 'OY1p1o')"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(project), *sys.path])}
    subprocess.run([sys.executable, "-c", script.format(str(stored))], cwd=project, check=True, env=environment)
    if change is not None:
        path = stored / "OY1p1o/execution.json"
        data = json.loads(path.read_text())
        change(data)
        path.write_text(json.dumps(data))


def test_code_of_others_is_not_imported(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = "import os\nif 'TRACE' in os.environ:\n    open(os.environ['TRACE'], 'a').write(__name__)\n"
    (project / "src").mkdir()
    (project / "src/sitecustomize.py").write_text(trace)
    foreign(project, tmp_path / "stored", lambda data: data["code"].update(paths=["src"]), trace)
    monkeypatch.setenv("TRACE", str(tmp_path / "trace"))

    out = exported(str(tmp_path / "stored"), tmp_path)

    assert not (tmp_path / "trace").exists()
    ran = subprocess.run([sys.executable, "run.py"], cwd=out, capture_output=True, text=True)
    assert (ran.returncode, "result: Outer.Own" in ran.stderr) == (0, True), ran.stderr
    assert (tmp_path / "trace").read_text() == "classes"


@pytest.mark.parametrize("path", ["/tmp", "../..", "src/../..", ".", "a:/tmp"])
def test_folders_of_modules_outside_the_project_are_refused(project: Path, tmp_path: Path, path: str) -> None:
    foreign(project, tmp_path / "stored", lambda data: data["code"].update(paths=[path]))
    with pytest.raises(Damaged, match="which is not a folder of its project"):
        exported(str(tmp_path / "stored"), tmp_path)
    assert not (tmp_path / "out").exists()


def test_what_a_storage_says_becomes_neither_code_nor_requirements(project: Path, tmp_path: Path) -> None:
    def change(data: dict[str, Any]) -> None:
        data["python"] = '3.11"""\nopen("ran", "w")\n"""'
        data["packages"] |= {
            "numpy": "1.0\n--extra-index-url https://example.org",
            "scipy": "1.0 @ https://example.org/scipy.zip",
            "pandas": "-r /etc/passwd",
            "torch": "2.0.0+cu118",
        }

    foreign(project, tmp_path / "stored", change, "def unused():\n    import numpy, pandas, scipy, torch\n")

    out = exported(str(tmp_path / "stored"), tmp_path)

    assert "ran" not in (out / "run.py").read_text()
    lines = (out / "requirements.txt").read_text().splitlines()
    assert "torch==2.0.0" in lines
    assert not [line for line in lines if "example.org" in line or "passwd" in line]
    assert [line for line in lines if line.startswith("# ")] == [
        f"# {name}: it was not installed as a package of that name" for name in ("numpy", "pandas", "scipy")
    ]


def test_a_project_is_exported_without_ignored_files_secrets_and_what_links_lead_to(
    project: Path, tmp_path: Path
) -> None:
    foreign(project, tmp_path / "stored")
    (tmp_path / "outside.txt").write_text("theirs")
    (project / "link.txt").symlink_to("../outside.txt")
    (project / "folder").symlink_to("..")
    names = {
        ".env": "TOKEN=1",
        "id_rsa": "key",
        "private.txt": "mine",
        "data.txt": "public",
        ".gitignore": "private.*\n",
    }
    for name, text in names.items():
        (project / name).write_text(text)
    (project / "classes.py").write_text(
        f"{OF_CLASSES}\nDATA = ['.env', 'id_rsa', 'private.txt', 'data.txt', 'link.txt', 'folder/outside.txt']\n"
        "api_token = 'abcdefgh12345678'\n"
    )
    with Storage(str(tmp_path / "stored")) as opened:
        found = export(opened, "OY1p1o", str(tmp_path / "out"), project=str(project))

    assert found.modules == ["classes.py", "data.txt"]
    assert sorted(path.name for path in (tmp_path / "out/code").rglob("*")) == found.modules
    assert found.notes == [
        "left out, because ignore rules exclude them: private.txt",
        "left out, because they are links out of the project: folder/outside.txt, link.txt",
        "left out, because files of these names contain secrets: .env, id_rsa",
        "the export contains possible secrets: classes.py:11 a value with the name of a secret",
    ]


def test_an_imported_project_in_a_folder_of_the_project_is_exported(project: Path, tmp_path: Path) -> None:
    (project / "vendor").mkdir()
    (project / "lib").mkdir()
    (project / "vendor" / "lib").symlink_to("../lib")
    (project / "lib" / "machinable.yaml").write_text("components: [net: {units: 8}]\n")
    (project / "lib" / "net.py").write_text(
        "from machinable import Component\n\n\nclass Net(Component):\n    def on_execute(self):\n"
        "        return self.config.units\n"
    )
    (project / "deep.py").write_text("from vendor.lib.net import Net\n\n\nclass Deep(Net):\n    pass\n")
    (project / "machinable.yaml").write_text("+: [lib]\ncomponents:\n  - deep^+.lib.net: {}\n")
    storage = str(tmp_path / "stored")
    ml.execute(ml.Task("deep"), storage=storage, seed="OY1p1o", project=str(project))

    out = exported(storage, tmp_path)

    assert run_alone(out).returncode == 0
    with Storage(str(out / "results")) as results:
        assert results["OY1p1o"].trials[0].result == 8
