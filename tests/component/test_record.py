"""Rows of measurements."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest

from machinable.component.base import Component
from machinable.component.record import Record
from machinable.errors import BadName, InvalidType, InvalidValue, WrongType
from machinable.storage.memory import MemoryFiles
from machinable.storage.streams import RowWriter
from tests.component.worlds import World

TIMES = ["_timestamp", "_seconds_taken", "_total_seconds_taken"]


class Rows:
    """Rows in a list, which can be made to fail."""

    def __init__(self) -> None:
        self.rows: list[Any] = []
        self.refuses = False
        self.is_closed = False

    def append(self, row: Mapping[str, Any]) -> None:
        if self.refuses:
            raise OSError("disk full")
        self.rows.append(dict(row))

    def close(self) -> None:
        self.is_closed = True


class Time:
    """A clock that tests set."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr("machinable.component.record.perf_counter", lambda: self.now)
        monkeypatch.setattr("machinable.component.record.time", lambda: 1769850902.125)


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    return Time(monkeypatch)


@pytest.fixture
def kept() -> dict[str, Rows]:
    return {}


@pytest.fixture
def record(kept: dict[str, Rows], time: Time) -> Record:
    return Record(lambda scope: kept.setdefault(scope, Rows()), lambda: 100.0)


def test_a_row_has_its_columns_then_the_times(record: Record, kept: dict[str, Rows], time: Time) -> None:
    time.now += 2
    record.update({"b": 2}, a=1)
    first = record.save()
    time.now += 3
    record["a"] = 5
    record.save_iteration(7)

    assert first == {"b": 2, "a": 1, "_timestamp": 1769850902.125, "_seconds_taken": 2.0, "_total_seconds_taken": 2.0}
    assert [list(row) for row in kept["default"].rows] == [["b", "a", *TIMES], ["a", "_iteration", *TIMES]]
    assert (
        kept["default"].rows[1]
        == record.last
        == {
            "a": 5,
            "_iteration": 7,
            "_timestamp": 1769850902.125,
            "_seconds_taken": 3.0,
            "_total_seconds_taken": 5.0,
        }
    )


def test_the_first_row_is_timed_from_the_phase_and_the_rest_from_the_same_beginning(time: Time) -> None:
    began = 100.0
    record = Record(lambda scope: Rows(), lambda: began)
    time.now += 5
    began = time.now
    time.now += 1
    record["x"] = 1
    assert record.save() == {"x": 1, "_timestamp": 1769850902.125, "_seconds_taken": 1.0, "_total_seconds_taken": 1.0}
    began = time.now
    time.now += 1
    record["x"] = 2
    assert record.save() == {"x": 2, "_timestamp": 1769850902.125, "_seconds_taken": 1.0, "_total_seconds_taken": 2.0}


def test_an_empty_row_is_stored_only_if_forced(record: Record, kept: dict[str, Rows]) -> None:
    assert record.save() is None
    assert kept == {}
    record["x"] = 1
    del record["x"]
    assert record.save() is None
    row = record.save(force=True)
    assert row is not None and list(row) == TIMES


def test_a_row_is_filled_and_read_like_a_dict(record: Record) -> None:
    record["a"] = 1

    assert (len(record), "a" in record, "b" in record, record["a"], list(record), bool(record)) == (
        1,
        True,
        False,
        1,
        ["a"],
        True,
    )
    for access in (lambda: record["b"], lambda: record.__delitem__("b")):
        with pytest.raises(KeyError, match="the row has no column 'b'"):
            access()


def test_numpy_values_become_plain_and_lists_are_copied(record: Record) -> None:
    numpy = pytest.importorskip("numpy")
    values = [1]
    record.update(f=numpy.float32(0.5), i=numpy.int64(3), a=numpy.arange(3), d=numpy.float64(0.25), l=values, t=(1, 2))
    values.append(2)
    row = record.save()

    assert row is not None
    given = {key: (type(row[key]), row[key]) for key in "fiadlt"}
    assert given == {
        "f": (float, 0.5),
        "i": (int, 3),
        "a": (list, [0, 1, 2]),
        "d": (float, 0.25),
        "l": (list, [1]),
        "t": (list, [1, 2]),
    }


@pytest.mark.parametrize("value", [object(), {1}, b"x", [1, object()], 1j])
def test_a_value_that_is_not_plain_is_a_type_error_with_the_column(value: object, record: Record) -> None:
    with pytest.raises(WrongType, match="in loss"):
        record["loss"] = value
    with pytest.raises(TypeError):
        record.update(a=1, loss=value)

    assert len(record) == 0


@pytest.mark.parametrize("column", [1, None, ("a",)])
def test_a_column_is_text(column: Any, record: Record) -> None:
    with pytest.raises(InvalidType):
        record[column] = 1


def test_columns_that_are_written_by_save_cannot_be_set(record: Record) -> None:
    with pytest.raises(InvalidValue, match="_timestamp is written by save"):
        record["_timestamp"] = 1


def test_a_row_that_could_not_be_stored_can_be_saved_again(record: Record, kept: dict[str, Rows]) -> None:
    record["x"] = 1
    record.save()
    kept["default"].refuses = True
    record["x"] = 2
    with pytest.raises(OSError, match="disk full"):
        record.save()
    kept["default"].refuses = False
    record.save()

    assert [row["x"] for row in kept["default"].rows] == [1, 2]


def test_scopes_are_separate_records(record: Record, kept: dict[str, Rows]) -> None:
    validation = record.scope("validation")
    validation["x"] = 1
    record["x"] = 2
    record.save()
    validation.save()

    assert record.scope("validation") is validation and validation.scope("default") is record
    assert ([r["x"] for r in kept["default"].rows], [r["x"] for r in kept["validation"].rows]) == ([2], [1])
    validation["y"] = 1
    assert record.unsaved() == ["validation"]
    record.close()
    assert {name: rows.is_closed for name, rows in kept.items()} == {"default": True, "validation": True}


def test_a_scope_that_cannot_be_a_file_is_refused_at_once() -> None:
    record = Record(rows_of, lambda: 100.0)

    with pytest.raises(BadName):
        record.scope("../x")
    with pytest.raises(InvalidType):
        record.scope(1)  # type: ignore[arg-type]


def rows_of(scope: str) -> RowWriter:
    from machinable.storage.layout import scope_file

    return RowWriter(MemoryFiles(), scope_file(scope))


def test_timing_returns_seconds_and_never_zero(record: Record, time: Time) -> None:
    assert (record.timing(), record.timing("total"), record.timing("avg")) == (1e-9, 1e-9, 1e-9)
    time.now += 2
    record["x"] = 1
    record.save()
    time.now += 4
    record["x"] = 1
    record.save()
    time.now += 1

    assert (record.timing(), record.timing("iteration"), record.timing("total"), record.timing("avg")) == (1, 1, 7, 3)
    with pytest.raises(InvalidValue, match="no timing 'totl'\n  Did you mean 'total'"):
        record.timing("totl")


def test_an_echo_is_printed(record: Record, capsys: pytest.CaptureFixture[str]) -> None:
    record["x"] = 1
    record.save(echo=True)

    assert capsys.readouterr().out == "x=1 _timestamp=1769850902.125 _seconds_taken=0.0 _total_seconds_taken=0.0\n"


def test_rows_of_a_trial_survive_with_nan_and_the_last_is_in_the_outcome() -> None:
    class Measures(Component):
        def on_execute(self) -> None:
            self.record["loss"] = math.nan
            self.record.save()
            self.record["loss"] = math.inf
            self.record.save()

    world = World(Measures)

    first, second = world.rows()
    assert (math.isnan(first["loss"]), second["loss"], world.ended.record) == (True, math.inf, second)
    assert all(type(second[name]) is float for name in TIMES)
