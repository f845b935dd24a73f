"""The program as a whole: help, versions, errors, what it imports."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

import machinable
from machinable.cli.commands import COMMANDS
from machinable.cli.options import program
from tests.cli.conftest import Run

ENGINE = str(Path(machinable.__file__).parents[1])


def test_help_names_every_command(run: Run) -> None:
    for words in ([], ["--help"], ["-h"]):
        ran = run(*words)
        assert (ran.code, ran.err) == (0, "")
        assert [line.split()[0] for line in ran.out.split("Commands:\n")[1].split("\n\n")[0].splitlines()] == list(
            COMMANDS
        )


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(run: Run, name: str) -> None:
    ran = run(name, "--help")

    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith(f"Usage: machinable {name} ")
    assert program.get_command(click.Context(program), name) is not None


def test_version_is_that_of_the_package(run: Run) -> None:
    assert run("--version").out == f"machinable {machinable.__version__}\n"


@pytest.mark.parametrize(
    ("words", "foreign"),
    [
        (["--help"], "{'click', 'yaml', 'rich', 'json'}"),
        (
            ["execute", "--help"],
            "{'yaml', 'rich', 'numpy', 'machinable.config', 'machinable.plan', 'machinable.project'}",
        ),
        (
            ["execute", "train", "--quiet"],
            "{'rich', 'numpy', 'fs', 'ray', 'git', 'pandas'}",
        ),
        (
            ["list", "--storage", "."],
            "{'rich', 'numpy', 'fs', 'ray', 'git', 'pandas', 'msgspec', 'yaml', "
            "'random', 'machinable.config.reader', 'machinable.display.html_report', 'machinable.results.tail'}",
        ),
    ],
)
def test_a_command_imports_only_what_it_needs(project: Path, words: list[str], foreign: str) -> None:
    text = (
        f"import sys\nfrom machinable.cli import main\nmain({words})\nprint('>', *sorted({foreign} & set(sys.modules)))"
    )

    ran = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path += {sys.path}\n{text}"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": ENGINE},
    )

    # Whatever starts with Python itself is not ours.
    bare = subprocess.run(
        [sys.executable, "-S", "-c", "import sys; print(*sys.modules)"], capture_output=True, text=True
    )
    assert set(ran.stdout.splitlines()[-1].split()[1:]) - set(bare.stdout.split()) == set(), ran.stderr


def test_the_module_runs_the_program(project: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "machinable", "config", "unknown"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": ENGINE},
    )

    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith("no component named 'unknown'\n")


def test_an_unexpected_exception_keeps_its_traceback(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr("machinable.project.Project.resolve", fail)

    with pytest.raises(ZeroDivisionError, match="ours"):
        run("config", "train")


def test_a_file_that_cannot_be_read_is_an_error_of_one_line(run: Run, project: Path) -> None:
    run("execute", "train", "--seed", "OY1p1o", "--storage", "out", "--quiet")
    (trial,) = (project / "out/OY1p1o/trials").iterdir()
    for name in ("log.txt", "output.log"):
        (trial / name).unlink(missing_ok=True)
        (trial / name).mkdir()
    path = str(trial / "log.txt")
    ran = run("show", f"OY1p1o/{trial.name}", "--log", "--storage", "out")
    assert (ran.code, ran.out, ran.err) == (3, "", f"{path} is a directory\n  Restore the file from a copy.\n")
    assert run("show", f"OY1p1o/{trial.name}", "--log", "--storage", "out", "--json").data["error"]["given"] == path


def test_text_that_the_terminal_cannot_show_is_escaped(project: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "machinable", "config", "train", "rate=2", "--explain", "rate"],
        capture_output=True,
        env=os.environ | {"PYTHONPATH": ENGINE, "PYTHONIOENCODING": "ascii"},
    )

    assert (ran.returncode, ran.stderr) == (0, b"")
    assert ran.stdout == b"base machinable.yaml:6:7 0.1 \\u2192 here 2\n"


def test_a_closed_pipe_is_not_an_error(project: Path) -> None:
    (project / "machinable.yaml").write_text("components:\n  - a: {x: " + "long " * 60000 + "}\n")

    ran = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m machinable config a | head -c 19"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": ENGINE},
    )

    assert (ran.stdout, ran.stderr) == ("# a\n# module: a\nx: ", "")


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams_are_not_an_error(project: Path, closed: str) -> None:
    (project / "machinable.yaml").write_text("components:\n  - a:\n")
    (project / "a.py").write_text(
        "from machinable import Component\nclass A(Component):\n    def on_execute(self):\n        print('hello')\n"
    )
    command = f"{sys.executable} -m machinable execute a --storage s --seed OY1p1o {closed}"

    ran = subprocess.run(["sh", "-c", command], env=os.environ | {"PYTHONPATH": ENGINE}, capture_output=True, text=True)

    assert (ran.returncode, "Traceback" in ran.stderr) == (0, False)
    assert [file.read_text() for file in project.glob("s/OY1p1o/trials/*/output.log")] == ["hello\n"]
