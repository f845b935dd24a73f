from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from machinable.errors import InvalidValue, NotStored
from machinable.results.storage import Storage
from machinable.storage.local import DirectoryFiles
from machinable.ui.catalog import Catalog
from machinable.ui.comparison import Comparison, compare_sides, side
from machinable.ui.html import render
from tests.results.worlds import finished, planned, started, stored, uid, write


def code(text: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("net.py", text)
    return file.getvalue()


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    files = DirectoryFiles(tmp_path / "storage")
    for number, folder in enumerate(("OY1p1o", "OY1p1o-2")):
        plan = [planned(0, {"rate": number / 10, "size": 3})]
        ledger = [started(0), finished(0, loss=number)]
        stored(plan, ledger, files=files, folder=folder, python=f"3.1{number}", packages={"numpy": f"2.{number}"})
        write(files, f"{folder}/code.zip", code(f"a\n<b>{number}</b>\n"))
    found = Catalog(Storage(files.url))
    found.update()
    return found


def compared(catalog: Catalog, one: str, other: str) -> Comparison:
    return compare_sides(side(catalog, one), side(catalog, other))


def test_two_trials_differ_in_settings_results_environment_and_code(catalog: Catalog) -> None:
    found = compared(catalog, "OY1p1o/0", f"OY1p1o-2/{uid(0)}")

    parts = {part.heading: {row[:3] for row in part.rows if row.differs} for part in found.parts}
    assert parts["Configuration"] == {("rate", "0.0", "0.1")}
    assert parts["Last row"] == {("loss", "0", "1")}
    assert parts["Environment and code"] == {("python", "3.10", "3.11")}
    assert parts["Packages"] == {("numpy", "2.0", "2.1")}
    assert [(file.name, file.how) for file in found.files] == [("net.py", "changed")]
    assert found.files[0].lines == ["@@ -1,2 +1,2 @@", " a", "-<b>0</b>", "+<b>1</b>"]
    html = render("comparison", one="a", other="b", found=found)
    assert "<b>0" not in html and '<span class="added">+&lt;b&gt;1&lt;/b&gt;</span>' in html


def test_two_executions_have_a_table_of_repetitions(catalog: Catalog) -> None:
    found = compared(catalog, "OY1p1o", "OY1p1o-2")

    assert found.table is not None
    assert list(found.table.headings) == ["execution", "component", "rate", "n", "loss"]
    assert [list(row) for row in found.table.rows] == [
        ["OY1p1o", "train", "0.0", "1", "0"],
        ["OY1p1o-2", "train", "0.1", "1", "1"],
    ]
    assert [(part.heading, [row[:3] for row in part.rows]) for part in found.parts] == [
        ("Configuration", [("rate", "0.0", "0.1")]),
        ("Environment and code", [("python", "3.10", "3.11")]),
        ("Packages", [("numpy", "2.0", "2.1")]),
    ]
    assert [(file.name, file.how) for file in found.files] == [("net.py", "changed")]


def test_the_first_values_of_a_setting_are_shown_and_how_many_there_are_more(tmp_path: Path) -> None:
    files = DirectoryFiles(tmp_path)
    stored([planned(number, {"rate": number}) for number in range(12)], [], files=files)
    stored([planned(0, {"rate": 0}), planned(1, {"size": 1}, component="other")], [], files=files, folder="OY1p1o-2")
    catalog = Catalog(Storage(files.url))
    catalog.update()

    (part, *_) = compared(catalog, "OY1p1o", "OY1p1o-2").parts

    assert [row[:3] for row in part.rows] == [
        ("train.rate", "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, … and 2 more", "0"),
        ("other.size", "", "1"),
    ]


def test_what_is_compared_with_itself_does_not_differ(catalog: Catalog) -> None:
    found = compared(catalog, "OY1p1o/0", "OY1p1o/0")

    assert not found.files and not found.results
    assert not any(row.differs for part in found.parts for row in part.rows)


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("", InvalidValue, "a comparison needs two"),
        ("OY", InvalidValue, "is the beginning of several executions"),
        ("OY1p1p", NotStored, "there is no execution 'OY1p1p'"),
        ("OY1p1o/9", NotStored, "has no trial '9'"),
        ("OY1p1o/", NotStored, "has no trial ''"),
        ("../x", NotStored, "there is no execution '..'"),
    ],
)
def test_what_does_not_exist_is_an_error(catalog: Catalog, text: str, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        side(catalog, text)
