"""`machinable reproduce`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run

NOISY = """\
import os
import random

from machinable import Component


class Train(Component):
    def on_execute(self):
        self.record["loss"] = random.random() + float(os.environ.get("DRIFT", "0"))
        self.record.save()
        self.store.write("model.json", [random.random()])
        if self.config.rate > 1:
            raise ValueError("too fast")
        return random.random()
"""


@pytest.fixture
def stored(run: Run, project: Path) -> Path:
    """A project with the execution `OY1p1o`, two trials, whose code has changed since then."""
    (project / "train.py").write_text(NOISY)
    run("execute", "train", "--repeat", "2", "--seed", "OY1p1o", "--storage", "out", "--quiet")
    (project / "train.py").write_text("raise RuntimeError('this is not what ran')\n")
    return project


def test_the_same_comes_out_of_what_is_stored(run: Run, stored: Path) -> None:
    before = sorted(path.name for path in stored.rglob("*"))

    ran = run("reproduce", "OY1p1o", "--storage", "out")

    assert ran.code == 0, ran.err
    assert ran.out == "OY1p1o: identical\n  2 trials, 2 rows, 2 artifacts: the same, byte for byte\n"
    assert "2/2 finished train " in ran.err
    assert sorted(path.name for path in stored.rglob("*")) == before


def test_without_progress_nothing_is_said_but_the_result(run: Run, stored: Path) -> None:
    ran = run("reproduce", "OY1p1o", "--storage", "out", "--quiet")

    assert (ran.code, ran.err) == (0, "")


def test_what_comes_out_differently_is_said(run: Run, stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRIFT", "1e-9")
    uids = [trial["uid"] for trial in run("show", "OY1p1o", "--storage", "out", "--json").data["trials"]]

    ran = run("reproduce", "OY1p1o", "--storage", "out", "--quiet")

    assert ran.code == 1
    lines = ran.out.splitlines()
    assert lines[:2] == ["OY1p1o: different", "  2 of 2 trials differ; 2 rows, 2 artifacts compared"]
    assert lines[3] == f"train {uids[0]}: different"
    assert lines[4].startswith("  records default.loss: 1 of 1 rows, first in row 0: 0.")
    assert lines[4].endswith(" (at most 1e-09 apart)")
    assert lines[-1] in (
        "equal within a tolerance of 1e-09",
        "equal within a tolerance of 2e-09",
    )  # as sums are rounded


def test_within_the_tolerance_it_is_a_success(run: Run, stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRIFT", "1e-9")

    ran = run("reproduce", "OY1p1o", "--storage", "out", "--quiet", "--tolerance", "1e-6")

    assert ran.code == 0
    assert ran.out.splitlines()[0] == "OY1p1o: equal within tolerance 1e-06"


def test_one_trial_alone_has_the_flags_that_it_had(run: Run, stored: Path) -> None:
    uid = run("show", "OY1p1o", "--storage", "out", "--json").data["trials"][1]["uid"]

    ran = run("reproduce", "OY1p1o", "--trial", uid[:6], "--storage", "out", "--keep", "kept", "--quiet")

    assert ran.code == 0, ran.err
    assert ran.out.startswith("OY1p1o: identical\n  1 trial, 1 row, 1 artifact")
    assert ran.out.endswith(f"\nkept: {stored / 'kept'}\n")
    folder = stored / "kept" / "storage" / "OY1p1o"
    (line,) = (folder / "plan.jsonl").read_text().splitlines()
    flags = json.loads(line)["flags"]
    assert (flags["UID"], flags["INDEX"], flags["TOTAL"]) == (uid, 1, 2)
    assert (stored / "kept" / "code" / "train.py").read_text() == NOISY


def test_all_of_it_as_data(run: Run, stored: Path) -> None:
    path = stored / "out" / "OY1p1o" / "execution.json"
    data = json.loads(path.read_text())
    data["packages"]["numpy"], data["python"] = "0.1", "3.9.0"
    path.write_text(json.dumps(data) + "\n")

    found = run("reproduce", "OY1p1o", "--storage", "out", "--json", "--quiet").data

    assert (found["execution"], found["verdict"], found["tolerance"]) == ("OY1p1o", "identical", 0.0)
    assert (found["rows"], found["artifacts"], found["notes"], found["kept"]) == (2, 2, [], None)
    assert [(trial["verdict"], trial["differences"]) for trial in found["trials"]] == [("identical", [])] * 2
    assert [(change["name"], change["before"]) for change in found["environment"]] == [("python", "3.9.0")]
    assert [(change["name"], change["before"]) for change in found["packages"]] == [("numpy", "0.1")]


def test_other_packages_are_told_before_and_after(run: Run, stored: Path) -> None:
    path = stored / "out" / "OY1p1o" / "execution.json"
    data = json.loads(path.read_text())
    data["packages"]["numpy"] = "0.1"
    path.write_text(json.dumps(data) + "\n")

    ran = run("reproduce", "OY1p1o", "--storage", "out")

    assert ran.err.startswith("1 package differs: numpy 0.1 → ")
    assert [line.split()[:2] for line in ran.out.splitlines()[-2:]] == [["packages", "then"], ["numpy", "0.1"]]


def test_a_trial_that_failed_fails_in_the_same_way(run: Run, project: Path) -> None:
    (project / "train.py").write_text(NOISY)
    run("execute", "train", "rate=2", "--seed", "OY1p1o", "--storage", "out", "--quiet")

    assert run("reproduce", "OY1p1o", "--storage", "out", "--quiet").code == 0


def test_without_a_code_backup_a_directory_can_be_named(run: Run, stored: Path) -> None:
    (stored / "out" / "OY1p1o" / "code.zip").unlink()

    refused = run("reproduce", "OY1p1o", "--storage", "out")

    assert (refused.code, refused.out) == (3, "")
    assert refused.err == (
        "OY1p1o has no code backup, so its code cannot be restored\n"
        "  Name a directory with that code: --project DIRECTORY\n"
    )
    (stored / "train.py").write_text(NOISY)
    ran = run("reproduce", "OY1p1o", "--storage", "out", "--project", ".", "--quiet")
    assert ran.code == 0, ran.err
    assert run("reproduce", "OY1p1o", "--storage", "out", "--project", "nowhere").code == 2


def test_code_that_does_not_run_is_told(run: Run, stored: Path) -> None:
    ran = run("reproduce", "OY1p1o", "--storage", "out", "--project", ".", "--quiet")

    assert ran.code == 2
    assert ran.err.startswith("the stored task cannot be run again\n")
    assert "this is not what ran" in ran.err


def test_trials_that_had_not_ended_are_left_out(run: Run, stored: Path) -> None:
    ledger = stored / "out" / "OY1p1o" / "ledger.jsonl"
    lines = ledger.read_text().splitlines(keepends=True)
    ledger.write_text("".join(lines[:2]))
    uids = [trial["uid"] for trial in run("show", "OY1p1o", "--storage", "out", "--json").data["trials"]]
    status = stored / "out" / "OY1p1o" / "trials" / uids[1] / "status.json"
    status.write_text(json.dumps(json.loads(status.read_text()) | {"state": "interrupted"}))

    ran = run("reproduce", "OY1p1o", "--storage", "out")

    assert ran.code == 0
    assert ran.err.startswith("1 trial of OY1p1o had not ended and cannot be compared\n")
    assert ran.out.startswith("OY1p1o: identical\n  1 trial, 1 row")
    refused = run("reproduce", "OY1p1o", "--trial", uids[1], "--storage", "out")
    assert (refused.code, refused.out) == (3, "")
    assert "nothing to compare with (interrupted)" in refused.err


def test_hidden_values_of_the_command_line_are_missing_and_that_is_said(run: Run, stored: Path) -> None:
    path = stored / "out" / "OY1p1o" / "execution.json"
    data = json.loads(path.read_text())
    data["host"]["command"] = "machinable execute train rate=0.1 _token=… data._key=… --seed OY1p1o"
    path.write_text(json.dumps(data) + "\n")

    ran = run("reproduce", "OY1p1o", "--storage", "out")

    said = "was given on the command line; hidden values are not stored, so that of the project is used"
    assert ran.err.splitlines()[:2] == [f"the value of _token {said}", f"the value of data._key {said}"]


@pytest.mark.parametrize("name", ["__main__:Train", "train:make.<locals>.Train", "train:<lambda>"])
def test_code_that_is_in_no_module_is_refused(run: Run, stored: Path, name: str) -> None:
    path = stored / "out" / "OY1p1o" / "execution.json"
    data = json.loads(path.read_text())
    data["task"]["components"][0]["component"] = name
    path.write_text(json.dumps(data) + "\n")

    ran = run("reproduce", "OY1p1o", "--storage", "out")

    assert (ran.code, ran.out) == (3, "")
    assert ran.err.startswith(f"OY1p1o ran code that is in no module: {name}\n")


def test_wrong_arguments_are_told(run: Run, stored: Path) -> None:
    (stored / "full").mkdir()
    (stored / "full" / "file").write_text("x")

    assert run("reproduce", "OY1p1p", "--storage", "out").code == 3
    assert run("reproduce", "OY1p1o", "--trial", "zzz", "--storage", "out").code == 3
    assert "Give a number such as 1e-6." in run("reproduce", "OY1p1o", "--tolerance", "-1", "--storage", "out").err
    assert "is not empty" in run("reproduce", "OY1p1o", "--keep", "full", "--storage", "out").err
    assert (stored / "full" / "file").read_text() == "x"
