"""`machinable path` and `machinable open`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cli.conftest import Run


@pytest.fixture
def uid(run: Run, project: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("MACHINABLE_STORAGE", "out")
    run("execute", "train", "--seed", "OY1p1o", "--quiet")
    return str(run("show", "last", "--json").data["trials"][0]["uid"])


def test_the_path_is_that_on_this_host(run: Run, uid: str, project: Path) -> None:
    folder = project / "out" / "OY1p1o"

    assert run("path", "last").out == f"{folder}\n"
    assert run("path", f"last/{uid}").out == f"{folder}/trials/{uid}\n"
    assert run("path", f"OY/{uid[:3]}", "model.json").out == f"{folder}/trials/{uid}/artifacts/model.json\n"
    assert run("path", "last", "model.json").out.endswith("/model.json\n")  # its only trial
    missing = run("path", "last", "modl.json")
    assert (missing.code, "Did you mean 'model.json'?" in missing.err) == (3, True)
    run("execute", "train", "--seed", "8gWVkz", "--repeat", "2", "--quiet")
    several = run("path", "last", "model.json")
    assert (several.code, "is an artifact of a trial, and 8gWVkz is an execution" in several.err) == (2, True)


def test_an_artifact_is_opened_by_the_desktop(
    run: Run, uid: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = project / "programs"
    programs.mkdir()
    for name in ("xdg-open", "open"):
        (programs / name).write_text('#!/bin/sh\necho "$1" > opened\n')
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")

    ran = run("open", "last", "model.json")

    assert (project / "opened").read_text().endswith("/model.json\n")
    path = project / "out" / "OY1p1o" / "trials" / uid / "artifacts" / "model.json"
    assert (ran.code, ran.err) == (0, f"opening {path}\n")
    monkeypatch.setenv("PATH", str(project))
    without = run("open", "last", "model.json")
    assert (without.code, without.err.splitlines()[-1]) == (3, f"  Open it with a program of your choice: {path}")
