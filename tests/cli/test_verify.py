"""`machinable verify`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run


@pytest.fixture
def stored(run: Run, project: Path) -> Path:
    run("execute", "train", "--repeat", "2", "--seed", "OY1p1o", "--storage", "out", "--quiet")
    return project / "out"


def test_a_storage_that_is_whole_is_told_so(run: Run, stored: Path) -> None:
    ran = run("verify", "--storage", "out")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith(f"{stored} is whole: 1 execution, 2 trials")
    data = run("verify", "OY1p1o", "--storage", "out", "--json").data
    assert (data["storage"], data["executions"], data["trials"], data["faults"]) == (str(stored), 1, 2, [])


def test_faults_are_listed_and_those_that_can_be_are_mended(
    run: Run, stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("machinable.results.verify.QUIET", 0.0)
    trial = min((stored / "OY1p1o/trials").iterdir())
    (trial / "records/default.jsonl").write_text("x\n")
    (stored / "OY1p1o/code.zip").unlink()
    records = f"OY1p1o/trials/{trial.name}/records/default.jsonl"

    ran = run("verify", "--storage", "out")
    assert (ran.code, ran.out.splitlines()) == (
        1,
        [
            "OY1p1o/code.zip: execution.json has its digest, and it is not there",
            f"{records}: line 1 is no row",
        ],
    )
    assert ran.err.startswith(f"2 faults in {stored}: 1 execution, 2 trials")
    assert ran.err.endswith("1 of them can be mended: machinable verify --repair\n")
    assert (trial / "records/default.jsonl").read_text() == "x\n"

    data = run("verify", "--storage", "out", "--json", "--repair")
    assert data.code == 1
    assert [(fault["path"], fault["mend"], fault["mended"]) for fault in data.data["faults"]] == [
        ("OY1p1o/code.zip", None, False),
        (records, "put them aside", True),
    ]
    assert (trial / "records/default.jsonl.damaged").read_text() == "x\n"
    ran = run("verify", "--storage", "out", "--repair")
    assert (ran.code, len(ran.out.splitlines())) == (1, 1)


def test_a_repair_says_what_it_did(run: Run, stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("machinable.results.verify.QUIET", 0.0)
    ledger = stored / "OY1p1o/ledger.jsonl"
    rows = [json.loads(line) for line in ledger.read_text().splitlines()]
    ledger.write_text("".join(json.dumps(row) + "\n" for row in rows if row["event"] not in ("ended",))[:-200])

    ran = run("verify", "--storage", "out", "--repair")

    assert ran.code == 0
    assert ran.out.splitlines()[0] == (
        f"mended: OY1p1o/ledger.jsonl: the trial {rows[-2]['uid']} has finished, "
        "and its execution ended before it noted that"
    )
    assert [json.loads(line) for line in ledger.read_text().splitlines() if line[-1] == "}"][-1]["record"] == rows[-2][
        "record"
    ]
    assert run("verify", "--storage", "out").code == 0


def test_an_execution_that_is_not_there_is_told(run: Run, stored: Path) -> None:
    assert "Did you mean 'OY1p1o'?" in run("verify", "OY1p1p", "--storage", "out").err
