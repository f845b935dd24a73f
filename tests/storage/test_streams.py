"""Text that grows."""

from __future__ import annotations

from pathlib import Path

import pytest

from machinable.storage.files import Files
from machinable.storage.local import DirectoryFiles
from machinable.storage.memory import MemoryFiles
from machinable.storage.open import open_files
from machinable.storage.streams import TextWriter, read_text


@pytest.fixture(params=["directory", "memory", "parts"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Files:
    if request.param == "parts":
        return open_files("temp://", create=True)
    return DirectoryFiles(tmp_path) if request.param == "directory" else MemoryFiles()


def test_text_comes_back_as_it_was(files: Files) -> None:
    for text in ("first\n", "ünï-日本 \x1b[1m\r\n"):
        writer = TextWriter(files, "log.txt")
        writer.write(text)
        writer.write("and more")
        writer.write(" of it\n")
        writer.close()
    assert read_text(files, "log.txt") == "first\nand more of it\nünï-日本 \x1b[1m\r\nand more of it\n"


def test_without_a_file_there_is_no_text(files: Files) -> None:
    TextWriter(files, "log.txt").close()
    assert read_text(files, "log.txt") == ""
    assert files.entries("") == []


def test_what_has_no_encoding_is_written_so_that_it_can_be_read(files: Files) -> None:
    writer = TextWriter(files, "log.txt")
    writer.write("a\udcffb\n")
    writer.close()
    assert read_text(files, "log.txt") == "a\\udcffb\n"


def test_half_a_character_does_not_hide_the_rest() -> None:
    files = MemoryFiles()
    files.write("log.txt", "one\nzwölf".encode()[:-3])
    assert read_text(files, "log.txt") == "one\nzw\N{REPLACEMENT CHARACTER}"
