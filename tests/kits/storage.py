"""Conformance tests of storages: derive from `FilesConformance` and define a fixture `files`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from threading import Barrier

import pytest

from machinable.errors import BadName
from machinable.storage.files import Entry, Files
from machinable.storage.numbered_parts import read_parts

AWKWARD = ["with space", "a!b", "what?", "100%", "%41", "#1", "ünï-日本", "~", "-rf", "a:b", "'\"", "x" * 250]


class FilesConformance:
    is_exclusive = True

    @pytest.fixture(autouse=True)
    def fast_switches(self) -> Iterator[None]:
        """Switch threads as often as possible, so that races happen."""
        before = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        yield
        sys.setswitchinterval(before)

    def test_written_data_is_read(self, files: Files) -> None:
        data = bytes(range(256)) * 1000
        files.write("a/b/c.bin", data)
        assert files.read("a/b/c.bin") == data
        assert files.size("a/b/c.bin") == len(data)

    def test_the_rest_of_a_file_is_copied(self, files: Files) -> None:
        data = bytes(range(256)) * 5000
        file = BytesIO(data)
        file.seek(100)
        files.write("a/x", b"old")
        files.write_from("a/x", file)
        files.write_from("b/empty", BytesIO())
        assert (files.read("a/x"), files.size("a/x"), files.read("b/empty")) == (data[100:], len(data) - 100, b"")
        for path, kind in (("a", IsADirectoryError), ("", IsADirectoryError)):
            with pytest.raises(kind):
                files.write_from(path, BytesIO(b"x"))

    def test_all_files_in_a_directory_are_found(self, files: Files) -> None:
        for number, name in enumerate(("x", "a/y", "a/b/c/z", "ä b/%41")):
            files.write(name, b"1" * number)
        assert sorted((found.path, found.size) for found in files.walk("")) == [
            ("a/b/c/z", 2),
            ("a/y", 1),
            ("x", 0),
            ("ä b/%41", 3),
        ]
        assert sorted(found.path for found in files.walk("a")) == ["a/b/c/z", "a/y"]
        assert list(files.walk("none")) == list(files.walk("a/b/none")) == []
        with pytest.raises(BadName):
            list(files.walk("../x"))

    def test_nothing_temporary_is_left_by_a_write(self, files: Files) -> None:
        files.write("a/x", b"1")
        files.write_from("a/y", BytesIO(b"1"))
        files.remove("a/x")
        assert files.temporaries("") == files.temporaries("a") == files.temporaries("", below=True) == []
        assert files.temporaries("none", below=True) == []

    def test_appending_continues_after_existing_parts(self, files: Files) -> None:
        """Read numbered parts, which come from a storage that cannot append."""
        for number in (1, 3, 2):
            files.write(f"r.{number:06d}.jsonl", b"%d\n" % number)
        appender = files.appender("r.jsonl")
        appender.write(b"4\n")
        appender.close()
        assert b"".join(read_parts(files, "r.jsonl")) == b"1\n2\n3\n4\n"

    def test_an_empty_file_is_a_file(self, files: Files) -> None:
        files.write("empty", b"")
        assert (files.read("empty"), files.size("empty"), files.exists("empty")) == (b"", 0, True)

    @pytest.mark.parametrize("name", AWKWARD)
    def test_names_are_taken_literally(self, files: Files, name: str) -> None:
        files.write(f"{name}/{name}", b"1")
        assert files.entries("") == [Entry(name, True)]
        assert files.entries(name) == [Entry(name, False)]
        assert files.read(f"{name}/{name}") == b"1"

    def test_writing_replaces_and_leaves_no_other_file(self, files: Files) -> None:
        files.write("a/x", b"long and old")
        files.write("a/x", b"new")
        assert files.read("a/x") == b"new"
        assert files.entries("a") == [Entry("x", False)]

    def test_a_missing_file_is_not_found(self, files: Files) -> None:
        files.write("there", b"")
        for missing in ("x", "a/b/x"):
            for act in (files.read, files.size, files.remove, lambda path: files.move(path, "y")):
                with pytest.raises(FileNotFoundError):
                    act(missing)
            assert not files.exists(missing)
            assert not files.is_directory(missing)
            assert files.entries(missing) == []
        assert files.entries("") == [Entry("there", False)]

    def test_a_directory_is_not_a_file(self, files: Files) -> None:
        files.write("a/x", b"1")
        for directory in ("a", ""):
            for act in (files.read, files.size, lambda path: files.write(path, b"")):
                with pytest.raises(IsADirectoryError):
                    act(directory)
        assert files.read("a/x") == b"1"
        assert files.entries("") == [Entry("a", True)]

    def test_a_file_is_not_a_directory(self, files: Files) -> None:
        files.write("x", b"1")
        with pytest.raises((NotADirectoryError, FileNotFoundError)):
            files.read("x/y")
        with pytest.raises((NotADirectoryError, FileNotFoundError, FileExistsError)):
            files.write("x/y", b"")
        assert files.entries("x") == []
        assert not files.is_directory("x")
        assert not files.exists("x/y")
        assert files.read("x") == b"1"

    @pytest.mark.parametrize("path", ["..", "../x", "a/../../x", "/x", "/", "a//x", "a/", "./x", "a/.", "a\0b"])
    def test_a_path_that_leads_outside_is_refused(self, files: Files, path: str) -> None:
        for act in (
            files.read,
            files.size,
            files.exists,
            files.is_directory,
            files.entries,
            files.remove,
            files.local_path,
            files.appender,
            files.create_directory,
            lambda p: files.write(p, b""),
            lambda p: files.move(p, "y"),
            lambda p: files.move("y", p),
        ):
            with pytest.raises(BadName):
                act(path)
        assert files.entries("") == []

    def test_the_root_cannot_be_removed(self, files: Files) -> None:
        assert files.exists("")
        assert files.is_directory("")
        assert not files.create_directory("")
        for act in (files.remove, lambda path: files.move(path, "y"), lambda path: files.move("y", path)):
            with pytest.raises(BadName):
                act("")

    def test_a_directory_is_created_once(self, files: Files) -> None:
        assert files.create_directory("a/b/c")
        assert not files.create_directory("a/b/c")
        assert not files.create_directory("a")
        assert files.entries("a/b") == [Entry("c", True)]
        files.write("x", b"")
        assert not files.create_directory("x")

    def test_one_of_eight_threads_creates_a_directory(self, files: Files) -> None:
        if not self.is_exclusive:
            pytest.skip("cannot be exclusive")
        barrier = Barrier(8)

        def race(name: str) -> bool:
            barrier.wait()
            return files.create_directory(name)

        with ThreadPoolExecutor(8) as pool:
            for round in range(25):
                assert sorted(pool.map(race, [f"deep/{round}/OY1p1o"] * 8)) == [False] * 7 + [True]

    def test_threads_write_concurrently(self, files: Files) -> None:
        def write(number: int) -> None:
            files.write(f"trials/{number % 5}/{number}", str(number).encode())

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(write, range(100)))
        found = {}
        for folder in files.entries("trials"):
            for entry in files.entries(f"trials/{folder.name}"):
                found[entry.name] = files.read(f"trials/{folder.name}/{entry.name}")
        assert found == {str(n): str(n).encode() for n in range(100)}

    def test_entries_are_sorted_by_name(self, files: Files) -> None:
        for name in ("b", "B", "a.c", "a/x", "ä", "_"):
            files.write(name, b"")
        assert files.entries("") == [
            Entry("B", False),
            Entry("_", False),
            Entry("a", True),
            Entry("a.c", False),
            Entry("b", False),
            Entry("ä", False),
        ]

    def test_a_file_is_moved(self, files: Files) -> None:
        files.write("a/x", b"1")
        files.move("a/x", "b/c/y")
        assert files.read("b/c/y") == b"1"
        assert not files.exists("a/x")

    def test_a_file_is_copied(self, files: Files) -> None:
        data = bytes(range(256)) * 5000
        files.write("a/x", data)
        files.write("b/y", b"old")
        files.copy("a/x", "b/y")
        files.copy("a/x", "c/d/z")
        assert [files.read(path) == data for path in ("a/x", "b/y", "c/d/z")] == [True] * 3
        with pytest.raises(FileNotFoundError):
            files.copy("none", "b/y")
        for path in ("a", ""):
            with pytest.raises(IsADirectoryError):
                files.copy("a/x", path)
            with pytest.raises(IsADirectoryError):
                files.copy(path, "new")
        assert not files.exists("new")

    def test_a_directory_is_moved_with_its_content(self, files: Files) -> None:
        files.write("a/x", b"1")
        files.write("a/b/y", b"2")
        files.create_directory("a/empty")
        files.move("a", "z/1")
        assert [files.read("z/1/x"), files.read("z/1/b/y")] == [b"1", b"2"]
        assert files.entries("z/1") == [Entry("b", True), Entry("empty", True), Entry("x", False)]
        assert files.entries("") == [Entry("z", True)]

    def test_moving_never_overwrites(self, files: Files) -> None:
        files.write("a/x", b"1")
        files.write("y", b"2")
        files.create_directory("empty")
        for source in ("a", "a/x"):
            for target in ("y", "empty", source):
                with pytest.raises(FileExistsError):
                    files.move(source, target)
        with pytest.raises(OSError, match="Invalid"):
            files.move("a", "a/b")
        assert [files.read("a/x"), files.read("y")] == [b"1", b"2"]
        assert files.entries("a") == [Entry("x", False)]

    def test_files_and_whole_directories_are_removed(self, files: Files) -> None:
        files.write("a/b/x", b"1")
        files.write("a/y", b"2")
        files.remove("a/y")
        assert files.entries("a") == [Entry("b", True)]
        files.remove("a")
        assert files.entries("") == []

    def test_an_appended_file_appears_with_the_first_write(self, files: Files) -> None:
        appender = files.appender("logs/x.txt")
        assert files.entries("") == []
        appender.close()
        appender.close()
        assert files.entries("") == []
        with pytest.raises(ValueError, match="closed"):
            appender.write(b"late\n")
        assert files.entries("") == []

    def test_appended_lines_are_read_in_order(self, files: Files) -> None:
        for run in range(3):
            appender = files.appender("logs/x.txt")
            for line in range(20):
                appender.write(b"%d %d\n" % (run, line))
            if files.appends:
                assert files.read("logs/x.txt").endswith(b"%d 19\n" % run)
            appender.close()
        lines = [b"%d %d\n" % (run, line) for run in range(3) for line in range(20)]
        assert b"".join(read_parts(files, "logs/x.txt")) == b"".join(lines)
        assert read_parts(files, "logs/y.txt") == []

    def test_threads_append_whole_lines(self, files: Files) -> None:
        appender = files.appender("x.jsonl")
        lines = [str(number).encode() * 50 + b"\n" for number in range(400)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(appender.write, lines))
        appender.close()
        assert sorted(b"".join(read_parts(files, "x.jsonl")).splitlines(keepends=True)) == sorted(lines)

    def test_a_local_path_has_the_content(self, files: Files) -> None:
        files.write("a/x y", b"1")
        path = files.local_path("a/x y")
        if path is not None:
            with open(path, "rb") as file:
                assert file.read() == b"1"

    def test_closing_twice_is_fine(self, files: Files) -> None:
        files.close()
        files.close()
