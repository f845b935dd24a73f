"""`machinable restore`."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import Run

EXECUTE = ("execute", "train", "--seed", "OY1p1o", "--storage", "out", "--quiet")


def test_the_code_is_there_as_it_ran_and_the_next_command_is_told(run: Run, project: Path, tmp_path: Path) -> None:
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


def test_as_data(run: Run, project: Path) -> None:
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


def test_a_link_out_of_the_project_is_left_out_and_told(run: Run, project: Path, tmp_path: Path) -> None:
    (project / "data").symlink_to(tmp_path)
    run(*EXECUTE)

    ran = run("restore", "OY1p1o", "copy", "--storage", "out")

    assert (ran.code, ran.err) == (
        0,
        "skipped data: a link to something outside the project, which is not in the code backup\n",
    )
    assert not os.path.lexists(project / "copy/data")


def test_a_directory_with_something_in_it_is_left_as_it_is(run: Run, project: Path) -> None:
    run(*EXECUTE)
    before = sorted(os.listdir(project))

    ran = run("restore", "OY1p1o", ".", "--storage", "out")

    assert (ran.code, ran.out) == (3, "")
    assert ran.err == f"'{project}' is not empty\n  Give a directory that is not there yet.\n"
    assert sorted(os.listdir(project)) == before


def test_without_a_backup_the_commit_is_told(run: Run, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_backup_that_is_gone_or_another_one_is_told(run: Run, project: Path) -> None:
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
