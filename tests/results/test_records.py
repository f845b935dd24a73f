"""The rows of a trial."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import pytest

from machinable.errors import NotAvailable, NotStored, UnknownName
from machinable.results.records import Records
from machinable.storage.files import Files
from machinable.storage.local import DirectoryFiles
from machinable.storage.memory import MemoryFiles

ROWS = b'{"loss": NaN, "_iteration": 0}\n{"loss": 0.5, "acc": 0.25, "_iteration": 1}\n'


@pytest.fixture(params=["memory", "directory"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Files:
    files = MemoryFiles() if request.param == "memory" else DirectoryFiles(tmp_path)
    files.write("t/records/default.jsonl", ROWS)
    files.write("t/records/validation.jsonl", b'{"f1": 1}\n{"f1": 2')
    return files


def test_rows_are_mappings_in_the_order_of_writing(files: Files) -> None:
    records = Records(files, "t")

    assert math.isnan(records[0]["loss"])
    assert (len(records), records[1], records.last) == (2, {"loss": 0.5, "acc": 0.25, "_iteration": 1}, records[-1])
    assert [row["_iteration"] for row in records] == [0, 1]
    assert (records[1:], repr(records)) == ([records[1]], "<Records default: 2 rows>")


def test_columns_stand_in_the_order_of_their_first_row(files: Files) -> None:
    records = Records(files, "t")

    assert records.columns == ["loss", "_iteration", "acc"]
    assert records.column("acc") == [None, 0.25]
    with pytest.raises(UnknownName) as caught:
        records.column("los")
    assert str(caught.value) == "no column named 'los'\n  Did you mean 'loss'?"


def test_another_scope_is_called_by_its_name_and_its_torn_line_is_ignored(files: Files) -> None:
    records = Records(files, "t")

    assert (records.scopes, list(records("validation"))) == (["default", "validation"], [{"f1": 1}])
    with pytest.raises(NotStored) as caught:
        records("validaton")
    assert str(caught.value) == ("the trial has no rows in the scope 'validaton'\n  Did you mean 'validation'?")


def test_no_rows_are_an_empty_record(files: Files) -> None:
    records = Records(files, "unknown")

    assert (list(records), records.last, records.columns, records.column("loss"), records.scopes) == (
        [],
        None,
        [],
        [],
        [],
    )
    assert list(records("default")) == []
    with pytest.raises(NotStored, match="It has: no rows at all"):
        records("validation")
    assert records.frame().shape == (0, 0)


def test_scopes_of_numbered_parts_are_one(files: Files) -> None:
    files.write("t/records/default.000001.jsonl", b'{"loss": 0.25}\n')

    records = Records(files, "t")

    assert (records.scopes, records.column("loss")[1:]) == (["default", "validation"], [0.5, 0.25])


def test_a_frame_has_a_row_for_each_row(files: Files) -> None:
    frame = Records(files, "t").frame()

    assert list(frame.columns) == ["loss", "_iteration", "acc"]
    assert frame["loss"].isna().tolist() == [True, False]
    assert frame["acc"].tolist()[1] == 0.25
    assert str(frame["_iteration"].dtype) == "int64"


def test_a_missing_pandas_is_one_clear_line(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)

    with pytest.raises(NotAvailable) as caught:
        Records(files, "t").frame()

    assert str(caught.value) == "a frame needs pandas\n  Install it: pip install 'machinable-engine[frames]'"


def test_a_notebook_shows_rows_as_an_escaped_table() -> None:
    files = MemoryFiles()
    files.write("t/records/default.jsonl", b'{"<b>": "<i>", "loss": 0.1, "_timestamp": 5}\n' + b'{"loss": 0.2}\n' * 50)

    shown = Records(files, "t")._repr_html_()

    assert shown.startswith("<table><thead><tr><th>&lt;b&gt;</th><th>loss</th></tr></thead>")
    assert (shown.count("<tr>"), shown[-36:]) == (41, "</table><p>… the last 40 of 51 rows</p>"[-36:])
