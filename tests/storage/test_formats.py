"""What was written comes back as the same kind, and what does not fit is refused."""

from __future__ import annotations

import datetime
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from machinable.errors import BadName, Damaged, InvalidType, StorageError, WrongKind
from machinable.plain import canonical
from machinable.storage.files import DirectoryFiles, Files, MemoryFiles
from machinable.storage.formats import check_name, dump, known_extensions, load

MOMENT = datetime.datetime.fromisoformat("2026-01-31T09:15:02.000005")  # without a zone, on purpose
PLAIN = {
    "none": None, "bool": True, "int": -(2**70), "float": 0.1, "exponent": 1e-300, "text": "ünï\n \u2028 '\"\\ \x07",
    "list": [1, [2.0, []], {}], "tuple": (1, ("a",)), "date": datetime.date(2026, 1, 31), "time": datetime.time(9, 15),
    "moment": datetime.datetime(2026, 1, 31, 9, 15, 2, 120000, tzinfo=datetime.timezone.utc),
    "looks": ["1", "1.0", "true", "null", "2026-01-31", "", " ", "=", "~", "on", "012", "nan"],
    "keys": {"1": "a", 1: "b", 2.5: "c", None: "d"}, "mark": {"__tuple__": [1]}, "inf": [math.inf, -math.inf],
}  # fmt: skip
ROWS = [
    {"id": 1, "name": 'a,"b"\r\n\tc', "score": 0.1, "when": datetime.date(2026, 1, 31), "ok": True, "none": None},
    {"id": -(2**70), "name": "1", "score": 1e-300, "when": datetime.time(9, 15), "ok": False, "none": None},
    {"id": 0, "name": "", "score": -math.inf, "when": MOMENT, "ok": True, "none": None},
    {"id": 7, "name": "True", "score": 1e22, "when": "2026-01-31", "ok": None, "none": None},
]  # fmt: skip


def _arrays() -> dict[str, Any]:
    numpy = pytest.importorskip("numpy")
    return {
        "a": numpy.arange(6, dtype="int16").reshape(2, 3), "file": numpy.array([math.nan, 1e-300]),
        "a.npy": numpy.array("text"), "empty": numpy.zeros((0, 3)), "nested/name ü": numpy.array([1 + 2j]),
        "moments": numpy.array(["2026-01-31"], dtype="datetime64[D]"),
    }  # fmt: skip


def _frame() -> Any:
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame(
        {"id": [1, 2], "name": ['a,"b"\n', "NA"], "score": [0.1 + 0.2, math.nan], "ok": [True, False]}
    )


def _same(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if type(one).__module__.startswith("pandas"):
        return bool(one.equals(other)) and list(one.columns) == list(other.columns)
    if type(one).__module__.startswith("numpy"):
        import numpy

        return one.dtype == other.dtype and numpy.array_equal(one, other, equal_nan=one.dtype.kind in "fc")
    if isinstance(one, dict):
        return list(one) == list(other) and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)


CASES: list[tuple[str, Callable[[], Any]]] = [
    ("x.json", lambda: PLAIN), ("x.json", lambda: None), ("x.JSON", lambda: "text"), ("x.yaml", lambda: PLAIN),
    ("x.yaml", list), ("x.jsonl", lambda: [PLAIN, None, "two\nlines", 1]), ("x.jsonl", list),
    ("x.txt", lambda: "ünï\r\n\x00"), ("x.txt", str), ("x.log", lambda: "a\n"), ("x.bin", lambda: bytes(range(256))),
    ("x.csv", lambda: ROWS), ("x.tsv", lambda: ROWS), ("x.csv", list),
    ("x.csv", lambda: [{"only": None}, {"only": "x"}]),
    ("x.csv", lambda: [{"": 1, "1": 2, 'a"b': 3}]), ("x.csv", _frame), ("x.tsv", _frame),
    ("x.csv", lambda: _frame()[["name"]]), ("x.csv", lambda: _frame()[:0].astype(object)),
    ("x.csv", lambda: _frame()[["id", "score"]][1:]), ("x.csv", lambda: _frame()[[]][:0]),
    ("x.npy", lambda: _arrays()["a"]), ("x.npy", lambda: _arrays()["a"].T), ("x.npz", _arrays), ("x.npz", dict),
    ("x.p", lambda: {1, 2}), ("x.pkl", lambda: (PLAIN, {1: frozenset()}, ValueError)),
]  # fmt: skip


@pytest.mark.parametrize("kind", ["directory", "memory"])
@pytest.mark.parametrize("gz", ["", ".gz"])
@pytest.mark.parametrize(("name", "make"), CASES)
def test_what_was_written_comes_back_as_the_same_kind(
    name: str, make: Callable[[], Any], gz: str, kind: str, tmp_path: Path
) -> None:
    files: Files = DirectoryFiles(tmp_path) if kind == "directory" else MemoryFiles()
    data = make()
    files.write(name + gz, dump(name + gz, data))
    back = load(name + gz, files.read(name + gz), trust=True)
    assert _same(data, back), back
    assert dump(name + gz, back) == files.read(name + gz)


def test_every_known_extension_is_in_the_cases() -> None:
    assert {name[1:].lower() for name, _ in CASES} == set(known_extensions())


def test_nan_survives_where_numbers_do() -> None:
    for name in ("x.json", "x.yaml", "x.jsonl", "x.csv", "x.pkl"):
        (back,) = load(name, dump(name, [{"a": math.nan}]), trust=True)
        assert math.isnan(back["a"])


_plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
    | st.dates() | st.datetimes(timezones=st.none() | st.just(datetime.timezone.utc)) | st.times(),
    lambda inside: st.lists(inside) | st.tuples(inside, inside)
    | st.dictionaries(st.text() | st.integers() | st.booleans() | st.dates(), inside),
    max_leaves=10,
)  # fmt: skip


@settings(max_examples=150, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
@given(_plain)
def test_any_plain_data_survives(data: Any) -> None:
    for name in ("x.json", "x.yaml"):
        try:
            content = dump(name, data)
        except WrongKind:
            assert name == "x.yaml"
            continue
        assert canonical(load(name, content, trust=False)) == canonical(data)


_cells = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8"))
    | st.dates()
)


@settings(max_examples=150, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data(), st.lists(st.text(st.characters(codec="utf-8")), min_size=1, max_size=3, unique=True))
def test_any_table_survives(data: st.DataObject, columns: list[str]) -> None:
    cells = data.draw(st.lists(st.tuples(*[_cells] * len(columns)), min_size=1, max_size=4))
    rows = [dict(zip(columns, row, strict=True)) for row in cells]
    for name in ("x.csv", "x.tsv"):
        assert _same(rows, load(name, dump(name, rows), trust=False))


def test_rows_may_differ_in_columns() -> None:
    assert load("x.csv", dump("x.csv", [{"a": 1}, {"b": "x"}]), trust=False) == [
        {"a": 1, "b": None},
        {"a": None, "b": "x"},
    ]


def test_numpy_values_become_plain_ones() -> None:
    numpy = pytest.importorskip("numpy")
    data = [{"a": numpy.float64(0.1), "b": numpy.int8(3)}]
    for name in ("x.json", "x.yaml", "x.jsonl", "x.csv"):
        assert _same(load(name, dump(name, data), trust=False), [{"a": 0.1, "b": 3}])
    assert load("x.json", dump("x.json", numpy.eye(2)), trust=False) == [[1.0, 0.0], [0.0, 1.0]]


def test_tables_of_other_programs_are_read() -> None:
    assert load("x.csv", b'\xef\xbb\xbfid,name\r\n007,5" pipe\r\n2,"a\r\nb"\r\n\r\n', trust=False) == [
        {"id": "007", "name": '5" pipe'}, {"id": 2, "name": "a\r\nb"},
    ]  # fmt: skip
    frame = pytest.importorskip("pandas").DataFrame({"id": [1], "name": ["x"]})
    assert _same(load("x.tsv", b"id\tname\n1\tx\n", trust=False), frame)


def test_an_index_that_says_something_is_kept_or_refused() -> None:
    frame = _frame().describe()
    assert _same(load("x.csv", dump("x.csv", frame), trust=False), frame)
    for index in (
        frame.rename_axis("statistic"),
        frame.set_index("id", append=True),
        frame.T.set_index("mean", append=True).T,
    ):
        with pytest.raises(WrongKind, match=r"reset_index\(\)"):
            dump("x.csv", index)


def test_the_same_data_give_the_same_bytes() -> None:
    for name, make in CASES:
        assert dump(name + ".gz", make()) == dump(name + ".gz", make())


TAKES = {
    "%PLAIN": "plain data (None, bool, numbers, text, dates, lists and mappings of these)",
    "%TABLE": "a DataFrame or a list of mappings with single values",
    "%ARRAYS": "a mapping of names to arrays of numpy",
}


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("x.json", {"a": [1, {2}]}, "'x.json' takes %PLAIN, not set at a[1]"),
        ("x.yaml", object, "'x.yaml' takes %PLAIN, not type"),
        ("x.yaml", "\ud800", None),
        ("x.jsonl", {"a": 1}, "'x.jsonl' takes a list of %PLAIN, not dict"),
        ("x.jsonl", [1, b""], "'x.jsonl' takes a list of %PLAIN, not bytes at [1]"),
        ("x.txt", b"x", "'x.txt' takes text, not bytes"),
        ("x.txt", "\ud800", "'x.txt' takes text, not text with half a character"),
        ("x.log.gz", None, "'x.log.gz' takes text, not NoneType"),
        ("x.bin", "x", "'x.bin' takes bytes, not str"),
        ("x.csv", {"a": 1}, "'x.csv' takes %TABLE, not dict"),
        ("x.csv", [{"a": 1}, [1]], "'x.csv' takes %TABLE, not list of list"),
        ("x.csv", [{"a": [1]}], "'x.csv' takes %TABLE, not list at [0].a"),
        ("x.tsv", [{}], "'x.tsv' takes %TABLE, not rows without columns"),
        ("x.tsv", [{1: 2}], "'x.tsv' takes %TABLE, not a column that is not named by text"),
        ("x.npy", [1, 2], "'x.npy' takes an array of numpy, not list"),
        ("x.npz", [1], "'x.npz' takes %ARRAYS, not list"),
        ("x.npz", {"a": [1]}, "'x.npz' takes %ARRAYS, not list at a"),
        ("x.npz", {1: 2}, "'x.npz' takes %ARRAYS, not a mapping with the key 1"),
    ],
)  # fmt: skip
def test_data_that_does_not_fit_is_refused_with_what_fits(name: str, data: Any, message: str | None) -> None:
    with pytest.raises(WrongKind) as caught:
        dump(name, data)
    assert isinstance(caught.value, TypeError)
    for kind, takes in TAKES.items():
        message = message and message.replace(kind, takes)
    assert message is None or caught.value.message == message


def test_arrays_that_would_lose_something_are_refused() -> None:
    numpy = pytest.importorskip("numpy")
    with pytest.raises(WrongKind, match="Python objects"):
        dump("x.npy", numpy.array([object()]))
    with pytest.raises(WrongKind, match="masked array at a"):
        dump("x.npz", {"a": numpy.ma.masked_array([1], [True])})
    with pytest.raises(WrongKind, match=r"numpy\.float64"):
        dump("x.npy", numpy.float64(1))


def test_what_cannot_be_pickled_is_refused() -> None:
    with pytest.raises(WrongKind, match="not function"):
        dump("x.pkl", lambda: None)


class _Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, ("raise SystemExit('ran')",))


def test_a_pickle_is_only_read_where_it_is_trusted() -> None:
    for name in ("x.pkl", "x.p.gz"):
        with pytest.raises(StorageError, match="runs what its author put there"):
            load(name, dump(name, _Bomb()), trust=False)


def test_arrays_are_never_unpickled() -> None:
    numpy = pytest.importorskip("numpy")
    from io import BytesIO

    array = numpy.array([_Bomb()], dtype=object)
    for save, name in ((numpy.save, "x.npy"), (numpy.savez, "x.npz")):
        buffer = BytesIO()
        save(buffer, array)
        with pytest.raises(Damaged, match="allow_pickle"):
            load(name, buffer.getvalue(), trust=True)


def test_yaml_makes_no_objects() -> None:
    with pytest.raises(Damaged):
        load("x.yaml", b"!!python/object/apply:os.system ['true']", trust=True)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("x.json", b"{"), ("x.json", b""), ("x.jsonl", b'{"a": 1}\n{'), ("x.yaml", b"a: [1"), ("x.txt", b"\xff"),
        ("x.csv", b'"a","b"\r\n1\r\n'), ("x.csv", b'"a"\r\n"x\r\n'), ("x.npy", b"x"), ("x.npz", b"x"),
        ("x.pkl", b"\x80"), ("x.json.gz", b"{}"), ("x.json.gz", dump("x.json.gz", [1])[:-9]), ("x.bin.gz", b""),
    ],
)  # fmt: skip
def test_damage_is_told_with_the_name(name: str, data: bytes) -> None:
    with pytest.raises(Damaged, match=f"^'{name}' cannot be read: ."):
        load(name, data, trust=True)


@pytest.mark.parametrize("name", ["x.json", "plots/a b.csv.gz", "ü!?%.TXT", "a.b.c.npy", "..x.json", "con.bin", "-.p"])
def test_names_that_are_fine(name: str) -> None:
    extension = check_name(name)
    assert name.lower().endswith(extension)
    assert extension.removesuffix(".gz") in known_extensions()


@pytest.mark.parametrize(
    "name",
    ["", "/etc/x.json", "../x.json", "a/../x.json", "a/..", "./x.json", "a//x.json", "a/", "a\\x.json", "..\\x.json",
     "C:x.json", "C:\\x.json", "a\0.json", "."],
)  # fmt: skip
def test_names_that_leave_the_folder_are_refused(name: str) -> None:
    for act in (check_name, lambda n: dump(n, None), lambda n: load(n, b"", trust=True)):
        with pytest.raises(BadName) as caught:
            act(name)
        assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("name", ["x", "x.", "x.exe", ".json", "x.gz", ".json.gz", "json", "x.json.gz.gz", "a.json/x"])
def test_an_unknown_extension_is_told_with_all_known_ones(name: str) -> None:
    with pytest.raises(BadName) as caught:
        check_name(name)
    assert ".bin .csv .json .jsonl .log .npy .npz .p .pkl .tsv .txt .yaml" in str(caught.value)


def test_a_near_extension_is_offered() -> None:
    with pytest.raises(BadName) as caught:
        check_name("a/x.jsn")
    assert str(caught.value) == (
        "no format is known for 'a/x.jsn': '.jsn'\n"
        "  Known: .bin .csv .json .jsonl .log .npy .npz .p .pkl .tsv .txt .yaml, each also with .gz\n"
        "  Did you mean .json or .jsonl?"
    )


def test_a_name_is_text() -> None:
    with pytest.raises(InvalidType, match="not int"):
        check_name(1)  # type: ignore[arg-type]


def test_plain_formats_import_no_numpy_and_no_pandas() -> None:
    code = (
        "import sys; from machinable.storage.formats import dump, load\n"
        "for name, data in {'x.json': [1], 'x.csv': [{'a': 1}], 'x.jsonl': [1], 'x.txt': 'a', 'x.pkl': 1}.items():\n"
        "    assert load(name, dump(name, data), trust=True) == data\n"
        "assert not {'numpy', 'pandas', 'yaml', 'fs', 'zipfile', 'gzip'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
