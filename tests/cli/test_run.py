"""`machinable execute` and `machinable resume`."""

from __future__ import annotations

# ruff: noqa: RUF001 - removed trials have a minus sign
import json
import os
import pty
import re
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import machinable
from tests.cli.conftest import Ran, Run

ENGINE = str(Path(machinable.__file__).parents[1])


def program(*words: str, **options: object) -> subprocess.CompletedProcess[str]:
    """The real program in its own process."""
    environment = os.environ | {"PYTHONPATH": ENGINE}
    return subprocess.run(
        [sys.executable, "-m", "machinable", *words], capture_output=True, text=True, env=environment, **options
    )  # type: ignore[call-overload]


def test_results_go_to_stdout_and_progress_to_stderr(project: Path) -> None:
    ran = program("execute", "train", "@fast", "layers=[4]", "--repeat", "2", "--seed", "42", "--storage", "out")

    assert ran.returncode == 0
    lines = ran.stdout.splitlines()
    assert lines[:2] == ["training", "training"]
    assert lines[2:5] == ["component  n  loss ± sd", "train      2      1 ± 0", ""]
    assert re.fullmatch(r"8gWVkz  finished, 2 trials in .*", lines[5])
    assert lines[6:] == [
        f"storage: {project / 'out'}",
        "next: machinable show 8gWVkz --storage out",
        "      machinable list --storage out",
    ]
    lines = ran.stderr.splitlines()
    assert lines[0] == f"8gWVkz: 2 trials, stored in {project / 'out'}"
    assert re.fullmatch(r"1/2 finished train \w{12} .* loss=1 note=ok", lines[1])
    assert re.fullmatch(r"8gWVkz: finished after .*; 2 finished", lines[-1])
    assert len(lines) == 4


def test_without_a_storage_it_says_that_nothing_was_saved(run: Run) -> None:
    ran = run("execute", "train", "--quiet")

    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines()[-1] == "storage: memory, nothing was saved; to save results: --storage DIRECTORY"


def test_development_mode_is_named_as_the_reason_that_nothing_was_saved(
    run: Run, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MACHINABLE_MODE", "DEV")

    ran = run("execute", "train", "--quiet", "--storage", "out")

    assert ran.out.splitlines()[-1] == "storage: memory, nothing was saved; MACHINABLE_MODE is DEV"
    assert not (project / "out").exists()


def test_a_failure_shows_its_traceback_first_and_how_to_run_it_again(project: Path) -> None:
    words = ("fails=[1]", "--repeat", "3", "--seed", "OY1p1o", "--storage", "out", "--name", "n", "--quiet")
    ran = program("execute", "train", "~fast", *words)

    assert ran.returncode == 1
    assert ran.stdout.splitlines()[3:5] == ["component  n  failed  loss ± sd", "train      2       1      1 ± 0"]
    hint, _, stderr = ran.stderr.strip().partition("\n")
    assert "there is no key 'fails', so it is added" in hint
    traceback, _, summary = stderr.strip().partition("\n\n")
    assert traceback.splitlines()[0] == "Traceback (most recent call last):"
    assert traceback.splitlines()[-1] == "ValueError: no good"
    assert "machinable/" not in traceback
    uid = re.search(r"train (\w{12})$", summary, re.MULTILINE)
    assert uid
    assert summary.splitlines() == [
        "1 of 3 trials failed",
        "  1 trial: ValueError: no good, with REPEAT_NUMBER=1",
        f"    train {uid[1]}",
        "    again: machinable execute train @fast 'fails=[1]' --repeat 2 --storage out --seed OY1p1o",
    ]


def test_the_rerun_command_runs_the_same_trial(run: Run) -> None:
    first = run("execute", "train", "fails=[2]", "--repeat", "5", "--json")
    (failed,) = [trial for trial in first.data["trials"] if trial["status"] == "failed"]
    seed = first.data["id"]

    again = run("execute", "train", "fails=[2]", "--repeat", "3", "--seed", f"id:{seed}", "--json").data["trials"][-1]

    assert (again["uid"], again["seed"], again["status"]) == (failed["uid"], failed["seed"], "failed")


def test_failures_exit_with_0_on_continue(run: Run) -> None:
    assert run("execute", "train", "fails=[0]", "--repeat", "2", "--on-failure", "continue").code == 0


def test_json_is_one_document_even_if_components_print(run: Run) -> None:
    ran = run("execute", "train", "fails=[1]", "--repeat", "2", "--seed", "42", "--json", "--quiet")

    assert ran.code == 1
    assert "training" in ran.err
    data = ran.data
    assert (data["execution"], data["seed"], data["status"]) == ("8gWVkz", 7957417341, "failed")
    assert [(t["status"], t["record"]["loss"]) for t in data["trials"]] == [("finished", 0.2), ("failed", 0.2)]
    assert data["trials"][1]["error"]["message"] == "no good"
    assert data["groups"] == [
        {
            "component": "train",
            "config": {},
            "n": 1,
            "others": {"failed": 1},
            "records": {"loss": {"n": 1, "mean": 0.2, "sd": None, "low": None, "high": None}},
        }
    ]
    assert data["error"]["type"] == "TrialsFailed"
    assert "_token" not in str(data)


def test_dry_prints_the_plan_and_runs_nothing(run: Run, project: Path) -> None:
    ran = run("execute", "train", "--repeat", "2", "--seed", "42", "--storage", "out", "--dry")

    assert ran.code == 0
    assert ran.out.splitlines()[0] == "Plan 8gWVkz: 2 trials"
    assert not (project / "out").exists()
    data = run("execute", "train", "--repeat", "2", "--seed", "42", "--dry", "--json").data
    assert (data["id"], [trial["component"] for trial in data["trials"]]) == ("8gWVkz", ["train", "train"])


@pytest.mark.filterwarnings("default")
def test_a_key_similar_to_a_known_one_is_a_warning_in_one_line(run: Run) -> None:
    ran = run("execute", "train", "layer=[3]", "--quiet")

    assert ran.code == 0
    assert ran.err == (
        "warning: train has no key 'layer', so it is added. Did you mean 'layers'? "
        "(train is declared at machinable.yaml:11:5)\n"
    )


def test_nan_is_a_result(run: Run, project: Path) -> None:
    (project / "train.py").write_text(
        "from machinable import Component\n\n\nclass Train(Component):\n    def on_execute(self):\n"
        "        self.record['loss'] = float('nan') if self.flags.REPEAT_NUMBER else 1.0\n        self.record.save()\n"
    )

    assert run("execute", "train", "--repeat", "2", "--quiet").out.splitlines()[:2] == [
        "component  n  loss ± sd",
        "train      2  nan ± nan",
    ]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["execute", "trian"], 2, "no component named 'trian'"),
        (["execute", "trian"], 2, "Did you mean 'train'"),
        (["execute", "train", "~depe"], 2, "Did you mean '~deep'?"),
        (["execute", "train", "deep"], 2, "Write @deep for a version, deep=VALUE for a key."),
        (["execute", "train", "rate=1", "rate=2"], 2, "'rate' is set twice"),
        (["execute", "train", "=1"], 2, "'=1' names no key"),
        (["execute", "train", "a=[1"], 2, "the value of 'a' is not YAML"),
        (["execute", "train", "--seed", "abc"], 2, "the seed 'abc' is neither a number nor an execution id"),
        (["execute", "train", "--seed", "id:abc"], 2, "such as OY1p1o"),
        (["execute", "train", "--repeat", "0"], 2, "repeat takes a number of at least 1, not 0"),
        (["execute", "train", "--repeat", "x"], 2, "'x' is not a valid integer"),
        (["execute", "train", "--engine", "lcoal"], 2, "Did you mean 'local'?"),
        (["execute", "train", "--engine", "lcoal", "--dry"], 2, "Did you mean 'local'?"),
        (["execute", "train", "--storage", "train.py"], 3, "train.py"),
        (["execute", "train", "--storge", "x"], 2, "--storage"),
        (["execute", "train", "--storage", "--quiet"], 2, "'--quiet' is an option"),
        (["executte", "train"], 2, "Did you mean 'execute'?"),
        (["frobnicate"], 2, "Known: init, execute"),
    ],
)
def test_wrong_arguments_are_errors_without_a_traceback(run: Run, words: list[str], code: int, message: str) -> None:
    ran = run(*words)

    assert (ran.code, ran.out) == (code, "")
    assert message in ran.err
    assert "Traceback" not in ran.err
    as_data = run(*words, "--json")
    assert (as_data.code, as_data.err) == (code, "")
    assert set(as_data.data) == {"error"}


def test_a_failing_import_is_reported_with_its_line(run: Run, project: Path) -> None:
    (project / "train.py").write_text("import machinable\n\nimport nowhere_at_all\n")

    ran = run("execute", "train")

    assert (ran.code, ran.out) == (2, "")
    assert "the module 'train' cannot be imported: ModuleNotFoundError: No module named 'nowhere_at_all'" in ran.err
    assert "train.py:3: import nowhere_at_all" in ran.err


def test_invalid_yaml_is_reported_with_its_place(run: Run, project: Path) -> None:
    (project / "machinable.yaml").write_text("components:\n  - a: {b: [}\n")

    ran = run("execute", "a")

    assert ran.code == 2
    assert ran.err.startswith("machinable.yaml:2:13: this is not YAML")


def test_a_missing_project_says_how_to_create_one(run: Run, project: Path) -> None:
    (project / "machinable.yaml").unlink()

    ran = run("execute", "train")

    assert (ran.code, ran.out) == (2, "")
    assert (
        ran.err
        == f"no machinable.yaml in {project}\n  Go to the directory of your project, or create one: machinable init\n"
    )


def test_ctrl_c_says_where_the_execution_is_stored(project: Path) -> None:
    (project / "train.py").write_text(
        "import sys\nfrom machinable import Component\n\n\nclass Train(Component):\n    def on_execute(self):\n"
        "        print('begun', flush=True)\n        sys.stdin.readline()\n"
    )
    command = [sys.executable, "-m", "machinable", "execute", "train", "--storage", "out", "--seed", "42", "--quiet"]
    process = subprocess.Popen(
        command,
        env=os.environ | {"PYTHONPATH": ENGINE},
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGINT)
    _, messages = process.communicate(timeout=30)

    assert process.returncode == 130
    assert messages == (
        f"interrupted: 8gWVkz is stored in {project / 'out'}; 0 of 1 done, 1 interrupted\n"
        "next: machinable resume 8gWVkz --storage out\n"
    )


def test_another_ctrl_c_while_python_exits_changes_nothing(project: Path) -> None:
    (project / "train.py").write_text(
        "import atexit, os, signal\nfrom machinable import Component\n\n\nclass Train(Component):\n"
        "    def on_execute(self):\n        atexit.register(os.kill, os.getpid(), signal.SIGINT)\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
    )
    command = [sys.executable, "-m", "machinable", "execute", "train", "--seed", "42", "--quiet"]
    ended = subprocess.run(command, env=os.environ | {"PYTHONPATH": ENGINE}, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (
        130,
        "interrupted: 8gWVkz was in memory and is lost; 0 of 1 done, 1 interrupted\n",
    )


@pytest.mark.parametrize("how", ["option", "engine", "environment"])
def test_a_dry_run_shows_the_plan_however_it_is_requested(run: Run, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    words = {"option": ["--dry"], "engine": ["--engine", "dry"], "environment": []}[how]
    if how == "environment":
        monkeypatch.setenv("MACHINABLE_ENGINE", "dry")
    ran = run("execute", "train", "--seed", "OY1p1o", *words)
    assert (ran.code, ran.out.splitlines()[0]) == (0, "Plan OY1p1o: 1 trial")


ENGINE = str(Path(machinable.__file__).parents[1])
BROKEN = """\
from pathlib import Path
from machinable import Component


class Train(Component):
    def on_execute(self):
        self.record["loss"] = self.config.rate
        self.record.save()
        if self.flags.get("REPEAT_NUMBER") and not Path(__file__).parents[1].joinpath("repaired").exists():
            raise ValueError("no good")
"""


@pytest.fixture
def failed(run: Run, project: Path) -> Ran:
    """An execution of three trials; all but the first fail until there is a file `repaired` beside the project."""
    (project / "train.py").write_text(BROKEN)
    return run("execute", "train", "--repeat", "3", "--seed", "42", "--storage", "out", "--name", "n", "--quiet")


def statuses(run: Run) -> list[str]:
    return [trial["status"] for trial in run("show", "8gWVkz", "--storage", "out", "--json").data["trials"]]


def test_resume_runs_only_failed_trials(failed: Ran, run: Run, project: Path) -> None:
    assert failed.code == 1
    assert "next: machinable show 8gWVkz --storage out\n      machinable resume 8gWVkz --storage out\n" in failed.out
    (project.parent / "repaired").touch()

    ran = run("resume", "8gWVkz", "--storage", "out")

    assert ran.code == 0
    lines = ran.err.splitlines()
    assert lines[0] == f"8gWVkz: 3 trials (1 already finished), stored in {project / 'out'}"
    assert [line.split()[:2] for line in lines[1:3]] == [["2/3", "finished"], ["3/3", "finished"]]
    assert re.fullmatch(r"8gWVkz: finished after .*; 1 already finished, 2 finished", lines[3])
    assert ran.out.splitlines()[:2] == ["component  n  loss ± sd", "train      3    0.1 ± 0"]
    assert re.fullmatch(r"8gWVkz n  finished, 3 trials in .*", ran.out.splitlines()[3])
    assert statuses(run) == ["finished"] * 3


def test_a_repeated_failure_says_how_to_resume(failed: Ran, run: Run) -> None:
    ran = run("resume", "8gWVkz", "--storage", "out", "--quiet")

    assert ran.code == 1
    lines = ran.err.rstrip().splitlines()
    assert lines[-4:-2] == ["2 of 3 trials failed", "  2 trials: ValueError: no good"]
    assert lines[-1] == "    again: machinable execute train --repeat 2 --storage out --seed 8gWVkz"


def test_finished_executions_are_left_unchanged(run: Run, project: Path) -> None:
    run("execute", "train", "--seed", "42", "--storage", "out", "--quiet")
    before = sorted((path, path.read_bytes()) for path in (project / "out").rglob("*") if path.is_file())

    ran = run("resume", "8gWVkz", "--storage", "out")

    assert (ran.code, ran.err) == (0, "8gWVkz has finished: there is nothing to resume\n")
    assert "\n8gWVkz  finished, 1 trial\n" in ran.out
    assert sorted((path, path.read_bytes()) for path in (project / "out").rglob("*") if path.is_file()) == before


def test_another_task_needs_confirmation(failed: Ran, run: Run, project: Path) -> None:
    words = ("resume", "8gWVkz", "train", "rate=0.5", "--repeat", "2", "--storage", "out")

    ran = run(*words)

    assert (ran.code, ran.out) == (3, "")
    assert ran.err.splitlines() == [
        "8gWVkz: +2 −3 =0: 2 added, 3 removed, 0 kept; 2 to run",
        "8gWVkz would get different trials (+2 −3 =0): confirmation needed, but stdin is not a terminal",
        "  --yes to apply, --dry to preview.",
    ]
    assert statuses(run) == ["finished", "failed", "failed"]
    assert run(*words, "--json").data["error"]["type"] == "Refused"


def test_yes_replaces_the_task(failed: Ran, run: Run, project: Path) -> None:
    (project.parent / "repaired").touch()

    ran = run("resume", "8gWVkz", "train", "--repeat", "4", "--storage", "out", "--yes", "--json")

    assert ran.code == 0
    assert "8gWVkz: +1 −0 =3: 1 added, 0 removed, 3 kept; 3 to run" in ran.err
    assert (ran.data["execution"], ran.data["name"]) == ("8gWVkz", "n")
    assert [trial["status"] for trial in ran.data["trials"]] == ["finished"] * 4


def test_the_same_task_needs_no_confirmation(failed: Ran, run: Run, project: Path) -> None:
    (project.parent / "repaired").touch()

    ran = run("resume", "8gWVkz", "train", "--repeat", "3", "--storage", "out", "--quiet")

    assert (ran.code, ran.err) == (0, "8gWVkz: +0 −0 =3: 0 added, 0 removed, 3 kept; 2 to run\n")


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("n", 3)])
def test_a_terminal_is_asked_for_confirmation(failed: Ran, run: Run, project: Path, answer: str, code: int) -> None:
    (project.parent / "repaired").touch()
    command = [sys.executable, "-m", "machinable", "resume", "8gWVkz", "train", "--storage", "out", "--quiet"]
    ours, theirs = pty.openpty()
    try:
        os.write(ours, f"{answer}\n".encode())
        done = subprocess.run(
            command,
            stdin=theirs,
            stderr=theirs,
            stdout=subprocess.PIPE,
            timeout=60,
            check=False,
            env=os.environ | {"PYTHONPATH": ENGINE, "TERM": "dumb"},
        )
        shown = os.read(ours, 10_000).decode()
    finally:
        os.close(theirs)
        os.close(ours)

    assert done.returncode == code
    assert "8gWVkz: +1 −3 =0: 1 added, 3 removed, 0 kept; 1 to run" in shown
    assert "Resume 8gWVkz with these trials? [y/N]:" in shown
    assert ("nothing was changed" in shown) is (answer == "n")
    assert len(statuses(run)) == (1 if answer == "y" else 3)


def test_dry_shows_what_would_run_and_what_stays(failed: Ran, run: Run) -> None:
    ran = run("resume", "8gWVkz", "--storage", "out", "--dry")

    assert ran.code == 0
    assert ran.out.splitlines()[0] == "n 8gWVkz: 3 trials (1 keep, 2 run)"
    data = run("resume", "8gWVkz", "train", "--repeat", "1", "--storage", "out", "--dry", "--json").data
    assert [(trial["action"], trial["why"]) for trial in data["trials"]] == [("keep", "it has finished")]
    assert statuses(run) == ["finished", "failed", "failed"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["8gWVkk", "--storage", "out"], 3, "Did you mean '8gWVkz'?"),
        (["8gWVkk", "train", "--storage", "out"], 3, "Did you mean '8gWVkz'?"),
        (["8gWVkz", "--storage", "nowhere"], 3, "nowhere"),
        (["8gWVkz", "trian", "--storage", "out"], 2, "Did you mean 'train'?"),
        (["8gWVkz", "--repeat", "2", "--storage", "out"], 2, "machinable resume ID COMPONENT --repeat N"),
        (["8gWVkz"], 2, "storage"),
        (["abc", "--storage", "out"], 3, "there is no execution 'abc'"),
        ([], 2, "Missing argument 'ID'"),
    ],
)
def test_wrong_arguments_are_errors(failed: Ran, run: Run, words: list[str], code: int, message: str) -> None:
    ran = run("resume", *words)

    assert (ran.code, ran.out) == (code, "")
    assert message in ran.err
    as_data = run("resume", *words, "--json")
    assert (as_data.code, set(json.loads(as_data.out))) == (code, {"error"})


def test_a_key_that_the_class_refuses_is_not_said_to_be_added(run: Run, project: Path) -> None:
    code = "from dataclasses import dataclass\n" + (project / "train.py").read_text()
    (project / "train.py").write_text(
        code.replace(
            "class Train(Component):\n",
            "class Train(Component):\n    @dataclass\n    class Config:\n        rate: float\n\n",
        )
    )

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ran = run("execute", "train", "ratte=2", "--dry")

    assert ran.code == 2
    assert "no key named 'ratte'" in ran.err
    assert "so it is added" not in ran.err


def test_an_error_in_a_value_from_the_command_line_names_the_command_line(run: Run, project: Path) -> None:
    code = "from dataclasses import dataclass\n" + (project / "train.py").read_text()
    schema = "class Train(Component):\n    @dataclass\n    class Config:\n        data: dict\n        rate: float\n"
    schema += "        half: float\n        layers: list\n"
    (project / "train.py").write_text(code.replace("class Train(Component):\n", schema))

    ran = run("execute", "train", "_key=s3cret", "data.batch=2", "rate=fast")

    assert ran.code == 2
    assert ran.err == (
        "command line:1:21: rate is 'fast', but it must be a float\n  in rate\n"
        "    1 | _key=… data.batch=2 rate=fast\n                            ^\n  checked by train.Train.Config\n\n"
        "machinable.yaml:13:7: half is 'fast', but it must be a float\n  in half\n"
        "    13 |       half: $self.rate\n               ^\n  checked by train.Train.Config\n"
    )
