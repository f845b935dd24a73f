"""Files that grow as numbered parts."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from machinable.storage.files import Entry
from machinable.storage.local import DirectoryFiles
from machinable.storage.memory import MemoryFiles
from machinable.storage.numbered_parts import PartAppender, read_parts


def test_parts_from_an_object_store_are_joined_in_any_storage(tmp_path: Path) -> None:
    for files in (DirectoryFiles(tmp_path), MemoryFiles()):
        for name in ("log.txt", "log.000001.txt", "log.000002.txt", "log.000010.txt", "log.1000000.txt"):
            files.write(f"a/{name}", name.encode())
        files.write("a/other.000003.txt", b"no")
        files.write("a/log.12.txt", b"no")
        assert read_parts(files, "a/log.txt") == [
            b"log.txt",
            b"log.000001.txt",
            b"log.000002.txt",
            b"log.000010.txt",
            b"log.1000000.txt",
        ]


class TestPartAppender:
    class Store(MemoryFiles):
        """Fail on request, and announce each request for a part."""

        appends = False

        def __init__(self) -> None:
            super().__init__()
            self.fails = False
            self.asked = threading.Event()

        def write(self, path: str, data: bytes) -> None:
            try:
                if self.fails:
                    raise OSError(5, "gone")
                super().write(path, data)
            finally:
                self.asked.set()

    def test_lines_wait_for_the_end_and_become_one_part(self) -> None:
        store = self.Store()
        appender = PartAppender(store, "a/x.jsonl")
        appender.write(b"1\n")
        appender.write(b"2\n")
        assert store.entries("") == []
        appender.close()
        assert store.entries("a") == [Entry("x.000001.jsonl", False)]
        assert store.read("a/x.000001.jsonl") == b"1\n2\n"

    def test_another_appender_continues_the_numbers(self) -> None:
        store = self.Store()
        for line in (b"1\n", b"2\n"):
            appender = PartAppender(store, "x.jsonl")
            appender.write(line)
            appender.close()
        assert [entry.name for entry in store.entries("")] == ["x.000001.jsonl", "x.000002.jsonl"]
        assert read_parts(store, "x.jsonl") == [b"1\n", b"2\n"]

    def test_pending_lines_are_written_after_the_interval(self) -> None:
        store = self.Store()
        appender = PartAppender(store, "x.jsonl", interval=0.001)
        appender.write(b"1\n")
        assert store.asked.wait(10)
        store.asked.clear()
        appender.write(b"2\n")
        assert store.asked.wait(10)
        appender.close()
        assert b"".join(read_parts(store, "x.jsonl")) == b"1\n2\n"

    def test_large_data_is_written_immediately(self) -> None:
        store = self.Store()
        appender = PartAppender(store, "x.bin", interval=3600)
        appender.write(b"." * PartAppender.MAX_PENDING)
        assert store.exists("x.000001.bin")
        appender.close()

    def test_data_that_could_not_be_stored_raises_and_is_retried(self) -> None:
        store = self.Store()
        store.fails = True
        appender = PartAppender(store, "x.jsonl", interval=0.001)
        appender.write(b"1\n")
        assert store.asked.wait(10)
        with pytest.raises(OSError, match="gone"):
            appender.write(b"2\n")
        with pytest.raises(OSError, match="gone"):
            appender.close()
        store.fails = False
        appender.close()
        assert b"".join(read_parts(store, "x.jsonl")) == b"1\n2\n"
