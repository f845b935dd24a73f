"""Tables as text."""

from __future__ import annotations

import pytest

from machinable.display.tables import Table, cell, exact, settings_text, table_lines, table_of, write_table


def test_columns_are_aligned_and_numbers_to_the_right() -> None:
    table = table_of([{"name": "a", "n": 1, "x": 0.5}, {"name": "日本", "n": 100, "y": None}])

    assert table_lines(table) == [
        "name    n    x  y",
        "a       1  0.5",
        "日本  100",
    ]


def test_no_cell_is_cut_off(capsys: pytest.CaptureFixture[str]) -> None:
    write_table(Table(["x"], [["y" * 500]]))

    assert capsys.readouterr().out == "x\n" + "y" * 500 + "\n"


def test_a_cell_cannot_control_the_terminal() -> None:
    assert cell("a\x1b[31m\nb") == "a\\x1b[31m\\nb"


def test_measurements_are_short_and_settings_exact() -> None:
    assert [cell(value) for value in (0.123456789, None, True, 3, [1, "a"])] == [
        "0.123457",
        "",
        "true",
        "3",
        '[1, "a"]',
    ]
    assert exact(0.123456789) == "0.123456789"
    assert settings_text({"rate": 1.0, "name": "mnist", "none": None}) == "rate=1.0 name=mnist none=null"


def test_a_table_without_rows_has_its_headings() -> None:
    assert table_lines(Table(["a", "b"], [])) == ["a  b"]
