"""`machinable init`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Run


def test_a_new_project_works_as_its_comments_say(run: Run, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = run("init", "new/one")

    assert (ran.code, ran.out) == (0, "")
    assert ran.err.splitlines()[-1] == "next: cd new/one && machinable execute pi --repeat 3"
    monkeypatch.chdir("new/one")
    assert run("check").out == "1 component, 1 version, 0 errors, 0 hints\n"
    assert "points: 1000000\n" in run("config", "pi", "@precise").out
    executed = run("execute", "pi", "points=100", "--repeat", "3", "--seed", "42", "--quiet")
    assert (executed.code, executed.out.splitlines()[0].split()) == (0, ["component", "n", "pi"])
    assert run("list", "--json").data["executions"][0]["execution"] == "8gWVkz"
    assert sorted(path.name for path in Path.cwd().iterdir()) == [".gitignore", "machinable.yaml", "pi.py", "results"]


def test_nothing_is_overwritten(run: Run, project: Path) -> None:
    before = {path.name: path.read_text() for path in project.iterdir()}

    ran = run("init")

    assert ran.code == 2
    assert "machinable.yaml is there already" in ran.err
    assert {path.name: path.read_text() for path in project.iterdir()} == before


def test_a_gitignore_that_is_there_stays(run: Run, project: Path) -> None:
    (project / "here").mkdir()
    (project / "here" / ".gitignore").write_text("mine\n")

    ran = run("init", "here")

    assert ran.code == 0
    assert "results/ belongs into it" in ran.err
    assert (project / "here" / ".gitignore").read_text() == "mine\n"


def test_a_file_is_no_directory(run: Run, project: Path) -> None:
    ran = run("init", "train.py")

    assert (ran.code, ran.out) == (2, "")
    assert "train.py" in ran.err
    assert "Traceback" not in ran.err
