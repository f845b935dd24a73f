"""`machinable verify`, `machinable rescue` and `machinable clean`."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from machinable.cli import main
from machinable.storage.process_info import this_process
from tests.cli.conftest import Run


@pytest.fixture
def stored(run: Run, project: Path) -> Path:
    run("execute", "train", "--repeat", "2", "--seed", "OY1p1o", "--storage", "out", "--quiet")
    return project / "out"


def test_a_storage_without_faults_has_one_line(run: Run, stored: Path) -> None:
    ran = run("verify", "--storage", "out")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith(f"no faults in {stored}: 1 execution, 2 trials")
    data = run("verify", "OY1p1o", "--storage", "out", "--json").data
    assert (data["storage"], data["executions"], data["trials"], data["faults"]) == (str(stored), 1, 2, [])


def test_faults_are_listed_and_repaired_if_possible(run: Run, stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("machinable.results.verify.QUIET", 0.0)
    trial = min((stored / "OY1p1o/trials").iterdir())
    (trial / "records/default.jsonl").write_text("x\n")
    (stored / "OY1p1o/code.zip").unlink()
    records = f"OY1p1o/trials/{trial.name}/records/default.jsonl"

    ran = run("verify", "--storage", "out")
    assert (ran.code, ran.out.splitlines()) == (
        1,
        [
            "OY1p1o/code.zip: execution.json records its digest, but the file is missing",
            f"{records}: line 1 is not a row: Expecting value: line 1 column 1 (char 0)",
        ],
    )
    assert ran.err.startswith(f"2 faults in {stored}: 1 execution, 2 trials")
    assert ran.err.endswith("1 of them can be repaired: machinable verify --repair --storage out\n")
    assert (trial / "records/default.jsonl").read_text() == "x\n"

    data = run("verify", "--storage", "out", "--json", "--repair")
    assert data.code == 1
    assert [(fault["path"], fault["mend"], fault["mended"]) for fault in data.data["faults"]] == [
        ("OY1p1o/code.zip", None, False),
        (records, "move them aside", True),
    ]
    assert (trial / "records/default.jsonl.damaged").read_text() == "x\n"
    ran = run("verify", "--storage", "out", "--repair")
    assert (ran.code, len(ran.out.splitlines())) == (1, 1)


def test_repairs_are_listed(run: Run, stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("machinable.results.verify.QUIET", 0.0)
    ledger = stored / "OY1p1o/ledger.jsonl"
    rows = [json.loads(line) for line in ledger.read_text().splitlines()]
    ledger.write_text("".join(json.dumps(row) + "\n" for row in rows if row["event"] not in ("ended",))[:-200])

    ran = run("verify", "--storage", "out", "--repair")

    assert ran.code == 0
    assert ran.out.splitlines()[0] == (
        f"repaired: OY1p1o/ledger.jsonl: the trial {rows[-2]['uid']} has finished, "
        "but its execution ended before recording it"
    )
    assert [json.loads(line) for line in ledger.read_text().splitlines() if line[-1] == "}"][-1]["record"] == rows[-2][
        "record"
    ]
    assert run("verify", "--storage", "out").code == 0


def test_a_missing_execution_is_an_error(run: Run, stored: Path) -> None:
    assert "Did you mean 'OY1p1o'?" in run("verify", "OY1p1p", "--storage", "out").err


def test_verifying_the_directory_above_says_where_executions_are(run: Run, stored: Path) -> None:
    ran = run("verify", "--storage", ".")
    assert (ran.code, ran.err) == (0, f"Executions are stored in {stored}: name that directory as the storage.\n")


@pytest.fixture
def outage(run: Run, project: Path) -> Path:
    run("execute", "train", "--seed", "OY1p1o", "--storage", "out", "--quiet")
    return project / "out"


def test_rescued_results_are_copied_into_the_storage(run: Run, outage: Path, tmp_path: Path) -> None:
    (trial,) = (outage / "OY1p1o/trials").iterdir()
    fallback = tmp_path / "machinable-rescued-OY1p1o-1"
    rescued = fallback / "OY1p1o/trials" / trial.name
    (rescued / "artifacts").mkdir(parents=True)
    (rescued / "artifacts/late.json").write_text("[1]\n")
    (rescued / "status.json").write_bytes((trial / "status.json").read_bytes())

    ran = run("rescue", str(fallback), "--storage", "out")

    assert (ran.code, ran.err) == (0, "")
    assert ran.out == f"copied 2 files to {outage}\n{fallback} can be deleted\n"
    assert (trial / "artifacts/late.json").read_text() == "[1]\n"


def test_the_ledger_records_how_rescued_trials_ended(run: Run, outage: Path, tmp_path: Path) -> None:
    (trial,) = (outage / "OY1p1o/trials").iterdir()
    ledger = outage / "OY1p1o/ledger.jsonl"
    lines = ledger.read_text().splitlines(keepends=True)
    ledger.write_text(lines[0] + lines[-1])  # the storage could not take the line about the end of the trial
    rescued = tmp_path / "r/OY1p1o/trials" / trial.name
    rescued.mkdir(parents=True)
    (trial / "status.json").rename(rescued / "status.json")

    assert run("rescue", str(tmp_path / "r"), "--storage", "out").code == 0

    assert json.loads(ledger.read_text().splitlines()[-1])["event"] == "finished"
    assert run("verify", "--storage", "out").code == 0


def test_a_trial_that_has_run_again_is_skipped(run: Run, outage: Path, tmp_path: Path) -> None:
    (trial,) = (outage / "OY1p1o/trials").iterdir()
    path = f"OY1p1o/trials/{trial.name}/status.json"
    (tmp_path / "r" / path).parent.mkdir(parents=True)
    (tmp_path / "r" / path).write_text('{"attempt": 7, "started": "then", "state": "finished"}')
    before = (outage / path).read_bytes()

    ran = run("rescue", str(tmp_path / "r"), "--storage", "out")
    assert ran.out == f"copied 0 files to {outage}\n"
    assert ran.err == f"skipped {path} in {tmp_path / 'r'}: its trial has run again since\n"
    assert (outage / path).read_bytes() == before
    data = run("rescue", str(tmp_path / "r"), "--storage", "out", "--json").data
    assert data == {"storage": str(outage), "directory": str(tmp_path / "r"), "brought": [], "left": [path]}


def test_a_missing_directory_is_an_error(run: Run, outage: Path) -> None:
    ran = run("rescue", "nowhere", "--storage", "out")
    assert (ran.code, ran.err.splitlines()[0]) == (3, f"there is no storage at '{outage.parent / 'nowhere'}'")


def test_a_storage_is_not_copied_onto_itself_and_not_offered_for_deletion(run: Run, outage: Path) -> None:
    ran = run("rescue", "out", "--storage", "out")
    assert (ran.code, ran.out) == (3, "")
    assert ran.err.splitlines()[0] == f"{outage} is the storage itself"


def test_a_directory_without_results_is_not_copied_into_the_storage(run: Run, outage: Path, project: Path) -> None:
    ran = run("rescue", ".", "--storage", "out")
    assert (ran.code, ran.out) == (3, "")
    assert ran.err.splitlines()[0] == f"there are no results in {project}"
    assert not (outage / "machinable.yaml").exists()


OLD = 1_000_000_000
POINTER = {"format": 1, "time": "2026-01-31T09:15:02+00:00", "artifacts": {}, "inputs": {}, "code": {}}


@pytest.fixture
def leftovers(run: Run, project: Path) -> Path:
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
    pointer.write_text(json.dumps(POINTER | {"identity": "ab" * 16, "trial": "OY1p1p/x"}))
    return out


LEFT = ["OY1p1o/.machinable-writing-0123", f"by-content/ab/{'ab' * 16}.json", "OY1p1o-2"]


def test_leftovers_are_shown_and_not_deleted(run: Run, leftovers: Path) -> None:
    before = sorted(leftovers.rglob("*"))
    ran = run("clean", "--storage", "out")
    assert ran.code == 0
    assert ran.out.splitlines() == [
        f"{LEFT[0]}  3 bytes  a process was killed while it wrote this",
        f"{LEFT[1]}  162 bytes  the result that it points to is gone: OY1p1p/x",
        f"{LEFT[2]}  5 bytes  a process was killed before it became an execution",
    ]
    assert ran.err == "nothing deleted yet (3 items, 170 bytes); --yes to delete\n"
    assert sorted(leftovers.rglob("*")) == before


def test_yes_deletes_only_leftovers(run: Run, leftovers: Path) -> None:
    before = set(leftovers.rglob("*"))
    data = run("clean", "--storage", "out", "--yes", "--json").data
    assert [removal["path"] for removal in data.pop("removals")] == LEFT
    assert data == {"storage": str(leftovers), "bytes": 170, "removed": True}
    gone = {leftovers / path for path in (*LEFT, "OY1p1o-2/code.zip", "OY1p1o-2/trials")}
    assert before - set(leftovers.rglob("*")) == gone
    ran = run("clean", "--storage", "out", "--yes")
    assert (ran.code, ran.out, ran.err) == (0, "", f"nothing to delete in {leftovers}\n")
    assert run("clean", "--storage", "out").err == f"nothing to delete in {leftovers}\n"


def executions(leftovers: Path) -> list[str]:
    return sorted(path.name for path in leftovers.iterdir() if (path / "execution.json").exists())


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
def test_executions_that_match_all_conditions_are_deleted(
    run: Run, leftovers: Path, words: list[str], left: list[str]
) -> None:
    assert run("clean", *words, "--storage", "out").code == 0
    assert executions(leftovers) == ["8gWVkz", "OY1p1o"]
    assert run("clean", *words, "--storage", "out", "--yes").code == 0
    assert executions(leftovers) == left
    assert sorted(path.name for path in leftovers.iterdir() if path.name != "by-content") == left


def test_results_that_others_use_are_listed(run: Run, leftovers: Path) -> None:
    (uid,) = os.listdir(leftovers / "OY1p1o/trials")
    pointer = leftovers / f"by-content/cd/{'cd' * 16}.json"
    pointer.parent.mkdir()
    pointer.write_text(json.dumps(POINTER | {"identity": "cd" * 16, "trial": f"OY1p1o/{uid}"}))
    reused = {"event": "reused", "uid": "x", "source": f"OY1p1o/{uid}", "time": "", "record": None}
    with open(leftovers / "8gWVkz/ledger.jsonl", "a") as ledger:
        ledger.write(json.dumps(reused) + "\n")

    ran = run("clean", "OY1p1o", "--storage", "out")
    assert ran.out.splitlines()[3:] == [
        ran.out.splitlines()[3],
        "  with 1 result that later executions would reuse",
        f"  with results that 8gWVkz has reused: {uid}",
    ]
    assert ran.out.splitlines()[3].endswith("  execution, 1 trial started")
    run("clean", "OY1p1o", "--storage", "out", "--yes")
    assert (executions(leftovers), pointer.exists()) == (["8gWVkz"], False)


def test_a_running_execution_is_not_deleted(run: Run, leftovers: Path) -> None:
    (trial,) = (leftovers / "OY1p1o/trials").iterdir()
    (leftovers / "OY1p1o/ledger.jsonl").unlink()
    status = json.loads((trial / "status.json").read_text())
    (trial / "status.json").write_text(json.dumps(status | {"state": "running"}))
    ran = run("clean", "OY1p1o", "--storage", "out", "--yes")
    assert (ran.code, ran.err.splitlines()[0]) == (3, "the execution OY1p1o is running")
    run("clean", "--older-than", "0m", "--storage", "out", "--yes")
    assert executions(leftovers) == ["OY1p1o"]


@pytest.mark.filterwarnings("ignore:OY1p1o is left out:RuntimeWarning")
def test_a_damaged_execution_is_deleted_by_its_id_alone(run: Run, stored: Path) -> None:
    whole = shutil.copytree(stored, stored.parent / "whole")
    for path, damage in [("execution.json", "{"), ("plan.jsonl", "[]"), ("ledger.jsonl", "1"), ("plan.jsonl", "")]:
        shutil.rmtree(stored)
        shutil.copytree(whole, stored)
        file = stored / "OY1p1o" / path
        file.unlink()
        if damage:
            file.write_text(f"{damage}\n")
        else:
            os.mkfifo(file)
        ran = run("clean", "OY1p1o", "--storage", "out")
        assert ran.code == 0
        assert path == "execution.json" or f"OY1p1o/{path}" in ran.err.splitlines()[0]  # what is damaged
        for words in (["--older-than", "0m"], ["--failed"], ["OY1p1o", "--failed"], ["OY1p1o", "--older-than", "0m"]):
            run("clean", *words, "--yes", "--storage", "out")
            assert file.exists()

        lease = stored / "OY1p1o/execution.lease"
        lease.write_text(json.dumps({"host": "node7", "lease": 0.3, "token": "t"}))
        assert path == "execution.json" or run("clean", "OY1p1o", "--yes", "--storage", "out").code == 3
        lease.unlink()
        assert run("clean", "OY1p1o", "--yes", "--storage", "out").code == 0
        assert not file.parent.exists()


def test_a_damaged_execution_whose_worker_lives_is_not_deleted(run: Run, leftovers: Path) -> None:
    (trial,) = (leftovers / "OY1p1o/trials").iterdir()
    status = json.loads((trial / "status.json").read_text())
    (trial / "status.json").write_text(json.dumps(status | {"state": "running"}))
    (leftovers / "OY1p1o/ledger.jsonl").write_text("1\n")
    ran = run("clean", "OY1p1o", "--storage", "out", "--yes")
    assert (ran.code, ran.err.splitlines()[1]) == (3, "the execution OY1p1o is running")


def test_a_new_folder_may_become_an_execution(run: Run, leftovers: Path) -> None:
    shutil.copytree(leftovers / "OY1p1o", leftovers / "OY1p1o-3")
    (leftovers / "OY1p1o-3/execution.json").unlink()
    run("clean", "--storage", "out", "--yes")
    assert (leftovers / "OY1p1o-3").exists()


def test_an_invalid_age_is_refused(run: Run, leftovers: Path) -> None:
    ran = run("clean", "--older-than", "soon", "--storage", "out")
    assert ran.code == 2
    assert "'--older-than': 'soon' is not an age; write a number with m, h, d or w: 12h, 30d" in ran.err
    assert run("clean", "--older-than", "30", "--storage", "out").code == 2  # not 30 seconds


def test_the_lease_of_a_killed_process_is_deleted(run: Run, leftovers: Path) -> None:
    lease = leftovers / "8gWVkz/execution.lease"
    lease.write_text(json.dumps({"host": "elsewhere", "pid": 1, "lease": 30, "token": "x"}))
    os.utime(lease, (OLD, OLD))
    assert "8gWVkz/execution.lease" in run("clean", "--storage", "out").out
    run("clean", "--storage", "out", "--yes")
    assert not lease.exists()


def test_links_out_of_a_storage_are_reported_and_what_they_lead_to_stays(run: Run, project: Path) -> None:
    run("execute", "train", "--storage", "real", "--seed", "OY1p1o", "--quiet")
    before = {path: path.read_bytes() for path in (project / "real").rglob("*") if path.is_file()}
    (project / "evil").mkdir()
    (project / "evil/AAAAAA").symlink_to("../real/OY1p1o")
    (project / "evil/by-content").symlink_to("../real")

    assert run("list", "--storage", "evil").out == ""
    for words in (["verify"], ["verify", "--repair"]):
        ran = run(*words, "--storage", "evil")
        assert (ran.code, ran.out.splitlines()) == (
            1,
            [f"{name}: a link out of the storage, which is not followed" for name in ("AAAAAA", "by-content")],
        )
    for words in (["clean", "AAAAAA", "--yes"], ["clean", "--yes"], ["show", "AAAAAA"], ["export", "AAAAAA"]):
        ran = run(*words, "--storage", "evil")
        assert (ran.code, ran.out) == (3, "")
        assert "is a link out of the storage" in ran.err
    assert {path: path.read_bytes() for path in (project / "real").rglob("*") if path.is_file()} == before


def test_cleaning_an_execution_removes_links_in_it_and_not_what_they_lead_to(run: Run, project: Path) -> None:
    run("execute", "train", "--storage", "out", "--seed", "OY1p1o", "--quiet")
    (project / "data").mkdir()
    (project / "data/theirs").write_text("theirs")
    (project / "out/OY1p1o/trials/link").symlink_to(project / "data")
    (project / "out/OY1p1o/file").symlink_to(project / "data/theirs")

    assert run("clean", "OY1p1o", "--yes", "--storage", "out").code == 0
    assert not (project / "out/OY1p1o").exists()
    assert (project / "data/theirs").read_text() == "theirs"


def held(storage: Path, facts: dict[str, Any], lease: float = 0.3) -> Path:
    """Leave an execution whose first attempt failed and will be retried, with the lease of a process."""
    folder = storage / "OY1p1o"
    ledger = folder / "ledger.jsonl"
    rows = [json.loads(line) for line in ledger.read_text().splitlines()]
    failed = next(row for row in rows if row["event"] == "failed") | {"will_retry": True}
    ledger.write_text(json.dumps(rows[0]) + "\n" + json.dumps(failed) + "\n")
    path = folder / "execution.lease"
    path.write_text(json.dumps({"execution": "OY1p1o", "lease": lease, "time": rows[0]["time"], "token": "t", **facts}))
    return path


@pytest.fixture
def failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    here = tmp_path / "failing"
    here.mkdir()
    (here / "machinable.yaml").write_text("components:\n  - fails: {}\n")
    code = "from machinable import Component\nclass Fails(Component):\n    def on_execute(self): raise RuntimeError\n"
    (here / "fails.py").write_text(code)
    monkeypatch.chdir(here)
    storage = tmp_path / "s"
    assert main(["execute", "fails", "--storage", str(storage), "--seed", "OY1p1o", "--quiet"]) == 1
    return storage


@pytest.mark.parametrize("age", [-3600, 0, 40, 299])
def test_an_execution_that_waits_for_a_retry_is_running_and_not_deleted(
    failed: Path, age: int, capsys: pytest.CaptureFixture[str]
) -> None:
    for facts in (this_process(), this_process() | {"host": "node7"}):
        path = held(failed, facts)
        os.utime(path, (time.time() - age,) * 2)
        capsys.readouterr()
        assert main(["list", "--storage", str(failed), "--json"]) == 0
        assert [one["status"] for one in json.loads(capsys.readouterr().out)["executions"]] == ["running"]
        for selection in (["--failed"], ["--interrupted"], ["--older-than", "0m"]):
            assert main(["clean", *selection, "--yes", "--storage", str(failed)]) == 0
        assert main(["clean", "OY1p1o", "--yes", "--storage", str(failed)]) == 3
    assert path.exists() and (failed / "OY1p1o" / "execution.json").exists()


def test_what_seems_to_be_gone_on_another_host_is_watched_before_it_is_deleted(failed: Path) -> None:
    path = held(failed, this_process() | {"host": "node7"}, lease=1.0)
    long_ago = time.time() - 86400
    os.utime(path, (long_ago,) * 2)
    holder = threading.Event()

    def beat() -> None:
        while not holder.wait(0.1):
            os.utime(path, (long_ago + time.monotonic() % 1000,) * 2)

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        assert main(["clean", "--failed", "--interrupted", "--yes", "--storage", str(failed)]) == 0
        assert (failed / "OY1p1o" / "execution.json").exists()
    finally:
        holder.set()
        thread.join()
    assert main(["clean", "OY1p1o", "--yes", "--storage", str(failed)]) == 0
    assert not (failed / "OY1p1o").exists()
