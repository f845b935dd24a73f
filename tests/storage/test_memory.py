"""Files in memory."""

from __future__ import annotations

import pytest

from machinable.storage.files import Files
from machinable.storage.memory import MemoryFiles
from tests.kits.storage import FilesConformance


class TestMemoryFiles(FilesConformance):
    @pytest.fixture
    def files(self) -> Files:
        return MemoryFiles()


def test_instances_in_memory_share_nothing() -> None:
    one, other = MemoryFiles(), MemoryFiles()
    one.write("x", b"1")
    assert not other.exists("x")


def test_a_move_below_a_file_loses_nothing() -> None:
    files = MemoryFiles()
    files.write("a/x", b"1")
    files.write("y", b"2")
    with pytest.raises(NotADirectoryError):
        files.move("a/x", "y/z")
    assert [files.read("a/x"), files.read("y")] == [b"1", b"2"]
