"""Compare the results of two trials, match the trials of two executions, and compare their code."""

from __future__ import annotations

import io
import json
import math
import pickle
import zipfile
from typing import Any

import numpy
import pytest

from machinable.errors import Damaged
from machinable.results.diff import Difference, code_changes, compare, match, verdict
from machinable.results.execution import Execution
from machinable.results.trial import Trial
from machinable.storage.formats.registry import dump
from machinable.storage.memory import MemoryFiles
from tests.results.worlds import failed, finished, lines, planned, status, stored, uid, write


def trial(
    rows: list[dict[str, Any]] | None = None,
    artifacts: dict[str, Any] | None = None,
    *,
    state: str = "finished",
    scope: str = "default",
    **facts: Any,
) -> Trial:
    """A trial that has ended, with these rows and artifacts."""
    files = MemoryFiles()
    event = failed(0) if state == "failed" else finished(0) | {"event": state}
    execution = stored([planned(0)], [event], files=files)
    folder = f"{execution}/trials/{uid(0)}"
    write(files, f"{folder}/status.json", status("finished" if state == "reused" else state, **facts))
    if rows is not None:
        write(files, f"{folder}/records/{scope}.jsonl", lines(rows))
    for name, data in (artifacts or {}).items():
        write(files, f"{folder}/artifacts/{name}", data if isinstance(data, bytes) else dump(name, data))
    return execution[uid(0)]


def texts(found: list[Difference]) -> list[str]:
    return [str(one) for one in found]


def test_equal_trials_are_identical_whatever_the_times_say() -> None:
    rows = [{"loss": 0.1, "_timestamp": 1.0, "_seconds_taken": 0.1, "_total_seconds_taken": 0.1}]
    others = [{"loss": 0.1, "_timestamp": 9.0, "_seconds_taken": 0.7, "_total_seconds_taken": 0.9}]

    found = compare(trial(rows, {"a.json": [1]}, result=3), trial(others, {"a.json": [1]}, result=3))

    assert found == []
    assert verdict(found) == "identical"


def test_values_that_are_not_numbers_have_their_own_equality() -> None:
    rows = [{"a": math.nan, "b": math.inf, "c": None, "d": [1, {"e": "x"}], "f": True}]

    assert compare(trial(rows), trial(json.loads(json.dumps(rows)))) == []


def test_numbers_are_within_the_tolerance_absolute_up_to_one_and_relative_beyond() -> None:
    one, other = trial([{"small": 1e-9, "large": 1e9}]), trial([{"small": 2e-9, "large": 1e9 + 100}])

    assert [(c.name, c.is_within) for c in compare(one, other, 1e-6)] == [
        ("default.small", True),
        ("default.large", True),
    ]
    assert verdict(compare(one, other, 1e-6)) == "equal within tolerance"
    assert [c.is_within for c in compare(one, other, 1e-8)] == [True, False]
    assert verdict(compare(one, other, 1e-8)) == "different"


def test_a_column_says_how_many_rows_differ_where_first_and_how_far() -> None:
    one = trial([{"loss": 1.0}, {"loss": 0.5}, {"loss": 0.25}])
    other = trial([{"loss": 1.0}, {"loss": 0.4}, {"loss": 0.0}])

    (found,) = compare(one, other)

    assert str(found) == "records default.loss: 2 of 3 rows, first in row 1: 0.5 → 0.4 (at most 0.25 apart)"
    assert found.as_data() == {
        "part": "records",
        "name": "default.loss",
        "text": found.text,
        "within": False,
        "largest": 0.25,
    }


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        ([{"a": 1}], [{"a": 1}, {"a": 2}], "records default: 1 → 2 rows"),
        ([{"a": 1}], [{"b": 1}], "records default.a: 1 of 1 rows, first in row 0: 1 → nothing"),
        ([{"a": 1}], [{"a": True}], "records default.a: 1 of 1 rows, first in row 0: 1 → true"),
        ([{"a": 1}], [{"a": 1.0}], "records default.a: 1 of 1 rows, first in row 0: 1 → 1.0 (equal as numbers)"),
        ([{"a": 1.0}], [{"a": math.nan}], "records default.a: 1 of 1 rows, first in row 0: 1.0 → NaN"),
        (
            [{"a": [1, 2]}],
            [{"a": [1, 3]}],
            "records default.a: 1 of 1 rows, first in row 0 [1]: 2 → 3 (at most 0.33 apart)",
        ),
        ([{"a": [1, 2]}], [{"a": [1]}], "records default.a: 1 of 1 rows, first in row 0: [1, 2] → [1]"),
        ([{"a": "x" * 99}], [{"a": "y"}], f"records default.a: 1 of 1 rows, first in row 0: {'x' * 59}… → y"),
    ],
)
def test_rows_differ_in_many_ways(before: list[Any], after: list[Any], text: str) -> None:
    assert texts(compare(trial(before), trial(after)))[0] == text


def test_differences_other_than_of_numbers_are_within_no_tolerance() -> None:
    assert not compare(trial([{"a": 1}]), trial([{"a": "1"}]), 1e300)[0].is_within
    assert not compare(trial([{"a": 1.0}]), trial([{"a": math.inf}]), 1e300)[0].is_within


def test_a_scope_that_only_one_side_has_is_a_difference() -> None:
    found = compare(trial([{"a": 1}], scope="validation"), trial([]))

    assert texts(found) == ["records validation: 1 → 0 rows"]


def test_states_errors_and_results_are_compared() -> None:
    error = {"type": "ValueError", "message": "no data", "traceback": "…"}
    well, badly = trial(result={"a": [1.5]}), trial(state="failed", error=error)

    assert texts(compare(well, badly)) == [
        "status: finished → failed",
        "error: none → ValueError: no data",
        'result: {"a": [1.5]} → null',
    ]
    assert texts(compare(well, trial(result={"a": [1.25]}))) == ["result: a[0]: 1.5 → 1.25 (at most 0.17 apart)"]


def test_failing_in_the_same_way_is_the_same_whatever_the_traceback_says() -> None:
    error = {"type": "ValueError", "message": "no data", "traceback": "/here"}

    assert (
        compare(trial(state="failed", error=error), trial(state="failed", error=error | {"traceback": "/there"})) == []
    )


def test_a_reused_result_is_a_finished_one() -> None:
    assert compare(trial(), trial(state="reused")) == []


def test_artifacts_are_compared_by_value_where_their_bytes_differ() -> None:
    values = {
        "a.json": {"x": 1.0},
        "b.npy": numpy.array([1.0, 2.0]),
        "c.npz": {"w": numpy.ones((2, 2))},
        "d.csv": [{"x": 1.5, "n": "a"}],
        "same.txt": "text",
    }
    others = {
        "a.json": {"x": 1.0 + 1e-9},
        "b.npy": numpy.array([1.0, 2.0 + 1e-9]),
        "c.npz": {"w": numpy.array([[1, 1], [1, 1 + 1e-9]])},
        "d.csv": [{"x": 1.5 + 1e-9, "n": "a"}],
        "same.txt": "text",
    }

    found = compare(trial(artifacts=values), trial(artifacts=others), 1e-6)

    assert [(one.name, one.is_within) for one in found] == [
        (name, True) for name in ("a.json", "b.npy", "c.npz", "d.csv")
    ]
    assert found[2].text.startswith("w[1, 1]: 1.0 → 1.000000001")
    assert verdict(compare(trial(artifacts=values), trial(artifacts=others))) == "different"


def test_other_bytes_of_equal_values_are_equal_but_not_identical() -> None:
    (found,) = compare(trial(artifacts={"a.json": b'{"x": 1}'}), trial(artifacts={"a.json": b'{ "x":1 }'}))

    assert (str(found), found.is_within) == ("artifacts a.json: different bytes, equal values", True)
    assert verdict([found]) == "equal within tolerance"


@pytest.mark.parametrize(
    ("name", "before", "after", "text"),
    [
        ("a.bin", b"12", b"123", "different bytes (2 → 3)"),
        ("a.txt", "one", "other", "different bytes (3 → 5)"),
        ("a.p", pickle.dumps(1), pickle.dumps(2), "different bytes (5 → 5)"),
        ("a.json", b"{", b"[", "different bytes (1 → 1)"),
        ("weights.pt", b"1", b"2", "different bytes (1 → 1)"),
        ("a.npy", numpy.zeros(2), numpy.zeros(3), "shape (2,) → shape (3,)"),
        ("a.npy", numpy.array(["a"]), numpy.array(["b"]), "[0]: a → b"),
        ("a.npy", numpy.array([1]), numpy.array([1.0]), "int64 → float64 (equal as numbers)"),
        ("a.npy", numpy.array([1.0, numpy.nan]), numpy.array([2.0, numpy.nan]), "[0]: 1.0 → 2.0 (at most 0.5 apart)"),
        ("a.npy", numpy.array([1.0]), numpy.array([numpy.inf]), "[0]: 1.0 → Infinity"),
    ],
)
def test_artifacts_differ_in_many_ways(name: str, before: Any, after: Any, text: str) -> None:
    assert texts(compare(trial(artifacts={name: before}), trial(artifacts={name: after}))) == [
        f"artifacts {name}: {text}"
    ]


def test_an_artifact_that_only_one_side_has_is_a_difference() -> None:
    assert texts(compare(trial(artifacts={"a.json": 1}), trial(artifacts={"b.json": 1}))) == [
        "artifacts a.json: was written, now it is missing",
        "artifacts b.json: was not written before",
    ]


def test_frames_are_compared_by_their_columns() -> None:
    pandas = pytest.importorskip("pandas")
    one, other = pandas.DataFrame({"x": [1.5, 2.5]}), pandas.DataFrame({"x": [1.5, 2.0]})

    (found,) = compare(trial(artifacts={"a.csv": one}), trial(artifacts={"a.csv": other}))

    assert found.text == "columns.x[1]: 2.5 → 2.0 (at most 0.2 apart)"


# --- matching


def execution(*trials: dict[str, Any]) -> Execution:
    """Store trials with `uid`, and maybe `version`, `component` and the `number` of a repetition."""
    rows = []
    for index, trial in enumerate(trials):
        number = trial.pop("number", None)
        flags = {} if number is None else {"REPEAT_NUMBER": number, "REPEAT_SEED": 1}
        rows.append(planned(index, flags=flags) | trial)
    return stored(rows)


def uids(one: Execution, other: Execution) -> tuple[list[tuple[str, str]], list[str], list[str]]:
    found = match(one.trials, other.trials)
    return (
        [(a.uid, b.uid) for a, b in found.pairs],
        [trial.uid for trial in found.only_one],
        [trial.uid for trial in found.only_other],
    )


def test_the_same_uid_comes_first() -> None:
    one = execution({"uid": "a", "version": "~x"}, {"uid": "b"})
    other = execution({"uid": "b", "version": "~x"}, {"uid": "a"})

    assert uids(one, other) == ([("a", "a"), ("b", "b")], [], [])


def test_then_trials_with_the_same_request() -> None:
    one = execution({"uid": "a", "version": "~x", "number": 0}, {"uid": "b", "version": "~x", "number": 1})
    other = execution({"uid": "c", "version": "~x", "number": 1}, {"uid": "d", "version": "~x", "number": 0})

    assert uids(one, other) == ([("a", "d"), ("b", "c")], [], [])


def test_then_the_same_repetition_of_the_component_and_then_its_order() -> None:
    one = execution({"uid": "a", "version": "~x", "number": 1}, {"uid": "b", "version": "~y"})
    other = execution({"uid": "c"}, {"uid": "d", "number": 1}, {"uid": "e"})

    assert uids(one, other) == ([("a", "d"), ("b", "c")], [], ["e"])


def test_trials_of_different_components_never_belong_together() -> None:
    one, other = execution({"uid": "a", "component": "train"}), execution({"uid": "b", "component": "test"})

    assert uids(one, other) == ([], ["a"], ["b"])


# --- code


def archive(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as opened:
        for name, content in files.items():
            opened.writestr(zipfile.ZipInfo(name.replace("__", ".")), content)
    return buffer.getvalue()


def test_changed_new_and_missing_files_come_by_name_with_their_lines() -> None:
    before = archive(a__py=b"x = 1\ny = 2\n", gone__py=b"z\n", same__py=b"s\n")
    after = archive(a__py=b"x = 1\ny = 3\n", new__py=b"n\n", same__py=b"s\n")

    assert [change.as_data() for change in code_changes(before, after)] == [
        {
            "name": "a.py",
            "how": "changed",
            "lines": ["--- a.py", "+++ a.py", "@@ -1,2 +1,2 @@", " x = 1", "-y = 2", "+y = 3"],
        },
        {"name": "gone.py", "how": "missing", "lines": ["--- gone.py", "+++ gone.py", "@@ -1 +0,0 @@", "-z"]},
        {"name": "new.py", "how": "new", "lines": ["--- new.py", "+++ new.py", "@@ -0,0 +1 @@", "+n"]},
    ]


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"text\0with a zero", b"x" * (2**20 + 1)])
def test_a_binary_or_large_file_has_no_lines(content: bytes) -> None:
    (change,) = code_changes(archive(a__bin=content), archive(a__bin=b"short"))

    assert (change.how, change.lines) == ("changed", None)


def test_the_same_archive_has_no_changes() -> None:
    assert code_changes(archive(a__py=b"1"), archive(a__py=b"1")) == []


def test_a_damaged_archive_is_an_error() -> None:
    with pytest.raises(Damaged, match="a code backup cannot be read"):
        code_changes(b"nothing", archive())


def test_an_archive_with_any_changed_byte_is_compared_or_damaged() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr(zipfile.ZipInfo("a.py"), b"some = 1\nlines = 2\n" * 20, zipfile.ZIP_DEFLATED)
    good, damaged = buffer.getvalue(), 0
    for position in range(len(good)):
        bad = good[:position] + bytes([good[position] ^ 0xFF]) + good[position + 1 :]
        try:
            code_changes(bad, archive(a__py=b"other"))
        except Damaged:
            damaged += 1
    assert damaged > 50
