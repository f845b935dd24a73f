"""Data is read as the type that was written, and unsupported data is refused."""

from __future__ import annotations

import datetime
import importlib
import json
import math
import os
import stat
import subprocess
import sys
import types
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from zipfile import ZipFile, ZipInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from machinable.errors import BadName, Damaged, ImportFailed, InvalidType, NotAvailable, StorageError, WrongKind
from machinable.serialization import canonical
from machinable.storage.files import Files
from machinable.storage.formats import registry
from machinable.storage.formats.registry import check_directory, check_name, dump, known_extensions, load
from machinable.storage.local import DirectoryFiles
from machinable.storage.memory import MemoryFiles
from machinable.storage.open import open_files

MOMENT = datetime.datetime.fromisoformat("2026-01-31T09:15:02.000005")  # without a zone, on purpose
PLAIN = {
    "none": None,
    "bool": True,
    "int": -(2**70),
    "float": 0.1,
    "exponent": 1e-300,
    "text": "ünï\n \u2028 '\"\\ \x07",
    "list": [1, [2.0, []], {}],
    "tuple": (1, ("a",)),
    "date": datetime.date(2026, 1, 31),
    "time": datetime.time(9, 15),
    "moment": datetime.datetime(2026, 1, 31, 9, 15, 2, 120000, tzinfo=datetime.timezone.utc),
    "looks": ["1", "1.0", "true", "null", "2026-01-31", "", " ", "=", "~", "on", "012", "nan"],
    "keys": {"1": "a", 1: "b", 2.5: "c", None: "d"},
    "mark": {"__tuple__": [1]},
    "inf": [math.inf, -math.inf],
}
ROWS = [
    {"id": 1, "name": 'a,"b"\r\n\tc', "score": 0.1, "when": datetime.date(2026, 1, 31), "ok": True, "none": None},
    {"id": -(2**70), "name": "1", "score": 1e-300, "when": datetime.time(9, 15), "ok": False, "none": None},
    {"id": 0, "name": "", "score": -math.inf, "when": MOMENT, "ok": True, "none": None},
    {"id": 7, "name": "True", "score": 1e22, "when": "2026-01-31", "ok": None, "none": None},
]


def _arrays() -> dict[str, Any]:
    numpy = pytest.importorskip("numpy")
    return {
        "a": numpy.arange(6, dtype="int16").reshape(2, 3),
        "file": numpy.array([math.nan, 1e-300]),
        "a.npy": numpy.array("text"),
        "empty": numpy.zeros((0, 3)),
        "nested/name ü": numpy.array([1 + 2j]),
        "moments": numpy.array(["2026-01-31"], dtype="datetime64[D]"),
    }


def _frame() -> Any:
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame(
        {"id": [1, 2], "name": ['a,"b"\n', "NA"], "score": [0.1 + 0.2, math.nan], "ok": [True, False]}
    )


def _texts() -> Any:
    """Return texts that could be numbers, and missing cells."""
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame(
        {
            "id": ["007", "1e3"],
            "none": [math.nan, math.nan],
            "late": [None, "12"],
            "n": [math.nan, 7.0],
            "a,b": ["x", "y"],
        }
    )


def _typed() -> Any:
    """Return columns of types that text cannot preserve, with an index."""
    pytest.importorskip("pyarrow")
    pandas = pytest.importorskip("pandas")
    moments = pandas.to_datetime(["2026-01-31", None])
    kinds = pandas.Categorical(["a", "b"])
    return pandas.DataFrame({"when": moments, "kind": kinds, "id": ["007", ""], "n": [[1, 2], [3]]})[
        ["when", "kind", "id"]
    ]


def _indexed() -> Any:
    return _typed().set_index("id")


def _tree() -> ElementTree.ElementTree:
    text = """<?xml version="1.0"?><!-- before --><a xmlns:n="urn:names" n:z="1" b="ü &amp; &lt;&#10;"><!-- in -->
    <n:c>text<d/>tail]]&gt;</n:c><?do this?></a>"""
    return ElementTree.ElementTree(ElementTree.fromstring(text))


class Model:
    """Saves itself as a library does: a file, another one beside it, and one in a folder."""

    def __init__(self, weights: list[int]) -> None:
        self.weights = weights

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    def save(self, path: str) -> None:
        Path(path).write_text(json.dumps(self.weights[:1]))
        Path(path + ".more.npy").write_text(json.dumps(self.weights[1:]))
        os.mkdir(path + "-folder")
        Path(path + "-folder", "config.json").write_text("{}")

    @classmethod
    def load(cls, path: str) -> Model:
        assert Path(path + "-folder", "config.json").read_text() == "{}"
        return cls(json.loads(Path(path).read_text()) + json.loads(Path(path + ".more.npy").read_text()))


class Special(Model):
    """Inherits its loader."""


KEPT = {"save": Model.save, "load": Model.load}


class Figure:
    """Has `savefig`, like a figure of matplotlib."""

    def savefig(self, file: Any, format: str) -> None:
        file.write(f"drawn as {format}".encode())


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, ElementTree.ElementTree) and isinstance(other, ElementTree.ElementTree):
        return ElementTree.tostring(one.getroot()) == ElementTree.tostring(other.getroot())
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
    ("x.json", lambda: PLAIN),
    ("x.json", lambda: None),
    ("x.JSON", lambda: "text"),
    ("x.yaml", lambda: PLAIN),
    ("x.yaml", list),
    ("x.jsonl", lambda: [PLAIN, None, "two\nlines", 1]),
    ("x.jsonl", list),
    ("x.txt", lambda: "ünï\r\n\x00"),
    ("x.txt", str),
    ("x.log", lambda: "a\n"),
    ("x.md", lambda: "# ü"),
    ("x.html", lambda: "<p>"),
    ("x.ini", lambda: "[a]"),
    ("x.toml", lambda: "a = 1"),
    ("x.bin", lambda: bytes(range(256))),
    ("x.csv", lambda: ROWS),
    ("x.tsv", lambda: ROWS),
    ("x.csv", list),
    ("x.csv", lambda: [{"only": None}, {"only": "x"}]),
    ("x.csv", lambda: [{"": 1, "1": 2, 'a"b': 3}]),
    ("x.csv", _frame),
    ("x.tsv", _frame),
    ("x.csv", lambda: _frame()[["name"]]),
    ("x.csv", lambda: _frame()[:0].astype(object)),
    ("x.csv", lambda: _frame()[["id", "score"]][1:]),
    ("x.csv", lambda: _frame()[[]][:0]),
    ("x.csv", _texts),
    ("x.tsv", _texts),
    ("x.csv", lambda: _texts().set_axis(["01", "02"])),
    ("x.parquet", _frame),
    ("x.parquet", _typed),
    ("x.parquet", _indexed),
    ("x.parquet", lambda: _frame()[:0]),
    ("x.feather", _frame),
    ("x.feather", _typed),
    ("x.feather", _indexed),
    ("x.xml", _tree),
    ("x.png", lambda: b"\x89PNG\r\n"),
    ("x.jpg", lambda: b"\xff\xd8"),
    ("x.jpeg", bytes),
    ("x.pdf", lambda: b"%PDF"),
    ("x.svg", lambda: b"<svg/>"),
    ("x.zip", lambda: Model([1, 2, 3])),
    ("x.npy", lambda: _arrays()["a"]),
    ("x.npy", lambda: _arrays()["a"].T),
    ("x.npz", _arrays),
    ("x.npz", dict),
    ("x.npz", lambda: _arrays()["file"]),
    ("x.p", lambda: {1, 2}),
    ("x.pkl", lambda: (PLAIN, {1: frozenset()}, ValueError)),
]


@pytest.fixture(scope="module")
def stores(s3_folder: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Files]:
    return {
        "directory": DirectoryFiles(tmp_path_factory.mktemp("formats")),
        "memory": MemoryFiles(),
        "s3": open_files(s3_folder(), create=True),
    }


@pytest.mark.parametrize("kind", ["directory", "memory", "s3"])
@pytest.mark.parametrize("gz", ["", ".gz"])
@pytest.mark.parametrize(("name", "make"), CASES)
def test_data_is_read_as_the_type_that_was_written(
    name: str, make: Callable[[], Any], gz: str, kind: str, stores: dict[str, Files]
) -> None:
    files = stores[kind]
    data = make()
    files.write(name + gz, dump(name + gz, data, **options(name)))
    back = load(name + gz, files.read(name + gz), trust=True)
    assert _same(data, back), back
    assert dump(name + gz, back, **options(name)) == files.read(name + gz)


def options(name: str) -> dict[str, Any]:
    return KEPT if name.endswith(".zip") else {}


def test_every_known_extension_is_in_the_cases() -> None:
    assert {name[1:].lower() for name, _ in CASES} == set(known_extensions())


def test_nan_is_preserved_where_numbers_are() -> None:
    for name in ("x.json", "x.yaml", "x.jsonl", "x.csv", "x.pkl"):
        (back,) = load(name, dump(name, [{"a": math.nan}]), trust=True)
        assert math.isnan(back["a"])


_plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.dates()
    | st.datetimes(timezones=st.none() | st.just(datetime.timezone.utc))
    | st.times(),
    lambda inside: (
        st.lists(inside)
        | st.tuples(inside, inside)
        | st.dictionaries(st.text() | st.integers() | st.booleans() | st.dates(), inside)
    ),
    max_leaves=10,
)


@settings(max_examples=150, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
@given(_plain)
def test_any_plain_data_is_preserved(data: Any) -> None:
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
def test_any_table_is_preserved(data: st.DataObject, columns: list[str]) -> None:
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
        {"id": "007", "name": '5" pipe'},
        {"id": 2, "name": "a\r\nb"},
    ]
    frame = pytest.importorskip("pandas").DataFrame({"id": [1], "name": ["x"]})
    assert _same(load("x.tsv", b"id\tname\n1\tx\n", trust=False), frame)


def test_a_meaningful_index_is_stored_or_refused() -> None:
    frame = _frame().describe()
    assert _same(load("x.csv", dump("x.csv", frame), trust=False), frame)
    for index in (
        frame.rename_axis("statistic"),
        frame.set_index("id", append=True),
        frame.T.set_index("mean", append=True).T,
    ):
        with pytest.raises(WrongKind, match=r"reset_index\(\)"):
            dump("x.csv", index)


def test_equal_data_give_equal_bytes() -> None:
    for name, make in CASES:
        assert dump(name + ".gz", make(), **options(name)) == dump(name + ".gz", make(), **options(name))


TAKES = {
    "%PLAIN": "plain data (None, bool, numbers, text, dates, lists and mappings of these)",
    "%JSON": "plain data (None, bool, numbers, text, dates, lists and mappings of these), or a DataFrame of pandas",
    "%TABLE": "a DataFrame or a list of mappings with single values",
    "%ARRAYS": "a numpy array or a mapping of names to some",
    "%PICTURE": "bytes, a matplotlib figure, an image of Pillow or an array of its pixels",
    "%TEXT": "text or a list of lines",
}


@pytest.mark.parametrize("name", ["x.json", "x.yaml.gz", "x.jsonl"])
def test_data_that_contains_itself_is_refused(name: str) -> None:
    data: list[Any] = []
    data.append(data)
    with pytest.raises(WrongKind, match="not a value is nested deeper than 200 levels, or contains itself at"):
        dump(name, data)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("x.json", {"a": [1, {2}]}, "'x.json' takes %JSON, not set at a[1]"),
        ("x.yaml", object, "'x.yaml' takes %PLAIN, not type"),
        ("x.yaml", "\ud800", None),
        ("x.jsonl", {"a": 1}, "'x.jsonl' takes a list of %PLAIN, not dict"),
        ("x.jsonl", [1, b""], "'x.jsonl' takes a list of %PLAIN, not bytes at [1]"),
        ("x.txt", ["a\nb"], "'x.txt' takes %TEXT, not a list with the line 'a\\nb', which is several"),
        ("x.txt", ["a", 1], "'x.txt' takes %TEXT, not list"),
        ("x.txt", b"x", "'x.txt' takes %TEXT, not bytes"),
        (
            "x.txt",
            "\ud800",
            "'x.txt' takes %TEXT, not this str: 'utf-8' codec can't encode character '\\ud800' in position 0: "
            "surrogates not allowed",
        ),
        ("x.log.gz", None, "'x.log.gz' takes %TEXT, not NoneType"),
        ("x.bin", "x", "'x.bin' takes bytes, not str"),
        ("x.csv", {"a": 1}, "'x.csv' takes %TABLE, not dict"),
        ("x.csv", [{"a": 1}, [1]], "'x.csv' takes %TABLE, not list of list"),
        ("x.csv", [{"a": [1]}], "'x.csv' takes %TABLE, not list at [0].a"),
        ("x.tsv", [{}], "'x.tsv' takes %TABLE, not rows without columns"),
        ("x.tsv", [{1: 2}], "'x.tsv' takes %TABLE, not a column that is not named by text"),
        ("x.npy", [1, 2], "'x.npy' takes a numpy array, not list"),
        ("x.npz", [1], "'x.npz' takes %ARRAYS, not list"),
        ("x.npz", {"a": [1]}, "'x.npz' takes %ARRAYS, not list at a"),
        ("x.npz", {1: 2}, "'x.npz' takes %ARRAYS, not a mapping with the key 1"),
        ("x.parquet", [{"a": 1}], "'x.parquet' takes a DataFrame of pandas or polars, not list"),
        ("x.feather", b"", "'x.feather' takes a DataFrame of pandas, not bytes"),
        ("x.png", "x", "'x.png' takes %PICTURE, not str"),
        ("x.jpg", Figure, "'x.jpg' takes %PICTURE, not type"),
        ("x.svg", Figure, "'x.svg' takes bytes or a matplotlib figure, not type"),
        ("x.xml", "<a/>", "'x.xml' takes an ElementTree, not str"),
        (
            "x.xml",
            ElementTree.Element("a"),
            "'x.xml' takes an ElementTree, not xml.etree.ElementTree.Element: use ElementTree(element)",
        ),
        ("x.xml", ElementTree.ElementTree(), "'x.xml' takes an ElementTree, not one without a root"),
        (
            "x.zip",
            Model([1]),
            "'x.zip' takes a model and save=, not tests.storage.formats.test_registry.Model alone: "
            "write(name, model, save=Model.save, load=Model.load)",
        ),
    ],
)
def test_unsupported_data_is_refused_with_what_the_format_takes(name: str, data: Any, message: str | None) -> None:
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


def test_an_object_that_cannot_be_pickled_is_refused() -> None:
    with pytest.raises(WrongKind, match="not this generator: "):
        dump("x.pkl", (i for i in ()))


class _Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, ("raise SystemExit('ran')",))


def test_a_pickle_is_only_read_if_trusted() -> None:
    for name in ("x.pkl", "x.p.gz"):
        with pytest.raises(StorageError, match="runs its author's code"):
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


def test_yaml_creates_no_objects() -> None:
    with pytest.raises(Damaged):
        load("x.yaml", b"!!python/object/apply:os.system ['true']", trust=True)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("x.json", b"{"),
        ("x.json", b""),
        ("x.jsonl", b'{"a": 1}\n{'),
        ("x.yaml", b"a: [1"),
        ("x.txt", b"\xff"),
        ("x.csv", b'"a","b"\r\n1\r\n'),
        ("x.csv", b'"a"\r\n"x\r\n'),
        ("x.npy", b"x"),
        ("x.npz", b"x"),
        ("x.pkl", b"\x80"),
        ("x.parquet", b"PAR1"),
        ("x.feather", b""),
        ("x.xml", b"<a>"),
        ("x.xml", b""),
        ("x.zip", b"PK"),
        ("x.zip", b""),
        ("x.zip.gz", b"PK"),
        ("x.json.gz", b"{}"),
        ("x.json.gz", dump("x.json.gz", [1])[:-9]),
        ("x.bin.gz", b""),
    ],
)
def test_the_error_of_a_damaged_file_names_it(name: str, data: bytes) -> None:
    with pytest.raises(Damaged, match=f"^cannot read '{name}': ."):
        load(name, data, trust=True)


@pytest.mark.parametrize("name", ["x.json", "plots/a b.csv.gz", "ü!?%.TXT", "a.b.c.npy", "..x.json", "con.bin", "-.p"])
def test_valid_names(name: str) -> None:
    extension = check_name(name)
    assert name.lower().endswith(extension)
    assert extension.removesuffix(".gz") in known_extensions()


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/etc/x.json",
        "../x.json",
        "a/../x.json",
        "a/..",
        "./x.json",
        "a//x.json",
        "a/",
        "a\\x.json",
        "..\\x.json",
        "C:x.json",
        "C:\\x.json",
        "a\0.json",
        ".",
    ],
)
def test_names_that_leave_the_folder_are_refused(name: str) -> None:
    for act in (check_name, lambda n: dump(n, None), lambda n: load(n, b"", trust=True)):
        with pytest.raises(BadName) as caught:
            act(name)
        assert isinstance(caught.value, ValueError)


KNOWN = (
    ".bin .csv .feather .html .ini .jpeg .jpg .json .jsonl .log .md .npy .npz .p .parquet .pdf .pkl .png .svg .toml"
    " .tsv .txt .xml .yaml .zip"
)


@pytest.mark.parametrize("name", ["x", "x.", "x.exe", ".json", "x.gz", ".json.gz", "json", "x.json.gz.gz", "a.json/x"])
def test_the_error_of_an_unknown_extension_lists_the_known_ones(name: str) -> None:
    with pytest.raises(BadName) as caught:
        check_name(name)
    assert KNOWN in str(caught.value)


def test_a_similar_extension_is_suggested() -> None:
    with pytest.raises(BadName) as caught:
        check_name("a/x.jsn")
    assert str(caught.value) == (
        "no format is known for 'a/x.jsn': '.jsn'\n"
        f"  Known: {KNOWN}, each also with .gz\n"
        "  Did you mean .json or .jsonl?"
    )


@pytest.mark.parametrize("name", ["a/", "a/b/", "ü!/"])
def test_a_directory_is_named_with_a_slash_at_its_end(name: str) -> None:
    assert check_directory(name) == name[:-1]
    with pytest.raises(BadName, match=r"is the name of a directory, not of a file\n.*with store\.directory"):
        check_name(name)


@pytest.mark.parametrize("name", ["a", "", "/", "../", "a/../b/", "/a/", "C:/", "a\\/", "a//"])
def test_names_of_directories_that_leave_the_folder_are_refused(name: str) -> None:
    with pytest.raises(BadName):
        check_directory(name)


# --- frames


@pytest.mark.parametrize("name", ["x.parquet", "x.feather"])
def test_frames_that_would_change_are_refused(name: str) -> None:
    pytest.importorskip("pyarrow")
    frame = _frame()
    for unfit in (frame.rename(columns={"id": 1}), frame.assign(mixed=[1, "x"]), frame.assign(any=[object(), 1])):
        with pytest.raises(WrongKind, match=r"not (this pandas\..*|a )DataFrame"):
            dump(name, unfit)


@pytest.mark.parametrize("name", ["x.parquet", "x.feather"])
def test_without_arrow_the_error_says_how_to_install_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyarrow")
    frame = _frame()
    content = dump(name, frame)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for act in (lambda: dump(name, frame), lambda: load(name, content, trust=True)):
        with pytest.raises(NotAvailable, match=r"pip install 'machinable-engine\[frames\]'"):
            act()


# --- pictures


@pytest.mark.parametrize("extension", ["png", "pdf", "svg"])
def test_a_figure_draws_itself(extension: str) -> None:
    assert load(f"x.{extension}", dump(f"x.{extension}", Figure()), trust=False) == b"drawn as " + extension.encode()


def test_figures_of_matplotlib_are_drawn_without_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    matplotlib = types.ModuleType("matplotlib")
    monkeypatch.setattr(matplotlib, "rc_context", lambda settings: asked.append(settings) or BytesIO(), raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", matplotlib)

    class Real(Figure):
        __module__ = "matplotlib.figure"

        def savefig(self, file: Any, format: str, metadata: Any = None) -> None:
            file.write(repr(metadata).encode())

    drawn = {extension: dump(f"x.{extension}", Real()) for extension in ("png", "pdf", "svg")}
    assert drawn == {"png": b"{}", "pdf": b"{'CreationDate': None}", "svg": b"{'Date': None}"}
    assert asked == [{"svg.hashsalt": "machinable"}] * 3


# --- trees


@pytest.mark.parametrize(
    "text",
    [
        '<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>',
        '<!DOCTYPE a [<!ENTITY x "y"><!ENTITY z "&x;&x;&x;">]><a>&z;</a>',
        '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>',
        '<!DOCTYPE a [<!ENTITY % x SYSTEM "http://127.0.0.1/x.dtd"> %x;]><a/>',
        '<!DOCTYPE a SYSTEM "http://127.0.0.1/x.dtd"><a>&x;</a>',
    ],
    ids=["one", "growing", "a file", "a parameter", "from outside"],
)
def test_entities_of_a_file_are_refused(text: str) -> None:
    with pytest.raises(Damaged, match=r"cannot read 'x\.xml': it declares entities, which are not read"):
        load("x.xml", text.encode(), trust=True)


def test_a_tree_that_xml_cannot_represent_is_refused() -> None:
    root = ElementTree.Element("a")
    for text in ("\0", 5, "\ud800"):
        root.text = text  # type: ignore[assignment]
        with pytest.raises(WrongKind, match=r"'x\.xml' takes an ElementTree, not this .*ElementTree: "):
            dump("x.xml", ElementTree.ElementTree(root))


# --- models


def test_a_class_with_an_inherited_loader_is_read_as_itself() -> None:
    back = load("x.zip", dump("x.zip", Special([1]), save=Model.save, load=Special.load), trust=True)
    assert type(back) is Special


def test_a_loader_runs_if_trusted_or_passed() -> None:
    content = dump("x.zip", Model([1, 2]), **KEPT)
    with pytest.raises(
        StorageError, match=r"tests\.storage\.formats\.test_registry:Model\.load, which(.|\n)*load=Model\.load"
    ):
        load("x.zip", content, trust=False)
    assert load("x.zip", content, trust=False, load=Model.load) == Model([1, 2])
    assert load("x.zip", content, trust=True, load=Special.load) == Special([1, 2])


def test_without_a_loader_the_reader_passes_one() -> None:
    content = dump("x.zip", Model([1, 2]), save=Model.save)
    with pytest.raises(StorageError, match="was written without load="):
        load("x.zip", content, trust=True)
    assert load("x.zip", content, trust=False, load=Model.load) == Model([1, 2])


@pytest.mark.parametrize("loader", [lambda path: None, Model([1]).save, len.__call__], ids=["lambda", "method", "len"])
def test_a_loader_that_cannot_be_imported_is_refused(loader: Any) -> None:
    with pytest.raises(WrongKind, match="which cannot be imported by name: omit it, and pass it to read"):
        dump("x.zip", Model([1]), save=Model.save, load=loader)


def test_a_missing_loader_is_named() -> None:
    old = ZipFile(BytesIO(dump("x.zip", Model([1]), **KEPT)))
    buffer = BytesIO()
    with ZipFile(buffer, "w") as archive:
        archive.writestr("machinable.json", '{"loader": "nowhere:Model.load"}')
        archive.writestr("model", old.read("model"))
    with pytest.raises(StorageError, match=r"nowhere:Model\.load, which cannot be imported: No module named"):
        load("x.zip", buffer.getvalue(), trust=True)


def test_errors_of_save_and_load_pass_unchanged() -> None:
    def fail(*arguments: Any) -> None:
        raise KeyError("no layer")

    with pytest.raises(KeyError, match="no layer"):
        dump("x.zip", Model([1]), save=fail)
    with pytest.raises(KeyError, match="no layer"):
        load("x.zip", dump("x.zip", Model([1]), **KEPT), trust=True, load=fail)


def test_a_model_without_files_or_with_links_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WrongKind, match="no file at or beside its path"):
        dump("x.zip", Model([1]), save=lambda model, path: None)
    with pytest.raises(WrongKind, match="a model with a link among its files: 'model'"):
        dump("x.zip", Model([1]), save=lambda model, path: os.symlink("/etc/passwd", path))


def test_save_and_load_are_for_models() -> None:
    for act in (lambda: dump("x.json", 1, save=Model.save), lambda: load("x.json", b"1", trust=True, load=Model.load)):
        with pytest.raises(InvalidType, match=r"are for models, in names that end with \.zip, not for 'x\.json'"):
            act()


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", "a\\..\\x", "C:/x", "./x", "a//x", "a/"], ids=str)
def test_an_archive_with_files_outside_of_the_directory_is_refused(name: str) -> None:
    with pytest.raises(Damaged, match="would leave the directory"):
        load("x.zip", archive_of(ZipInfo(name)), trust=True, load=Model.load)


def archive_of(info: ZipInfo, data: bytes = b"x") -> bytes:
    buffer = BytesIO()
    with ZipFile(buffer, "w") as archive:
        archive.writestr(ZipInfo("machinable.json"), b'{"loader": null}')
        archive.writestr(info, data)
    return buffer.getvalue()


def test_an_archive_with_a_link_or_that_would_fill_the_disk_is_refused() -> None:
    link = ZipInfo("model")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with pytest.raises(Damaged, match="'model' is not a file"):
        load("x.zip", archive_of(link, b"/etc/passwd"), trust=True, load=Model.load)
    bomb = ZipInfo("model")
    bomb.compress_type = 8
    with pytest.raises(Damaged, match="bytes would become 10000016"):
        load("x.zip", archive_of(bomb, bytes(10_000_000)), trust=True, load=Model.load)


@pytest.mark.parametrize("name", ["x.txt.gz", "x.npz", "x.parquet", "polars.parquet"])
def test_without_trust_a_small_file_that_would_fill_the_memory_is_not_read(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    numpy, pandas = pytest.importorskip("numpy"), pytest.importorskip("pandas")
    zeros = numpy.zeros(1_000_000)
    data: Any = "0" * 1_000_000
    if name == "x.npz":
        buffer = BytesIO()
        numpy.savez_compressed(buffer, zeros)
        content = buffer.getvalue()
    else:
        if name == "x.parquet":
            data = pandas.DataFrame({"x": zeros})
        elif name == "polars.parquet":
            data = pytest.importorskip("polars").DataFrame({"x": zeros})
        content = dump(name, data)
    load(name, content, trust=False)
    monkeypatch.setattr(registry, "FREE_SIZE", 1000)
    load(name, content, trust=True)
    with pytest.raises(StorageError, match=rf"'{name}' has .* and would become .*\n.*Storage\(url, trust=True\)"):
        load(name, content, trust=False)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "x.npy",
            b"\x93NUMPY\x01\x00\x76\x00"
            + b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,)}".ljust(117)
            + b"\n",
            "0 bytes follow its header, which states 8000000000000",
        ),
        (
            "x.yaml",
            b"a: &a [1, 1]\nb: &b [*a, *a, *a]\n"
            + b"".join(b"%c: &%c [%s]\n" % (i + 1, i + 1, b", ".join([b"*%c" % i] * 10)) for i in range(98, 108)),
            "with its aliases it has",
        ),
        (
            "x.yaml",
            b"a: &a {x: 1}\n"
            + b"".join(b"%c: &%c {<<: [%s]}\n" % (i + 1, i + 1, b", ".join([b"*%c" % i] * 10)) for i in range(97, 107)),
            "with its aliases it has",
        ),
        ("x.yaml", b"&a [*a]", "an alias refers to what contains it"),
        ("x.csv", b'"a"\n' + b"9" * 200_000, "Exceeds the limit"),
    ],
    ids=["an array", "aliases", "merges", "a cycle", "digits"],
)
def test_a_file_cannot_take_more_time_or_memory_than_it_has_content(name: str, content: bytes, message: str) -> None:
    for trust in (True, False):
        with pytest.raises(Damaged, match=message):
            load(name, content, trust=trust)


def test_yaml_with_aliases_is_read() -> None:
    assert load("x.yaml", b"a: &a {x: 1}\nb: {<<: *a, y: *a}", trust=False) == {
        "a": {"x": 1},
        "b": {"x": 1, "y": {"x": 1}},
    }
    assert load("x.yaml", b"", trust=False) is None


def test_another_archive_is_not_a_model() -> None:
    buffer = BytesIO()
    with ZipFile(buffer, "w") as archive:
        archive.writestr("model", b"x")
    with pytest.raises(Damaged, match=r"another archive, without machinable\.json"):
        load("x.zip", buffer.getvalue(), trust=True, load=Model.load)


# --- formats of others


def install(directory: Path, module: str, points: str) -> None:
    """Write a distribution as pip does."""
    info = directory / "other_formats-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other-formats\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[machinable.formats]\n{points}\n")
    (directory / "other_formats.py").write_text(module)


OTHER = """
takes = "a mapping of text"

def dump(data):
    if not isinstance(data, dict):
        raise TypeError("no mapping")
    return "\\n".join(f"{key}={value}" for key, value in data.items()).encode()

def load(data):
    return dict(line.split("=") for line in data.decode().split("\\n"))

class code:
    takes, runs_code, dump, load = "x", True, bytes, bytes

class partial:
    takes = "x"

class text:
    takes, dump, load = "x", str, str
"""


def test_other_packages_can_provide_formats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, OTHER, "cfg = other_formats\n.run = other_formats:code\njson = other_formats:nothing")
    monkeypatch.syspath_prepend(str(tmp_path))

    content = dump("x.CFG.gz", {"a": "1"})
    assert load("x.cfg.gz", content, trust=False) == {"a": "1"}
    assert dump("x.json", 1) == b"1\n"
    assert known_extensions() == sorted([*KNOWN.split(), ".cfg", ".run"])
    with pytest.raises(WrongKind) as caught:
        dump("x.cfg", [1])
    assert caught.value.message == "'x.cfg' takes a mapping of text, not this list: no mapping"
    with pytest.raises(Damaged, match=r"cannot read 'x\.cfg'"):
        load("x.cfg", b"=", trust=True) and load("x.cfg", b"none", trust=True)
    with pytest.raises(StorageError, match="runs its author's code"):
        load("x.run", b"", trust=False)
    assert load("x.run", b"1", trust=True) == b"1"


def test_a_broken_format_of_another_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, OTHER, "a = other_formats:nothing\nb = other_formats:partial\nc = other_formats:text")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ImportFailed, match=r"cannot import the format \.a of other-formats"):
        dump("x.a", 1)
    with pytest.raises(ImportFailed, match=r"the format \.b of other-formats: .* no attribute 'dump'"):
        dump("x.b", 1)
    with pytest.raises(InvalidType, match=r"the format of x returned str, not bytes"):
        dump("x.c", 1)


def test_a_name_is_text() -> None:
    with pytest.raises(InvalidType, match="not int"):
        check_name(1)  # type: ignore[arg-type]
    with pytest.raises(InvalidType, match="not int"):
        check_directory(1)  # type: ignore[arg-type]


def test_plain_formats_import_no_numpy_and_no_pandas() -> None:
    code = (
        "import sys; from machinable.storage.formats.registry import dump, load\n"
        "for name, data in {'x.json': [1], 'x.csv': [{'a': 1}], 'x.jsonl': [1], 'x.txt': 'a', 'x.pkl': 1}.items():\n"
        "    assert load(name, dump(name, data), trust=True) == data\n"
        "heavy = {'numpy', 'pandas', 'yaml', 'fs', 'zipfile', 'gzip', 'xml', 'importlib.metadata'}\n"
        "assert not heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (".machinable-writing-my.json", "it is that of a temporary file, which `clean` removes"),
        ("a/.machinable-running-x/my.json", "it is that of a temporary file"),
        ("a/" * 1000 + "x.json", "the name of an artifact is in 1000 folders, the limit is 63"),
    ],
)
def test_names_that_the_storage_cannot_keep_are_refused(name: str, message: str) -> None:
    with pytest.raises(BadName, match=message):
        check_name(name)


@pytest.mark.parametrize("extension", ["png", "jpg"])
def test_an_image_and_its_pixels_are_pictures(extension: str) -> None:
    image = pytest.importorskip("PIL.Image")
    pixels = pytest.importorskip("numpy").zeros((2, 3), "uint8")
    for data in (pixels, image.fromarray(pixels)):
        content = load(f"x.{extension}", dump(f"x.{extension}", data), trust=False)
        assert image.open(BytesIO(content)).size == (3, 2)


def test_an_array_needs_pillow_to_be_a_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = pytest.importorskip("numpy").zeros((2, 3), "uint8")
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(NotAvailable, match="pip install pillow"):
        dump("x.png", pixels)


# --- lines, pickles


def test_a_list_of_lines_is_text() -> None:
    assert load("x.txt", dump("x.txt", ["a", "", "b"]), trust=False) == "a\n\nb\n"


def test_lambdas_and_local_classes_are_pickled_where_cloudpickle_is(monkeypatch: pytest.MonkeyPatch) -> None:
    cloudpickle = pytest.importorskip("ray.cloudpickle")
    monkeypatch.setitem(sys.modules, "cloudpickle", cloudpickle)

    class Local:
        value = 3

    assert load("x.pkl", dump("x.pkl", lambda number: number + 1), trust=True)(1) == 2
    assert load("x.p", dump("x.p", Local()), trust=True).value == 3
    monkeypatch.setitem(sys.modules, "cloudpickle", None)
    monkeypatch.setitem(sys.modules, "ray.cloudpickle", None)
    with pytest.raises(WrongKind, match="pickle"):
        dump("x.pkl", lambda: 1)


def test_a_pickle_of_another_project_says_which_module_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "module_of_a_pickle.py").write_text("class Thing:\n    pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    content = dump("x.p.gz", importlib.import_module("module_of_a_pickle").Thing())
    monkeypatch.delitem(sys.modules, "module_of_a_pickle")
    (tmp_path / "module_of_a_pickle.py").write_text("")
    importlib.invalidate_caches()
    with pytest.raises(
        StorageError, match=r"'x\.p\.gz' needs 'Thing' in the module 'module_of_a_pickle', which cannot"
    ):
        load("x.p.gz", content, trust=True)
    monkeypatch.delitem(sys.modules, "module_of_a_pickle")
    (tmp_path / "module_of_a_pickle.py").unlink()
    importlib.invalidate_caches()
    with pytest.raises(StorageError, match=r"'x\.p\.gz' needs the module 'module_of_a_pickle', which cannot"):
        load("x.p.gz", content, trust=True)
