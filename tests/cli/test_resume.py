"""`machinable resume`."""

# ruff: noqa: RUF001 - what is removed is told with a minus sign

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

import machinable
from tests.cli.conftest import Ran, Run

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


def test_what_failed_runs_again_and_all_else_stays(failed: Ran, run: Run, project: Path) -> None:
    assert failed.code == 1
    assert "next: machinable show 8gWVkz --storage out\n      machinable resume 8gWVkz --storage out\n" in failed.out
    (project.parent / "repaired").touch()

    ran = run("resume", "8gWVkz", "--storage", "out")

    assert ran.code == 0
    told = ran.err.splitlines()
    assert told[0] == f"8gWVkz: 3 trials, 1 of them done before, kept in {project / 'out'}"
    assert [line.split()[:2] for line in told[1:3]] == [["2/3", "finished"], ["3/3", "finished"]]
    assert re.fullmatch(r"8gWVkz: finished after .*; 1 done before, 2 finished", told[3])
    assert ran.out.splitlines()[:2] == ["component  n     loss", "train      3  0.1 ± 0"]
    assert re.fullmatch(r"8gWVkz n  finished, 3 trials in .*", ran.out.splitlines()[3])
    assert statuses(run) == ["finished"] * 3


def test_what_fails_again_says_how_to_go_on(failed: Ran, run: Run) -> None:
    ran = run("resume", "8gWVkz", "--storage", "out", "--quiet")

    assert ran.code == 1
    told = ran.err.rstrip().splitlines()
    assert told[-4:-2] == ["2 of 3 trials failed", "  2 trials: ValueError: no good"]
    assert told[-1] == "    again: machinable execute train --repeat 2 --storage out --seed 8gWVkz"


def test_what_has_finished_is_left_alone(run: Run, project: Path) -> None:
    run("execute", "train", "--seed", "42", "--storage", "out", "--quiet")
    before = sorted((path, path.read_bytes()) for path in (project / "out").rglob("*") if path.is_file())

    ran = run("resume", "8gWVkz", "--storage", "out")

    assert (ran.code, ran.err) == (0, "8gWVkz has finished: there is nothing to resume\n")
    assert "\n8gWVkz  finished, 1 trial\n" in ran.out
    assert sorted((path, path.read_bytes()) for path in (project / "out").rglob("*") if path.is_file()) == before


def test_another_task_is_told_and_not_taken_without_being_asked_for(failed: Ran, run: Run, project: Path) -> None:
    words = ("resume", "8gWVkz", "train", "rate=0.5", "--repeat", "2", "--storage", "out")

    ran = run(*words)

    assert (ran.code, ran.out) == (3, "")
    assert ran.err.splitlines() == [
        "8gWVkz: +2 −3 =0: 2 added, 3 removed, 0 kept; 2 to run",
        "8gWVkz would have other trials (+2 −3 =0), and there is nobody to ask",
        "  To have it so: --yes. To see them first: --dry.",
    ]
    assert statuses(run) == ["finished", "failed", "failed"]
    assert run(*words, "--json").data["error"]["type"] == "Refused"


def test_with_yes_another_task_counts(failed: Ran, run: Run, project: Path) -> None:
    (project.parent / "repaired").touch()

    ran = run("resume", "8gWVkz", "train", "--repeat", "4", "--storage", "out", "--yes", "--json")

    assert ran.code == 0
    assert "8gWVkz: +1 −0 =3: 1 added, 0 removed, 3 kept; 3 to run" in ran.err
    assert (ran.data["execution"], ran.data["name"]) == ("8gWVkz", "n")
    assert [trial["status"] for trial in ran.data["trials"]] == ["finished"] * 4


def test_the_same_task_needs_no_yes(failed: Ran, run: Run, project: Path) -> None:
    (project.parent / "repaired").touch()

    ran = run("resume", "8gWVkz", "train", "--repeat", "3", "--storage", "out", "--quiet")

    assert (ran.code, ran.err) == (0, "8gWVkz: +0 −0 =3: 0 added, 0 removed, 3 kept; 2 to run\n")


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("n", 3)])
def test_on_a_terminal_it_asks(failed: Ran, run: Run, project: Path, answer: str, code: int) -> None:
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
        told = os.read(ours, 10_000).decode()
    finally:
        os.close(theirs)
        os.close(ours)

    assert done.returncode == code
    assert "8gWVkz: +1 −3 =0: 1 added, 3 removed, 0 kept; 1 to run" in told
    assert "Go on with 8gWVkz like this? [y/N]:" in told
    assert ("nothing was changed" in told) is (answer == "n")
    assert len(statuses(run)) == (1 if answer == "y" else 3)


def test_dry_says_what_would_run_and_what_stays(failed: Ran, run: Run) -> None:
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
        (["abc", "--storage", "out"], 2, "'abc' is not an execution id"),
        ([], 2, "Missing argument 'ID'"),
    ],
)
def test_bad_words_are_told(failed: Ran, run: Run, words: list[str], code: int, message: str) -> None:
    ran = run("resume", *words)

    assert (ran.code, ran.out) == (code, "")
    assert message in ran.err
    as_data = run("resume", *words, "--json")
    assert (as_data.code, set(json.loads(as_data.out))) == (code, {"error"})
