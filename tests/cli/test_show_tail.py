"""`machinable tail`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from machinable.cli import show
from machinable.storage.local import DirectoryFiles
from machinable.storage.streams import RowWriter
from tests.cli.conftest import Run

Write = Callable[..., None]


@pytest.fixture
def stored(run: Run, project: Path) -> list[str]:
    """The uids of `OY1p1o`, which has ended with a failure."""
    run("execute", "train", "fails=[1]", "--repeat", "2", "--seed", "OY1p1o", "--storage", "out", "--quiet")
    return [trial["uid"] for trial in run("show", "OY1p1o", "--storage", "out", "--json").data["trials"]]


def test_the_last_lines_of_the_trial_that_ran_last(run: Run, stored: list[str]) -> None:
    ran = run("tail", "OY1p1o", "--storage", "out")

    assert (ran.code, ran.err) == (0, "OY1p1o: failed; 1 finished, 1 failed\n")
    lines = ran.out.splitlines()
    assert f"train {stored[1]} started" in lines
    assert f"train {stored[1]} row loss=0.2 note=ok" in lines
    assert f"train {stored[1]} output training" in lines
    assert [line for line in lines if line.endswith(" INFO rate 0.1")]
    assert lines[-1].startswith(f"train {stored[1]} failed ") and lines[-1].endswith(" ValueError: no good")


def test_a_trial_and_a_number_of_lines_can_be_given(run: Run, stored: list[str]) -> None:
    ran = run("tail", "OY1p1o", "--trial", stored[0][:6], "-n", "1", "--storage", "out")

    (line,) = ran.out.splitlines()
    assert line.startswith("finished ")
    assert run("tail", "OY1p1o", "-n", "0", "--storage", "out").out == ""


def test_json_has_one_document_per_line(run: Run, stored: list[str]) -> None:
    ran = run("tail", "OY1p1o", "--storage", "out", "--json", "-n", "100")

    found = [json.loads(line) for line in ran.out.splitlines()]
    kinds = [one["event"] for one in found]
    assert sorted(kinds) == sorted(
        ["started", "finished", "started", "row", "log", "output", "failed", "ended", "tail"]
    )
    (row,) = [one for one in found if one["event"] == "row"]
    assert (row["uid"], row["component"], row["scope"], row["row"]["loss"]) == (stored[1], "train", "default", 0.2)
    assert found[-1] == {
        "event": "tail",
        "execution": "OY1p1o",
        "status": "failed",
        "trials": {"finished": 1, "failed": 1},
    }


@pytest.fixture
def running(stored: list[str], project: Path) -> Write:
    """Makes the execution one that runs: its second trial has begun. Gives what writes what comes next."""
    folder = project / "out" / "OY1p1o"
    ledger = folder / "ledger.jsonl"
    ledger.write_text("".join(ledger.read_text().splitlines(keepends=True)[:3]))
    status = folder / "trials" / stored[1] / "status.json"
    status.write_text(json.dumps(json.loads(status.read_text()) | {"state": "running", "finished": None}))
    (folder / "trials" / stored[1] / "records" / "default.jsonl").unlink()
    files = DirectoryFiles(project / "out")

    def write(path: str, **row: object) -> None:
        RowWriter(files, f"OY1p1o/{path}").append(row)

    return write


def test_following_shows_new_lines_until_the_end(
    run: Run, stored: list[str], running: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid = stored[1]
    steps = [
        lambda: running(f"trials/{uid}/records/default.jsonl", loss=0.5, _iteration=0, _timestamp=1.0),
        lambda: running(f"trials/{uid}/records/validation.jsonl", f1=0.25, _timestamp=2.0),
        lambda: None,
        lambda: (
            running(
                "ledger.jsonl", event="finished", uid=uid, attempt=1, time="2026-01-31T09:15:02+00:00", seconds=2.0
            ),
            running("ledger.jsonl", event="ended", status="finished", time="2026-01-31T09:15:02+00:00", seconds=3.0),
        ),
    ]
    pauses = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        steps.pop(0)()

    monkeypatch.setattr(show, "time", SimpleNamespace(sleep=sleep))

    ran = run("tail", "OY1p1o", "-f", "-n", "0", "--storage", "out")

    assert (ran.code, ran.err) == (0, "OY1p1o: finished; 2 finished\n")
    assert ran.out.splitlines() == [
        f"train {uid} row loss=0.5 _iteration=0",
        f"train {uid} row validation f1=0.25",
        f"train {uid} finished 2.00 s",
    ]
    assert (steps, pauses) == ([], [1.0] * 4)


def test_following_one_trial_ends_with_it(
    run: Run, stored: list[str], running: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sleep(seconds: float) -> None:
        running(
            "ledger.jsonl", event="finished", uid=stored[1], attempt=1, time="2026-01-31T09:15:02+00:00", seconds=2.0
        )

    monkeypatch.setattr(show, "time", SimpleNamespace(sleep=sleep))

    ran = run("tail", "OY1p1o", "--trial", stored[1], "-f", "-n", "0", "--storage", "out")

    assert (ran.out, ran.err) == ("finished 2.00 s\n", "OY1p1o: running; 2 finished\n")


def test_ctrl_c_ends_following(run: Run, stored: list[str], running: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    def sleep(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(show, "time", SimpleNamespace(sleep=sleep))

    assert run("tail", "OY1p1o", "--follow", "--storage", "out").code == 130


def test_an_unknown_execution_is_an_error(run: Run, stored: list[str]) -> None:
    assert run("tail", "OY1p1p", "--storage", "out").code == 3
    assert run("tail", "OY1p1o", "--trial", "zzz", "--storage", "out", "--json").data["error"]["type"] == "NotStored"
