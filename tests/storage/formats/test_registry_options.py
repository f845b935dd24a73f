"""Options of formats: they change the file, and the data are read as before."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any
from xml.etree.ElementTree import ElementTree, fromstring, tostring

import numpy as np
import pandas as pd
import polars as pl
import pytest
from PIL import Image

import machinable as ml
from machinable.errors import InvalidType, InvalidValue, TrialsFailed
from machinable.storage.formats.registry import dump, load

TEXT = "äöü €\n"
FRAME = pd.DataFrame({"a": ["ä", ""], "b": [1.5, 2.0]})
DATA = {"b": [1, 2], "a": {"x": "ä"}}


@pytest.mark.parametrize(
    ("name", "data", "options", "begins"),
    [
        ("x.txt", TEXT, {"encoding": "utf-16"}, TEXT.encode("utf-16")),
        ("x.md", TEXT, {"encoding": "UTF-32"}, TEXT.encode("utf-32")),
        ("x.html", TEXT, {"encoding": "utf-8-sig"}, TEXT.encode("utf-8-sig")),
        ("x.ini", "a", {"encoding": "ascii"}, b"a"),
        ("x.txt", "\ufeffa", {}, b"\xef\xbb\xbf\xef\xbb\xbfa"),  # text that begins with the mark of an encoding
        ("x.csv", FRAME, {"encoding": "utf-8-sig"}, b'\xef\xbb\xbf"a","b"\n'),
        ("x.tsv", pl.DataFrame({"a": ["ä"]}), {"encoding": "utf-16"}, b"\xff\xfe"),
        ("x.csv", [{"a": "ä"}], {"encoding": "utf-16"}, b"\xff\xfe"),
        ("x.csv", FRAME, {"index": True}, b'"a","b"\n'),
        ("x.json", DATA, {"indent": 1, "sort_keys": True, "ensure_ascii": False}, '{\n "a": {\n  "x": "ä"'.encode()),
        ("x.json", "\ud800", {"ensure_ascii": False}, b'"\xed\xa0\x80"'),
        ("x.json", FRAME, {"indent": 1}, b'{\n "__frame__"'),
        ("x.jsonl", [DATA], {"sort_keys": True}, b'{"a": {"x": "\\u00e4"}'),
        ("x.yaml", DATA, {"default_flow_style": True, "sort_keys": True}, "{a: {x: ä}, b: [1, 2]}".encode()),
        ("x.parquet", FRAME, {"compression": "gzip"}, b"PAR1"),
        ("x.parquet", pl.DataFrame({"a": [1]}), {"compression": "zstd", "compression_level": 5}, b"PAR1"),
        ("x.feather", FRAME, {"compression": "zstd"}, b"ARROW1"),
        ("x.npz", np.arange(9), {"compression": "deflate"}, b"PK"),
        ("x.p", DATA, {"protocol": 2}, b"\x80\x02"),
        ("x.csv.gz", FRAME, {"compresslevel": 1, "encoding": "utf-16"}, b"\x1f\x8b"),
    ],
)
def test_what_is_written_with_options_is_read_as_it_was(
    name: str, data: Any, options: dict[str, Any], begins: bytes
) -> None:
    content = dump(name, data, **options)
    found = load(name, content, trust=True)

    assert content.startswith(begins)
    assert type(found) is type(data)
    same: Callable[[Any, Any], Any] = getattr(type(data), "equals", lambda one, other: np.all(one == other))
    assert same(found, data)


def test_an_array_is_compressed() -> None:
    sizes = {method: len(dump("x.npz", {"a": np.zeros(9999)}, compression=method)) for method in (None, "deflate")}
    assert sizes["deflate"] < 1000 < sizes[None]


def test_the_index_of_a_frame_is_left_out() -> None:
    frame = FRAME.set_axis(["x", "y"])
    assert load("x.csv", dump("x.csv", frame, index=False), trust=False).equals(FRAME)


def test_pictures_have_options() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (40, 40, 3), "uint8")
    small, large = (dump("x.jpg", pixels, quality=quality) for quality in (10, 95))
    assert len(small) < len(large)
    assert Image.open(BytesIO(dump("x.png", Image.fromarray(pixels), dpi=(90, 90)))).info["dpi"][0] == pytest.approx(
        90, 0.01
    )


def test_an_element_tree_has_an_encoding() -> None:
    content = dump("x.xml", ElementTree(fromstring("<a>ä<b/></a>")), encoding="latin-1", short_empty_elements=False)
    assert content.endswith("<a>ä<b></b></a>".encode("latin-1"))
    assert tostring(load("x.xml", content, trust=False).getroot(), "unicode") == "<a>ä<b /></a>"


@pytest.mark.parametrize(
    ("name", "data", "options", "error", "message"),
    [
        (
            "x.txt",
            TEXT,
            {"encodng": "utf-8"},
            InvalidType,
            "no option 'encodng'\n  Did you mean 'encoding'?",
        ),
        ("x.txt", TEXT, {"overwite": True}, InvalidType, "no option 'overwite'\n  Did you mean 'overwrite'?"),
        ("x.csv", FRAME, {"sep": ";"}, InvalidType, "'x.csv' has no option 'sep'\n  Its options are encoding, index."),
        ("x.npy", np.arange(2), {"allow_pickle": True}, InvalidType, "no option 'allow_pickle'\n  It has none."),
        ("x.json", DATA, {"compression": "gzip"}, InvalidType, "Its options are ensure_ascii, indent, sort_keys."),
        ("x.zip", DATA, {"sav": 1}, InvalidType, "Did you mean 'save'?"),
        ("x.png", b"", {"dpi": 3}, InvalidType, "bytes has no option 'dpi'"),
        ("x.png", np.zeros((2, 2), "uint8"), {"bbox_inches": 3}, InvalidType, "a picture has no option 'bbox_inches'"),
        ("x.csv", [{"a": 1}], {"index": False}, InvalidType, "only a DataFrame of pandas has the option 'index'"),
        ("x.txt", TEXT, {"encoding": "latin-1"}, InvalidValue, "open(store.path('name.txt'), 'w', encoding=…)"),
        ("x.txt", TEXT, {"encoding": "utf-99"}, InvalidValue, "encoding='utf-99', which is not known"),
        ("x.txt", TEXT, {"encoding": None}, InvalidValue, "encoding=None, which is not known"),
        ("x.txt", TEXT, {"encoding": "ascii"}, InvalidValue, "this str cannot be written with encoding='ascii': "),
        ("x.npz", np.arange(2), {"compression": True}, InvalidValue, "Give 'deflate', as numpy.savez_compressed does"),
        ("x.parquet", FRAME, {"compression": "gzap"}, InvalidValue, "cannot be written with compression='gzap': "),
        ("x.p", DATA, {"protocol": 99}, InvalidValue, "cannot be written with protocol=99: "),
        ("x.txt.gz", TEXT, {"compresslevel": 11}, InvalidValue, "Give 0 (fastest) to 9 (smallest)."),
        ("x.txt.gz", TEXT, {"compresslevel": "fast"}, InvalidValue, "compresslevel is 'fast'"),
    ],
)
def test_a_wrong_option_is_an_error(
    name: str, data: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        dump(name, data, **options)
    assert message in str(caught.value)


def test_a_component_gives_options() -> None:
    def writes(store: Any) -> None:
        store.write("a.txt", TEXT, encoding="utf-16")
        store.write("a.txt", TEXT, True, encoding="utf-32")
        store.write("b.txt", TEXT, encodng="utf-32")

    with pytest.raises(TrialsFailed, match="has no option 'encodng'") as caught:
        ml.execute(ml.Task(writes))
    (trial,) = caught.value.execution.trials
    assert (trial.read("a.txt"), trial.files) == (TEXT, ["a.txt"])
