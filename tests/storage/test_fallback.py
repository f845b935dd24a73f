"""During an outage of a storage, writes go to a fallback, and are copied into the storage later."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import types
from collections.abc import Callable
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from machinable.errors import StorageUnavailable
from machinable.storage.documents import read_rows
from machinable.storage.fallback import FallbackFiles, copy_fallback, fallback_name, is_outage
from machinable.storage.files import Appender, Files
from machinable.storage.local import DirectoryFiles
from machinable.storage.memory import MemoryFiles
from machinable.storage.numbered_parts import PartAppender
from machinable.storage.streams import RowWriter, TextWriter, read_text
from tests.kits.storage import FilesConformance


class Breaking(DirectoryFiles):
    """A directory whose writes raise the failure, if there is one."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        directory.mkdir(exist_ok=True)
        self.failure: OSError | None = None
        self.tries = 0

    def _check(self) -> None:
        self.tries += 1
        if self.failure is not None:
            raise self.failure

    def _write(self, path: str, pieces: Any, put: Any) -> Any:
        self._check()
        return super()._write(path, pieces, put)

    def create_directory(self, path: str) -> bool:
        self._check()
        return super().create_directory(path)

    def appender(self, path: str) -> Appender:
        inner, check = super().appender(path), self._check

        class Checked:
            def write(self, data: bytes) -> None:
                check()
                inner.write(data)

            def close(self) -> None:
                inner.close()

        return Checked()


class BreakingParts(MemoryFiles):
    """Files that cannot grow, like those of an object store."""

    appends = False

    def __init__(self) -> None:
        super().__init__()
        self.failure: OSError | None = None

    def write(self, path: str, data: bytes) -> None:
        if self.failure is not None:
            raise self.failure
        super().write(path, data)

    def appender(self, path: str) -> Appender:
        return PartAppender(self, path)

    def create(self, path: str, data: bytes, owner: str) -> bool:
        if self.failure is None and self.exists(path):
            return False
        self.write(path, data)
        return True


FULL = OSError(errno.ENOSPC, "No space left on device")
GONE = StorageUnavailable("the storage 's3://b' cannot be used: no answer")


@pytest.fixture(autouse=True)
def shelter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "shelter"
    directory.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(directory))
    monkeypatch.setattr("machinable.storage.fallback.PLACES", ())
    return directory


class TestFallbackFilesAreFiles(FilesConformance):
    @pytest.fixture
    def files(self, tmp_path: Path) -> Files:
        return FallbackFiles(Breaking(tmp_path / "stored"), fallback_name("OY1p1o"))


class TestFallbackFilesWithPartsAreFiles(FilesConformance):
    is_exclusive = True

    @pytest.fixture
    def files(self) -> Files:
        return FallbackFiles(BreakingParts(), fallback_name("OY1p1o"))


def at_work(files: Files, breaks: Callable[[], None]) -> None:
    """Write what an execution writes; the storage breaks halfway."""
    trial = "OY1p1o/trials/x"
    rows, log, ledger = (
        RowWriter(files, f"{trial}/records/default.jsonl"),
        TextWriter(files, f"{trial}/log.txt"),
        RowWriter(files, "OY1p1o/ledger.jsonl"),
    )
    ledger.append({"event": "started", "uid": "x", "time": "1"})
    files.write(f"{trial}/status.json", b'{"state": "running", "attempt": 1, "started": "2026-01-31T09:15:01+00:00"}')
    rows.append({"row": 1})
    log.write("one\n")
    breaks()
    rows.append({"row": 2})
    log.write("two\n")
    files.write(f"{trial}/artifacts/a.bin", b"a" * 10_000)
    files.write_from(f"{trial}/artifacts/b.bin", BytesIO(b"b" * 10_000))
    files.create_directory(f"{trial}/checkpoints")
    rows.append({"row": 3})
    files.write(f"{trial}/status.json", b'{"state": "finished", "attempt": 1, "started": "2026-01-31T09:15:01+00:00"}')
    ledger.append({"event": "finished", "uid": "x", "time": "2"})
    for writer in (rows, log, ledger):
        writer.close()


def contents(files: Files) -> dict[str, Any]:
    """Return what a reader sees."""
    trial = "OY1p1o/trials/x"
    return {
        "rows": read_rows(files, f"{trial}/records/default.jsonl"),
        "log": read_text(files, f"{trial}/log.txt"),
        "ledger": read_rows(files, "OY1p1o/ledger.jsonl"),
        "status": files.read(f"{trial}/status.json"),
        "a": files.read(f"{trial}/artifacts/a.bin"),
        "b": files.read(f"{trial}/artifacts/b.bin"),
    }


def expected() -> dict[str, Any]:
    files = MemoryFiles()
    at_work(files, lambda: None)
    return contents(files)


KINDS: list[Any] = [(Breaking, FULL), (Breaking, OSError(errno.EROFS, "Read-only file system")), (BreakingParts, GONE)]


@pytest.fixture(params=range(len(KINDS)), ids=["full", "read-only", "gone"])
def broken(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Any, FallbackFiles]:
    """Return a storage that broke while an execution wrote, and what has been written."""
    kind, failure = KINDS[request.param]
    storage = kind(tmp_path / "stored") if kind is Breaking else kind()
    files = FallbackFiles(storage, fallback_name("OY1p1o"))
    with pytest.warns(RuntimeWarning, match="can no longer write to the storage") as caught:
        at_work(files, lambda: setattr(storage, "failure", failure))
    assert len(caught) == 1
    assert str(caught[0].message).endswith(f"are written to {files.directory}")
    return storage, files


def test_everything_written_during_an_outage_can_be_read(broken: tuple[Any, FallbackFiles], shelter: Path) -> None:
    _, files = broken
    assert files.is_away
    assert files.directory is not None and Path(files.directory).parent == shelter
    assert os.stat(files.directory).st_mode & 0o777 == 0o700
    assert contents(files) == expected()


def test_a_fallback_is_flushed_when_the_storage_can_be_written_again(
    broken: tuple[Any, FallbackFiles], shelter: Path
) -> None:
    storage, files = broken
    assert not files.flush_fallback()
    assert files.is_away
    storage.failure = None
    assert files.flush_fallback()
    assert contents(storage) == contents(files) == expected()
    assert (files.is_away, list(shelter.iterdir())) == (False, [])
    assert files.flush_fallback()


def test_a_copy_over_the_storage_is_enough(broken: tuple[Any, FallbackFiles], tmp_path: Path) -> None:
    storage, files = broken
    target = tmp_path / "target"
    for stored in storage.walk(""):
        (target / stored.path).parent.mkdir(parents=True, exist_ok=True)
        (target / stored.path).write_bytes(storage.read(stored.path))
    assert files.directory is not None
    shutil.copytree(files.directory, target, dirs_exist_ok=True)
    copy = DirectoryFiles(target)
    copy.appends = storage.appends
    assert contents(copy) == expected()


def test_writes_after_a_flush_follow_what_was_flushed(tmp_path: Path) -> None:
    storage = Breaking(tmp_path / "stored")
    files = FallbackFiles(storage, fallback_name("OY1p1o"))
    rows = RowWriter(files, "OY1p1o/trials/x/records/default.jsonl")
    for number in range(9):
        storage.failure = FULL if number % 3 == 1 else None
        if number % 3 == 2:
            assert files.flush_fallback()
        if number % 3 == 1:
            with pytest.warns(RuntimeWarning, match="No space left on device"):
                rows.append({"row": number})
        else:
            rows.append({"row": number})
    rows.close()
    assert read_rows(storage, "OY1p1o/trials/x/records/default.jsonl") == [{"row": number} for number in range(9)]


def test_a_half_written_line_stays_whole(tmp_path: Path) -> None:
    storage = Breaking(tmp_path / "stored")
    files = FallbackFiles(storage, fallback_name("OY1p1o"))
    rows = RowWriter(files, "r.jsonl")
    rows.append({"row": 1})
    with open(tmp_path / "stored/r.jsonl", "ab") as file:
        file.write(b'{"row": ')
    storage.failure = FULL
    with pytest.warns(RuntimeWarning, match="No space"):
        rows.append({"row": 2})
    rows.close()
    assert read_rows(files, "r.jsonl") == [{"row": 1}, {"row": 2}]


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (FULL, True),
        (GONE, True),
        (ConnectionResetError("x"), True),
        (TimeoutError("x"), True),
        (FileNotFoundError(2, "x"), False),
        (IsADirectoryError(21, "x"), False),
        (FileExistsError(17, "x"), False),
        (OSError(errno.ENAMETOOLONG, "x"), False),
        (OSError("text"), False),
    ],
)
def test_an_outage_is_distinguished_from_a_wrong_name(tmp_path: Path, failure: OSError, expected: bool) -> None:
    storage = Breaking(tmp_path / "stored")
    storage.failure = failure
    files = FallbackFiles(storage, fallback_name("OY1p1o"))
    assert is_outage(failure) is expected
    if expected:
        with pytest.warns(RuntimeWarning, match="can no longer write to the storage"):
            files.write("x", b"1")
        assert files.read("x") == b"1"
    else:
        with pytest.raises(type(failure)):
            files.write("x", b"1")
        assert not files.is_away


def test_after_an_outage_writes_do_not_wait_for_the_storage(tmp_path: Path) -> None:
    storage = Breaking(tmp_path / "stored")
    storage.failure = FULL
    files = FallbackFiles(storage, fallback_name("OY1p1o"))
    with pytest.warns(RuntimeWarning, match="Further results are written to"):
        files.write("0", b"")
    for number in range(1, 5):
        files.write(f"{number}", b"")
    assert storage.tries == 1


def test_nothing_is_lost_where_warnings_are_errors(tmp_path: Path) -> None:
    storage = Breaking(tmp_path / "stored")
    storage.failure = FULL
    files = FallbackFiles(storage, fallback_name("OY1p1o"))
    files.write("x", b"1")  # warnings are errors in these tests
    assert files.read("x") == b"1"


@pytest.mark.filterwarnings("ignore:can no longer write to the storage")
def test_the_command_in_the_error_can_be_typed(tmp_path: Path) -> None:
    storage = Breaking(tmp_path / "my results & more")
    storage.failure = FULL
    files = FallbackFiles(storage, fallback_name("OY1p1o"))
    files.write("x", b"1")
    assert (files.outage().todo or "").endswith(f" --storage '{tmp_path}/my results & more'")


def test_the_error_names_the_fallback_and_how_to_flush_it(broken: tuple[Any, FallbackFiles]) -> None:
    storage, files = broken
    reason = (
        storage.failure.strerror or "no answer" if storage.appends else "the storage 's3://b' cannot be used: no answer"
    )
    assert str(files.outage()) == (
        f"can no longer write to the storage {storage.url}: {reason}\n"
        f"  later results are in {files.directory}\n"
        f"  When it is writable again: machinable rescue {files.directory} --storage {storage.url}"
    )


def test_an_outage_without_any_writable_directory_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = Breaking(tmp_path / "stored")
    storage.failure = FULL

    def full(*arguments: Any) -> None:
        raise FULL

    monkeypatch.setattr("machinable.storage.fallback.os.mkdir", full)
    with pytest.raises(StorageUnavailable, match="No other directory of this host"):
        FallbackFiles(storage, fallback_name("OY1p1o")).write("x", b"")


def test_a_fallback_is_created_where_there_is_free_space(
    tmp_path: Path, shelter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    monkeypatch.setattr("machinable.storage.fallback.PLACES", (str(tmp_path / "nowhere"), str(other)))
    free = {str(other): types.SimpleNamespace(free=2**30)}
    monkeypatch.setattr("shutil.disk_usage", lambda base: free.get(base, types.SimpleNamespace(free=0)))
    storage = BreakingParts()
    storage.failure = FULL
    files = FallbackFiles(storage, fallback_name("OY1p1o"))
    with pytest.warns(RuntimeWarning, match="Further results are written to"):
        files.write("x", b"1")
    assert files.directory is not None and Path(files.directory).parent == other


def test_processes_of_one_execution_share_a_fallback(tmp_path: Path, shelter: Path) -> None:
    name = fallback_name("OY1p1o")
    for number in range(2):
        storage = Breaking(tmp_path / "stored")
        storage.failure = FULL
        files = FallbackFiles(storage, name)
        with pytest.warns(RuntimeWarning, match="Further results are written to"):
            files.write(f"{number}", b"1")
    assert sorted(path.name for path in shelter.rglob("*")) == ["0", "1", name]


# --- copying later


def test_nothing_of_a_trial_that_has_run_again_is_copied(broken: tuple[Any, FallbackFiles]) -> None:
    storage, files = broken
    storage.failure = None
    again = b'{"state": "finished", "attempt": 2, "started": "2026-01-31T09:15:05+00:00"}'
    storage.write("OY1p1o/trials/x/status.json", again)
    ledger = RowWriter(storage, "OY1p1o/ledger.jsonl")
    ledger.append({"event": "finished", "uid": "x", "time": "6"})
    ledger.close()
    assert files.directory is not None

    copied, left = copy_fallback(DirectoryFiles(files.directory), storage)

    assert copied == ["OY1p1o/ledger.jsonl"]
    assert {path.split("/")[3] for path in left} == {"artifacts", "log.000001.txt", "records", "status.json"}
    assert storage.read("OY1p1o/trials/x/status.json") == again
    assert [row["time"] for row in read_rows(storage, "OY1p1o/ledger.jsonl")] == (
        ["1", "6"] if storage.appends else ["6"]
    )


def test_copying_a_fallback_twice_changes_nothing(broken: tuple[Any, FallbackFiles]) -> None:
    storage, files = broken
    storage.failure = None
    assert files.directory is not None
    for _ in range(2):
        assert copy_fallback(DirectoryFiles(files.directory), storage)[1] == []
        assert contents(storage) == expected()


@pytest.mark.parametrize("path", ["OY1p1o/ledger.jsonl", "OY1p1o/trials/x/records/default.jsonl"])
def test_parts_of_the_fallback_follow_those_of_the_storage(path: str) -> None:
    storage = BreakingParts()
    files = FallbackFiles(storage, fallback_name("OY1p1o"))
    for number in range(1, 4):
        with closing(RowWriter(files, path)) as rows:
            rows.append({"event": "started", "uid": str(number), "time": f"{number}"})
    rows = RowWriter(files, path)
    rows.append({"event": "started", "uid": "4", "time": "4"})
    if not path.endswith("ledger.jsonl"):  # as an attempt does, which begins with an empty folder
        rows._appender._flush()  # type: ignore[attr-defined]
        rows.append({"event": "started", "uid": "5", "time": "5"})
    storage.failure = GONE
    with pytest.warns(RuntimeWarning, match="Further results are written to"):
        rows.close()
    storage.failure = None
    assert files.flush_fallback()
    uids = [row["uid"] for row in read_rows(storage, path)]
    assert uids == ["1", "2", "3", "4"] if path.endswith("ledger.jsonl") else ["1", "2", "3", "4", "5"]
