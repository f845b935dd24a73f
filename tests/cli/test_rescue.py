"""`machinable rescue`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run


@pytest.fixture
def stored(run: Run, project: Path) -> Path:
    run("execute", "train", "--seed", "OY1p1o", "--storage", "out", "--quiet")
    return project / "out"


def test_what_was_kept_elsewhere_is_brought_home(run: Run, stored: Path, tmp_path: Path) -> None:
    (trial,) = (stored / "OY1p1o/trials").iterdir()
    refuge = tmp_path / "machinable-rescued-OY1p1o-1"
    kept = refuge / "OY1p1o/trials" / trial.name
    (kept / "artifacts").mkdir(parents=True)
    (kept / "artifacts/late.json").write_text("[1]\n")
    (kept / "status.json").write_bytes((trial / "status.json").read_bytes())

    ran = run("rescue", str(refuge), "--storage", "out")

    assert (ran.code, ran.err) == (0, "")
    assert ran.out == f"2 files brought to {stored}\n{refuge} is not needed any more\n"
    assert (trial / "artifacts/late.json").read_text() == "[1]\n"


def test_how_its_trials_ended_is_noted(run: Run, stored: Path, tmp_path: Path) -> None:
    (trial,) = (stored / "OY1p1o/trials").iterdir()
    ledger = stored / "OY1p1o/ledger.jsonl"
    lines = ledger.read_text().splitlines(keepends=True)
    ledger.write_text(lines[0] + lines[-1])  # the storage could not take the line about the end of the trial
    kept = tmp_path / "r/OY1p1o/trials" / trial.name
    kept.mkdir(parents=True)
    (trial / "status.json").rename(kept / "status.json")

    assert run("rescue", str(tmp_path / "r"), "--storage", "out").code == 0

    assert json.loads(ledger.read_text().splitlines()[-1])["event"] == "finished"
    assert run("verify", "--storage", "out").code == 0


def test_of_a_trial_that_has_run_again_everything_stays_where_it_is(run: Run, stored: Path, tmp_path: Path) -> None:
    (trial,) = (stored / "OY1p1o/trials").iterdir()
    path = f"OY1p1o/trials/{trial.name}/status.json"
    (tmp_path / "r" / path).parent.mkdir(parents=True)
    (tmp_path / "r" / path).write_text('{"attempt": 7, "started": "then", "state": "finished"}')
    before = (stored / path).read_bytes()

    ran = run("rescue", str(tmp_path / "r"), "--storage", "out")
    assert ran.out == f"0 files brought to {stored}\n"
    assert ran.err == f"left in {tmp_path / 'r'}: {path}: its trial has run again since\n"
    assert (stored / path).read_bytes() == before
    data = run("rescue", str(tmp_path / "r"), "--storage", "out", "--json").data
    assert data == {"storage": str(stored), "directory": str(tmp_path / "r"), "brought": [], "left": [path]}


def test_a_directory_that_is_not_there_is_told(run: Run, stored: Path) -> None:
    ran = run("rescue", "nowhere", "--storage", "out")
    assert (ran.code, ran.err.splitlines()[0]) == (3, f"there is no storage at '{stored.parent / 'nowhere'}'")
