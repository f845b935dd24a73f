"""Rows and text survive a killed writer."""

from __future__ import annotations

import datetime
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from machinable.errors import Damaged, WrongType
from machinable.serialization import compact
from machinable.storage.documents import read_rows
from machinable.storage.files import Files
from machinable.storage.local import DirectoryFiles
from machinable.storage.memory import MemoryFiles
from machinable.storage.open import open_files
from machinable.storage.streams import RowWriter, TextWriter, read_text


@pytest.fixture(params=["directory", "memory", "parts"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Files:
    if request.param == "parts":
        return open_files("temp://", create=True)
    return DirectoryFiles(tmp_path) if request.param == "directory" else MemoryFiles()


def _append(files: Files, *rows: dict[str, object]) -> None:
    writer = RowWriter(files, "records/default.jsonl")
    for row in rows:
        writer.append(row)
    writer.close()


def test_rows_are_read_as_written(files: Files) -> None:
    rows = [
        {"loss": 0.1, "epoch": 1, "name": "ünï\n\u2028\x00", "big": 2**80, "flag": True, "none": None},
        {},
        {
            "list": [1, [2.5, "x"]],
            "nested": {"a": {"b": 1}},
            "when": datetime.datetime.fromisoformat("2026-01-31T09:15"),
        },
        {'quote"': '{[\\"', "_iteration": 0},
    ]
    _append(files, *rows)
    assert read_rows(files, "records/default.jsonl") == rows


@settings(deadline=None)
@given(
    st.dictionaries(
        st.text(max_size=6) | st.sampled_from(["nan", "__date__", "__map__", "_iteration"]) | st.integers(),
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text(max_size=6)
        | st.dates()
        | st.lists(st.integers(), max_size=2),
    )
)
def test_a_line_is_the_json_of_its_row(row: dict[Any, Any]) -> None:
    files = MemoryFiles()
    _append(files, row)
    assert files.read("records/default.jsonl") == compact(row).encode() + b"\n"


def test_nan_and_infinities_survive(files: Files) -> None:
    _append(files, {"a": math.nan, "b": math.inf, "c": -math.inf, "d": -0.0})
    (row,) = read_rows(files, "records/default.jsonl")
    assert math.isnan(row["a"])
    assert (row["b"], row["c"], math.copysign(1, row["d"])) == (math.inf, -math.inf, -1)


def test_numpy_values_become_numbers_and_lists(files: Files) -> None:
    numpy = pytest.importorskip("numpy")
    _append(files, {"a": numpy.float32(0.5), "b": numpy.arange(3), "c": numpy.int64(7), "d": numpy.bool_(True)})
    assert read_rows(files, "records/default.jsonl") == [{"a": 0.5, "b": [0, 1, 2], "c": 7, "d": True}]


def test_another_writer_appends(files: Files) -> None:
    _append(files, {"a": 1})
    _append(files, {"a": 2}, {"a": 3})
    assert read_rows(files, "records/default.jsonl") == [{"a": 1}, {"a": 2}, {"a": 3}]


def test_without_a_file_there_are_no_rows(files: Files) -> None:
    assert read_rows(files, "records/default.jsonl") == []
    _append(files)
    assert files.entries("") == []
    files.write("records/default.jsonl", b"")
    assert read_rows(files, "records/default.jsonl") == []


def test_data_that_is_not_plain_is_refused_before_anything_is_written(files: Files) -> None:
    writer = RowWriter(files, "records/default.jsonl")
    with pytest.raises(WrongType):
        writer.append({"a": 1, "b": object()})
    writer.close()
    assert files.entries("") == []


def test_a_line_is_json_for_other_programs(tmp_path: Path) -> None:
    _append(DirectoryFiles(tmp_path), {"loss": math.nan, "_iteration": 0})
    assert (tmp_path / "records/default.jsonl").read_bytes() == b'{"loss":NaN,"_iteration":0}\n'


ROW = {"a": {"b": [1, {"c": 'x"}]{['}]}, "ü": "\\", "d": -1.5e-7, "e": True}


def test_a_torn_last_line_is_ignored_wherever_it_ends() -> None:
    files = MemoryFiles()
    whole = json.dumps({"first": 1}).encode() + b"\n"
    line = json.dumps(ROW).encode()
    for length in range(len(line)):
        files.write("x.jsonl", whole + line[:length])
        assert read_rows(files, "x.jsonl") == [{"first": 1}]
        files.write("x.jsonl", line[:length])
        assert read_rows(files, "x.jsonl") == []
    files.write("x.jsonl", whole + line)
    assert read_rows(files, "x.jsonl") == [{"first": 1}, ROW]


def test_rows_after_a_torn_line_are_read() -> None:
    line = json.dumps(ROW).encode()
    for length in range(1, len(line)):
        files = MemoryFiles()
        files.write("x.jsonl", b'{"a": 1}\n' + line[:length])
        writer = RowWriter(files, "x.jsonl")
        writer.append({"a": 2})
        assert read_rows(files, "x.jsonl") == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize("rest", [b"\0" * 100, b'{"a": 1\0\0\0', b"\n\n", b"{\n{\n"])
def test_the_remains_of_a_power_failure_are_ignored(rest: bytes) -> None:
    files = MemoryFiles()
    files.write("x.jsonl", b'{"a": 1}\n' + rest + b'\n{"a": 2}\n')
    assert read_rows(files, "x.jsonl") == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize(
    "line",
    [b"{'a': 1}", b"1", b"[1]", b'{"a": 1} {"a": 2}', b'{"a": 1}, {"a": 2}', b"<html>", b'{"a": "\xff"}', b'{"a" 1}'],
)
def test_a_complete_line_that_is_not_a_row_is_damaged(line: bytes) -> None:
    files = MemoryFiles()
    files.write("x.jsonl", b'{"a": 1}\n' + line + b'\n{"a": 2}\n')
    with pytest.raises(Damaged, match=r"line 2 of mem:///x\.jsonl is not a row"):
        read_rows(files, "x.jsonl")


def test_parts_follow_the_file_even_if_that_is_torn() -> None:
    files = MemoryFiles()
    files.write("x.jsonl", b'{"a": 1}\n{"a"')
    files.write("x.000001.jsonl", b'{"a": 2}\n')
    files.write("x.000002.jsonl", b'{"a": 3}\n')
    assert read_rows(files, "x.jsonl") == [{"a": 1}, {"a": 2}, {"a": 3}]


_KILLED = """
import os, signal, sys
from machinable.storage.local import DirectoryFiles
from machinable.storage.streams import RowWriter
writer = RowWriter(DirectoryFiles(sys.argv[1]), "x.jsonl")
for number in range(100):
    writer.append({"number": number})
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_every_row_of_a_killed_process_is_read(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", _KILLED, str(tmp_path)], check=False)
    assert read_rows(DirectoryFiles(tmp_path), "x.jsonl") == [{"number": number} for number in range(100)]


# --- text


def test_text_is_read_as_written(files: Files) -> None:
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


def test_characters_without_an_encoding_are_escaped(files: Files) -> None:
    writer = TextWriter(files, "log.txt")
    writer.write("a\udcffb\n")
    writer.close()
    assert read_text(files, "log.txt") == "a\\udcffb\n"


def test_half_a_character_does_not_hide_the_rest() -> None:
    files = MemoryFiles()
    files.write("log.txt", "one\nzwölf".encode()[:-3])
    assert read_text(files, "log.txt") == "one\nzw\N{REPLACEMENT CHARACTER}"


def test_a_directory_in_place_of_a_file_is_damage(files: Files) -> None:
    files.write("log.txt/x", b"1")
    files.write("rows.jsonl/x", b"1")
    if files.appends:  # parts of an object store are found by a listing
        for read, name in ((read_text, "log.txt"), (read_rows, "rows.jsonl")):
            with pytest.raises(Damaged, match=f"{name} is a directory"):
                read(files, name)  # type: ignore[operator]
