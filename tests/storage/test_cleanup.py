"""The next process removes the leftovers of killed ones, and keeps files in use."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from machinable.errors import StorageUnavailable
from machinable.storage.cleanup import at_work, is_abandoned, is_at_work, sweep, tidy, workers_left
from machinable.storage.files import Entry, FileInfo
from machinable.storage.local import DirectoryFiles
from machinable.storage.memory import MemoryFiles
from machinable.storage.temporary import is_temporary, temporary_beside

_WRITER = """
import os, signal, sys
from machinable.storage.temporary import temporary_beside
from machinable.storage.local import DirectoryFiles
from machinable.storage.cleanup import at_work

root = sys.argv[1]
with at_work(DirectoryFiles(root), "OY1p1o"):
    for folder in ("", "OY1p1o/trials/x/artifacts/", "by-content/ab/"):
        os.makedirs(os.path.join(root, folder), exist_ok=True)
        with open(os.path.join(root, temporary_beside(folder + "a")), "w") as file:
            file.write("half")
    os.makedirs(os.path.join(root, temporary_beside("OY1p1o/b"), "c"))
    if sys.argv[2] == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    print("ready", flush=True)
    sys.stdin.read()
"""


def start(root: Path, how: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _WRITER, str(root), how]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def left(root: Path) -> list[str]:
    return [str(path.relative_to(root)) for path in root.rglob("*") if is_temporary(path.name)]


def test_the_next_process_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    with start(tmp_path, "die") as writer:
        assert writer.wait() == -signal.SIGKILL
    assert len(left(tmp_path)) == 5
    files = DirectoryFiles(tmp_path)
    assert files.entries("") == [Entry("OY1p1o", True), Entry("by-content", True)]

    with at_work(files, "8gWVkz"):
        (marker,) = left(tmp_path)
        assert marker.endswith("-8gWVkz")
        assert is_at_work(files, "8gWVkz")
        assert not is_at_work(files, "OY1p1o")

    assert left(tmp_path) == []


_WORKER = """
import os, signal, subprocess, sys
from machinable.storage.local import DirectoryFiles
from machinable.storage.cleanup import at_work, mark_worker

files = DirectoryFiles(sys.argv[1])
if sys.argv[2] == "worker":
    take_back = mark_worker(files, "OY1p1o")
    print("ready", flush=True)
    sys.stdin.readline()
    take_back()
else:
    with at_work(files, "OY1p1o"):
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_files_of_workers_that_outlive_their_process_are_removed_later(tmp_path: Path) -> None:
    files = DirectoryFiles(tmp_path)
    command = [sys.executable, "-c", _WORKER, str(tmp_path)]
    with subprocess.Popen([*command, "worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None and worker.stdout.readline() == "ready\n"
        assert subprocess.run([*command, "executing"], check=False).returncode == -signal.SIGKILL
        assert workers_left(files, "OY1p1o") == [worker.pid]
        (tmp_path / "OY1p1o" / temporary_beside("a").replace(f"-{os.getpid():x}-", f"-{worker.pid:x}-")).touch()

        before = left(tmp_path)
        tidy(files)
        assert left(tmp_path) == before
        worker.kill()

    assert workers_left(files, "OY1p1o") == []
    tidy(files)
    assert left(tmp_path) == []


def test_a_worker_removes_its_mark(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _WORKER, str(tmp_path), "worker"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None and worker.stdout.readline() == "ready\n"
        (mark,) = left(tmp_path)
        assert mark.endswith("-trials")
        worker.communicate("\n")

    assert left(tmp_path) == []


class Unwritable(DirectoryFiles):
    """A directory whose own entries cannot be changed."""

    def write(self, path: str, data: bytes) -> None:
        if "/" not in path:
            raise PermissionError(errno.EACCES, "Permission denied", path)
        super().write(path, data)


def test_a_storage_that_cannot_store_the_mark_is_an_error(tmp_path: Path) -> None:
    refused = pytest.raises(StorageUnavailable, match=r"cannot write to the storage .*: Permission denied")
    with refused, at_work(Unwritable(tmp_path), "OY1p1o"):
        raise AssertionError("it was at work")


def test_what_a_running_process_writes_is_left_alone(tmp_path: Path) -> None:
    files = DirectoryFiles(tmp_path)
    with start(tmp_path, "live") as writer:
        assert writer.stdout is not None and writer.stdout.readline() == "ready\n"
        assert is_at_work(files, "OY1p1o")
        before = left(tmp_path)
        assert len(before) == 5
        with at_work(files, "OY1p1o"):
            pass
        tidy(files)
        sweep(files, "")
        assert left(tmp_path) == before
        writer.kill()
    assert not is_at_work(files, "OY1p1o")
    with at_work(files, "OY1p1o"):
        pass
    assert left(tmp_path) == []


def test_a_folder_that_never_became_an_execution_is_removed_by_the_next_process(tmp_path: Path) -> None:
    with start(tmp_path, "die") as writer:
        assert writer.wait() == -signal.SIGKILL
    (tmp_path / "OY1p1o/plan.jsonl").write_text("{}\n")
    files = DirectoryFiles(tmp_path)
    with at_work(files, "8gWVkz"):
        assert files.entries("") == [Entry("by-content", True)]


def test_files_of_unknown_writers_are_removed_only_when_old(tmp_path: Path) -> None:
    (tmp_path / "OY1p1o").mkdir()
    old, new = ".machinable-writing-0123456789abcdef", ".machinable-writing-00000000-1-31-0123456789abcdef"
    for folder in (".", "OY1p1o"):
        for name, age in ((old, 7200), (new, 60)):
            path = tmp_path / folder / name
            path.write_text("half")
            os.utime(path, (path.stat().st_mtime - age,) * 2)
    files = DirectoryFiles(tmp_path)
    with at_work(files, "OY1p1o"):
        pass
    assert left(tmp_path) == [new, f"OY1p1o/{new}"]


def test_a_name_contains_its_writer() -> None:
    own = temporary_beside("a/b")
    assert own.startswith("a/.machinable-writing-") and len(own) < 120
    host, pid, born, _ = own.removeprefix("a/.machinable-writing-").split("-")
    assert int(pid, 16) == os.getpid()
    alive = f"a/.machinable-writing-{host}-{pid}-{born}-00"
    for name, gone in {
        own: False,
        alive: False,
        f"a/.machinable-writing-{host}-{2**22 + 1:x}-{born}-00": True,
        f"a/.machinable-writing-{host}-{pid}-{b'9'.hex()}-00": sys.platform == "linux",
        f"a/.machinable-writing-{host}-xyz-{born}-00": False,
        f"a/.machinable-writing-00000000-{pid}-{born}-00": False,
        f"a/.machinable-running-{host}-{2**22 + 1:x}-{born}-OY1p1o-2": True,
        "a/.machinable-writing-": False,
    }.items():
        assert is_abandoned(FileInfo(name, 0, time.time() - 60)) is gone, name
        assert is_abandoned(FileInfo(name, 0, time.time() - 3600)) is (name not in (own, alive)), name


MARK = f".machinable-running-deadbeef-{2**22 + 1:x}-00-"


@pytest.mark.parametrize(
    "name", ["..", ".", "", "by-content", "x", "OY1p1o-x", "-", "..-OY1p1o", "trials-", "OY1p1o-1-00"]
)
def test_the_mark_of_something_that_is_no_execution_is_an_old_file(tmp_path: Path, name: str) -> None:
    host, _pid, born, _ = temporary_beside("").removeprefix(".machinable-writing-").split("-")
    names = [MARK + name, f".machinable-running-{host}-{2**22 + 1:x}-{born}-{name}"]
    for one in names:
        (tmp_path / one).touch()
    (tmp_path.parent / ".machinable-writing-0").touch()
    files = DirectoryFiles(tmp_path)
    with at_work(files, "OY1p1o"):
        assert is_at_work(files, "OY1p1o")
    assert left(tmp_path) == [names[0]]  # of another host, so it is removed when it is old
    assert (tmp_path.parent / ".machinable-writing-0").exists()


def test_a_forked_process_has_a_different_name(tmp_path: Path) -> None:
    mine = temporary_beside("x").split("-")[3]
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        os.write(write, temporary_beside("x").split("-")[3].encode())
        os._exit(0)
    os.waitpid(pid, 0)
    theirs = os.read(read, 100).decode()
    os.close(read), os.close(write)
    assert (int(mine, 16), int(theirs, 16)) == (os.getpid(), pid)


def test_memory_has_nothing_to_remove() -> None:
    files = MemoryFiles()
    with at_work(files, "OY1p1o"):
        assert list(files.walk("")) == []
    tidy(files)


def test_a_storage_that_became_read_only_does_not_hide_how_it_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = DirectoryFiles(tmp_path)

    def closed(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    def work() -> None:
        with at_work(files, "OY1p1o"):
            monkeypatch.setattr(files, "remove", closed)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
