"""Files in a directory, and what they share with files in memory."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from machinable.errors import BadName, LeaseLost, StorageUnavailable
from machinable.storage.files import PIECE, Entry, Files, Guard
from machinable.storage.local import DirectoryFiles
from machinable.storage.memory import MemoryFiles
from tests.kits.storage import FilesConformance


class TestDirectoryFiles(FilesConformance):
    @pytest.fixture(params=["plain", "with space!?%20#ü"])
    def files(self, tmp_path: Path, request: pytest.FixtureRequest) -> Files:
        (tmp_path / request.param).mkdir()
        return DirectoryFiles(tmp_path / request.param)


def test_directories_and_memory_say_where_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    directory, memory = DirectoryFiles("a b"), MemoryFiles()
    assert (directory.url, directory.reach, directory.appends) == (str(tmp_path / "a b"), "host", True)
    assert (memory.url, memory.reach, memory.appends) == ("mem://", "process", True)
    assert directory.local_path("") == str(tmp_path / "a b")
    assert directory.local_path("x/y") == str(tmp_path / "a b/x/y")
    assert memory.local_path("x") is None
    assert DirectoryFiles("/").local_path("x") == "/x"


_KILLED_BEFORE_THE_REPLACE = """
import os, signal, sys
from machinable.storage.local import DirectoryFiles
os.replace = lambda *paths: os.kill(os.getpid(), signal.SIGKILL)
DirectoryFiles(sys.argv[1]).write("a/x", b"new" * 100000)
"""


def test_a_writer_that_is_killed_leaves_the_old_content(tmp_path: Path) -> None:
    files = DirectoryFiles(tmp_path)
    files.write("a/x", b"old")
    done = subprocess.run([sys.executable, "-c", _KILLED_BEFORE_THE_REPLACE, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(os.listdir(tmp_path / "a")) == 2
    assert files.read("a/x") == b"old"
    assert files.entries("a") == [Entry("x", False)]
    files.write("a/x", b"newer")
    assert files.read("a/x") == b"newer"


@pytest.mark.parametrize("failing", ["replace", "write", "close"])
def test_a_write_that_fails_leaves_the_old_content_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    files = DirectoryFiles(tmp_path)
    files.write("x", b"old")
    real = getattr(os, failing)

    def fail(*arguments: object) -> None:
        if failing == "close":
            real(*arguments)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, failing, fail)
        with pytest.raises(OSError, match="No space"):
            files.write("x", b"new")
    assert os.listdir(tmp_path) == ["x"]
    assert files.read("x") == b"old"


def test_a_write_in_several_pieces_is_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda file, data: real(file, data[:7]))
    files = DirectoryFiles(tmp_path)
    files.write("x", bytes(range(100)))
    appender = files.appender("y")
    appender.write(bytes(range(100)))
    appender.close()
    assert files.read("x") == files.read("y") == bytes(range(100))


@pytest.mark.parametrize("kind", ["directory", "memory"])
def test_an_unfinished_line_is_ended_before_the_next(tmp_path: Path, kind: str) -> None:
    files: Files = DirectoryFiles(tmp_path) if kind == "directory" else MemoryFiles()
    files.write("x.jsonl", b'{"a": 1}\n{"a"')
    appender = files.appender("x.jsonl")
    appender.write(b'{"a": 2}\n')
    appender.write(b'{"a": 3}\n')
    appender.close()
    assert files.read("x.jsonl") == b'{"a": 1}\n{"a"\n{"a": 2}\n{"a": 3}\n'


def test_the_next_line_after_a_full_disk_is_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    appender = DirectoryFiles(tmp_path).appender("x")
    appender.write(b"first\n")
    real = os.write
    taken = iter([3])

    def full(file: int, data: bytes) -> int:
        for count in taken:
            return real(file, data[:count])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space"):
            appender.write(b"second\n")
    appender.write(b"third\n")
    appender.close()
    assert (tmp_path / "x").read_bytes() == b"first\nsec\nthird\n"


_APPENDS = """
import sys
from machinable.storage.local import DirectoryFiles
appender = DirectoryFiles(sys.argv[1]).appender("x")
for number in range(1000):
    appender.write((f"{sys.argv[2]} {number} " + "." * 200 + "\\n").encode())
"""


def test_lines_of_several_processes_stay_whole(tmp_path: Path) -> None:
    writers = [subprocess.Popen([sys.executable, "-c", _APPENDS, str(tmp_path), str(w)]) for w in range(3)]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    lines = (tmp_path / "x").read_text().splitlines()
    assert sorted(lines) == sorted(f"{w} {n} " + "." * 200 for w in range(3) for n in range(1000))


def test_removing_a_link_keeps_its_target(tmp_path: Path) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.mkdir()
    (outside / "x").write_text("1")
    inside.mkdir()
    (inside / "link").symlink_to(outside)
    files = DirectoryFiles(inside)
    files.remove("link")
    assert files.entries("") == []
    assert (outside / "x").read_text() == "1"


@pytest.fixture
def linked(tmp_path: Path) -> tuple[DirectoryFiles, Path]:
    """A storage with links to files and folders that are not in it."""
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    (outside / "trials").mkdir(parents=True)
    (outside / "x").write_text("theirs")
    inside.mkdir()
    (inside / "folder").symlink_to(outside)
    (inside / "up").symlink_to("../outside/trials/..")
    (inside / "file").symlink_to(outside / "x")
    (inside / "chain").symlink_to("folder")
    return DirectoryFiles(inside), outside


@pytest.mark.parametrize("name", ["folder", "up", "chain"])
def test_links_out_of_a_storage_are_not_entered(linked: tuple[DirectoryFiles, Path], name: str) -> None:
    files, outside = linked
    before = sorted(outside.rglob("*"))
    for use in (
        lambda: files.read(f"{name}/x"),
        lambda: files.size(f"{name}/x"),
        lambda: files.exists(f"{name}/x"),
        lambda: files.write(f"{name}/y", b""),
        lambda: files.create(f"{name}/y", b"", "me"),
        lambda: files.appender(f"{name}/x").write(b"more\n"),
        lambda: files.create_directory(f"{name}/trials/new"),
        lambda: files.remove(f"{name}/x"),
        lambda: files.remove(f"{name}/trials"),
        lambda: files.move(f"{name}/x", "mine"),
        lambda: files.move("file", f"{name}/mine"),
        lambda: files.entries(name),
        lambda: files.entries(f"{name}/trials"),
        lambda: list(files.walk(name)),
        lambda: files.local_path(name),
        lambda: files.local_path(f"{name}/x"),
    ):
        with pytest.raises(BadName, match="is a link out of the storage"):
            use()
    assert Entry(name, False) in files.entries("")
    assert not files.is_directory(name)
    assert sorted(outside.rglob("*")) == before
    assert (outside / "x").read_text() == "theirs"


def test_a_link_to_a_file_outside_is_neither_read_nor_written(linked: tuple[DirectoryFiles, Path]) -> None:
    files, outside = linked
    assert list(files.walk("")) == []
    for use in (lambda: files.read("file"), lambda: files.size("file"), lambda: files.local_path("file")):
        with pytest.raises(BadName, match="'file' is a link out of the storage"):
            use()
    with pytest.raises(OSError, match="symbolic links"):
        files.appender("file").write(b"more\n")
    files.write("file", b"mine")  # a write replaces the name, and never what it leads to
    assert files.read("file") == b"mine"
    assert (outside / "x").read_text() == "theirs"


def test_links_within_a_storage_are_read(tmp_path: Path) -> None:
    files = DirectoryFiles(tmp_path)
    files.write("a/epoch-3", b"3")
    (tmp_path / "a/last").symlink_to("epoch-3")
    (tmp_path / "b").symlink_to("a")
    assert files.read("a/last") == files.read("b/last") == b"3"
    assert files.is_directory("b")
    files.remove("b")
    assert files.read("a/epoch-3") == b"3"


def test_a_storage_that_is_itself_behind_a_link_is_used(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    files = DirectoryFiles(tmp_path / "link")
    files.write("a/x", b"1")
    (tmp_path / "real/a/y").symlink_to("x")
    assert files.read("a/y") == b"1"


@pytest.mark.parametrize(
    "act",
    [
        lambda files, path: files.read(path),
        lambda files, path: list(files.pieces(path)),
        lambda files, path: files.read_from(path, 1),
    ],
    ids=["read", "pieces", "read_from"],
)
def test_only_regular_files_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, act: Callable[[Files, str], Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    files = DirectoryFiles(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with closing(socket.socket(socket.AF_UNIX)) as connection:
        connection.bind("socket")  # whose path may have 107 bytes
        for name in ("pipe", "socket"):
            with pytest.raises(StorageUnavailable, match=rf"cannot read {tmp_path}/{name}: "):
                act(files, name)


def test_a_file_that_cannot_be_read_is_an_error_with_its_path(tmp_path: Path) -> None:
    files = DirectoryFiles(tmp_path)
    os.symlink("loop", tmp_path / "loop")
    with pytest.raises(StorageUnavailable) as caught:
        files.read("loop")
    assert str(caught.value) == (
        f"cannot read {tmp_path}/loop: Too many levels of symbolic links\n"
        "  Check its permissions, and the disk or server that it is on."
    )


def test_a_file_is_read_from_a_position_on_and_in_pieces(files: Files) -> None:
    data = os.urandom(PIECE + 10)
    files.write("x", data)
    assert b"".join(files.pieces("x")) == data
    assert [files.read_from("x", position) for position in (0, PIECE, PIECE + 10, PIECE + 99)] == [
        data,
        data[PIECE:],
        b"",
        b"",
    ]


@pytest.mark.parametrize("is_replaced", [False, True])
def test_a_directory_that_was_removed_or_replaced_is_not_written(tmp_path: Path, is_replaced: bool) -> None:
    root = tmp_path / "storage"
    files = DirectoryFiles(root)
    files.write("a/x", b"1")
    root.rename(tmp_path / "moved")
    if is_replaced:
        root.mkdir()
    what = "another directory is at" if is_replaced else "the directory .* is gone"
    for act in (
        lambda: files.write("a/x", b"2"),
        lambda: files.write_if("a/y", b"2", None),
        lambda: files.appender("a/z").write(b"2"),
        lambda: files.create_directory("b"),
    ):
        with pytest.raises(StorageUnavailable, match=what):
            act()
    assert not root.exists() or list(root.iterdir()) == []

    if is_replaced:
        root.rmdir()
    (tmp_path / "moved").rename(root)
    files.write("a/x", b"2")
    assert files.read("a/x") == b"2"


def test_a_file_is_written_only_if_it_has_not_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = DirectoryFiles(tmp_path)
    for has_links in (True, False):
        if not has_links:
            monkeypatch.setattr(os, "link", lambda *names: (_ for _ in ()).throw(OSError(errno.EPERM, "no links")))
        assert files.mark("a/x") is None
        first = files.write_if("a/x", b"1", None)
        assert first == files.mark("a/x")
        assert files.write_if("a/x", b"2", None) is None
        second = files.write_if("a/x", b"2", first)
        assert second not in (None, first)
        assert files.write_if("a/x", b"3", first) is None
        assert files.read("a/x") == b"2"
        assert [path.name for path in (tmp_path / "a").iterdir()] == ["x"]
        files.remove("a/x")
        assert files.write_if("a/x", b"3", second) is None


def test_a_guard_decides_about_writes_below_its_folder(tmp_path: Path) -> None:
    files, outer, inner = DirectoryFiles(tmp_path), Guard(), Guard()
    files.guard("a", outer)
    files.guard("a/b", inner)
    inside, outside = files.appender("a/b/rows"), files.appender("rows")
    for path in ("a/x", "a/b/x", "ab/x"):
        files.write(path, b"1")
    for appender in (inside, outside):
        appender.write(b"1\n")
    inner.lost = LeaseLost("inner")
    files.write("a/x", b"2")
    for act in (lambda: files.write("a/b/x", b"2"), lambda: inside.write(b"2\n"), lambda: files.remove("a/b/x")):
        with pytest.raises(LeaseLost, match="inner"):
            act()
    inner.lost, outer.lost = None, LeaseLost("outer")
    with pytest.raises(LeaseLost, match="outer"):
        files.move("a/b/x", "a/b/y")
    outside.write(b"2\n")
    files.write("ab/x", b"2")
    assert [files.read(path) for path in ("a/x", "a/b/x", "a/b/rows", "rows")] == [b"2", b"1", b"1\n", b"1\n2\n"]
    files.unguard("a", outer)
    files.write("a/b/x", b"3")
    for appender in (inside, outside):
        appender.close()
