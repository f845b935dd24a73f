"""Every kind of fault in a storage is found, and repaired without losing data."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from machinable.errors import StorageUnavailable
from machinable.results.execution import Execution
from machinable.results.verify import Checked, Fault, repair, unnoted, verify
from machinable.storage.files import FileInfo, Files
from machinable.storage.local import DirectoryFiles
from machinable.storage.locks import open_locks
from machinable.storage.memory import MemoryFiles
from tests.results.worlds import FOLDER, NOW, facts, finished, lines, planned, started, status, stored, time, uid, write

LATER = NOW + 1e9  # by then no process is at work
IDENTITY = "ab" * 16


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


@pytest.fixture(params=["memory", "directory"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Files:
    return MemoryFiles() if request.param == "memory" else DirectoryFiles(tmp_path / "stored")


def pointer(trial: str, **changed: Any) -> dict[str, Any]:
    facts = {"format": 1, "identity": IDENTITY, "trial": trial, "time": time(), "seconds": 1.0, "record": None}
    return {**facts, "artifacts": {}, "inputs": {}, "code": {}, **changed}


def intact(files: Files) -> Files:
    """A storage with an execution of two trials, an artifact, a pointer to it, and one that has reused it."""
    stored([planned(0), planned(1)], [started(0), finished(0, x=1), started(1)], files=files, trials=2)
    artifacts = {"a/x.json": {"digest": digest(b"[1]\n"), "size": 4}}
    write(files, f"{FOLDER}/trials/{uid(0)}/status.json", status("finished", artifacts=artifacts))
    write(files, f"{FOLDER}/trials/{uid(0)}/trial.json", planned(0))
    write(files, f"{FOLDER}/trials/{uid(0)}/artifacts/a/x.json", b"[1]\n")
    write(files, f"{FOLDER}/trials/{uid(0)}/records/default.jsonl", b'{"x": 1}\n{"x": 2')
    write(files, f"{FOLDER}/trials/{uid(1)}/status.json", status())
    write(files, f"by-content/ab/{IDENTITY}.json", pointer(f"{FOLDER}/{uid(0)}"))
    reused = {"event": "reused", "uid": uid(0), "time": time(), "source": f"{FOLDER}/{uid(0)}", "record": {"x": 1}}
    stored([planned(0)], [reused], files=files, folder=f"{FOLDER}-2", trials=1)
    return files


def checked(files: Files, clock: float = LATER) -> list[Fault]:
    return verify(files, clock=lambda: clock)[1]


def test_an_intact_storage_has_no_faults(files: Files) -> None:
    assert verify(intact(files), clock=lambda: LATER) == (Checked(2, 3, 1, 4), [])
    assert verify(files, [f"{FOLDER}-2"]) == (Checked(1, 1, 0, 0), [])


class _Locked(MemoryFiles):
    """A storage in which this user cannot read one folder, or one file."""

    locked = ""

    def _scan(self, path: str) -> list[FileInfo]:
        self._check(path)
        return super()._scan(path)

    def read(self, path: str) -> bytes:
        self._check(path)
        return super().read(path)

    def _check(self, path: str) -> None:
        if self.locked and f"{path}/".startswith(f"{self.locked}/"):
            raise StorageUnavailable(f"cannot read {self.url}/{self.locked}: Permission denied")


@pytest.mark.parametrize("locked", [FOLDER, f"{FOLDER}/ledger.jsonl", "notes"])
def test_what_this_user_cannot_read_is_one_fault_and_the_rest_is_checked(locked: str) -> None:
    files = _Locked()
    write(files, "notes/x.txt", b"")
    intact(files).locked = locked  # type: ignore[attr-defined]
    found, (fault, *others) = verify(files, clock=lambda: LATER)

    assert (fault.kind, fault.path, fault.message, others) == ("unreadable", locked, "Permission denied", [])
    assert found.executions >= 1


TRIAL = f"{FOLDER}/trials/{uid(0)}"
FAULTS: dict[str, tuple[str, Any, str, str, str]] = {
    "execution.json is none": (f"{FOLDER}/execution.json", b"{", "damaged", "it cannot be read: ", ""),
    "the plan is cut": (
        f"{FOLDER}/plan.jsonl",
        lines([planned(0)]),
        "damaged",
        "it has 1 trials, but execution.json says 2",
        "",
    ),
    "the plan is none": (f"{FOLDER}/plan.jsonl", b"x\ny\n", "damaged", "line 1 is not a trial: ", ""),
    "a line of the ledger": (
        f"{FOLDER}/ledger.jsonl",
        lines([started(0), finished(0)]) + b"x\n",
        "damaged",
        "line 3 is not an event: ",
        "move them aside",
    ),
    "lines of a record": (
        f"{TRIAL}/records/default.jsonl",
        b'x\n{"x": 1}\n[]\n{"x"',
        "damaged",
        "lines 1, 3 are not a row: ",
        "move them aside",
    ),
    "lines of a part": (
        f"{TRIAL}/records/v.000002.jsonl",
        b"x\n",
        "damaged",
        "line 1 is not a row: ",
        "move them aside",
    ),
    "status.json is none": (
        f"{FOLDER}/trials/{uid(1)}/status.json",
        b"[]",
        "damaged",
        "it cannot be read: it holds a list, not a mapping",
        "move it aside",
    ),
    "trial.json is none": (f"{TRIAL}/trial.json", b"\xff", "damaged", "it cannot be read: ", "move it aside"),
    "of an attempt before": (f"{TRIAL}/attempts/1/status.json", b"", "damaged", "it cannot be read: ", "move it aside"),
    "an artifact is gone": (
        f"{TRIAL}/artifacts/a/x.json",
        None,
        "missing",
        "the trial wrote it, but it is missing",
        "",
    ),
    "an artifact is shorter": (
        f"{TRIAL}/artifacts/a/x.json",
        b"[1]",
        "changed",
        "it has 3 bytes, but 4 were written",
        "",
    ),
    "an artifact is another": (
        f"{TRIAL}/artifacts/a/x.json",
        b"[2]\n",
        "changed",
        "its content is not what the trial wrote",
        "",
    ),
    "a pointer is none": (
        f"by-content/ab/{IDENTITY}.json",
        b"{}",
        "damaged",
        "it cannot be read: it lacks format, identity, trial",
        "move it aside",
    ),
    "a pointer without its code": (
        f"by-content/ab/{IDENTITY}.json",
        {key: value for key, value in pointer(f"{FOLDER}/{uid(0)}").items() if key != "code"},
        "damaged",
        "it cannot be read: it lacks code",
        "move it aside",
    ),
    "a pointer that is a list": (
        f"by-content/ab/{IDENTITY}.json",
        b"[]",
        "damaged",
        "it cannot be read: ",
        "move it aside",
    ),
    "a pointer of another": (
        f"by-content/ab/{IDENTITY}.json",
        pointer("OY1p1p/x", identity="x"),
        "damaged",
        "it cannot be read: it has the identity 'x'",
        "move it aside",
    ),
    "a pointer leads nowhere": (
        f"by-content/ab/{IDENTITY}.json",
        pointer("OY1p1p/x"),
        "dangling",
        "the result that it points to is gone: OY1p1p/x",
        "remove it",
    ),
    "a pointer to what runs": (
        f"by-content/ab/{IDENTITY}.json",
        pointer(f"{FOLDER}/{uid(1)}"),
        "dangling",
        f"what it points to has not finished: {FOLDER}/{uid(1)}",
        "remove it",
    ),
}


@pytest.mark.parametrize("what", FAULTS)
def test_each_fault_is_found_and_repaired_if_that_loses_nothing(files: Files, what: str) -> None:
    path, content, kind, message, mend = FAULTS[what]
    intact(files)
    before = dict(contents(files))
    if content is None:
        files.remove(path)
    else:
        write(files, path, content)
    broken = contents(files)

    (fault,) = checked(files)

    assert (fault.kind, fault.path, fault.mend) == (kind, path, mend)
    assert fault.message.startswith(message)
    assert contents(files) == broken
    assert repair(files, fault) is bool(mend)
    assert (checked(files) == []) is bool(mend)
    assert {p: c for p, c in contents(files).items() if p in before and p != path} == (
        {p: c for p, c in before.items() if p != path}
    )
    if kind == "damaged" and mend == "move it aside":
        assert files.read(f"{path}.damaged") == broken[path]


def contents(files: Files) -> dict[str, bytes]:
    return {stored.path: files.read(stored.path) for stored in files.walk("")}


def test_damaged_lines_are_moved_to_a_separate_file(files: Files) -> None:
    path = f"{TRIAL}/records/default.jsonl"
    intact(files)
    for _ in range(2):
        write(files, path, b'x\n{"x": 1}\n[]\n{"x"')
        assert [repair(files, fault) for fault in checked(files)] == [True]
    assert [files.read(path), files.read(f"{path}.damaged"), files.read(f"{path}.2.damaged")] == [
        b'{"x": 1}\n{"x"',
        b"x\n[]\n",
        b"x\n[]\n",
    ]


def test_files_that_may_still_be_written_are_reported_but_not_repaired(tmp_path: Path) -> None:
    files = intact(DirectoryFiles(tmp_path))
    write(files, f"{TRIAL}/records/default.jsonl", b"x\n")
    now = (tmp_path / TRIAL / "records/default.jsonl").stat().st_mtime
    (fault,) = checked(files, now + 50)
    later = "(it may still be written; it can be repaired 60 s after its last change)"
    assert fault.message.startswith("line 1 is not a row: ") and fault.message.endswith(later)
    assert fault.mend == ""
    assert not repair(files, fault)


def test_an_ended_execution_is_repaired_immediately(tmp_path: Path) -> None:
    files = intact(DirectoryFiles(tmp_path))
    ended = {"event": "ended", "time": time(), "status": "failed", "seconds": 1.0}
    write(files, f"{FOLDER}/ledger.jsonl", lines([started(0), finished(0, x=1), started(1), ended]))
    write(files, f"{TRIAL}/trial.json", b"{")
    now = (tmp_path / TRIAL / "trial.json").stat().st_mtime
    with open_locks(files).take(f"{FOLDER}/execution.lease", holder={}) or pytest.fail("not taken"):  # it goes on
        assert [repair(files, fault) for fault in checked(files, now)] == [False]
    assert [repair(files, fault) for fault in checked(files, now)] == [True]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (b'{"x": 0}\n{"x": 1', "its last row is not the one in the ledger"),
        (b"", "it has no rows, but the ledger has one"),
    ],
)
def test_lost_rows_of_a_finished_trial_are_found(files: Files, rows: bytes, message: str) -> None:
    intact(files)
    path = f"{TRIAL}/records/default.jsonl"
    write(files, path, rows)
    assert checked(files) == [Fault("changed", path, message)]


def test_changed_or_missing_code_is_found(files: Files) -> None:
    intact(files)
    path = f"{FOLDER}/code.zip"
    write(files, f"{FOLDER}/execution.json", facts(code={"backup": digest(b"zip")}, trials=2))
    assert checked(files) == [Fault("missing", path, "execution.json records its digest, but the file is missing")]
    write(files, path, b"other")
    assert checked(files) == [Fault("changed", path, "its digest is not the recorded one")]
    write(files, path, b"zip")
    assert checked(files) == []


@pytest.mark.parametrize("ledger", [[], [started(1)]])
@pytest.mark.parametrize("state", ["finished", "failed", "interrupted"])
def test_an_end_that_the_ledger_lacks_is_added(files: Files, state: str, ledger: list[Any]) -> None:
    intact(files)
    write(files, f"{FOLDER}/ledger.jsonl", lines([started(0), finished(0, x=1), *ledger]))
    error = {"type": "ValueError", "message": "no", "traceback": "T"} if state == "failed" else None
    write(files, f"{FOLDER}/trials/{uid(1)}/status.json", status(state, error=error))
    write(files, f"{FOLDER}/trials/{uid(1)}/records/default.jsonl", b'{"x": 3}\n')
    before = Execution(files, FOLDER, clock=lambda: LATER)[uid(1)].status

    (fault,) = checked(files)
    assert (fault.kind, fault.mend) == ("unnoted", "note it")
    assert repair(files, fault)

    trial = Execution(files, FOLDER, clock=lambda: LATER)[uid(1)]
    assert (before, trial.status) == (state, state)
    row = json.loads(files.read(f"{FOLDER}/ledger.jsonl").splitlines()[-1])
    expected: dict[str, Any] = {"event": state, "uid": uid(1), "attempt": 1, "time": time(10)}
    if state != "interrupted":
        expected |= {"seconds": 40.0, "record": {"x": 3}}
    if state == "failed":
        expected |= {"will_retry": False, "error": {"type": "ValueError", "message": "no"}}
    assert row == expected
    assert checked(files) == []


def test_a_ledger_that_may_still_be_written_has_no_missing_lines(tmp_path: Path) -> None:
    files = intact(DirectoryFiles(tmp_path))
    write(files, f"{FOLDER}/trials/{uid(1)}/status.json", status("finished"))
    now = (tmp_path / FOLDER / f"trials/{uid(1)}/status.json").stat().st_mtime
    assert checked(files, now + 50) == []
    assert [fault.kind for fault in checked(files, now + 70)] == ["unnoted"]


def test_missing_lines_of_a_ledger_are_found_immediately_and_with_few_reads(tmp_path: Path) -> None:
    class Watched(DirectoryFiles):
        def read(self, path: str) -> bytes:
            asked.append(path)
            return super().read(path)

    asked: list[str] = []
    files = intact(Watched(tmp_path))
    assert unnoted(files, FOLDER) == []
    write(files, f"{FOLDER}/trials/{uid(1)}/status.json", status("interrupted"))
    write(files, f"{TRIAL}/artifacts/a/x.json", b"another")
    (expected,) = [fault for fault in checked(files) if fault.kind == "unnoted"]

    with open_locks(files).take(f"{FOLDER}/execution.lease", holder={}) or pytest.fail("not taken"):
        assert unnoted(files, FOLDER) == []  # the process at work notes it
    asked.clear()
    assert unnoted(files, FOLDER) == [expected]
    assert asked == [f"{FOLDER}/ledger.jsonl", f"{FOLDER}/trials/{uid(1)}/status.json"]
    assert repair(files, expected)
    assert unnoted(files, FOLDER) == unnoted(files, "by-content") == []


def test_a_retry_without_files_is_not_a_fault(files: Files) -> None:
    intact(files)
    write(files, f"{FOLDER}/ledger.jsonl", lines([started(0), finished(0, x=1), started(1, attempt=2)]))
    write(files, f"{FOLDER}/trials/{uid(1)}/status.json", status("failed"))
    assert checked(files) == []


def test_results_that_are_gone_are_missing(files: Files) -> None:
    intact(files)
    files.remove(TRIAL)
    assert [(fault.kind, fault.path) for fault in checked(files)] == [
        ("missing", TRIAL),
        ("missing", f"{FOLDER}-2/trials/{uid(0)}"),
        ("dangling", f"by-content/ab/{IDENTITY}.json"),
    ]


def test_a_finished_trial_without_status_is_found(files: Files) -> None:
    intact(files).remove(f"{TRIAL}/status.json")
    faults = checked(files)
    assert ("missing", f"{TRIAL}/status.json", "") in [(fault.kind, fault.path, fault.mend) for fault in faults]
    assert {fault.message for fault in faults if fault.path.startswith(TRIAL)} == {
        "the trial has finished, but the record of what it wrote is gone"
    }


def test_a_finished_trial_with_an_older_status_is_found(files: Files) -> None:
    intact(files)
    write(files, f"{TRIAL}/status.json", status())
    assert [(fault.kind, fault.message) for fault in checked(files)] == [
        ("changed", "the ledger says that the trial has finished, but this file says running"),
        ("dangling", f"what it points to has not finished: {FOLDER}/{uid(0)}"),
    ]


def test_a_folder_without_execution_json_is_not_a_fault(files: Files) -> None:
    intact(files)
    write(files, "OY1p1o-3/plan.jsonl", b"x\n")
    write(files, "other/execution.json", b"x\n")
    write(files, "x.txt", b"x\n")
    assert checked(files) == []


def test_leases_of_ended_processes_are_leftovers(tmp_path: Path) -> None:
    files = intact(DirectoryFiles(tmp_path))
    locks = open_locks(files)
    held = locks.take(f"by-content/cd/{'cd' * 16}.lease")
    assert held is not None
    lease = json.loads((tmp_path / held.path).read_text())
    (tmp_path / "by-content/ef").mkdir()
    (tmp_path / f"by-content/ef/{'ef' * 16}.lease").write_text(json.dumps({**lease, "pid": 2**22 + 1, "token": "x"}))
    (fault,) = checked(files)
    assert fault == Fault("leftover", f"by-content/ef/{'ef' * 16}.lease", "its holder is gone", "remove it")
    assert repair(files, fault)
    assert not (tmp_path / fault.path).exists()
    assert held.is_held
    locks.close()
    assert checked(files) == []


def test_a_killed_execution_leaves_its_lease(tmp_path: Path) -> None:
    files = intact(DirectoryFiles(tmp_path))
    locks = open_locks(files)
    held = locks.take(f"{FOLDER}/execution.lease")
    assert held is not None
    facts = json.loads((tmp_path / held.path).read_text())
    write(files, f"{TRIAL}/records/default.jsonl", b"x\n")
    assert [(fault.kind, fault.mend) for fault in checked(files)] == [("damaged", "")]  # a process is at work
    locks.close()
    write(files, f"{FOLDER}/execution.lease", facts | {"pid": 2**22 + 1, "token": "x"})
    faults = checked(files)
    assert [(fault.kind, fault.path, fault.mend) for fault in faults] == [
        ("leftover", f"{FOLDER}/execution.lease", "remove it"),
        ("damaged", f"{TRIAL}/records/default.jsonl", "move them aside"),
    ]
    assert [repair(files, fault) for fault in faults] == [True, True]
    assert checked(files) == []


def test_a_file_in_place_of_the_folder_of_a_trial_is_a_fault(files: Files) -> None:
    intact(files)
    write(files, f"{FOLDER}/trials/{uid(5)}", b"x")
    (fault,) = checked(files)
    assert fault == Fault("damaged", f"{FOLDER}/trials/{uid(5)}", "it is a file, not the folder of a trial")


def test_artifacts_are_missing_if_a_file_has_replaced_their_folder(files: Files) -> None:
    intact(files)
    files.remove(f"{TRIAL}/artifacts/a")
    write(files, f"{TRIAL}/artifacts/a", b"x")
    (fault,) = checked(files)
    assert (fault.kind, fault.path) == ("missing", f"{TRIAL}/artifacts/a/x.json")


def test_a_pipe_in_place_of_execution_json_is_a_fault(tmp_path: Path) -> None:
    files = intact(DirectoryFiles(tmp_path))
    (tmp_path / FOLDER / "execution.json").unlink()
    os.mkfifo(tmp_path / FOLDER / "execution.json")

    assert (f"{FOLDER}/execution.json", "it is not a regular file") in [
        (one.path, one.message) for one in checked(files)
    ]
