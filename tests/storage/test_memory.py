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
