"""The shapes of stored files."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from machinable.errors import Damaged, StorageError
from machinable.storage import documents
from machinable.storage.documents import EVENT, ROW, STATUS, damaged_lines, parse_document, parse_rows, read_execution
from machinable.storage.memory import MemoryFiles

FORMAT = Path(__file__).parents[2] / "docs" / "storage-format.md"


def fields(shape: Any, path: str = "") -> Iterator[str]:
    """Yield the paths of the fields in a shape, as docs/storage-format.md writes them."""
    if isinstance(shape, documents.Items):
        yield from fields(shape.of, f"{path}[]")
    elif isinstance(shape, Mapping):
        for key, inside in shape.items():
            place = f"{path}.{key.removesuffix('?')}" if path else key.removesuffix("?")
            yield place
            yield from fields(inside, place)


@pytest.mark.parametrize(
    ("kind", "heading"),
    [("EXECUTION", "execution.json"), ("PLANNED", "plan.jsonl"), ("EVENT", "ledger.jsonl"), ("STATUS", "status.json")],
)
def test_every_field_of_a_shape_is_documented(kind: str, heading: str) -> None:
    section = FORMAT.read_text().partition(f"## `{heading}`\n")[2].partition("\n## ")[0]
    documented = set(re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE))
    documented |= set(re.findall(r"`(\w+)`", section.partition("### Searches")[2]))
    own = set(fields(getattr(documents, kind)._shape))
    # documented in words, or as the same object elsewhere
    inner = ("at_checkpoint.", "engine.", "code.", "host.", "error.traceback", "task.components[].requires.")
    assert {name for name in own - documented if not name.startswith(inner)} == set()


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", "Expecting value: line 1 column 1 (char 0)"),
        (b"[" * 100_000, "lists and mappings are nested deeper than 200 levels"),
        (b"null", "it holds null, not a mapping"),
        (b'{"state": "running", "attempt": 1.5}', "attempt is a number, not an integer"),
        (b'{"state": "running", "attempt": true}', "attempt is a boolean, not an integer"),
        (b'{"state": "running", "host": {"pid": "x"}}', "host.pid is text, not an integer"),
        (b'{"state": "running", "started": "2026-13-01"}', "started is text, not a time"),
        (b'{"state": "finished", "artifacts": {"x": {"size": 1}}}', "artifacts.x lacks digest"),
        (b'{"state": "finished", "inputs": {"x": {"y": 1}}}', "inputs.x.y is an integer, not text"),
    ],
)
def test_a_document_that_is_not_of_its_kind_is_damaged(data: bytes, fault: str) -> None:
    with pytest.raises(Damaged) as caught:
        parse_document(data, STATUS, "s/status.json")
    assert caught.value.message == f"s/status.json cannot be read: {fault}"


def test_unknown_fields_and_missing_optional_ones_are_no_fault() -> None:
    data = b'{"state": "running", "attempt": null, "colour": "red", "result": NaN}'
    assert parse_document(data, STATUS, "")["colour"] == "red"


def test_a_row_is_checked_although_earlier_ones_had_the_same_fields() -> None:
    good = b'{"event": "failed", "error": {"type": "E", "message": "m"}}\n'
    bad = b'{"event": "failed", "error": {"type": "E", "message": 3}}\n'
    assert len(parse_rows(good * 3, EVENT, "ledger")) == 3
    with pytest.raises(Damaged, match=r"line 3 of ledger is not an event: error\.message is an integer, not text"):
        parse_rows(good * 2 + bad, EVENT, "ledger")
    assert damaged_lines(good + bad + good + b"x\n" + good[:20], EVENT) == [
        (2, "error.message is an integer, not text"),
        (4, "Expecting value: line 1 column 1 (char 0)"),
    ]


def test_a_row_nested_as_deeply_as_a_value_may_be_is_read() -> None:
    deep: Any = 1
    for _ in range(200):
        deep = [deep]
    line = json.dumps({"a": deep, "b": {"__tuple__": [deep]}}).encode() + b"\n"
    (row,) = parse_rows(line, ROW, "rows")
    assert row["a"] == deep and row["b"] == (deep,)


def test_a_newer_format_is_no_damage() -> None:
    files = MemoryFiles()
    files.write("OY1p1o/execution.json", b'{"format": 9, "id": {"new": 1}}')
    with pytest.raises(StorageError, match="has format 9; this version of machinable reads format 1") as caught:
        read_execution(files, "OY1p1o")
    assert not isinstance(caught.value, Damaged)
