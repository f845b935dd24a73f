"""Completion in shells."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import machinable
from machinable.cli import main
from machinable.cli.options import program
from tests.cli.conftest import Run

RESOURCES = ["_resources_.cpus=", "_resources_.gpus=", "_resources_.memory="]
RETRIES = ["_retries_.count=", "_retries_.delay=", "_retries_.on=", "_retries_.from="]
ENGINE = str(Path(machinable.__file__).parents[1])


def completions(words: list[str], mark: str = "~") -> list[str]:
    """What completes the last word; `<files>` where the shell completes paths."""
    from click.shell_completion import ShellComplete

    shell = ShellComplete(program, {"obj": mark}, "machinable", "_MACHINABLE_COMPLETE")
    return ["<files>" if item.type == "file" else item.value for item in shell.get_completions(words[:-1], words[-1])]


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
        (["execute", "tr", "--of", "tra"], ["train"]),
        (["execute", "tr", "--of", "train", "ra"], ["rate="]),
        (["execute", "base", "--of", "train", "rate=1", "~de"], ["~deep"]),
        (["execute", "tr", "--of", "train", "rate=1", "--dr"], ["--dry"]),
        (["resume", ""], []),
        (["resume", "OY1p1o", "tra"], ["train"]),
        (["resume", "OY1p1o", "tr", "~d"], ["~deep"]),
        (["execute", "tr", "--storage", ""], ["<files>"]),
        (["execute", "tr", "--repeat", ""], []),
        (["config", "tr", "--explain", "da"], ["data.name", "data.batch"]),
        (["config", "tr", "--diff", "~d"], ["~deep"]),
        (["config", "tr", "--diff", "~fast", "~b"], ["~big"]),
        (["show", "--output", ""], []),
        (["schema", "--output", ""], ["<files>"]),
        (["vendor", ""], ["fetch"]),
        (["vendor", "fetch", ""], ["lib"]),
        (["completion", "z"], ["zsh"]),
        (["execute", "st"], ["study"]),
        (["resume", "OY1p1o", "st"], ["study"]),
        (["execute", "+"], ["+.lib.sweep"]),
        (["execute", "study", "@d"], ["@deep"]),
        (["execute", "study", "la"], ["layers="]),
        (["execute", "tr", "--grid", "ra"], ["rate="]),
        (["execute", "tr", "--grid", "@d"], ["@deep"]),
        (["execute", "tr", "--grid", "@fast,@d"], ["@fast,@deep"]),
        (["execute", "tr", "--grid", "@fast,"], ["@fast,~fast:big", "@fast,~deep"]),
        (["execute", "tr", "@fast", "--grid", "@b"], ["@big"]),
        (["execute", "study", "--grid", "la"], ["layers="]),
        (["execute", "tr", "--sp"], ["--split"]),
        (["compo"], ["components"]),
    ],
)
def test_the_last_word_is_completed(project: Path, words: list[str], expected: list[str]) -> None:
    (project / "vendor" / "lib").mkdir(parents=True)
    text = (project / "machinable.yaml").read_text()
    (project / "vendor" / "lib" / "machinable.yaml").write_text("tasks: {sweep: {component: net}}")
    (project / "machinable.yaml").write_text(f"+: [lib]\n{text}tasks: {{study: {{components: [base, train]}}}}\n")

    found = completions(words)

    assert found[: len(expected)] == expected if words == ["execute", ""] else found == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["deep="], ["deep=true", "deep=false"]),
        (["deep=f"], ["deep=false"]),
        (["--grid", "deep="], ["deep=true", "deep=false"]),
        (["--grid", "deep=true,"], ["deep=true,false"]),
        (["--grid", "n="], []),
        (["--grid", "_children_."], ["_children_.model="]),
        (["_req"], ["_requires_.data="]),
        (["_res"], ["_results_=", *RESOURCES]),
        (["_see"], ["_seed_=", "_seeding_="]),
        (["_cl"], []),  # a version cannot set the class
        (["--of", "net", "_re"], ["_requires_=", "_results_=", *RESOURCES, *RETRIES]),
    ],
)
def test_values_of_switches_and_reserved_keys_are_completed(
    project: Path, words: list[str], expected: list[str]
) -> None:
    (project / "machinable.yaml").write_text(
        "components: [{net: null, top: {deep: true, n: 1, _children_: {model: net}, _requires_: {data: net}}}]"
    )

    assert completions(["execute", "top", *words]) == expected


@pytest.mark.parametrize("text", ["components: [", "components: [{a: {_mixins_: unknown}}]\n", None])
def test_a_broken_project_completes_nothing_and_prints_nothing(
    project: Path, text: str | None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    if text is None:
        (project / "machinable.yaml").unlink()
    else:
        (project / "machinable.yaml").write_text(text)
    for name, value in {
        "_MACHINABLE_COMPLETE": "zsh_complete",
        "COMP_WORDS": "machinable execute a ",
        "COMP_CWORD": 3,
    }.items():
        monkeypatch.setenv(name, str(value))

    assert main([]) == 0
    assert capfd.readouterr() == ("", "")


def test_no_component_and_nothing_heavy_is_imported(project: Path) -> None:
    (project / "train.py").write_text("raise RuntimeError('imported')\n")
    program = (
        "import sys\nfrom machinable.cli import main\nmain([])\n"
        "print(*sorted({'rich', 'numpy', 'fs', 'jinja2', 'pydantic', 'ray', 'train'} & set(sys.modules)))"
    )
    environment = os.environ | {
        "PYTHONPATH": ENGINE,
        "_MACHINABLE_COMPLETE": "zsh_complete",
        "COMP_WORDS": "machinable execute train ra",
        "COMP_CWORD": "3",
    }

    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)

    assert (ran.stdout, ran.stderr) == ("plain\nrate=\n\n", "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_valid(run: Run, shell: str) -> None:
    ran = run("completion", shell)

    assert (ran.code, ran.err) == (0, "")
    assert any(line.startswith("# ") and f"machinable completion {shell}" in line for line in ran.out.splitlines()[:2])
    if shutil.which(shell):
        checked = subprocess.run([shell, "-n"], input=ran.out, capture_output=True, text=True)
        assert (checked.returncode, checked.stderr) == (0, "")


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A PATH with a `machinable` that runs this package."""
    program = tmp_path / "bin" / "machinable"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nPYTHONPATH={ENGINE} exec {sys.executable} -m machinable "$@"\n')
    program.chmod(0o755)
    return f"{program.parent}:{os.environ['PATH']}"


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
def test_bash_completes(project: Path, path: str, run: Run, line: str, expected: list[str]) -> None:
    script = run("completion", "bash").out + (
        "COMP_WORDBREAKS=$' \\t\\n\"\\'@><=;|&(:'\n"
        'COMP_LINE=$1 COMP_POINT=${#1}\n_machinable_completion\nprintf "%s\\n" "${COMPREPLY[@]}"\n'
    )

    ran = subprocess.run(
        ["bash", "-c", script, "bash", line], capture_output=True, text=True, env=os.environ | {"PATH": path}
    )

    assert ran.stdout.split() == expected, ran.stderr


@pytest.mark.skipif(shutil.which("zsh") is None, reason="needs zsh")
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("machinable exec", ["plain execute"]),
        (
            "machinable execute train ",
            ["plain @fast @fast:big @deep", "keys data.name= data.batch= rate= layers= half="],
        ),
        ("machinable execute train @fast:", ["plain @fast:big"]),
        ("machinable execute train '~d", ["plain ~deep"]),
        ("machinable execute --storage ", ["files"]),
    ],
)
def test_zsh_completes(project: Path, path: str, run: Run, line: str, expected: list[str]) -> None:
    script = (
        "compdef() { : }\n_files() { print files }\n"
        "compadd() { local name=${@[$#]}; (( ${#${(P)name}} )) && print -r -- $name ${(P)name} }\n"
        + run("completion", "zsh").out
        + 'words=("${(@s: :)1}") CURRENT=${#words}\n_machinable_completion\n'
    )

    ran = subprocess.run(
        ["zsh", "-f", "-c", script, "zsh", line], capture_output=True, text=True, env=os.environ | {"PATH": path}
    )

    assert (ran.stdout.splitlines(), ran.stderr) == (expected, "")


@pytest.mark.skipif(shutil.which("fish") is None, reason="needs fish")
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("machinable exec", ["execute"]),
        ("machinable execute train @d", ["@deep"]),  # fish completes names of users after ~
        ("machinable execute train @fast:", ["@fast:big"]),
        ("machinable execute train la", ["layers="]),
    ],
)
def test_fish_completes(project: Path, path: str, run: Run, line: str, expected: list[str]) -> None:
    script = run("completion", "fish").out + "complete -C $argv[1]\n"

    ran = subprocess.run(
        ["fish", "--no-config", "-c", script, line], capture_output=True, text=True, env=os.environ | {"PATH": path}
    )

    assert [reply.split("\t")[0] for reply in ran.stdout.splitlines()] == expected, ran.stderr


def test_executions_and_trials_of_the_storage_are_completed(
    run: Run, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("execute", "train", "--seed", "OY1p1o", "--storage", "out", "--quiet")
    run("execute", "train", "--seed", "42", "--storage", "out", "--quiet")
    (uid,) = [trial["uid"] for trial in run("show", "OY1p1o", "--storage", "out", "--json").data["trials"]]

    assert completions(["compare", "--storage", "out", ""]) == ["8gWVkz", "OY1p1o"]
    assert completions(["diff", "--storage=out", "OY1p1o", "8"]) == ["8gWVkz"]
    assert completions(["diff", "--storage", "out", "OY1p1o", "8gWVkz", ""]) == []
    assert completions(["show", "--storage", "out", "OY1p1o", "--trial", uid[:2]]) == [uid]
    monkeypatch.setenv("MACHINABLE_STORAGE", "out")
    assert completions(["tail", "OY"]) == ["OY1p1o"]
    assert completions(["report", "OY1p1o/"]) == [f"OY1p1o/{uid}"]
    monkeypatch.setenv("MACHINABLE_STORAGE", "nowhere")
    assert completions(["tail", ""]) == []


def test_names_that_a_shell_would_interpret_are_not_offered(project: Path) -> None:
    names = [
        "$(touch ran)",
        "a;touch",
        "`touch ran`",
        "a b",
        "a'b",
        'a"b',
        "a|b",
        "a>b",
        "a*",
        "\x1b[2J",
        "a\\b",
    ]
    entry = dict.fromkeys(names, 1) | {f"~{name}": {} for name in names} | {"good": 1, "~good": {}}
    (project / "machinable.yaml").write_text(json.dumps({"components": [{"train": entry}]}))

    assert completions(["execute", "train", ""]) == ["~good", "good="]
