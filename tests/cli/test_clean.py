"""`machinable clean`: shows what can go, and removes it when it is told to."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import Run

OLD = 1_000_000_000


@pytest.fixture
def stored(run: Run, project: Path) -> Path:
    """Two executions, `8gWVkz` failed, and the remains of killed processes."""
    run("execute", "train", "fails=[1]", "--repeat", "2", "--seed", "42", "--storage", "out", "--quiet")
    run("execute", "train", "--seed", "OY1p1o", "--storage", "out", "--quiet")
    out = project / "out"
    (out / "OY1p1o-2/trials").mkdir(parents=True)
    (out / "OY1p1o-2/code.zip").write_bytes(b"12345")
    for name in ("OY1p1o-2/code.zip", "OY1p1o-2/trials", "OY1p1o-2"):
        os.utime(out / name, (OLD, OLD))
    (out / "OY1p1o/.machinable-writing-0123").write_bytes(b"123")
    os.utime(out / "OY1p1o/.machinable-writing-0123", (OLD, OLD))
    pointer = out / f"by-content/ab/{'ab' * 16}.json"
    pointer.parent.mkdir(parents=True)
    pointer.write_text(json.dumps({"identity": "ab" * 16, "trial": "OY1p1p/x"}))
    return out


LEFT = ["OY1p1o/.machinable-writing-0123", f"by-content/ab/{'ab' * 16}.json", "OY1p1o-2"]


def test_what_is_left_over_is_shown_and_nothing_is_removed(run: Run, stored: Path) -> None:
    before = sorted(stored.rglob("*"))
    ran = run("clean", "--storage", "out")
    assert ran.code == 0
    assert ran.out.splitlines() == [
        f"{LEFT[0]}  3 bytes  a process was killed while it wrote this",
        f"{LEFT[1]}  69 bytes  the result that it points to is gone: OY1p1p/x",
        f"{LEFT[2]}  5 bytes  a process was killed before it became an execution",
    ]
    assert ran.err == "nothing was removed yet (3 things, 77 bytes); to do it, add --yes\n"
    assert sorted(stored.rglob("*")) == before


def test_with_yes_it_is_removed_and_all_else_stays(run: Run, stored: Path) -> None:
    before = set(stored.rglob("*"))
    data = run("clean", "--storage", "out", "--yes", "--json").data
    assert [removal["path"] for removal in data.pop("removals")] == LEFT
    assert data == {"storage": str(stored), "bytes": 77, "removed": True}
    gone = {stored / path for path in (*LEFT, "OY1p1o-2/code.zip", "OY1p1o-2/trials")}
    assert before - set(stored.rglob("*")) == gone
    ran = run("clean", "--storage", "out", "--yes")
    assert (ran.code, ran.out, ran.err) == (0, "", f"nothing was removed from {stored}\n")
    assert run("clean", "--storage", "out").err == f"nothing to remove in {stored}\n"


def executions(stored: Path) -> list[str]:
    return sorted(path.name for path in stored.iterdir() if (path / "execution.json").exists())


@pytest.mark.parametrize(
    ("words", "left"),
    [
        ([], ["8gWVkz", "OY1p1o"]),
        (["8gWVkz"], ["OY1p1o"]),
        (["8gWVkz", "OY1p1o"], []),
        (["--failed"], ["OY1p1o"]),
        (["--failed", "OY1p1o"], ["8gWVkz", "OY1p1o"]),
        (["--interrupted"], ["8gWVkz", "OY1p1o"]),
        (["--interrupted", "--failed"], ["OY1p1o"]),
        (["--older-than", "1h"], ["8gWVkz", "OY1p1o"]),
        (["--older-than", "0m"], []),
        (["--older-than", "0.0 w", "--failed"], ["OY1p1o"]),
    ],
)
def test_executions_are_removed_that_fit_all_that_is_said(
    run: Run, stored: Path, words: list[str], left: list[str]
) -> None:
    assert run("clean", *words, "--storage", "out").code == 0
    assert executions(stored) == ["8gWVkz", "OY1p1o"]
    assert run("clean", *words, "--storage", "out", "--yes").code == 0
    assert executions(stored) == left
    assert sorted(path.name for path in stored.iterdir() if path.name != "by-content") == left


def test_what_others_hold_is_told_and_goes_with_it(run: Run, stored: Path) -> None:
    (uid,) = os.listdir(stored / "OY1p1o/trials")
    pointer = stored / f"by-content/cd/{'cd' * 16}.json"
    pointer.parent.mkdir()
    pointer.write_text(json.dumps({"identity": "cd" * 16, "trial": f"OY1p1o/{uid}"}))
    reused = {"event": "reused", "uid": "x", "source": f"OY1p1o/{uid}", "time": "", "record": None}
    with open(stored / "8gWVkz/ledger.jsonl", "a") as ledger:
        ledger.write(json.dumps(reused) + "\n")

    ran = run("clean", "OY1p1o", "--storage", "out")
    assert ran.out.splitlines()[3:] == [
        ran.out.splitlines()[3],
        "  with 1 result that later executions would reuse",
        f"  with what 8gWVkz has reused: {uid}",
    ]
    assert ran.out.splitlines()[3].endswith("  an execution, 1 trial begun")
    run("clean", "OY1p1o", "--storage", "out", "--yes")
    assert (executions(stored), pointer.exists()) == (["8gWVkz"], False)


def test_what_runs_is_not_removed(run: Run, stored: Path) -> None:
    (trial,) = (stored / "OY1p1o/trials").iterdir()
    (stored / "OY1p1o/ledger.jsonl").unlink()
    status = json.loads((trial / "status.json").read_text())
    (trial / "status.json").write_text(json.dumps(status | {"state": "running"}))
    ran = run("clean", "OY1p1o", "--storage", "out", "--yes")
    assert (ran.code, ran.err.splitlines()[0]) == (3, "the execution OY1p1o is running")
    run("clean", "--older-than", "0m", "--storage", "out", "--yes")
    assert executions(stored) == ["OY1p1o"]


def test_a_folder_that_was_just_made_may_become_an_execution(run: Run, stored: Path) -> None:
    shutil.copytree(stored / "OY1p1o", stored / "OY1p1o-3")
    (stored / "OY1p1o-3/execution.json").unlink()
    run("clean", "--storage", "out", "--yes")
    assert (stored / "OY1p1o-3").exists()


def test_an_age_that_is_none_is_refused(run: Run, stored: Path) -> None:
    ran = run("clean", "--older-than", "soon", "--storage", "out")
    assert (ran.code, ran.err) == (2, "'soon' is no age\n  Write a number with m, h, d or w: 12h, 30d.\n")


def test_the_lease_of_a_killed_process_goes(run: Run, stored: Path) -> None:
    lease = stored / "8gWVkz/execution.lease"
    lease.write_text(json.dumps({"host": "elsewhere", "pid": 1, "lease": 30, "token": "x"}))
    os.utime(lease, (OLD, OLD))
    assert "8gWVkz/execution.lease" in run("clean", "--storage", "out").out
    run("clean", "--storage", "out", "--yes")
    assert not lease.exists()
