"""Completion in shells."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import machinable
from machinable.cli import main
from machinable.cli.candidates import candidates
from tests.cli.conftest import Run

ENGINE = str(Path(machinable.__file__).parents[1])


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["exe"], ["execute"]),
        (["--v"], ["--version"]),
        (["execute", ""], ["base", "train", "tr"]),
        (["execute", "tr"], ["train", "tr"]),
        (["versions", "b"], ["base"]),
        (["versions", "base", ""], []),
        (
            ["execute", "tr", ""],
            ["~fast", "~fast:big", "~deep", "data.name=", "data.batch=", "rate=", "layers=", "half="],
        ),
        (["execute", "tr", "@f"], ["@fast", "@fast:big"]),
        (["execute", "tr", "~fast", "~b"], ["~big"]),
        (["execute", "tr", "~fast", "~f"], ["~fast:big"]),
        (["execute", "--repeat", "3", "tr", "ra"], ["rate="]),
        (["execute", "tr", "rate=1", "ra"], []),
        (["execute", "tr", "nonsense", "ra"], ["rate="]),
        (["execute", "tr", "--eng"], ["--engine"]),
        (["execute", "tr", "--on-failure", "c"], ["continue"]),
        (["execute", "tr", "--reuse", "s"], ["same-code"]),
        (["execute", "tr", "--rerun", "tra"], ["train"]),
        (["resume", ""], []),
        (["resume", "OY1p1o", "tra"], ["train"]),
        (["resume", "OY1p1o", "tr", "~d"], ["~deep"]),
        (["execute", "tr", "--storage", ""], ["<files>"]),
        (["execute", "tr", "--repeat", ""], []),
        (["config", "tr", "--explain", "da"], ["data.name", "data.batch"]),
        (["config", "tr", "--diff", "~d"], ["~deep"]),
        (["show", "--output", ""], []),
        (["schema", "--output", ""], ["<files>"]),
        (["vendor", ""], ["fetch"]),
        (["vendor", "fetch", ""], ["lib"]),
        (["vendor", "other", ""], []),
        (["completion", "z"], ["zsh"]),
        (["bogus", ""], []),
    ],
)
def test_what_could_stand_there(project: Path, words: list[str], expected: list[str]) -> None:
    (project / "vendor" / "lib").mkdir(parents=True)
    text = (project / "machinable.yaml").read_text()
    (project / "machinable.yaml").write_text("+: [lib]\n" + text)

    found = candidates(words)

    assert found[: len(expected)] == expected if words == ["execute", ""] else found == expected


@pytest.mark.parametrize("text", ["components: [", "components: [{a: {_mixins_: nobody}}]\n", None])
def test_a_broken_project_completes_nothing_and_prints_nothing(
    project: Path, text: str | None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    if text is None:
        (project / "machinable.yaml").unlink()
    else:
        (project / "machinable.yaml").write_text(text)
    monkeypatch.setenv("_MACHINABLE_COMPLETE", "zsh")

    assert main(["execute", "a", ""]) == 0
    assert capfd.readouterr() == ("", "")


def test_no_component_and_nothing_heavy_is_imported(project: Path) -> None:
    (project / "train.py").write_text("raise RuntimeError('imported')\n")
    program = (
        "import sys\nfrom machinable.cli import main\nmain(['execute', 'train', 'ra'])\n"
        "print(*sorted({'click', 'rich', 'numpy', 'fs', 'train', 'difflib'} & set(sys.modules)))"
    )
    environment = os.environ | {"PYTHONPATH": ENGINE, "_MACHINABLE_COMPLETE": "fish"}

    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)

    assert (ran.stdout, ran.stderr) == ("rate=\n\n", "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_printed_and_sound(run: Run, shell: str) -> None:
    ran = run("completion", shell)

    assert (ran.code, ran.err) == (0, "")
    if shutil.which(shell):
        checked = subprocess.run([shell, "-n"], input=ran.out, capture_output=True, text=True)
        assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("machinable exec", ["execute"]),
        ("machinable execute train ~d", ["~deep"]),
        ("machinable execute train @d", ["deep"]),  # bash breaks words at @
        ("machinable execute train ~fast:", ["big"]),  # and at :
        ("machinable execute train 'la", ["layers="]),
    ],
)
def test_bash_completes_what_was_typed(project: Path, tmp_path: Path, run: Run, line: str, expected: list[str]) -> None:
    program = tmp_path / "bin" / "machinable"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nPYTHONPATH={ENGINE} exec {sys.executable} -m machinable "$@"\n')
    program.chmod(0o755)
    script = run("completion", "bash").out + (
        "COMP_WORDBREAKS=$' \\t\\n\"\\'@><=;|&(:'\n"
        'COMP_LINE=$1 COMP_POINT=${#1}\n_machinable\nprintf "%s\\n" "${COMPREPLY[@]}"\n'
    )

    ran = subprocess.run(
        ["bash", "-c", script, "bash", line],
        capture_output=True,
        text=True,
        env=os.environ | {"PATH": f"{program.parent}:{os.environ['PATH']}"},
    )

    assert ran.stdout.split() == expected, ran.stderr


def test_executions_and_trials_of_the_storage(run: Run, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("execute", "train", "--seed", "OY1p1o", "--storage", "out", "--quiet")
    run("execute", "train", "--seed", "42", "--storage", "out", "--quiet")
    (uid,) = [trial["uid"] for trial in run("show", "OY1p1o", "--storage", "out", "--json").data["trials"]]

    assert candidates(["compare", "--storage", "out", ""]) == ["8gWVkz", "OY1p1o"]
    assert candidates(["diff", "--storage=out", "OY1p1o", "8"]) == ["8gWVkz"]
    assert candidates(["diff", "--storage", "out", "OY1p1o", "8gWVkz", ""]) == []
    assert candidates(["show", "--storage", "out", "OY1p1o", "--trial", uid[:2]]) == [uid]
    monkeypatch.setenv("MACHINABLE_STORAGE", "out")
    assert candidates(["tail", "OY"]) == ["OY1p1o"]
    assert candidates(["report", "OY1p1o/"]) == [f"OY1p1o/{uid}"]
    monkeypatch.setenv("MACHINABLE_STORAGE", "nowhere")
    assert candidates(["tail", ""]) == []
