"""`machinable reproduce` and `machinable restore`."""

from __future__ import annotations

import json
import os
import subprocess
import zipfile
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


def test_a_stored_execution_gives_identical_results(run: Run, stored: Path) -> None:
    before = sorted(path.name for path in stored.rglob("*"))

    ran = run("reproduce", "OY1p1o", "--storage", "out")

    assert ran.code == 0, ran.err
    assert ran.out == "OY1p1o: identical\n  2 trials, 2 rows, 2 artifacts: the same, byte for byte\n"
    assert "2/2 finished train " in ran.err
    assert sorted(path.name for path in stored.rglob("*")) == before


def test_quiet_shows_only_the_result(run: Run, stored: Path) -> None:
    ran = run("reproduce", "OY1p1o", "--storage", "out", "--quiet")

    assert (ran.code, ran.err) == (0, "")


def test_differences_are_shown(run: Run, stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_differences_within_the_tolerance_are_a_success(
    run: Run, stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRIFT", "1e-9")

    ran = run("reproduce", "OY1p1o", "--storage", "out", "--quiet", "--tolerance", "1e-6")

    assert ran.code == 0
    assert ran.out.splitlines()[0] == "OY1p1o: equal within tolerance 1e-06"


def test_a_single_trial_has_its_original_flags(run: Run, stored: Path) -> None:
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


def test_json_has_the_whole_comparison(run: Run, stored: Path) -> None:
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


def test_changed_packages_are_shown_before_and_after(run: Run, stored: Path) -> None:
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


def test_a_directory_can_replace_a_missing_code_backup(run: Run, stored: Path) -> None:
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


def test_code_that_does_not_run_is_an_error(run: Run, stored: Path) -> None:
    ran = run("reproduce", "OY1p1o", "--storage", "out", "--project", ".", "--quiet")

    assert ran.code == 2
    assert ran.err.startswith("the stored task cannot be run again\n")
    assert "this is not what ran" in ran.err


def test_unfinished_trials_are_skipped(run: Run, stored: Path) -> None:
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


def test_missing_hidden_values_of_the_command_line_are_reported(run: Run, stored: Path) -> None:
    path = stored / "out" / "OY1p1o" / "execution.json"
    data = json.loads(path.read_text())
    data["host"]["command"] = "machinable execute train rate=0.1 _token=… data._key=… --seed OY1p1o"
    path.write_text(json.dumps(data) + "\n")

    ran = run("reproduce", "OY1p1o", "--storage", "out")

    said = "was given on the command line; hidden values are not stored, so that of the project is used"
    assert ran.err.splitlines()[:2] == [f"the value of _token {said}", f"the value of data._key {said}"]


@pytest.mark.parametrize("name", ["__main__:Train", "train:make.<locals>.Train", "train:<lambda>"])
def test_code_outside_modules_is_refused(run: Run, stored: Path, name: str) -> None:
    path = stored / "out" / "OY1p1o" / "execution.json"
    data = json.loads(path.read_text())
    data["task"]["components"][0]["component"] = name
    path.write_text(json.dumps(data) + "\n")

    ran = run("reproduce", "OY1p1o", "--storage", "out")

    assert (ran.code, ran.out) == (3, "")
    assert ran.err.startswith(f"OY1p1o ran code that is in no module: {name}\n")


def test_wrong_arguments_are_errors(run: Run, stored: Path) -> None:
    (stored / "full").mkdir()
    (stored / "full" / "file").write_text("x")

    assert run("reproduce", "OY1p1p", "--storage", "out").code == 3
    assert run("reproduce", "OY1p1o", "--trial", "zzz", "--storage", "out").code == 3
    assert "Give a number such as 1e-6." in run("reproduce", "OY1p1o", "--tolerance", "-1", "--storage", "out").err
    assert "is not empty" in run("reproduce", "OY1p1o", "--keep", "full", "--storage", "out").err
    assert (stored / "full" / "file").read_text() == "x"


EXECUTE = ("execute", "train", "--seed", "OY1p1o", "--storage", "out", "--quiet")


def test_the_code_is_restored_and_the_next_command_is_shown(run: Run, project: Path, tmp_path: Path) -> None:
    run(*EXECUTE)
    (project / "train.py").write_text("changed since")

    ran = run("restore", "OY1p1o", str(tmp_path / "a copy"), "--storage", "out")

    assert (ran.code, ran.err) == (0, "")
    lines = ran.out.splitlines()
    assert lines[0].startswith(f"the code of OY1p1o is in {tmp_path / 'a copy'}: 3 files, ")
    assert lines[1:] == [
        f"next: cd '{tmp_path / 'a copy'}'",
        f"      machinable reproduce OY1p1o --storage {project / 'out'}",
    ]
    assert sorted(os.listdir(tmp_path / "a copy")) == ["base.py", "machinable.yaml", "train.py"]
    assert "class Train" in (tmp_path / "a copy/train.py").read_text()


def test_json_has_the_restored_files(run: Run, project: Path) -> None:
    run(*EXECUTE)

    data = run("restore", "OY1p1o", "copy", "--storage", "out", "--json").data

    assert data.pop("code")["backup"].startswith("sha256:")
    assert data.pop("bytes") == sum(path.stat().st_size for path in (project / "copy").iterdir())
    assert data == {
        "execution": "OY1p1o",
        "directory": str(project / "copy"),
        "files": 3,
        "skipped": [],
        "next": [f"cd {project / 'copy'}", f"machinable reproduce OY1p1o --storage {project / 'out'}"],
    }


@pytest.mark.filterwarnings("always:these links")
def test_a_link_out_of_the_project_is_reported_and_skipped(run: Run, project: Path, tmp_path: Path) -> None:
    (project / "data").symlink_to(tmp_path)
    assert "warning: these links lead out of the project" in run(*EXECUTE).err

    ran = run("restore", "OY1p1o", "copy", "--storage", "out")

    assert (ran.code, ran.err) == (
        0,
        "skipped data: it is a link out of the project, or data of version control\n",
    )
    assert not os.path.lexists(project / "copy/data")


def test_a_directory_that_is_not_empty_is_left_unchanged(run: Run, project: Path) -> None:
    run(*EXECUTE)
    before = sorted(os.listdir(project))

    ran = run("restore", "OY1p1o", ".", "--storage", "out")

    assert (ran.code, ran.out) == (3, "")
    assert ran.err == f"'{project}' is not empty\n  Give a new directory.\n"
    assert sorted(os.listdir(project)) == before


def test_without_a_backup_the_commit_is_named(run: Run, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "machinable.yaml").write_text(
        (project / "machinable.yaml").read_text() + "execution: {code_backup: false}\n"
    )
    run(*EXECUTE)
    ran = run("restore", "OY1p1o", "copy", "--storage", "out")
    assert (ran.code, ran.out) == (3, "")
    assert ran.err == (
        "the execution OY1p1o has no code backup\n"
        "  It ran without a backup, and its project was not in a git repository.\n"
    )
    for command in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "x"]):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@example.org", *command], check=True)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    (project / "train.py").write_text((project / "train.py").read_text() + "\n")
    run(*EXECUTE)
    assert run("restore", "OY1p1o-2", "copy", "--storage", "out").err == (
        "the execution OY1p1o-2 has no code backup\n"
        f"  it ran with the commit {commit} on main, with uncommitted changes\n"
        f"  Check out the commit: git checkout {commit}\n"
    )
    assert not (project / "copy").exists()


def test_a_missing_or_changed_backup_is_an_error(run: Run, project: Path) -> None:
    run(*EXECUTE)
    archive = project / "out/OY1p1o/code.zip"
    archive.write_bytes(archive.read_bytes() + b"x")
    assert "the code backup of OY1p1o is not what was stored" in run("restore", "OY1p1o", "x", "--storage", "out").err
    archive.unlink()
    ran = run("restore", "OY1p1o", "x", "--storage", "out", "--json")
    assert (ran.code, ran.data["error"]["type"], ran.data["error"]["message"]) == (
        3,
        "Damaged",
        "the code backup of OY1p1o is missing",
    )
    assert not (project / "x").exists()


@pytest.mark.parametrize("command", [("reproduce",), ("export", "--to", "x"), ("restore",)])
def test_code_that_was_replaced_is_neither_run_nor_unpacked(run: Run, project: Path, command: tuple[str, ...]) -> None:
    run(*EXECUTE)
    archive = project / "out/OY1p1o/code.zip"
    with zipfile.ZipFile(archive, "a") as opened:
        opened.writestr("sitecustomize.py", "open('ran', 'w')")

    name, *options = command
    ran = run(name, "OY1p1o", *(["x"] if name == "restore" else options), "--storage", "out")

    assert (ran.code, ran.out) == (3, "")
    assert ran.err.splitlines()[0] == "the code backup of OY1p1o is not what was stored"
    assert not (project / "x").exists()
    assert not (project / "ran").exists()
