"""Tables as text."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from machinable.display.tables import (
    Table,
    cell,
    cell_width,
    exact,
    fitted,
    settings_text,
    table_lines,
    table_of,
    write_table,
)


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


def fitted_lines(table: Table, width: int) -> list[str]:
    return [line for part in fitted(table, width) for line in ([part] if isinstance(part, str) else table_lines(part))]


WIDE = Table(
    ["uid", "status", "net.optimizer.rate", "data.rate", "loss"],
    [
        ["ynmhvi0v4zLV", "finished", "0.1", "1", "0.1773371"],
        ["ynmhkn5o2Ys1", "finished", "0.2", "2", "0.1614992 ± 0.011"],
    ],
)


def test_a_table_that_fits_is_not_changed() -> None:
    assert fitted(WIDE, 80) == [WIDE]


def test_equal_columns_of_a_table_that_is_too_wide_are_stated_once() -> None:
    assert fitted_lines(WIDE, 66) == [
        "the same in all rows: status=finished",
        "uid           net.optimizer.rate  data.rate               loss",
        "ynmhvi0v4zLV                 0.1          1          0.1773371",
        "ynmhkn5o2Ys1                 0.2          2  0.1614992 ± 0.011",
    ]


def test_headings_uids_and_numbers_are_shortened_unless_they_would_become_equal() -> None:
    assert fitted_lines(WIDE, 50) == [
        "the same in all rows: status=finished",
        "uid    optimizer.rate  data.rate            loss",
        "ynmhv             0.1          1          0.1773",
        "ynmhk             0.2          2  0.1615 ± 0.011",
    ]
    alike = Table(["x", "loss"], [["a", "0.1234123"], ["b", "0.1234124"]])
    assert fitted_lines(alike, 10) == table_lines(alike)


def test_a_further_table_repeats_the_columns_that_distinguish_its_rows() -> None:
    rows = [{"net": net, "rate": rate, "text": net * 20, "more": 20 * str(rate)} for net in "ab" for rate in (3, 20)]
    alike = [{"net": "a", "text": text * 20, "more": 20 * text} for text in "xy"]

    def headings(some: list[dict[str, object]]) -> list[object]:
        return [list(part.headings) for part in fitted(table_of(some), 36) if isinstance(part, Table)]

    assert headings(rows) == [["net", "rate", "text"], ["net", "rate", "more"]]
    assert headings(alike) == [["net", "text"], ["net", "more"]]  # the first alone does not, and two do not fit


def test_columns_that_do_not_fit_are_in_a_further_table_with_the_first_column() -> None:
    table = table_of([{"uid": "abcd", "text": "x" * 30, "more": "y" * 30}, {"uid": "efgh", "text": "", "more": ""}])

    assert [part.headings for part in fitted(table, 40) if isinstance(part, Table)] == [
        ["uid", "text"],
        ["uid", "more"],
    ]
    assert fitted_lines(table, 40)[1].endswith("x…")


CELLS = st.one_of(st.text(max_size=40), st.floats().map(str), st.just("finished"))


@given(st.data(), st.integers(20, 120))
def test_fitted_tables_fit_unless_two_columns_are_wider(data: st.DataObject, width: int) -> None:
    names = data.draw(st.lists(st.text("ab.", min_size=1, max_size=30), min_size=1, max_size=8, unique=True))
    row = st.lists(CELLS.map(exact), min_size=len(names), max_size=len(names))
    table = Table(names, data.draw(st.lists(row, max_size=5)))

    parts = [part for part in fitted(table, width) if isinstance(part, Table)]

    assert all(len(part.rows) == len(table.rows) for part in parts)
    for part in parts:
        assert len(part.headings) <= 2 or max(map(cell_width, table_lines(part))) <= width


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (datetime.date(2026, 1, 31), "2026-01-31"),
        (datetime.datetime(2026, 1, 31, 9, 15, tzinfo=datetime.timezone.utc), "2026-01-31T09:15:00+00:00"),
        (datetime.time(9, 15), "09:15:00"),
        (datetime.timedelta(hours=1), "1:00:00"),
        ([1, "a"], '[1, "a"]'),
    ],
)
def test_times_are_shown_as_such(value: object, text: str) -> None:
    assert cell(value) == text


def test_both_ends_of_an_interval_are_shortened() -> None:
    table = Table(["x", "95 %"], [["0.123456 ± 0.024", "0.123456 to 0.234567"], ["1.5", ""]])

    (found,) = fitted(table, 30)
    assert isinstance(found, Table) and found.rows[0] == ("0.1235 ± 0.024", "0.1235 to 0.2346")
    versions = ["1.2.3456789", "1.2.3", "1.5 ± a.b"]  # no numbers, although they begin like some
    assert [
        row[1] for row in fitted(Table(["x", "y"], [["long enough", one] for one in versions]), 10)[-1].rows
    ] == versions
